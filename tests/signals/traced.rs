//! One trace for a job, whoever worked on it.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    id::JobId,
    job::{Asker, JobSpec, ModelSettings, Status, ToolRef},
    message::Message,
    trace::TraceParent,
};
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::Fault,
};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use reqwest::Method;
use serde_json::json;
use store::NewJob;
use tests::{
    System,
    world::{World, start},
};

use crate::listening::{Listening, attribute, has_failed};

const JOB: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3";

#[tokio::test]
async fn a_job_is_one_trace_through_a_crash_and_a_takeover() {
    let listening = Listening::start().await;
    let world = World::new().await;
    let script = Script::new()
        .turn(Turn::text("Adding.").then_calls([Call::new("add", r#"{"a": 1, "b": 2}"#).id("c1")]))
        .turn(Turn::text("Three."));
    world.model.script("Trace", script);
    let tools = tests::tools::registry();
    let first = world.worker("1", &tools);
    let job = started(&first.engine.upkeep).await;
    // It dies with the tool's result in its hands.
    world.faults.when(|sent| sent.operation == "PutItem" && sent.summary.contains("#call#"), Fault::CutBefore);
    assert!(world.deliver(&first).await);
    assert!(first.process.is_dead());
    let second = world.worker("2", &tools);
    world.advance(Duration::from_secs(12));
    while world.deliver(&second).await {}
    let record = world.record(&job).await.unwrap();
    assert_eq!((record.head.status(), record.head.metrics.recoveries), (Status::Completed, 1));

    let spans = listening.spans().await;
    let trace = job.number().to_be_bytes().to_vec();
    assert!(spans.iter().all(|span| span.trace_id == trace), "{spans:?}");
    let root = only(&spans, "invoke_agent nightshift");
    assert_eq!((root.span_id.as_slice(), root.parent_span_id.as_slice()), (&trace[8..], &[][..]));
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), spans.len());
    let turns: Vec<&Span> = spans.iter().filter(|span| span.name == "turn").collect();
    assert!(turns.iter().all(|turn| turn.parent_span_id == root.span_id));
    let mut places: Vec<_> = turns
        .iter()
        .map(|turn| ["nightshift.turn", "nightshift.attempt"].map(|key| attribute(turn, key).unwrap()))
        .collect();
    places.sort();
    assert_eq!(places, [["1", "1"], ["1", "2"], ["2", "1"]]);
    let turn_ids: BTreeSet<&[u8]> = turns.iter().map(|turn| turn.span_id.as_slice()).collect();
    let chats: Vec<&Span> = spans.iter().filter(|span| span.name == "chat scripted").collect();
    // The second attempt goes on from the checkpoint, and asks nobody.
    assert_eq!(chats.len(), 2);
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "execute_tool add").collect();
    assert!(chats.iter().chain(&calls).all(|span| turn_ids.contains(span.parent_span_id.as_slice())));
    assert_eq!(calls.len(), 1, "a call that was cut off is not run again");
    assert_eq!(spans.len(), 1 + turns.len() + chats.len() + calls.len());
}

#[tokio::test]
async fn spans_follow_the_conventions_for_generative_ai_and_the_callers_trace() {
    let listening = Listening::start().await;
    let system = System::start().await;
    let usage = domain::usage::Usage { input_tokens: 7, output_tokens: 3, ..Default::default() };
    let calls = [Call::new("throws", "{}").id("c1")];
    let script = Script::new().turn(Turn::calls(calls).usage(usage)).turn(Turn::text("It does not work.").usage(usage));
    system.model.script("Conventions", script);
    let caller: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let request = system.request(Method::POST, "/jobs").header("traceparent", caller.to_string());
    let (_, job) = system.answer(request.json(&json!({"input": "Conventions", "tools": ["throws"]}))).await;
    system.finished(&job).await;
    let spans = loop {
        let spans = listening.spans().await;
        if spans.iter().any(|span| span.name == "invoke_agent nightshift") {
            break spans;
        }
        tokio::task::yield_now().await;
    };
    assert!(spans.iter().all(|span| span.trace_id == caller.trace.to_be_bytes()));
    let root = only(&spans, "invoke_agent nightshift");
    assert_eq!(root.parent_span_id, caller.span.to_be_bytes());
    assert_eq!(attribute(root, "nightshift.job.id").as_deref(), job["id"].as_str());
    assert_eq!(attribute(root, "gen_ai.usage.input_tokens").as_deref(), Some("14"));
    let chat = spans.iter().find(|span| span.name == "chat scripted").unwrap();
    assert_eq!(chat.kind(), SpanKind::Client);
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "scripted"),
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "3"),
    ] {
        assert_eq!(attribute(chat, key).as_deref(), Some(value), "{key}");
    }
    assert!(attribute(chat, "gen_ai.response.finish_reasons").unwrap().contains("tool_calls"));
    let call = only(&spans, "execute_tool throws");
    for (key, value) in [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "throws"),
        ("gen_ai.tool.call.id", "c1"),
        ("error.type", "failed"),
    ] {
        assert_eq!(attribute(call, key).as_deref(), Some(value), "{key}");
    }
    assert!(has_failed(call) && !has_failed(chat) && !has_failed(root));
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:?}");
    found[0]
}

async fn started(upkeep: &engine::Upkeep) -> JobId {
    let new = NewJob {
        asker: Asker::new(JOB.parse().unwrap(), "ann".parse().unwrap(), 3600),
        spec: JobSpec {
            messages: vec![Message::user("Trace")],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            tools: vec![ToolRef::Registered { name: "add".to_owned() }],
            ..JobSpec::default()
        },
        key: None,
        run: None,
        max_at_work: 1,
    };
    start(upkeep, new).await
}
