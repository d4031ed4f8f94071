//! A finished job's log of ten thousand events, read whole.

use std::time::{Duration, Instant};

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::Report,
    system::{Setup, System},
};

pub(crate) async fn measure(report: Report, quick: bool) {
    let tokens = if quick { 1000 } else { 10_000 };
    let times = if quick { 2 } else { 10 };
    let model = Model::start().await;
    model.plan("text", Plan::events(tokens));
    let data = tempfile::tempdir().unwrap();
    let setup = Setup { every_ms: 50, ..Setup::new(data.path(), &model.url) };
    let system = System::start(&setup);
    let caller = Caller::new(&system.url);
    let job = caller.start("text", "long").await;
    let done = caller.until_done(&job).await;
    let events = caller.get(&format!("/jobs/{}", job.id)).await["last_event"].as_u64().unwrap();
    report.value("events", events as f64, "", None);
    let a_second = events as f64 / (done - job.asked).as_secs_f64();
    report.value("written and followed, each token an event", a_second, "ev/s", None);
    let (mut streamed, mut paged, mut requests) = (vec![], vec![], 0);
    for _ in 0..times {
        let begun = Instant::now();
        streamed.push(caller.until_done(&job).await - begun);
        let begun = Instant::now();
        let (mut after, mut n) = (0, 0);
        while after < events {
            let page = caller.get(&format!("/jobs/{}/events?after={after}&limit=1000", job.id)).await;
            after = page["last_event"].as_u64().unwrap();
            n += 1;
        }
        paged.push(begun.elapsed());
        requests = n;
    }
    report.spans("read as a stream, one request", &streamed, None);
    report.spans("read in pages of 1,000", &paged, None);
    report.value("requests for the pages", f64::from(requests), "", None);
    let view: Vec<Duration> = {
        let mut spans = vec![];
        for _ in 0..times {
            let begun = Instant::now();
            caller.get(&format!("/jobs/{}", job.id)).await;
            spans.push(begun.elapsed());
        }
        spans
    };
    report.spans("an answer about the job, which replays its log", &view, None);
}
