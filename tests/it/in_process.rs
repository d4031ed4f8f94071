//! The embedded table and queues asked with a client and without one: the same is done, and the same is answered.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    answer::Answer,
    continuation::Continuation,
    event::{Event, EventBody},
    id::{JobId, LaneName, WriterId},
    job::{Asker, Ending, FinishReason, JobSpec, Metrics, ModelSettings},
    lane::{Fence, LeaseTimes},
    message::{Message, RequestedCall},
    time::Timestamp,
    tool_call::{Progress, ToolCall, ToolOutcome},
    usage::Usage,
};
use futures_util::future::join_all;
use local::emulator::{EmbeddedDynamoDb, EmbeddedSqs, sqs::Depth};
use queue::{ContinuationQueue, Line, Ticket};
use store::{After, ClaimOutcome, CommitOutcome, CreateOutcome, IdempotencyKey, LastCommit, NewJob, Store};

/// What was asked, and what was answered.
struct Told(Vec<String>);

impl Told {
    fn tell<T: Debug>(&mut self, what: &str, answer: T) {
        self.0.push(format!("{what}: {answer:?}"));
    }
}

fn writer(name: &str) -> WriterId {
    name.parse().unwrap()
}

fn new_job(id: &str, fingerprint: &str, input: &str) -> NewJob {
    let asker = Asker::new(job_of(id), "ann".parse().unwrap(), 3600);
    let spec = JobSpec {
        messages: vec![Message::user(input)],
        settings: ModelSettings { model: "scripted".to_owned(), ..ModelSettings::default() },
        ..JobSpec::default()
    };
    let key = IdempotencyKey { key: "k".to_owned(), fingerprint: fingerprint.to_owned() };
    NewJob { asker, spec, key: Some(key), run: None, max_at_work: 1 }
}

fn answer(text: &str, calls: Vec<RequestedCall>) -> Answer {
    Answer {
        text: text.to_owned(),
        reasoning: String::new(),
        reasoning_goes_back: false,
        reasoning_details: vec![],
        finish_reason: if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls },
        calls,
        model: "scripted".to_owned(),
        usage: Usage::default(),
        model_time_ms: 5,
        inbox: 0,
    }
}

const ID: &str = "01JDA7Q3W5T8Z2K4M6N8P0R1S3";

fn job_of(id: &str) -> JobId {
    JobId::from_ulid(id.to_owned()).unwrap()
}

