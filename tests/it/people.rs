//! People in the loop: approvals, tools that the caller runs, budgets, messages, and going on after a failure.

use local::demo_model::{Call, Fault, Gate, Script, Turn};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{System, types};

/// A job whose model asks for these calls and then says something, started with `extra` members.
async fn asks(system: &System, input: &'static str, calls: Vec<Call>, extra: Value) -> Value {
    system.model.script(input, Script::new().turn(Turn::calls(calls)).turn(Turn::text("Done.")));
    let mut body = json!({"input": input, "tools": tests::tools::NAMES});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    system.submit(body).await
}

async fn answer(system: &System, job: &Value, request: &Value, body: Value) -> (StatusCode, Value) {
    let path = format!("/jobs/{}/input_requests/{}", job["id"].as_str().unwrap(), request["id"].as_str().unwrap());
    system.answer(system.request(Method::POST, &path).json(&body)).await
}

fn open(job: &Value) -> Vec<Value> {
    let requests = job["input_requests"].as_array().unwrap();
    requests.iter().filter(|request| request["answer"].is_null()).cloned().collect()
}

const ALWAYS: &str = r#"{"approval": {"*": "always"}}"#;

#[tokio::test]
async fn a_call_that_needs_approval_waits_for_it_with_nobody_at_work() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"b": 2, "a": 1}"#)];
    let job = asks(&system, "Add them", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let [request] = open(&job).try_into().unwrap();
    assert_eq!((request["kind"].as_str(), request["tool_call"]["name"].as_str()), (Some("approval"), Some("add")));
    assert_eq!(request["tool_call"]["arguments"], r#"{"b": 2, "a": 1}"#, "the exact arguments are shown");
    assert!(job["deadline_at"].is_null(), "the clock stands still");
    assert_eq!(job["tool_calls"][0]["status"], "pending");

    let (status, after) = answer(&system, &job, &request, json!({"action": "approve"})).await;
    assert_eq!(status, 200, "{after}");
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Done.")));
    assert_eq!(
        (job["tool_calls"][0]["outcome"].as_str(), job["tool_calls"][0]["result"].as_str()),
        (Some("done"), Some("3"))
    );
    assert_eq!(job["input_requests"][0]["answer"]["by"], "local");
    let log = system.log(&job).await;
    let order: Vec<&str> =
        types(&log).into_iter().filter(|kind| kind.starts_with("input.") || kind.starts_with("job.")).collect();
    assert_eq!(
        order,
        [
            "job.queued",
            "job.running",
            "input.requested",
            "job.input_required",
            "input.resolved",
            "job.running",
            "job.completed"
        ]
    );
}

#[tokio::test]
async fn a_second_answer_is_a_conflict() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Twice", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let request = open(&job).remove(0);
    assert_eq!(answer(&system, &job, &request, json!({"action": "reject", "data": {"reason": "No."}})).await.0, 200);
    let (status, error) = answer(&system, &job, &request, json!({"action": "approve"})).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (409, Some("already_answered")));
    let job = system.finished(&job).await;
    assert_eq!(
        (job["tool_calls"][0]["status"].as_str(), job["tool_calls"][0]["outcome"].as_str()),
        (Some("skipped"), Some("denied"))
    );
    let read = system.model.requests()[1].messages()[2]["content"].as_str().unwrap().to_owned();
    assert!(read.contains("A person refused this call: No."), "{read}");
}

