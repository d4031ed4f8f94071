//! The stack: emulators, functions, event sources and schedule, started together and dropped together.
//!
//! Who owns what: the stack owns the emulators and every task. Dropping it ends all of them at once, in the middle of
//! whatever they do, as a power cut would; what was unfinished goes on at the next start on the same data directory.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use api::{address::StreamAddresses, job_request::Defaults, job_view::ToolView, stream_token::StreamTokens};
use aws_smithy_types::retry::RetryConfig;
use axum::serve::ListenerExt as _;
use domain::{lane::LeaseTimes, sealed::SealingKey, time::Timestamp};
use engine::{Clock as _, Engine, Settings, SystemClock, Upkeep};
use model_client::{ModelClient, Secret, Timeouts, Url};
use queue::{ContinuationQueue, bus::EventBus};
use start_job::Starter;
use store::Store;
use stream::Streams;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tools::ToolRegistry;
use web_console::{Console, SignIn};

pub use crate::data_dir::{Holder, InUse};
use crate::{
    data_dir::{DataDir, random_key},
    emulator::{EmbeddedDynamoDb, EmbeddedEventBridge, EmbeddedSqs},
    event_source::EventSource,
    gateway::{self, Functions},
    schedule,
};

/// Names of what `template.yaml` makes on AWS.
const TABLE: &str = "nightshift";
const STARTS: &str = "nightshift-starts";
const CONTINUATIONS: &str = "nightshift-continuations";
const REQUESTS: &str = "nightshift-requests";
const DEAD_LETTERS: &str = "nightshift-dead-letters";
/// As in `template.yaml`.
const MAX_RECEIVES: u32 = 50;
const INVOCATION: Duration = Duration::from_secs(660);
const VISIBILITY_SECONDS: u32 = 3960;
/// Messages of each queue that are at work at once: those of turns mostly wait for a model.
const CONCURRENCY: usize = 32;

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where jobs are kept; `None`: in memory.
    pub data: Option<PathBuf>,
    /// The port on 127.0.0.1; 0 for a free one.
    pub port: u16,
    /// Where the model is.
    pub model_url: Url,
    /// The key for it.
    pub model_api_key: Option<Secret>,
    /// How long it may keep a turn waiting.
    pub model_timeouts: Timeouts,
    /// The model of jobs that name none.
    pub default_model: Option<String>,
    /// Jobs that a user may have at work.
    pub max_jobs_per_user: u32,
    /// The tools that jobs may use.
    pub tools: ToolRegistry,
    /// Durations of the lease protocol.
    pub times: LeaseTimes,
    /// How turns behave.
    pub engine: Settings,
    /// How streams behave.
    pub streams: stream::Settings,
    /// How often the sweeper comes.
    pub sweep_every: Duration,
    /// How long nothing may happen in a running job before its log says so.
    pub stall_after: Duration,
    /// What counts the requests to the table and their units, if they are to be counted: they go by a client then, and
    /// viewers look for themselves, as on AWS.
    pub meter: Option<store::Meter>,
}

impl Options {
    /// What `cargo run` uses, with this model.
    pub fn new(model_url: Url) -> Self {
        Self {
            data: None,
            port: 0,
            model_url,
            model_api_key: None,
            model_timeouts: Timeouts::default(),
            default_model: None,
            max_jobs_per_user: 100,
            tools: crate::configured_tools::built_in(),
            times: LeaseTimes::default(),
            engine: Settings::default(),
            streams: stream::Settings::default(),
            sweep_every: Duration::from_secs(15),
            stall_after: Duration::from_secs(120),
            meter: None,
        }
    }
}

/// A running system.
pub struct Stack {
    url: Url,
    /// The embedded DynamoDB.
    pub dynamodb: Arc<EmbeddedDynamoDb>,
    /// The embedded SQS.
    pub sqs: Arc<EmbeddedSqs>,
    /// The embedded EventBridge.
    pub events: EmbeddedEventBridge,
    /// What starts its jobs.
    pub starter: Starter,
    /// The engine of its workers.
    pub engine: Engine,
    /// The streams' shared state.
    pub streams: Streams,
    taken_over: usize,
    // Last, so that the directory is let go of when everything else is gone.
    tasks: Vec<AbortOnDropHandle<()>>,
    data: Option<DataDir>,
}

