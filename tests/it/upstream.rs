//! What the model's provider can do wrong.

use local::demo_model::{Call, Fault, Gate, Script, Turn};
use serde_json::json;
use tests::{System, replayed, types};

#[tokio::test]
async fn a_500_is_tried_again_at_once_and_leaves_no_trace_in_the_answer() {
    let system = System::start().await;
    let job = system.run("Flaky", Script::new().turn(Turn::text("Fine.").fault(Fault::Status(500, "broken")))).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Fine.")));
    assert_eq!(system.model.requests().len(), 2);
    assert_eq!(job["metrics"]["recoveries"], 0);
}

#[tokio::test]
async fn a_429_is_waited_for_without_a_worker_and_viewers_are_told() {
    let system = System::start().await;
    let turn = Turn::text("Fine.").fault(Fault::StatusRetryAfter(429, "slow down", "1"));
    let job = system.run("Limited", Script::new().turn(turn)).await;
    assert_eq!(job["output"], "Fine.");
    let log = system.log(&job).await;
    let waiting = log.iter().find(|event| event["type"] == "model.waiting").unwrap();
    assert_eq!(waiting["code"], "model_rate_limited");
}

#[tokio::test]
async fn a_401_fails_the_job_with_its_reason_and_is_not_tried_again() {
    let system = System::start().await;
    let turn =
        Turn::text("never").fault(Fault::Status(401, r#"{"error":{"code":401,"message":"No auth credentials"}}"#));
    let job = system.run("No key", Script::new().turn(turn)).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("failed"), Some("error")));
    assert_eq!(
        (job["error"]["code"].as_str(), job["error"]["failed_during"].as_str()),
        (Some("model_rejected"), Some("model_call"))
    );
    assert!(job["error"]["message"].as_str().unwrap().contains("No auth credentials"), "{job}");
    assert_eq!(system.model.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_is_withdrawn_and_told_anew() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::text("Before.").then_calls([Call::new("add", r#"{"a":1,"b":1}"#)]))
        .turn(Turn::pieces(["The ", "answer ", "is 2."]).fault(Fault::CutAfter(2)));
    let job = system.run("Cut", script).await;
    assert_eq!(job["output"], "Before.\n\nThe answer is 2.");
    let log = system.log(&job).await;
    assert_eq!(replayed(&log), "Before.\n\nThe answer is 2.");
    let restarted = log.iter().find(|event| event["type"] == "turn.restarted").unwrap();
    assert_eq!((restarted["output_offset"].as_u64(), restarted["attempt"].as_u64()), (Some(7), Some(2)));
    assert_eq!(job["tool_calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_error_in_the_stream_is_no_answer() {
    let system = System::start().await;
    let turn = Turn::pieces(["Half", " and half"]).fault(Fault::ErrorAfter(1, "server_error", "overloaded"));
    let job = system.run("In-stream", Script::new().turn(turn)).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Half and half")));
}

#[tokio::test]
async fn a_stream_split_at_every_byte_is_read_the_same() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::text("Zoë 💡").then_calls([Call::new("add", r#"{"a":1,"b":1}"#).fragments(4)]).split(1))
        .turn(Turn::pieces(["Grüße ", "aus ", "日本"]).split(1));
    let job = system.run("Split", script).await;
    assert_eq!(job["output"], "Zoë 💡\n\nGrüße aus 日本");
    assert_eq!(job["tool_calls"][0]["result"], "2");
}

#[tokio::test]
async fn a_turn_over_its_time_fails_the_job_r85() {
    let system = System::start().await;
    system.model.script("Slow", Script::new().turn(Turn::pieces(["a", "b"]).fault(Fault::HangAfter(1))));
    let job = system.submit(json!({"input": "Slow", "limits": {"turn_seconds": 1}})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["error"]["code"].as_str()), (Some("failed"), Some("turn_timeout")));
    assert_eq!(job["output"], "a");
    system.model.wait_for_open_streams(0).await;
}

#[tokio::test]
async fn a_job_over_its_deadline_fails_r69() {
    let system = System::start().await;
    let gate = Gate::new();
    system.model.script("Late", Script::new().turn(Turn::text("x").fault(Fault::StallBeforeHeaders(gate))));
    let job = system.submit(json!({"input": "Late", "limits": {"deadline_seconds": 1}})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("failed"), Some("deadline")));
    assert_eq!(types(&system.log(&job).await).last(), Some(&"job.failed"));
}
