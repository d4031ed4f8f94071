//! The workflow: a router, branches side by side and their merge, two agents side by side, one of which a person lets begin,
//! and one behind both that calls a tool.

use domain::{
    job::WorkflowSpec,
    workflow::{self, Known, RunInput},
};
use serde_json::json;

use super::plot::{ROUTES, Said};
use crate::documents::{self, document, node};

/// Its nodes in their order.
pub(super) const ORDER: [&str; 6] = ["start", "route", "fan", "left", "right", "last"];

/// What a model of the workflow says, and its `turn`-th answer in a conversation of its own.
pub(super) fn said(model: &str, turn: u32) -> Said {
    let say = |text: &str| Said { pieces: vec![text.to_owned()], calls: vec![] };
    match (model, turn) {
        ("test/router", _) => Said { pieces: vec![], calls: vec![ROUTES] },
        ("test/last", 1) => Said { pieces: vec!["Publishing. ".to_owned()], calls: vec!["push"] },
        (_, _) => say(&format!("{model} has spoken.")),
    }
}

pub(super) fn spec() -> WorkflowSpec {
    let agent = |id: &str| documents::agent(id, json!({}));
    let branch = |id: &str| json!({"id": id, "label": id, "model": format!("test/{id}"), "prompt": "Go."});
    // Approved by somebody or by the clock: the end is the same.
    let hitl = json!({"enabled": true, "mode": "approval", "timeout": 30_000, "defaultAction": "approve"});
    let nodes = [
        node("start", "start", json!({})),
        node(
            "route",
            "router",
            json!({"model": "test/router",
                "routes": [{"id": "route-1", "label": "A"}, {"id": "route-2", "label": "B"}]}),
        ),
        agent("not"),
        node(
            "fan",
            "parallel",
            json!({"model": "test/merge", "prompt": "Merge.",
                "branches": [branch("one"), branch("two"), branch("three")]}),
        ),
        documents::agent("left", json!({"hitl": hitl})),
        agent("right"),
        documents::agent("last", json!({"prompt": "Publish.", "tools": ["push"]})),
        node("out", "output", json!({"format": "text", "sources": ["last"]})),
    ];
    let edges = [
        ("start", "output", "route"),
        ("route", "route-1", "not"),
        ("route", "route-2", "fan"),
        ("fan", "merged", "left"),
        ("fan", "merged", "right"),
        ("left", "output", "last"),
        ("right", "output", "last"),
        ("last", "output", "out"),
        ("not", "output", "out"),
    ];
    let document = document("Side by side", &nodes, &edges);
    let known = Known { tools: Some(["push".to_owned()].into()), ..Known::default() };
    let checked = workflow::check(&document, &known).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let input = RunInput { text: "Do everything".to_owned(), attachments: vec![] };
    WorkflowSpec { id: None, version: None, workflow: checked.workflow, input, told: vec![] }
}
