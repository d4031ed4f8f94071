//! Workflows at their limits, and what reaches their nodes from outside: attachments, messages, people at the limit of
//! turns.

use local::demo_model::{Call, Fault, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    System,
    documents::{agent, chain},
};

use crate::workflows::answer;

fn tool(id: &str) -> Value {
    json!({"id": id, "type": "tool", "position": {"x": 0, "y": 0},
        "data": {"label": id, "toolId": "add", "arguments": {"a": 1, "b": 2}}})
}

fn subflow(id: &str) -> Value {
    json!({"id": "sub", "type": "subflow", "position": {"x": 0, "y": 0}, "data": {"label": "Sub", "subflowId": id}})
}

/// A document with so many subflows within each other around one tool.
fn nested(depth: usize) -> Value {
    let mut subflows = json!({});
    subflows[format!("s{depth}")] = chain(&[tool("sum")]);
    for n in 1..depth {
        subflows[format!("s{n}")] = chain(&[subflow(&format!("s{}", n + 1))]);
    }
    let mut document = chain(&[subflow("s1")]);
    document["subflows"] = subflows;
    document
}

#[tokio::test]
async fn a_document_of_200_nodes_runs_to_its_end() {
    let system = System::start().await;
    let tools: Vec<Value> = (0..198).map(|n| tool(&format!("t{n}"))).collect();
    let document = chain(&tools);
    assert_eq!(document["nodes"].as_array().unwrap().len(), 200);
    let limits = json!({"deadline_seconds": 3600});
    let job = system.submit(json!({"input": "Go", "workflow": document, "tools": ["add"], "limits": limits})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{}", job["error"]);
    assert_eq!(job["workflow"]["execution_order"].as_array().unwrap().len(), 200);
    assert_eq!(job["tool_calls"].as_array().unwrap().len(), 198, "each node once");
    let states = job["workflow"]["node_states"].as_object().unwrap();
    assert!(states.values().all(|state| state["status"] == "completed"), "{states:?}");
}

#[tokio::test]
async fn subflows_may_be_nested_ten_deep_and_an_eleventh_is_refused() {
    let system = System::start().await;
    let job = system.submit(json!({"input": "Go", "workflow": nested(10), "tools": ["add"]})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("3")), "{job}");
    let innermost = format!("{}sum", "sub/".repeat(10));
    assert_eq!(job["workflow"]["node_states"][&innermost]["output"], "3", "{}", job["workflow"]["node_states"]);
    let body = json!({"input": "Go", "workflow": nested(11), "tools": ["add"]});
    let (status, error) = system.answer(system.request(Method::POST, "/jobs").json(&body)).await;
    assert_eq!(status, 400, "{error}");
}

