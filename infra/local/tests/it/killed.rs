//! `cargo run`, killed again and again while fifty jobs run: nothing is lost, repeated or out of order.
//!
//! The moments are random; their seed is printed, and can be given as `NIGHTSHIFT_TEST_SEED`. How long a restart takes is
//! printed and not asserted: `cargo test -p local --test it -- --nocapture`.
//!
//! That only the worker dies cannot happen here, where it shares its process with everything else, and two processes
//! cannot share a directory: the whole system's tests let workers die one by one, under a clock that is moved by hand, and
//! `cargo run -p tests --example worker_dies` measures how long a job stands still then.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use domain::time::Timestamp;
use futures_util::future::join_all;
use local::demo_model::{self, Call, DemoModel, Fault, Gate, Script, Turn};
use reqwest::Client;
use serde_json::{Value, json};
use tests::{Frame, Viewer, assert_seen, is_terminal, replayed};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until, timeout},
};

use crate::process::{Place, Process, free_port};

/// Jobs in each of the two rounds.
const JOBS: usize = 25;
/// Kills in each round: as often as a turn's worker may die.
const KILLS: usize = 4;
/// Far more than it takes.
const LONGEST: Duration = Duration::from_secs(120);

/// Random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn seeded() -> Self {
        let seed = startup::env::parsed_optional("NIGHTSHIFT_TEST_SEED", "a number").unwrap().unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        });
        println!("NIGHTSHIFT_TEST_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }
}

/// What the n-th job is asked.
fn input(n: usize) -> String {
    format!("Job [{n:02}] of all")
}

/// What its turns say.
fn pieces(n: usize, turn: usize) -> Vec<String> {
    (0..30).map(|piece| format!("{n}/{turn}/{piece} Zoë 🌙 ")).collect()
}

/// The turn of the n-th job in whose text the model falls silent until the gate opens, or its client is gone: so that
/// there is a turn to be cut in the middle of its text at every moment.
fn silent_at(n: usize) -> Option<usize> {
    Some(n % JOBS).filter(|n| *n < 6).map(|n| n % 3)
}

fn script(n: usize, gate: &Gate) -> Script {
    let calculate = Call::new("calculate", json!({"expression": format!("{n} * 1000")}).to_string());
    let time = Call::new("get_current_time", "{}").id("time");
    let calls = [vec![calculate.clone(), time], vec![calculate], vec![]];
    (0..3).zip(calls).fold(Script::new(), |script, (turn, calls)| {
        let said = Turn::pieces(pieces(n, turn)).then_calls(calls);
        let silences = if silent_at(n) == Some(turn) { KILLS + 1 } else { 0 };
        script.turn((1..=silences).fold(said, |said, nth| said.fault(Fault::StallAfter(5 * nth, gate.clone()))))
    })
}

/// What all of a job's turns say.
fn text(n: usize) -> String {
    [0, 1, 2].map(|turn| pieces(n, turn).concat()).join("\n\n")
}

/// The client's side: it knows when the process is up again, as its user does who looks at the terminal.
struct Caller<'a> {
    http: Client,
    place: &'a Place,
    ups: watch::Receiver<u32>,
}

