//! A function's binary as a process on a runtime API of the test's own, with the environment that `template.yaml` gives
//! it. Not a module of the tests' library but of each function's own tests, since Cargo builds a binary only for the tests
//! of its own package, and these need nothing of the rest.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use saphyr::{LoadableYamlNode as _, Yaml};

/// What a process does that asks for work.
const ASKS: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1";
/// Long enough for every machine; nothing waits for it but a test that fails.
const AT_MOST: Duration = Duration::from_secs(120);
/// As long as the secrets that the template has made.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A function as the template describes it.
pub(crate) struct Function {
    binary: &'static str,
    variables: BTreeMap<String, String>,
}

/// What became of a process that was started.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// It has asked for its first invocation.
    Ready,
    /// It has ended by itself, in vain or not.
    Ended { in_vain: bool, stderr: String },
    /// It has asked for something else.
    Asked(String),
}

impl Function {
    /// The function whose code is in this folder of `functions`, and its binary.
    pub(crate) fn new(folder: &str, binary: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let template = Yaml::load_from_str(&source).expect("the template is YAML").swap_remove(0);
        let code = format!("functions/{folder}");
        let resources = template["Resources"].as_mapping().expect("the template has resources");
        let (_, function) = resources
            .iter()
            .find(|(_, resource)| text_at(resource, &["Properties", "CodeUri"]) == Some(&code))
            .unwrap_or_else(|| panic!("the template has no function in {code}"));
        let of_all = at(&template, &["Globals", "Function", "Environment", "Variables"]);
        let own = at(function, &["Properties", "Environment", "Variables"]);
        let all =
            [of_all, own].into_iter().flatten().flat_map(|variables| variables.as_mapping().into_iter().flatten());
        let given = all.map(|(name, value)| {
            (name.as_str().expect("a variable has a name").to_owned(), resolved(&template, value))
        });
        // Lambda's own, which the template does not name.
        let region = ("AWS_REGION".to_owned(), "eu-central-1".to_owned());
        let variables = given.chain([region]).collect();
        Self { binary, variables }
    }

    /// Requires that it asks for its first invocation, with all of its variables and without those that need not be
    /// there; and that without any other it ends with an error that names it, before it asks for anything.
    pub(crate) fn starts_with_its_variables_and_not_without_one(&self, optional: &[&str]) {
        assert_eq!(self.start(&self.variables), Became::Ready);
        for name in optional {
            assert!(self.variables.contains_key(*name), "the template gives it no {name}");
        }
        assert!(self.variables.len() > optional.len(), "it needs nothing: the template was not understood");
        for missing in self.variables.keys() {
            for left in [None, Some("")] {
                let mut variables = self.variables.clone();
                variables.remove(missing);
                variables.extend(left.map(|empty| (missing.clone(), empty.to_owned())));
                if optional.contains(&missing.as_str()) {
                    assert_eq!(self.start(&variables), Became::Ready, "without {missing}");
                } else {
                    self.refuses(&variables, &[missing, "is required and not set"]);
                }
            }
        }
    }

    /// Requires that it ends with an error that names the variable and the rule, and not the value.
    pub(crate) fn refuses_as(&self, name: &str, wrong: &str, rule: &str) {
        let mut variables = self.variables.clone();
        assert!(variables.insert(name.to_owned(), wrong.to_owned()).is_some(), "the template gives it no {name}");
        let told = self.refuses(&variables, &[name, rule]);
        assert!(!told.contains(wrong), "the value may be a secret: {told}");
    }

    fn refuses(&self, variables: &BTreeMap<String, String>, words: &[&str]) -> String {
        let became = self.start(variables);
        let Became::Ended { in_vain: true, stderr } = became else { panic!("{words:?}: {became:?}") };
        for word in words {
            assert!(stderr.contains(word), "{word} is not in: {stderr}");
        }
        assert!(!stderr.contains(SECRET), "a secret is told: {stderr}");
        stderr
    }

