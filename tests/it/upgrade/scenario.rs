//! Jobs at every stage that a release can be stopped at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    event::EventBody,
    id::{JobId, LaneName},
    job::{Asker, JobSpec, ModelSettings, Status, ToolRef},
    limits::JobLimits,
    message::Message,
    tool_call::{Replay, ToolCallStatus},
};
use local::{
    demo_model::{Call, DemoModel, Fault, Script, Turn},
    emulator::fault::Gate,
};
use store::{IdempotencyKey, NewJob, Record};
use tests::world::{self, Worker, World};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

/// In its second turn, whose answer is recorded: one of its calls is finished, another was begun. Its worker is dead.
pub(super) const IN_TOOLS: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1A1";
/// In its second turn, of whose text a part has come. Its worker is dead.
const IN_TEXT: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1A2";
/// Put off since the model's provider asked for patience.
const PUT_OFF: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1A3";
/// Not seen by any worker.
const QUEUED: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1A4";
/// Completed.
pub(super) const FINISHED: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1A5";

/// A job and what becomes of it.
pub(super) struct Expected {
    pub(super) id: &'static str,
    pub(super) input: &'static str,
    turns: &'static [&'static str],
    pub(super) calls: &'static [(&'static str, ToolCallStatus)],
}

impl Expected {
    /// Its text in the end.
    pub(super) fn output(&self) -> String {
        self.turns.join("\n\n")
    }
}

const LOOKED: (&str, ToolCallStatus) = ("look", ToolCallStatus::Completed);

pub(super) const JOBS: [Expected; 5] = [
    Expected {
        id: IN_TOOLS,
        input: "Stopped in its tools",
        turns: &["Looking.", "Now both.", "All done, Zoë."],
        calls: &[LOOKED, LOOKED, ("push", ToolCallStatus::Unknown)],
    },
    Expected {
        id: IN_TEXT,
        input: "Stopped in its text",
        turns: &["Looking.", "Half of it. And the rest. 🌙"],
        calls: &[LOOKED],
    },
    Expected { id: PUT_OFF, input: "Put off", turns: &["Here I am."], calls: &[] },
    Expected { id: QUEUED, input: "Not begun", turns: &["Looking.", "There."], calls: &[LOOKED] },
    Expected { id: FINISHED, input: "Ended", turns: &["Looking.", LONG], calls: &[LOOKED] },
];
/// How often something is looked at in the jobs from where they were stopped.
pub(super) const LOOKS_LEFT: usize = 1;

/// Long enough to be stored compressed.
const LONG: &str = concat!(
    "It was a dark night, and a long one, and nothing was to be seen. ",
    "It was a dark night, and a long one, and nothing was to be heard. ",
    "It was a dark night, and a long one, and nothing was to be done. ",
    "It was a dark night, and a long one, and nothing was to be had. ",
    "It was a dark night, and a long one, and nothing was to be said. ",
    "It was a dark night, and a long one, and nothing was to be found. ",
    "It was a dark night, and a long one, and nothing was to be lost. ",
    "It was a dark night, and a long one, and nothing was to be won. ",
    "It was a dark night, and a long one, and nothing was to be read. ",
    "It was a dark night, and a long one, and nothing was to be sent. ",
    "It was a dark night, and a long one, and nothing was to be kept. ",
    "It was a dark night, and a long one, and nothing was to be told. ",
    "It was a dark night, and a long one, and nothing was to be known. ",
    "It was a dark night, and a long one, and nothing was to be bought. ",
    "It was a dark night, and a long one, and nothing was to be written. ",
    "But it ended.",
);

fn script_of(job: &Expected, faults: &[Fault]) -> Script {
    let look = || Call::new("look", "{}");
    let last = job.turns.len() - 1;
    (0..).zip(job.turns).fold(Script::new(), |script, (turn, text)| {
        let pieces = text.split_inclusive(". ").map(str::to_owned);
        let said = match (job.id, turn) {
            (IN_TOOLS, 1) => Turn::pieces(pieces).then_calls([look(), Call::new("push", "{}")]),
            _ if turn < last => Turn::pieces(pieces).then_calls([look()]),
            _ => Turn::pieces(pieces),
        };
        script.turn(if turn == last { faults.iter().cloned().fold(said, Turn::fault) } else { said })
    })
}

/// What the model says to all of them when nothing goes wrong.
pub(super) fn script(model: &DemoModel) {
    for job in &JOBS {
        model.script(job.input, script_of(job, &[]));
    }
}

/// What the tools have done.
#[derive(Debug, Clone, Default)]
pub(super) struct Outside {
    looked: Arc<AtomicUsize>,
    pushed: Arc<AtomicUsize>,
    /// Whoever pushes waits here.
    hold: Option<Gate>,
}

