//! A job of several turns and tools, with something going wrong at each of its requests in turn: whatever it is, the job
//! ends as if nothing had happened.
//!
//! The scenario is run once clean, and its requests to the table and the queues are counted. Then, for each request and
//! each kind of fault, it is run anew with the fault there. Dying and losing an answer are different things: a process
//! that dies sends nothing more, and another one takes over when the lease is over; an answer that is lost makes the SDK
//! try again.

mod scenarios;
pub(crate) mod workflow;

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    answer::lane_text,
    approval::{ApprovalRule, Approvals},
    event::{Event, EventBody},
    id::{JobId, LaneName},
    job::{
        Asker, Compaction, CompactionStrategy, CompactionThreshold, Ending, JobKind, JobSpec, ModelSettings, Status,
        ToolRef,
    },
    lane::Lane,
    limits::JobLimits,
    message::{Content, Message},
    replay::Replay,
    tool_call::{Replay as MayReplay, ToolCallStatus},
};
use engine::Clock as _;
use local::emulator::fault::{Answer, Fault, Gate};
use queue::Line;
use store::{AnswerOutcome, CreateOutcome, DueFrom, IdempotencyKey, NewJob, Record};
use tests::world::{Worker, World};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

use self::{
    scenarios::{EVERY_POINT, People, SCENARIOS, Scenario, TEXT_ONLY},
    workflow::{dear_workflow, script_models, whole_workflow},
};

/// What the tools have done to the world outside.
#[derive(Debug, Default)]
struct Outside {
    looked: u32,
    /// Keys under which something was sent; the far side drops repetitions.
    sent: HashSet<String>,
    pushed: u32,
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

