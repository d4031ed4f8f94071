//! What a tool can do wrong, and that the job goes on all the same.

use local::demo_model::{Call, Script, Turn};
use serde_json::{Value, json};
use tests::System;

/// Runs a job whose model asks for one call and then says something; answers with the call and what the model read.
async fn one_call(name: &'static str, arguments: &'static str) -> (Value, String) {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([Call::new(name, arguments)])).turn(Turn::text("I see."));
    let job = system.run("Call it", script).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("I see.")), "{job}");
    let requests = system.model.requests();
    let read = requests[1].messages()[2]["content"].as_str().unwrap().to_owned();
    (job["tool_calls"][0].clone(), read)
}

#[tokio::test]
async fn a_throwing_tool_is_told_to_the_model() {
    let (call, read) = one_call("throws", "{}").await;
    assert_eq!(call["status"], "error");
    assert_eq!(call["error"], json!({"phase": "execution", "message": "the printer is on fire"}));
    assert!(read.contains("the printer is on fire"), "{read}");
}

#[tokio::test]
async fn a_panicking_tool_is_a_failed_tool() {
    let (call, read) = one_call("panics", "{}").await;
    assert_eq!((call["status"].as_str(), call["error"]["phase"].as_str()), (Some("error"), Some("execution")));
    assert!(read.contains("stopped unexpectedly"), "{read}");
}

#[tokio::test]
async fn a_tool_that_takes_too_long_is_stopped_r45() {
    let (call, read) = one_call("hangs", "{}").await;
    assert_eq!((call["status"].as_str(), call["error"]["phase"].as_str()), (Some("error"), Some("timeout")));
    assert!(read.contains("100ms"), "{read}");
}

#[tokio::test]
async fn arguments_that_do_not_fit_the_schema_are_told_to_the_model() {
    for arguments in [r#"{"n": "seven"}"#, "{}", "{not json", "[1]"] {
        let (call, read) = one_call("wants_a_number", arguments).await;
        assert_eq!((call["status"].as_str(), call["error"]["phase"].as_str()), (Some("error"), Some("validation")));
        assert!(read.contains("validation"), "{read}");
    }
}

#[tokio::test]
async fn an_unknown_tool_is_told_to_the_model_with_those_that_there_are() {
    let (call, read) = one_call("get_weather", "{}").await;
    assert_eq!((call["status"].as_str(), call["error"]["phase"].as_str()), (Some("error"), Some("validation")));
    assert!(read.contains("`get_weather` does not exist") && read.contains("calculate"), "{read}");
}

#[tokio::test]
async fn a_tool_of_the_clients_is_skipped_in_these_words_r53() {
    let (call, read) = one_call("on_the_phone", "{}").await;
    assert_eq!(call["status"], "skipped");
    assert_eq!(call["error"]["message"], "Tool not available in background mode");
    assert!(read.contains("Tool not available in background mode"), "{read}");
}

