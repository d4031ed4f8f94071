//! The language model over HTTP: OpenAI-compatible chat completions, streamed. This is where the ways of providers are
//! known, so that nobody else has to: their stream's quirks, their errors, their time-outs. It does not retry, does not
//! log, and knows neither jobs nor tools beyond their names.
//!
//! In reading order: [`ModelClient`], [`ModelRequest`], [`ModelEvent`], [`ModelError`]; inside, `dialect` (who wants a
//! request written otherwise), `sse` (bytes to frames), `wire` (a frame's JSON), `answer` (chunks to events) and `stream`
//! (the three over a connection, with its clock).

mod answer;
mod client;
mod dialect;
mod error;
mod event;
mod request;
mod secret;
mod sse;
mod stream;
mod wire;

pub use client::{Config, ConfigError, ModelClient, Timeouts};
pub use error::{Malformed, ModelError, Phase};
pub use event::{Completion, FinishReason, ModelEvent, StreamedCall};
pub use request::ModelRequest;
pub use reqwest::Url;
pub use secret::Secret;
pub use stream::ModelStream;
