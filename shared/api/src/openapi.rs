//! The API's description for machines, OpenAPI 3.1: what is served at `GET /openapi.json`.
//!
//! Its text is in the repository, `openapi.json` beside this package's manifest, and in the functions as it is, so that
//! nothing is made at run time. The tests make it anew from the code (routes, limits, states, event types) and compare; the
//! tests of the whole system hold every answer that they get against it (`tests::described`).

#[cfg(test)]
mod answers;
#[cfg(test)]
mod document;
#[cfg(test)]
mod requests;

/// The document.
pub const DOCUMENT: &str = include_str!("../openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        event_view::{EventsView, tests as events},
        job_request::{Defaults, StartJobRequest},
        schema,
    };

    fn committed() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// Whether a value fits a schema of the document.
    fn fits(name: &str, value: &Value) -> Result<(), Vec<(String, String)>> {
        let components = committed()["components"].take();
        schema::fits(&json!({"$ref": format!("#/components/schemas/{name}"), "components": components}), value, name)
    }

    #[test]
    fn the_document_is_what_the_code_gives() {
        let fresh = format!("{:#}\n", document::document());
        if fresh != DOCUMENT {
            let made = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/openapi.json");
            std::fs::write(made, fresh).unwrap();
            panic!("the API has changed: cp target/openapi.json shared/api/openapi.json, and read what changed");
        }
    }

    #[test]
    fn every_route_is_in_it_and_each_of_its_references_leads_somewhere() {
        let document = committed();
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let source = include_str!("paths.rs");
        let routes: BTreeSet<&str> = source
            .split("pub const ")
            .skip(1)
            .filter_map(|constant| constant.split_once(": &str = \"")?.1.split('"').next())
            .collect();
        assert!(routes.len() > 12, "the routes were not understood: {routes:?}");
        assert_eq!(described, routes);
        let mut references = BTreeSet::new();
        find_references(&document, &mut references);
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
        let mut names = BTreeSet::new();
        for (_, operation) in operations.filter(|(method, _)| *method != "parameters") {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "two operations are called {name}");
        }
    }

    fn find_references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| find_references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| find_references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_one() {
        for (name, schema) in committed()["components"]["schemas"].as_object().unwrap() {
            let alone = json!({"components": committed()["components"].take(), "allOf": [schema]});
            assert_eq!(schema::check(&alone), Ok(()), "{name}");
        }
    }

    #[test]
    fn an_event_of_each_type_fits_and_no_other_does() {
        let events = events::one_of_each();
        let job = events::job();
        let view = serde_json::to_value(EventsView::new(&job, &events, 0, domain::job::Status::Running)).unwrap();
        assert_eq!(fits("Events", &view), Ok(()));
        for event in view["data"].as_array().unwrap() {
            let mut odd = event.clone();
            odd["type"] = json!("job.exploded");
            assert!(fits("Event", &odd).is_err());
        }
    }

    /// What the document allows and the code refuses would mislead; what the code allows and the document does not, too.
    #[test]
    fn the_document_and_the_code_agree_on_what_starts_a_job() {
        let defaults = Defaults { model: None, mcp_servers: vec!["wiki".to_owned()] };
        let read =
            |body: &Value| StartJobRequest::from_value(body.clone(), &defaults, &|name| name == "calculate").is_ok();
        let with = |member: &str, value: Value| {
            let mut body = json!({"input": "Hello", "model": "m"});
            body[member] = value;
            body
        };
        let call = json!({"id": "c", "type": "function", "function": {"name": "calculate", "arguments": "{}"}});
        let good = [
            json!({"input": "Hello", "model": "m"}),
            json!({"input": [{"role": "user", "content": "Hello"}], "model": "m"}),
            with(
                "input",
                json!([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x.example/i.png"}}]}]),
            ),
            with(
                "input",
                json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": null, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "4"}, {"role": "user", "content": "y"}]),
            ),
            with(
                "tools",
                json!(["calculate", {"type": "mcp", "server": "wiki"}, {"type": "function", "execution": "client", "function": {"name": "mine"}}]),
            ),
            with("tool_choice", json!("auto")),
            with("temperature", json!(2.0)),
            with("top_p", json!(1)),
            with("limits", json!({"max_turns": 100, "turn_seconds": 600, "max_cost_usd": 0.5})),
            with("approval", json!({"*": "always", "calculate": {"type": "object"}})),
            with("metadata", json!({"title": "x"})),
            with("retention_seconds", json!(3600)),
            with("response_format", json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}})),
        ];
        let compaction = with("compaction", json!({"threshold": "auto", "preserve_recent": 5, "strategy": "truncate"}));
        for body in good.into_iter().chain([compaction]) {
            assert!(read(&body), "the code refuses {body}");
            assert_eq!(fits("StartJob", &body), Ok(()), "{body}");
        }
        let bad = [
            json!({"input": 7, "model": "m"}),
            json!({"input": [], "model": "m"}),
            with("surprise", json!(1)),
            with("temperature", json!(2.5)),
            with("top_p", json!(-0.1)),
            with("limits", json!({"max_turns": 101})),
            with("limits", json!({"turn_seconds": 601})),
            with("limits", json!({"deadline_seconds": 0})),
            with("limits", json!({"patience": 1})),
            with("tools", json!([7])),
            with("tools", json!([{"type": "function", "function": {"name": "not a name"}}])),
            with("approval", json!({"*": "sometimes"})),
            with("compaction", json!({"strategy": "forget"})),
            with("metadata", json!({"title": 7})),
            with("retention_seconds", json!(3599)),
            with("tool_choice", json!("never")),
        ];
        for body in bad {
            assert!(!read(&body), "the code takes {body}");
            assert!(fits("StartJob", &body).is_err(), "the document takes {body}");
        }
    }
}
