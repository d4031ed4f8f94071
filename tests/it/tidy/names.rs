//! How long files are, and what types are called.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::root;

/// Lines of a file without its tests: where one is longer, it has two subjects.
const LINES: usize = 600;

/// What says nothing about a type but that it does something.
const WORDS: [&str; 7] = ["Manager", "Service", "Helper", "Util", "Utils", "Processor", "Handler"];

/// Names that a word of those is right in.
const RIGHT: [(&str, &str); 1] = [
    // DynamoDB, SQS and the model: services is what everybody calls them.
    ("infra/local/src/emulator/fault.rs", "Service"),
];

#[test]
fn no_file_is_longer_than_a_subject() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .filter_map(|(path, text)| {
            let lines = n_lines(&text);
            (lines > LINES).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert_eq!(long, [""; 0], "split them by subject");
}

#[test]
fn no_type_is_named_after_nothing() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for name in text.lines().filter_map(declared) {
            let right = RIGHT.iter().any(|(file, right)| path == Path::new(file) && name == *right);
            if !right && words(name).iter().any(|word| WORDS.contains(&word.as_str())) {
                found.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert_eq!(found, [""; 0], "name them after what they are");
}

#[test]
fn types_are_found_and_their_names_taken_apart() {
    assert_eq!(declared("    pub(crate) struct JobManager<'a> {"), Some("JobManager"));
    assert_eq!(declared("pub enum Service {"), Some("Service"));
    assert_eq!(declared("pub unsafe trait Tool: Send {"), Some("Tool"));
    assert_eq!(declared("type Error = Broken;"), Some("Error"));
    assert_eq!(declared("let kind = \"struct\";"), None);
    assert_eq!(words("SqsBatchResponse"), ["Sqs", "Batch", "Response"]);
    assert_eq!(words("Utility"), ["Utility"]);
}

#[test]
fn only_a_module_of_tests_is_left_out_of_a_files_length() {
    assert_eq!(n_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    assert_eq!(n_lines("a\n#[cfg(test)]\nfn eyes() {\n}\nb\n"), 5);
    assert_eq!(n_lines("a\n#[cfg(test)]\nmod tests {\n    fn c() {\n    }\n}\nb\n"), 2);
}

/// The lines of a file, those of its modules of tests left out.
fn n_lines(text: &str) -> usize {
    let (mut n, mut lines) = (0, text.lines().peekable());
    while let Some(line) = lines.next() {
        let is_block = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(is_block) {
            lines.by_ref().take_while(|line| *line != "}").for_each(drop);
        } else {
            n += 1;
        }
    }
    n
}

/// The type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "unsafe");
    words.next().filter(|word| ["struct", "enum", "trait", "type", "union"].contains(word))?;
    let name = words.next()?;
    Some(name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(name))
}

/// The words of a name in camel case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words
}

/// Every source file of the repository with its text, by its path in it.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["shared", "functions", "infra", "tests"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found.sort();
    found
}
