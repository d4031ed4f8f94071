//! A model server of one's own: for the first `cargo run`, when no model is configured, and for tests.
//!
//! It speaks OpenAI's streamed chat completions over a real socket, so that nothing between a job and its model is left
//! out. What it says comes from the [`brain`], which reads the conversation and asks for tools, or from a [`Script`],
//! which says what a test wants said, and breaks as a test wants it broken. Nothing here knows what a job is.

pub mod brain;
pub mod conversation;

mod answer;
mod listener;
mod script;
#[cfg(test)]
mod tests;

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use model_client::Url;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::script::{Call, Fault, Script, Turn};
use self::{
    answer::{Answer, refuse},
    conversation::Conversation,
    listener::MortalListener,
};
pub use crate::emulator::fault::Gate;

/// A model server on a port of this machine. Dropping it ends it and every connection to it.
#[derive(Debug)]
pub struct DemoModel {
    url: Url,
    server: Arc<Server>,
    _end: DropGuard,
}

/// How a [`DemoModel`] behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How fast the brain speaks. Scripts are as fast as their faults let them.
    pub pace: Pace,
    /// Whether a conversation without a script is answered with an error, and counted, instead of by the brain.
    pub scripts_only: bool,
}

impl Options {
    /// For tests: at once, and only what is in scripts.
    pub fn scripted() -> Self {
        Self { pace: Pace::NONE, scripts_only: true }
    }

    /// The brain, as fast as it can.
    pub fn instant() -> Self {
        Self { pace: Pace::NONE, scripts_only: false }
    }
}

/// How fast the brain speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the request to the first word.
    pub to_first_token: Duration,
    /// From word to word.
    pub per_word: Duration,
}

impl Pace {
    /// At once.
    pub const NONE: Self = Self { to_first_token: Duration::ZERO, per_word: Duration::ZERO };
}

impl Default for Pace {
    /// Fast enough not to bore, slow enough to watch.
    fn default() -> Self {
        Self { to_first_token: Duration::from_millis(300), per_word: Duration::from_millis(25) }
    }
}

/// What the server has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Every request for an answer that was JSON, in order.
    pub requests: Vec<Arc<Recorded>>,
    /// How many answers are on their way now; those that hang before their headers count.
    pub open_streams: usize,
    /// How many requests had no script, or no turn left in it, though there had to be one.
    pub unscripted: usize,
}

/// A request for an answer, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its body.
    pub body: Value,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
    /// The first user message: what scripts are chosen by.
    pub first_user: String,
    /// How many answers the model had given since: the turn, from 0.
    pub turn: usize,
}

impl Recorded {
    /// The API key that came with it.
    pub fn api_key(&self) -> Option<&str> {
        self.authorization.as_deref()?.strip_prefix("Bearer ")
    }

    /// The messages of the conversation.
    pub fn messages(&self) -> &[Value] {
        self.body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The script of one model, and the conversations that it has answered, each by the turn of its place.
#[derive(Debug)]
struct OfModel {
    model: String,
    script: Arc<Script>,
    conversations: Vec<Value>,
}

#[derive(Debug)]
struct Server {
    options: Options,
    scripts: Mutex<Vec<(String, Arc<Script>)>>,
    by_model: Mutex<Vec<OfModel>>,
    seen: watch::Sender<Seen>,
}

impl DemoModel {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = Url::parse(&format!("http://{}/v1", listener.local_addr()?))?;
        let server = Arc::new(Server {
            options,
            scripts: Mutex::default(),
            by_model: Mutex::default(),
            seen: watch::Sender::default(),
        });
        let end = CancellationToken::new();
        let service = router(Arc::clone(&server));
        let listener = MortalListener { inner: listener, end: end.clone() };
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                _ = axum::serve(listener, service) => {}
            }
        });
        Ok(Self { url, server, _end: end.drop_guard() })
    }

    /// The address before `/chat/completions`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Answers conversations whose first user message contains this text by a script. Where several fit, the longest
    /// text decides, then the latest script.
    pub fn script(&self, text: impl Into<String>, script: Script) {
        let mut scripts = self.server.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        scripts.push((text.into(), Arc::new(script)));
    }

    /// Answers every conversation with this model by a script: the first one by its first turn, the next different one by
    /// its second, and so on. The same conversation again gets the same answer.
    pub fn script_model(&self, model: impl Into<String>, script: Script) {
        let mut by_model = self.server.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        by_model.push(OfModel { model: model.into(), script: Arc::new(script), conversations: vec![] });
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Arc<Recorded>> {
        self.server.seen.borrow().requests.clone()
    }

    /// How many answers are on their way right now.
    pub fn open_streams(&self) -> usize {
        self.server.seen.borrow().open_streams
    }

    /// How many requests lacked a script.
    pub fn unscripted(&self) -> usize {
        self.server.seen.borrow().unscripted
    }

    /// Resolves when the server has seen what is waited for, at once if it has already.
    pub async fn wait_for(&self, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.server.seen.subscribe();
        // The sender is borrowed, so the channel cannot close.
        seen.wait_for(condition).await.map_or_else(|_| Seen::default(), |seen| seen.clone())
    }

    /// Resolves when there have been so many requests.
    pub async fn wait_for_requests(&self, n: usize) -> Vec<Arc<Recorded>> {
        self.wait_for(|seen| seen.requests.len() >= n).await.requests
    }

    /// Resolves when exactly so many answers are on their way.
    pub async fn wait_for_open_streams(&self, n: usize) {
        self.wait_for(|seen| seen.open_streams == n).await;
    }
}

