//! The HTTP API as the commands use it, and how its answers are read: leniently, for the server may be newer.

use std::time::Duration;

use anyhow::Context;
use http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER};
use reqwest::{Client as Http, RequestBuilder, Response};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use url::Url;

use super::event::Job;

const USER: &str = "x-nightshift-user";
const CONNECT: Duration = Duration::from_secs(5);
/// Every answer but a stream is there by then.
const ANSWER: Duration = Duration::from_secs(60);

/// A client of the API at one address, for one user.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: Http,
    base: Url,
    user: Option<HeaderValue>,
}

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nothing answers.
    #[error("cannot reach the system at {}", .base.as_str().trim_end_matches('/'))]
    Unreachable {
        base: Url,
        #[source]
        source: reqwest::Error,
    },
    /// The API says no.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// The answer is not what the API promises.
    #[error("the answer of {base} is not the Nightshift API's: {what}")]
    Strange { base: Url, what: String },
}

/// The API's error object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    /// Every finding, in words.
    pub(super) details: Vec<String>,
    pub(super) retry_after: Option<Duration>,
}

impl ClientError {
    /// Whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => {
                refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Strange { .. } => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

/// What is at a stream's address.
#[derive(Debug)]
pub(super) enum Opened {
    Stream(Response),
    /// The job is finished and its last event is known.
    Finished,
    /// The address is too old.
    Expired,
}

impl Client {
    pub(super) fn new(base: &Url, user: Option<&str>) -> anyhow::Result<Self> {
        // Plain HTTP needs no TLS, but the HTTP client would panic where no provider of cryptography is installed.
        let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let http = Http::builder()
            .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .connect_timeout(CONNECT)
            .build()?;
        let user =
            user.map(HeaderValue::from_str).transpose().context("--user is not a name that a header can carry")?;
        Ok(Self { http, base: base.clone(), user })
    }

    /// Starts a job. A lost answer is asked for again under the same `idempotency_key`.
    pub(super) async fn start(&self, request: &Value, idempotency_key: &str) -> Result<Value, ClientError> {
        let url = self.url(&["jobs"])?;
        let send = || self.request(Method::POST, url.clone()).header("idempotency-key", idempotency_key).json(request);
        match self.json(send()).await {
            Err(ClientError::Unreachable { source, .. }) if !source.is_connect() => self.json(send()).await,
            answer => answer,
        }
    }

    pub(super) async fn job(&self, id: &str) -> Result<Value, ClientError> {
        self.json(self.request(Method::GET, self.url(&["jobs", id])?)).await
    }

    /// Answers a question of a job. A lost answer is not sent again: it may have been taken.
    pub(super) async fn answer(
        &self,
        id: &str,
        request: &str,
        action: &str,
        data: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let mut body = serde_json::json!({"action": action});
        if let Some(data) = data {
            body["data"] = data.clone();
        }
        let url = self.url(&["jobs", id, "input_requests", request])?;
        self.json(self.request(Method::POST, url).json(&body)).await
    }

    /// Says something to a job at work. A lost answer is asked for again under the same `idempotency_key`.
    pub(super) async fn say(&self, id: &str, text: &str, idempotency_key: &str) -> Result<(), ClientError> {
        let url = self.url(&["jobs", id, "messages"])?;
        let body = serde_json::json!({"content": text});
        let send = || self.request(Method::POST, url.clone()).header("idempotency-key", idempotency_key).json(&body);
        match self.accepted(send()).await {
            Err(ClientError::Unreachable { source, .. }) if !source.is_connect() => self.accepted(send()).await,
            answer => answer,
        }
    }

    /// Starts the job that goes on where this one failed, as [`Client::start`] does.
    pub(super) async fn retry(
        &self,
        id: &str,
        node: Option<&str>,
        idempotency_key: &str,
    ) -> Result<Value, ClientError> {
        let url = self.url(&["jobs", id, "retry"])?;
        let body = node.map_or_else(|| serde_json::json!({}), |node| serde_json::json!({"node_id": node}));
        let send = || self.request(Method::POST, url.clone()).header("idempotency-key", idempotency_key).json(&body);
        match self.json(send()).await {
            Err(ClientError::Unreachable { source, .. }) if !source.is_connect() => self.json(send()).await,
            answer => answer,
        }
    }

    pub(super) async fn cancel(&self, id: &str) -> Result<Value, ClientError> {
        self.json(self.request(Method::POST, self.url(&["jobs", id, "cancel"])?)).await
    }

