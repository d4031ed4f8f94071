//! Many jobs at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    caller::Caller,
    model::{Model, Plan},
    report::{Goal, Report},
    system::{Setup, System},
};

/// 1.5 times what the quickest durable peer did (Restate: 170 jobs a second at 20, 213 at 100).
const JOBS_A_SECOND: [(usize, f64); 2] = [(20, 255.0), (100, 320.0)];
const MEMORY_MB: f64 = 60.0;

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) took: Duration,
    pub(crate) accepted: Vec<Duration>,
    pub(crate) lasted: Vec<Duration>,
}

pub(crate) async fn measure(report: Report, quick: bool) {
    for (at_once, goal) in JOBS_A_SECOND {
        let model = Model::start().await;
        model.plan("standard", Plan::standard(1));
        let data = tempfile::tempdir().unwrap();
        let system = System::start(&Setup::new(data.path(), &model.url));
        let caller = Caller::new(&system.url);
        let jobs = if quick { at_once * 2 } else { 2000 };
        run(&caller, &model, "warm-up", at_once, at_once * 2).await;
        let cpu = system.usage().cpu;
        let Ran { took, accepted, lasted } = run(&caller, &model, "measured", at_once, jobs).await;
        let used = system.usage();
        let cpu = (used.cpu - cpu).as_secs_f64() * 1000.0 / jobs as f64;
        let a_second = jobs as f64 / took.as_secs_f64();
        report.value(&format!("{at_once} at once"), a_second, "jobs/s", Some(Goal::AtLeast(goal)));
        report.spans(&format!("{at_once} at once: start to finished"), &lasted, None);
        report.spans(&format!("{at_once} at once: start to accepted"), &accepted, None);
        report.value(&format!("{at_once} at once: the system's processor time"), cpu, "ms/job", None);
        let goal = Some(Goal::AtMost(MEMORY_MB));
        report.value(&format!("{at_once} at once: the system's memory at its peak"), used.peak_mb, "MB", goal);
    }
}

/// So many jobs, by so many callers, each of which starts its next one when its last is done.
pub(crate) async fn run(caller: &Caller, model: &Model, name: &str, at_once: usize, jobs: usize) -> Ran {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let callers: Vec<_> = (0..at_once)
        .map(|_| {
            let (caller, next, name) = (caller.clone(), next.clone(), name.to_owned());
            tokio::spawn(async move {
                let mut done = vec![];
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= jobs {
                        return done;
                    }
                    let input = format!("{name} {n}");
                    let job = caller.start("standard", &input).await;
                    let ended = caller.until_done(&job).await;
                    done.push((input, job.accepted - job.asked, ended - job.asked));
                }
            })
        })
        .collect();
    let mut ran = Ran { took: Duration::ZERO, accepted: vec![], lasted: vec![] };
    let mut inputs = vec![];
    for caller in callers {
        for (input, accepted, lasted) in caller.await.unwrap() {
            ran.accepted.push(accepted);
            ran.lasted.push(lasted);
            inputs.push(input);
        }
    }
    ran.took = begun.elapsed();
    for input in inputs {
        assert_eq!(model.take(&input).len(), 3, "{input}");
    }
    ran
}
