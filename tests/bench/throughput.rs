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
    pace::Pace,
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

/// What a number of jobs at once came to, in each round.
#[derive(Default)]
struct Rounds {
    jobs_a_second: Vec<f64>,
    cpu_ms: Vec<f64>,
    peak_mb: Vec<f64>,
    pace: Vec<f64>,
    accepted: Vec<Duration>,
    lasted: Vec<Duration>,
}

pub(crate) async fn measure(report: Report, quick: bool) {
    let rounds = if quick { 1 } else { 5 };
    let mut all = JOBS_A_SECOND.map(|(at_once, goal)| (at_once, goal, Rounds::default()));
    // By turns, so that a machine that is slow for a while is so for both.
    for _ in 0..rounds {
        for (at_once, _, rounds) in &mut all {
            let jobs = if quick { *at_once * 2 } else { 2000 };
            rounds.add(*at_once, jobs).await;
        }
    }
    for (at_once, goal, Rounds { jobs_a_second, cpu_ms, peak_mb, pace, accepted, lasted }) in &all {
        let name = |what: &str| format!("{at_once} at once: {what}");
        report.rounds(&format!("{at_once} at once"), jobs_a_second, "jobs/s", Some(Goal::AtLeast(*goal)));
        report.spans(&name("start to finished"), lasted, None);
        report.spans(&name("start to accepted"), accepted, None);
        report.rounds(&name("the system's processor time"), cpu_ms, "ms/job", None);
        report.rounds(&name("the system's memory at its peak"), peak_mb, "MB", Some(Goal::AtMost(MEMORY_MB)));
        report.rounds(&name("the machine's pace"), pace, "µs/probe", None);
        let each: Vec<String> =
            jobs_a_second.iter().zip(pace).map(|(n, pace)| format!("{n:.0} at {pace:.0}")).collect();
        report.note(&format!("{}, round by round: {}", name("jobs/s at µs/probe"), each.join(", ")));
    }
}

impl Rounds {
    /// One round, by a system of its own.
    async fn add(&mut self, at_once: usize, jobs: usize) {
        let model = Model::start().await;
        model.plan("standard", Plan::standard(1));
        let data = tempfile::tempdir().unwrap();
        let system = System::start(&Setup::new(data.path(), &model.url));
        let caller = Caller::new(&system.url);
        run(&caller, &model, "warm-up", at_once, at_once * 2).await;
        let (cpu, pace) = (system.usage().cpu, Pace::start());
        let Ran { took, accepted, lasted } = run(&caller, &model, "measured", at_once, jobs).await;
        self.pace.push(pace.finish());
        let used = system.usage();
        self.cpu_ms.push((used.cpu - cpu).as_secs_f64() * 1000.0 / jobs as f64);
        self.peak_mb.push(used.peak_mb);
        self.jobs_a_second.push(jobs as f64 / took.as_secs_f64());
        self.accepted.extend(accepted);
        self.lasted.extend(lasted);
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