fn router(server: Arc<Server>) -> Router {
    let routes = Router::new().route("/chat/completions", post(complete)).route("/models", get(models));
    Router::new()
        .nest("/v1", routes.clone())
        .merge(routes)
        .fallback(async || refuse(404, "there is nothing at this address; try /v1/chat/completions", None))
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}

async fn models() -> Json<Value> {
    let demo =
        json!({"id": "demo", "object": "model", "created": 0, "owned_by": "nightshift", "name": "Nightshift demo"});
    Json(json!({"object": "list", "data": [demo]}))
}

async fn complete(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return refuse(400, &format!("the request is not JSON: {error}"), None),
    };
    let conversation = Conversation::read(&body);
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (first_user, turn) = conversation.as_ref().map_or((String::new(), 0), |conversation| {
        (conversation.first_user().unwrap_or_default().to_owned(), conversation.n_answers())
    });
    let request = Arc::new(Recorded { body, authorization, first_user, turn });
    let mut n = 0;
    server.seen.send_modify(|seen| {
        seen.requests.push(Arc::clone(&request));
        seen.open_streams += 1;
        n = seen.requests.len();
    });
    let open = OpenStream(Arc::clone(&server));
    let body = &request.body;
    let conversation = match conversation {
        Ok(conversation) => conversation,
        Err(message) => return refuse(400, &message, None),
    };
    if body.get("stream") != Some(&Value::Bool(true)) {
        return refuse(400, "answers are only streamed here: `stream` must be true", None);
    }
    let of_model = server.script_for_model(body);
    let turn = of_model.as_ref().map_or(turn, |(_, turn)| *turn);
    let script = of_model.map(|(script, _)| script).or_else(|| server.script_for(&request.first_user));
    let Some(script) = script else {
        if server.options.scripts_only {
            return server.unscripted("there is no script for this conversation");
        }
        let reply = brain::reply(&conversation);
        return Answer::spoken(&reply, body, n, server.options.pace).send(None, open).await;
    };
    match script.next(turn) {
        Some((turn, fault)) => Answer::scripted(turn, body, n).send(fault, open).await,
        None => server.unscripted(&format!("the script has no turn {turn} (from 0)")),
    }
}

impl Server {
    fn script_for(&self, first_user: &str) -> Option<Arc<Script>> {
        let scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = scripts.iter().filter(|(text, _)| first_user.contains(text.as_str()));
        // Of equal lengths the last is taken.
        fitting.max_by_key(|(text, _)| text.len()).map(|(_, script)| Arc::clone(script))
    }

    fn script_for_model(&self, body: &Value) -> Option<(Arc<Script>, usize)> {
        let mut by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        let model = body.get("model")?.as_str()?;
        let of_model = by_model.iter_mut().rev().find(|it| it.model == model)?;
        let conversation = body.get("messages").cloned().unwrap_or_default();
        let place = of_model.conversations.iter().position(|it| *it == conversation).unwrap_or_else(|| {
            of_model.conversations.push(conversation);
            of_model.conversations.len() - 1
        });
        Some((of_model.script.clone(), place))
    }

    fn unscripted(&self, message: &str) -> Response {
        self.seen.send_modify(|seen| seen.unscripted += 1);
        refuse(500, message, None).into_response()
    }
}

/// An answer on its way. It is held by whatever is sending the answer, which is dropped with the connection.
struct OpenStream(Arc<Server>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.open_streams -= 1);
    }
}
