//! Turns: how a job gets from its input to its answer.

use local::demo_model::{Call, Fault, Gate, Script, Turn};
use serde_json::json;
use tests::{System, replayed, types};

fn add(a: i64, b: i64) -> Call {
    Call::new("add", json!({"a": a, "b": b}).to_string())
}

#[tokio::test]
async fn a_text_only_job_takes_one_turn() {
    let system = System::start().await;
    let job = system.run("Say hello", Script::new().turn(Turn::pieces(["Hel", "lo, ", "Zoë!"]))).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["output"], "Hello, Zoë!");
    assert_eq!(job["finish_reason"], "stop");
    assert_eq!(job["metrics"]["total_turns"], 1);
    assert_eq!(job["metrics"]["tool_call_count"], 0);
    assert!(job["usage"]["output_tokens"].as_u64().unwrap() > 0, "{job}");
    let log = system.log(&job).await;
    assert_eq!(types(&log), ["job.queued", "job.running", "turn.started", "turn.completed", "job.completed"]);
    assert_eq!(replayed(&log), "Hello, Zoë!");
    assert_eq!(log.last().unwrap()["output"], "Hello, Zoë!");
}

#[tokio::test]
async fn one_tool_turn_is_followed_by_the_answer() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([add(2, 3)])).turn(Turn::text("It is 5."));
    let job = system.run("2 + 3?", script).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("It is 5.")));
    assert_eq!(job["metrics"]["total_turns"], 2);
    let call = &job["tool_calls"][0];
    assert_eq!(
        (call["name"].as_str(), call["status"].as_str(), call["result"].as_str()),
        (Some("add"), Some("completed"), Some("5"))
    );
    assert_eq!(
        types(&system.log(&job).await),
        [
            "job.queued",
            "job.running",
            "turn.started",
            "tool_call.pending",
            "tool_call.pending",
            "tool_call.running",
            "tool_call.completed",
            "turn.completed",
            "turn.started",
            "turn.completed",
            "job.completed",
        ]
    );
    let requests = system.model.requests();
    let messages = requests[1].messages();
    assert_eq!(messages[1]["tool_calls"][0]["function"]["name"], "add");
    assert_eq!((messages[2]["role"].as_str(), messages[2]["content"].as_str()), (Some("tool"), Some("5")));
    assert_eq!(messages[2]["tool_call_id"], messages[1]["tool_calls"][0]["id"]);
}

