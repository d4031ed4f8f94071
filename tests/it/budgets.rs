//! A budget is the job's, and so is the question to raise it: asked once, however many lanes run over it.

use domain::usage::Usage;
use local::demo_model::{Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    System,
    documents::{agent, document, node},
};

const BRANCHES: usize = 12;

/// A workflow whose first agent uses the budget up, before three branches side by side.
async fn start(system: &System, limits: Value) -> Value {
    let say = |text: &str| Turn::text(text).usage(Usage { input_tokens: 60, output_tokens: 60, ..Usage::default() });
    system.model.script_model("test/first", Script::new().turn(say("First.")));
    let branches: Vec<Value> = (0..BRANCHES)
        .map(|n| {
            let model = format!("test/branch{n}");
            system.model.script_model(&model, Script::new().turn(say(&format!("View {n}."))));
            json!({"id": format!("b{n}"), "label": format!("B{n}"), "model": model, "prompt": "Look."})
        })
        .collect();
    let nodes = [
        node("start", "start", json!({})),
        agent("first", json!({"prompt": "Begin."})),
        node("fan", "parallel", json!({"branches": branches})),
        node("out", "output", json!({"format": "text"})),
    ];
    let edges = [("start", "output", "first"), ("first", "output", "fan"), ("fan", "merged", "out")];
    let workflow = document("Dear", &nodes, &edges);
    system.submit(json!({"input": "Go", "workflow": workflow, "limits": limits})).await
}

async fn answer(system: &System, job: &Value, body: Value) -> u16 {
    let request = job["input_requests"].as_array().unwrap().last().unwrap();
    let path = format!("/jobs/{}/input_requests/{}", job["id"].as_str().unwrap(), request["id"].as_str().unwrap());
    system.answer(system.request(Method::POST, &path).json(&body)).await.0.as_u16()
}

async fn n_events(system: &System, job: &Value, kind: &str) -> usize {
    system.log(job).await.iter().filter(|event| event["type"] == kind).count()
}

#[tokio::test]
async fn several_lanes_over_the_budget_ask_once_and_go_on_together() {
    let system = System::start().await;
    let job = start(&system, json!({"max_total_tokens": 100})).await;
    let waits = system.waiting(&job).await;
    assert_eq!(system.model.requests().len(), 1, "no branch has asked its model");
    let [request] = waits["input_requests"].as_array().unwrap().as_slice() else { panic!("{waits}") };
    assert_eq!(request["kind"], "budget");
    assert!(request["prompt"].as_str().unwrap().contains("used 120 of its 100 tokens"), "{request}");
    assert_eq!(n_events(&system, &job, "input.requested").await, 1);

    let raise = json!({"action": "submit", "data": {"max_total_tokens": 10_000}});
    assert_eq!(answer(&system, &waits, raise.clone()).await, 200);
    let done = system.finished(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(system.model.requests().len(), 1 + BRANCHES);
    for n in 0..BRANCHES {
        assert!(done["output"].as_str().unwrap().contains(&format!("View {n}.")), "{done}");
    }
    assert_eq!(done["input_requests"].as_array().unwrap().len(), 1);
    assert_eq!(n_events(&system, &job, "input.resolved").await, 1);
    let told =
        system.stack.events.events().into_iter().filter(|it| it["detail-type"] == "Nightshift Job Input Required");
    assert_eq!(told.count(), 1, "people are told once");
    assert_eq!(answer(&system, &waits, raise).await, 409);
}

#[tokio::test]
async fn a_budget_that_is_used_up_again_is_asked_for_again_and_once() {
    let system = System::start().await;
    let job = start(&system, json!({"max_total_tokens": 100})).await;
    let waits = system.waiting(&job).await;
    // Still used up: the next question.
    let raise = |tokens: u64| json!({"action": "submit", "data": {"max_total_tokens": tokens}});
    assert_eq!(answer(&system, &waits, raise(110)).await, 200);
    let waits = loop {
        let waits = system.waiting(&job).await;
        if waits["input_requests"].as_array().unwrap().len() == 2 {
            break waits;
        }
    };
    assert!(waits["input_requests"][1]["answer"].is_null());
    assert_eq!(answer(&system, &waits, raise(10_000)).await, 200);
    let done = system.finished(&job).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(n_events(&system, &job, "input.requested").await, 2);
}

#[tokio::test]
async fn one_refusal_ends_the_job_for_all_lanes() {
    let system = System::start().await;
    let job = start(&system, json!({"max_total_tokens": 100})).await;
    let waits = system.waiting(&job).await;
    assert_eq!(answer(&system, &waits, json!({"action": "stop"})).await, 200);
    let done = system.finished(&job).await;
    assert_eq!((done["status"].as_str(), done["finish_reason"].as_str()), (Some("completed"), Some("budget")));
    assert_eq!(done["workflow"]["node_states"]["first"]["output"], "First.", "what was done is kept");
    assert_eq!(system.model.requests().len(), 1);
}

#[tokio::test]
async fn a_question_that_all_lanes_wait_for_expires_for_all() {
    let system = System::start().await;
    let job = start(&system, json!({"max_total_tokens": 100, "input_seconds": 1})).await;
    let done = system.finished(&job).await;
    assert_eq!(done["finish_reason"], "budget", "{done}");
    let [request] = done["input_requests"].as_array().unwrap().as_slice() else { panic!("{done}") };
    assert_eq!(request["answer"]["by"], "timeout");
}
