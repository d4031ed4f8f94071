//! Metrics, and the lines of the log that stand beside them.

use domain::{price::Prices, usage::Usage};
use local::demo_model::{Call, Script, Turn};
use serde_json::{Value, json};
use tests::System;

use crate::listening::{Counts, Listening};

fn usage(input: u64, output: u64) -> Usage {
    Usage { input_tokens: input, output_tokens: output, ..Usage::default() }
}

#[tokio::test]
async fn r62_r99_r132_a_jobs_turns_calls_tokens_and_times_are_counted_at_metrics() {
    let listening = Listening::start().await;
    let system = System::start().await;
    let before = Counts::now(&system).await;
    let calls = [Call::new("add", r#"{"a": 1, "b": 2}"#), Call::new("throws", "{}"), Call::new("callers_own", "{}")];
    let script = Script::new()
        .turn(Turn::text("Adding.").then_calls(calls).usage(Usage { cost_usd: 0.000_25, ..usage(100, 10) }))
        .turn(Turn::text("Three.").usage(usage(200, 20)));
    system.model.script("Count", script);
    let own = json!({"type": "function", "function": {"name": "callers_own", "parameters": {"type": "object"}}});
    let job = system.submit(json!({"input": "Count", "tools": ["add", "throws", own]})).await;
    let finished = system.finished(&job).await;
    assert_eq!(finished["status"], "completed");
    // What is owed is settled, and counted, after the last event.
    loop {
        let now = Counts::now(&system).await;
        if more(&before, &now, r#"jobs_ended_total{outcome="completed"}"#) > 0.0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let after = Counts::now(&system).await;
    for (series, by) in [
        ("jobs_started_total", 1.0),
        (r#"jobs_ended_total{outcome="completed"}"#, 1.0),
        (r#"turns_total{outcome="committed"}"#, 1.0),
        (r#"turns_total{outcome="ended"}"#, 1.0),
        (r#"model_calls_total{outcome="answered"}"#, 2.0),
        (r#"tokens_total{kind="input"}"#, 300.0),
        (r#"tokens_total{kind="output"}"#, 30.0),
        ("cost_micros_total", 250.0),
        (r#"tool_calls_started_total{tool="add"}"#, 1.0),
        (r#"tool_calls_completed_total{tool="add"}"#, 1.0),
        (r#"tool_calls_failed_total{tool="throws"}"#, 1.0),
        (r#"tool_calls_skipped_total{tool="other"}"#, 1.0),
        ("queue_time_milliseconds_count", 1.0),
        ("turn_time_milliseconds_count", 2.0),
        ("model_first_token_milliseconds_count", 2.0),
        (r#"tool_time_milliseconds_count{tool="add"}"#, 1.0),
    ] {
        assert_eq!(more(&before, &after, series), by, "{series} in {}", after.text());
    }
    assert!(
        more(&before, &after, "text_batches_total") >= 2.0 && more(&before, &after, "text_bytes_total") > 10.0,
        "{}",
        after.text()
    );
    assert!(!after.text().contains("callers_own"), "callers choose names without end");
    r131_each_outcome_has_its_line(&listening, &finished);
}

fn r131_each_outcome_has_its_line(listening: &Listening, job: &Value) {
    let one = |message: &str, tool: &str| {
        let lines = listening.lines(message).into_iter();
        let lines: Vec<Value> = lines.filter(|line| tool.is_empty() || line["tool.name"] == tool).collect();
        assert_eq!(lines.len(), 1, "{message} {tool}: {lines:?}");
        assert_eq!(lines[0]["job.id"], job["id"], "{message}");
        lines[0].clone()
    };
    assert_eq!(one("tool calls begin", "")["calls"], 3);
    one("tool call started", "add");
    assert!(one("tool call completed", "add")["duration_ms"].is_u64());
    assert_eq!(one("tool call failed", "throws")["tool.outcome"], "failed");
    let ended = one("job ended", "");
    assert_eq!((&ended["turns"], &ended["calls"], &ended["job.status"]), (&json!(2), &json!(3), &json!("completed")));
    assert!(
        listening.lines("text written").iter().all(|line| line["batch.bytes"].is_u64() && line["level"] == "DEBUG")
    );
    assert!(!listening.lines("text written").is_empty());
    let turns = listening.lines("turn over");
    let of_turn = |n: usize| ["turn.number", "turn.outcome", "lease.epoch"].map(|field| turns[n][field].clone());
    assert_eq!(of_turn(0), [json!(1), json!("committed"), json!(1)]);
    assert_eq!(of_turn(1), [json!(2), json!("ended"), json!(2)]);
    assert!(turns.iter().all(|line| line["duration_ms"].is_u64()));
    // Whatever else is said in a turn has it beside it.
    let answered = &listening.lines("model answered")[0];
    assert_eq!(answered["spans"].as_array().unwrap().last().unwrap()["lease.epoch"], 1, "{answered}");
}

#[tokio::test]
async fn viewers_their_frames_and_bytes_are_counted() {
    let _listening = Listening::start().await;
    let system = System::start().await;
    let before = Counts::now(&system).await;
    let gate = tests::tools::gate("viewers");
    let waits = Call::new("waits_at_the_gate", r#"{"gate": "viewers"}"#);
    system.model.script("Look", Script::new().turn(Turn::calls([waits])).turn(Turn::text("Looked.")));
    let job = system.submit(json!({"input": "Look", "tools": ["waits_at_the_gate"]})).await;
    let mut viewer = system.follow(&job, 0).await;
    assert!(viewer.next().await.is_some());
    gate.reached().await;
    assert_eq!(Counts::now(&system).await.of("nightshift_stream_viewers"), 1.0);
    gate.open();
    let mut frames = 1.0;
    while viewer.next().await.is_some() {
        frames += 1.0;
    }
    system.wait_for_no_streams().await;
    let after = Counts::now(&system).await;
    assert_eq!(after.of("nightshift_stream_viewers"), 0.0, "{}", after.text());
    assert_eq!(more(&before, &after, "stream_connections_total"), 1.0);
    assert_eq!(more(&before, &after, "stream_frames_total"), frames);
    assert!(more(&before, &after, "stream_bytes_total") > 100.0, "{}", after.text());
    assert_eq!(more(&before, &after, "stream_time_milliseconds_count"), 1.0);
}

#[tokio::test]
async fn a_job_at_work_shows_what_it_has_used_so_far() {
    let _listening = Listening::start().await;
    let system = System::start().await;
    let gate = tests::tools::gate("so-far");
    let pass = |gate: &str| Call::new("waits_at_the_gate", json!({"gate": gate}).to_string());
    let script = Script::new()
        .turn(Turn::calls([Call::new("add", r#"{"a": 1, "b": 2}"#)]).usage(Usage { cost_usd: 0.5, ..usage(100, 10) }))
        .turn(Turn::calls([pass("so-far")]).usage(usage(200, 20)))
        .turn(Turn::text("Done.").usage(usage(300, 30)));
    system.model.script("So far", script);
    let job = system.submit(json!({"input": "So far", "tools": ["add", "waits_at_the_gate"]})).await;
    gate.reached().await;
    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    // The tool begins while the log is told of it.
    let at_work = loop {
        let at_work = system.get(&path).await;
        if at_work["metrics"]["tool_call_count"] == 2 {
            break at_work;
        }
    };
    assert_eq!(at_work["status"], "running");
    assert_eq!(at_work["usage"]["input_tokens"], 100);
    assert_eq!(at_work["usage"]["cost_usd"], 0.5);
    assert_eq!(at_work["metrics"]["total_turns"], 1);
    gate.open();
    let finished = system.finished(&job).await;
    assert_eq!(finished["usage"]["input_tokens"], 600);
    assert_eq!((&finished["metrics"]["total_turns"], &finished["metrics"]["tool_call_count"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn a_job_costs_what_the_provider_says_or_the_table_of_prices() {
    let _listening = Listening::start().await;
    let prices = r#"{"scripted": {"input": 10, "cached_input": 1, "output": 100}}"#;
    let system = System::with(|options| options.engine.prices = Prices::parse(prices).unwrap()).await;
    let used = Usage { input_tokens: 1_000, cached_tokens: 500, output_tokens: 100, ..Usage::default() };
    let by_table = system.run("By the table", Script::new().turn(Turn::text("So.").usage(used))).await;
    // The scripted model says what its answers cost only where that is something.
    assert_eq!(by_table["usage"]["cost_usd"], 0.005 + 0.0005 + 0.01, "{by_table}");
    let said = Usage { cost_usd: 0.75, ..used };
    let by_provider = system.run("By the provider", Script::new().turn(Turn::text("So.").usage(said))).await;
    assert_eq!(by_provider["usage"]["cost_usd"], 0.75);
}

fn more(before: &Counts, after: &Counts, series: &str) -> f64 {
    let series = format!("nightshift_{series}");
    after.of(&series) - before.of(&series)
}