impl Caller<'_> {
    /// Does something until the process lives long enough to answer.
    async fn until_answered<T, F: Future<Output = reqwest::Result<T>>>(&self, ask: impl Fn() -> F) -> T {
        loop {
            let seen = *self.ups.borrow();
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(!error.is_builder(), "{error}");
                    self.ups.clone().wait_for(|ups| *ups > seen).await.unwrap();
                }
            }
        }
    }

    async fn start(&self, n: usize) -> Value {
        let body = json!({"input": input(n), "tools": ["calculate", "get_current_time"]});
        self.until_answered(|| async {
            let request = self.http.post(self.place.url("/jobs")).header("idempotency-key", format!("key-{n}"));
            let answer = request.json(&body).send().await?;
            let status = answer.status();
            let job: Value = answer.json().await?;
            assert!(matches!(status.as_u16(), 200 | 202), "{status}: {job}");
            Ok(job)
        })
        .await
    }

    async fn get(&self, path: &str) -> Value {
        self.until_answered(|| async {
            let answer = self.http.get(self.place.url(path)).send().await?;
            let status = answer.status();
            let body: Value = answer.json().await?;
            assert_eq!(status, 200, "{path}: {body}");
            Ok(body)
        })
        .await
    }

    /// Follows a job to its end, coming back with the cursor whenever the connection is cut.
    async fn follow(&self, job: &Value) -> Vec<Frame> {
        let url = job["stream_url"].as_str().unwrap();
        let mut seen: Vec<Frame> = vec![];
        loop {
            let cursor = seen.last().map_or(0, |frame| frame.id);
            let mut viewer = self.until_answered(|| Viewer::try_connect(&self.http, url, cursor)).await;
            if viewer.status == 204 {
                return seen;
            }
            assert_eq!(viewer.status, 200);
            seen.extend(viewer.rest().await);
            if viewer.done {
                return seen;
            }
        }
    }

    async fn log(&self, job: &Value) -> Vec<Value> {
        let id = job["id"].as_str().unwrap();
        let mut log: Vec<Value> = vec![];
        loop {
            let page = self.get(&format!("/jobs/{id}/events?after={}&limit=1000", log.len())).await;
            match page["data"].as_array().unwrap().as_slice() {
                [] => return log,
                more => log.extend(more.iter().cloned()),
            }
        }
    }
}

/// One process's life.
struct Life {
    begun_at: Timestamp,
    /// From its start until it said that it runs, if it lived so long.
    to_up: Option<Duration>,
}

/// When a process is killed.
enum End {
    /// So long after it said that it runs, and in the middle of an answer of the model's.
    FromUp(Duration),
    /// So long after it was started: perhaps before it runs.
    FromStart(Duration),
}

/// Starts processes one after another, and kills each but the last.
struct Reaper<'a> {
    place: &'a Place,
    model: &'a DemoModel,
    dice: Dice,
    ups: watch::Sender<u32>,
    lives: Vec<Life>,
    /// Kills in the middle of an answer for certain.
    in_the_middle: usize,
}

impl Reaper<'_> {
    /// Starts a process, and waits until it runs, for so long at most.
    async fn start(&mut self, longest: Duration) -> Process {
        let mut process = self.place.start();
        let is_up = timeout(longest, process.up()).await.is_ok();
        self.lives.push(Life { begun_at: process.begun_at, to_up: is_up.then(|| process.begun.elapsed()) });
        if is_up {
            self.ups.send_modify(|ups| *ups += 1);
        }
        process
    }

    async fn live(&mut self, end: End) {
        let process = match end {
            End::FromUp(span) => {
                let process = self.start(LONGEST).await;
                sleep(span).await;
                self.model.wait_for(|seen| seen.open_streams > 0).await;
                self.in_the_middle += 1;
                process
            }
            End::FromStart(span) => {
                let process = self.start(span).await;
                sleep_until((process.begun + span).into()).await;
                process
            }
        };
        process.kill().await;
    }

    /// Kills this process while jobs are being started, and its successors at any moment; the last one lives.
    async fn reap(&mut self, process: Process) -> Process {
        sleep(self.dice.millis(5..80)).await;
        process.kill().await;
        for kill in 1..KILLS {
            let end = match kill {
                2 => End::FromStart(self.dice.millis(0..700)),
                _ => End::FromUp(self.dice.millis(100..900)),
            };
            self.live(end).await;
        }
        self.start(LONGEST).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_jobs_survive_eight_kills() {
    timeout(LONGEST, fifty_jobs()).await.expect("all of it takes seconds");
}

async fn fifty_jobs() {
    startup::aws::install_crypto();
    let mut dice = Dice::seeded();
    let model = DemoModel::start(demo_model::Options::scripted()).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let place = Place { data: data.path().to_owned(), port: free_port(dice.next()), model: model.url().clone() };
    let ups = watch::Sender::new(0);
    // Connections are not kept: one to a dead process is found out only by using it.
    let http = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let caller = Caller { http, place: &place, ups: ups.subscribe() };
    let mut reaper = Reaper { place: &place, model: &model, dice, ups, lives: vec![], in_the_middle: 0 };

    let mut process = reaper.start(LONGEST).await;
    let mut followed = vec![];
    for round in [0..JOBS, JOBS..2 * JOBS] {
        let gate = Gate::new();
        round.clone().for_each(|n| model.script(input(n), script(n, &gate)));
        let caller = &caller;
        let jobs = round.map(|n| async move {
            let job = caller.start(n).await;
            let seen = caller.follow(&job).await;
            (job, seen)
        });
        let reaped = async {
            let last = reaper.reap(process).await;
            gate.open();
            last
        };
        let (ended, last) = tokio::join!(join_all(jobs), reaped);
        followed.extend(ended);
        process = last;
    }

    let (mut logs, mut recoveries) = (vec![], 0);
    for (n, (job, seen)) in followed.iter().enumerate() {
        let log = caller.log(job).await;
        let path = format!("/jobs/{}", job["id"].as_str().unwrap());
        recoveries += check(n, &caller.get(&path).await, &log);
        assert_seen(&log, 0, seen);
        logs.push(log);
    }
    assert!(recoveries >= reaper.in_the_middle, "{recoveries} for {} kills", reaper.in_the_middle);
    assert_eq!(model.unscripted(), 0);
    let all = caller.get("/jobs?limit=100").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 2 * JOBS, "a start that was repeated started a second job");
    process.kill().await;
    println!("recoveries: {recoveries}");
    report(&reaper.lives, &logs);
}

