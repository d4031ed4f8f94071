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
use domain::{lane::LeaseTimes, time::Timestamp};
use engine::{Clock as _, Engine, Settings, SystemClock, Upkeep};
use model_client::{ModelClient, Secret, Url};
use queue::ContinuationQueue;
use store::Store;
use stream::Streams;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tools::ToolRegistry;

pub use crate::data_dir::{Holder, InUse};
use crate::{
    data_dir::{DataDir, random_key},
    emulator::{EmbeddedDynamoDb, EmbeddedSqs},
    event_source::EventSource,
    gateway::{self, Functions},
    schedule,
};

/// Names of what `template.yaml` makes on AWS.
const TABLE: &str = "nightshift";
const STARTS: &str = "nightshift-starts";
const CONTINUATIONS: &str = "nightshift-continuations";
const DEAD_LETTERS: &str = "nightshift-dead-letters";
/// As in `template.yaml`.
const MAX_RECEIVES: u32 = 50;
const INVOCATION: Duration = Duration::from_secs(660);
const VISIBILITY_SECONDS: u32 = 3960;
const CONCURRENCY: usize = 20;

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
}

impl Options {
    /// What `cargo run` uses, with this model.
    pub fn new(model_url: Url) -> Self {
        Self {
            data: None,
            port: 0,
            model_url,
            model_api_key: None,
            default_model: None,
            max_jobs_per_user: 100,
            tools: tools::builtin::builtin(Arc::new(|| SystemClock.now())),
            times: LeaseTimes::default(),
            engine: Settings::default(),
            streams: stream::Settings::default(),
            sweep_every: Duration::from_secs(15),
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
        let mut data = options.data.as_deref().map(DataDir::take).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .with_context(|| format!("cannot listen at 127.0.0.1:{}", options.port))?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
        let (dynamodb, token_key) = match &mut data {
            Some(data) => {
                data.announce(url.as_str())?;
                (EmbeddedDynamoDb::open(&data.database())?, data.token_key()?)
            }
            None => (EmbeddedDynamoDb::in_memory()?, random_key()?),
        };
        let (dynamodb, sqs) = (Arc::new(dynamodb), Arc::new(EmbeddedSqs::new()));
        let queues = Queues::create(&sqs)?;

        let client = dynamodb.client_with(|config| config.retry_config(RetryConfig::standard()));
        let store = Store::new(client, TABLE, options.times);
        store.create_table().await.context("cannot create the table")?;
        let queue = ContinuationQueue::new(sqs.client(), &queues.starts, &queues.continuations);
        let upkeep = Upkeep { store: store.clone(), queue: queue.clone(), clock: Arc::new(SystemClock) };
        let model = model_client::Config::new(options.model_url.clone(), options.model_api_key.clone());
        let engine = Engine {
            upkeep: upkeep.clone(),
            model: ModelClient::new(model).context("the model's address cannot be used")?,
            tools: options.tools.clone(),
            settings: options.engine,
        };
        let tokens = StreamTokens::new(&token_key)?;
        let streams = Streams::new(store.clone(), tokens.clone(), Arc::new(now), options.streams);
        wake_viewers(&dynamodb, &streams);
        let functions = functions(&options, &url, &engine, tokens, &streams);

        // Nobody else uses this table: whoever held a lease is dead.
        let taken_over = upkeep.take_over().await.context("cannot take up what was unfinished")?;
        let mut tasks = Vec::new();
        let mut spawn = |task| tasks.push(AbortOnDropHandle::new(task));
        for (queue_name, queue_url) in [(STARTS, queues.starts), (CONTINUATIONS, queues.continuations)] {
            let source = EventSource {
                client: sqs.client(),
                queue_name,
                queue_url,
                concurrency: CONCURRENCY,
                invocation: INVOCATION,
            };
            spawn(tokio::spawn(poll(source, engine.clone())));
        }
        spawn(tokio::spawn(schedule::run(upkeep, dynamodb.clone(), options.sweep_every)));
        spawn(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, gateway::router(functions)).await {
                tracing::error!(%error, "the server stopped");
            }
        }));
        Ok(Self { url, dynamodb, sqs, engine, streams, taken_over, tasks, data })
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
}

impl Queues {
    fn create(sqs: &EmbeddedSqs) -> anyhow::Result<Self> {
        sqs.create_queue(DEAD_LETTERS, &[])?;
        let redrive = serde_json::json!({
            "deadLetterTargetArn": EmbeddedSqs::queue_arn(DEAD_LETTERS),
            "maxReceiveCount": MAX_RECEIVES,
        });
        let (redrive, visibility) = (redrive.to_string(), VISIBILITY_SECONDS.to_string());
        let attributes = [("VisibilityTimeout", visibility.as_str()), ("RedrivePolicy", redrive.as_str())];
        Ok(Self {
            starts: sqs.create_queue(STARTS, &attributes)?,
            continuations: sqs.create_queue(CONTINUATIONS, &attributes)?,
        })
    }
}

fn functions(options: &Options, url: &Url, engine: &Engine, tokens: StreamTokens, streams: &Streams) -> Functions {
    let addresses = StreamAddresses::new(url.as_str(), tokens);
    let Upkeep { store, queue, .. } = &engine.upkeep;
    Functions {
        start_job: start_job::router(start_job::Starter {
            store: store.clone(),
            queue: queue.clone(),
            addresses: addresses.clone(),
            defaults: Defaults { model: options.default_model.clone() },
            tools: options.tools.list().map(|tool| tool.name().to_owned()).collect(),
            max_at_work: options.max_jobs_per_user,
            now,
        }),
        jobs: jobs::router(jobs::Desk {
            store: store.clone(),
            addresses,
            tools: options.tools.list().map(|tool| ToolView::new(tool.spec(), tool.is_enabled())).collect(),
            now,
        }),
        stream: stream::router(streams.clone()),
    }
}

/// Whoever follows a job looks again when something of it was written. Only a hint: without it they look a little later.
fn wake_viewers(dynamodb: &EmbeddedDynamoDb, streams: &Streams) {
    let streams = streams.clone();
    dynamodb.on_write(Arc::new(move |partition, _| {
        if let Ok(job) = partition.parse() {
            streams.hint(&job);
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

fn now() -> Timestamp {
    SystemClock.now()
}
