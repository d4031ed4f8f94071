//! `http_get`, fetched: see [`tools::builtin::http_get`] for what the model is told, with examples.

use std::{fmt::Write as _, time::Duration};

use async_trait::async_trait;
use domain::tool_call::Replay;
use reqwest::{
    Client, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING},
};
use tokio::sync::{OnceCell, Semaphore};
use tools::{
    Sent, ToolContext, ToolError, ToolReply, TypedTool,
    builtin::http_get::{Arguments, DESCRIPTION, NAME, REPLAY},
};

use crate::{
    body::{Body, ENCODINGS},
    guard::{Guard, failure},
    html,
};

/// How long an answer may pause.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes of a body that are read, as it comes and as it is unpacked.
const BODY_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of HTML that are made readable.
const HTML_BYTES: usize = 1024 * 1024;
/// Characters of text in one answer: all the results of a turn may have 50 KB together (R50).
const PART_CHARS: usize = 40_000;
/// Characters of an error's page that the model may read.
const ERROR_CHARS: usize = 500;

/// Pages that are made readable at a time. A call that is over by time leaves its page to be read to the end.
static READERS: Semaphore = Semaphore::const_new(2);

/// Fetches.
pub(crate) struct HttpGet {
    guard: Guard,
    /// Made at the first call: it reads the machine's certificates, and a function's cold start would wait for that.
    http: OnceCell<Client>,
    timeout: Duration,
}

impl HttpGet {
    pub(crate) fn new(guard: Guard, timeout: Duration) -> Self {
        Self { guard, http: OnceCell::new(), timeout }
    }

    async fn client(&self) -> Result<&Client, ToolError> {
        let client = self.http.get_or_try_init(|| async { self.guard.client(true, Some(IDLE)) }).await;
        client.map_err(|error| ToolError::Fatal(error.into()))
    }
}

#[async_trait]
impl TypedTool for HttpGet {
    type Arguments = Arguments;
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;

    fn replay(&self) -> Replay {
        REPLAY
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn call(&self, arguments: Arguments, _: &ToolContext) -> Result<ToolReply, ToolError> {
        let url = self
            .guard
            .address(&arguments.url)
            .map_err(|refused| ToolError::InvalidArguments(format!("This address cannot be fetched: {refused}")))?;
        let request =
            self.client().await?.get(url).header(ACCEPT, "text/html, application/json, text/*;q=0.9, */*;q=0.1");
        let answer = request.header(ACCEPT_ENCODING, ENCODINGS).send().await.map_err(failure)?;
        let (status, url) = (answer.status(), answer.url().clone());
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) {
            let message = format!("the server answered {status}");
            return Err(ToolError::Network { message, sent: Sent::Perhaps, source: None });
        }
        let body = Body::read(answer, BODY_BYTES).await?;
        if !body.is_text() {
            let kind = if body.media_type.is_empty() { "binary" } else { &body.media_type };
            return Err(ToolError::RespondToModel(format!("The answer is {kind}, not text, and is not shown")));
        }
        let (media_type, is_cut) = (body.media_type.clone(), body.is_cut);
        let text = readable(body).await?;
        if !status.is_success() {
            let page: String = text.chars().take(ERROR_CHARS).collect();
            return Err(ToolError::RespondToModel(format!("The server answered {status}\n\n{page}")));
        }
        let start = arguments.start.unwrap_or(0) as usize;
        Ok(ToolReply::text(part(url.as_str(), &media_type, &text, start, is_cut)))
    }
}

async fn readable(body: Body) -> Result<String, ToolError> {
    let text = body.text();
    if !body.is_html() {
        return Ok(text);
    }
    let page = text.get(..text.floor_char_boundary(HTML_BYTES)).unwrap_or_default().to_owned();
    let reader = READERS.acquire().await.map_err(|error| ToolError::Fatal(error.into()))?;
    let reading = tokio::task::spawn_blocking(move || {
        let _reader = reader;
        html::text(&page)
    });
    reading
        .await
        .map_err(|error| ToolError::Fatal(error.into()))?
        .map_err(|unreadable| ToolError::RespondToModel(unreadable.to_string()))
}

/// The part of a text that is shown, with what has to be known of it.
fn part(url: &str, media_type: &str, text: &str, start: usize, is_cut: bool) -> String {
    let n = text.chars().count();
    let shown: String = text.chars().skip(start).take(PART_CHARS).collect();
    let end = (start + PART_CHARS).min(n);
    let mut answer = format!("URL: {url}\nType: {media_type}\n");
    if start > 0 || end < n {
        let more = if end < n { format!("; ask again with \"start\": {end} for more") } else { String::new() };
        let _ = writeln!(answer, "(characters {start} to {end} of {n}{more})"); // writing to a String cannot fail
    }
    if is_cut {
        let _ = writeln!(answer, "(the body is longer than the {BODY_BYTES} bytes that are read; its rest is missing)");
    }
    answer + "\n" + &shown
}

#[cfg(test)]
mod tests;
