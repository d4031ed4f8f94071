//! A job of several turns and tools, with something going wrong at each of its requests in turn: whatever it is, the job
//! ends as if nothing had happened.
//!
//! The scenario is run once clean, and its requests to the table and the queues are counted. Then, for each request and
//! each kind of fault, it is run anew with the fault there. Dying and losing an answer are different things: a process
//! that dies sends nothing more, and another one takes over when the lease is over; an answer that is lost makes the SDK
//! try again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    answer::lane_text,
    event::{Event, EventBody},
    id::{JobId, LaneName},
    job::{Asker, JobSpec, ModelSettings, Status, ToolRef},
    limits::JobLimits,
    message::Message,
    replay::Replay,
    tool_call::{Replay as MayReplay, ToolCallStatus},
};
use engine::Clock as _;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::{Answer, Fault, Gate},
};
use queue::Line;
use store::{CreateOutcome, IdempotencyKey, NewJob, Record};
use tests::world::{Worker, World};
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

const TEXT: &str = "Looking things up.\n\nAnd once more.\n\nThe answer is Zoë.";

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

fn script() -> Script {
    let all = ["look", "send", "push"].map(|tool| Call::new(tool, "{}"));
    Script::new()
        .turn(Turn::pieces(["Looking ", "things ", "up."]).then_calls(all))
        .turn(Turn::pieces(["And once", " more."]).then_calls([Call::new("look", "{}")]))
        .turn(Turn::pieces(["The answer ", "is ", "Zoë."]))
}

/// A run of the scenario.
struct Run {
    world: World,
    outside: Arc<Mutex<Outside>>,
    tools: ToolRegistry,
    worker: Worker,
    lives: u32,
}

impl Run {
    async fn new() -> Self {
        let world = World::new().await;
        world.model.script("Do everything", script());
        let outside = Arc::default();
        let tools = registry(&outside);
        let worker = world.worker("1", &tools);
        Self { world, outside, tools, worker, lives: 1 }
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
            let new = new_job(id);
            let upkeep = &self.worker.engine.upkeep;
            let created = tokio::select! {
                biased;
                () = self.worker.process.died() => None,
                created = async {
                    let created = upkeep.store.create(new, upkeep.clock.now()).await;
                    if let Ok(CreateOutcome::Created(head)) = &created {
                        let first = domain::continuation::Continuation { job: head.id.clone(), lane: LaneName::main(), turn: 1 };
                        let _ = upkeep.queue.send(&first, Line::Starts, Duration::ZERO).await;
                    }
                    created.ok()
                } => created,
            };
            match created {
                Some(CreateOutcome::Created(head) | CreateOutcome::Existing(head)) => return head.id,
                Some(other) => panic!("{other:?}"),
                None => self.revive(),
            }
        }
        panic!("the job cannot be started");
    }

    /// Delivers messages and sweeps until the job is at rest and no message is left.
    async fn to_rest(&mut self, job: &JobId) -> Record {
        for _ in 0..60 {
            while self.world.deliver(&self.worker).await {
                self.revive();
            }
            let record = self.world.record(job).await.unwrap();
            let depth = [self.world.sqs.depth("starts"), self.world.sqs.depth("continuations")];
            if World::at_rest(&record) && depth.iter().all(|depth| *depth == Default::default()) {
                return record;
            }
            self.world.advance(Duration::from_secs(20));
            self.world.sweep(&self.worker).await;
            self.revive();
        }
        panic!("the job does not come to rest: {:#?}", self.world.record(job).await);
    }
}

fn new_job(id: JobId) -> NewJob {
    NewJob {
        asker: Asker { id, user: "ann".parse().unwrap(), thread: None, message: None, retention_seconds: 3600 },
        spec: JobSpec {
            messages: vec![Message::user("Do everything")],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            tools: ["look", "send", "push"].map(|name| ToolRef::Registered { name: name.to_owned() }).into(),
            limits: JobLimits { deadline_seconds: 3600, ..JobLimits::default() },
            metadata: BTreeMap::new(),
            previous_job: None,
            compaction: None,
        },
        key: Some(IdempotencyKey { key: "k".to_owned(), fingerprint: "f".to_owned() }),
        max_at_work: 1,
    }
}