/// The n-th job came to its end as if nothing had happened. How often it was taken over.
fn check(n: usize, job: &Value, log: &[Value]) -> usize {
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some(text(n).as_str())), "{n}");
    let calls = job["tool_calls"].as_array().unwrap();
    let called: Vec<_> = calls.iter().map(|call| (call["turn"].as_u64(), call["name"].as_str().unwrap())).collect();
    assert_eq!(called, [(Some(1), "calculate"), (Some(1), "get_current_time"), (Some(2), "calculate")]);
    for call in calls {
        assert_eq!(call["status"], "completed");
        let (name, result) = (&call["name"], call["result"].as_str().unwrap());
        assert!(name != "calculate" || result.contains(&(n * 1000).to_string()), "{result}");
    }

    for (place, event) in log.iter().enumerate() {
        assert_eq!(event["number"], place + 1, "the log has a gap");
        assert_eq!(is_terminal(&event["type"]), place + 1 == log.len());
    }
    assert_eq!(replayed(log), text(n));
    // A worker can die before it has said that it takes over.
    let restarted = log.iter().filter(|event| event["type"] == "turn.restarted").count();
    let recoveries = usize::try_from(job["metrics"]["recoveries"].as_u64().unwrap()).unwrap();
    assert!(recoveries >= restarted, "{recoveries} recoveries, {restarted} restarts");
    recoveries
}

/// How long it took from each start of a process until jobs that were unfinished then went on.
fn report(lives: &[Life], logs: &[Vec<Value>]) {
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let forever = Timestamp::from_millis(i64::MAX);
    let ends = lives.iter().skip(1).map(|life| life.begun_at).chain([forever]);
    for (life, ends_at) in lives.iter().zip(ends).skip(1) {
        let began = life.begun_at;
        let unfinished = logs.iter().filter(|log| at(&log[0]) < began && at(log.last().unwrap()) >= began);
        let first = |log: &Vec<Value>| log.iter().map(at).find(|at| *at >= began).filter(|at| *at < ends_at);
        let mut went_on: Vec<_> = unfinished.clone().filter_map(first).map(|at| at.since(began).as_millis()).collect();
        went_on.sort_unstable();
        println!(
            "restart: runs after {:?} ms; first event after {:?} ms; {} of {} unfinished jobs went on, the last after {:?} ms",
            life.to_up.map(|span| span.as_millis()),
            went_on.first(),
            went_on.len(),
            unfinished.count(),
            went_on.last(),
        );
    }
}