            fn replay(&self) -> MayReplay {
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

outside_tool!(Look, "look", MayReplay::Safe, |outside, _context| outside.looked += 1);
outside_tool!(Send, "send", MayReplay::WithKey, |outside, context| outside.sent.insert(context.idempotency_key()));
outside_tool!(Push, "push", MayReplay::Never, |outside, _context| outside.pushed += 1);

fn registry(outside: &Arc<Mutex<Outside>>) -> ToolRegistry {
    let mut registry = ToolRegistry::new();
    registry.register(Look(outside.clone())).unwrap();
    registry.register(Send(outside.clone())).unwrap();
    registry.register(Push(outside.clone())).unwrap();
    registry
}

/// A run of a scenario.
struct Run {
    scenario: Scenario,
    world: World,
    outside: Arc<Mutex<Outside>>,
    tools: ToolRegistry,
    worker: Worker,
    lives: u32,
    /// Where a worker is held up, if it is.
    held_at: Option<Gate>,
}

impl Run {
    async fn new(scenario: Scenario) -> Self {
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
    async fn whole(&mut self) -> (JobId, Record) {
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
    async fn come_to_rest(&mut self, job: &JobId) -> Record {
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
            if let Some(record) = at_rest(&self.world, job).await {
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

/// The job's record, if nothing is left to do and no message is left.
async fn at_rest(world: &World, job: &JobId) -> Option<Record> {
    let record = world.record(job).await.unwrap();
    let depth = [world.sqs.depth("starts"), world.sqs.depth("continuations")];
    (World::at_rest(&record) && depth.iter().all(|depth| *depth == Default::default())).then_some(record)
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

fn new_job(id: JobId, scenario: &Scenario) -> NewJob {
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

/// What must hold however the job came to its end.
fn check(scenario: &Scenario, record: &Record, outside: &Outside) {
    // A job may be over before it can be cancelled.
    let over_before = scenario.cancelled && record.head.status() == Status::Completed;
    assert!(over_before || record.head.status() == scenario.status, "{:?}", record.head.state);
    let events = &record.events;
    let terminal = events.iter().filter(|event| event.body.is_terminal()).count();
    assert!(terminal == 1 && events.last().unwrap().body.is_terminal(), "one end, and nothing after it");
    let (EventBody::JobCompleted(summary) | EventBody::JobCancelled(summary)) = &events.last().unwrap().body else {
        panic!("{:?}", events.last());
    };

    let replay = Replay::of(events);
    let text = record.output.as_deref().unwrap_or_else(|| replay.text(&LaneName::main()));
    assert_eq!(summary.output, text);
    let calls: Vec<_> = replay.lanes.values().flat_map(|lane| &lane.tool_calls).collect();
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    if scenario.cancelled {
        // How far it got before it was cancelled depends on what went wrong.
        assert!(scenario.text.starts_with(text) && scenario.calls.starts_with(&names), "{text:?} {names:?}");
    } else {
        assert_eq!((text, names.as_slice()), (scenario.text, scenario.calls));
        if !scenario.is_workflow {
            assert_eq!(lane_text(record.turns.values().filter_map(|turn| turn.answer.as_ref())), scenario.text);
        }
        assert_eq!(record.head.metrics.tool_call_count as usize, scenario.calls.len());
        for call in calls.iter().filter(|call| call.name != "push") {
            assert_eq!(call.status, ToolCallStatus::Completed, "{call:?}");
        }
    }
    let n_called = |name: &str| scenario.calls.iter().filter(|call| **call == name).count();
    assert!(scenario.cancelled || outside.looked as usize >= n_called("look"));
    assert_eq!(outside.sent.len(), n_called("send"), "the far side saw each thing once");
    for pushed in calls.iter().filter(|call| call.name == "push") {
        match pushed.status {
            ToolCallStatus::Skipped if scenario.people == People::Away => assert_eq!(outside.pushed, 0),
            ToolCallStatus::Completed => assert_eq!(outside.pushed, 1),
            _ if scenario.cancelled => assert!(outside.pushed <= 1),
            ToolCallStatus::Unknown => assert!(outside.pushed <= 1, "what may not be repeated was repeated"),
            other => panic!("{other:?}"),
        }
    }
    let n_said = events.iter().filter(|event| matches!(event.body, EventBody::MessageAdded { .. })).count();
    let n_resolved = events.iter().filter(|event| matches!(event.body, EventBody::InputResolved(_))).count();
    assert_eq!(n_said, usize::from(scenario.people == People::Present && !scenario.is_workflow));
    assert_eq!(n_resolved, usize::from(scenario.people != People::Unasked));
    if scenario.budget.is_some() {
        let asked = events.iter().filter(|event| matches!(event.body, EventBody::InputRequested(_))).count();
        assert_eq!((asked, record.inputs.len()), (1, 1), "people are asked once for all lanes");
    } else if scenario.is_workflow {
        ran_once(record);
    }
    fenced(events);
}

/// Whoever asked the model for an answer, and however often, told it what is on record.
fn one_conversation(scenario: &Scenario, record: &Record, world: &World) {
    let shortened: Vec<_> = record.turns.values().flat_map(|turn| &turn.shortened).collect();
    assert_eq!(shortened.len(), scenario.n_shortened, "{shortened:#?}");
    if shortened.is_empty() {
        return;
    }
    let stand_ins: HashSet<&str> = shortened.iter().map(|shortened| shortened.text.as_str()).collect();
    for request in world.model.requests() {
        let [first, rest @ ..] = request.messages() else { panic!("nothing was said") };
        let is_summary = first["role"] == "system";
        // The first turn's conversation is as it was asked.
        let as_asked = rest.is_empty() && first["content"] == "Do everything";
        let told = first["content"].as_str().unwrap();
        assert!(is_summary || as_asked || stand_ins.contains(told), "{told:?} is not on record: {stand_ins:#?}");
    }
    let mut events: Vec<_> = record
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::ContextCompacted(told) => Some(told),
            _ => None,
        })
        .collect();
    events.dedup();
    let told: Vec<_> = shortened.iter().map(|shortened| &shortened.told).collect();
    assert_eq!(events, told, "viewers are told what is on record, in its order");
}

/// The workflow went the way that it has to, each node once.
fn ran_once(record: &Record) {
    let (_, run) = record.run.as_ref().unwrap();
    let view = domain::workflow::view(&record.spec.as_ref().unwrap().workflow.as_ref().unwrap().workflow, run);
    assert_eq!(view.execution_order, ["start", "route", "fan", "loop", "sub", "last", "out"]);
    let outputs =
        [("fan", "Both views."), ("body#1", "A draft."), ("sub/inner", "From within."), ("last", "Published.")];
    for (node, output) in outputs {
        assert_eq!(view.node_states[node].output.as_deref(), Some(output), "{node}");
    }
    let is_open = |state: &domain::workflow::NodeView| !state.status.is_settled();
    assert!(!view.node_states.values().any(is_open), "{view:#?}");
    // What was told last of each node is what it came to.
    let told = record.events.iter().filter(|event| event.body.name() == "node.completed").count();
    assert!(told >= view.execution_order.len(), "{told}");
}

/// Attempts follow one another; each after the first says first that it is one.
fn fenced(events: &[Event]) {
    let mut lasts = std::collections::BTreeMap::new();
    for event in events {
        let Some(origin) = &event.origin else { continue };
        let place = (origin.turn, origin.attempt);
        let last = lasts.entry(&origin.lane).or_insert((1, 1));
        assert!(place >= *last, "{place:?} after {last:?}");
        if place > *last && origin.attempt > 1 {
            assert!(matches!(event.body, EventBody::TurnRestarted { .. }), "{event:?}");
        }
        *last = place;
    }
}

/// The text and the events that every viewer must end up with are checked; now what is left in the queues and indexes.
async fn check_nothing_is_left(run: &Run) {
    let told = run.world.events.events();
    let waits = |event: &serde_json::Value| event["detail-type"] == "Nightshift Job Input Required";
    assert_eq!(told.iter().any(waits), run.scenario.people != People::Unasked, "{told:?}");
    let told: Vec<_> = told.into_iter().filter(|event| !waits(event)).collect();
    assert!(!told.is_empty(), "the job's end was not told");
    assert!(told.iter().all(|event| event["detail"] == told[0]["detail"]), "{told:?}");
    let (due, _) =
        run.world.eyes().due(domain::time::Timestamp::from_millis(i64::MAX), 100, DueFrom::default()).await.unwrap();
    assert_eq!(due, []);
    // Room for another job: the first has left its user's set.
    let another = new_job(JobId::from_ulid("01JDA7Q3W5T8Z2K4M6N8P0R1T0").unwrap(), &TEXT_ONLY);
    let another = NewJob { key: None, ..another };
    let created = run.world.eyes().create(another, run.world.clock.now()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
}

/// Whether something else may happen in a run, and the run is one of the scenario all the same.
async fn checked(run: &mut Run, fault: &str, job: &JobId, record: &Record) {
    let sent = run.world.faults.sent();
    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        check(&run.scenario, record, &run.outside.lock().unwrap_or_else(PoisonError::into_inner));
        one_conversation(&run.scenario, record, &run.world);
    }));
    if checked.is_err() {
        let trace: String = sent.iter().map(|sent| format!("  {sent}\n")).collect();
        panic!("{job} did not survive {fault}, at {:?}:\n{trace}", run.world.faults.hits());
    }
}

/// Runs a scenario with a fault at the n-th request. Whether there was one.
async fn with_fault(scenario: Scenario, n: u64, fault: Fault) -> bool {
    let mut run = Run::new(scenario).await;
    run.world.faults.at(n, fault.clone());
    let (job, record) = run.whole().await;
    if !run.world.faults.was_hit() {
        return false;
    }
    checked(&mut run, &format!("{fault:?}"), &job, &record).await;
    if let Fault::DuplicateLate(gate) = &fault {
        gate.open();
        gate.wait_for_waiting(0).await;
        nothing_changes(&mut run, &job, &record).await;
    }
    check_nothing_is_left(&run).await;
    true
}

/// Runs a scenario in which a worker is held up at its n-th request until another has done everything; then it goes on,
/// as a zombie. Whether there was such a request.
async fn with_zombie(scenario: Scenario, n: u64, hold: fn(Gate) -> Fault) -> bool {
    let mut run = Run::new(scenario).await;
    let gate = Gate::new();
    run.world.faults.at(n, hold(gate.clone()));
    run.held_at = Some(gate);
    let (job, record) = run.whole().await;
    if !run.world.faults.was_hit() {
        return false;
    }
    checked(&mut run, "a zombie", &job, &record).await;
    check_nothing_is_left(&run).await;
    true
}

/// Whatever still arrives when everything is over changes nothing.
async fn nothing_changes(run: &mut Run, job: &JobId, before: &Record) {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let after = run.come_to_rest(job).await;
    assert_eq!((&after.events, &after.turns), (&before.events, &before.turns), "something late changed the job");
    assert_eq!(after.head.state, before.head.state);
}

/// Runs each scenario with something going wrong at the first request, at the second, and so on, until a run has no more
/// requests: how many there are depends a little on how streamed text falls into batches.
macro_rules! at_every_request {
    (|$scenario:ident, $n:ident| $run:expr) => {
        for $scenario in SCENARIOS {
            let stride = if std::env::var_os(EVERY_POINT).is_some() { 1 } else { $scenario.stride };
            let (mut $n, mut n_tried) = (1, 0);
            while $run.await {
                $n += stride;
                n_tried += 1;
            }
            assert!($n > $scenario.n_requests, "only {} requests: {}", $n, $scenario.text);
            println!("{}, every {stride} of {}: {n_tried} points tried and hit, all survived", $scenario.name, $n);
        }
    };
}

#[tokio::test]
async fn without_a_fault_everything_is_done_once() {
    for scenario in SCENARIOS {
        let mut run = Run::new(scenario).await;
        let (_, record) = run.whole().await;
        let outside = run.outside.lock().unwrap();
        check(&scenario, &record, &outside);
        one_conversation(&scenario, &record, &run.world);
        let n_called = |name: &str| scenario.calls.iter().filter(|call| **call == name).count();
        let n_pushed = if scenario.people == People::Away { 0 } else { n_called("push") };
        assert_eq!((outside.looked as usize, outside.pushed as usize), (n_called("look"), n_pushed));
        assert_eq!(record.head.metrics.recoveries, 0);
    }
}

#[tokio::test]
async fn a_process_may_die_before_any_of_its_requests() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::CutBefore));
}

#[tokio::test]
async fn a_process_may_die_after_any_of_its_requests() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::CutAfter));
}

#[tokio::test]
async fn any_answer_may_be_lost() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::LoseAnswer));
}

#[tokio::test]
async fn any_request_may_be_lost() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::LoseRequest));
}

#[tokio::test]
async fn any_request_may_arrive_twice() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::Duplicate(Answer::First)));
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::Duplicate(Answer::Second)));
}

#[tokio::test]
async fn a_copy_of_any_request_may_arrive_when_all_is_over() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::DuplicateLate(Gate::new())));
}

#[tokio::test]
async fn a_worker_may_be_held_up_before_any_of_its_requests_until_another_has_done_everything() {
    at_every_request!(|scenario, n| with_zombie(scenario, n, Fault::Hold));
}

#[tokio::test]
async fn a_worker_may_be_held_up_after_any_of_its_requests_until_another_has_done_everything() {
    at_every_request!(|scenario, n| with_zombie(scenario, n, Fault::HoldAnswer));
}
