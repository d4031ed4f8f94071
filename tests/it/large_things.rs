//! Far beyond what an item of the table holds: stored, taken up again after the process was killed, and read back whole.

use domain::lane::LeaseTimes;
use local::{
    demo_model::{self, Call, DemoModel, Fault, Gate, Script, Turn},
    stack::Options,
};
use serde_json::json;
use tests::{
    System,
    documents::{agent, document, node},
    replayed, tools,
};

/// Text of so many bytes that no packing makes smaller.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = u8::try_from(state >> 58).unwrap_or_default();
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .".get(usize::from(n)).copied().unwrap(),
        )
    };
    // Two bytes of a letter that is cut by every even split but one.
    std::iter::once('é').chain(std::iter::repeat_with(&mut letter).take(bytes - 2)).collect()
}

/// The same in pieces, as a model streams them.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(16_000).map(|piece| piece.iter().collect()).collect()
}

/// A megabyte takes its time: a lease is as long as it is outside of tests.
fn patient(options: &mut Options) {
    options.times = LeaseTimes::default();
}

#[tokio::test]
async fn a_conversation_of_2_mb_and_an_answer_of_1_mb_outlive_the_process_and_are_read_back_whole() {
    let data = tempfile::tempdir().unwrap();
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let gate = Gate::new();
    let (input, first, last) = (noise(1, 2_000_000), noise(2, 500_000), noise(3, 1_000_000));
    let script = Script::new()
        .turn(Turn::pieces(pieces(&first)).then_calls([Call::new("answers_250_kb", "{}").id("large")]))
        .turn(Turn::pieces(pieces(&last)).fault(Fault::StallAfter(40, gate.clone())));
    model.script(input.clone(), script);

    let system = System::at_with(data.path(), model, patient).await;
    let body =
        json!({"input": input, "tools": ["answers_250_kb"], "limits": {"turn_seconds": 600, "deadline_seconds": 1200}});
    let job = system.submit(body).await;
    gate.reached().await;
    let model = system.stop().await;

    let system = System::at_with(data.path(), model, patient).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{}", job["error"]);
    assert_eq!(job["metrics"]["recoveries"], 1);
    let text = format!("{first}\n\n{last}");
    let log = system.log(&job).await;
    assert!(replayed(&log) == text, "the log gives something else than was said");
    // An answer about a job shows a mebibyte of its output; the log has all.
    let output = job["output"].as_str().unwrap();
    assert!(text.starts_with(output) && output.len() > 1024 * 1024 - 4, "{} bytes are shown", output.len());
    let path =
        format!("/jobs/{}/tool_calls/{}", job["id"].as_str().unwrap(), job["tool_calls"][0]["id"].as_str().unwrap());
    assert!(
        system.get(&path).await["result"] == tools::answer_of_250_kb(),
        "the result is read back as something else"
    );
    let seen = system.follow(&job, 0).await.rest().await;
    tests::assert_seen(&log, 0, &seen);

    // The model got all of it, in both processes.
    for request in &system.model.requests()[1..] {
        let messages = request.messages();
        assert!(messages[0]["content"] == input.as_str() && messages[1]["content"] == first.as_str());
    }
    assert_eq!(system.model.requests().len(), 3);
}

#[tokio::test]
async fn what_a_node_says_and_a_workflow_comes_to_may_be_1_mb() {
    let system = System::with(patient).await;
    let text = noise(4, 1_000_000);
    system.model.script_model("test/long", Script::new().turn(Turn::pieces(pieces(&text))));
    system.model.script_model("test/short", Script::new().turn(Turn::text("Read.")));
    let nodes = [
        node("start", "start", json!({})),
        agent("long", json!({"prompt": "Write."})),
        agent("short", json!({"prompt": "Read."})),
        node("out", "output", json!({"format": "text", "sources": ["long"]})),
    ];
    let edges = [("start", "output", "long"), ("long", "output", "short"), ("short", "output", "out")];
    let workflow = document("Long", &nodes, &edges);
    let job = system.submit(json!({"input": "Write at length", "workflow": workflow})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "completed", "{}", job["error"]);
    assert!(job["output"] == text.as_str(), "the output is something else");
    let read = system.model.requests();
    let read = read.iter().find(|request| request.body["model"] == "test/short").unwrap();
    assert!(read.body["messages"].to_string().contains(&text), "the next node reads something else");
}
