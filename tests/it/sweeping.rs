//! What the sweeper finds, and what the table says of workers that die again and again. On a clock that is moved by hand.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    event::{Event, EventBody},
    id::JobId,
    job::{Asker, Ending, FinishReason, JobSpec, ModelSettings, Status},
    message::{Content, Message},
    time::Timestamp,
};
use engine::Clock as _;
use futures_util::FutureExt as _;
use local::{
    demo_model::{Script, Turn},
    emulator::fault::{Fault, Gate},
};
use serde_json::Value;
use store::{CreateOutcome, EndOutcome, NewJob, Record, Switches};
use tests::world::{self, Meddler, Worker, World, nothing, without_condition, writes};
use tools::ToolRegistry;

const JOB: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3";

/// A job of this name, for a user of its own.
fn new(id: &str) -> NewJob {
    NewJob {
        asker: Asker::new(id.parse().unwrap(), id.parse().unwrap(), 3600),
        spec: JobSpec {
            messages: vec![Message::user("Sweep")],
            settings: ModelSettings { model: "scripted".to_owned(), ..Default::default() },
            ..JobSpec::default()
        },
        key: None,
        run: None,
        max_at_work: 1,
    }
}

/// A job that is accepted; its first turn is not in line.
async fn accepted(world: &World, id: &str) -> JobId {
    let created = world.eyes().create(new(id), world.clock.now()).await.unwrap();
    let CreateOutcome::Created(head) = created else { panic!("not created: {created:?}") };
    head.id
}

/// A job that is accepted; its first turn is in line unless it `is_lost`.
async fn started(world: &World, worker: &Worker, is_lost: bool) -> JobId {
    world.model.script("Sweep", Script::new().turn(Turn::text("Swept.")));
    if is_lost { accepted(world, JOB).await } else { world::start(&worker.engine.upkeep, new(JOB)).await }
}

async fn record(world: &World, job: &JobId) -> Record {
    world.record(job).await.unwrap()
}

fn code(record: &Record) -> &str {
    record.head.ending().and_then(|ending| ending.error()).map_or("", |error| &error.code)
}

#[tokio::test]
async fn a_first_turn_that_was_never_sent_is_found() {
    let world = World::new().await;
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(&world, &worker, true).await;
    assert!(!world.deliver(&worker).await);
    world.sweep(&worker).await;
    assert!(!world.deliver(&worker).await, "it is not overdue yet");
    world.advance(Duration::from_secs(16));
    world.sweep(&worker).await;
    assert!(world.deliver(&worker).await);
    assert_eq!(record(&world, &job).await.head.status(), Status::Completed);
}

#[tokio::test]
async fn a_job_that_nobody_takes_up_in_an_hour_fails() {
    let world = World::new().await;
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(&world, &worker, true).await;
    world.advance(Duration::from_secs(3599));
    world.sweep(&worker).await;
    assert_eq!(record(&world, &job).await.head.status(), Status::Queued);
    world.advance(Duration::from_secs(1));
    world.sweep(&worker).await;
    let record = record(&world, &job).await;
    assert_eq!((record.head.status(), code(&record)), (Status::Failed, "queue_timeout"));
    assert!(World::at_rest(&record));
    // Its message, found at last, changes nothing.
    while world.deliver(&worker).await {}
    assert_eq!(world.record(&job).await.unwrap().events, record.events);
}

#[tokio::test]
async fn a_job_whose_worker_died_fails_at_its_deadline_and_not_before_r69() {
    let world = World::new().await;
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(&world, &worker, false).await;
    // The worker dies before it checkpoints; nobody comes in its place.
    world.faults.when(|sent| sent.summary.contains("#answer"), Fault::CutBefore);
    world.deliver(&worker).await;
    assert!(worker.process.is_dead());
    let sweeper = world.worker("2", &ToolRegistry::new());
    world.advance(Duration::from_secs(299));
    world.sweep(&sweeper).await;
    assert_eq!(record(&world, &job).await.head.status(), Status::Running);
    world.advance(Duration::from_secs(1));
    world.sweep(&sweeper).await;
    let record = record(&world, &job).await;
    let reason = record.head.ending().map(domain::job::Ending::reason);
    assert_eq!((record.head.status(), reason), (Status::Failed, Some(FinishReason::Deadline)));
    assert!(World::at_rest(&record));
}

