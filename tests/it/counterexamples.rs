//! Counterexamples of PROTOCOL.md as schedules: requests are held at gates until what must not do harm has happened.

mod between_pauses;
mod branches;
mod closing;
mod pauses;
mod removed;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    continuation::Continuation,
    event::EventBody,
    id::{JobId, LaneName},
    job::{Asker, Ending, JobSpec, ModelSettings, Status, ToolRef},
    lane::LeaseTimes,
    limits::JobLimits,
    message::{Content, Message},
    replay::Replay,
    tool_call::ToolCallStatus,
};
use engine::Delivery;
use local::{
    demo_model::{Call, Script, Turn},
    emulator::fault::{Fault, Gate, Outbound},
};
use store::{NewJob, PostOutcome, Record, Store};
use tests::world::{Worker, World, start};
use tokio::time::Instant;
use tools::{ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

/// Something that may not be done twice.
struct Push(Arc<AtomicU32>);

#[async_trait]
impl TypedTool for Push {
    type Arguments = Nothing;
    const NAME: &'static str = "push";
    const DESCRIPTION: &'static str = "Pushes.";

    async fn call(&self, _: Nothing, _: &ToolContext) -> Result<ToolReply, ToolError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ToolReply::text("pushed"))
    }
}

struct Schedule {
    world: World,
    tools: ToolRegistry,
    pushed: Arc<AtomicU32>,
    job: JobId,
}

impl Schedule {
    /// A job whose first message is in the queue.
    async fn of(script: Script) -> Self {
        let spec = JobSpec {
            messages: vec![Message::user("Go")],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            tools: vec![ToolRef::Registered { name: "push".to_owned() }],
            limits: JobLimits { deadline_seconds: 3600, ..JobLimits::default() },
            ..JobSpec::default()
        };
        Self::with(script, spec).await
    }

    /// The same with other wishes.
    async fn with(script: Script, spec: JobSpec) -> Self {
        let world = World::new().await;
        world.model.script("Go", script);
        let pushed = Arc::new(AtomicU32::new(0));
        let mut tools = ToolRegistry::new();
        tools.register(Push(pushed.clone())).unwrap();
        let starter = world.worker("starter", &tools).engine.upkeep;
        let new = NewJob {
            asker: Asker::new(
                JobId::from_ulid("01JDA7Q3W5T8Z2K4M6N8P0R1S3".to_owned()).unwrap(),
                "ann".parse().unwrap(),
                3600,
            ),
            spec,
            key: None,
            run: None,
            max_at_work: 1,
        };
        let job = start(&starter, new).await;
        Self { world, tools, pushed, job }
    }

    fn worker(&self, name: &str) -> Worker {
        self.world.worker(name, &self.tools)
    }

    fn fault(&self, process: &str, operation: &str, touches: &str, fault: Fault) {
        let (process, operation, touches) = (process.to_owned(), operation.to_owned(), touches.to_owned());
        let fits = move |sent: &Outbound| {
            sent.process == process && sent.operation == operation && sent.summary.contains(&touches)
        };
        self.world.faults.when(fits, fault);
    }

    /// Leases end and messages come back.
    fn lease_ends(&self) {
        self.world.advance(Duration::from_secs(12));
    }

    async fn cancel(&self) {
        let upkeep = self.worker("canceller").engine.upkeep;
        let _ = upkeep.end(&self.job, Ending::Cancelled).await.unwrap();
    }

    /// To the end of everything; every fault was met, and the log is as logs are.
    async fn rests(&self, status: Status) -> Record {
        let record = self.ends().await;
        assert!(World::at_rest(&record), "{record:#?}");
        assert_eq!(record.head.status(), status);
        let terminal = record.events.iter().filter(|event| event.body.is_terminal()).count();
        assert!(terminal == 1 && record.events.last().unwrap().body.is_terminal(), "{:#?}", record.events);
        assert!(is_in_order(&record), "{:#?}", record.events);
        record
    }

