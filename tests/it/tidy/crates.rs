//! What may depend on what (ARCHITECTURE.md), and that the lints that guard it are where clippy reads them.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{directories, name, read, root};

/// The packages of this repository that each package may use. What is not here may use nothing.
const MAY_USE: [(&str, &[&str]); 18] = [
    ("domain", &[]),
    ("api", &["domain"]),
    ("store", &["domain"]),
    ("queue", &["domain"]),
    ("model-client", &["domain"]),
    ("tools", &["domain"]),
    ("remote-tools", &["domain", "tools"]),
    // Names of metrics and spans, and nothing that takes them anywhere.
    ("signals", &["domain"]),
    ("engine", &["domain", "store", "queue", "model-client", "tools", "signals"]),
    // It describes the metrics to whoever takes them, and names a job's span after the job.
    ("startup", &["signals"]),
    // The page is a user of the API like any other.
    ("web-console", &[]),
    ("start-job", &["domain", "api", "store", "queue", "tools", "signals", "startup"]),
    ("jobs", &["domain", "api", "store", "queue", "tools", "startup", "web-console"]),
    ("stream", &["domain", "api", "store", "signals", "startup"]),
    ("worker", &["domain", "store", "queue", "model-client", "tools", "remote-tools", "engine", "startup"]),
    ("sweeper", &["domain", "store", "queue", "engine", "signals", "startup"]),
    (
        "local",
        &[
            "domain",
            "api",
            "store",
            "queue",
            "model-client",
            "tools",
            "remote-tools",
            "engine",
            "signals",
            "startup",
            "start-job",
            "jobs",
            "stream",
            "worker",
            "sweeper",
            "web-console",
        ],
    ),
    ("tests", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];

/// What a package may not use of the world: why it is a package of its own. A name that ends in `-` is a prefix.
const MAY_NOT_USE: [(&str, &[&str]); 13] = [
    // No clock, no network, no threads: the rules can be tried in microseconds.
    ("domain", &["tokio", "aws-", "reqwest", "axum", "hyper", "lambda_http", "lambda_runtime"]),
    ("api", &["tokio", "aws-", "reqwest", "lambda_runtime"]),
    ("store", &["aws-sdk-sqs", "reqwest", "axum"]),
    ("queue", &["aws-sdk-dynamodb", "reqwest", "axum"]),
    ("model-client", &["aws-", "axum"]),
    // Functions that only name tools link them, too: no client behind them.
    ("tools", &["aws-", "reqwest", "rmcp", "axum"]),
    ("remote-tools", &["aws-sdk-dynamodb", "aws-sdk-sqs", "axum"]),
    ("engine", &["aws-", "reqwest", "axum"]),
    ("signals", &["tokio", "aws-", "reqwest", "axum"]),
    // It hands out files: it has nothing to ask anybody.
    ("web-console", &["tokio", "aws-", "reqwest", "lambda_http"]),
    ("start-job", &["reqwest", "rmcp"]),
    ("jobs", &["reqwest", "rmcp"]),
    ("stream", &["reqwest", "aws-sdk-sqs"]),
];

#[test]
fn packages_use_only_what_is_to_their_left() {
    let mut wrong = Vec::new();
    for (package, manifest) in packages() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package) else {
            wrong.push(format!("{package} is new: say in this test what it may use"));
            continue;
        };
        let internal = |used: &String| MAY_USE.iter().any(|(name, _)| name == used);
        for used in dependencies(&manifest, &["dependencies"]).into_iter().filter(internal) {
            if *allowed != EVERYTHING && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{package} uses {used}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn packages_do_without_what_they_are_to_be_free_of() {
    let mut wrong = Vec::new();
    for (package, manifest) in packages() {
        let banned = MAY_NOT_USE.iter().find(|(name, _)| *name == package).map_or(&[][..], |(_, banned)| banned);
        for used in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
            let is = |ban: &&str| if ban.ends_with('-') { used.starts_with(ban) } else { used == *ban };
            if banned.iter().any(is) {
                wrong.push(format!("{package} uses {used}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn packages_are_named_after_their_folders_and_keep_the_workspaces_lints() {
    for folder in folders() {
        let manifest = manifest(&folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(name(&folder).as_str()));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{}", folder.display());
    }
}

#[test]
fn clippys_rules_of_a_package_are_those_of_the_root_and_more() {
    // The nearest clippy.toml replaces the root's; nothing is merged.
    let root = table(Path::new("clippy.toml"));
    for folder in folders() {
        let path = folder.join("clippy.toml");
        if !path.exists() {
            continue;
        }
        let own = table(&path);
        for (key, value) in &root {
            match value {
                Value::Array(bans) => {
                    let missing: Vec<&Value> =
                        bans.iter().filter(|ban| !own[key].as_array().unwrap().contains(ban)).collect();
                    assert_eq!(missing, [&Value::Boolean(true); 0], "{}: {key}", path.display());
                }
                _ => assert_eq!(own.get(key), Some(value), "{}: {key}", path.display()),
            }
        }
    }
}

/// `cargo lambda build` sets what the profile leaves open, and it sets `abort`.
#[test]
fn release_builds_say_that_panics_unwind() {
    let manifest = table(Path::new("Cargo.toml"));
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("unwind"));
}

#[test]
fn domain_and_engine_are_kept_from_the_clock() {
    let banned = |package: &str| -> Vec<String> {
        let rules = table(&PathBuf::from(format!("shared/{package}/clippy.toml")));
        let bans = rules["disallowed-methods"].as_array().unwrap();
        bans.iter().map(|ban| ban["path"].as_str().unwrap().to_owned()).collect()
    };
    for method in ["std::time::SystemTime::now", "std::time::Instant::now", "tokio::time::sleep"] {
        assert!(banned("domain").iter().any(|banned| banned == method), "{method}");
    }
    assert!(banned("engine").iter().any(|banned| banned == "std::time::SystemTime::now"));
}

/// Every package with its manifest.
fn packages() -> Vec<(String, Table)> {
    folders().iter().map(|folder| (name(folder), manifest(folder))).collect()
}

fn folders() -> Vec<PathBuf> {
    let mut folders = [directories("shared"), directories("functions")].concat();
    folders.extend([root().join("infra/local"), root().join("tests")]);
    folders
}

fn manifest(folder: &Path) -> Table {
    table(&folder.join("Cargo.toml"))
}

fn table(path: &Path) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a package depends on, by the packages' own names, in these tables and in those of single platforms.
fn dependencies(manifest: &Table, kinds: &[&str]) -> Vec<String> {
    let platforms = manifest.get("target").and_then(Value::as_table);
    let tables = platforms.into_iter().flat_map(|table| table.values().filter_map(Value::as_table)).chain([manifest]);
    let mut found = Vec::new();
    for table in tables {
        for kind in kinds {
            for (name, how) in table.get(*kind).and_then(Value::as_table).into_iter().flatten() {
                let renamed = how.get("package").and_then(Value::as_str);
                found.push(renamed.unwrap_or(name).to_owned());
            }
        }
    }
    found
}