#[tokio::test]
async fn a_turn_that_kills_five_workers_fails_the_job_with_the_reason() {
    let world = World::new().await;
    let first = world.worker("1", &ToolRegistry::new());
    let job = started(&world, &first, false).await;
    for n in 1..=5 {
        world.faults.when(|sent| sent.summary.contains("#answer"), Fault::CutBefore);
        let worker = world.worker(&n.to_string(), &ToolRegistry::new());
        assert!(world.deliver(&worker).await, "the message comes back when the lease is over");
        assert!(worker.process.is_dead());
        world.advance(Duration::from_secs(12));
    }
    let sixth = world.worker("6", &ToolRegistry::new());
    assert!(world.deliver(&sixth).await);
    let record = record(&world, &job).await;
    assert_eq!((record.head.status(), code(&record)), (Status::Failed, "attempts_exhausted"));
    assert_eq!(record.head.metrics.recoveries, 5);
    assert!(World::at_rest(&record) && record.events.last().unwrap().body.is_terminal());
}

/// A world in which a minute is too long.
async fn impatient() -> World {
    let mut world = World::new().await;
    world.stall_after = Duration::from_secs(60);
    world
}

/// A job whose worker died while it asked the model; and its sweeper.
async fn abandoned(world: &World) -> (JobId, Worker) {
    abandoned_to(world, nothing()).await
}

/// The same, and somebody meddles with the sweeper.
async fn abandoned_to(world: &World, meddler: Meddler) -> (JobId, Worker) {
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(world, &worker, false).await;
    world.faults.when(|sent| sent.summary.contains("#answer"), Fault::CutBefore);
    world.deliver(&worker).await;
    assert!(worker.process.is_dead());
    (job, world.meddled("2", &ToolRegistry::new(), meddler))
}

fn stalls(record: &Record) -> Vec<(u64, Timestamp)> {
    let stalls = record.events.iter().filter_map(|event| match event.body {
        EventBody::JobStalled { since } => Some((event.number, since)),
        _ => None,
    });
    stalls.collect()
}

#[tokio::test]
async fn a_job_in_which_nothing_happens_is_said_to_stand_still_once_and_is_asked_for_again() {
    let world = impatient().await;
    let (job, sweeper) = abandoned(&world).await;
    let before = record(&world, &job).await;
    let moved_at = before.events.last().unwrap().at;
    // A sweep comes every fifteen seconds; nothing is delivered.
    for _ in 0..3 {
        world.advance(Duration::from_secs(15));
        world.sweep(&sweeper).await;
    }
    assert_eq!(stalls(&record(&world, &job).await), [], "45 s are not 60");
    for _ in 0..4 {
        world.advance(Duration::from_secs(15));
        world.sweep(&sweeper).await;
    }
    let stalled = record(&world, &job).await;
    assert_eq!(stalls(&stalled), [(before.events.len() as u64 + 1, moved_at)]);
    let at = stalled.events.last().unwrap().at;
    assert_eq!(at.since(moved_at), Duration::from_secs(60), "it is looked at when the time is up, and not later");
    // Somebody comes at last, and the event is in nobody's way.
    while world.deliver(&sweeper).await {}
    let done = record(&world, &job).await;
    assert_eq!(done.head.status(), Status::Completed);
    assert!(World::at_rest(&done) && done.events.last().unwrap().body.is_terminal());
    assert_eq!(stalls(&done).len(), 1);
}

#[tokio::test]
async fn a_job_that_moves_is_not_said_to_stand_still() {
    let world = impatient().await;
    let (job, second) = abandoned(&world).await;
    world.advance(Duration::from_secs(45));
    world.sweep(&second).await;
    // It is taken over, and abandoned again: what it wrote is a sign of life.
    world.faults.when(|sent| sent.summary.contains("#answer"), Fault::CutBefore);
    while !second.process.is_dead() && world.deliver(&second).await {}
    assert!(second.process.is_dead());
    let third = world.worker("3", &ToolRegistry::new());
    for _ in 0..3 {
        world.advance(Duration::from_secs(15));
        world.sweep(&third).await;
    }
    assert_eq!(stalls(&record(&world, &job).await), [], "90 s after the first sign of life, and 45 after the last");
}

#[tokio::test]
async fn a_job_that_waits_in_line_or_is_over_does_not_stand_still() {
    let world = impatient().await;
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(&world, &worker, true).await;
    world.advance(Duration::from_secs(600));
    world.sweep(&worker).await;
    assert_eq!(stalls(&record(&world, &job).await), []);
    while world.deliver(&worker).await {}
    world.advance(Duration::from_secs(600));
    world.sweep(&worker).await;
    let record = record(&world, &job).await;
    assert!(record.events.last().unwrap().body.is_terminal() && stalls(&record).is_empty());
}