    /// To the end of everything; every fault was met.
    async fn ends(&self) -> Record {
        let last = self.worker("last");
        for _ in 0..20 {
            while self.world.deliver(&last).await {}
            self.lease_ends();
            self.world.sweep(&last).await;
        }
        assert!(self.world.faults.was_hit(), "{:#?}", self.world.faults.sent());
        self.world.record(&self.job).await.unwrap()
    }
}

/// A worker gets a message, perhaps not for the first time. Whatever comes of it: nobody waits for an answer.
async fn gets(worker: &Worker, (continuation, again): (Continuation, bool)) {
    let delivery = Delivery { continuation, again, ticket: None };
    let _ = worker.engine.handle(&delivery, Instant::now() + Duration::from_secs(300)).await;
}

/// Whether nothing of an older attempt follows what a newer one wrote.
fn is_in_order(record: &Record) -> bool {
    let origins = record.events.iter().filter_map(|event| event.origin.as_ref());
    origins.map(|origin| (origin.turn, origin.attempt)).is_sorted()
}

fn says(record: &Record, text: &str) {
    assert_eq!(Replay::of(&record.events).text(&LaneName::main()), text);
    let EventBody::JobCompleted(summary) = &record.events.last().unwrap().body else { panic!("not completed") };
    assert_eq!(summary.output, text);
}

fn text() -> Script {
    Script::new().turn(Turn::pieces(["One ", "two ", "three."]))
}

/// So long that it is written before the job's last commit.
fn long_text() -> Script {
    Script::new().turn(Turn::text("a".repeat(5000)))
}

fn push_and_text() -> Script {
    Script::new().turn(Turn::text("First.").then_calls([Call::new("push", "{}")])).turn(Turn::text("Then."))
}

/// Counterexamples 1 and 14: nor is the model asked.
#[tokio::test]
async fn a_claim_that_is_answered_after_the_cancellation_restarts_nothing_behind_the_end() {
    let it = Schedule::of(text()).await;
    let (dies, late) = (it.worker("1"), it.worker("2"));
    it.fault("1", "TransactWriteItems", "lane#main", Fault::CutAfter);
    it.world.deliver(&dies).await;
    it.lease_ends();
    let gate = Gate::new();
    it.fault("2", "UpdateItem", "lane#main", Fault::HoldAnswer(gate.clone()));
    tokio::join!(it.world.deliver(&late), async {
        gate.reached().await;
        it.cancel().await;
        gate.open();
    });
    it.rests(Status::Cancelled).await;
    assert_eq!(it.world.model.requests().len(), 0);
}

/// Counterexample 2.
#[tokio::test]
async fn an_append_that_was_refused_does_not_overtake_the_restart_of_a_newer_attempt() {
    let it = Schedule::of(push_and_text()).await;
    let [one, two, three] = ["1", "2", "3"].map(|name| it.worker(name));
    let [text_held, restart_held, again_held] = [(); 3].map(|()| Gate::new());
    it.fault("1", "PutItem", "event#", Fault::Hold(text_held.clone()));
    it.fault("1", "PutItem", "event#", Fault::CutBefore);
    it.fault("2", "PutItem", "event#", Fault::Hold(restart_held.clone()));
    it.fault("2", "PutItem", "event#", Fault::Hold(again_held.clone()));
    tokio::join!(it.world.deliver(&one), async {
        text_held.reached().await;
        it.lease_ends();
        tokio::join!(it.world.deliver(&two), async {
            restart_held.reached().await;
            text_held.open();
            one.process.died().await;
            // The first worker's event is where the second one wants its restart; it looks, and is stopped.
            restart_held.open();
            again_held.reached().await;
            it.lease_ends();
            it.world.deliver(&three).await;
            again_held.open();
        });
    });
    says(&it.rests(Status::Completed).await, "First.\n\nThen.");
}