/// Does everything that a turn and a viewer ask of a table, with the refusals of each, and says what it was answered.
async fn scenario(store: &Store) -> Vec<String> {
    let mut told = Told(vec![]);
    let now = Timestamp::from_millis(1_763_800_000_000);
    let later = now + Duration::from_secs(1);
    // Large enough to be compressed and split.
    let long: String = (0..120_000u32).map(|n| format!("{:x} ", n.wrapping_mul(2_654_435_761))).collect();

    let created = store.create(new_job(ID, "f", &long), now).await.unwrap();
    told.tell("create", &created);
    let CreateOutcome::Created(head) = created else { panic!("it was not created") };
    for (id, fingerprint) in [("01JDA7Q3W5T8Z2K4M6N8P0R1S4", "f"), ("01JDA7Q3W5T8Z2K4M6N8P0R1S6", "g")] {
        told.tell("create again", store.create(new_job(id, fingerprint, "x"), now).await.unwrap());
    }
    let other = NewJob { key: None, ..new_job("01JDA7Q3W5T8Z2K4M6N8P0R1S5", "", "x") };
    told.tell("one too many", store.create(other, now).await.unwrap());

    let job = head.id.clone();
    let gone = job_of("01JDA7Q3W5T8Z2K4M6N8P0R1S9");
    let first = Continuation { job: job.clone(), lane: LaneName::main(), turn: 1 };
    let claimed = store.claim(&first, false, &writer("a"), now).await.unwrap();
    told.tell("claim", &claimed);
    let ClaimOutcome::Claimed(claimed) = claimed else { panic!("it was not claimed") };
    let (mut held, tail) = (claimed.held, claimed.tail);
    told.tell("claim what is taken", store.claim(&first, false, &writer("b"), now).await.unwrap());
    told.tell("claim again", store.claim(&first, true, &writer("b"), later).await.unwrap());
    told.tell(
        "claim what is gone",
        store.claim(&Continuation { job: gone.clone(), ..first.clone() }, false, &writer("b"), now).await.unwrap(),
    );
    told.tell("renew", store.renew(&job, &held.fence, later).await.unwrap());
    let stranger = Fence { owner: writer("b"), ..held.fence.clone() };
    told.tell("renew another's", store.renew(&job, &stranger, later).await.unwrap());

    let mut log = store.appender(&held.job.head, &held.fence, held.lane(), tail);
    let delta = |text: &str| EventBody::OutputDelta { text: text.to_owned() };
    log.append(vec![(delta("one"), now), (delta("two"), now), (delta(&long[..100_000]), now)]).await.unwrap();
    told.tell("the log's end", log.tail());
    let mut late = store.appender(&held.job.head, &stranger, held.lane(), tail);
    told.tell("append without the lease", late.append(vec![(delta("no"), later)]).await.map_err(|e| e.to_string()));

    let call = RequestedCall {
        id: "call_1".parse().unwrap(),
        name: "calculate".to_owned(),
        arguments: "{}".to_owned(),
        extra_content: None,
    };
    let asks = answer(&long, vec![call.clone()]);
    told.tell("checkpoint", store.checkpoint(&mut held, &asks, now).await.unwrap());
    let requested = ToolCall {
        request: call,
        lane: LaneName::main(),
        turn: 1,
        index: 0,
        node_id: None,
        fingerprint: "print".to_owned(),
        attempts: 1,
        edited: None,
        started_at: now,
        progress: Progress::Started { by: writer("a") },
    };
    let outcome = ToolOutcome::Completed(long[..50_000].to_owned());
    let ended = ToolCall { progress: Progress::Finished { outcome, at: later }, ..requested.clone() };
    told.tell("start a call", store.start_call(&held, &requested, None).await.unwrap());
    told.tell("start it again", store.start_call(&held, &requested, None).await.unwrap());
    told.tell("end it", store.finish_call(&held, &ended, true).await.unwrap());
    told.tell("end it again", store.finish_call(&held, &ended, true).await.unwrap());
    let mut lost = held.clone();
    lost.fence = stranger.clone();
    told.tell("start it without the lease", store.start_call(&lost, &requested, None).await.unwrap());
    told.tell("a checkpoint without the lease", store.checkpoint(&mut lost, &asks, now).await.unwrap());
    told.tell("a commit without the lease", store.advance(&mut lost, log.tail(), now).await.unwrap());
    told.tell("commit", store.advance(&mut held, log.tail(), now).await.unwrap());
    told.tell("commit again", store.advance(&mut held, log.tail(), now).await.unwrap());

    let second = Continuation { turn: 2, ..first };
    let claimed = store.claim(&second, false, &writer("c"), later).await.unwrap();
    told.tell("second", &claimed);
    let ClaimOutcome::Claimed(claimed) = claimed else { panic!("it was not claimed") };
    let mut held = claimed.held;
    let ends = answer("done", vec![]);
    let last = |log_end| LastCommit {
        answer: &ends,
        output: "done",
        sums: (Usage::default(), Metrics::default()),
        events: &[],
        log_end,
    };
    let moved = store.complete(&mut held, last(tail), later).await.unwrap();
    assert!(matches!(moved, CommitOutcome::LogMoved), "{moved:?}");
    told.tell("complete", store.complete(&mut held, last(log.tail()), later).await.unwrap());
    told.tell("complete again", store.complete(&mut held.clone(), last(log.tail()), later).await.unwrap());
    told.tell("end", store.end(&job, Ending::Cancelled, None, &writer("d"), later).await.unwrap());
    told.tell("settle", store.settled(&held.job.head).await.unwrap());
    told.tell("settle again", store.settled(&held.job.head).await.unwrap());

    for consistent in [false, true] {
        told.tell("a head", store.head(&job, consistent).await.unwrap());
        told.tell("no head", store.head(&gone, consistent).await.unwrap());
        told.tell("with its log", store.with_log(&job, consistent).await.unwrap());
        for after in [After::Event(0), After::Event(3), After::Batch(4), After::Event(99)] {
            told.tell("events", store.events_after(&job, after, 2, consistent).await.unwrap());
        }
    }
    told.tell("its end", store.tail(&job).await.unwrap());
    let log = store.events_after(&job, After::Event(0), 100, true).await.unwrap().unwrap();
    let (recent, head) = store.recent(&job, 3).await.unwrap().unwrap();
    assert!(recent.len() >= 3 && log.events.ends_with(&recent), "{recent:?}");
    told.tell("its last events", (recent, head));
    assert!(store.recent(&job, 99).await.unwrap().unwrap().0 == log.events);
    told.tell("no end", store.tail(&gone).await.unwrap());
    told.tell("all of it", store.whole(&job).await.unwrap());
    told.tell("a call", store.tool_call(&job, &"call_1".parse().unwrap()).await.unwrap());
    told.0
}

