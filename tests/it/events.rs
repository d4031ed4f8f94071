//! The event bus: jobs that events ask for, and jobs that tell of their ends.

use local::demo_model::{Fault, Gate, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::System;

/// Puts an event on the bus as somebody's own system does.
async fn put(system: &System, detail: &Value) -> String {
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
        .source("shop")
        .detail_type("Nightshift Job Requested")
        .detail(detail.to_string())
        .build();
    let answer = system.stack.events.client().put_events().entries(entry).send().await.unwrap();
    answer.entries()[0].event_id().unwrap().to_owned()
}

async fn told(system: &System, kind: &str) -> Value {
    system.stack.events.wait_for(|event| event["detail-type"] == kind).await["detail"].clone()
}

async fn jobs_of(system: &System, user: &str) -> Vec<Value> {
    let request = system.request(Method::GET, "/jobs").header("x-nightshift-user", user);
    system.answer(request).await.1["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_event_starts_a_job_and_the_job_tells_of_its_end() {
    let system = System::start().await;
    system.model.script("From an event", Script::new().turn(Turn::text("Done.")));
    put(&system, &json!({"user_id": "ann", "input": "From an event", "thread_id": "order 7"})).await;
    let ended = told(&system, "Nightshift Job Completed").await;
    assert_eq!((ended["user_id"].as_str(), ended["thread_id"].as_str()), (Some("ann"), Some("order 7")));
    assert_eq!((ended["status"].as_str(), ended["watched"].as_bool()), (Some("completed"), Some(false)));
    assert!(!ended.to_string().contains("Done."), "what was said is nobody else's: {ended}");
    let jobs = jobs_of(&system, "ann").await;
    assert_eq!((jobs.len(), &jobs[0]["id"]), (1, &ended["job_id"]));
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_starts_one_job() {
    let system = System::start().await;
    system.model.script("Twice", Script::new().turn(Turn::text("Once.")));
    let id = put(&system, &json!({"user_id": "ann", "input": "Twice"})).await;
    told(&system, "Nightshift Job Completed").await;
    let again = system.stack.events.wait_for(|event| event["id"] == id.as_str()).await;
    let mut batch = aws_lambda_events::sqs::SqsEvent::default();
    let mut message = aws_lambda_events::sqs::SqsMessage::default();
    message.body = Some(again.to_string());
    batch.records.push(message);
    let answer = start_job::events::handle(&system.stack.starter, &batch).await;
    assert!(answer.batch_item_failures.is_empty());
    assert_eq!(jobs_of(&system, "ann").await.len(), 1);
}

#[tokio::test]
async fn an_event_whose_job_cannot_be_started_is_rejected_with_the_reason_and_kept() {
    let system = System::start().await;
    let id = put(&system, &json!({"user_id": "ann", "input": "x", "colour": "red"})).await;
    while system.stack.sqs.depth("nightshift-dead-letters").visible == 0 {
        system.stack.sqs.advance(std::time::Duration::from_secs(100));
        tokio::task::yield_now().await;
    }
    let rejected = told(&system, "Nightshift Job Rejected").await;
    assert_eq!((rejected["event_id"].as_str(), rejected["user_id"].as_str()), (Some(id.as_str()), Some("ann")));
    assert_eq!(rejected["code"], "invalid_request");
    assert!(rejected["message"].as_str().unwrap().contains("colour"), "{rejected}");
    assert_eq!(jobs_of(&system, "ann").await.len(), 0);
}

#[tokio::test]
async fn a_job_that_fails_or_is_cancelled_tells_of_it_as_well() {
    let system = System::start().await;
    let refused = Turn::text("x").fault(Fault::Status(401, "no key"));
    let failed = system.run("Fails", Script::new().turn(refused)).await;
    assert_eq!(told(&system, "Nightshift Job Failed").await["job_id"], failed["id"]);

    let stalled = Turn::text("x").fault(Fault::StallBeforeHeaders(Gate::new()));
    system.model.script("Cancelled", Script::new().turn(stalled));
    let job = system.submit(json!({"input": "Cancelled"})).await;
    system.post(&format!("/jobs/{}/cancel", job["id"].as_str().unwrap())).await;
    assert_eq!(told(&system, "Nightshift Job Cancelled").await["job_id"], job["id"]);
}
