//! Following a job: from anywhere, by many, without a gap.

use std::time::Duration;

use axum::{body::Body, http::Request};
use futures_util::StreamExt as _;
use local::demo_model::{Call, Fault, Gate, Script, Turn};
use serde_json::{Value, json};
use tests::{Frame, System, Viewer};
use tokio::time::timeout;
use tower::ServiceExt as _;

fn conversation() -> Script {
    Script::new()
        .turn(Turn::pieces(["Let ", "me ", "see."]).then_calls([Call::new("add", r#"{"a":1,"b":2}"#)]))
        .turn(Turn::pieces(["It ", "is ", "3."]))
}

/// The text of frames.
fn text(frames: &[Frame]) -> String {
    frames
        .iter()
        .filter(|frame| frame.event == "output.delta")
        .map(|frame| frame.data["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_viewer_sees_everything_from_the_first_event_to_the_end() {
    let system = System::start().await;
    system.model.script("Watch", conversation());
    let job = system.submit(json!({"input": "Watch", "tools": ["add"]})).await;
    let mut viewer = system.follow(&job, 0).await;
    assert_eq!(viewer.status, 200);
    let frames = viewer.rest().await;
    assert!(viewer.done && !viewer.comments.is_empty());
    assert_eq!(frames[0].event, "job.queued");
    assert_eq!(frames.last().unwrap().event, "job.completed");
    assert_eq!(text(&frames), "Let me see.\n\nIt is 3.");
    let numbers: Vec<u64> = frames.iter().map(|frame| frame.id).collect();
    assert!(numbers.is_sorted() && numbers.last() == Some(&(system.log(&job).await.len() as u64)));
}

#[tokio::test]
async fn a_finished_job_is_replayed_from_every_cursor() {
    let system = System::start().await;
    let job = system.run("Replay", conversation()).await;
    let log = system.log(&job).await;
    for after in 0..log.len() {
        let mut viewer = system.follow(&job, after as u64).await;
        let frames = viewer.rest().await;
        assert!(viewer.done);
        let expected: String = log[after..].iter().filter_map(|event| event["text"].as_str()).collect();
        assert_eq!(text(&frames), expected, "after {after}");
        let others: Vec<&Value> =
            log[after..].iter().filter(|event| event["text"].is_null()).map(|e| &e["type"]).collect();
        let seen: Vec<&str> =
            frames.iter().map(|f| f.event.as_str()).filter(|event| *event != "output.delta").collect();
        assert_eq!(seen, others, "after {after}");
    }
    assert_eq!(system.follow(&job, log.len() as u64).await.status, 204);
}

#[tokio::test]
async fn a_viewer_that_comes_back_at_every_event_misses_and_repeats_nothing() {
    let system = System::start().await;
    system.model.script("Reconnect", conversation());
    let job = system.submit(json!({"input": "Reconnect", "tools": ["add"]})).await;
    let (mut cursor, mut seen) = (0, vec![]);
    loop {
        let mut viewer = system.follow(&job, cursor).await;
        if viewer.status == 204 {
            break;
        }
        let Some(frame) = viewer.next().await else { continue };
        assert!(frame.id > cursor);
        cursor = frame.id;
        seen.push(frame);
    }
    assert_eq!(text(&seen), "Let me see.\n\nIt is 3.");
    assert_eq!(seen.last().unwrap().event, "job.completed");
}

/// Between its looks at the head a worker waits no longer than the job is old.
#[tokio::test]
async fn text_that_waits_because_nobody_watched_is_written_for_who_comes() {
    const LONG: Duration = Duration::from_secs(3600);
    let system = System::with(|options| {
        options.times.look_every = LONG;
        options.engine.batching.unwatched_every = LONG;
    })
    .await;
    let gate = Gate::new();
    let script = Script::new().turn(Turn::pieces(["Soon, ", "done."]).fault(Fault::StallAfter(1, gate.clone())));
    system.model.script("Early", script);
    let job = system.submit(json!({"input": "Early"})).await;
    gate.reached().await;
    let mut viewer = system.follow(&job, 0).await;
    let first = async {
        loop {
            let frame = viewer.next().await.unwrap();
            if frame.event == "output.delta" {
                return frame;
            }
        }
    };
    let first = timeout(Duration::from_secs(60), first).await.expect("the worker looks for viewers");
    assert_eq!(first.data["text"], "Soon, ");
    gate.open();
    viewer.rest().await;
    assert!(viewer.done);
}

#[tokio::test]
async fn ten_viewers_see_the_same_and_leave_nothing_behind() {
    let system = System::start().await;
    let gate = Gate::new();
    let script =
        Script::new().turn(Turn::pieces(["One, ", "two, ", "three."]).fault(Fault::StallAfter(1, gate.clone())));
    system.model.script("Ten", script);
    let job = system.submit(json!({"input": "Ten"})).await;
    let mut viewers: Vec<Viewer> = vec![];
    for _ in 0..10 {
        viewers.push(system.follow(&job, 0).await);
    }
    for viewer in &mut viewers {
        while viewer.next().await.unwrap().event != "output.delta" {}
    }
    assert_eq!(system.streams_open(), 1);
    drop(viewers.pop());
    gate.open();
    for viewer in &mut viewers {
        let frames = viewer.rest().await;
        assert_eq!((text(&frames).as_str(), viewer.done), ("two, three.", true));
    }
    drop(viewers);
    system.wait_for_no_streams().await;
}

/// A viewer for which no socket keeps what it does not read: those of the loopback device take megabytes.
async fn without_a_socket(system: &System, job: &Value) -> Viewer {
    let request = Request::get(job["stream_url"].as_str().unwrap()).body(Body::empty()).unwrap();
    let answer = stream::router(system.stack.streams.clone()).oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().into_data_stream().filter_map(|bytes| async { bytes.ok().map(|it| it.to_vec()) });
    Viewer::over(status, bytes)
}

#[tokio::test]
async fn a_viewer_that_does_not_read_holds_up_nobody() {
    let system = System::start().await;
    let pieces: Vec<String> = (0..400).map(|n| format!("{n} {} ", "x".repeat(2000))).collect();
    system.model.script("Long", Script::new().turn(Turn::pieces(pieces.clone())));
    let job = system.submit(json!({"input": "Long"})).await;
    let mut slow = without_a_socket(&system, &job).await;
    assert_eq!(slow.next().await.unwrap().event, "job.queued");
    // Nothing is taken off its body meanwhile.
    assert_eq!(text(&system.follow(&job, 0).await.rest().await), pieces.concat());
    let done = system.finished(&job).await;
    assert_eq!(done["output"].as_str().unwrap().len(), pieces.concat().len());
    // It reads on only now, and misses nothing.
    assert_eq!(text(&slow.rest().await), pieces.concat());
}

#[tokio::test]
async fn text_is_batched_at_the_writer_and_merged_for_those_who_come_late_r135() {
    let system = System::with(|options| options.engine.batching = engine::Batching::default()).await;
    let pieces: Vec<String> = (0..100).map(|n| format!("{n} ")).collect();
    let job = system.run("Hundred", Script::new().turn(Turn::pieces(pieces.clone()))).await;
    let log = system.log(&job).await;
    let written = log.iter().filter(|event| event["type"] == "output.delta").count();
    assert!(written <= 20, "{written} events for 100 pieces");
    let frames = system.follow(&job, 0).await.rest().await;
    assert_eq!(frames.iter().filter(|frame| frame.event == "output.delta").count(), 1);
    assert_eq!(text(&frames), pieces.concat());
}

#[tokio::test]
async fn a_stream_needs_the_token_that_was_made_for_it() {
    let system = System::start().await;
    let job = system.run("Token", Script::new().turn(Turn::text("Private."))).await;
    let other = system.run("Other", Script::new().turn(Turn::text("Other."))).await;
    let url = job["stream_url"].as_str().unwrap();
    let token = other["stream_url"].as_str().unwrap().split("token=").nth(1).unwrap();
    let base = url.split("?token=").next().unwrap();
    for wrong in [base.to_owned(), format!("{base}?token="), format!("{base}?token={token}"), format!("{url}x")] {
        let (status, error) = system.answer(system.request(reqwest::Method::GET, &wrong)).await;
        assert_eq!(status, 401, "{wrong}: {error}");
    }
    let (status, fresh) = system.post(&format!("/jobs/{}/stream_token", job["id"].as_str().unwrap())).await;
    assert_eq!(status, 200);
    assert_eq!(text(&system.follow(&fresh, 0).await.rest().await), "Private.");
}
