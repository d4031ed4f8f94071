//! [`EmbeddedSqs`]: winterbaume-sqs behind the SDK's HTTP-client seam, with receivers that wake when there is something.
//!
//! The crate's own long poll looks every 100 ms. Here a receive that may wait looks first and then sleeps until a send,
//! a change of visibility or the next message's time. Nothing survives the process: the table decides, and the sweeper
//! finds what is owed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aws_sdk_sqs::config::{BehaviorVersion, Builder, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use winterbaume_core::{MockRequest, MockResponse, MockService as _};
use winterbaume_sqs::SqsService;

use super::{ACCOUNT, REGION, expose, response};

mod backend;
mod direct;

use backend::Queues;

/// SQS never lets a receive wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// An SQS in this process, in memory.
pub struct EmbeddedSqs {
    connector: Connector,
    exposed: Mutex<Vec<AbortOnDropHandle<()>>>,
}

/// What a queue holds, by the message's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Can be received now.
    pub visible: usize,
    /// Received and not yet deleted, hidden for now.
    pub in_flight: usize,
    /// Sent with a delay that has not passed.
    pub delayed: usize,
}

impl EmbeddedSqs {
    /// An SQS without queues.
    pub fn new() -> Self {
        let queues = Queues::default();
        let service = Arc::new(SqsService::with_backend(Arc::new(queues.clone())));
        Self { connector: Connector { queues, service }, exposed: Mutex::default() }
    }

    /// Creates a queue and answers its URL. Attributes are SQS's own: `VisibilityTimeout`, `RedrivePolicy`, …; the same
    /// name with the same attributes may be created again.
    pub fn create_queue(&self, name: &str, attributes: &[(&str, &str)]) -> anyhow::Result<String> {
        let attributes: HashMap<String, String> =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.connector
            .queues
            .with(|s| s.create_queue(name, REGION, ACCOUNT, &attributes, None).map(|queue| queue.url.clone()))
            .map_err(|e| anyhow!(e))
            .with_context(|| format!("cannot create the queue {name}"))
    }

    /// The ARN that a queue of this name has, as `RedrivePolicy` wants it.
    pub fn queue_arn(name: &str) -> String {
        format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
    }

    /// A client with no retries, no time-outs and no signatures: the quickest.
    pub fn client(&self) -> aws_sdk_sqs::Client {
        self.client_with(|config| config)
    }

    /// A client whose settings the caller has the last word on: retries, time-outs, an HTTP client that wraps
    /// [`http_client`](Self::http_client).
    pub fn client_with(&self, configure: impl FnOnce(Builder) -> Builder) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(aws_sdk_sqs::config::StalledStreamProtectionConfig::disabled())
            .http_client(self.http_client());
        aws_sdk_sqs::Client::from_conf(configure(config).build())
    }

    /// The seam itself, to be wrapped (see [`fault`](super::fault)) and given to a client.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.connector.clone())
    }

    /// These queues as the queue package may ask them without a client.
    pub fn in_process(&self) -> Arc<dyn queue::InProcess> {
        Arc::new(direct::Direct(self.connector.queues.clone()))
    }

    /// How often each operation was asked for so far, by whomever.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        self.connector.queues.asked()
    }

    /// What the queue holds; nothing when there is no such queue.
    pub fn depth(&self, name: &str) -> Depth {
        self.connector.queues.depth(name)
    }

    /// Lets `by` pass for every delay and every hidden message, in all queues: a simulated clock's step.
    pub fn advance(&self, by: Duration) {
        self.connector.queues.advance(by);
    }

    /// Serves these queues on `127.0.0.1:port` (0: a free one) for the AWS CLI, as long as this value lives.
    pub async fn expose(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let connector = SharedHttpConnector::new(self.connector.clone());
        let (address, task) = expose::serve(port, REGION, "sqs", connector).await?;
        self.exposed.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(address)
    }
}

impl Default for EmbeddedSqs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbeddedSqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedSqs").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Connector {
    queues: Queues,
    service: Arc<SqsService>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedSqs")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let operation = super::operation(&request).unwrap_or_default();
            this.queues.count(operation);
            let answer = if operation == "ReceiveMessage" {
                this.receive(&request).await
            } else {
                let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
                this.handle(&request, body).await
            };
            into_response(answer)
        })
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

impl Connector {
    async fn handle(&self, request: &HttpRequest, body: Bytes) -> MockResponse {
        let mut headers = HeaderMap::new();
        let target = request.headers().get("x-amz-target");
        if let Some(Ok(target)) = target.map(HeaderValue::from_str) {
            headers.insert("x-amz-target", target);
        }
        let request = MockRequest { method: "POST".to_owned(), uri: request.uri().to_owned(), headers, body };
        self.service.handle(request).await
    }

    async fn receive(&self, request: &HttpRequest) -> MockResponse {
        let body = request.body().bytes().unwrap_or_default();
        let Ok(Value::Object(mut asked)) = serde_json::from_slice::<Value>(body) else {
            return self.handle(request, Bytes::copy_from_slice(body)).await;
        };
        let queue = asked
            .get("QueueUrl")
            .and_then(Value::as_str)
            .and_then(|url| url.rsplit('/').next())
            .unwrap_or_default()
            .to_owned();
        let wait = asked.get("WaitTimeSeconds").and_then(Value::as_u64);
        let wait = wait.map_or_else(|| self.queues.receive_wait(&queue), Duration::from_secs);
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        asked.insert("WaitTimeSeconds".to_owned(), 0.into());
        let body = Bytes::from(Value::Object(asked).to_string());
        loop {
            self.queues.until_ready(&queue, deadline).await;
            // Something is there, the time is up, or there is no such queue: the crate answers.
            let answer = self.handle(request, body.clone()).await;
            if Instant::now() >= deadline || answer.status != 200 || has_messages(&answer.body) {
                return answer;
            }
        }
    }
}

fn has_messages(body: &[u8]) -> bool {
    const MARK: &[u8] = b"\"ReceiptHandle\"";
    body.windows(MARK.len()).any(|w| w == MARK)
}

fn into_response(answer: MockResponse) -> Result<HttpResponse, ConnectorError> {
    response(answer.status, answer.body.to_vec())
}