/// Names of jobs that are in the same shard of the due index as that of [`started`]: more than it gives at once.
fn neighbours() -> impl Iterator<Item = String> {
    let sum = |id: &str| id.bytes().rev().take(8).map(u32::from).sum::<u32>() % 8;
    let ids = (0..).map(|n| format!("job_01JDA7Q3W5T8Z2K4M6N8P{n:05}"));
    ids.filter(move |id| sum(id) == sum(JOB)).take(60)
}

/// A job that was accepted and cancelled.
async fn cancelled(world: &World, id: &str) -> JobId {
    let (job, by) = (accepted(world, id).await, id.replace("job_", "by-").parse().unwrap());
    let ended = world.eyes().end(&job, Ending::Cancelled, None, &by, world.clock.now()).await.unwrap();
    assert!(matches!(ended, EndOutcome::Ended(_)));
    world.advance(Duration::from_millis(1));
    job
}

/// The next event does not reach the bus, however often the SDK tries.
fn bus_is_down(world: &World) {
    for _ in 0..3 {
        world.faults.when(|sent| sent.operation == "PutEvents", Fault::LoseRequest);
    }
}

fn told(world: &World, job: &JobId) -> Vec<Value> {
    let events = world.events.events();
    events.into_iter().filter(|event| event["detail"]["job_id"] == job.as_str()).collect()
}

#[tokio::test]
async fn a_bus_that_is_down_holds_up_nothing_but_what_it_is_to_be_told() {
    let world = World::new().await;
    let sweeper = world.worker("1", &ToolRegistry::new());
    let mut ended = vec![];
    for id in neighbours() {
        ended.push(cancelled(&world, &id).await);
    }
    // Its first turn was lost, and it comes after them.
    let job = started(&world, &sweeper, true).await;
    world.advance(Duration::from_secs(120));
    bus_is_down(&world);
    world.sweep(&sweeper).await;
    let asked = || world.faults.sent().iter().filter(|sent| sent.operation == "PutEvents").count();
    assert_eq!(asked(), 3, "one event, with the SDK's retries: who refuses once is not asked for each job");
    assert!(world.deliver(&sweeper).await, "what comes after them is found");
    assert_eq!(record(&world, &job).await.head.status(), Status::Completed);

    // When the bus is back, it is told of each of them, once.
    world.advance(Duration::from_secs(121));
    world.sweep(&sweeper).await;
    for id in &ended {
        assert_eq!(told(&world, id).len(), 1, "{id}");
        assert!(World::at_rest(&record(&world, id).await), "{id}");
    }
}

#[tokio::test]
async fn jobs_expire_while_turns_are_paused_however_many_turns_are_owed() {
    let world = World::new().await;
    let sweeper = world.worker("1", &ToolRegistry::new());
    // Their turns are overdue long before they are.
    let mut jobs = vec![];
    for id in neighbours() {
        jobs.push(accepted(&world, &id).await);
    }
    world.eyes().switch(Switches { turns_paused: true, jobs_paused: false }).await.unwrap();
    world.advance(Duration::from_secs(3600));
    world.sweep(&sweeper).await;
    for job in &jobs {
        assert_eq!(code(&record(&world, job).await), "queue_timeout", "{job}");
    }
}

#[tokio::test]
async fn a_job_that_is_deleted_before_the_bus_knows_of_its_end_is_told_of_all_the_same() {
    let world = World::new().await;
    let sweeper = world.worker("1", &ToolRegistry::new());
    let job = cancelled(&world, "job_01JDA7Q3W5T8Z2K4M6N8P00001").await;
    let head = record(&world, &job).await.head;
    // Long ago: without what is owed, everything would go at once.
    world.advance(Duration::from_secs(60));
    assert_eq!(world.eyes().delete(&head, world.clock.now()).await.unwrap(), store::DeleteOutcome::Deleted);
    assert_eq!(world.record(&job).await.map(|record| record.head), None, "readers do not see it any more");
    assert!(!format!("{:?}", world.eyes().mark_of_deleted(&job).await.unwrap()).contains("Sweep"), "its title is gone");
    bus_is_down(&world);
    world.advance(Duration::from_secs(60));
    world.sweep(&sweeper).await;
    assert!(world.faults.was_hit() && told(&world, &job).is_empty());
    world.advance(Duration::from_secs(121));
    world.sweep(&sweeper).await;
    let kinds: Vec<_> = told(&world, &job).iter().map(|event| event["detail-type"].clone()).collect();
    assert_eq!(kinds, ["Nightshift Job Cancelled"]);
    let left: Vec<String> = items(&world, &job).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["head"], "and then it is gone");
    assert_eq!(world.eyes().mark_of_deleted(&job).await.unwrap().unwrap().owes, None);
}

