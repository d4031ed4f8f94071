//! The model that is measured with: it says what a plan says, at the plan's pace, and notes when it was asked and when it
//! had answered. No parsing but of who asks, no work but the plan's.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use futures_util::stream::{self, StreamExt};
use model_client::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::sleep_until};

/// What the model says to every job that asks for it by this plan's name: the last answer again and again where there are
/// more turns, since a workflow's node may be told of what others said.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) turns: Vec<Turn>,
    /// From the request to the first token.
    pub(crate) to_first: Duration,
    /// From token to token.
    pub(crate) per_token: Duration,
}

/// One answer: so many tokens of text, and a tool call if it is not the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) tokens: usize,
    pub(crate) calls: usize,
    /// Whether every other token is a thought, so that no two are written as one event.
    pub(crate) thinks: bool,
}

impl Plan {
    /// Three turns, two tools, so many tokens in each turn, without a delay.
    pub(crate) fn standard(tokens: usize) -> Self {
        let turn = |calls| Turn { tokens, calls, thinks: false };
        let turns = vec![turn(1), turn(1), turn(0)];
        Self { turns, to_first: Duration::ZERO, per_token: Duration::ZERO }
    }

    /// An answer and no tools.
    pub(crate) fn text(tokens: usize) -> Self {
        let turns = vec![Turn { tokens, calls: 0, thinks: false }];
        Self { turns, to_first: Duration::ZERO, per_token: Duration::ZERO }
    }

    /// An answer of which each token is an event.
    pub(crate) fn events(tokens: usize) -> Self {
        let turns = vec![Turn { tokens, calls: 0, thinks: true }];
        Self { turns, to_first: Duration::ZERO, per_token: Duration::ZERO }
    }

    /// The same at this pace.
    pub(crate) fn at_pace(self, to_first: Duration, per_token: Duration) -> Self {
        Self { to_first, per_token, ..self }
    }
}

/// One request of a job to the model.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    /// When each token was handed to the connection.
    pub(crate) tokens: Vec<Instant>,
    /// When the last byte was.
    pub(crate) answered: Option<Instant>,
}

/// A model server on a port of this machine.
pub(crate) struct Model {
    pub(crate) url: Url,
    place: Arc<Place>,
}

struct Place {
    plans: Mutex<HashMap<String, Arc<Plan>>>,
    /// By what the job was asked.
    asked: Mutex<HashMap<String, Vec<Asked>>>,
    n_asked: watch::Sender<usize>,
}

#[derive(Deserialize)]
struct Request {
    model: String,
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    role: String,
    #[serde(default)]
    content: Value,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = Url::parse(&format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
        let place =
            Arc::new(Place { plans: Mutex::default(), asked: Mutex::default(), n_asked: watch::Sender::default() });
        let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(place.clone());
        let listener = listener.tap_io(|connection| connection.set_nodelay(true).unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, place }
    }

    /// Jobs that ask for the model of this name are answered so.
    pub(crate) fn plan(&self, name: &str, plan: Plan) {
        self.place.plans.lock().unwrap().insert(name.to_owned(), Arc::new(plan));
    }

    /// When the job of this input asked; it is forgotten then.
    pub(crate) fn take(&self, input: &str) -> Vec<Asked> {
        self.place.asked.lock().unwrap().remove(input).unwrap_or_default()
    }

    /// Waits until the job of this input has been answered so often.
    pub(crate) async fn answered(&self, input: &str, times: usize) {
        while self.wait_for(input, times).await.iter().filter(|asked| asked.answered.is_some()).count() < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the job of this input has asked so often, and says when it did.
    pub(crate) async fn wait_for(&self, input: &str, times: usize) -> Vec<Asked> {
        let mut n_asked = self.place.n_asked.subscribe();
        loop {
            n_asked.borrow_and_update();
            let asked = self.place.asked.lock().unwrap().get(input).cloned().unwrap_or_default();
            if asked.len() >= times {
                return asked;
            }
            n_asked.changed().await.unwrap();
        }
    }
}

async fn answer(State(place): State<Arc<Place>>, body: Bytes) -> Response {
    let at = Instant::now();
    let request: Request = serde_json::from_slice(&body).unwrap();
    let turn = request.messages.iter().filter(|said| said.role == "assistant").count();
    let first = request.messages.iter().find(|said| said.role == "user").unwrap();
    let input = first.content.as_str().unwrap().to_owned();
    let plan = place.plans.lock().unwrap().get(&request.model).cloned().unwrap();
    let nth = {
        let mut asked = place.asked.lock().unwrap();
        let of_job = asked.entry(input.clone()).or_default();
        of_job.push(Asked { at, tokens: vec![], answered: None });
        of_job.len() - 1
    };
    place.n_asked.send_modify(|n| *n += 1);
    let note = move |what: fn(&mut Asked)| {
        if let Some(asked) = place.asked.lock().unwrap().get_mut(&input).and_then(|asked| asked.get_mut(nth)) {
            what(asked);
        }
    };
    let (text, rest) = frames(plan.turns[turn.min(plan.turns.len() - 1)], turn);
    let instant = plan.to_first.is_zero() && plan.per_token.is_zero();
    let body = if instant {
        note(|asked| asked.answered = Some(Instant::now()));
        Body::from(text.into_iter().chain([rest]).collect::<Vec<_>>().concat())
    } else {
        let begun = tokio::time::Instant::from_std(at) + plan.to_first;
        let last = begun + plan.per_token * u32::try_from(text.len().saturating_sub(1)).unwrap();
        let noted = note.clone();
        let text = stream::iter((0..).zip(text)).then(move |(n, frame)| {
            let (due, note) = (begun + plan.per_token * n, note.clone());
            async move {
                sleep_until(due).await;
                note(|asked| asked.tokens.push(Instant::now()));
                frame
            }
        });
        let rest = stream::once(async move {
            sleep_until(last).await;
            noted(|asked| asked.answered = Some(Instant::now()));
            rest
        });
        Body::from_stream(text.chain(rest).map(|frame| Ok::<_, std::convert::Infallible>(Bytes::from(frame))))
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The frames of an answer's text, and what comes after them: its calls, its end, what it used.
pub(crate) fn frames(turn: Turn, number: usize) -> (Vec<String>, String) {
    let chunk = |delta: Value, finish: Option<&str>| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        format!("data: {}\n\n", json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices}))
    };
    let member = |n: usize| if turn.thinks && n % 2 == 1 { "reasoning" } else { "content" };
    let text = (0..turn.tokens).map(|n| chunk(json!({member(n): token(n)}), None)).collect();
    let calls: Vec<Value> = (0..turn.calls)
        .map(|n| {
            let arguments = json!({"expression": format!("{number} + {n}")}).to_string();
            let function = json!({"name": "calculate", "arguments": arguments});
            json!({"index": n, "id": format!("call_{number}_{n}"), "type": "function", "function": function})
        })
        .collect();
    let mut rest = String::new();
    if !calls.is_empty() {
        rest.push_str(&chunk(json!({"tool_calls": calls}), None));
    }
    rest.push_str(&chunk(json!({}), Some(if turn.calls > 0 { "tool_calls" } else { "stop" })));
    let usage = json!({"prompt_tokens": 100, "completion_tokens": turn.tokens, "total_tokens": 100 + turn.tokens});
    rest.push_str(&format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage})));
    (text, rest)
}

/// The n-th token of a turn: five characters, by which a viewer knows it again.
pub(crate) fn token(n: usize) -> String {
    format!("{n:04} ")
}
