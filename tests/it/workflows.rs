//! Workflows end to end: the reference documents, people, failures, the catalogue.

use std::path::Path;

use local::demo_model::{Call, Fault, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    System,
    documents::{agent, chain},
    types,
};

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/domain/tests/workflows").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Scripts the models as the reference outcomes have them.
fn script(system: &System, models: &Value) {
    for (model, answers) in models.as_object().unwrap() {
        let turns = answers.as_array().unwrap().iter().map(|answer| {
            if let Some(text) = answer.as_str().or(answer["text"].as_str()) {
                return Turn::text(text);
            }
            if let Some(chunks) = answer["chunks"].as_array() {
                return Turn::pieces(chunks.iter().map(|chunk| chunk.as_str().unwrap().to_owned()));
            }
            let calls = answer["tool_calls"].as_array().unwrap().iter();
            Turn::calls(
                calls.map(|call| Call::new(call["name"].as_str().unwrap().to_owned(), call["arguments"].to_string())),
            )
        });
        system.model.script_model(model, turns.fold(Script::new(), Script::turn));
    }
}

pub(crate) async fn answer(system: &System, job: &Value, body: Value) -> Value {
    let open = job["input_requests"].as_array().unwrap().iter().find(|request| request["answer"].is_null()).unwrap();
    let path = format!("/jobs/{}/input_requests/{}", job["id"].as_str().unwrap(), open["id"].as_str().unwrap());
    let (status, answer) = system.answer(system.request(Method::POST, &path).json(&body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Runs a reference document with its scripted models and people.
async fn reference(name: &str) -> (System, Value, Value) {
    let expected = fixture("expected.json")[name].clone();
    let system = System::start().await;
    script(&system, &expected["model"]);
    let document = fixture(&format!("{name}.json"));
    let job =
        system.submit(json!({"input": expected["input"], "workflow": document, "tools": ["get_current_time"]})).await;
    if expected.get("person").is_some() {
        let job = system.waiting(&job).await;
        answer(&system, &job, expected["person"].as_object().unwrap().values().next().unwrap().clone()).await;
    }
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(job["kind"], "workflow");
    assert_eq!(job["workflow"]["execution_order"], expected["reference_outcome"]["executionOrder"]);
    (system, job, expected["reference_outcome"].clone())
}

fn outputs_are(job: &Value, expected: &Value) {
    for (node, output) in expected["nodeOutputs"].as_object().unwrap() {
        assert_eq!(&job["workflow"]["node_states"][node]["output"], output, "{node}");
    }
    assert_eq!(job["output"], expected["finalOutput"]);
}

#[tokio::test]
async fn a_linear_agent_with_a_tool_gives_the_reference_outcome() {
    let (system, job, expected) = reference("1-linear-agent").await;
    for node in ["start", "editor", "writer"] {
        assert_eq!(job["workflow"]["node_states"][node]["status"], "completed", "{job}");
    }
    assert_eq!(job["output"], expected["finalOutput"]);
    assert_eq!(job["tool_calls"][0]["node_id"], "writer");
    let log = system.log(&job).await;
    assert!(log.iter().any(|event| event["type"] == "output.delta" && event["node_id"] == "editor"));
    let nodes: Vec<(&str, &str)> = log
        .iter()
        .filter(|event| event["type"].as_str().unwrap().starts_with("node."))
        .map(|event| (event["node_id"].as_str().unwrap(), event["type"].as_str().unwrap()))
        .collect();
    let of = |node: &str| nodes.iter().filter(|(id, _)| *id == node).map(|(_, kind)| *kind).collect::<Vec<_>>();
    assert_eq!(of("writer"), ["node.active", "node.completed"]);
    assert_eq!(of("out").last(), Some(&"node.completed"));
}

#[tokio::test]
async fn a_router_passes_the_users_text_to_the_route_that_it_takes() {
    let (system, job, _) = reference("2-router").await;
    assert_eq!(job["output"], "Refund issued.");
    assert_eq!(job["workflow"]["node_states"]["triage"]["route"], "route-billing");
    assert_eq!(job["workflow"]["node_states"]["triage"]["output"], "Routed to Billing desk");
    let billing = system.model.requests().into_iter().find(|request| request.body["model"] == "test/billing").unwrap();
    assert_eq!(billing.first_user, "Refund my invoice");
}

#[tokio::test]
async fn parallel_branches_run_in_lanes_of_their_own_and_are_merged() {
    let (system, job, expected) = reference("3-parallel-merge").await;
    outputs_are(&job, &expected);
    let log = system.log(&job).await;
    let lanes: std::collections::BTreeSet<&str> = log.iter().filter_map(|event| event["lane"].as_str()).collect();
    assert!(lanes.len() >= 3, "{lanes:?}");
}

#[tokio::test]
async fn a_loop_runs_until_it_is_done_and_a_person_reviews_what_came_of_it() {
    let (_, job, expected) = reference("4-while-hitl").await;
    outputs_are(&job, &expected);
    assert_eq!(job["workflow"]["node_states"]["refiner#2"]["output"], "draft2");
    let request = &job["input_requests"][0];
    assert_eq!((request["kind"].as_str(), request["node_id"].as_str()), (Some("review"), Some("publisher")));
    assert_eq!(request["context"]["output"], "PUBLISHED draft");
}

#[tokio::test]
async fn a_document_that_cannot_run_is_refused_with_everything_that_is_wrong() {
    let system = System::start().await;
    let document = json!({"meta": {"version": "2.0.0", "name": "Bad"}, "nodes": [
        {"id": "a", "type": "agent", "position": {"x": 0, "y": 0}, "data": {"label": "A", "tools": ["fly"]}},
        {"id": "b", "type": "rocket", "position": {"x": 0, "y": 0}, "data": {"label": "B"}}], "edges": []});
    let (status, error) =
        system.answer(system.request(Method::POST, "/jobs").json(&json!({"input": "x", "workflow": document}))).await;
    assert_eq!(status, 400, "{error}");
    let codes: Vec<&str> =
        error["error"]["details"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    for code in ["NO_START_NODE", "UNKNOWN_NODE_TYPE", "UNKNOWN_TOOL"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
    let (status, checked) = system.answer(system.request(Method::POST, "/workflows/validate").json(&document)).await;
    assert_eq!((status.as_u16(), checked["valid"].as_bool()), (200, Some(false)), "{checked}");
}

#[tokio::test]
async fn a_schema_that_no_answer_could_fit_is_found_before_anybody_is_asked() {
    let system = System::start().await;
    let hitl = json!({"enabled": true, "mode": "input", "inputSchema": {"type": "nonsense"}});
    let document = chain(&[agent("one", json!({"hitl": hitl}))]);
    let body = json!({"input": "x", "workflow": document});
    let (status, error) = system.answer(system.request(Method::POST, "/jobs").json(&body)).await;
    assert_eq!(status, 400, "{error}");
    let wrong = &error["error"]["details"][0];
    assert_eq!((wrong["code"].as_str(), wrong["node_id"].as_str()), (Some("DATA_VALIDATION_ERROR"), Some("one")));
    let (status, checked) = system.answer(system.request(Method::POST, "/workflows/validate").json(&document)).await;
    assert_eq!((status.as_u16(), checked["valid"].as_bool()), (200, Some(false)), "{checked}");
    assert_eq!(checked["findings"][0]["code"], "DATA_VALIDATION_ERROR");
    let put = system.request(Method::PUT, "/workflows/asks").json(&document);
    assert_eq!(system.answer(put).await.0, 400);
}

#[tokio::test]
async fn a_failed_node_fails_the_job_and_a_retry_goes_on_from_it() {
    let system = System::start().await;
    system.model.script_model("test/one", Script::new().turn(Turn::text("First.")));
    let second = Turn::text("Second.").fault(Fault::Status(401, "no key"));
    system.model.script_model("test/two", Script::new().turn(second));
    let document = chain(&[agent("one", json!({})), agent("two", json!({}))]);
    let job = system.submit(json!({"input": "Go", "workflow": document})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["error"]["node_id"].as_str()), (Some("failed"), Some("two")), "{job}");
    assert_eq!(job["workflow"]["failed_node_id"], "two");
    assert_eq!(job["workflow"]["node_states"]["one"]["output"], "First.", "what was done is kept");

    let (status, again) = system.post(&format!("/jobs/{}/retry", job["id"].as_str().unwrap())).await;
    assert_eq!(status, 202, "{again}");
    let again = system.finished(&again).await;
    assert_eq!(
        (again["status"].as_str(), again["output"].as_str()),
        (Some("completed"), Some("First.\n\nSecond.")),
        "{again}"
    );
    assert_eq!(again["workflow"]["node_states"]["one"]["output"], "First.");
    let asked = system.model.requests().iter().filter(|request| request.body["model"] == "test/one").count();
    assert_eq!(asked, 1, "nothing before the failure is done again");
    let log = system.log(&again).await;
    let of = |node: &str| -> Vec<&Value> { log.iter().filter(|event| event["node_id"] == node).collect() };
    let [kept] = of("one").try_into().unwrap();
    assert_eq!((kept["type"].as_str(), kept["output"].as_str()), (Some("node.completed"), Some("First.")));
    let begun = of("two").into_iter().filter(|event| event["type"] == "node.active").count();
    assert_eq!(begun, 1, "{log:#?}");
}

#[tokio::test]
async fn a_retry_that_would_fail_at_once_is_refused_with_the_reason() {
    let system = System::start().await;
    let data = json!({"label": "Loop", "loopMode": "fixed", "conditionPrompt": "More?"});
    let no_body = json!({"id": "loop", "type": "whileLoop", "position": {"x": 0, "y": 0}, "data": data});
    let mut document = chain(&[no_body]);
    document["edges"][1]["sourceHandle"] = "done".into();
    let job = system.submit(json!({"input": "Go", "workflow": document})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["error"]["node_id"].as_str()), (Some("failed"), Some("loop")), "{job}");
    let (status, error) = system.post(&format!("/jobs/{}/retry", job["id"].as_str().unwrap())).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (422, Some("fails_again")), "{error}");
    let (said, why) = (error["error"]["message"].as_str().unwrap(), job["error"]["message"].as_str().unwrap());
    assert!(said.contains("`loop`") && said.contains(why.trim_end_matches('.')), "{said}");
}

#[tokio::test]
async fn what_can_pass_is_tried_again_by_the_nodes_rule() {
    let system = System::start().await;
    let flaky = Turn::text("Fine.").fault(Fault::Status(500, "broken")).fault(Fault::Status(503, "busy"));
    system.model.script_model("test/one", Script::new().turn(flaky));
    let retry = json!({"errorHandling": {"mode": "stop", "retry": {"maxRetries": 2, "baseDelay": 1}}});
    let job = system.submit(json!({"input": "Go", "workflow": chain(&[agent("one", retry)])})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "Fine.", "{job}");
    assert_eq!(system.model.requests().len(), 3);
}

#[tokio::test]
async fn a_refusal_before_a_node_ends_the_job_and_says_who_refused() {
    let system = System::start().await;
    system.model.script_model("test/one", Script::new().turn(Turn::text("never")));
    let hitl = json!({"hitl": {"enabled": true, "mode": "approval", "prompt": "Go ahead?"}});
    let job = system.submit(json!({"input": "Go", "workflow": chain(&[agent("one", hitl)])})).await;
    let job = system.waiting(&job).await;
    assert_eq!(job["workflow"]["node_states"]["one"]["status"], "waiting");
    answer(&system, &job, json!({"action": "reject"})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("failed"), Some("rejected")));
    assert_eq!(job["error"]["message"], "Rejected by local");
    assert_eq!(system.model.requests().len(), 0);
}

#[tokio::test]
async fn the_catalogue_keeps_versions_and_a_job_keeps_to_its_own() {
    let system = System::start().await;
    system.model.script_model("test/one", Script::new().turn(Turn::text("One.")));
    let put = |document: Value| {
        let request = system.request(Method::PUT, "/workflows/mine").json(&document);
        system.answer(request)
    };
    let document = chain(&[agent("one", json!({}))]);
    assert_eq!(put(document.clone()).await.1["version"], 1);
    assert_eq!(put(document.clone()).await.1["version"], 1, "the same again is no new version");
    assert_eq!(put(chain(&[agent("one", json!({"temperature": 1}))])).await.1["version"], 2);
    let (status, bad) = put(json!({"nodes": []})).await;
    assert_eq!(status, 400, "{bad}");
    let list = system.get("/workflows").await;
    assert_eq!((list["data"][0]["id"].as_str(), list["data"][0]["name"].as_str()), (Some("mine"), Some("Chain")));
    let start = |version: u32| {
        let body = json!({"input": "Go", "workflow_id": "mine", "workflow_version": version});
        system.answer(system.request(Method::POST, "/jobs").json(&body))
    };
    let (status, error) = start(1).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (409, Some("workflow_changed")));
    let (_, job) = start(2).await;
    let job = system.finished(&job).await;
    assert_eq!((job["output"].as_str(), job["workflow"]["version"].as_u64()), (Some("One."), Some(2)), "{job}");
    // Somebody else sees none of it.
    let (status, _) =
        system.answer(system.request(Method::GET, "/workflows/mine").header("x-nightshift-user", "eve")).await;
    assert_eq!(status, 404);
    let (status, _) = system.answer(system.request(Method::DELETE, "/workflows/mine")).await;
    assert_eq!(status, 204);
}

