//! An answer on the wire: chunks as server-sent events, at a pace, and whatever is to go wrong with them.

use std::io;

use axum::{
    Json,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::usage::Usage;
use serde_json::{Value, json};
use tokio::{task::yield_now, time::sleep};

use super::{
    Pace,
    brain::Reply,
    script::{Fault, Turn},
};

/// Roughly what a token has of characters.
const CHARS_PER_TOKEN: usize = 4;

/// An answer before it is sent.
pub(super) struct Answer {
    id: String,
    model: String,
    deltas: Vec<Value>,
    finish: &'static str,
    usage: Value,
    pace: Pace,
    raw: Option<Bytes>,
    split: Option<usize>,
}

impl Answer {
    /// The brain's answer, word by word.
    pub(super) fn spoken(reply: &Reply, body: &Value, n: usize, pace: Pace) -> Self {
        let mut deltas = Vec::new();
        let words = |text: &str| text.split_inclusive([' ', '\n']).map(str::to_owned).collect::<Vec<_>>();
        for word in words(reply.reasoning.as_deref().unwrap_or_default()) {
            deltas.push(json!({"reasoning": word}));
        }
        let mut spoken = words(&reply.text);
        let most = body.get("max_tokens").or_else(|| body.get("max_completion_tokens")).and_then(Value::as_u64);
        let most = most.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let is_cut = spoken.len() > most;
        spoken.truncate(most);
        deltas.extend(spoken.into_iter().map(|word| json!({"content": word})));
        for (index, call) in reply.calls.iter().enumerate() {
            let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
            let call = json!({"index": index, "id": call.id, "type": "function", "function": function});
            deltas.push(json!({"tool_calls": [call]}));
        }
        let finish = match (is_cut, reply.calls.is_empty()) {
            (true, _) => "length",
            (false, true) => "stop",
            (false, false) => "tool_calls",
        };
        let usage = estimate(body, &deltas);
        Self { pace, ..Self::new(body, n, deltas, finish, usage) }
    }

    /// A script's answer.
    pub(super) fn scripted(turn: &Turn, body: &Value, n: usize) -> Self {
        let deltas = turn.deltas().to_vec();
        let finish = turn.finish.unwrap_or(if turn.asks_for_tools() { "tool_calls" } else { "stop" });
        let usage = turn.usage.unwrap_or_else(|| estimate(body, &deltas));
        Self { raw: turn.raw.clone(), split: turn.split, ..Self::new(body, n, deltas, finish, usage) }
    }

    fn new(body: &Value, n: usize, deltas: Vec<Value>, finish: &'static str, usage: Usage) -> Self {
        let model = body.get("model").and_then(Value::as_str).unwrap_or("demo").to_owned();
        let id = format!("chatcmpl-demo-{n}");
        Self { id, model, deltas, finish, usage: wire(usage), pace: Pace::NONE, raw: None, split: None }
    }

    fn chunk(&self, choices: &Value) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": 0, "model": self.model, "choices": choices})
    }

    fn choice(&self, delta: &Value, finish: Option<&str>) -> Value {
        self.chunk(&json!([{"index": 0, "delta": delta, "finish_reason": finish}]))
    }

    /// Sends it. `open` is dropped when the answer is over, or its client is gone.
    pub(super) async fn send(self, fault: Option<Fault>, open: impl Send + 'static) -> Response {
        match &fault {
            Some(Fault::Status(status, body)) => return refuse(*status, body, None),
            Some(Fault::StatusRetryAfter(status, body, after)) => return refuse(*status, body, Some(after)),
            Some(Fault::HangBeforeHeaders) => std::future::pending().await,
            Some(Fault::StallBeforeHeaders(gate)) => gate.pass().await,
            _ => {}
        }
        let stream = async_stream::stream! {
            let _open = open;
            let frames = self.frames(fault);
            futures_util::pin_mut!(frames);
            while let Some(frame) = futures_util::StreamExt::next(&mut frames).await {
                let Ok(frame) = frame else {
                    yield Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    return;
                };
                let size = self.split.unwrap_or(frame.len()).max(1);
                for at in (0..frame.len()).step_by(size) {
                    yield Ok(frame.slice(at..frame.len().min(at + size)));
                    // The server writes and flushes what it has as soon as it has to wait.
                    yield_now().await;
                }
            }
        };
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache, no-transform")];
        (headers, Body::from_stream(stream)).into_response()
    }

    /// The frames; an error where the connection is to be cut.
    fn frames(&self, fault: Option<Fault>) -> impl futures_util::Stream<Item = Result<Bytes, Cut>> {
        async_stream::stream! {
            if let Some(raw) = &self.raw {
                yield Ok(raw.clone());
                return;
            }
            sleep_unless_zero(self.pace.to_first_token).await;
            // One more round than there are pieces: a fault may come behind the last.
            for at in 0..=self.deltas.len() {
                match &fault {
                    Some(Fault::CutAfter(n)) if *n == at => {
                        yield Err(Cut);
                        return;
                    }
                    Some(Fault::ErrorAfter(n, code, message)) if *n == at => {
                        let mut chunk = self.choice(&json!({"content": ""}), Some("error"));
                        chunk["error"] = json!({"code": code, "message": message});
                        yield Ok(frame(&chunk));
                        return;
                    }
                    Some(Fault::HangAfter(n)) if *n == at => std::future::pending::<()>().await,
                    Some(Fault::StallAfter(n, gate)) if *n == at => gate.pass().await,
                    _ => {}
                }
                let Some(delta) = self.deltas.get(at) else { break };
                let mut delta = delta.clone();
                if at == 0 {
                    delta["role"] = json!("assistant");
                } else {
                    sleep_unless_zero(self.pace.per_word).await;
                }
                yield Ok(frame(&self.choice(&delta, None)));
            }
            yield Ok(frame(&self.choice(&json!({}), Some(self.finish))));
            let mut usage = self.chunk(&json!([]));
            usage["usage"] = self.usage.clone();
            yield Ok(frame(&usage));
            yield Ok(Bytes::from_static(b"data: [DONE]\n\n"));
        }
    }
}

