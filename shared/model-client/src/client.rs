//! The client: one request, one answer. Connections are kept between requests; nothing else is.

use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use reqwest::{
    Client, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use tokio::time::timeout;

use crate::{
    dialect::Dialect,
    error::{Malformed, ModelError, Phase, parse_retry_after},
    request::{Body, ModelRequest},
    secret::Secret,
    stream::ModelStream,
    wire::Complaint,
};

/// What is read of an error's body.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Where the model is and how long to wait for it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address before `/chat/completions`, such as `https://openrouter.ai/api/v1`.
    pub base_url: Url,
    /// The key to send when a request brings none of its own; local servers want none.
    pub api_key: Option<Secret>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// The most bytes that one frame of the stream may have.
    pub max_event_bytes: usize,
}

impl Config {
    /// The usual time-outs and limit (4 MiB a frame).
    pub fn new(base_url: Url, api_key: Option<Secret>) -> Self {
        Self { base_url, api_key, timeouts: Timeouts::default(), max_event_bytes: 4 << 20 }
    }
}

/// How long a model may keep us waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the answer's headers, from the first attempt to connect. A server that loads the model first sends them
    /// late.
    pub headers: Duration,
    /// Between two reads of the answer. A provider that tells nothing of the model's reasoning is silent as long as it
    /// lasts.
    pub idle: Duration,
}

impl Timeouts {
    /// Seconds that either may be set to: no turn lasts longer.
    pub const SECONDS: RangeInclusive<u32> = 1..=600;
}

impl Default for Timeouts {
    /// 30 s to the headers, 45 s without a byte.
    fn default() -> Self {
        Self { headers: Duration::from_secs(30), idle: Duration::from_secs(45) }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not one of an HTTP server.
    #[error("the model's address must begin with http:// or https://")]
    Address,
    /// The process has not chosen who does its cryptography.
    #[error("https needs rustls' provider of cryptography to be installed first")]
    NoCryptography,
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
}

/// A language model at an address. Clones share their connections.
#[derive(Clone)]
pub struct ModelClient {
    http: Client,
    url: Url,
    dialect: Dialect,
    config: Config,
}

impl ModelClient {
    /// Makes a client. For `https://` the process must have installed rustls' provider of cryptography.
    ///
    /// # Errors
    /// When the address is not HTTP, no provider of cryptography is installed, or no certificates are found.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let mut url = config.base_url.clone();
        url.path_segments_mut().map_err(|()| ConfigError::Address)?.pop_if_empty().extend(["chat", "completions"]);
        let mut builder =
            Client::builder().user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION"))).redirect(Policy::none()); // a key goes nowhere but to its address
        builder = match url.scheme() {
            "https" if CryptoProvider::get_default().is_none() => return Err(ConfigError::NoCryptography),
            "https" => builder,
            "http" => builder.tls_backend_preconfigured(no_tls()?),
            _ => return Err(ConfigError::Address),
        };
        if url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, dialect: Dialect::of(&url), url, config })
    }

    /// Sends a request and waits for the answer's headers; the answer itself comes as a stream. With `key`, that key is
    /// sent in place of the configured one.
    ///
    /// # Errors
    /// When the provider cannot be reached, refuses, or sends no headers in time. Nothing is tried twice.
    pub async fn stream(&self, request: &ModelRequest, key: Option<&Secret>) -> Result<ModelStream, ModelError> {
        let key = key.or(self.config.api_key.as_ref());
        let Timeouts { headers: within, idle } = self.config.timeouts;
        let timed_out = |_| ModelError::TimedOut { phase: Phase::Headers, after: within };
        let response = timeout(within, self.send(request, key)).await.map_err(timed_out)??;
        if !response.status().is_success() || is_of_type(&response, "application/json") {
            return Err(timeout(within, refusal(response, key)).await.map_err(timed_out)?);
        }
        if is_of_type(&response, "text/html") {
            return Err(ModelError::Malformed(Malformed::ContentType("text/html".to_owned())));
        }
        Ok(ModelStream::new(response, idle, self.config.max_event_bytes).without(key.cloned()))
    }

    async fn send(&self, request: &ModelRequest, key: Option<&Secret>) -> Result<Response, ModelError> {
        let body = Body::new(request, self.dialect);
        let body = serde_json::to_vec(&body).map_err(|error| ModelError::Malformed(error.into()))?;
        let mut post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(body);
        if let Some(key) = key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| {
                let message = "the API key has characters that cannot be sent".to_owned();
                ModelError::Rejected { status: 401, message }
            })?;
            bearer.set_sensitive(true);
            post = post.header(AUTHORIZATION, bearer);
        }
        post.send().await.map_err(|error| ModelError::Transport(error.without_url()))
    }
}

impl fmt::Debug for ModelClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Plain HTTP needs no TLS, but the HTTP client insists on some, and would panic where the process has installed no
/// provider of cryptography: it gets one that trusts nobody.
fn no_tls() -> Result<ClientConfig, ConfigError> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|_| ConfigError::NoCryptography)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn is_of_type(response: &Response, media_type: &str) -> bool {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type)))
}

/// What an answer that is no stream means.
async fn refusal(mut response: Response, key: Option<&Secret>) -> ModelError {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value, SystemTime::now()));
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - body.len())]);
        if body.len() == MAX_ERROR_BYTES {
            break;
        }
    }
    let complaint = Complaint::from_body(&body);
    let is_success = response.status().is_success();
    let Complaint { code, mut message } = if is_success { complaint } else { complaint.or_body(&body) };
    if let Some(key) = key {
        message = key.left_out_of(&message);
    }
    if is_success {
        // Some answer 200 and say in the body what went wrong.
        return match (code.as_str(), message.as_str()) {
            ("", "") => ModelError::Malformed(Malformed::ContentType("application/json".to_owned())),
            _ => ModelError::from_code(&code, &message),
        };
    }
    ModelError::from_refusal(status, &code, &message, retry_after)
}

#[cfg(test)]
mod tests {
    use domain::message::Message;
    use futures_util::StreamExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::Instant,
    };

    use super::*;
    use crate::event::ModelEvent;

    const BEGINNING: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
                             data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";

    /// A server that begins to answer its first request, says nothing to the next, and closes nothing.
    async fn silent() -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            assert_ne!(first.read(&mut [0; 4096]).await.unwrap(), 0); // an answer before its request is none
            first.write_all(BEGINNING.as_bytes()).await.unwrap();
            let _second = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
        });
        url
    }

    #[tokio::test]
    async fn it_waits_for_headers_and_in_silence_as_long_as_it_was_told_to() {
        let timeouts = Timeouts { headers: Duration::from_secs(90), idle: Duration::from_secs(500) };
        let client = ModelClient::new(Config { timeouts, ..Config::new(silent().await, None) }).unwrap();
        let request = ModelRequest { messages: vec![Message::user("Hi")], ..ModelRequest::default() };
        let mut stream = client.stream(&request, None).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), ModelEvent::TextDelta("a".to_owned()));
        // From here on nothing more comes, so that the paused clock runs to the time-outs at once.
        tokio::time::pause();
        for (phase, after) in [(Phase::Idle, timeouts.idle), (Phase::Headers, timeouts.headers)] {
            let begun = Instant::now();
            let error = match phase {
                Phase::Idle => stream.next().await.unwrap().unwrap_err(),
                Phase::Headers => client.stream(&request, None).await.unwrap_err(),
            };
            let ModelError::TimedOut { phase: there, after: waited } = error else { panic!("{error:?}") };
            assert_eq!((there, waited), (phase, after));
            assert!(begun.elapsed() >= after);
        }
    }
}
