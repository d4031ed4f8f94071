//! One job that writes at a model's pace, and those who watch it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::time::Timestamp;
use futures_util::future::join_all;
use tests::Viewer;

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::{Goal, Report},
    system::{Setup, System},
};

const PACE: Duration = Duration::from_millis(5);

/// A frame of text as a viewer saw it: the tokens that it brought, when it came, and when the writer had closed its batch
/// (in milliseconds since 1970, as the event has it).
struct Seen {
    tokens: std::ops::Range<usize>,
    came: Instant,
    came_ms: f64,
    closed_ms: f64,
}

pub(crate) async fn measure(report: Report, quick: bool) {
    let tokens = if quick { 200 } else { 1000 };
    for (viewers, every_ms) in [(10, 100), (100, 100), (10, 50), (100, 50)] {
        let model = Model::start().await;
        model.plan("text", Plan::text(tokens).at_pace(Duration::from_millis(50), PACE));
        model.plan("warm-up", Plan::text(20));
        let data = tempfile::tempdir().unwrap();
        // By time alone: a batch is not closed earlier by the number of its pieces.
        let setup = Setup { every_ms, pieces: usize::MAX, ..Setup::new(data.path(), &model.url) };
        let system = System::start(&setup);
        let caller = Caller::new(&system.url);
        for n in 0..10 {
            let job = caller.start("warm-up", &format!("warm-up {n}")).await;
            caller.until_done(&job).await;
        }
        let cpu = system.usage().cpu;
        let job = caller.start("text", "watched").await;
        let seen = join_all((0..viewers).map(|_| tokio::spawn(watch(caller.clone(), job.stream_url.clone())))).await;
        let seen: Vec<Vec<Seen>> = seen.into_iter().map(Result::unwrap).collect();
        let cpu = system.usage().cpu - cpu;
        let asked = model.take("watched").remove(0);
        let mut to_viewer = vec![];
        for frame in seen.iter().flatten() {
            to_viewer
                .extend(frame.tokens.clone().map(|token| frame.came.saturating_duration_since(asked.tokens[token])));
        }
        for of_one in &seen {
            assert_eq!(of_one.iter().map(|frame| frame.tokens.len()).sum::<usize>(), tokens, "every token was seen");
        }
        let what = format!("{viewers} viewers, batches of {every_ms} ms");
        // The batching itself is half of its length on average, and all of it for the first token of a batch.
        let goal = (viewers == 10 && every_ms == 50).then_some(60.0);
        report.spans(&format!("{what}: token to viewer"), &to_viewer, None);
        let sorted = crate::report::in_ms(&to_viewer);
        let p95 = crate::report::percentile(&sorted, 95.0);
        report.value(&format!("{what}: token to viewer, p95"), p95, "ms", goal.map(Goal::AtMost));
        // Frames of the same batch: the last viewer's.
        let mut closed: Vec<f64> = seen.iter().flatten().map(|frame| frame.closed_ms).collect();
        closed.sort_by(f64::total_cmp);
        closed.dedup();
        let last: Vec<Duration> = closed
            .into_iter()
            .map(|closed| {
                let of_batch = seen.iter().flatten().filter(|frame| frame.closed_ms == closed);
                let came = of_batch.map(|frame| frame.came_ms).fold(0.0, f64::max);
                Duration::from_secs_f64((came - closed).max(0.0) / 1000.0)
            })
            .collect();
        let goal = goal.map(|_| Goal::AtMost(10.0));
        report.spans(&format!("{what}: batch closed to the last viewer"), &last, goal);
        let frames = seen.iter().map(Vec::len).sum::<usize>() as f64 / viewers as f64;
        report.value(&format!("{what}: frames of text for each viewer"), frames, "", None);
        let per_viewer = cpu.as_secs_f64() * 1000.0 / viewers as f64;
        report.value(&format!("{what}: the system's processor time"), per_viewer, "ms/vwr", None);
    }
}

async fn watch(caller: Caller, url: String) -> Vec<Seen> {
    let mut viewer = Viewer::connect(&caller.http, &url, 0).await;
    let (mut seen, mut next) = (vec![], 0);
    while let Some(frame) = viewer.next().await {
        let came = Instant::now();
        let came_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0;
        if frame.event == "output.delta" {
            let brought = frame.data["text"].as_str().unwrap().split_whitespace().count();
            let at: Timestamp = frame.data["at"].as_str().unwrap().parse().unwrap();
            let closed_ms = at.as_millis() as f64;
            seen.push(Seen { tokens: next..next + brought, came, came_ms, closed_ms });
            next += brought;
        }
    }
    assert!(viewer.done);
    seen
}