/// The connection is to be closed here.
struct Cut;

fn frame(chunk: &Value) -> Bytes {
    format!("data: {chunk}\n\n").into()
}

async fn sleep_unless_zero(pause: std::time::Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}

/// An answer that is no stream.
pub(super) fn refuse(status: u16, body: &str, retry_after: Option<&'static str>) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match body.as_bytes().first() {
        Some(b'{') => ([(header::CONTENT_TYPE, "application/json")], body.to_owned()).into_response(),
        Some(b'<') => ([(header::CONTENT_TYPE, "text/html")], body.to_owned()).into_response(),
        _ => Json(json!({"error": {"code": status, "message": body}})).into_response(),
    };
    *response.status_mut() = code;
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(after));
    }
    response
}

fn estimate(body: &Value, deltas: &[Value]) -> Usage {
    let tokens = |value: &Value| value.to_string().len().div_ceil(CHARS_PER_TOKEN) as u64;
    let of = |value: &Value| match value {
        Value::String(text) => text.len(),
        value => value.to_string().len(),
    };
    let n_chars = |kind: &str| deltas.iter().filter_map(|delta| delta.get(kind)).map(of).sum::<usize>();
    let n_tokens = |chars: usize| chars.div_ceil(CHARS_PER_TOKEN) as u64;
    let reasoning_tokens = n_tokens(n_chars("reasoning"));
    Usage {
        input_tokens: body.get("messages").map_or(0, tokens) + body.get("tools").map_or(0, tokens),
        output_tokens: reasoning_tokens + n_tokens(n_chars("content") + n_chars("tool_calls")),
        reasoning_tokens,
        ..Usage::default()
    }
}

fn wire(usage: Usage) -> Value {
    // Many providers do not say what an answer costs.
    let cost = (usage.cost_usd > 0.0).then_some(usage.cost_usd);
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cost": cost,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}