/// What must hold however the job came to its end.
fn check(record: &Record, outside: &Outside) {
    assert_eq!(record.head.status(), Status::Completed);
    let events = &record.events;
    let terminal = events.iter().filter(|event| event.body.is_terminal()).count();
    assert!(terminal == 1 && events.last().unwrap().body.is_terminal(), "one end, and nothing after it");
    let EventBody::JobCompleted(summary) = &events.last().unwrap().body else { panic!("not completed") };
    assert_eq!(summary.output, TEXT);

    let replay = Replay::of(events);
    assert_eq!(replay.text(&LaneName::main()), TEXT);
    assert_eq!(lane_text(record.turns.values().filter_map(|turn| turn.answer.as_ref())), TEXT);
    let calls = &replay.lanes[&LaneName::main()].tool_calls;
    let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["look", "send", "push", "look"]);
    let completed =
        |name: &str| calls.iter().filter(|call| call.name == name).all(|call| call.status == ToolCallStatus::Completed);
    assert!(completed("look") && completed("send"), "{calls:?}");

    assert!(outside.looked >= 2);
    assert_eq!(outside.sent.len(), 1, "the far side saw one thing");
    let pushed = calls.iter().find(|call| call.name == "push").unwrap();
    match pushed.status {
        ToolCallStatus::Completed => assert_eq!(outside.pushed, 1),
        ToolCallStatus::Unknown => assert!(outside.pushed <= 1, "what may not be repeated was repeated"),
        other => panic!("{other:?}"),
    }
    assert_eq!(record.head.metrics.total_turns, 3);
    assert_eq!(record.head.metrics.tool_call_count, 4);
    fenced(events);
}

/// Attempts follow one another; each after the first says first that it is one.
fn fenced(events: &[Event]) {
    let mut last = (1, 1);
    for event in events {
        let Some(origin) = &event.origin else { continue };
        let place = (origin.turn, origin.attempt);
        assert!(place >= last, "{place:?} after {last:?}");
        if place > last && origin.attempt > 1 {
            assert!(matches!(event.body, EventBody::TurnRestarted { .. }), "{event:?}");
        }
        last = place;
    }
}

/// The text and the events that every viewer must end up with are checked; now what is left in the queues and indexes.
async fn check_nothing_is_left(run: &Run) {
    let (due, _) = run.world.eyes().due(domain::time::Timestamp::from_millis(i64::MAX), 100).await.unwrap();
    assert_eq!(due, []);
    // Room for another job: the first has left its user's set.
    let another = new_job(JobId::from_ulid("01JDA7Q3W5T8Z2K4M6N8P0R1T0").unwrap());
    let another = NewJob { key: None, ..another };
    let created = run.world.eyes().create(another, run.world.clock.now()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
}

/// Runs the scenario with a fault at the n-th request. Whether there was one.
async fn with_fault(n: u64, fault: Fault) -> bool {
    let mut run = Run::new().await;
    run.world.faults.at(n, fault.clone());
    let job = run.start().await;
    let record = run.to_rest(&job).await;
    let what = || format!("{fault:?} at {}", run.world.faults.sent()[usize::try_from(n).unwrap() - 1]);
    if !run.world.faults.was_hit() {
        return false;
    }
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        check(&record, &run.outside.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }));
    if let Err(panic) = checked {
        eprintln!(
            "with {}:\n{}",
            what(),
            run.world.faults.sent().iter().map(|s| format!("  {s}\n")).collect::<String>()
        );
        std::panic::resume_unwind(panic);
    }
    if let Fault::DuplicateLate(gate) = &fault {
        late_copy_changes_nothing(&mut run, &job, gate, &record).await;
    }
    check_nothing_is_left(&run).await;
    true
}

/// A copy of a request that arrives when everything is over.
async fn late_copy_changes_nothing(run: &mut Run, job: &JobId, gate: &Gate, before: &Record) {
    gate.open();
    gate.wait_for_waiting(0).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let after = run.to_rest(job).await;
    assert_eq!((&after.events, &after.turns), (&before.events, &before.turns), "a late copy changed the job");
    assert_eq!(after.head.state, before.head.state);
}

/// Runs the scenario with the fault at the first request, at the second, and so on, until a run has no more requests:
/// how many there are depends a little on how streamed text falls into batches.
async fn at_every_request(fault: impl Fn() -> Fault) {
    let mut n = 1;
    while with_fault(n, fault()).await {
        n += 1;
    }
    assert!(n > 40, "only {n} requests");
}

#[tokio::test]
async fn without_a_fault_everything_is_done_once() {
    let mut run = Run::new().await;
    let job = run.start().await;
    let record = run.to_rest(&job).await;
    let outside = run.outside.lock().unwrap();
    check(&record, &outside);
    assert_eq!((outside.looked, outside.pushed, record.head.metrics.recoveries), (2, 1, 0));
}

#[tokio::test]
async fn a_process_may_die_before_any_of_its_requests() {
    at_every_request(|| Fault::CutBefore).await;
}

#[tokio::test]
async fn a_process_may_die_after_any_of_its_requests() {
    at_every_request(|| Fault::CutAfter).await;
}

#[tokio::test]
async fn any_answer_may_be_lost() {
    at_every_request(|| Fault::LoseAnswer).await;
}

#[tokio::test]
async fn any_request_may_be_lost() {
    at_every_request(|| Fault::LoseRequest).await;
}

#[tokio::test]
async fn any_request_may_arrive_twice() {
    at_every_request(|| Fault::Duplicate(Answer::First)).await;
    at_every_request(|| Fault::Duplicate(Answer::Second)).await;
}

#[tokio::test]
async fn a_copy_of_any_request_may_arrive_when_all_is_over() {
    at_every_request(|| Fault::DuplicateLate(Gate::new())).await;
}