impl Stack {
    /// Starts a system. Fails with [`InUse`] when another one runs on the same data directory.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        startup::aws::install_crypto();
        crate::metrics::counts();
        let mut data = options.data.as_deref().map(DataDir::take).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .with_context(|| format!("cannot listen at 127.0.0.1:{}", options.port))?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
        let (dynamodb, token_key, sealing_key) = match &mut data {
            Some(data) => {
                data.announce(url.as_str())?;
                (EmbeddedDynamoDb::open(&data.database())?, data.token_key()?, data.sealing_key()?)
            }
            None => (EmbeddedDynamoDb::in_memory()?, random_key()?, random_key()?),
        };
        let (dynamodb, sqs) = (Arc::new(dynamodb), Arc::new(EmbeddedSqs::new()));
        let queues = Queues::create(&sqs)?;

        let client = dynamodb.client_with(|config| {
            let config = config.retry_config(RetryConfig::standard());
            match &options.meter {
                Some(meter) => config.interceptor(meter.clone()),
                None => config,
            }
        });
        let store = Store::new(client, TABLE, options.times);
        let store = if options.meter.is_none() { store.in_process(dynamodb.in_process()) } else { store };
        store.create_table().await.context("cannot create the table")?;
        let queue = ContinuationQueue::new(sqs.client(), queues.starts, queues.continuations)
            .with_requests(Some(queues.requests.clone()))
            .in_process(sqs.in_process());
        let events = EmbeddedEventBridge::new();
        let bus = Some(EventBus::new(events.client(), "default").in_process(events.in_process()));
        let upkeep = Upkeep { store: store.clone(), queue, bus, clock: Arc::new(SystemClock) };
        let model = model_client::Config::new(options.model_url.clone(), options.model_api_key.clone());
        let model = model_client::Config { timeouts: options.model_timeouts, ..model };
        let engine = Engine {
            upkeep: upkeep.clone(),
            model: ModelClient::new(model).context("the model's address cannot be used")?,
            sealing: Some(SealingKey::new(&sealing_key)?),
            tools: options.tools.clone(),
            settings: options.engine.clone(),
        };
        let tokens = StreamTokens::new(&token_key)?;
        let streams = Streams::new(store.clone(), tokens.clone(), Arc::new(now), options.streams);
        if options.meter.is_none() {
            tell_viewers(&dynamodb, &streams);
        }
        let starter = starter(&options, &url, &engine, tokens);
        let functions = functions(&options, &starter, &streams);

        // Nobody else uses this table: whoever held a lease is dead.
        let taken_over = upkeep.take_over().await.context("cannot take up what was unfinished")?;
        let mut tasks = Vec::new();
        let mut spawn = |task| tasks.push(AbortOnDropHandle::new(task));
        let source = |queue_name| {
            let sqs = Arc::clone(&sqs);
            EventSource { sqs, queue_name, concurrency: CONCURRENCY, invocation: INVOCATION }
        };
        for queue_name in [STARTS, CONTINUATIONS] {
            spawn(tokio::spawn(poll(source(queue_name), engine.clone())));
        }
        spawn(tokio::spawn(start_from_events(source(REQUESTS), starter.clone())));
        spawn(tokio::spawn(put_requests_in_line(&events, sqs.client(), queues.requests)));
        spawn(tokio::spawn(schedule::run(upkeep, dynamodb.clone(), options.sweep_every, options.stall_after)));
        spawn(tokio::spawn(async move {
            // A frame is small and the next one may be long in coming: waiting to fill a packet delays it by 40 ms.
            let listener = listener.tap_io(|connection| {
                let _ = connection.set_nodelay(true);
            });
            if let Err(error) = axum::serve(listener, gateway::router(functions)).await {
                tracing::error!(%error, "the server stopped");
            }
        }));
        Ok(Self { url, dynamodb, sqs, events, starter, engine, streams, taken_over, tasks, data })
    }

    /// Where it answers.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How many turns an earlier process had left unfinished.
    pub fn taken_over(&self) -> usize {
        self.taken_over
    }

    /// Serves the emulators on loopback ports of their own, for the AWS CLI: DynamoDB, SQS.
    pub async fn expose(&self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        Ok((self.dynamodb.expose(0).await?, self.sqs.expose(0).await?))
    }

    /// Ends every task, in the middle of whatever it does, and waits until all are gone.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
        drop(self.data.take());
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

