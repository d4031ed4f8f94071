//! Embedded emulators, a clock that is moved by hand, and workers as processes that can be killed at any request: the
//! functions' own code, driven one message at a time.

mod seam;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use domain::{
    continuation::Continuation,
    id::{JobId, LaneName, WriterId},
    lane::LeaseTimes,
    time::Timestamp,
};
use engine::{Batching, Clock, Engine, Settings, Upkeep};
use local::{
    demo_model::{self, DemoModel},
    emulator::{
        EmbeddedDynamoDb, EmbeddedEventBridge, EmbeddedSqs,
        fault::{FaultClient, Faults, Process},
    },
};
use model_client::ModelClient;
use queue::{ContinuationQueue, Line, bus::EventBus};
use store::{CreateOutcome, NewJob, Record, Store};
use tokio::time::Instant;
use tools::ToolRegistry;

use self::seam::Seam;
pub(crate) use self::seam::prune;
pub use self::seam::{Asked, Meddler, nothing, without_condition, writes};

const STARTS: &str = "starts";
const CONTINUATIONS: &str = "continuations";

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    names: AtomicU64,
}

impl ManualClock {
    fn new() -> Self {
        Self { now: Mutex::new(Timestamp::from_millis(1_763_800_000_000)), names: AtomicU64::new(0) }
    }

    /// Moves it.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = *now + by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn fresh_name(&self) -> WriterId {
        format!("writer-{}", self.names.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
    }

    fn jitter(&self) -> f64 {
        0.5
    }
}

/// The emulators, the clock, the model and the faults.
pub struct World {
    /// The table.
    pub dynamodb: EmbeddedDynamoDb,
    /// The queues.
    pub sqs: EmbeddedSqs,
    /// The event bus.
    pub events: EmbeddedEventBridge,
    /// The time.
    pub clock: Arc<ManualClock>,
    /// The model.
    pub model: DemoModel,
    /// What goes wrong.
    pub faults: Faults,
    /// How long nothing may happen in a running job.
    pub stall_after: Duration,
    urls: [String; 2],
}

/// One of the system's processes: its requests are counted, and it can be killed at any of them.
pub struct Worker {
    /// Its life.
    pub process: Process,
    /// What it runs.
    pub engine: Engine,
}

impl World {
    /// A world without faults, on a scripted model.
    pub async fn new() -> Self {
        let dynamodb = EmbeddedDynamoDb::in_memory().unwrap();
        let sqs = EmbeddedSqs::new();
        let urls = [STARTS, CONTINUATIONS]
            .map(|name| sqs.create_queue(name, &[("VisibilityTimeout", "900"), ("DelaySeconds", "0")]).unwrap());
        let world = Self {
            dynamodb,
            sqs,
            events: EmbeddedEventBridge::new(),
            clock: Arc::new(ManualClock::new()),
            model: DemoModel::start(demo_model::Options::scripted()).await.unwrap(),
            faults: Faults::new(),
            stall_after: Duration::from_secs(120),
            urls,
        };
        world.store(world.dynamodb.client()).create_table().await.unwrap();
        world
    }

    fn store(&self, client: aws_sdk_dynamodb::Client) -> Store {
        Store::new(client, "nightshift", LeaseTimes::default())
    }

    /// A store that nothing goes wrong for: the test's own eyes.
    pub fn eyes(&self) -> Store {
        self.store(self.dynamodb.client())
    }

    /// A process with these tools.
    pub fn worker(&self, name: &str, tools: &ToolRegistry) -> Worker {
        self.process(name, tools, |client| client)
    }

    /// A process whose requests to the table somebody meddles with.
    pub fn meddled(&self, name: &str, tools: &ToolRegistry, meddler: Meddler) -> Worker {
        self.process(name, tools, |inner| SharedHttpClient::new(Seam { inner, meddler: meddler.clone() }))
    }

