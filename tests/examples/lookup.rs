//! How long a job is looked for by its message, and what is due by the sweeper, with ten thousand jobs in the table (R43,
//! R138): `cargo run -p tests --example lookup`. A measure and no test, since it is the machine's business. The table is
//! the embedded one, on a file; requests go through the AWS SDK.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a command for developers")]

use std::time::{Duration, Instant};

use domain::{
    id::{JobId, MessageId, UserId},
    job::{Asker, JobSpec, ModelSettings},
    lane::LeaseTimes,
    message::Message,
    time::Timestamp,
};
use engine::{Clock as _, SystemClock};
use local::emulator::EmbeddedDynamoDb;
use store::{CreateOutcome, DueFrom, JobFilter, NewJob, Store};

const JOBS: usize = 10_000;
const USERS: usize = 100;
/// Tasks that write them.
const FILLERS: usize = 8;
/// How often each question is asked.
const TIMES: usize = 1_000;
/// What a caller gets when it does not say how many, and what the sweeper asks each shard for.
const PAGE: usize = 20;
const SWEPT: u32 = 50;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let table = EmbeddedDynamoDb::open(&directory.path().join("table.db")).unwrap();
    let store = Store::new(table.client(), "nightshift", LeaseTimes::default());
    store.create_table().await.unwrap();
    let now = SystemClock.now();

    let begun = Instant::now();
    let fillers = (0..FILLERS).map(|first| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (first..JOBS).step_by(FILLERS) {
                fill(&store, number, now).await;
            }
        })
    });
    for filler in fillers.collect::<Vec<_>>() {
        filler.await.unwrap();
    }
    println!("{JOBS} jobs of {USERS} users, all under way, written in {:.0} s\n", begun.elapsed().as_secs_f64());

    let mut by_message = Vec::with_capacity(TIMES);
    for number in (0..JOBS).step_by(7).cycle().take(TIMES) {
        let filter = JobFilter { message: Some(message(number)), ..JobFilter::default() };
        let begun = Instant::now();
        let page = store.list(&user(number), &filter, PAGE, None, now).await.unwrap();
        by_message.push(begun.elapsed());
        assert_eq!(page.heads.len(), 1, "each message has one job");
    }
    report("a job by its message", 50, by_message);

    // Before anything is overdue, which is what a sweep mostly finds, and when everything is.
    for (what, at, due) in [
        ("a sweep's queries, nothing due", now, 0),
        ("a sweep's queries, everything due", now + Duration::from_secs(3600), 8 * SWEPT as usize),
    ] {
        let mut sweeps = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let (found, _) = store.due(at, SWEPT, DueFrom::default()).await.unwrap();
            sweeps.push(begun.elapsed());
            assert_eq!(found.len(), due, "a page of each of the eight shards");
        }
        report(what, 100, sweeps);
    }
}

/// Accepts a job.
async fn fill(store: &Store, number: usize, now: Timestamp) {
    let id = JobId::from_ulid(SystemClock.fresh_name().to_string()).unwrap();
    let new = NewJob {
        asker: Asker {
            thread: Some(format!("thread-{}", number / 10).parse().unwrap()),
            message: Some(message(number)),
            ..Asker::new(id.clone(), user(number), 7 * 24 * 3600)
        },
        spec: JobSpec {
            messages: vec![Message::user("What time is it in Tokyo, and what is 17% of 2,340?")],
            settings: ModelSettings { model: "measured".to_owned(), ..Default::default() },
            ..JobSpec::default()
        },
        key: None,
        max_at_work: u32::MAX,
        run: None,
    };
    let CreateOutcome::Created(_) = store.create(new, now).await.unwrap() else { panic!("{id} was not created") };
}

fn user(number: usize) -> UserId {
    format!("user-{}", number % USERS).parse().unwrap()
}

fn message(number: usize) -> MessageId {
    format!("message-{number}").parse().unwrap()
}

fn report(what: &str, allowed_ms: u32, mut spans: Vec<Duration>) {
    spans.sort_unstable();
    let ms = |part: usize| spans[spans.len() * part / 100].as_secs_f64() * 1000.0;
    println!(
        "{what:40} p50 {:6.2} ms   p95 {:6.2} ms   p99 {:6.2} ms   ({allowed_ms} ms at p95 are allowed)",
        ms(50),
        ms(95),
        ms(99)
    );
}