#[tokio::test]
async fn arguments_can_be_edited_on_approving() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Edited", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let request = open(&job).remove(0);
    let (status, error) = answer(&system, &job, &request, json!({"action": "modify"})).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (422, Some("answer_unfit")), "{error}");
    let words = json!({"action": "modify", "data": {"a": "twenty", "b": 22}});
    let (status, error) = answer(&system, &job, &request, words).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (422, Some("answer_unfit")), "{error}");
    let edited = json!({"action": "modify", "data": {"a": 20, "b": 22}});
    assert_eq!(answer(&system, &job, &request, edited).await.0, 200);
    let job = system.finished(&job).await;
    let call = &job["tool_calls"][0];
    assert_eq!((call["result"].as_str(), call["arguments"].as_str()), (Some("42"), Some(r#"{"a": 1, "b": 1}"#)));
    assert_eq!(call["edited_arguments"], r#"{"a":20,"b":22}"#);
}

#[tokio::test]
async fn a_rule_may_look_at_the_arguments() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#), Call::new("add", r#"{"a": 500, "b": 1}"#)];
    let rule = json!({"approval": {"add": {"properties": {"a": {"minimum": 100}}}}});
    let job = asks(&system, "Large ones only", calls, rule).await;
    let job = system.waiting(&job).await;
    let requests = open(&job);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["tool_call"]["arguments"], r#"{"a": 500, "b": 1}"#);
    assert_eq!(job["tool_calls"][0]["result"], "2", "the other one has run meanwhile");
    assert_eq!(answer(&system, &job, &requests[0], json!({"action": "approve"})).await.0, 200);
    let job = system.finished(&job).await;
    let attempts: Vec<u64> =
        job["tool_calls"].as_array().unwrap().iter().map(|call| call["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 1], "what ran before the pause is not run again");
}

#[tokio::test]
async fn an_approval_that_nobody_gives_is_a_refusal_at_its_deadline() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let extra = json!({"approval": {"add": "always"}, "limits": {"input_seconds": 1}});
    let job = asks(&system, "Nobody", calls, extra).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(job["input_requests"][0]["answer"]["by"], "timeout");
    assert_eq!(job["tool_calls"][0]["outcome"], "denied");
    assert_eq!(job["tool_calls"][0]["error"]["message"], "A person refused this call: Nobody approved it in time");
}

fn on_the_phone() -> Value {
    json!({"tools": [{"type": "function", "execution": "client", "function": {"name": "photograph",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}}}]})
}

#[tokio::test]
async fn the_callers_own_tools_wait_for_their_results_and_the_last_one_lets_the_job_go_on() {
    let system = System::start().await;
    let calls = ["door", "roof"].map(|what| Call::new("photograph", json!({"what": what}).to_string()));
    let job = asks(&system, "Look at the house", calls.into(), on_the_phone()).await;
    let job = system.waiting(&job).await;
    let requests = open(&job);
    assert_eq!(
        requests.iter().map(|request| request["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["client_tool"; 2]
    );
    let (status, between) = answer(&system, &job, &requests[1], json!({"action": "submit", "data": "a roof"})).await;
    assert_eq!((status.as_u16(), between["status"].as_str()), (200, Some("input_required")), "{between}");
    assert_eq!(open(&between).len(), 1);
    let result = json!({"action": "submit", "data": {"colour": "red"}});
    assert_eq!(answer(&system, &job, &requests[0], result).await.0, 200);
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed");
    let results: Vec<&str> =
        job["tool_calls"].as_array().unwrap().iter().map(|call| call["result"].as_str().unwrap()).collect();
    assert_eq!(results, [r#"{"colour":"red"}"#, "a roof"]);
}

#[tokio::test]
async fn a_client_that_does_not_answer_leaves_the_default_r53() {
    let system = System::start().await;
    let mut extra = on_the_phone();
    extra["limits"] = json!({"input_seconds": 1});
    let job = asks(&system, "Nobody there", vec![Call::new("photograph", r#"{"what": "x"}"#)], extra).await;
    let job = system.finished(&job).await;
    let call = &job["tool_calls"][0];
    assert_eq!(
        (call["status"].as_str(), call["error"]["message"].as_str()),
        (Some("skipped"), Some("Tool not available in background mode"))
    );
    assert_eq!(job["status"], "completed");
}

#[tokio::test]
async fn a_result_that_is_too_large_is_refused_and_the_request_stays_open_r184() {
    let system = System::start().await;
    let job = asks(&system, "Too much", vec![Call::new("photograph", r#"{"what": "x"}"#)], on_the_phone()).await;
    let job = system.waiting(&job).await;
    let request = open(&job).remove(0);
    let large = json!({"action": "submit", "data": "x".repeat(256 * 1024 + 1)});
    let (status, error) = answer(&system, &job, &request, large).await;
    assert_eq!(status, 422);
    assert!(error["error"]["message"].as_str().unwrap().contains("262144 bytes"), "{error}");
    assert_eq!(answer(&system, &job, &request, json!({"action": "reject"})).await.0, 200);
    assert_eq!(system.finished(&job).await["tool_calls"][0]["outcome"], "failed");
}

#[tokio::test]
async fn the_same_call_three_times_in_a_row_is_answered_with_a_hint() {
    let system = System::start().await;
    let call = || Turn::calls([Call::new("add", r#"{"a": 1, "b": 1}"#)]);
    let script = Script::new().turn(call()).turn(call()).turn(call()).turn(Turn::text("Enough."));
    let job = system.run("Again and again", script).await;
    let outcomes: Vec<&str> =
        job["tool_calls"].as_array().unwrap().iter().map(|call| call["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "done", "skipped"]);
    let hint = job["tool_calls"][2]["error"]["message"].as_str().unwrap();
    assert!(hint.starts_with("`add` was called with the same arguments 3 times in a row"), "{hint}");
    assert_eq!(job["metrics"]["tool_call_count"], 3);
    let fingerprints: std::collections::BTreeSet<&str> =
        job["tool_calls"].as_array().unwrap().iter().map(|call| call["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(fingerprints.len(), 1);
}

#[tokio::test]
async fn a_used_up_budget_asks_and_goes_on_when_it_is_raised() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Within means", calls, json!({"limits": {"max_total_tokens": 1}})).await;
    let job = system.waiting(&job).await;
    let request = open(&job).remove(0);
    assert_eq!(request["kind"], "budget");
    assert!(request["prompt"].as_str().unwrap().contains("limits.max_total_tokens"), "{request}");
    assert_eq!(system.model.requests().len(), 1, "checked before every model call");
    let unfit = json!({"action": "submit", "data": {"max_total_tokens": "lots"}});
    assert_eq!(answer(&system, &job, &request, unfit).await.0, 422);
    let raise = json!({"action": "submit", "data": {"max_total_tokens": 1_000_000}});
    assert_eq!(answer(&system, &job, &request, raise).await.0, 200);
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("completed"), Some("stop")));
}

#[tokio::test]
async fn a_budget_that_nobody_raises_ends_the_job_with_everything_kept() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let limits = json!({"limits": {"max_total_tokens": 1, "input_seconds": 1}});
    let job = asks(&system, "Poor", calls, limits).await;
    let job = system.finished(&job).await;
    assert_eq!(job["finish_reason"], "budget", "{job}");
    assert_eq!(job["tool_calls"][0]["result"], "2");
    assert!(job["usage"]["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_message_to_a_running_job_is_taken_in_by_its_next_turn() {
    let system = System::start().await;
    let gate = tests::tools::gate("a message comes");
    let call = Call::new("waits_at_the_gate", json!({"gate": "a message comes"}).to_string());
    system.model.script("Talk to me", Script::new().turn(Turn::calls([call])).turn(Turn::text("Heard.")));
    let job = system.submit(json!({"input": "Talk to me", "tools": ["waits_at_the_gate"]})).await;
    gate.reached().await;
    let path = format!("/jobs/{}/messages", job["id"].as_str().unwrap());
    let post = |text: &str| {
        let request = system.request(Method::POST, &path).header("idempotency-key", "m1");
        system.answer(request.json(&json!({"content": text})))
    };
    assert_eq!(post("And quickly").await.0, 202);
    assert_eq!(post("And quickly").await.0, 202, "sent again, accepted once");
    assert_eq!(post("Something else").await.0, 422);
    gate.open();
    let job = system.finished(&job).await;
    let requests = system.model.requests();
    let told: Vec<&str> = requests[1].messages().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(told, ["user", "assistant", "tool", "user"]);
    assert_eq!(requests[1].messages()[3]["content"], "And quickly");
    let added: Vec<Value> =
        system.log(&job).await.into_iter().filter(|event| event["type"] == "message.added").collect();
    assert_eq!(added.len(), 1);
    assert_eq!(added[0]["message"]["content"], "And quickly");
    let (status, error) = system.answer(system.request(Method::POST, &path).json(&json!({"content": "Late"}))).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (409, Some("job_finished")));
}

#[tokio::test]
async fn a_message_during_the_last_answer_is_not_lost_to_the_jobs_end() {
    let system = System::start().await;
    let gate = Gate::new();
    let script = Script::new()
        .turn(Turn::pieces(["One ", "moment"]).fault(Fault::StallAfter(1, gate.clone())))
        .turn(Turn::text("And that, too."));
    system.model.script("Almost done", script);
    let job = system.submit(json!({"input": "Almost done"})).await;
    let mut viewer = system.follow(&job, 0).await;
    while viewer.next().await.unwrap().event != "output.delta" {}
    let path = format!("/jobs/{}/messages", job["id"].as_str().unwrap());
    let (status, _) = system.answer(system.request(Method::POST, &path).json(&json!({"content": "Wait"}))).await;
    assert_eq!(status, 202);
    gate.open();
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "One moment\n\nAnd that, too.");
    assert_eq!(system.model.requests()[1].messages().last().unwrap()["content"], "Wait");
}

#[tokio::test]
async fn a_failed_job_goes_on_in_a_new_one_with_everything_before_the_failure() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::calls([Call::new("add", r#"{"a": 1, "b": 1}"#)]))
        .turn(Turn::text("It is 2.").fault(Fault::Status(401, "no")));
    system.model.script("Add, then fail", script);
    let forced = json!({"type": "function", "function": {"name": "add"}});
    let job = system.submit(json!({"input": "Add, then fail", "tools": ["add"], "tool_choice": forced})).await;
    let failed = system.finished(&job).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let path = format!("/jobs/{}/retry", failed["id"].as_str().unwrap());
    let (status, again) = system.post(&path).await;
    assert_eq!(status, 202, "{again}");
    let again = system.finished(&again).await;
    assert_eq!((again["status"].as_str(), again["output"].as_str()), (Some("completed"), Some("It is 2.")));
    let requests = system.model.requests();
    assert_eq!(requests.last().unwrap().messages()[2]["content"], "2", "the tool's result is kept, not made again");
    let choices: Vec<&Value> = requests.iter().map(|request| &request.body["tool_choice"]).collect();
    assert_eq!(choices, [&forced, choices[1], choices[1]], "forced once (R180)");
    assert_ne!(choices[1], &forced);
    let path = format!("/jobs/{}/retry", again["id"].as_str().unwrap());
    assert_eq!(system.post(&path).await.0, 409, "a completed job has nothing to go on with");
}

#[tokio::test]
async fn a_waiting_job_survives_a_restart_and_is_not_among_its_users_jobs_at_work() {
    let data = tempfile::tempdir().unwrap();
    let model = local::demo_model::DemoModel::start(local::demo_model::Options::scripted()).await.unwrap();
    let system = System::at(data.path(), model).await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Later", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let model = system.stop().await;
    let system = System::at(data.path(), model).await;
    let again = system.get(&format!("/jobs/{}", job["id"].as_str().unwrap())).await;
    assert_eq!(again["status"], "input_required");
    assert_eq!(answer(&system, &job, &open(&job)[0], json!({"action": "approve"})).await.0, 200);
    assert_eq!(system.finished(&job).await["output"], "Done.");
}

#[tokio::test]
async fn a_waiting_job_can_be_cancelled() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Not any more", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let (_, cancelled) = system.post(&format!("/jobs/{}/cancel", job["id"].as_str().unwrap())).await;
    assert_eq!(cancelled["status"], "cancelled");
    let (status, error) = answer(&system, &job, &open(&job)[0], json!({"action": "approve"})).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (409, Some("job_finished")));
}

#[tokio::test]
async fn nobody_answers_for_somebody_else() {
    let system = System::start().await;
    let calls = vec![Call::new("add", r#"{"a": 1, "b": 1}"#)];
    let job = asks(&system, "Mine", calls, serde_json::from_str(ALWAYS).unwrap()).await;
    let job = system.waiting(&job).await;
    let path =
        format!("/jobs/{}/input_requests/{}", job["id"].as_str().unwrap(), open(&job)[0]["id"].as_str().unwrap());
    let request = system.request(Method::POST, &path).header("x-nightshift-user", "eve");
    let (status, _) = system.answer(request.json(&json!({"action": "approve"}))).await;
    assert_eq!(status, 404);
    let path = format!("/jobs/{}/input_requests/main.9.call9", job["id"].as_str().unwrap());
    let (status, error) = system.answer(system.request(Method::POST, &path).json(&json!({"action": "approve"}))).await;
    assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (404, Some("input_request_not_found")));
}
