//! JSON schemas that callers bring, and values that have to fit them. Nothing is fetched, patterns run in linear time, and
//! what would take too long is not begun.

use domain::{
    schema::SchemaCost,
    workflow::{Code, Finding, Workflow, answer_schemas},
};
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

/// What is wrong with the schemas that a workflow's people are asked by: found when it is accepted, or whoever answers could
/// not give an answer that fits.
pub fn of_workflow(workflow: &Workflow) -> Vec<Finding> {
    let wrong = answer_schemas(workflow).into_iter().filter_map(|(node, schema)| {
        let why = check(schema).err()?;
        let message = format!("`hitl.inputSchema` is no JSON schema: {why}");
        Some(Finding { code: Code::DataValidationError, node_id: Some(node), message })
    });
    wrong.collect()
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

    #[test]
    fn a_workflows_schemas_are_looked_at_where_its_nodes_are() {
        let asks = |id: &str, schema: Value| {
            let hitl = json!({"enabled": true, "mode": "input", "inputSchema": schema});
            json!({"id": id, "type": "agent", "data": {"label": id, "model": "m", "prompt": "p", "hitl": hitl}})
        };
        let flow = |middle: Value| {
            let edge = |source: &str, target: &str| {
                let id = format!("{source}-{target}");
                json!({"id": id, "source": source, "target": target, "sourceHandle": "output"})
            };
            let id = middle["id"].as_str().unwrap().to_owned();
            let start = json!({"id": "start", "type": "start", "data": {"label": "Start"}});
            let out = json!({"id": "out", "type": "output", "data": {"label": "Out"}});
            let (nodes, edges) = ([start, middle, out], [edge("start", &id), edge(&id, "out")]);
            json!({"meta": {"version": "2.0.0", "name": "F"}, "nodes": nodes, "edges": edges})
        };
        let inner = |schema: Value| {
            let sub = json!({"id": "sub", "type": "subflow", "data": {"label": "Sub", "subflowId": "inner"}});
            let mut document = flow(sub);
            document["subflows"] = json!({"inner": flow(asks("asks", schema))});
            domain::workflow::check(&document, &Default::default()).unwrap().workflow
        };
        assert_eq!(of_workflow(&inner(json!({"type": "object"}))), []);
        let [found] = of_workflow(&inner(json!({"type": "nonsense"}))).try_into().unwrap();
        assert_eq!((found.code, found.node_id.as_deref()), (Code::DataValidationError, Some("sub/asks")));
        assert!(found.message.contains("`hitl.inputSchema`"), "{}", found.message);
    }
}
