//! [`EmbeddedDynamoDb`]: dynoxide, reached by the SDK without a socket, and by the store without the SDK.
//!
//! dynoxide holds one SQLite connection behind a blocking mutex. A request that finds it free is carried out where it was
//! made: that takes a tenth of a millisecond, and waking another thread and being woken by it takes as long again. While
//! it is busy requests wait for a thread of its own, so that none of the runtime's blocks; and in a debug build always,
//! since unoptimised frames of a turn, the SDK and dynoxide do not fit on one stack. A request that was made is
//! carried out even when nobody waits for its answer any more, as on a network.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use dynoxide::Database;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::expose;

mod direct;
mod dispatch;
mod hint;

pub use hint::WriteHint;

/// A DynamoDB in this process, on a SQLite file or in memory.
///
/// Dropping it carries out what was already asked, closes the file, and fails every later request.
pub struct EmbeddedDynamoDb {
    connector: Connector,
    thread: Option<JoinHandle<()>>,
    exposed: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl EmbeddedDynamoDb {
    /// Opens or creates the database file at `path`.
    ///
    /// A killed process loses no acknowledged write; after a power cut the last writes may be gone, the file whole
    /// (SQLite's WAL with `synchronous = NORMAL`).
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.to_str().context("the path of the database must be UTF-8")?;
        let db = Database::new(name).with_context(|| format!("cannot open the database {name}"))?;
        db.disable_bulk_loading().with_context(|| format!("cannot configure the database {name}"))?;
        Self::start(db)
    }

    /// An empty database that is gone when this value is.
    pub fn in_memory() -> anyhow::Result<Self> {
        Self::start(Database::memory().context("cannot open a database in memory")?)
    }

    fn start(db: Database) -> anyhow::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let db = Arc::new(Mutex::new(Some(db)));
        let theirs = Arc::clone(&db);
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || run(&theirs, &inbox))
            .context("cannot start the database's thread")?;
        Ok(Self {
            connector: Connector { db, jobs, hints: hint::Hints::default() },
            thread: Some(thread),
            exposed: Mutex::default(),
        })
    }

    /// A client with no retries, no time-outs and no signatures: the quickest.
    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        self.client_with(|config| config)
    }

    /// A client whose settings the caller has the last word on: retries, time-outs, an HTTP client that wraps
    /// [`http_client`](Self::http_client).
    pub fn client_with(&self, configure: impl FnOnce(Builder) -> Builder) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(super::REGION))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(aws_sdk_dynamodb::config::StalledStreamProtectionConfig::disabled())
            .http_client(self.http_client());
        aws_sdk_dynamodb::Client::from_conf(configure(config).build())
    }

    /// The seam itself, to be wrapped (see [`fault`](super::fault)) and given to a client.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.connector.clone())
    }

    /// The table as the store may ask it without a client. Nothing of what is asked so is counted, delayed or lost by
    /// what wraps a client's connector.
    pub fn in_process(&self) -> Arc<dyn store::InProcess> {
        Arc::new(direct::Direct(self.connector.clone()))
    }

    /// Calls `hint` with `pk` and `sk` after every write that puts or updates an item whose `sk` starts with `event#`.
    ///
    /// It runs where the request is carried out, after the write is committed and before its writer hears of it: it must be
    /// quick and must not call this database. Several can be registered; none is ever removed.
    pub fn on_write(&self, hint: WriteHint) {
        self.connector.hints.add(hint);
    }

    /// Deletes the items whose time to live has passed and says how many; until then they are served.
    pub async fn sweep_ttl(&self) -> anyhow::Result<usize> {
        let swept = self.connector.ask(Database::sweep_ttl)?.await;
        Ok(swept.context("the embedded DynamoDB has stopped")??)
    }

    /// Serves this database on `127.0.0.1:port` (0: a free one) for the AWS CLI, as long as this value lives.
    pub async fn expose(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let connector = SharedHttpConnector::new(self.connector.clone());
        let (address, task) = expose::serve(port, super::REGION, "dynamodb", connector).await?;
        self.exposed.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(address)
    }
}

impl fmt::Debug for EmbeddedDynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedDynamoDb").finish_non_exhaustive()
    }
}

impl Drop for EmbeddedDynamoDb {
    fn drop(&mut self) {
        // Clients may live on and hold senders, so the end of the channel cannot be the signal.
        let _ = self.connector.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

enum Job {
    Run(Box<dyn FnOnce(&Database) + Send>),
    Stop,
}

/// The database, until it is closed.
type Shared = Mutex<Option<Database>>;

fn run(db: &Shared, inbox: &mpsc::Receiver<Job>) {
    while let Ok(Job::Run(job)) = inbox.recv() {
        if let Some(db) = &*db.lock().unwrap_or_else(PoisonError::into_inner) {
            job(db);
        }
    }
    db.lock().unwrap_or_else(PoisonError::into_inner).take();
}

#[derive(Clone)]
struct Connector {
    db: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    hints: hint::Hints,
}

impl Connector {
    /// Has `job` done, here and now or by the database's thread; the receiver fails when that stopped before it came to it.
    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Stopped> {
        let (reply, answer) = oneshot::channel();
        if !cfg!(debug_assertions)
            && let Ok(db) = self.db.try_lock()
        {
            let _ = reply.send(job(db.as_ref().ok_or(Stopped)?));
            return Ok(answer);
        }
        let job = Box::new(move |db: &Database| {
            let _ = reply.send(job(db));
        });
        self.jobs.send(Job::Run(job)).map_err(|_| Stopped)?;
        Ok(answer)
    }

    /// Has a request carried out, and tells of what it has `written`.
    fn request<Q: Send + 'static, R: Send + 'static>(
        &self,
        request: Q,
        written: fn(&Q, &mut hint::Written),
        run: fn(&Database, Q) -> dynoxide::Result<R>,
    ) -> Result<oneshot::Receiver<dynoxide::Result<R>>, Stopped> {
        let hints = self.hints.clone();
        self.ask(move |db| {
            let mut keys = hint::Written::default();
            if hints.wanted() {
                written(&request, &mut keys);
            }
            let answer = run(db, request);
            if answer.is_ok() {
                hints.tell(&keys);
            }
            answer
        })
    }
}

/// The database was closed.
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the embedded DynamoDB has stopped")
    }
}

impl std::error::Error for Stopped {}

impl From<Stopped> for ConnectorError {
    fn from(stopped: Stopped) -> Self {
        // Not of a kind that the SDK retries: it does not come back.
        Self::other(stopped.into(), None)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedDynamoDb")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = super::operation(&request).unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        HttpConnectorFuture::new_boxed(dispatch::dispatch(self, operation, body))
    }
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
