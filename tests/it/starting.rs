//! Starting jobs: once, within limits, and clear about what is wrong.

use local::demo_model::{Fault, Gate, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::System;

async fn post(system: &System, key: Option<&str>, user: &str, body: &Value) -> (u16, Value) {
    let mut request = system.request(Method::POST, "/jobs").header("x-nightshift-user", user).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let (status, body) = system.answer(request).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn the_same_key_starts_one_job_also_after_its_end() {
    let system = System::start().await;
    system.model.script("Once", Script::new().turn(Turn::text("Only once.")));
    let body = json!({"input": "Once"});
    let (status, first) = post(&system, Some("k"), "local", &body).await;
    assert_eq!(status, 202);
    let (status, again) = post(&system, Some("k"), "local", &body).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    system.finished(&first).await;
    let (status, after) = post(&system, Some("k"), "local", &body).await;
    assert_eq!((status, &after["id"], after["output"].as_str()), (200, &first["id"], Some("Only once.")));
    assert_eq!(system.model.requests().len(), 1);

    let (status, error) = post(&system, Some("k"), "local", &json!({"input": "Twice"})).await;
    assert_eq!((status, error["error"]["code"].as_str()), (422, Some("idempotency_key_reused")));
    // Another user's key is another key.
    assert_eq!(post(&system, Some("k"), "ann", &body).await.0, 202);
}

#[tokio::test]
async fn fifty_starts_at_once_under_one_key_are_one_job() {
    let system = System::start().await;
    system.model.script("Race", Script::new().turn(Turn::text("One.")));
    let body = json!({"input": "Race"});
    let starts = (0..50).map(|_| post(&system, Some("race"), "local", &body));
    let answers = futures_util::future::join_all(starts).await;
    let first = &answers[0].1["id"];
    assert!(answers.iter().all(|(status, job)| matches!(status, 200 | 202) && job["id"] == *first), "{answers:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1);
    system.finished(&answers[0].1).await;
    assert_eq!(system.get("/jobs").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_with_too_many_jobs_at_work_is_asked_for_patience() {
    let system = System::with(|options| options.max_jobs_per_user = 2).await;
    let gate = Gate::new();
    system.model.script("Busy", Script::new().turn(Turn::text("x").fault(Fault::StallBeforeHeaders(gate.clone()))));
    let body = json!({"input": "Busy"});
    let (_, first) = post(&system, None, "ann", &body).await;
    assert_eq!(post(&system, None, "ann", &body).await.0, 202);
    let request = system.request(Method::POST, "/jobs").header("x-nightshift-user", "ann").json(&body);
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(post(&system, None, "bob", &body).await.0, 202);
    let cancel = format!("/jobs/{}/cancel", first["id"].as_str().unwrap());
    let cancelled = system.request(Method::POST, &cancel).header("x-nightshift-user", "ann");
    assert_eq!(system.answer(cancelled).await.0, 200);
    assert_eq!(post(&system, None, "ann", &body).await.0, 202);
}

#[tokio::test]
async fn bad_bodies_are_told_apart_and_nothing_is_stored() {
    let system = System::start().await;
    let cases: &[(&str, &str)] = &[
        ("", "body"),
        ("{", "body"),
        ("[]", "body"),
        ("{}", "input"),
        (r#"{"input": 7}"#, "input"),
        (r#"{"input": "x", "colour": "red"}"#, "colour"),
        (r#"{"input": "x", "temperature": "hot"}"#, "temperature"),
        (r#"{"input": "x", "tools": ["no_such_tool"]}"#, "tools[0]"),
        (r#"{"input": "x", "limits": {"max_turns": 0}}"#, "limits.max_turns"),
        (r#"{"input": "x", "previous_job_id": "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3"}"#, "previous_job_id"),
    ];
    for (body, param) in cases {
        let request = system.request(Method::POST, "/jobs").header("content-type", "application/json");
        let (status, error) = system.answer(request.body(*body)).await;
        assert_eq!(
            (status.as_u16(), error["error"]["code"].as_str()),
            (400, Some("invalid_request")),
            "{body}: {error}"
        );
        let params: Vec<_> = error["error"]["details"].as_array().unwrap().iter().map(|d| d["param"].clone()).collect();
        assert!(params.contains(&json!(param)), "{body}: {error}");
        assert!(error["error"]["request_id"].is_string(), "{error}");
    }
    let (status, error) = post(&system, None, "local", &json!({"input": "x".repeat(4 * 1024 * 1024)})).await;
    assert_eq!((status, error["error"]["type"].is_string()), (413, true), "{error}");
    assert_eq!(system.get("/jobs").await["data"], json!([]));
    assert_eq!(system.model.requests().len(), 0);
}

#[tokio::test]
async fn a_job_without_a_model_is_refused_when_there_is_no_default() {
    let system = System::with(|options| options.default_model = None).await;
    let (status, error) = post(&system, None, "local", &json!({"input": "x"})).await;
    assert_eq!((status, error["error"]["param"].as_str()), (400, Some("model")), "{error}");
}

#[tokio::test]
async fn a_callers_own_key_reaches_the_model_and_nobody_else_r186() {
    let system = System::start().await;
    system.model.script("Mine", Script::new().turn(Turn::text("Paid by you.")));
    let body = json!({"input": "Mine", "model_api_key": "sk-callers-own"});
    let (status, job) = post(&system, Some("k"), "local", &body).await;
    assert_eq!(status, 202);
    let done = system.finished(&job).await;
    assert_eq!(done["output"], "Paid by you.");
    assert_eq!(system.model.requests()[0].api_key(), Some("sk-callers-own"));
    let id = job["id"].as_str().unwrap().parse().unwrap();
    let stored = format!("{:?}", system.stack.engine.upkeep.store.whole(&id).await.unwrap());
    let shown = format!("{job} {done} {:?} {stored}", system.log(&job).await);
    assert!(!shown.contains("callers-own"), "{shown}");
    for wrong in [json!(""), json!(7), json!("a b")] {
        let (status, error) = post(&system, None, "local", &json!({"input": "Mine", "model_api_key": wrong})).await;
        assert_eq!((status, error["error"]["param"].as_str()), (400, Some("model_api_key")), "{error}");
    }
}

#[tokio::test]
async fn a_repeated_start_of_a_workflow_is_answered_with_its_graph_and_nodes() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::text("Flown.")).turn(Turn::text("Landed."));
    system.model.script("Flow", script);
    let document = json!({"meta": {"version": "2.0.0", "name": "Flow"}, "nodes": [
        {"id": "start", "type": "start", "data": {"label": "Start"}},
        {"id": "a", "type": "agent", "data": {"label": "A", "model": "scripted", "prompt": "Be brief."}},
    ], "edges": [{"id": "e", "source": "start", "target": "a"}]});
    let body = json!({"input": "Flow", "workflow": document});
    let (status, first) = post(&system, Some("flow"), "local", &body).await;
    assert_eq!(status, 202, "{first}");
    let flown = system.finished(&first).await;
    let (status, again) = post(&system, Some("flow"), "local", &body).await;
    assert_eq!((status, &again["workflow"]), (200, &flown["workflow"]));
    assert_eq!(again["workflow"]["node_states"]["a"]["status"], "completed");

    // What came of it is what a job that follows on it knows.
    let next = system.submit(json!({"input": "And then?", "previous_job_id": first["id"]})).await;
    assert_eq!(system.finished(&next).await["output"], "Landed.");
    let requests = system.model.requests();
    let told: Vec<_> = requests.last().unwrap().messages().iter().map(|message| message["content"].clone()).collect();
    assert_eq!(told, ["Flow", "Flown.", "And then?"]);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_told_of_its_own_limit() {
    let system = System::start().await;
    let job = system.run("Limits", Script::new().turn(Turn::text("Here."))).await;
    let id = job["id"].as_str().unwrap();
    let long = "x".repeat(3 * 1024 * 1024);
    let cases = [
        (Method::POST, format!("/jobs/{id}/messages"), json!({"content": long})),
        (Method::POST, format!("/jobs/{id}/retry"), json!({"node_id": long})),
        (Method::PUT, "/workflows/long".to_owned(), json!({"nodes": long})),
    ];
    for (method, path, body) in cases {
        let (status, error) = system.answer(system.request(method, &path).json(&body)).await;
        assert_eq!(
            (status.as_u16(), error["error"]["code"].as_str()),
            (413, Some("body_too_large")),
            "{path}: {error}"
        );
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("The body has 3145") && message.contains("may have 1048576"), "{path}: {message}");
    }
}
