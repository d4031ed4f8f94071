//! One job alone: what it takes beside the model.

use std::time::{Duration, Instant};

use crate::{
    caller::{Caller, Started},
    model::{Asked, Model, Plan},
    report::{Goal, Report},
    system::{Setup, System},
};

/// Half of the leanest durable peer's overhead for each turn, on two cores (Restate: 5.5 ms, and 9 ms with a token
/// stream).
const PER_TURN: f64 = 2.7;
const PER_TURN_STREAMED: f64 = 4.5;

/// Where a job's time went.
pub(crate) struct Spent {
    /// From the start request to its answer.
    pub(crate) accepted: Duration,
    /// From the start request to the first request to the model.
    first_turn: Duration,
    /// From an answer's last byte to the next request: the checkpoint, the tool, the commit, the hop, the claim.
    between: Vec<Duration>,
    /// From the last answer's last byte to the end of the stream.
    finished: Duration,
    /// All of it, and what of it was the model's.
    pub(crate) total: Duration,
    model: Duration,
}

impl Spent {
    pub(crate) fn of(job: &Started, asked: &[Asked], done: Instant) -> Self {
        let answered = |asked: &Asked| asked.answered.unwrap();
        Self {
            accepted: job.accepted - job.asked,
            first_turn: asked[0].at - job.asked,
            between: asked.windows(2).map(|two| two[1].at - answered(&two[0])).collect(),
            finished: done - answered(asked.last().unwrap()),
            total: done - job.asked,
            model: asked.iter().map(|asked| answered(asked) - asked.at).sum(),
        }
    }

    fn overhead(&self) -> Duration {
        self.total - self.model
    }

    fn overhead_per_turn(&self) -> Duration {
        self.overhead() / (u32::try_from(self.between.len()).unwrap() + 1)
    }
}

pub(crate) async fn measure(report: Report, quick: bool) {
    let times = if quick { 20 } else { 300 };
    for (what, tokens, pieces, goal) in
        [("text in one piece", 1, 10, PER_TURN), ("100 tokens a turn, streamed", 100, 10, PER_TURN_STREAMED)]
    {
        let model = Model::start().await;
        model.plan("standard", Plan::standard(tokens));
        let data = tempfile::tempdir().unwrap();
        let system = System::start(&Setup { every_ms: 50, pieces, ..Setup::new(data.path(), &model.url) });
        let caller = Caller::new(&system.url);
        let mut spent = Vec::with_capacity(times);
        let mut cpu = system.usage().cpu;
        let warm_up = times / 5;
        for n in 0..warm_up + times {
            if n == warm_up {
                cpu = system.usage().cpu;
            }
            spent.push(run(&caller, &model, "standard", &format!("{tokens} {n}")).await);
        }
        let cpu = system.usage().cpu - cpu;
        let spent = &spent[warm_up..];
        let all = |span: fn(&Spent) -> Duration| spent.iter().map(span).collect::<Vec<_>>();
        report.spans(&format!("{what}: overhead per turn"), &all(Spent::overhead_per_turn), Some(Goal::AtMost(goal)));
        report.spans(&format!("{what}: start to accepted"), &all(|spent| spent.accepted), None);
        report.spans(&format!("{what}: start to the first model request"), &all(|spent| spent.first_turn), None);
        let between: Vec<_> = spent.iter().flat_map(|spent| spent.between.iter().copied()).collect();
        report.spans(&format!("{what}: last byte, tool, next request"), &between, None);
        report.spans(&format!("{what}: last byte to finished"), &all(|spent| spent.finished), None);
        let per_job = cpu.as_secs_f64() * 1000.0 / times as f64;
        report.value(&format!("{what}: the system's processor time"), per_job, "ms/job", None);
    }
}

pub(crate) async fn realistic(report: Report, quick: bool) {
    let times = if quick { 1 } else { 6 };
    let model = Model::start().await;
    let pace = (Duration::from_millis(200), Duration::from_millis(10));
    model.plan("realistic", Plan::standard(100).at_pace(pace.0, pace.1));
    model.plan("warm-up", Plan::standard(1));
    let data = tempfile::tempdir().unwrap();
    let system = System::start(&Setup { every_ms: 50, ..Setup::new(data.path(), &model.url) });
    let caller = Caller::new(&system.url);
    for n in 0..20 {
        run(&caller, &model, "warm-up", &format!("warm-up {n}")).await;
    }
    let (mut shares, mut overheads) = (vec![], vec![]);
    for n in 0..times {
        let spent = run(&caller, &model, "realistic", &format!("realistic {n}")).await;
        shares.push(100.0 * spent.overhead().as_secs_f64() / spent.total.as_secs_f64());
        overheads.push(spent.overhead());
    }
    shares.sort_by(f64::total_cmp);
    let goal = Some(Goal::AtMost(2.0));
    report.value("200 ms, 10 ms a token, 3 x 100 tokens: overhead", shares[shares.len() / 2], "%", goal);
    report.spans("the same in milliseconds of a job", &overheads, None);
}

async fn run(caller: &Caller, model: &Model, plan: &str, input: &str) -> Spent {
    let job = caller.start(plan, input).await;
    let done = caller.until_done(&job).await;
    Spent::of(&job, &model.take(input), done)
}
