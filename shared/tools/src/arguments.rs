//! From the text that a model wrote to arguments that fit the tool's schema, or to a message that lets it do better.

use std::{fmt, sync::Arc};

use domain::schema::{SchemaCost, TooCostly};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::limits::ARGUMENT_BYTES;

const FINDINGS: usize = 10;
const FINDING_CHARS: usize = 300;

/// A tool's schema, compiled.
#[derive(Clone)]
pub(crate) struct ArgumentSchema(Arc<Bounded>);

/// A schema, and what it costs to hold a value against it: it may be a caller's, and checking yields to nobody.
struct Bounded {
    validator: Validator,
    cost: SchemaCost,
}

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    /// It does not ask for an object.
    #[error("it must have `\"type\": \"object\"`")]
    NotAnObject,
    /// It is not a JSON schema, or refers to something outside of itself.
    #[error("it is not a JSON schema: {0}")]
    NotASchema(String),
    /// Checking a value would take too long.
    #[error("it is not taken: {0}")]
    TooCostly(#[source] TooCostly),
}

impl From<TooCostly> for InvalidSchema {
    fn from(why: TooCostly) -> Self {
        match why {
            TooCostly::Reference(_) => Self::NotASchema(why.to_string()),
            why => Self::TooCostly(why),
        }
    }
}

impl ArgumentSchema {
    /// References to other documents are refused (nothing is fetched), and patterns run in linear time, since a schema may
    /// come from a caller.
    pub(crate) fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        if schema.get("type") != Some(&Value::from("object")) {
            return Err(InvalidSchema::NotAnObject);
        }
        Ok(Self(Arc::new(Bounded::compile(schema)?)))
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
        self.0.cost.check(&arguments).map_err(|why| format!("The arguments of `{tool}` cannot be checked: {why}"))?;
        let mut findings = self.0.validator.iter_errors(&arguments).map(|error| {
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

impl Bounded {
    fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        let cost = SchemaCost::of(schema)?;
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(|validator| Self { validator, cost })
            .map_err(|error| InvalidSchema::NotASchema(shorten(&error.to_string())))
    }
}

/// Whether arguments match a schema that says which calls a rule is for. What cannot be decided (a schema that is none,
/// arguments that are no JSON, a check that would take too long) counts as matching: the rule is there to be careful.
pub fn matches(schema: &Value, arguments: &str) -> bool {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let Ok(arguments) = serde_json::from_str::<Value>(text) else { return true };
    let Ok(Bounded { validator, cost }) = Bounded::compile(schema) else { return true };
    cost.check(&arguments).is_err() || validator.is_valid(&arguments)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn twice_inside() -> Value {
        json!({"type": "object", "properties": {"c": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}})
    }

    fn deep(levels: usize) -> String {
        (0..levels).fold("{}".to_owned(), |inner, _| format!(r#"{{"c":{inner}}}"#))
    }

    #[test]
    fn arguments_that_would_take_too_long_to_check_are_refused() {
        let schema = ArgumentSchema::compile(&twice_inside()).unwrap();
        assert!(schema.read("t", &deep(8)).is_ok());
        assert!(schema.read("t", &deep(100)).unwrap_err().contains("`t` cannot be checked"));
        assert!(!matches(&json!({"required": ["x"]}), &deep(3)));
        assert!(matches(
            &json!({"required": ["x"], "properties": {"c": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
            &deep(100)
        ));
    }

    #[test]
    fn schemas_whose_references_double_are_not_compiled() {
        let twice = |at: usize| {
            let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
            (format!("a{at}"), json!({"allOf": [next, next]}))
        };
        let mut places: serde_json::Map<String, Value> = (0..60).map(twice).collect();
        places.insert("a60".to_owned(), json!({"type": "string"}));
        let schema = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": places});
        let refused = ArgumentSchema::compile(&schema).unwrap_err();
        assert!(matches!(refused, InvalidSchema::TooCostly(TooCostly::OneValue)), "{refused}");
        assert!(matches(&schema, r#"{"x": 1}"#));
    }

    /// What the bound lets through is compiled and checked in no time.
    #[test]
    fn what_is_let_through_is_compiled_without_following_each_way() {
        let fork = |at: usize| {
            let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
            (format!("a{at}"), json!({"properties": {"x": next, "y": next}}))
        };
        let mut places: serde_json::Map<String, Value> = (0..60).map(fork).collect();
        places.insert("a60".to_owned(), json!({"type": "string"}));
        let schema = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/a0"}}, "$defs": places});
        assert!(ArgumentSchema::compile(&schema).unwrap().read("t", r#"{"x": {"x": {"y": {}}}}"#).is_ok());
    }
}