#[tokio::test]
async fn a_subflow_of_the_catalogue_runs_within_its_caller() {
    let system = System::start().await;
    system.model.script_model("test/inner", Script::new().turn(Turn::text("From within.")));
    let inner = chain(&[agent("inner", json!({}))]);
    assert_eq!(system.answer(system.request(Method::PUT, "/workflows/part").json(&inner)).await.0, 200);
    let sub = json!({"id": "sub", "type": "subflow", "position": {"x": 0, "y": 0},
        "data": {"label": "Sub", "subflowId": "part"}});
    let job = system.submit(json!({"input": "Go", "workflow": chain(&[sub])})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "From within.", "{job}");
    assert_eq!(job["workflow"]["node_states"]["sub/inner"]["status"], "completed");
}

#[tokio::test]
async fn a_tool_node_runs_without_a_model_and_fifty_branches_join_once() {
    let system = System::start().await;
    let tool = json!({"id": "sum", "type": "tool", "position": {"x": 0, "y": 0},
        "data": {"label": "Sum", "toolId": "add", "arguments": {"a": 40, "b": 2}}});
    let job = system.submit(json!({"input": "Go", "workflow": chain(&[tool]), "tools": ["add"]})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["output"].as_str(), job["tool_calls"][0]["name"].as_str()), (Some("42"), Some("add")), "{job}");

    let branches: Vec<Value> = (0..50)
        .map(|n| json!({"id": format!("b{n}"), "label": format!("B{n}"), "prompt": format!("Be {n}.")}))
        .collect();
    let script = (0..50).fold(Script::new(), |script, _| script.turn(Turn::text("A view.")));
    system.model.script_model("test/many", script);
    let fan = json!({"id": "fan", "type": "parallel", "position": {"x": 0, "y": 0},
        "data": {"label": "Fan", "model": "test/many", "prompt": "", "branches": branches}});
    let mut document = chain(&[fan]);
    document["edges"][1]["sourceHandle"] = json!("merged");
    let job = system.submit(json!({"input": "Go", "workflow": document})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(job["output"].as_str().unwrap().matches("A view.").count(), 50);
    let log = system.log(&job).await;
    let joined = log.iter().filter(|event| event["type"] == "node.completed" && event["node_id"] == "fan").count();
    assert_eq!(joined, 1);
    assert_eq!(types(&log).last(), Some(&"job.completed"));
}
