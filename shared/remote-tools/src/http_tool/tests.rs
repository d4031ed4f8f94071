use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue},
    routing::post,
};
use serde_json::json;
use tools::ToolRegistry;

use super::*;
use crate::far_side::{NOW, clock, context, serve};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver that keeps what it gets and answers with these in turn.
async fn receiver(answers: Vec<(u16, &'static str)>) -> (String, Received) {
    let received = Received::default();
    let kept = Arc::clone(&received);
    let router = Router::new().route(
        "/hook",
        post(move |headers: HeaderMap, body: Bytes| async move {
            let mut kept = kept.lock().unwrap();
            let (status, text) = answers[kept.len().min(answers.len() - 1)];
            kept.push((headers, body));
            (StatusCode::from_u16(status).unwrap(), text)
        }),
    );
    (format!("http://{}/hook", serve(router).await), received)
}

fn config(url: &str) -> ConfiguredTool {
    serde_json::from_value(json!({
        "name": "create_ticket",
        "description": "Opens a ticket.",
        "parameters": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
        "url": url,
        "signing_secret": "TICKETS",
        "headers": {"x-team": "support", "authorization": "Bearer ${TOKEN}"},
        "allow_private": true,
    }))
    .unwrap()
}

fn secrets() -> Secrets {
    Secrets::new(Some(&json!({"TICKETS": SECRET, "TOKEN": "hunter2"}).to_string()), |_| None).unwrap()
}

fn registry(url: &str) -> ToolRegistry {
    let mut registry = ToolRegistry::new();
    registry.register(HttpTool::new(&config(url), url, &secrets(), clock()).unwrap()).unwrap();
    registry
}

async fn run(registry: &ToolRegistry) -> tools::Execution {
    registry.execute("create_ticket", r#"{"title": "It rains in"}"#, &context(), &["create_ticket".to_owned()]).await
}

#[tokio::test]
async fn the_receiver_can_check_who_calls_and_what_it_has_seen() {
    let (url, received) = receiver(vec![(200, r#"{"id": 7}"#)]).await;
    let execution = run(&registry(&url)).await;
    assert_eq!(execution.outcome, domain::tool_call::ToolOutcome::Completed(r#"{"id": 7}"#.to_owned()));
    let received = received.lock().unwrap();
    let (headers, body) = &received[0];
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("idempotency-key"), context().idempotency_key());
    assert_eq!(text("webhook-id"), context().idempotency_key());
    assert_eq!(text("webhook-timestamp"), NOW.to_string());
    assert_eq!((text("x-team"), text("authorization")), ("support".to_owned(), "Bearer hunter2".to_owned()));
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        body,
        json!({
            "tool": "create_ticket", "arguments": {"title": "It rains in"}, "tool_call_id": "call_7",
            "idempotency_key": context().idempotency_key(), "job_id": "job_01M839RBJ60QB9X3PRWCTHDWN3",
            "user_id": "user", "turn": 2,
        })
    );
}

#[tokio::test]
async fn the_signature_is_one_that_the_standards_own_library_accepts() {
    // The library looks at the clock, and refuses what is older than five minutes.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = domain::time::Timestamp::from_millis(i64::try_from(now).unwrap());
    let (url, received) = receiver(vec![(200, "ok")]).await;
    let mut registry = ToolRegistry::new();
    registry.register(HttpTool::new(&config(&url), &url, &secrets(), Arc::new(move || now)).unwrap()).unwrap();
    let _ = run(&registry).await;
    let (headers, body) = received.lock().unwrap()[0].clone();
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    webhook.verify(&body, &headers).unwrap();
    let mut forged = headers.clone();
    forged.insert("webhook-id", HeaderValue::from_static("another"));
    assert!(webhook.verify(&body, &forged).is_err());
    assert!(webhook.verify(b"{}", &headers).is_err());
}

#[tokio::test]
async fn a_passing_failure_is_tried_once_more_under_the_same_key_r65() {
    let (url, received) = receiver(vec![(503, ""), (200, "done")]).await;
    let execution = run(&registry(&url)).await;
    assert_eq!((execution.attempts, execution.outcome.for_model()), (2, "done".to_owned()));
    let keys: Vec<_> = received.lock().unwrap().iter().map(|(headers, _)| headers["idempotency-key"].clone()).collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(registry(&url).replay("create_ticket"), Replay::WithKey);
}

#[tokio::test]
async fn a_refusal_is_told_to_the_model_and_not_repeated() {
    let (url, received) = receiver(vec![(422, "The title is too vague.")]).await;
    let told = run(&registry(&url)).await.outcome.for_model();
    assert!(told.contains("refused the call (422 Unprocessable Entity): The title is too vague."), "{told}");
    assert_eq!(received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_secrets() {
    let (elsewhere, received) = receiver(vec![(200, "thanks")]).await;
    let router = Router::new()
        .route("/hook", post(move || async move { (StatusCode::TEMPORARY_REDIRECT, [("location", elsewhere)]) }));
    let url = format!("http://{}/hook", serve(router).await);
    let told = run(&registry(&url)).await.outcome.for_model();
    assert!(told.contains("307"), "{told}");
    assert_eq!(received.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_result_over_256_kib_is_an_error_r184() {
    let text: &'static str = "x".repeat(256 * 1024 + 1).leak();
    let (url, _) = receiver(vec![(200, text)]).await;
    let told = run(&registry(&url)).await.outcome.for_model();
    assert!(told.contains("answered with 262145 bytes; at most 262144 are kept"), "{told}");
}

#[test]
fn a_private_address_is_refused_unless_the_deployment_says_so() {
    let url = "http://127.0.0.1:1/hook";
    let config = ConfiguredTool { allow_private: false, ..config(url) };
    let error = HttpTool::new(&config, url, &secrets(), clock()).err().unwrap();
    assert_eq!(error.to_string(), "an address of the tools cannot be used: 127.0.0.1 is loopback");
}

#[test]
fn a_secret_that_cannot_sign_is_named_and_not_shown() {
    let secrets = Secrets::new(Some(r#"{"TICKETS": "hunter2", "TOKEN": "x"}"#), |_| None).unwrap();
    let error = HttpTool::new(&config("https://x.test/"), "https://x.test/", &secrets, clock()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the secret `TICKETS` is invalid: it must be `whsec_` and at least 24 bytes in base64"
    );
}