    /// Starts it with these variables and what Lambda adds, until it has asked for something or ended.
    fn start(&self, variables: &BTreeMap<String, String>) -> Became {
        let runtime_api = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = runtime_api.local_addr().expect("it has an address").to_string();
        let mut child = Command::new(self.binary)
            .env_clear()
            .envs(variables)
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", "function"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "key"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary));
        let first = first_of(runtime_api, &mut child).recv_timeout(AT_MOST);
        // It may have ended already.
        let _ = child.kill();
        let status = child.wait().expect("it was started");
        match first.expect("it neither asks nor ends") {
            Became::Ended { stderr, .. } => Became::Ended { in_vain: !status.success(), stderr },
            other => other,
        }
    }
}

/// What comes first, a request or the end. The request is never answered: an idle function waits for hours.
fn first_of(runtime_api: TcpListener, child: &mut Child) -> Receiver<Became> {
    let (asked, first) = mpsc::channel();
    let ended = asked.clone();
    // The thread is left behind where nobody connects: it ends with the tests.
    thread::spawn(move || {
        let Ok((connection, _)) = runtime_api.accept() else { return };
        let mut line = String::new();
        if BufReader::new(&connection).read_line(&mut line).is_ok_and(|length| length > 0) {
            let line = line.trim_end();
            let _ = asked.send(if line == ASKS { Became::Ready } else { Became::Asked(line.to_owned()) });
        }
        // Open until the process is killed.
        let _ = (&connection).read_to_end(&mut Vec::new());
    });
    let mut output = child.stderr.take().expect("it is piped");
    thread::spawn(move || {
        let mut stderr = String::new();
        let _ = output.read_to_string(&mut stderr);
        let _ = ended.send(Became::Ended { in_vain: true, stderr });
    });
    first
}

/// What CloudFormation makes of a variable's value: something of the right kind.
fn resolved(template: &Yaml<'_>, value: &Yaml<'_>) -> String {
    let Yaml::Tagged(tag, inner) = value else {
        return value.as_str().unwrap_or_else(|| panic!("a variable is text: {value:?}")).to_owned();
    };
    match (tag.suffix.as_str(), inner.as_str()) {
        ("Ref", Some(name)) => match at(template, &["Parameters", name]) {
            None if text_at(template, &["Resources", name, "Type"]) == Some("AWS::SQS::Queue") => {
                format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}")
            }
            None => name.to_owned(),
            Some(parameter) => default(name, parameter),
        },
        ("GetAtt", Some(name)) => format!("https://{}.example/", name.to_lowercase()),
        // Of all secrets only this one is a document.
        ("Sub", Some(text)) if text.contains("${ToolSecretsArn}") => format!("{{\"TOKEN\": \"{SECRET}\"}}"),
        ("Sub", Some(text)) if text.contains("resolve:secretsmanager") => SECRET.to_owned(),
        ("Sub", Some(text)) => text.replace("${AWS::StackName}", "stack"),
        // What holds if the condition does; the list's parameter, as it is joined.
        ("If" | "Join", None) => resolved(template, &inner[1]),
        _ => panic!("a variable's value is what this test cannot read: {value:?}"),
    }
}

fn default(name: &str, parameter: &Yaml<'_>) -> String {
    let default = at(parameter, &["Default"]).unwrap_or_else(|| panic!("no default: {name}"));
    default
        .as_str()
        .map(str::to_owned)
        .or_else(|| default.as_integer().map(|n| n.to_string()))
        .expect("a text or a number")
}

fn at<'y, 'i>(yaml: &'y Yaml<'i>, path: &[&str]) -> Option<&'y Yaml<'i>> {
    path.iter().try_fold(yaml, |yaml, key| yaml.as_mapping_get(key))
}

fn text_at<'y>(yaml: &'y Yaml<'_>, path: &[&str]) -> Option<&'y str> {
    at(yaml, path)?.as_str()
}