    fn process(
        &self,
        name: &str,
        tools: &ToolRegistry,
        meddled: impl Fn(SharedHttpClient) -> SharedHttpClient,
    ) -> Worker {
        let process = self.faults.process(name);
        let retries = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1));
        let dynamodb = self.dynamodb.client_with(|config| {
            let http = FaultClient::wrap(self.dynamodb.http_client(), &process);
            config.http_client(meddled(http)).retry_config(retries.clone())
        });
        let sqs = self.sqs.client_with(|config| {
            let http = FaultClient::wrap(self.sqs.http_client(), &process);
            config.http_client(http).retry_config(retries.clone())
        });
        let events = self.events.client_with(|config| {
            let http = FaultClient::wrap(self.events.http_client(), &process);
            config.http_client(http).retry_config(retries)
        });
        let bus = Some(EventBus::new(events, "default"));
        let queue = ContinuationQueue::new(sqs, &self.urls[0], &self.urls[1]);
        let upkeep = Upkeep { store: self.store(dynamodb), queue, bus, clock: self.clock.clone() };
        let batching =
            Batching { watched_every: Duration::ZERO, unwatched_every: Duration::ZERO, ..Batching::default() };
        let engine = Engine {
            upkeep,
            model: ModelClient::new(model_client::Config::new(self.model.url().clone(), None)).unwrap(),
            sealing: None,
            tools: tools.clone(),
            settings: Settings { batching, ..Settings::default() },
        };
        Worker { process, engine }
    }

    /// Time passes for everybody.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.sqs.advance(by);
    }

    /// Delivers the next message that is visible, if there is one, as the event source does: the message is deleted when
    /// it was handled, and comes back otherwise. Whether there was one.
    pub async fn deliver(&self, worker: &Worker) -> bool {
        let client = self.sqs.client();
        for (name, url) in [STARTS, CONTINUATIONS].into_iter().zip(&self.urls) {
            let received = client
                .receive_message()
                .queue_url(url)
                .wait_time_seconds(0)
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .send()
                .await
                .unwrap();
            let Some(message) = received.messages.unwrap_or_default().pop() else { continue };
            let receipt = message.receipt_handle.clone().unwrap();
            let event = event_of(name, message);
            let until = Instant::now() + Duration::from_secs(300);
            let response = tokio::select! {
                biased;
                () = worker.process.died() => return true,
                response = worker::handle(&worker.engine, &event, until) => response,
            };
            // Whoever died in its very last request deletes nothing: its message comes back.
            if response.batch_item_failures.is_empty() && !worker.process.is_dead() {
                client.delete_message().queue_url(url).receipt_handle(receipt).send().await.unwrap();
            }
            return true;
        }
        false
    }

    /// Sweeps.
    pub async fn sweep(&self, worker: &Worker) {
        tokio::select! {
            biased;
            () = worker.process.died() => {}
            swept = sweeper::handle(&worker.engine.upkeep, Duration::from_secs(30), self.stall_after) => {
                if !worker.process.is_dead() {
                    swept.unwrap();
                }
            }
        }
    }

    /// All that is on record of a job.
    pub async fn record(&self, job: &JobId) -> Option<Record> {
        self.eyes().whole(job).await.unwrap()
    }

    /// A job's record, if nothing is left to do and no message is on its way, nor with a worker.
    pub async fn rested(&self, job: &JobId) -> Option<Record> {
        let record = self.record(job).await.unwrap();
        let is_empty = |name| self.sqs.depth(name) == Default::default();
        (Self::at_rest(&record) && is_empty(STARTS) && is_empty(CONTINUATIONS)).then_some(record)
    }

    /// Whether by its record nothing is left to do: the job is over and owes nothing, and no lane is open. Of messages it
    /// says nothing.
    pub fn at_rest(record: &Record) -> bool {
        record.head.status().is_finished() && !record.head.owed().any() && record.lanes.values().all(|lane| !lane.open)
    }
}

/// Creates a job and sends the message of its first turn.
pub async fn start(upkeep: &Upkeep, new: NewJob) -> JobId {
    let created = upkeep.store.create(new, upkeep.clock.now()).await.unwrap();
    let CreateOutcome::Created(head) = created else { panic!("not created: {created:?}") };
    let first = Continuation { job: head.id.clone(), lane: LaneName::main(), turn: 1 };
    upkeep.queue.send(&first, Line::Starts, Duration::ZERO).await.unwrap();
    head.id
}

/// What the event source makes of a message from a queue of this name.
pub fn event_of(queue: &str, message: Message) -> SqsEvent {
    let mut record = SqsMessage::default();
    record.message_id = message.message_id;
    record.receipt_handle = message.receipt_handle;
    record.body = message.body;
    record.event_source_arn = Some(EmbeddedSqs::queue_arn(queue));
    let attributes = message.attributes.unwrap_or_default().into_iter();
    record.attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value)).collect();
    let mut event = SqsEvent::default();
    event.records.push(record);
    event
}