/// Counterexample 4.
#[tokio::test]
async fn a_claim_whose_answer_is_lost_or_which_is_copied_burns_no_attempt() {
    for fault in [Fault::LoseAnswer, Fault::Duplicate(Default::default())] {
        let it = Schedule::of(push_and_text()).await;
        let worker = it.worker("1");
        it.fault("1", "TransactWriteItems", "lane#main, Update", fault.clone());
        it.fault("1", "UpdateItem", "lane#main", fault);
        while it.world.deliver(&worker).await {}
        let record = it.rests(Status::Completed).await;
        says(&record, "First.\n\nThen.");
        let attempts = record.events.iter().filter_map(|event| event.origin.as_ref()).map(|origin| origin.attempt);
        assert_eq!((attempts.max(), record.head.metrics.recoveries), (Some(1), 0));
    }
}

/// Counterexample 6.
#[tokio::test]
async fn text_whose_writing_had_an_unknown_outcome_is_there_once() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let it = Schedule::of(push_and_text()).await;
        let worker = it.worker("1");
        // More often than the SDK tries: the outcome is unknown, with more text waiting.
        for _ in 0..3 {
            it.fault("1", "PutItem", "event#0000000004", fault.clone());
        }
        it.world.deliver(&worker).await;
        says(&it.rests(Status::Completed).await, "First.\n\nThen.");
    }
}

/// Counterexamples 7 and 18: its message still fits.
#[tokio::test]
async fn a_restart_after_the_checkpoint_keeps_the_text_of_the_answer() {
    let it = Schedule::of(push_and_text()).await;
    let dies = it.worker("1");
    it.fault("1", "TransactWriteItems", "#answer", Fault::CutAfter);
    it.world.deliver(&dies).await;
    it.lease_ends();
    while it.world.deliver(&it.worker("2")).await {}
    assert_eq!(it.world.record(&it.job).await.unwrap().head.status(), Status::Completed, "nobody has swept");
    let record = it.rests(Status::Completed).await;
    says(&record, "First.\n\nThen.");
    let offsets = record.events.iter().filter_map(|event| match event.body {
        EventBody::TurnRestarted { output_offset } => Some(output_offset),
        _ => None,
    });
    assert_eq!(offsets.collect::<Vec<_>>(), ["First.".len() as u64]);
    assert_eq!(it.pushed.load(Ordering::Relaxed), 1);
}

/// Counterexample 8.
#[tokio::test]
async fn a_turn_that_is_cut_before_its_first_word_takes_nothing_from_the_turn_before() {
    let it = Schedule::of(push_and_text()).await;
    let [one, dies] = ["1", "2"].map(|name| it.worker(name));
    it.world.deliver(&one).await;
    it.fault("2", "PutItem", "event#", Fault::CutAfter);
    it.world.deliver(&dies).await;
    let record = it.rests(Status::Completed).await;
    says(&record, "First.\n\nThen.");
    let restarts = record.events.iter().filter(|event| matches!(event.body, EventBody::TurnRestarted { .. }));
    assert_eq!(restarts.map(|event| event.origin.as_ref().unwrap().turn).collect::<Vec<_>>(), [2]);
    let calls = &Replay::of(&record.events).lanes[&LaneName::main()].tool_calls;
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), [ToolCallStatus::Completed]);
}