    /// A page of jobs and the token of the next.
    pub(super) async fn jobs(
        &self,
        status: Option<&str>,
        limit: usize,
        page: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), ClientError> {
        let mut url = self.url(&["jobs"])?;
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        for (name, value) in [("status", status), ("page", page)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let mut answer = self.json(self.request(Method::GET, url)).await?;
        let Value::Array(jobs) = answer["data"].take() else { return Err(self.strange("no `data`")) };
        Ok((jobs, answer["next_page"].as_str().map(str::to_owned)))
    }

    pub(super) async fn tools(&self) -> Result<Vec<Value>, ClientError> {
        let mut answer = self.json(self.request(Method::GET, self.url(&["tools"])?)).await?;
        let tools = if answer.is_array() { answer } else { answer["data"].take() };
        match tools {
            Value::Array(tools) => Ok(tools),
            _ => Err(self.strange("no `data`")),
        }
    }

    /// A fresh address of a job's stream.
    pub(super) async fn stream_url(&self, id: &str) -> Result<Url, ClientError> {
        let answer = self.json(self.request(Method::POST, self.url(&["jobs", id, "stream_token"])?)).await?;
        self.resolve(answer["stream_url"].as_str().unwrap_or_default())
    }

    /// The stream's address in a job's answer, or a fresh one.
    pub(super) async fn stream_url_of(&self, job: &Job) -> Result<Url, ClientError> {
        match &job.stream_url {
            Some(url) => self.resolve(url),
            None => self.stream_url(&job.id).await,
        }
    }

    pub(super) async fn open(&self, stream: &Url, after: u64) -> Result<Opened, ClientError> {
        let mut request = self.authored(self.http.get(stream.clone())).header("accept", "text/event-stream");
        if after > 0 {
            request = request.header("last-event-id", after);
        }
        // The answer's head comes at once, whenever its events come.
        let sent = tokio::time::timeout(ANSWER, request.send()).await;
        let response = sent.map_err(|_| self.strange("the stream does not begin"))?.map_err(|e| self.unreachable(e))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(Opened::Finished),
            status if status.is_success() => Ok(Opened::Stream(response)),
            _ => match self.refusal(response).await {
                refusal if refusal.status == StatusCode::UNAUTHORIZED && refusal.code == "token_expired" => {
                    Ok(Opened::Expired)
                }
                refusal => Err(ClientError::Refused(Box::new(refusal))),
            },
        }
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.authored(self.http.request(method, url)).timeout(ANSWER)
    }

    fn authored(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.user {
            Some(user) => request.header(USER, user.clone()),
            None => request,
        }
    }

    /// Sends a request whose answer has nothing to read.
    async fn accepted(&self, request: RequestBuilder) -> Result<(), ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(ClientError::Refused(Box::new(self.refusal(response).await)))
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        if !response.status().is_success() {
            return Err(ClientError::Refused(Box::new(self.refusal(response).await)));
        }
        let body = response.bytes().await.map_err(|e| self.unreachable(e))?;
        serde_json::from_slice(&body).map_err(|error| self.strange(&error.to_string()))
    }

    async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let error = &body["error"];
        let message = error["message"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
        Refusal {
            status,
            code: error["code"].as_str().unwrap_or_default().to_owned(),
            details: findings(&error["details"]).into_iter().filter(|finding| *finding != message).collect(),
            message,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn url(&self, segments: &[&str]) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => drop(path.pop_if_empty().extend(segments)),
            Err(()) => return Err(self.strange("not an address of HTTP")),
        }
        Ok(url)
    }

    fn resolve(&self, stream_url: &str) -> Result<Url, ClientError> {
        match self.base.join(stream_url) {
            Ok(url) if !stream_url.is_empty() => Ok(url),
            _ => Err(self.strange("no `stream_url`")),
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { base: self.base.clone(), source: source.without_url() }
    }

    pub(super) fn strange(&self, what: &str) -> ClientError {
        ClientError::Strange { base: self.base.clone(), what: what.to_owned() }
    }
}

/// The findings in an error's `details`: sentences, or objects that say where and what.
fn findings(details: &Value) -> Vec<String> {
    let finding = |detail: &Value| match detail {
        Value::String(sentence) => sentence.clone(),
        Value::Object(fields) => {
            let text = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str()).map(str::to_owned);
            match (text(&["param", "path", "field", "pointer"]), text(&["message", "reason"])) {
                (Some(place), Some(message)) if !place.is_empty() => format!("{place}: {message}"),
                (_, Some(message)) => message,
                _ => detail.to_string(),
            }
        }
        other => other.to_string(),
    };
    match details {
        Value::Null => Vec::new(),
        Value::Array(details) => details.iter().map(finding).collect(),
        detail => vec![finding(detail)],
    }
}