struct Queues {
    starts: String,
    continuations: String,
    requests: String,
}

impl Queues {
    fn create(sqs: &EmbeddedSqs) -> anyhow::Result<Self> {
        sqs.create_queue(DEAD_LETTERS, &[])?;
        let create = |name, max_receives: u32| {
            let redrive = serde_json::json!({
                "deadLetterTargetArn": EmbeddedSqs::queue_arn(DEAD_LETTERS),
                "maxReceiveCount": max_receives,
            });
            let (redrive, visibility) = (redrive.to_string(), VISIBILITY_SECONDS.to_string());
            sqs.create_queue(name, &[("VisibilityTimeout", &visibility), ("RedrivePolicy", &redrive)])
        };
        Ok(Self {
            starts: create(STARTS, MAX_RECEIVES)?,
            continuations: create(CONTINUATIONS, MAX_RECEIVES)?,
            requests: create(REQUESTS, start_job::events::TRIES)?,
        })
    }
}

fn starter(options: &Options, url: &Url, engine: &Engine, tokens: StreamTokens) -> Starter {
    let Upkeep { store, queue, bus, .. } = &engine.upkeep;
    Starter {
        store: store.clone(),
        queue: queue.clone(),
        bus: bus.clone(),
        addresses: StreamAddresses::new(url.as_str(), tokens),
        defaults: Defaults {
            model: options.default_model.clone(),
            mcp_servers: options.tools.servers().map(str::to_owned).collect(),
        },
        sealing: engine.sealing.clone(),
        tools: options.tools.list().map(|tool| tool.name().to_owned()).collect(),
        max_at_work: options.max_jobs_per_user,
        now,
    }
}

fn functions(options: &Options, starter: &Starter, streams: &Streams) -> Functions {
    Functions {
        start_job: start_job::router(starter.clone()),
        jobs: jobs::router(jobs::Desk {
            store: starter.store.clone(),
            queue: starter.queue.clone(),
            addresses: starter.addresses.clone(),
            tools: options.tools.list().map(|tool| ToolView::new(tool.spec(), tool.is_enabled())).collect(),
            console: Console::new(web_console::Settings {
                sign_in: SignIn::None,
                stream_url: None,
                embedders: Vec::new(),
                version: env!("CARGO_PKG_VERSION"),
            }),
            now,
        }),
        stream: stream::router(streams.clone()),
    }
}

/// Whoever follows a job is told of the events that were written to it. Only a hint: without it they look a little later.
fn tell_viewers(dynamodb: &EmbeddedDynamoDb, streams: &Streams) {
    let streams = streams.clone();
    dynamodb.on_write(Arc::new(move |partition, item| {
        if let Ok(job) = partition.parse() {
            streams.hint(&job, Arc::clone(item));
        }
    }));
}

async fn poll(source: EventSource, engine: Engine) {
    let invoke = move |event, until| {
        let engine = engine.clone();
        async move { worker::handle(&engine, &event, until).await }
    };
    if let Err(error) = source.run(invoke).await {
        tracing::error!(error = &*error, "the event source stopped");
    }
}

async fn start_from_events(source: EventSource, starter: Starter) {
    let invoke = move |event, _until| {
        let starter = starter.clone();
        async move { start_job::events::handle(&starter, &event).await }
    };
    if let Err(error) = source.run(invoke).await {
        tracing::error!(error = &*error, "the event source of requests stopped");
    }
}

/// The rule of `template.yaml`: events that ask for jobs go into a queue.
fn put_requests_in_line(
    events: &EmbeddedEventBridge,
    client: aws_sdk_sqs::Client,
    queue: String,
) -> impl Future<Output = ()> + use<> {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel::<serde_json::Value>();
    events.on_request(Arc::new(move |event| {
        let _ = sender.send(event);
    }));
    async move {
        while let Some(event) = requests.recv().await {
            let sent = client.send_message().queue_url(&queue).message_body(event.to_string()).send().await;
            if let Err(error) = sent {
                tracing::error!(error = &error as &dyn std::error::Error, "an event that asks for a job was lost");
            }
        }
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}