/// Counterexamples 9 and 10.
#[tokio::test]
async fn a_message_that_comes_after_the_last_answer_has_begun_is_read_by_another_turn() {
    let it = Schedule::of(Script::new().turn(Turn::text("First.")).turn(Turn::text("Then."))).await;
    let [worker, person] = ["1", "person"].map(|name| it.worker(name));
    let gate = Gate::new();
    it.fault("1", "TransactWriteItems", "Put job_01JDA7Q3W5T8Z2K4M6N8P0R1S3/turn#", Fault::Hold(gate.clone()));
    tokio::join!(it.world.deliver(&worker), async {
        gate.reached().await;
        let upkeep = &person.engine.upkeep;
        let (content, by) = (Content::Text("One more thing".to_owned()), upkeep.clock.fresh_name());
        let posted = upkeep.store.post(&it.job, "m1", &content, "ann", &by, upkeep.clock.now()).await;
        assert!(matches!(posted, Ok(PostOutcome::Accepted(_))), "{posted:?}");
        gate.open();
    });
    let record = it.rests(Status::Completed).await;
    says(&record, "First.\n\nThen.");
    let read = record.turns.values().filter_map(|turn| turn.answer.as_ref()).map(|answer| answer.inbox);
    assert_eq!((read.collect::<Vec<_>>(), record.head.metrics.recoveries), (vec![0, 1], 0));
}

/// Counterexample 16.
#[tokio::test]
async fn a_message_of_a_past_turn_asks_for_the_next_only_where_nobody_else_does() {
    let it = Schedule::of(push_and_text()).await;
    let [dies, finds, works] = ["1", "2", "3"].map(|name| it.worker(name));
    it.fault("1", "SendMessage", "", Fault::CutBefore);
    it.world.deliver(&dies).await;
    let past = |again| (Continuation { job: it.job.clone(), lane: LaneName::main(), turn: 1 }, again);
    let waiting = || it.world.sqs.depth("continuations").visible;
    assert_eq!((it.world.record(&it.job).await.unwrap().lanes[&LaneName::main()].turn, waiting()), (2, 0));
    gets(&finds, past(false)).await;
    assert_eq!(waiting(), 0, "a copy breeds nothing");
    gets(&finds, past(true)).await;
    assert_eq!(waiting(), 1, "whoever committed may be dead");
    let gate = Gate::new();
    it.fault("3", "PutItem", "event#", Fault::Hold(gate.clone()));
    tokio::join!(it.world.deliver(&works), async {
        gate.reached().await;
        gets(&finds, past(true)).await;
        assert_eq!(waiting(), 0, "somebody is at work");
        gate.open();
    });
    says(&it.rests(Status::Completed).await, "First.\n\nThen.");
}

/// Counterexample 12.
#[tokio::test]
async fn a_worker_that_has_not_heard_of_the_cancellation_starts_no_tool() {
    let it = Schedule::of(push_and_text()).await;
    let worker = it.worker("1");
    let gate = Gate::new();
    it.fault("1", "TransactWriteItems", "#call#", Fault::Hold(gate.clone()));
    tokio::join!(it.world.deliver(&worker), async {
        gate.reached().await;
        it.cancel().await;
        gate.open();
    });
    let record = it.rests(Status::Cancelled).await;
    assert!(record.turns.values().all(|turn| turn.calls.is_empty()));
    assert_eq!(it.pushed.load(Ordering::Relaxed), 0);
}

/// No counterexample of the model's, which has no queue that is silent: the message is hidden beside the claim, and a queue
/// that does not answer would have used up the lease that the claim had made.
#[tokio::test]
async fn a_queue_that_does_not_answer_does_not_keep_a_claimed_turn_from_beginning() {
    let it = Schedule::of(text()).await;
    let mut worker = it.worker("1");
    // A third of it is waited for.
    let times = LeaseTimes { length: Duration::from_secs(3), ..LeaseTimes::default() };
    worker.engine.upkeep.store = Store::new(it.world.dynamodb.client(), "nightshift", times);
    let silent = Gate::new();
    it.fault("1", "ChangeMessageVisibility", "", Fault::Hold(silent.clone()));
    let delivered = tokio::time::timeout(Duration::from_secs(60), it.world.deliver(&worker)).await;
    assert!(delivered.expect("the turn has begun"));
    assert_eq!(silent.waiting(), 0, "what was given up is not asked for any more");
    let record = it.rests(Status::Completed).await;
    says(&record, "One two three.");
    assert_eq!(record.lanes[&LaneName::main()].attempt, 1);
}
