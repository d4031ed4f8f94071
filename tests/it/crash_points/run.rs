//! A run of a scenario: its world, its worker and whoever takes that one's place, its caller and its people.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    approval::{ApprovalRule, Approvals},
    id::{JobId, LaneName},
    job::{
        Asker, Compaction, CompactionStrategy, CompactionThreshold, Ending, JobKind, JobSpec, ModelSettings, Status,
        ToolRef,
    },
    lane::Lane,
    limits::JobLimits,
    message::{Content, Message},
    tool_call::Replay,
};
use local::emulator::fault::Gate;
use queue::Line;
use store::{AnswerOutcome, CreateOutcome, IdempotencyKey, NewJob, Record};
use tests::world::{Worker, World};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

use super::{
    scenarios::{People, Scenario},
    workflow::{dear_workflow, script_models, whole_workflow},
};

/// What the tools have done to the world outside.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) looked: u32,
    /// Keys under which something was sent; the far side drops repetitions.
    pub(super) sent: HashSet<String>,
    pub(super) pushed: u32,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

macro_rules! outside_tool {
    ($name:ident, $tool:literal, $replay:expr, |$outside:ident, $context:ident| $effect:expr) => {
        struct $name(Arc<Mutex<Outside>>);

        #[async_trait]
        impl TypedTool for $name {
            type Arguments = Nothing;
            const NAME: &'static str = $tool;
            const DESCRIPTION: &'static str = "A tool with an effect that can be counted.";

            fn replay(&self) -> Replay {
                $replay
            }

            async fn call(&self, _: Nothing, $context: &ToolContext) -> Result<ToolReply, ToolError> {
                let mut $outside = self.0.lock().unwrap();
                $effect;
                Ok(ToolReply::text(concat!($tool, " is done")))
            }
        }
    };
}

outside_tool!(Look, "look", Replay::Safe, |outside, _context| outside.looked += 1);
outside_tool!(Send, "send", Replay::WithKey, |outside, context| outside.sent.insert(context.idempotency_key()));
outside_tool!(Push, "push", Replay::Never, |outside, _context| outside.pushed += 1);

fn registry(outside: &Arc<Mutex<Outside>>) -> ToolRegistry {
    let mut registry = ToolRegistry::new();
    registry.register(Look(outside.clone())).unwrap();
    registry.register(Send(outside.clone())).unwrap();
    registry.register(Push(outside.clone())).unwrap();
    registry
}

/// A run of a scenario.
pub(super) struct Run {
    pub(super) scenario: Scenario,
    pub(super) world: World,
    pub(super) outside: Arc<Mutex<Outside>>,
    tools: ToolRegistry,
    worker: Worker,
    lives: u32,
    /// Where a worker is held up, if it is.
    pub(super) held_at: Option<Gate>,
}

impl Run {
    pub(super) async fn new(scenario: Scenario) -> Self {
        let world = World::new().await;
        if scenario.n_shortened > 0 {
            world.model.script_model("scripted", (scenario.script)());
        } else {
            world.model.script("Do everything", (scenario.script)());
        }
        if scenario.is_workflow {
            script_models(&world);
        }
        let outside = Arc::default();
        let tools = registry(&outside);
        let worker = world.worker("1", &tools);
        Self { scenario, world, outside, tools, worker, lives: 1, held_at: None }
    }

    /// A new process takes the place of one that died, once its lease is over.
    fn revive(&mut self) {
        if self.worker.process.is_dead() {
            self.lives += 1;
            self.worker = self.world.worker(&self.lives.to_string(), &self.tools);
            self.world.advance(Duration::from_secs(11));
        }
    }

    /// Starts the job as a caller does who repeats the request until it is answered.
    async fn start(&mut self) -> JobId {
        for n in 0..10 {
            let id = JobId::from_ulid(format!("01JDA7Q3W5T8Z2K4M6N8P0R1S{n}")).unwrap();
            let new = new_job(id, &self.scenario);
            let upkeep = &self.worker.engine.upkeep;
            let created = tokio::select! {
                biased;
                () = self.worker.process.died() => None,
                created = patiently(self.held_at.as_ref(), async {
                    let created = upkeep.store.create(new, upkeep.clock.now()).await;
                    if let Ok(CreateOutcome::Created(head)) = &created {
                        let first = domain::continuation::Continuation { job: head.id.clone(), lane: LaneName::main(), turn: 1 };
                        let _ = upkeep.queue.send(&first, Line::Starts, Duration::ZERO).await;
                    }
                    created.ok()
                }) => created,
            };
            match created {
                Some(CreateOutcome::Created(head) | CreateOutcome::Existing(head)) => return head.id,
                Some(other) => panic!("{other:?}"),
                None => self.revive(),
            }
        }
        panic!("the job cannot be started");
    }

    /// Cancels the job as a caller does who repeats the request until it is answered.
    async fn cancel(&mut self, job: &JobId) {
        loop {
            let upkeep = &self.worker.engine.upkeep;
            let ended = tokio::select! {
                biased;
                () = self.worker.process.died() => None,
                ended = patiently(self.held_at.as_ref(), upkeep.end(job, Ending::Cancelled)) => ended.ok(),
            };
            if ended.is_some() {
                return;
            }
            self.revive();
        }
    }

