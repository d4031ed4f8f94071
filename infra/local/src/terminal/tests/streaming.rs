//! Following a job over connections that end in every way.

use std::collections::VecDeque;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
    routing::any,
};
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use url::Url;

use super::*;
use crate::terminal::{
    client::{Client, ClientError},
    stream::{Following, Told, follow},
};

/// One answer of the server.
pub(super) type Answer = Response;

/// A server that gives the answers it was given, in their order, and remembers what it was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server with these answers, and its address.
    pub(super) async fn with(answers: impl IntoIterator<Item = Answer>) -> (Self, Url) {
        let server = Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() };
        let router = Router::new().fallback(any(answer)).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, base)
    }

    /// What it was asked: method, path, where from, body.
    pub(super) fn asked(&self) -> Vec<String> {
        assert!(self.answers.lock().unwrap().is_empty(), "answers that nobody asked for");
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(server): State<Server>, request: Request<Body>) -> Answer {
    let header = |name| request.headers().get(name).map(|value| format!(" {name}={}", value.to_str().unwrap()));
    let mut asked = format!("{} {}", request.method(), request.uri());
    asked.extend(["last-event-id", "x-nightshift-user"].into_iter().filter_map(header));
    let body = axum::body::to_bytes(request.into_body(), 1_000_000).await.unwrap();
    if !body.is_empty() {
        asked.push(' ');
        asked.push_str(std::str::from_utf8(&body).unwrap());
    }
    server.asked.lock().unwrap().push(asked);
    server.answers.lock().unwrap().pop_front().unwrap_or_else(|| status(StatusCode::NOT_IMPLEMENTED, &json!({})))
}

pub(super) fn status(status: StatusCode, body: &Value) -> Answer {
    Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
}

pub(super) fn refused(code: StatusCode, error: &Value) -> Answer {
    status(code, &json!({"error": error}))
}

/// A stream in these pieces, after which the connection ends in order.
pub(super) fn pieces<P: Into<Bytes>>(pieces: impl IntoIterator<Item = P>) -> Answer {
    let pieces: Vec<Result<Bytes, io::Error>> = pieces.into_iter().map(|piece| Ok(piece.into())).collect();
    Response::new(Body::from_stream(stream::iter(pieces)))
}

/// A stream that says this and no more, and does not end.
pub(super) fn held(piece: String) -> Answer {
    let begun = stream::iter([Ok::<_, io::Error>(Bytes::from(piece))]);
    Response::new(Body::from_stream(begun.chain(stream::pending())))
}

/// A stream that breaks off in the middle of its answer.
fn broken(piece: String) -> Answer {
    let pieces = vec![Ok(Bytes::from(piece)), Err(io::Error::other("broken"))];
    Response::new(Body::from_stream(stream::iter(pieces)))
}