/// A message comes in between the sweeper's look and its writing that the job stands still.
async fn written_while_told(meddler: Meddler) -> Record {
    let world = impatient().await;
    let (job, sweeper) = abandoned_to(&world, meddler).await;
    world.advance(Duration::from_secs(75));
    let message = Content::Text("Are you there?".to_owned());
    let gate = Gate::new();
    let held = Fault::Hold(gate.clone());
    world.faults.when(|sent| sent.operation == "TransactWriteItems" && sent.process == "2", held);
    let (mut swept, store) = (Box::pin(world.sweep(&sweeper)), world.eyes());
    tokio::select! {
        () = &mut swept => panic!("it is held up"),
        () = gate.wait_for_waiting(1) => {}
    }
    let request = "poster".parse().unwrap();
    let posted = store.post(&job, "m1", &message, "ann", &request, world.clock.now()).await.unwrap();
    assert!(matches!(posted, store::PostOutcome::Accepted(_)));
    gate.open();
    swept.await;
    let record = record(&world, &job).await;
    assert!(world.deliver(&sweeper).await, "the turn is asked for all the same");
    record
}

#[tokio::test]
async fn whoever_writes_while_a_stall_is_told_wins() {
    let is_message = |event: &Event| matches!(event.body, EventBody::MessageAdded { .. });
    let record = written_while_told(nothing()).await;
    assert_eq!((stalls(&record).len(), is_message(record.events.last().unwrap())), (0, true));
    let unconditional: Meddler = Arc::new(|mut asked| {
        if asked.body["ClientRequestToken"].as_str().is_some_and(|token| token.ends_with("-stall")) {
            writes(&mut asked.body).filter(|write| write.get("Item").is_some()).for_each(without_condition);
        }
        asked.ask().boxed()
    });
    let record = written_while_told(unconditional).await;
    assert!(!record.events.iter().any(is_message), "without the rule nothing in the log is overwritten");
}

/// The items of a job as they are in the table: sort key and the names of their attributes.
async fn items(world: &World, job: &JobId) -> Vec<(String, Vec<String>)> {
    let query = world.dynamodb.client().query().table_name("nightshift").key_condition_expression("pk = :pk");
    let pages = query.expression_attribute_values(":pk", AttributeValue::S(job.to_string())).send().await.unwrap();
    let named = |item: HashMap<String, AttributeValue>| {
        let mut names: Vec<String> = item.keys().cloned().collect();
        names.sort();
        (item["sk"].as_s().unwrap().clone(), names)
    };
    pages.items.unwrap_or_default().into_iter().map(named).collect()
}

/// A job that has ended, with more items than one request deletes.
async fn ended(world: &World) -> (JobId, Worker) {
    let worker = world.worker("1", &ToolRegistry::new());
    let job = started(world, &worker, false).await;
    let store = &worker.engine.upkeep.store;
    for n in 0..20 {
        let (content, by) = (Content::Text("Sweep".to_owned()), worker.engine.upkeep.clock.fresh_name());
        let posted = store.post(&job, &format!("m{n}"), &content, "ann", &by, world.clock.now()).await.unwrap();
        assert!(matches!(posted, store::PostOutcome::Accepted(_)));
    }
    while world.deliver(&worker).await {}
    assert_eq!(record(world, &job).await.head.status(), Status::Completed);
    assert!(items(world, &job).await.len() > 40);
    (job, worker)
}

#[tokio::test]
async fn of_a_deleted_job_nothing_is_left_but_a_mark_that_says_nothing() {
    let mark = ["deleted", "pk", "sk", "ttl", "v"].map(str::to_owned).to_vec();
    for long_ago in [false, true] {
        let world = World::new().await;
        let (job, worker) = ended(&world).await;
        let (store, times) = (&worker.engine.upkeep.store, worker.engine.upkeep.store.times());
        let head = record(&world, &job).await.head;
        let leases = times.length + times.margin + Duration::from_secs(1);
        if long_ago {
            world.advance(leases);
        }
        assert_eq!(store.delete(&head, world.clock.now()).await.unwrap(), store::DeleteOutcome::Deleted);
        assert_eq!(world.record(&job).await.map(|record| record.head), None);
        if !long_ago {
            // A worker may be at its last write: the rest goes when no lease can be left.
            world.sweep(&worker).await;
            assert!(items(&world, &job).await.len() > 40);
            world.advance(leases);
            world.sweep(&worker).await;
        }
        assert_eq!(items(&world, &job).await, [("head".to_owned(), mark.clone())]);
    }
}
