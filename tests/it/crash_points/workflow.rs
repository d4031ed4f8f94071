//! A workflow of every kind of node, and the answers of its models.

use domain::{
    job::{Status, WorkflowSpec},
    usage::Usage,
    workflow::{self, Known, RunInput},
};
use local::demo_model::{Call, Script, Turn};
use tests::{
    documents::{document, node},
    world::World,
};

use super::scenarios::{People, Scenario};

/// A router, a parallel node, a loop, a subflow, and an agent that a person approves and that calls a tool.
pub(super) const WORKFLOW: Scenario = Scenario {
    name: "workflow",
    script: Script::new,
    cancelled: false,
    people: People::Present,
    is_workflow: true,
    n_shortened: 0,
    budget: None,
    stride: 23,
    status: Status::Completed,
    text: "Published.",
    calls: &["push"],
    n_requests: 120,
};

/// Two lanes find the budget used up, and people are asked once.
pub(super) const OVER_BUDGET: Scenario = Scenario {
    name: "over budget",
    budget: Some(100),
    stride: 7,
    text: "## One\nOne view.\n\n## Two\nAnother view.",
    calls: &[],
    n_requests: 50,
    ..WORKFLOW
};

/// The answers of the workflows' models.
pub(crate) fn script_models(world: &World) {
    let say = |model: &str, texts: &[&str]| {
        let script = texts.iter().fold(Script::new(), |script, text| script.turn(Turn::text(*text)));
        world.model.script_model(model, script);
    };
    let dear = Turn::text("To begin with.").usage(Usage { input_tokens: 120, ..Usage::default() });
    world.model.script_model("test/dear", Script::new().turn(dear));
    let route = Call::new("select_route", r#"{"route_id": "route-2", "reasoning": "so"}"#);
    world.model.script_model("test/router", Script::new().turn(Turn::calls([route])));
    say("test/one", &["One view."]);
    say("test/two", &["Another view."]);
    say("test/merge", &["Both views."]);
    say("test/cond", &["continue", "done"]);
    say("test/body", &["A draft."]);
    say("test/inner", &["From within."]);
    let push = Turn::text("Publishing.").then_calls([Call::new("push", "{}")]);
    world.model.script_model("test/last", Script::new().turn(push).turn(Turn::text("Published.")));
}

pub(crate) fn whole_workflow() -> WorkflowSpec {
    let inner = document(
        "All",
        &[
            node("start", "start", json("{}")),
            node("inner", "agent", json(r#"{"model": "test/inner", "prompt": "Go."}"#)),
            node("out", "output", json(r#"{"format": "text"}"#)),
        ],
        &[("start", "output", "inner"), ("inner", "output", "out")],
    );
    let mut whole = document(
        "All",
        &[
            node("start", "start", json("{}")),
            node(
                "route",
                "router",
                json(
                    r#"{"model": "test/router", "routes": [{"id": "route-1", "label": "A"}, {"id": "route-2", "label": "B"}]}"#,
                ),
            ),
            node("not", "agent", json(r#"{"model": "test/not", "prompt": "Never."}"#)),
            node(
                "fan",
                "parallel",
                json(
                    r#"{"model": "test/merge", "prompt": "Merge.", "branches": [
                {"id": "one", "label": "One", "model": "test/one", "prompt": "1"},
                {"id": "two", "label": "Two", "model": "test/two", "prompt": "2"}]}"#,
                ),
            ),
            node(
                "loop",
                "whileLoop",
                json(r#"{"conditionPrompt": "More?", "conditionModel": "test/cond", "maxIterations": 3}"#),
            ),
            node("body", "agent", json(r#"{"model": "test/body", "prompt": "Draft."}"#)),
            node("sub", "subflow", json(r#"{"subflowId": "part"}"#)),
            node(
                "last",
                "agent",
                json(
                    r#"{"model": "test/last", "prompt": "Publish.", "tools": ["push"],
                "hitl": {"enabled": true, "mode": "approval", "timeout": 86400000}}"#,
                ),
            ),
            node("out", "output", json(r#"{"format": "text", "sources": ["last"]}"#)),
        ],
        &[
            ("start", "output", "route"),
            ("route", "route-1", "not"),
            ("route", "route-2", "fan"),
            ("fan", "merged", "loop"),
            ("loop", "body", "body"),
            ("loop", "done", "sub"),
            ("sub", "output", "last"),
            ("last", "output", "out"),
            ("not", "output", "out"),
        ],
    );
    whole["subflows"] = serde_json::json!({"part": inner});
    checked(&whole)
}

/// Two branches side by side behind an agent that uses the budget up.
pub(super) fn dear_workflow() -> WorkflowSpec {
    let branches = r#"{"branches": [
        {"id": "one", "label": "One", "model": "test/one", "prompt": "1"},
        {"id": "two", "label": "Two", "model": "test/two", "prompt": "2"}]}"#;
    checked(&document(
        "All",
        &[
            node("start", "start", json("{}")),
            node("first", "agent", json(r#"{"model": "test/dear", "prompt": "Begin."}"#)),
            node("fan", "parallel", json(branches)),
            node("out", "output", json(r#"{"format": "text", "sources": ["fan"]}"#)),
        ],
        &[("start", "output", "first"), ("first", "output", "fan"), ("fan", "merged", "out")],
    ))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn checked(document: &serde_json::Value) -> WorkflowSpec {
    let tools = ["look", "send", "push"].map(str::to_owned).into();
    let known = Known { tools: Some(tools), ..Known::default() };
    let checked = workflow::check(document, &known).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let input = RunInput { text: "Do everything".to_owned(), attachments: vec![] };
    WorkflowSpec { id: None, version: None, workflow: checked.workflow, input, told: vec![] }
}