pub(super) fn frame(number: usize, event: &Value) -> String {
    format!("id: {number}\nevent: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

pub(super) const BEGIN: &str = "retry: 0\n: ping\n\n";
pub(super) const DONE: &str = "event: done\ndata: [DONE]\n\n";

/// The whole job as frames, those from `from` on, the first being 0.
fn frames(from: usize) -> String {
    let job = whole_job();
    let frames: String = job.iter().enumerate().skip(from).map(|(at, event)| frame(at + 1, event)).collect();
    format!("{BEGIN}{frames}{DONE}")
}

fn expired() -> Answer {
    refused(StatusCode::UNAUTHORIZED, &json!({"code": "token_expired", "message": "ask for a new one"}))
}

async fn told_by(base: &Url, after: u64, patience: Duration) -> Vec<Result<Told, ClientError>> {
    let client = Client::new(base, Some("ada")).unwrap();
    let stream_url = base.join("/s?token=first").unwrap();
    follow(client, Following { job_id: "job_1".to_owned(), stream_url, after, retry: Duration::ZERO, patience })
        .collect()
        .await
}

async fn numbers(base: &Url, after: u64) -> Vec<String> {
    let told = told_by(base, after, Duration::from_secs(60)).await;
    told.into_iter()
        .map(|told| match told.unwrap() {
            Told::Event(frame) => frame.id.unwrap(),
            told => format!("{told:?}"),
        })
        .collect()
}

fn all_numbers() -> Vec<String> {
    (1..=whole_job().len()).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn frames_may_be_split_anywhere() {
    let whole = frames(0);
    let (server, base) = Server::with([pieces(whole.as_bytes().chunks(7).map(Bytes::copy_from_slice))]).await;
    assert_eq!(numbers(&base, 0).await, all_numbers());
    assert_eq!(server.asked(), ["GET /s?token=first x-nightshift-user=ada"]);
}

#[tokio::test]
async fn a_connection_that_ends_after_any_event_loses_and_repeats_nothing() {
    let job = whole_job();
    for end in 0..=job.len() {
        let first: String = job[..end].iter().enumerate().map(|(at, event)| frame(at + 1, event)).collect();
        // The frame after the last whole one is cut in its middle.
        let cut = job.get(end).map_or(String::new(), |event| frame(end + 1, event));
        let first = format!("{BEGIN}{first}{}", &cut[..cut.len() / 2]);
        for broke in [false, true] {
            let ended = if broke { broken(first.clone()) } else { pieces([first.clone()]) };
            // The second connection repeats what the first one had, as a careless proxy might.
            let (server, base) =
                Server::with([ended, pieces([frames(if broke { 0 } else { end.saturating_sub(2) })])]).await;
            // Broken so early, an answer may not even have a head: then the loss is told too.
            let numbers: Vec<String> =
                numbers(&base, 0).await.into_iter().filter(|n| n.parse::<u64>().is_ok()).collect();
            assert_eq!(numbers, all_numbers(), "ended after event {end}, broken: {broke}");
            // The connection that broke may have taken whole frames with it.
            if broke {
                continue;
            }
            let resumed = if end > 0 { format!(" last-event-id={end}") } else { String::new() };
            assert_eq!(server.asked()[1], format!("GET /s?token=first{resumed} x-nightshift-user=ada"));
        }
    }
}

#[tokio::test]
async fn a_connection_for_every_single_event_still_tells_each_once() {
    let job = whole_job();
    let single = job.iter().enumerate().map(|(at, event)| pieces([format!("{BEGIN}{}", frame(at + 1, event))]));
    let answers: Vec<Answer> = single.chain([pieces([DONE])]).collect();
    let (server, base) = Server::with(answers).await;
    assert_eq!(numbers(&base, 0).await, all_numbers());
    assert_eq!(server.asked().len(), job.len() + 1);
}

#[tokio::test]
async fn an_expired_address_is_exchanged_for_a_new_one() {
    let new = json!({"stream_url": "/s?token=second", "expires_at": "2026-11-23T12:00:00Z"});
    let begin: String = format!("{BEGIN}{}", frame(1, &whole_job()[0]));
    let answers = [pieces([begin]), expired(), status(StatusCode::OK, &new), pieces([frames(1)])];
    let (server, base) = Server::with(answers).await;
    assert_eq!(numbers(&base, 0).await, all_numbers());
    let ada = "x-nightshift-user=ada";
    assert_eq!(
        server.asked(),
        [
            format!("GET /s?token=first {ada}"),
            format!("GET /s?token=first last-event-id=1 {ada}"),
            format!("POST /jobs/job_1/stream_token {ada}"),
            format!("GET /s?token=second last-event-id=1 {ada}"),
        ]
    );
}

#[tokio::test]
async fn addresses_that_are_always_expired_end_in_an_error() {
    let new = || status(StatusCode::OK, &json!({"stream_url": "/s?token=again"}));
    let answers: Vec<Answer> = (0..4).flat_map(|_| [expired(), new()]).chain([expired()]).collect();
    let (server, base) = Server::with(answers).await;
    let told = told_by(&base, 0, Duration::from_secs(60)).await;
    assert!(matches!(told.as_slice(), [Err(ClientError::Strange { .. })]), "{told:?}");
    assert_eq!(server.asked().len(), 9);
}

#[tokio::test]
async fn no_content_means_that_everything_is_known() {
    let (server, base) = Server::with([status(StatusCode::NO_CONTENT, &Value::Null)]).await;
    assert_eq!(numbers(&base, 19).await, Vec::<String>::new());
    assert_eq!(server.asked(), ["GET /s?token=first last-event-id=19 x-nightshift-user=ada"]);
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again_and_one_that_says_no_is_not() {
    let begin = format!("{BEGIN}{}", frame(1, &whole_job()[0]));
    let busy = || refused(StatusCode::SERVICE_UNAVAILABLE, &json!({"code": "busy", "message": "busy"}));
    let (server, base) = Server::with([pieces([begin]), busy(), busy(), pieces([frames(1)])]).await;
    let mut expected = all_numbers();
    expected.splice(1..1, ["Lost".to_owned(), "Back".to_owned()]);
    assert_eq!(numbers(&base, 0).await, expected);
    assert_eq!(server.asked().len(), 4);

    let (server, base) = Server::with([refused(StatusCode::NOT_FOUND, &json!({"message": "no such job"}))]).await;
    let told = told_by(&base, 0, Duration::from_secs(60)).await;
    assert!(matches!(told.as_slice(), [Err(ClientError::Refused(_))]), "{told:?}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn patience_with_a_server_that_is_gone_has_an_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let told = told_by(&base, 0, Duration::ZERO).await;
    assert!(matches!(told.as_slice(), [Err(ClientError::Unreachable { .. })]), "{told:?}");
}

#[tokio::test]
async fn what_is_not_in_the_log_moves_no_cursor() {
    let stray = "event: notice\ndata: {}\n\n";
    let body = frames(0).replace("\n\nid: 3\n", &format!("\n\n{stray}id: 3\n"));
    let (_server, base) = Server::with([pieces([body])]).await;
    assert_eq!(numbers(&base, 0).await, all_numbers());
}
