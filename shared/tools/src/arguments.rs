//! From the text that a model wrote to arguments that fit the tool's schema, or to a message that lets it do better.

use std::{fmt, sync::Arc};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::limits::ARGUMENT_BYTES;

const FINDINGS: usize = 10;
const FINDING_CHARS: usize = 300;

/// A tool's schema, compiled.
#[derive(Clone)]
pub(crate) struct ArgumentSchema(Arc<Validator>);

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    /// It does not ask for an object.
    #[error("it must have `\"type\": \"object\"`")]
    NotAnObject,
    /// It is not a JSON schema, or refers to something outside of itself.
    #[error("it is not a JSON schema: {0}")]
    NotASchema(String),
}

impl ArgumentSchema {
    /// References to other documents are refused (nothing is fetched), and patterns run in linear time, since a schema may
    /// come from a caller.
    pub(crate) fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        if schema.get("type") != Some(&Value::from("object")) {
            return Err(InvalidSchema::NotAnObject);
        }
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(|error| InvalidSchema::NotASchema(shorten(&error.to_string())))
    }

    /// The arguments, or what is wrong with them: everything at once, with the place of each.
    pub(crate) fn read(&self, tool: &str, text: &str) -> Result<Value, String> {
        if text.len() > ARGUMENT_BYTES {
            let n = text.len();
            return Err(format!("The arguments of `{tool}` have {n} bytes; at most {ARGUMENT_BYTES} are taken"));
        }
        let text = if text.trim().is_empty() { "{}" } else { text }; // R183
        let arguments: Value = serde_json::from_str(text)
            .map_err(|error| format!("The arguments of `{tool}` are not valid JSON: {error}"))?;
        let mut findings = self.0.iter_errors(&arguments).map(|error| {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { "the arguments".to_owned() } else { shorten(&path) };
            format!("- at {place}: {}", shorten(&error.to_string()))
        });
        let listed: Vec<String> = findings.by_ref().take(FINDINGS).collect();
        let n_more = findings.count();
        if listed.is_empty() {
            return Ok(arguments);
        }
        let more = if n_more == 0 { String::new() } else { format!("\n- and {n_more} more") };
        Err(format!("The arguments of `{tool}` do not fit its schema:\n{}{more}", listed.join("\n")))
    }
}

/// Whether arguments match a schema that says which calls a rule is for. What cannot be decided (a schema that is none,
/// arguments that are no JSON) counts as matching: the rule is there to be careful.
pub fn matches(schema: &Value, arguments: &str) -> bool {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let Ok(arguments) = serde_json::from_str::<Value>(text) else { return true };
    let validator = jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema);
    validator.map_or(true, |validator| validator.is_valid(&arguments))
}

impl fmt::Debug for ArgumentSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArgumentSchema")
    }
}

/// Findings quote the offending value and its place, which may be long.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(FINDING_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
