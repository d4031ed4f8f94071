//! A tool that is an address of the deployment's: its calls are posted there, signed, each with a key by which the
//! receiver knows a repetition.
//!
//! ```text
//! POST /hooks/create
//! content-type: application/json
//! idempotency-key: job_01M8…_4f0c…
//! webhook-id: job_01M8…_4f0c…
//! webhook-timestamp: 1763800000
//! webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
//!
//! {"tool":"create_ticket","arguments":{"title":"…"},"tool_call_id":"call_7","job_id":"job_01M8…","user_id":"…","turn":2}
//! ```
//!
//! A 2xx's body is the result, JSON or text. A 4xx's body is an error that the model reads. A 5xx, 429 and a lost
//! connection are tried once more under the same key, like every network failure.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use reqwest::{
    Client, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use serde::Serialize;
use serde_json::Value;
use tools::{
    Sent, Tool, ToolContext, ToolError, ToolReply, builtin::Clock, config::ConfiguredTool, limits::RESULT_BYTES,
};
use url::Url;

use crate::{
    SetupError,
    body::{Body, ENCODINGS},
    guard::{Guard, failure},
    secrets::{SecretError, Secrets},
    signature::{RULE, SigningKey},
};

/// Characters of a refusal that the model may read.
const ERROR_CHARS: usize = 2_000;

/// A tool behind an address.
pub(crate) struct HttpTool {
    spec: ToolSpec,
    timeout: Duration,
    approval: ApprovalRule,
    url: Url,
    headers: HeaderMap,
    key: Option<SigningKey>,
    http: Client,
    clock: Clock,
}

/// What is asked for: the body of a posted call, and the payload of an invoked function.
#[derive(Serialize)]
pub(crate) struct Asked<'a> {
    tool: &'a str,
    arguments: &'a Value,
    idempotency_key: &'a str,
    tool_call_id: &'a str,
    job_id: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    turn: u32,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(tool: &'a str, arguments: &'a Value, context: &'a ToolContext, key: &'a str) -> Self {
        Self {
            tool,
            arguments,
            idempotency_key: key,
            tool_call_id: context.call.as_str(),
            job_id: context.job.as_str(),
            user_id: context.user.as_str(),
            thread_id: context.thread.as_ref().map(domain::id::ThreadId::as_str),
            turn: context.turn,
        }
    }

    pub(crate) fn json(&self) -> Result<Vec<u8>, ToolError> {
        serde_json::to_vec(self).map_err(|error| ToolError::Fatal(error.into()))
    }
}

impl HttpTool {
    pub(crate) fn new(config: &ConfiguredTool, url: &str, secrets: &Secrets, clock: Clock) -> Result<Self, SetupError> {
        let guard = Guard::new().with_private(config.allow_private);
        let key = match &config.signing_secret {
            None => None,
            Some(name) => {
                let invalid = || SecretError::Invalid { name: name.clone(), rule: RULE };
                Some(SigningKey::parse(&secrets.get(name)?).ok_or_else(invalid)?)
            }
        };
        Ok(Self {
            spec: config.spec(),
            timeout: config.timeout(),
            approval: config.approval.clone(),
            url: guard.address(url)?,
            headers: secrets.headers(&config.headers)?,
            key,
            // A key and a signature go nowhere but to their address.
            http: guard.client(false, None)?,
            clock,
        })
    }
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn replay(&self) -> Replay {
        ConfiguredTool::REPLAY
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn approval(&self) -> ApprovalRule {
        self.approval.clone()
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError> {
        let key = context.idempotency_key();
        let body = Asked::new(&self.spec.name, &arguments, context, &key).json()?;
        let at = (self.clock)().as_millis() / 1000;
        let mut request = self
            .http
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/*")
            .header(ACCEPT_ENCODING, ENCODINGS)
            .header("idempotency-key", &key)
            .header("webhook-id", &key)
            .header("webhook-timestamp", at);
        if let Some(signing) = &self.key {
            request = request.header("webhook-signature", signing.sign(&key, at, &body));
        }
        let answer = request.body(body).send().await.map_err(failure)?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let message = format!("its server answered {status}");
            return Err(ToolError::Network { message, sent: Sent::Perhaps, source: None });
        }
        let body = Body::read(answer, RESULT_BYTES + 1).await?;
        let name = &self.spec.name;
        if !body.is_text() {
            let kind = &body.media_type;
            return Err(ToolError::RespondToModel(format!("Tool `{name}` answered with {kind}, which is not text")));
        }
        if status.is_success() {
            return Ok(ToolReply::text(body.text()));
        }
        let said: String = body.text().chars().take(ERROR_CHARS).collect();
        Err(ToolError::RespondToModel(format!("Tool `{name}` refused the call ({status}): {said}")))
    }
}

#[cfg(test)]
mod tests;
