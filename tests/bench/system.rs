//! The system under measure, in a process of its own, so that its memory and its processor time are its alone; and what
//! that process does.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use engine::{Clock as _, SystemClock};
use local::stack::{Options, Stack};
use model_client::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Meter;

use crate::machine::{self, Usage};

/// How the system is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) data: PathBuf,
    pub(crate) model: String,
    /// Text is written at least so often while somebody watches, and at least by so many pieces.
    pub(crate) every_ms: u64,
    pub(crate) pieces: usize,
    /// Text is written at least by so many bytes while nobody watches.
    pub(crate) unwatched_bytes: usize,
    /// Whether requests are counted; then the sweeper stays away.
    pub(crate) metered: bool,
}

impl Setup {
    /// The default's batches.
    pub(crate) fn new(data: &Path, model: &Url) -> Self {
        let batching = engine::Batching::default();
        Self {
            data: data.to_owned(),
            model: model.to_string(),
            every_ms: u64::try_from(batching.watched_every.as_millis()).unwrap(),
            pieces: batching.watched_pieces,
            unwatched_bytes: batching.unwatched_bytes,
            metered: false,
        }
    }
}

/// A running system.
pub(crate) struct System {
    pub(crate) url: Url,
    process: Child,
    words: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl System {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(setup: &Setup) -> Self {
        let asked = format!("--system={}", serde_json::to_string(setup).unwrap());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(asked)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { url: Url::parse(line.trim()).unwrap(), process, words: Mutex::new((stdin, stdout)) }
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        machine::usage(self.process.id())
    }

    /// What lives in it at this moment.
    pub(crate) fn state(&self) -> Value {
        self.ask("state")
    }

    /// What it has asked so far.
    pub(crate) fn metered(&self) -> Metered {
        let counted = self.ask("metered");
        let requests = |of: &str| serde_json::from_value(counted[of].clone()).unwrap();
        let units = |of: &str| counted[of].as_f64().unwrap();
        let table = store::Metered {
            requests: requests("table"),
            refused: counted["refused"].as_u64().unwrap(),
            read_units: units("read_units"),
            write_units: units("write_units"),
        };
        Metered { table, queues: requests("queues") }
    }

    fn ask(&self, what: &str) -> Value {
        let mut words = self.words.lock().unwrap();
        writeln!(words.0, "{what}").unwrap();
        let mut line = String::new();
        words.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was asked of the table and of the queues.
#[derive(PartialEq)]
pub(crate) struct Metered {
    pub(crate) table: store::Metered,
    pub(crate) queues: BTreeMap<String, u64>,
}

impl Metered {
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let queues = self.queues.iter().map(|(name, n)| (name.clone(), n - earlier.queues.get(name).unwrap_or(&0)));
        Self { table: self.table.since(&earlier.table), queues: queues.filter(|(_, n)| *n > 0).collect() }
    }
}

/// What the other process does: it runs the system, and answers until nobody asks any more.
pub(crate) async fn serve(setup: Setup) {
    let mut options = Options::new(Url::parse(&setup.model).unwrap());
    options.data = Some(setup.data);
    options.max_jobs_per_user = 10_000;
    options.engine.batching.watched_every = Duration::from_millis(setup.every_ms);
    options.engine.batching.watched_pieces = setup.pieces;
    options.engine.batching.unwatched_bytes = setup.unwatched_bytes;
    let meter = Meter::default();
    if setup.metered {
        options.meter = Some(meter.clone());
        options.sweep_every = Duration::from_secs(3600);
    }
    let stack = Stack::start(options).await.unwrap();
    println!("{}", stack.url());
    let (sender, mut asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while let Some(asked) = asked.recv().await {
        let answer = if asked == "state" { state(&stack).await } else { metered(&stack, &meter) };
        println!("{answer}");
    }
}

fn metered(stack: &Stack, meter: &Meter) -> Value {
    let store::Metered { requests, refused, read_units, write_units } = meter.read();
    // A receive that found nothing says how long nobody had anything to do: each message was received once.
    let mut queues = stack.sqs.asked();
    if let Some(deleted) = queues.get("DeleteMessage").copied() {
        queues.insert("ReceiveMessage".to_owned(), deleted);
    }
    json!({"table": requests, "refused": refused, "read_units": read_units, "write_units": write_units,
           "queues": queues})
}

async fn state(stack: &Stack) -> Value {
    let queued: usize = ["nightshift-starts", "nightshift-continuations", "nightshift-dead-letters"]
        .map(|queue| stack.sqs.depth(queue))
        .iter()
        .map(|depth| depth.visible + depth.in_flight + depth.delayed)
        .sum();
    let far = SystemClock.now() + Duration::from_secs(86_400);
    let (due, _) = stack.starter.store.due(far, 1000, store::DueFrom::default()).await.unwrap();
    json!({
        "jobs_followed": stack.streams.n_followed(),
        "messages": queued,
        "entries_due": due.len(),
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "open_files": fs::read_dir("/proc/self/fd").unwrap().count(),
    })
}
