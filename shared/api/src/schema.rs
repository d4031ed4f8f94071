//! JSON schemas that callers bring, and values that have to fit them. Nothing is fetched, patterns run in linear time, and
//! what would take too long is not begun.

use domain::schema::SchemaCost;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Longest description of what is wrong, in characters: it quotes the value.
const FINDING_CHARS: usize = 200;
/// More findings than this help nobody.
const FINDINGS: usize = 10;

/// Whether this is a schema.
///
/// # Errors
/// With what is wrong.
pub fn check(schema: &Value) -> Result<(), String> {
    compile(schema).map(drop)
}

/// Whether `value` fits `schema`.
///
/// # Errors
/// With everything that does not, by place below `path`.
pub fn fits(schema: &Value, value: &Value, path: &str) -> Result<(), Vec<(String, String)>> {
    let all = |what: String| vec![(path.to_owned(), what)];
    let (validator, cost) = compile(schema).map_err(|why| all(format!("the schema is none: {why}")))?;
    cost.check(value).map_err(|why| all(format!("it cannot be checked: {why}")))?;
    let findings: Vec<(String, String)> = validator
        .iter_errors(value)
        .take(FINDINGS)
        .map(|error| {
            let place = format!("{path}{}", error.instance_path().to_string().replace('/', "."));
            (place, shorten(&error.to_string()))
        })
        .collect();
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

fn compile(schema: &Value) -> Result<(Validator, SchemaCost), String> {
    let cost = SchemaCost::of(schema).map_err(|why| why.to_string())?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map(|validator| (validator, cost))
        .map_err(|error| shorten(&error.to_string()))
}

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

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        assert_eq!(fits(&schema, &json!({"n": 1}), "data"), Ok(()));
        let found = fits(&schema, &json!({"n": "x"}), "data").unwrap_err();
        assert_eq!(found[0].0, "data.n");
        assert!(check(&json!({"type": "nonsense"})).is_err());
        assert!(check(&json!({"$ref": "http://127.0.0.1:1/x"})).is_err());
    }
    #[test]
    fn what_would_take_too_long_is_not_begun() {
        let schema = json!({"properties": {"c": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert_eq!(check(&schema), Ok(()));
        let deep = (0..60).fold(json!({}), |inner, _| json!({"c": inner}));
        assert!(fits(&schema, &deep, "data").unwrap_err()[0].1.starts_with("it cannot be checked"));
        assert!(check(&json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})).is_err());
    }
}
