//! Against a Lambda service that is a server on loopback, through the SDK as it is.

use std::sync::{Arc, Mutex};

use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_http_client::Builder;
use axum::{
    Router,
    extract::Request,
    http::{HeaderName, StatusCode},
};
use domain::tool_call::ToolOutcome;
use serde_json::json;
use tools::{Ending, Execution, ToolRegistry};

use super::*;
use crate::far_side::{context, serve};

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:refund";

/// An answer: status, a header, body.
type Answer = (u16, Option<(&'static str, &'static str)>, &'static str);

/// Runs a call against a service that gives these answers in turn; what it was asked, as path and payload.
async fn run(answers: Vec<Answer>) -> (Execution, Vec<(String, Value)>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut kept = kept.lock().unwrap();
        let (status, header, text) = answers[kept.len()];
        kept.push((parts.uri.path().to_owned(), serde_json::from_slice(&body).unwrap()));
        let headers = header.map(|(name, value)| (HeaderName::from_static(name), value));
        (StatusCode::from_u16(status).unwrap(), headers.map_or([UNUSED], |header| [header]), text)
    });
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(Builder::new().build_http())
        .endpoint_url(format!("http://{}", serve(router).await))
        .build();
    let tool: ConfiguredTool =
        serde_json::from_value(json!({"name": "refund", "description": "Refunds.", "function": ARN})).unwrap();
    let mut registry = ToolRegistry::new();
    registry.register(LambdaTool::new(&tool, ARN, Client::from_conf(config))).unwrap();
    let execution = registry.execute("refund", "{}", &context(), &["refund".to_owned()]).await;
    let asked = asked.lock().unwrap().clone();
    (execution, asked)
}

const UNUSED: (HeaderName, &str) = (HeaderName::from_static("x-unused"), "");

#[tokio::test]
async fn the_function_gets_the_call_with_its_key() {
    let (execution, asked) = run(vec![(200, None, r#"{"refunded": true}"#)]).await;
    assert_eq!(execution.outcome, ToolOutcome::Completed(r#"{"refunded":true}"#.to_owned()));
    let [(path, payload)] = &asked[..] else { panic!("{asked:?}") };
    assert!(path.starts_with("/2015-03-31/functions/arn") && path.ends_with("refund/invocations"), "{path}");
    assert_eq!((&payload["tool"], &payload["arguments"]), (&json!("refund"), &json!({})));
    assert_eq!(payload["idempotency_key"], context().idempotency_key());
}

#[tokio::test]
async fn a_functions_text_is_the_result_as_it_is() {
    let (execution, _) = run(vec![(200, None, r#""Refunded.""#)]).await;
    assert_eq!(execution.outcome, ToolOutcome::Completed("Refunded.".to_owned()));
}

#[tokio::test]
async fn a_functions_error_is_told_without_its_stack() {
    let body = r#"{"errorMessage": "no such order", "errorType": "E", "stackTrace": ["at /var/task/x.js"]}"#;
    let (execution, _) = run(vec![(200, Some(("x-amz-function-error", "Unhandled")), body)]).await;
    let told = execution.outcome.for_model();
    assert!(told.contains("Tool `refund` failed: no such order") && !told.contains("/var/task"), "{told}");
}

#[tokio::test]
async fn a_function_at_its_limit_is_tried_once_more_r65() {
    let throttled = (429, Some(("x-amzn-errortype", "TooManyRequestsException")), r#"{"Reason": "x"}"#);
    let (execution, asked) = run(vec![throttled, (200, None, "1")]).await;
    assert_eq!((execution.attempts, execution.outcome.for_model()), (2, "1".to_owned()));
    assert_eq!(asked[0], asked[1], "another key");
}

#[tokio::test]
async fn a_function_that_may_not_be_invoked_is_a_broken_deployment_r95() {
    for kind in ["AccessDeniedException", "ResourceNotFoundException"] {
        let (execution, _) = run(vec![(403, Some(("x-amzn-errortype", kind)), r#"{"Message": "no"}"#)]).await;
        assert!(matches!(execution.ending, Ending::Fatal(_)), "{kind}: {execution:?}");
    }
}
