//! [`EmbeddedDynamoDb`]: dynoxide, reached by the SDK without a socket, and by the store without the SDK.
//!
//! A database in a file has two connections: SQLite lets one of them read what was last committed while the other one
//! writes. What writes goes to the first, and everything else that a client asks; the store's own reads go to the second.
//! A read that is asked for when a write was answered sees it. A database in memory has one.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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

mod connection;
mod direct;
mod dispatch;
mod group;
mod hint;

use connection::{Connection, Requests};
pub use hint::WriteHint;

/// A DynamoDB in this process, on a SQLite file or in memory.
///
/// Dropping it carries out what was already asked, closes the file, and fails every later request.
pub struct EmbeddedDynamoDb {
    connector: Connector,
    reads: Requests,
    /// For as long as this value is.
    _connections: Vec<Connection>,
    exposed: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl EmbeddedDynamoDb {
    /// Opens or creates the database file at `path`.
    ///
    /// A killed process loses no acknowledged write; after a power cut the last writes may be gone, the file whole
    /// (SQLite's WAL with `synchronous = NORMAL`).
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.to_str().context("the path of the database must be UTF-8")?;
        let connect = || {
            let db = Database::new(name).with_context(|| format!("cannot open the database {name}"))?;
            db.disable_bulk_loading().with_context(|| format!("cannot configure the database {name}"))?;
            anyhow::Ok(db)
        };
        let writer = Connection::start(connect()?, "dynamodb")?;
        let reader = Connection::start(connect()?, "dynamodb-reads")?;
        Ok(Self::new(&writer.requests(), &reader.requests(), [reader, writer].into()))
    }

    /// An empty database that is gone when this value is.
    pub fn in_memory() -> anyhow::Result<Self> {
        let db = Database::memory().context("cannot open a database in memory")?;
        let only = Connection::start(db, "dynamodb")?;
        Ok(Self::new(&only.requests(), &only.requests(), [only].into()))
    }

    fn new(writes: &Requests, reads: &Requests, connections: Vec<Connection>) -> Self {
        let connector = Connector { requests: writes.clone(), hints: hint::Hints::default() };
        Self { connector, reads: reads.clone(), _connections: connections, exposed: Mutex::default() }
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
        Arc::new(direct::Direct { connector: self.connector.clone(), reads: self.reads.clone() })
    }

    /// Calls `hint` with every item that is put and whose `sk` starts with `event#`.
    ///
    /// It runs where the request is carried out, after the write is committed and before its writer hears of it: it must be
    /// quick and must not call this database. Several can be registered; none is ever removed.
    pub fn on_write(&self, hint: WriteHint) {
        self.connector.hints.add(hint);
    }

    /// Deletes the items whose time to live has passed and says how many; until then they are served.
    pub async fn sweep_ttl(&self) -> anyhow::Result<usize> {
        let swept = self.connector.requests.ask(Database::sweep_ttl)?.await;
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

#[derive(Clone)]
struct Connector {
    requests: Requests,
    hints: hint::Hints,
}

impl Connector {
    /// Has a request carried out, and tells of what it has `written`.
    fn request<Q: Send + 'static, R: Send + 'static>(
        &self,
        request: Q,
        written: fn(&Q, &mut hint::Written),
        run: fn(&Database, Q) -> dynoxide::Result<R>,
    ) -> Result<oneshot::Receiver<dynoxide::Result<R>>, Stopped> {
        let hints = self.hints.clone();
        let mut items = hint::Written::default();
        if hints.wanted() {
            written(&request, &mut items);
        }
        self.requests.ask(move |db| {
            let answer = run(db, request);
            if answer.is_ok() {
                hints.tell(&items);
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
