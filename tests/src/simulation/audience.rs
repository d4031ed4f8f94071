//! Viewers of the stream function: one of its processes on the same network, and connections that are cut.

use std::{panic, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use api::{sse, stream_token::StreamTokens};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use domain::{id::JobId, time::Timestamp};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use tower::ServiceExt as _;

use super::{EPOCH_MS, Sim, WEATHER_LASTS, play::NEVER};
use crate::{Frame, Viewer, assert_seen};

const KEY: [u8; 32] = [7; 32];

/// The stream function.
pub(super) fn streams(sim: &Sim) -> Router {
    // Whatever befalls it, what its viewers lose is an answer: they come back to another.
    let process = sim.process("viewer");
    let clock = sim.clone();
    let now = Arc::new(move || Timestamp::from_millis(EPOCH_MS) + clock.now());
    let tokens = StreamTokens::new(&KEY).unwrap();
    stream::router(stream::Streams::new(sim.store(Some(&process)), tokens, now, stream::Settings::default()))
}

/// Follows the job from somewhere to its end, however often the connection is cut, and compares what came with the log.
pub(super) async fn follow(sim: Sim, job: JobId, streams: Router) {
    sleep(sim.draw(|random| random.millis(1..30_000))).await;
    let written = sim.table().event_numbers(job.as_str()).len() as u64;
    let from = sim.draw(|random| random.below(written + 1));
    let tokens = StreamTokens::new(&KEY).unwrap();
    let began = Timestamp::from_millis(EPOCH_MS);
    let (token, _) = tokens.issue(&job, &"ann".parse().unwrap(), began, NEVER * 2);
    let mut seen: Vec<Frame> = vec![];
    loop {
        if sim.now() > NEVER {
            return sim.violated(format!("a viewer waits for ever after {:?}", seen.last()));
        }
        let cursor = seen.last().map_or(from, |frame| frame.id);
        let request = Request::get(format!("/jobs/{job}/stream?token={token}")).header("last-event-id", cursor);
        let answer = streams.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        match answer.status() {
            StatusCode::NO_CONTENT => break,
            StatusCode::OK => {}
            status if status.is_server_error() => {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            status => return sim.violated(format!("a viewer at {cursor} is answered {status}")),
        }
        let longest = if sim.now() > WEATHER_LASTS { 400_000 } else { 20_000 };
        let until = Instant::now() + sim.draw(|random| random.millis(100..longest));
        let bytes =
            answer.into_body().into_data_stream().filter_map(|bytes| async { bytes.ok().map(|it| it.to_vec()) });
        let mut viewer = Viewer::over(reqwest::StatusCode::OK, bytes);
        while let Ok(Some(frame)) = timeout_at(until, viewer.next()).await {
            seen.push(frame);
        }
        if viewer.done {
            break;
        }
    }
    sim.note(&format!("a viewer has seen {} frames after {from}", seen.len()));
    let log = sim.store(None).whole(&job).await.ok().flatten().map(|record| record.events).unwrap_or_default();
    let log: Vec<Value> = log.iter().map(|event| data(&sse::frame(&job, event))).collect();
    if panic::catch_unwind(AssertUnwindSafe(|| assert_seen(&log, from, &seen))).is_err() {
        sim.violated(format!("a viewer saw something else than the log after {from}: {seen:#?}"));
    }
}

fn data(frame: &str) -> Value {
    let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    serde_json::from_str(data).unwrap_or_default()
}