#[tokio::test]
async fn only_tools_that_the_job_names_are_run_r179() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([Call::new("add", r#"{"a":1,"b":1}"#)])).turn(Turn::text("No."));
    system.model.script("Not named", script);
    let job = system.submit(json!({"input": "Not named", "tools": ["calculate"]})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["tool_calls"][0]["status"], "skipped");
    let requests = system.model.requests();
    assert_eq!(requests[0].body["tools"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn sixty_kilobytes_of_results_are_cut_for_the_model_and_kept_for_the_reader_r50() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([Call::new("answers_60_kb", "{}")])).turn(Turn::text("Long."));
    let job = system.run("Much", script).await;
    let requests = system.model.requests();
    let read = requests[1].messages()[2]["content"].as_str().unwrap();
    assert!(read.len() <= 50 * 1024 && read.contains("of 60000 bytes are missing"), "{} bytes", read.len());
    let call = &job["tool_calls"][0];
    assert_eq!((call["result"].as_str().unwrap().len(), call["result_truncated"].as_bool()), (32 * 1024, Some(true)));
    let path = format!("/jobs/{}/tool_calls/{}", job["id"].as_str().unwrap(), call["id"].as_str().unwrap());
    assert_eq!(system.get(&path).await["result"], "é".repeat(30_000));
}

#[tokio::test]
async fn the_built_in_tools_answer() {
    let (call, _) = one_call("calculate", r#"{"expression": "17% * 2340"}"#).await;
    assert!(call["result"].as_str().unwrap().contains("397.8"), "{call}");
    let (call, _) = one_call("get_current_time", r#"{"timezone": "Asia/Tokyo"}"#).await;
    assert!(call["result"].as_str().unwrap().contains("+09:00"), "{call}");
}

#[tokio::test]
async fn arguments_over_64_kb_are_left_out_and_the_job_goes_on_r184() {
    let system = System::start().await;
    let long = Call::new("wants_a_number", format!(r#"{{"n": "{}"}}"#, "x".repeat(500_000)));
    let job = system.run("Wordy", Script::new().turn(Turn::calls([long])).turn(Turn::text("Sorry."))).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Sorry.")), "{job}");
    let call = &job["tool_calls"][0];
    assert_eq!((call["status"].as_str(), call["error"]["phase"].as_str()), (Some("error"), Some("validation")));
    assert!(call["arguments"].as_str().unwrap().contains("left out: 500009 bytes"), "{call}");
}

#[tokio::test]
async fn a_model_that_counts_its_calls_from_zero_in_every_turn_is_understood() {
    let system = System::start().await;
    let call = |a: u32| Call::new("add", format!(r#"{{"a":{a},"b":0}}"#)).id("call_0");
    let script =
        Script::new().turn(Turn::calls([call(1), call(2)])).turn(Turn::calls([call(3)])).turn(Turn::text("Ok."));
    let job = system.run("Zero", script).await;
    let calls = job["tool_calls"].as_array().unwrap();
    for (call, result) in calls.iter().zip(["1", "2", "3"]) {
        let path = format!("/jobs/{}/tool_calls/{}", job["id"].as_str().unwrap(), call["id"].as_str().unwrap());
        assert_eq!(system.get(&path).await["result"], result);
    }
    assert_eq!(calls.len(), 3);
}

#[tokio::test]
async fn a_broken_tool_fails_the_job_r95() {
    let system = System::start().await;
    let job = system.run("Broken", Script::new().turn(Turn::calls([Call::new("is_broken", "{}")]))).await;
    assert_eq!((job["status"].as_str(), job["error"]["code"].as_str()), (Some("failed"), Some("tool_broken")));
    assert_eq!(job["error"]["tool_name"], "is_broken");
    assert_eq!(job["tool_calls"][0]["status"], "error");
    assert!(!job.to_string().contains("hunter2"), "a cause was shown: {job}");
}

#[tokio::test]
async fn what_was_asked_and_what_came_of_it_is_in_the_job_and_in_the_log_r178() {
    let system = System::start().await;
    let calls = [
        Call::new("add", r#"{"a": 1, "b": 2}"#),
        Call::new("add", r#"{"b": 2, "a": 1}"#),
        Call::new("throws", "{}"),
        Call::new("nowhere", "{}"),
    ];
    let script = Script::new().turn(Turn::calls(calls)).turn(Turn::text("So it is."));
    let job = system.run("Keep a ledger", script).await;
    let in_job = job["tool_calls"].as_array().unwrap();
    let outcomes: Vec<&str> = in_job.iter().map(|call| call["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "done", "failed", "failed"], "{in_job:#?}");
    assert_eq!(in_job[0]["fingerprint"], in_job[1]["fingerprint"], "the order of members means nothing");
    assert_ne!(in_job[0]["fingerprint"], in_job[2]["fingerprint"]);
    assert_eq!((in_job[0]["attempts"].as_u64(), in_job[3]["attempts"].as_u64()), (Some(1), None), "the last never ran");
    let log = system.log(&job).await;
    for call in in_job {
        let told = log.iter().rfind(|event| event["id"] == call["id"]).unwrap();
        for field in ["name", "arguments", "status", "fingerprint", "started_at", "finished_at", "attempts", "outcome"]
        {
            assert_eq!(told[field], call[field], "{field} of {call}");
        }
        for field in ["fingerprint", "started_at", "finished_at"] {
            assert!(call[field].is_string(), "{field} of {call}");
        }
    }
}