impl Outside {
    pub(super) fn tools(&self) -> ToolRegistry {
        let mut registry = ToolRegistry::new();
        registry.register(Look(self.clone())).unwrap();
        registry.register(Push(self.clone())).unwrap();
        registry
    }

    pub(super) fn n_looked(&self) -> usize {
        self.looked.load(Ordering::Relaxed)
    }

    pub(super) fn n_pushed(&self) -> usize {
        self.pushed.load(Ordering::Relaxed)
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

struct Look(Outside);

#[async_trait]
impl TypedTool for Look {
    type Arguments = Nothing;
    const NAME: &'static str = "look";
    const DESCRIPTION: &'static str = "Looks at something.";

    fn replay(&self) -> Replay {
        Replay::Safe
    }

    async fn call(&self, _: Nothing, _: &ToolContext) -> Result<ToolReply, ToolError> {
        self.0.looked.fetch_add(1, Ordering::Relaxed);
        Ok(ToolReply::text("a café at night"))
    }
}

struct Push(Outside);

#[async_trait]
impl TypedTool for Push {
    type Arguments = Nothing;
    const NAME: &'static str = "push";
    const DESCRIPTION: &'static str = "Pushes something that cannot be pulled back.";

    async fn call(&self, _: Nothing, _: &ToolContext) -> Result<ToolReply, ToolError> {
        if let Some(gate) = &self.0.hold {
            gate.pass().await;
        }
        self.0.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(ToolReply::text("pushed"))
    }
}

/// The jobs, played to the stages at which they are stored.
pub(super) struct Scene {
    pub(super) world: World,
    outside: Outside,
}

impl Scene {
    pub(super) async fn play() -> Self {
        let outside = Outside { hold: Some(Gate::new()), ..Outside::default() };
        let scene = Self { world: World::new().await, outside };
        for job in &JOBS {
            let faults: &[Fault] = match job.id {
                IN_TEXT => &[Fault::HangAfter(1)],
                PUT_OFF => &[Fault::Status(503, "come back later")],
                _ => &[],
            };
            scene.world.model.script(job.input, script_of(job, faults));
        }
        let [in_tools, in_text, put_off, queued, finished] = &JOBS;
        scene
            .play_until(finished, |record| record.head.status() == Status::Completed && !record.head.owed().any())
            .await;
        scene
            .play_until(in_tools, |record| {
                let events = || record.events.iter().rev();
                let ended = events().filter(|event| matches!(event.body, EventBody::ToolCallCompleted(_))).count();
                let pushing =
                    |body: &EventBody| matches!(body, EventBody::ToolCallRunning(call) if call.name == "push");
                ended == 2 && events().any(|event| pushing(&event.body))
            })
            .await;
        scene
            .play_until(in_text, |record| {
                let turn =
                    |record: &Record| record.events.last().and_then(|event| event.origin.clone()).map(|o| o.turn);
                turn(record) == Some(2) && matches!(record.events.last().unwrap().body, EventBody::OutputDelta { .. })
            })
            .await;
        scene.play_until(put_off, |record| record.lanes[&LaneName::main()].backoffs == 1).await;
        scene.play_until(queued, |_| true).await;
        scene
    }

    /// Starts a job, and lets a worker go on with it until its record is so; there the worker dies. A second later the
    /// next may come.
    async fn play_until(&self, job: &Expected, is_there: impl Fn(&Record) -> bool) {
        let worker = self.world.worker(job.input, &self.outside.tools());
        let id = start(&worker, job).await;
        loop {
            let record = self.world.record(&id).await.unwrap();
            if is_there(&record) {
                worker.process.kill();
                self.world.advance(Duration::from_secs(1));
                return;
            }
            // A part of an invocation at a time, since some hang.
            tokio::select! {
                _ = self.world.deliver(&worker) => {}
                () = self.until(&id, &is_there) => worker.process.kill(),
            }
        }
    }

    async fn until(&self, id: &JobId, is_there: impl Fn(&Record) -> bool) {
        while !is_there(&self.world.record(id).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn start(worker: &Worker, job: &Expected) -> JobId {
    let asker = Asker {
        thread: Some("a thread".parse().unwrap()),
        message: Some("a message".parse().unwrap()),
        ..Asker::new(job.id.parse().unwrap(), "ann".parse().unwrap(), 30 * 24 * 3600)
    };
    let spec = JobSpec {
        messages: vec![Message::user(job.input)],
        settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
        tools: ["look", "push"].map(|name| ToolRef::Registered { name: name.to_owned() }).into(),
        limits: JobLimits { deadline_seconds: 3600, ..JobLimits::default() },
        metadata: BTreeMap::from([("order".to_owned(), "42".into())]),
        ..JobSpec::default()
    };
    let key = IdempotencyKey { key: format!("key of {}", job.input), fingerprint: "f".to_owned() };
    let new = NewJob { asker, spec, key: Some(key), run: None, max_at_work: 100 };
    world::start(&worker.engine.upkeep, new).await
}