#[tokio::test]
async fn the_inputs_attachments_go_to_every_agent() {
    let system = System::start().await;
    for model in ["test/one", "test/two"] {
        system.model.script_model(model, Script::new().turn(Turn::text("Seen.")));
    }
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
    let input = json!([{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]);
    let document = chain(&[agent("one", json!({})), agent("two", json!({}))]);
    let job = system.submit(json!({"input": input, "workflow": document})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{job}");
    for request in system.model.requests() {
        let last = request.messages().iter().rfind(|message| message["role"] == "user").unwrap();
        let parts = last["content"].as_array().unwrap();
        assert_eq!(parts.last(), Some(&picture), "{}", request.body);
    }
    assert_eq!(system.model.requests().len(), 2);
}

#[tokio::test]
async fn a_message_to_a_workflow_is_heard_by_the_turns_that_begin_after_it() {
    let system = System::start().await;
    let gate = tests::tools::gate("a message to a workflow");
    let call = Call::new("waits_at_the_gate", json!({"gate": "a message to a workflow"}).to_string());
    system.model.script_model("test/one", Script::new().turn(Turn::calls([call])).turn(Turn::text("One.")));
    system.model.script_model("test/two", Script::new().turn(Turn::text("Two.")));
    let tools = json!({"tools": ["waits_at_the_gate"]});
    let document = chain(&[agent("one", tools), agent("two", json!({"tools": []}))]);
    let job = system.submit(json!({"input": "Go", "workflow": document, "tools": ["waits_at_the_gate"]})).await;
    gate.reached().await;
    let path = format!("/jobs/{}/messages", job["id"].as_str().unwrap());
    let post = system.request(Method::POST, &path).json(&json!({"content": "In French, please"}));
    assert_eq!(system.answer(post).await.0, 202);
    gate.open();
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{job}");
    let heard =
        system.model.requests().into_iter().map(|request| {
            request.messages().iter().filter(|message| message["content"] == "In French, please").count()
        });
    assert_eq!(heard.collect::<Vec<_>>(), [0, 1, 1]);
}

#[tokio::test]
async fn a_message_to_a_workflow_that_fails_is_heard_by_the_jobs_that_go_on_from_it() {
    let system = System::start().await;
    let gate = tests::tools::gate("a message before a failure");
    let call = Call::new("waits_at_the_gate", json!({"gate": "a message before a failure"}).to_string());
    system.model.script_model("test/one", Script::new().turn(Turn::calls([call])).turn(Turn::text("One.")));
    let fails = || Fault::Status(401, "no");
    system.model.script_model("test/two", Script::new().turn(Turn::text("Two.").fault(fails()).fault(fails())));
    let document = chain(&[agent("one", json!({"tools": ["waits_at_the_gate"]})), agent("two", json!({"tools": []}))]);
    let job = system.submit(json!({"input": "Go", "workflow": document, "tools": ["waits_at_the_gate"]})).await;
    gate.reached().await;
    let path = format!("/jobs/{}/messages", job["id"].as_str().unwrap());
    let post = system.request(Method::POST, &path).json(&json!({"content": "In French, please"}));
    assert_eq!(system.answer(post).await.0, 202);
    gate.open();
    let mut job = system.finished(&job).await;
    for status in ["failed", "completed"] {
        let (accepted, again) = system.post(&format!("/jobs/{}/retry", job["id"].as_str().unwrap())).await;
        assert_eq!(accepted, 202, "{again}");
        job = system.finished(&again).await;
        assert_eq!(job["status"], status, "{job}");
        let told = system.model.requests().last().unwrap().messages().to_vec();
        let [.., before, last] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((before["role"].as_str(), last["content"].as_str()), (Some("user"), Some("In French, please")));
        assert_eq!(told.iter().filter(|message| **message == *last).count(), 1, "once: {told:?}");
    }
}

#[tokio::test]
async fn an_agent_at_the_limit_of_its_turns_asks_whether_to_go_on() {
    let system = System::start().await;
    let add =
        |n: u32| Turn::text(format!("Step {n}.")).then_calls([Call::new("add", json!({"a": n, "b": 1}).to_string())]);
    let script = (1..=4).fold(Script::new(), |script, n| script.turn(add(n)));
    system.model.script_model("test/one", script.turn(Turn::text("Done after all.")));
    let data = json!({"tools": ["add"], "maxToolIterations": 2, "onMaxToolIterations": "hitl"});
    let start = || json!({"input": "Go", "workflow": chain(&[agent("one", data.clone())]), "tools": ["add"]});

    let job = system.submit(start()).await;
    let asked = system.waiting(&job).await;
    let request = &asked["input_requests"][0];
    assert_eq!((request["kind"].as_str(), request["node_id"].as_str()), (Some("tool_limit"), Some("one")));
    assert_eq!(asked["workflow"]["node_states"]["one"]["status"], "waiting");
    assert_eq!(asked["tool_calls"].as_array().unwrap().len(), 2, "the third call waits for the answer: {asked}");
    answer(&system, &asked, json!({"action": "approve"})).await;
    let done = system.finished(&job).await;
    assert_eq!(
        (done["status"].as_str(), done["output"].as_str()),
        (Some("completed"), Some("Done after all.")),
        "{done}"
    );
    assert_eq!(done["tool_calls"].as_array().unwrap().len(), 4);

    let system = System::start().await;
    let script = (1..=3).fold(Script::new(), |script, n| script.turn(add(n)));
    system.model.script_model("test/one", script);
    let job = system.submit(start()).await;
    let asked = system.waiting(&job).await;
    answer(&system, &asked, json!({"action": "reject"})).await;
    let done = system.finished(&job).await;
    assert_eq!(done["tool_calls"].as_array().unwrap().iter().filter(|call| call["status"] == "completed").count(), 2);
    assert_eq!((done["status"].as_str(), done["output"].as_str()), (Some("completed"), Some("Step 3.")), "{done}");
    assert_eq!(system.model.requests().len(), 3, "nothing is asked after a refusal");
}
