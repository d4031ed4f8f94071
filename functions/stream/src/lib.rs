//! A job's events as they happen: the log from a cursor on as server-sent events, to as many viewers as there are.
//!
//! A request goes through [`Streams`]: the token says whose it is, the table whether there is such a job, and then the
//! body is pulled from `follow`, one whole frame at a time. Viewers that have come to the log's end share, for each job,
//! one poller and the window of recent events that it keeps (`hub`, `window`); whoever is not within that window, since
//! it has just come or is slow, reads the table at its own speed (`follow`). So a viewer that stands still costs nothing
//! and holds up nobody. Nothing here writes but one thing: until when somebody watches.

pub mod config;
mod follow;
mod hub;
mod log;
#[cfg(test)]
mod tests;
mod window;

use std::{sync::Arc, time::Duration};

use api::{
    cursor,
    error::{ApiError, Missing, method_not_allowed, route_not_found},
    paths, request_id, sse,
    stream_token::StreamTokens,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{
    id::{JobId, UserId},
    job::Head,
    time::Timestamp,
};
use store::{Item, Store, Tail};

use crate::{follow::follow, hub::Hub, log::Log};

/// The present, as tokens and the table mean it.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How often, how long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Between polls after something came.
    pub poll_quickly: Duration,
    /// Between polls when nothing has come for a while.
    pub poll_slowly: Duration,
    /// Silence on a connection until a comment is sent.
    pub ping_every: Duration,
    /// The longest that a connection lasts. In Lambda this has to be well below the function's time-out.
    pub longest: Duration,
    /// The longest that a connection lasts while its job waits for a person.
    pub longest_input_wait: Duration,
    /// How far ahead a job is marked as watched; renewed at half of it.
    pub watch_for: Duration,
    /// Events in one query.
    pub page: u32,
    /// Recent events that are kept for a job's viewers together, in bytes of frames.
    pub window_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_quickly: Duration::from_millis(50),
            poll_slowly: Duration::from_secs(1),
            ping_every: Duration::from_secs(15),
            longest: Duration::from_secs(300),
            longest_input_wait: Duration::from_secs(30),
            watch_for: Duration::from_secs(10),
            page: 500,
            window_bytes: 1024 * 1024,
        }
    }
}

/// What all streams of a process share. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    store: Store,
    tokens: StreamTokens,
    hub: Arc<Hub>,
}

impl Streams {
    /// Streams of this table's jobs for the holders of these tokens.
    pub fn new(store: Store, tokens: StreamTokens, now: Now, settings: Settings) -> Self {
        let hub = Hub::new(Log::of(store.clone(), settings.page), now, settings);
        Self { store, tokens, hub }
    }

    /// This item of events was written to a job's log: its viewers need not wait for the next poll, nor read it. Nothing
    /// depends on being told.
    pub fn hint(&self, job: &JobId, written: Arc<Item>) {
        self.hub.hint(job, Some(written));
    }

    /// Does this, set once, whenever a viewer has left: an invocation is over then, and its metrics are to be written.
    pub fn when_one_leaves(&self, done: impl Fn() + Send + Sync + 'static) {
        self.hub.when_one_leaves(Box::new(done));
    }

    /// How many jobs are being followed at this moment.
    pub fn n_followed(&self) -> usize {
        self.hub.n_followed()
    }
}

/// The one route.
pub fn router(streams: Streams) -> Router {
    Router::new()
        .route(paths::JOB_STREAM, get(stream))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(request_id::stamp))
        .with_state(streams)
}

/// A cursor filters and is never wrong by being large: the answer is what comes after it. That is nothing, and 204, when
/// the job is over and the log ends there or before; it is a stream that waits when the log is still being written. A
/// cursor that no log gave out (another job's, or one from before a restored backup) so ends as quietly as a good one.
async fn stream(
    State(streams): State<Streams>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Parameters that nobody knows are let pass: stand-ins for `EventSource` add their own.
    let parameter = |name| query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let id: JobId = id.parse().map_err(|_| ApiError::NotFound(Missing::Job))?;
    let now = streams.hub.now();
    let user = streams.tokens.verify(parameter("token"), &id, now)?;
    let last_event_id = headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let cursor = cursor::parse(last_event_id.as_deref(), parameter("after"))
        .map_err(|finding| ApiError::Invalid(vec![finding]))?;

    let there = streams.store.recent(&id, RECENT_ITEMS).await.map_err(unavailable)?;
    let there = there.filter(|(_, head)| is_visible(head, &user, now));
    let (recent, head) = there.ok_or(ApiError::NotFound(Missing::Job))?;
    if has_all(&Tail::of(&recent), cursor) {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, sse::CACHE_CONTROL)]).into_response());
    }
    let frames = follow(streams.hub.join(&head, recent), cursor);
    Ok((HEADERS, Body::from_stream(frames)).into_response())
}

/// How many items of events a viewer's first look at its job reads: whoever comes early, or comes back soon, needs no second
/// one. Text that is watched has up to ten a second.
const RECENT_ITEMS: u8 = 8;

const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, sse::CONTENT_TYPE),
    (header::CACHE_CONTROL, sse::CACHE_CONTROL),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// Whether the job exists for this user.
fn is_visible(head: &Head, user: &UserId, now: Timestamp) -> bool {
    head.user == *user && head.expires_at > now
}

/// Whether a viewer at this cursor has everything that there will ever be. The job's status does not say: its last event
/// may still be owed.
fn has_all(tail: &Tail, cursor: u64) -> bool {
    tail.is_terminal && cursor >= tail.number
}

/// What a failure of the table amounts to for the caller.
fn unavailable(error: store::Error) -> ApiError {
    let is_passing = error.is_passing();
    ApiError::of_table(error, is_passing)
}