/// The table asked with a client; without one; and without one in a file, where reads have a connection of their own.
#[tokio::test]
async fn a_table_in_this_process_answers_as_its_client_does() {
    let directory = tempfile::tempdir().unwrap();
    let in_a_file = || EmbeddedDynamoDb::open(&directory.path().join("table.db")).unwrap();
    let memory = || EmbeddedDynamoDb::in_memory().unwrap();
    let mut all = vec![];
    for (dynamodb, without_a_client) in [(memory(), false), (memory(), true), (in_a_file(), true)] {
        let hints: Arc<Mutex<Vec<Event>>> = Arc::default();
        let store = Store::new(dynamodb.client(), "nightshift", LeaseTimes::default());
        store.create_table().await.unwrap();
        let store = if without_a_client { store.in_process(dynamodb.in_process()) } else { store };
        dynamodb.on_write(Arc::new({
            let hints = hints.clone();
            move |_, item| hints.lock().unwrap().extend(store::events_from_item(item).unwrap())
        }));
        all.push(scenario(&store).await);
        let log = store.events_after(&job_of(ID), After::Event(0), 100, true).await.unwrap().unwrap();
        let mut hints = std::mem::take(&mut *hints.lock().unwrap());
        // A client's transaction that comes again, by its token, is told of again.
        hints.dedup();
        let numbers = |events: &[Event]| events.iter().map(|event| event.number).collect::<Vec<_>>();
        assert_eq!(numbers(&hints), numbers(&log.events), "whoever waits for events is told of each, in order");
        assert!(hints == log.events, "what is told is what is written");
    }
    let with = &all[0];
    for without in &all[1..] {
        assert!(with.len() > 40 && with.len() == without.len(), "{} and {}", with.len(), without.len());
        for (with, without) in with.iter().zip(without) {
            assert!(with == without, "with a client {with:.2000}\nwithout one {without:.2000}");
        }
    }
}

/// While others write, so that the connections are busy and take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_every_write_that_was_answered_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let dynamodb = EmbeddedDynamoDb::open(&directory.path().join("table.db")).unwrap();
    let store = Store::new(dynamodb.client(), "nightshift", LeaseTimes::default()).in_process(dynamodb.in_process());
    store.create_table().await.unwrap();
    let now = Timestamp::from_millis(1_763_800_000_000);
    let writers = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let id = format!("01JDA7Q3W5T8Z2K4M6N8P0R1S{n}");
            let new = NewJob { key: None, max_at_work: 8, ..new_job(&id, "", "x") };
            store.create(new, now).await.unwrap();
            for seconds in 1..=100 {
                let until = now + Duration::from_secs(seconds);
                store.watch(&job_of(&id), until).await.unwrap();
                assert_eq!(store.head(&job_of(&id), true).await.unwrap().unwrap().watched_until, until);
                assert_eq!(store.tail(&job_of(&id)).await.unwrap().unwrap().1.watched_until, until);
            }
        })
    });
    for writer in join_all(writers.collect::<Vec<_>>()).await {
        writer.unwrap();
    }
}

/// What goes into a queue one way is had the other way, is hidden and comes back.
#[tokio::test]
async fn queues_in_this_process_do_as_their_client_does() {
    const LONG: Duration = Duration::from_secs(20);
    let sqs = EmbeddedSqs::new();
    let urls = ["starts", "continuations"].map(|name| sqs.create_queue(name, &[("VisibilityTimeout", "900")]).unwrap());
    let client = ContinuationQueue::new(sqs.client(), &urls[0], &urls[1]);
    let direct = client.clone().in_process(sqs.in_process());
    let job = job_of(ID);
    let turn = |turn| Continuation { job: job.clone(), lane: LaneName::main(), turn };

    for (n, queue) in [(1, &client), (2, &direct)] {
        let waiting = tokio::spawn({
            let client = sqs.client();
            let url = urls[1].clone();
            async move { client.receive_message().queue_url(url).wait_time_seconds(20).send().await.unwrap() }
        });
        queue.send(&turn(n), Line::Continuations, Duration::ZERO).await.unwrap();
        let received = waiting.await.unwrap().messages.unwrap().pop().unwrap();
        assert_eq!(queue::decode(received.body().unwrap()).unwrap(), turn(n));

        let ticket = Ticket { line: Line::Continuations, receipt: received.receipt_handle().unwrap().to_owned() };
        assert!(sqs.receive("continuations", Duration::ZERO).await.unwrap().is_none());
        queue.hide(&ticket, Duration::ZERO).await.unwrap();
        let again = sqs.receive("continuations", LONG).await.unwrap().unwrap();
        assert_eq!((queue::decode(&again.body).unwrap(), again.approximate_receive_count), (turn(n), 2));
        assert!(queue.hide(&ticket, LONG).await.is_err(), "that delivery is over");
        sqs.delete("continuations", again.receipt_handle.as_deref().unwrap()).unwrap();

        queue.send(&turn(n), Line::Starts, Duration::from_millis(59_001)).await.unwrap();
        assert_eq!(sqs.depth("starts").delayed, 1);
        sqs.advance(Duration::from_secs(59));
        assert!(sqs.receive("starts", Duration::ZERO).await.unwrap().is_none(), "part of a second is a whole one");
        sqs.advance(Duration::from_secs(1));
        let late = sqs.receive("starts", LONG).await.unwrap().unwrap();
        sqs.delete("starts", late.receipt_handle.as_deref().unwrap()).unwrap();
        assert_eq!([sqs.depth("starts"), sqs.depth("continuations")], [Depth::default(); 2]);
    }
    assert!(sqs.receive("nothing", Duration::ZERO).await.is_err(), "there is no such queue");
    let asked = sqs.asked();
    assert_eq!((asked["SendMessage"], asked["ChangeMessageVisibility"], asked["DeleteMessage"]), (4, 4, 4));
}
