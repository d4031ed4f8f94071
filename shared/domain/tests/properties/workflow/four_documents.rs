//! The four reference documents with their scripted models give the reference's outcomes, the named differences apart.

use std::collections::BTreeMap;

use domain::workflow::{Call, CallResult, InputRequestDraft, PersonsAnswer, RequestKind, Work};
use serde_json::{Value, json};

use super::driver::{Play, Played, Players, answer, checked, known};

fn file(name: &str) -> Value {
    let path = format!("{}/tests/workflows/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Plays a model from its script: per model its answers in order.
struct Script {
    model: BTreeMap<String, Vec<Value>>,
    tools: Value,
    person: Value,
    calls: Vec<Work>,
    asked: Vec<InputRequestDraft>,
}

impl Script {
    fn next(&mut self, model: &str) -> Value {
        let answers = self.model.get_mut(model).unwrap_or_else(|| panic!("{model} is not in the script"));
        assert!(!answers.is_empty(), "{model} is asked more often than the script says");
        answers.remove(0)
    }
}

fn text(answer: &Value) -> String {
    match answer {
        Value::String(text) => text.clone(),
        _ if answer["chunks"].is_array() => {
            answer["chunks"].as_array().unwrap().iter().map(|chunk| chunk.as_str().unwrap()).collect()
        }
        _ => answer["text"].as_str().unwrap_or_default().to_owned(),
    }
}

impl Players for Script {
    fn call(&mut self, work: &Work) -> CallResult {
        self.calls.push(work.clone());
        match &work.call {
            Call::Agent { model, .. } => loop {
                let answer = self.next(model);
                match answer["tool_calls"].as_array() {
                    Some(calls) => {
                        assert!(calls.iter().all(|call| self.tools[call["name"].as_str().unwrap()].is_string()));
                    }
                    None => return CallResult::Answered { text: text(&answer), chosen: None, at_limit: 0 },
                }
            },
            Call::Choose { model, tool, .. } => {
                let answer = self.next(model);
                let call = answer["tool_calls"][0].clone();
                assert!(call.is_null() || call["name"] == tool.as_str());
                let chosen = call.get("arguments").cloned();
                CallResult::Answered { text: text(&answer), chosen, at_limit: 0 }
            }
            Call::Complete { model, .. } => {
                let answer = self.next(model);
                CallResult::Answered { text: text(&answer), chosen: None, at_limit: 0 }
            }
            Call::Tool { .. } => panic!("no tool nodes in these"),
        }
    }

    fn person(&mut self, request: &InputRequestDraft) -> PersonsAnswer {
        self.asked.push(request.clone());
        let says = &self.person[&request.node_id];
        answer(says["action"].as_str().unwrap(), says.get("data").cloned())
    }
}

fn played(name: &str) -> (Played, Script) {
    let all = file("expected");
    let expected = &all[name];
    let mut known = known();
    known.tools = Some(["get_current_time".to_owned()].into());
    let workflow = checked(&file(name), &known).workflow;
    let mut script = Script {
        model: serde_json::from_value(expected["model"].clone()).unwrap(),
        tools: expected["tools"].clone(),
        person: expected["person"].clone(),
        calls: vec![],
        asked: vec![],
    };
    let played = Play::new(&workflow, expected["input"].as_str().unwrap()).play(&mut script);
    assert!(script.model.values().all(Vec::is_empty), "the whole script was played: {:?}", script.model);
    (played, script)
}

/// The outcome in the reference's form.
fn outcome(played: &Played, reference: &Value) -> Value {
    let outputs = reference["nodeOutputs"].as_object().unwrap().keys();
    let outputs: BTreeMap<_, _> = outputs.map(|id| (id.clone(), played.output_of(id))).collect();
    json!({
        "success": true,
        "finalOutput": played.output(),
        "finalNodeId": played.view.execution_order.last(),
        "executionOrder": played.view.execution_order,
        "nodeOutputs": outputs,
    })
}

fn messages(work: &Work) -> Value {
    match &work.call {
        Call::Agent { messages, .. } | Call::Choose { messages, .. } | Call::Complete { messages, .. } => {
            serde_json::to_value(messages).unwrap()
        }
        Call::Tool { .. } => panic!("a tool is told no messages"),
    }
}

#[test]
fn a_line_of_two_agents_gives_the_references_outcome() {
    let reference = file("expected")["1-linear-agent"]["reference_outcome"].clone();
    let (played, script) = played("1-linear-agent");
    assert_eq!(outcome(&played, &reference), reference);
    assert_eq!(
        messages(&script.calls[0]),
        json!([
            {"role": "system", "content": "WRITER-SYSTEM: write one sentence.\n\nContext from previous agents:\n[Start]: Tell me the time"},
            {"role": "user", "content": "Tell me the time"},
        ])
    );
    assert_eq!(
        messages(&script.calls[1]),
        json!([
            {"role": "system", "content": "EDITOR-SYSTEM: polish it.\n\nContext from previous agents:\n[Start]: Tell me the time\n\n[Writer]: It is new year."},
            {"role": "user", "content": "Tell me the time"},
            {"role": "assistant", "content": "It is new year."},
            {"role": "user", "content": "It is new year."},
        ])
    );
}

#[test]
fn a_router_gives_the_references_outcome_but_passes_the_users_text_on() {
    let mut reference = file("expected")["2-router"]["reference_outcome"].clone();
    reference["finalOutput"] = json!("Refund issued.");
    reference["nodeOutputs"]["out"] = json!("Refund issued.");
    let (played, script) = played("2-router");
    assert_eq!(outcome(&played, &reference), reference);
    assert_eq!(played.view.node_states["triage"].route.as_deref(), Some("route-billing"));
    assert_eq!(
        messages(&script.calls[1]),
        json!([
            {"role": "system", "content": "BILLING-SYSTEM\n\nContext from previous agents:\n[Start]: Refund my invoice\n\n[Triage]: Routed to Billing desk"},
            {"role": "user", "content": "Refund my invoice"},
        ])
    );
    let Call::Choose { schema, .. } = &script.calls[0].call else { panic!("a router chooses") };
    assert_eq!(schema["properties"]["route_id"]["enum"], json!(["route-billing", "route-tech"]));
}

#[test]
fn parallel_branches_with_a_merge_give_the_references_outcome() {
    let reference = file("expected")["3-parallel-merge"]["reference_outcome"].clone();
    let (played, script) = played("3-parallel-merge");
    assert_eq!(outcome(&played, &reference), reference);
    assert_eq!(
        messages(&script.calls[2]),
        json!([
            {"role": "system", "content": "MERGE-SYSTEM: combine both views."},
            {"role": "user", "content": "Here are the outputs from parallel agents:\n\n## Pros\nfast\n\n## Cons\nhard\n\nPlease merge/summarize these outputs according to your instructions."},
        ])
    );
}

#[test]
fn a_loop_and_a_review_give_the_references_outcome_and_the_session_has_the_persons_text_once() {
    let reference = file("expected")["4-while-hitl"]["reference_outcome"].clone();
    let (played, script) = played("4-while-hitl");
    assert_eq!(outcome(&played, &reference), reference);
    let states = &played.view.node_states;
    assert_eq!((states["refiner#1"].output.as_deref(), states["refiner#1"].iteration), (Some("draft1"), Some(1)));
    assert_eq!((states["refiner#2"].output.as_deref(), states["loop"].iteration), (Some("draft2"), Some(2)));
    let agent = |nth: usize| {
        let agents = script.calls.iter().filter(|work| matches!(work.call, Call::Agent { .. }));
        messages(agents.collect::<Vec<_>>()[nth])
    };
    assert_eq!(
        agent(1).as_array().unwrap().last().unwrap()["content"],
        "[Instructions: Improve the draft.]\n\n[Iteration 2 of 3]\n\n[Previous attempts (1):]\n\nAttempt 1: draft1\n\n[Current input to improve:]\n\ndraft1"
    );
    assert_eq!(
        agent(2),
        json!([
            {"role": "system", "content": "PUBLISHER-SYSTEM\n\nContext from previous agents:\n[Start]: draft0\n\n[Refiner]: draft2\n\n[Refine loop]: draft2"},
            {"role": "user", "content": "draft0"},
            {"role": "assistant", "content": "draft1"},
            {"role": "assistant", "content": "draft2"},
            {"role": "user", "content": "draft2"},
        ])
    );
    let [review] = &script.asked[..] else { panic!("asked once: {:?}", script.asked) };
    assert_eq!((review.kind, review.node_id.as_str()), (RequestKind::Review, "publisher"));
    assert_eq!(review.prompt, "Check before publishing");
    assert_eq!((review.context.input.as_str(), review.context.output.as_deref()), ("draft2", Some("PUBLISHED draft")));
}
