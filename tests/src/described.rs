//! Every request that the tests make, and every answer that they get, held against the API's description
//! (`api::openapi`): what is not described is a mistake in one of the two.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use jsonschema::Validator;
use serde_json::{Value, json};

/// More events of a page than these say nothing new.
const EVENTS: usize = 100;

/// The document, where objects have the members that are named and no others: the published one leaves room for what
/// later releases add.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::from_str(api::openapi::DOCUMENT).expect("the description is JSON");
    close(&mut document);
    document
});

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) && members.contains_key("required") {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Requires that an answer is one of those that its route is described with, and that the body of a request that was taken
/// fits. `path` is without its query.
pub(crate) fn hold(method: &str, path: &str, asked: Option<&Value>, status: u16, answer: &Value) {
    let Some((route, operation)) = operation(method, path) else {
        assert!(matches!(status, 404 | 405), "{method} {path} is not described, and answers {status}");
        return fits("Error", answer, &format!("{status} to {method} {path}"));
    };
    let what = format!("{status} to {method} {route}");
    if status < 300
        && let Some(asked) = asked
        && let Some(schema) = schema_of(&operation["requestBody"])
    {
        fits(schema, asked, &format!("the body of {method} {route}"));
    }
    let mut described = &operation["responses"][status.to_string()];
    assert!(described.is_object(), "{what} is not described: {answer}");
    if let Some(reference) = described["$ref"].as_str() {
        described = DOCUMENT.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere");
    }
    match schema_of(described) {
        None => assert!(answer.is_null() || described.get("content").is_some(), "{what} has a body: {answer}"),
        Some("Events") => {
            let mut page = answer.clone();
            if let Some(events) = page["data"].as_array_mut() {
                events.truncate(EVENTS);
            }
            fits("Events", &page, &what);
        }
        Some(schema) => fits(schema, answer, &what),
    }
}

/// The route that a path is of, the more exact one first, and its operation.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let parts: Vec<&str> = path.split('/').collect();
    let routes = DOCUMENT["paths"].as_object()?;
    let is_of = |route: &str| {
        let names: Vec<&str> = route.split('/').collect();
        names.len() == parts.len() && names.iter().zip(&parts).all(|(name, part)| name.starts_with('{') || name == part)
    };
    let route = routes.keys().filter(|route| is_of(route)).min_by_key(|route| route.matches('{').count())?;
    Some((route, routes[route].get(method.to_lowercase())?))
}

/// The name of the schema of a body.
fn schema_of(described: &'static Value) -> Option<&'static str> {
    described["content"]["application/json"]["schema"]["$ref"].as_str()?.rsplit('/').next()
}

fn fits(schema: &str, value: &Value, what: &str) {
    let validator = {
        let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
        let made = known.entry(schema.to_owned()).or_insert_with(|| {
            let root = json!({"$ref": format!("#/components/schemas/{schema}"), "components": DOCUMENT["components"]});
            Arc::new(jsonschema::validator_for(&root).expect("the description's schemas are schemas"))
        });
        Arc::clone(made)
    };
    let findings: Vec<String> =
        validator.iter_errors(value).map(|error| format!("at {}: {error}", error.instance_path())).collect();
    assert!(findings.is_empty(), "{what} is not as it is described: {findings:#?}\n{value:#}");
}