#[tokio::test]
async fn viewers_see_a_call_while_its_arguments_are_written_r87() {
    let system = System::start().await;
    let gate = Gate::new();
    let script = Script::new()
        .turn(Turn::calls([add(2, 3).fragments(3)]).fault(Fault::StallAfter(1, gate.clone())))
        .turn(Turn::text("It is 5."));
    system.model.script("Slowly", script);
    let job = system.submit(json!({"input": "Slowly", "tools": ["add"]})).await;
    let mut viewer = system.follow(&job, 0).await;
    let mut pending = async || loop {
        let frame = viewer.next().await.unwrap();
        if frame.event == "tool_call.pending" {
            return frame.data;
        }
    };
    let seen = pending().await;
    assert_eq!((seen["name"].as_str(), seen["arguments"].as_str()), (Some("add"), Some("")), "the model still writes");
    gate.open();
    let whole = pending().await;
    assert_eq!((&whole["id"], whole["arguments"].as_str()), (&seen["id"], Some(r#"{"a":2,"b":3}"#)));
    assert_eq!(system.finished(&job).await["tool_calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn three_dependent_turns_keep_their_texts_apart() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::text("First.").then_calls([add(1, 1)]))
        .turn(Turn::text("Second.").then_calls([add(2, 2)]))
        .turn(Turn::calls([add(4, 4)]))
        .turn(Turn::text("Eight."));
    let job = system.run("Double twice", script).await;
    assert_eq!(job["output"], "First.\n\nSecond.\n\nEight.");
    assert_eq!(replayed(&system.log(&job).await), "First.\n\nSecond.\n\nEight.");
    let results: Vec<_> = job["tool_calls"].as_array().unwrap().iter().map(|call| call["result"].as_str()).collect();
    assert_eq!(results, [Some("2"), Some("4"), Some("8")]);
    assert_eq!(job["metrics"]["total_turns"], 4);
}

#[tokio::test]
async fn calls_of_one_turn_run_side_by_side() {
    let system = System::start().await;
    let (one, two) = ("side by side 1", "side by side 2");
    let wait = |gate: &str| Call::new("waits_at_the_gate", json!({"gate": gate}).to_string());
    let script = Script::new().turn(Turn::calls([wait(one), wait(two)])).turn(Turn::text("Both."));
    system.model.script("Both gates", script);
    let job = system.submit(json!({"input": "Both gates", "tools": ["waits_at_the_gate"]})).await;
    // Both are waiting at the same time, or this would wait for ever.
    tests::tools::gate(one).reached().await;
    tests::tools::gate(two).reached().await;
    tests::tools::gate(two).open();
    tests::tools::gate(one).open();
    let job = system.finished(&job).await;
    let calls = job["tool_calls"].as_array().unwrap();
    assert!(calls.iter().all(|call| call["result"] == "through"), "{calls:?}");
    // The conversation has them in the model's order, whichever was first.
    let requests = system.model.requests();
    assert_eq!(requests[1].messages().len(), 4);
}

#[tokio::test]
async fn ten_tool_turns_and_an_answer_succeed_and_the_eleventh_request_for_tools_fails_r48() {
    let system = System::start().await;
    let ten = (0..10).fold(Script::new(), |script, n| script.turn(Turn::calls([add(n, n)])));
    let job = system.run("Ten turns", ten.turn(Turn::text("Done."))).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Done.")));

    let eleven = (0..11).fold(Script::new(), |script, n| script.turn(Turn::calls([add(n, n)])));
    let job = system.run("Eleven turns", eleven).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("failed"), Some("tool_limit")));
    assert_eq!(job["error"]["message"], "Tool execution limit exceeded");
    assert_eq!(job["error"]["turn"], 11);
    assert_eq!(job["metrics"]["tool_call_count"], 10);
}

#[tokio::test]
async fn more_than_twenty_calls_in_a_turn_fail_the_job_r49() {
    let system = System::start().await;
    let twenty = Script::new().turn(Turn::calls((0..20).map(|n| add(n, 1)))).turn(Turn::text("Done."));
    assert_eq!(system.run("Twenty calls", twenty).await["status"], "completed");
    let job = system.run("Twenty-one", Script::new().turn(Turn::calls((0..21).map(|n| add(n, 1))))).await;
    assert_eq!((job["status"].as_str(), job["finish_reason"].as_str()), (Some("failed"), Some("tool_limit")));
    assert_eq!(job["error"]["message"], "Too many concurrent tool calls");
    assert_eq!(job["metrics"]["tool_call_count"], 0);
}

#[tokio::test]
async fn a_forced_tool_choice_holds_for_the_first_turn_only_r180() {
    let system = System::start().await;
    system.model.script("Force it", Script::new().turn(Turn::calls([add(1, 2)])).turn(Turn::text("3")));
    let choice = json!({"type": "function", "function": {"name": "add"}});
    let job = system.submit(json!({"input": "Force it", "tools": ["add"], "tool_choice": choice})).await;
    assert_eq!(system.finished(&job).await["status"], "completed");
    let requests = system.model.requests();
    assert_eq!(requests[0].body["tool_choice"], choice);
    assert_eq!(requests[1].body.get("tool_choice"), None);
}

#[tokio::test]
async fn twenty_jobs_at_once_all_end() {
    let system = System::start().await;
    let mut jobs = vec![];
    for n in 0..20 {
        let input = format!("Job {n:02} of many");
        system
            .model
            .script(&input, Script::new().turn(Turn::calls([add(n, n)])).turn(Turn::text(format!("{}", 2 * n))));
        jobs.push(system.submit(json!({"input": input, "tools": ["add"]})).await);
    }
    for (n, job) in jobs.iter().enumerate() {
        let job = system.finished(job).await;
        assert_eq!(job["status"], "completed");
        assert_eq!(job["output"], (2 * n).to_string());
    }
}

#[tokio::test]
async fn a_new_job_goes_on_from_the_conversation_of_an_earlier_one() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::calls([add(2, 2)])).turn(Turn::text("Four."));
    let first = system.run("Two and two?", script.turn(Turn::text("Five, then."))).await;
    let body = json!({"input": "And one more?", "previous_job_id": first["id"]});
    let job = system.submit(body).await;
    assert_eq!(system.finished(&job).await["output"], "Five, then.");
    let requests = system.model.requests();
    let roles: Vec<_> = requests[2].messages().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant", "user"]);
}

#[tokio::test]
async fn what_the_provider_wants_back_of_a_turn_goes_back_in_every_later_one() {
    let system = System::start().await;
    let extra = json!({"google": {"thought_signature": "c2lnbmVk"}});
    let call =
        json!({"id": "c1", "function": {"name": "add", "arguments": "{\"a\":2,\"b\":3}"}, "extra_content": extra});
    let frame = |delta: serde_json::Value, finish: Option<&str>| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let raw = [
        frame(json!({"reasoning_content": "Two and "}), None),
        frame(json!({"reasoning_content": "three."}), None),
        frame(json!({"tool_calls": [call]}), Some("tool_calls")),
    ];
    let script = Script::new().turn(Turn::raw(raw.concat())).turn(Turn::text("It is 5."));
    let first = system.run("2 + 3?", script.turn(Turn::text("It still is."))).await;
    assert_eq!(first["output"], "It is 5.", "{first}");
    let next = system.submit(json!({"input": "Sure?", "previous_job_id": first["id"]})).await;
    assert_eq!(system.finished(&next).await["output"], "It still is.");
    let requests = system.model.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests[1..] {
        let messages = request.messages();
        assert_eq!(messages[1]["reasoning_content"], "Two and three.");
        assert_eq!(messages[1]["tool_calls"][0]["extra_content"], extra);
        assert!(messages[3..].iter().all(|message| message.get("reasoning_content").is_none()), "{messages:?}");
    }
    let there = system.get(&format!("/jobs/{}", first["id"].as_str().unwrap())).await;
    assert!(!there.to_string().contains("thought_signature"), "callers are not shown it: {there}");
}

#[tokio::test]
async fn settings_reach_the_model_as_they_were_given() {
    let system = System::start().await;
    system.model.script("Configured", Script::new().turn(Turn::text("{}")));
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let job = system
        .submit(json!({"input": "Configured", "instructions": "Be brief.", "model": "m-1", "temperature": 0.25,
            "top_p": 0.5, "max_output_tokens": 77, "reasoning": {"effort": "low"}, "response_format": format}))
        .await;
    assert_eq!(system.finished(&job).await["model"], "m-1");
    let requests = system.model.requests();
    let body = &requests[0].body;
    assert_eq!((body["model"].as_str(), body["temperature"].as_f64()), (Some("m-1"), Some(0.25)));
    assert_eq!((body["top_p"].as_f64(), body["max_tokens"].as_u64()), (Some(0.5), Some(77)));
    assert_eq!((&body["response_format"], &body["reasoning"]), (&format, &json!({"effort": "low"})));
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(body.get("tools"), None);
}