    /// The whole scenario, until nothing is left to do.
    pub(super) async fn whole(&mut self) -> (JobId, Record) {
        let job = Box::pin(self.start()).await;
        if self.scenario.cancelled {
            self.deliver(&job).await;
            self.revive();
            self.cancel(&job).await;
        }
        let record = self.come_to_rest(&job).await;
        (job, record)
    }

    /// Delivers messages and sweeps until the job is at rest and no message is left.
    pub(super) async fn come_to_rest(&mut self, job: &JobId) -> Record {
        for _ in 0..60 {
            while self.deliver(job).await {
                self.revive();
            }
            if self.scenario.people == People::Present
                && patiently(self.held_at.as_ref(), speak(&self.world, &self.worker, job)).await
            {
                self.revive();
                continue;
            }
            if let Some(record) = self.world.rested(job).await {
                return record;
            }
            self.world.advance(Duration::from_secs(20));
            patiently(self.held_at.as_ref(), self.world.sweep(&self.worker)).await;
            self.revive();
        }
        panic!("the job does not come to rest: {:#?}", self.world.record(job).await);
    }

    /// Delivers a message. A worker that is held up meanwhile loses its lease to another, which does all that is left;
    /// only then does the first go on.
    async fn deliver(&self, job: &JobId) -> bool {
        let Some(gate) = &self.held_at else { return self.world.deliver(&self.worker).await };
        let mut delivered = Box::pin(self.world.deliver(&self.worker));
        tokio::select! {
            biased;
            found = &mut delivered => return found,
            () = gate.wait_for_waiting(1) => {}
        }
        let other = self.world.worker("other", &self.tools);
        self.world.advance(Duration::from_secs(11));
        for _ in 0..60 {
            while self.world.deliver(&other).await {}
            if self.scenario.people == People::Present && speak(&self.world, &other, job).await {
                continue;
            }
            if World::at_rest(&self.world.record(job).await.unwrap()) {
                break;
            }
            self.world.advance(Duration::from_secs(20));
            self.world.sweep(&other).await;
        }
        gate.open();
        delivered.await
    }
}

/// A person looks, says something and answers what is asked, again and again until it is accepted. Whether there was
/// something to answer.
async fn speak(world: &World, worker: &Worker, job: &JobId) -> bool {
    let record = world.record(job).await.unwrap();
    let Some(request) = record.inputs.iter().find(|request| request.is_open()) else { return false };
    let is_told = |lane: &Lane| lane.waits.as_ref().is_some_and(|waits| waits.announced);
    // Of a question that several lanes wait for, the one that asks tells.
    if record.head.status() != Status::InputRequired || !record.lanes.get(&request.lane).is_some_and(is_told) {
        return false; // nobody knows yet
    }
    let upkeep = &worker.engine.upkeep;
    let now = upkeep.clock.now();
    let text = Content::Text("Go ahead".to_owned());
    let said = async {
        if record.head.kind == JobKind::Chat
            && upkeep.store.post(job, "m1", &text, "ann", &upkeep.clock.fresh_name(), now).await.is_err()
        {
            return;
        }
        let answer = request.answer("approve", None, "ann".to_owned(), request.created_at).unwrap();
        let name = upkeep.clock.fresh_name();
        if let Ok(AnswerOutcome::Recorded(owed)) = upkeep.store.answer(job, &request.id, &answer, &name, now).await {
            for owed in owed {
                let _ = upkeep.queue.send(&owed, Line::Continuations, Duration::ZERO).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = worker.process.died() => {}
        () = said => {}
    }
    true
}

/// Lets whoever is held up in this go on at once: it holds no lease that could be lost.
async fn patiently<T>(held_at: Option<&Gate>, work: impl Future<Output = T>) -> T {
    let Some(gate) = held_at else { return work.await };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = gate.wait_for_waiting(1) => gate.open(),
    }
    work.await
}

/// So short that every turn after the first is over it.
const SHORT: Compaction = Compaction {
    threshold: CompactionThreshold::Tokens(40),
    preserve_recent: 1,
    strategy: CompactionStrategy::Summarize,
};

pub(super) fn new_job(id: JobId, scenario: &Scenario) -> NewJob {
    let approved = scenario.people != People::Unasked && !scenario.is_workflow;
    let input_seconds = if scenario.people == People::Away { 60 } else { 86_400 };
    NewJob {
        asker: Asker::new(id, "ann".parse().unwrap(), 3600),
        spec: JobSpec {
            messages: vec![Message::user("Do everything")],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            tools: ["look", "send", "push"].map(|name| ToolRef::Registered { name: name.to_owned() }).into(),
            limits: JobLimits {
                deadline_seconds: 3600,
                input_seconds,
                max_total_tokens: scenario.budget,
                ..JobLimits::default()
            },
            approval: if approved { [("push".to_owned(), ApprovalRule::ALWAYS)].into() } else { Approvals::new() },
            workflow: scenario
                .is_workflow
                .then(|| Box::new(if scenario.budget.is_some() { dear_workflow() } else { whole_workflow() })),
            compaction: (scenario.n_shortened > 0).then_some(SHORT),
            ..JobSpec::default()
        },
        key: Some(IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() }),
        run: None,
        max_at_work: 1,
    }
}
