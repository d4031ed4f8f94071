//! How a connection is lost, and what becomes of the calls on it: against a server that forgets its sessions, and that
//! answers as the SDK's own servers do not.

use std::sync::Mutex;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tools::limits::{DEFAULT_TIMEOUT, LIST_TIMEOUT};

use super::*;

const SESSION: &str = "mcp-session-id";
const LONG: usize = 2 * 1024 * 1024;

/// A server that knows its sessions until it is told to forget them.
struct Forgetful {
    /// How it answers whoever names a session that it does not know.
    to_strangers: fn(&Value) -> Response,
    known: Mutex<Vec<String>>,
    begun: AtomicUsize,
    refused: Notify,
    ended: Notify,
    waits: Notify,
    go_on: Notify,
}

fn id_less(_: &Value) -> Response {
    no_session(&Value::Null)
}

/// As servers made with the TypeScript SDK's example do.
fn no_session(id: &Value) -> Response {
    let error = json!({"code": -32000, "message": "Bad Request: No valid session ID provided"});
    (StatusCode::BAD_REQUEST, Json(json!({"jsonrpc": "2.0", "error": error, "id": id}))).into_response()
}

fn in_words(_: &Value) -> Response {
    (StatusCode::BAD_REQUEST, "Bad Request: No valid session ID provided").into_response()
}

fn result(id: &Value, result: &Value) -> Response {
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}

fn text(id: &Value, text: &str) -> Response {
    result(id, &json!({"content": [{"type": "text", "text": text}]}))
}

impl Forgetful {
    async fn serve(to_strangers: fn(&Value) -> Response) -> (McpServer, Arc<Self>) {
        let forgetful = Arc::new(Self {
            to_strangers,
            known: Mutex::default(),
            begun: AtomicUsize::new(0),
            refused: Notify::new(),
            ended: Notify::new(),
            waits: Notify::new(),
            go_on: Notify::new(),
        });
        let router = Router::new().route("/mcp", post(Self::post).delete(Self::delete));
        let url = format!("http://{}/mcp", serve(router.with_state(Arc::clone(&forgetful))).await);
        let config = McpServerConfig { cache_seconds: 0, timeout_seconds: None, ..config(&url) };
        (McpServer::new("forgetful", &config, &secrets()).unwrap(), forgetful)
    }

    fn forget(&self) {
        self.known.lock().unwrap().clear();
    }

    fn sessions(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    async fn delete(State(forgetful): State<Arc<Self>>) {
        forgetful.ended.notify_one();
    }

    async fn post(State(forgetful): State<Arc<Self>>, headers: HeaderMap, Json(message): Json<Value>) -> Response {
        let id = &message["id"];
        if message["method"] == "initialize" {
            return forgetful.begin(id);
        }
        if !forgetful.knows(&headers) {
            forgetful.refused.notify_one();
            return (forgetful.to_strangers)(id);
        }
        match message["method"].as_str() {
            _ if id.is_null() => StatusCode::ACCEPTED.into_response(),
            Some("tools/list") => result(id, &json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}]})),
            _ => forgetful.call(id, message["params"]["name"].as_str().unwrap()).await,
        }
    }

    fn begin(&self, id: &Value) -> Response {
        let session = format!("session-{}", self.begun.fetch_add(1, Ordering::SeqCst));
        self.known.lock().unwrap().push(session.clone());
        let about = json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "forgetful", "version": "1"},
        });
        ([(SESSION, session)], result(id, &about)).into_response()
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let session = headers.get(SESSION).and_then(|session| session.to_str().ok()).unwrap_or_default();
        self.known.lock().unwrap().iter().any(|known| known == session)
    }

    async fn call(&self, id: &Value, tool: &str) -> Response {
        match tool {
            "wait" => {
                self.waits.notify_one();
                self.go_on.notified().await;
                text(id, "waited")
            }
            "busy" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            "locked" => (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")]).into_response(),
            "long" => text(id, &"x".repeat(LONG)),
            "page" => ([(CONTENT_TYPE, "text/html")], "<h1>Welcome</h1>").into_response(),
            "endless" => {
                ([(CONTENT_TYPE, "text/event-stream")], format!("data: {}\n\n", "x".repeat(LONG))).into_response()
            }
            "broken" => result(id, &json!({"tools": []})),
            tool => text(id, tool),
        }
    }
}

/// A call of a tool that may not be run twice, so that nothing is tried again.
async fn call(server: &McpServer, tool: &'static str) -> ToolOutcome {
    let mut registry = ToolRegistry::new();
    registry.register(McpTool::new(&server.0, &listing(tool, ToolAnnotations::new()))).unwrap();
    registry.execute(tool, "{}", &context(), &[tool.to_owned()]).await.outcome
}

fn completed(text: &str) -> ToolOutcome {
    ToolOutcome::Completed(text.to_owned())
}

/// A call that the server has begun, and ends when it is told to go on.
async fn waiting(server: &McpServer, forgetful: &Forgetful) -> JoinHandle<ToolOutcome> {
    let server = server.clone();
    let call = tokio::spawn(async move { call(&server, "wait").await });
    forgetful.waits.notified().await;
    call
}

/// Lets time pass for whoever waits already.
async fn pass(time: Duration) {
    time::pause();
    time::advance(time).await;
    time::resume();
}

#[tokio::test]
async fn a_server_that_forgot_its_session_is_listed_by_a_new_connection() {
    for to_strangers in [no_session, in_words] {
        let (server, forgetful) = Forgetful::serve(to_strangers).await;
        for sessions in 1..=3 {
            assert_eq!(server.tools().await.unwrap().len(), 1);
            assert_eq!(forgetful.sessions(), sessions);
            forgetful.forget();
        }
    }
}

#[tokio::test]
async fn a_server_that_no_longer_answers_is_listed_by_a_new_connection() {
    let (server, forgetful) = Forgetful::serve(id_less).await;
    assert_eq!(server.tools().await.unwrap().len(), 1);
    forgetful.forget();
    let (listed, ()) = tokio::join!(time::timeout(LIST_TIMEOUT, server.tools()), async {
        forgetful.refused.notified().await;
        pass(LIST_TIMEOUT / 2).await;
    });
    assert_eq!((listed.unwrap().unwrap().len(), forgetful.sessions()), (1, 2));
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_session_leaves_a_new_connection_to_the_next() {
    for to_strangers in [no_session, in_words] {
        let (server, forgetful) = Forgetful::serve(to_strangers).await;
        assert_eq!(call(&server, "look").await, completed("look"));
        forgetful.forget();
        let told = call(&server, "look").await.for_model();
        assert!(told.contains("MCP server `forgetful` refused the call: "), "{told}");
        assert!(told.contains("No valid session ID provided"), "{told}");
        assert_eq!((call(&server, "look").await, forgetful.sessions()), (completed("look"), 2));
    }
}

#[tokio::test]
async fn a_call_whose_time_is_over_leaves_a_new_connection_to_the_next() {
    let (server, forgetful) = Forgetful::serve(id_less).await;
    assert_eq!(call(&server, "look").await, completed("look"));
    forgetful.forget();
    let (late, ()) = tokio::join!(call(&server, "look"), async {
        forgetful.refused.notified().await;
        pass(DEFAULT_TIMEOUT).await;
    });
    assert!(late.for_model().contains("\"phase\":\"timeout\""), "{late:?}");
    assert_eq!((call(&server, "look").await, forgetful.sessions()), (completed("look"), 2));
}

#[tokio::test]
async fn a_call_that_is_cancelled_says_nothing_of_its_connection() {
    let (server, forgetful) = Forgetful::serve(no_session).await;
    let mut registry = ToolRegistry::new();
    registry.register(McpTool::new(&server.0, &listing("wait", ToolAnnotations::new()))).unwrap();
    let context = context();
    let allowed = ["wait".to_owned()];
    let (execution, ()) = tokio::join!(registry.execute("wait", "{}", &context, &allowed), async {
        forgetful.waits.notified().await;
        context.cancel.cancel();
    });
    assert!(matches!(execution.ending, tools::Ending::Cancelled), "{execution:?}");
    assert_eq!((call(&server, "look").await, forgetful.sessions()), (completed("look"), 1));
}

#[tokio::test]
async fn a_call_that_fails_leaves_those_beside_it_alone() {
    let (server, forgetful) = Forgetful::serve(no_session).await;
    for (tool, told) in [
        ("busy", "MCP server `forgetful` answered with HTTP 503"),
        ("locked", "MCP server `forgetful` does not let us in"),
        ("long", "MCP server `forgetful` answered with more than 1048576 bytes"),
        ("page", "MCP server `forgetful` answered with text/html"),
        ("broken", "MCP server `forgetful` gave no answer that can be read"),
    ] {
        let beside = waiting(&server, &forgetful).await;
        let failed = call(&server, tool).await.for_model();
        assert!(failed.contains(told), "{tool}: {failed}");
        forgetful.go_on.notify_one();
        assert_eq!(beside.await.unwrap(), completed("waited"), "beside `{tool}`");
    }
    assert_eq!(forgetful.sessions(), 1, "an answer, whatever it is, came over a connection that works");
}

/// As a program's.
#[tokio::test]
async fn what_cannot_be_forgotten_is_not_doubted() {
    let (server, _) = Forgetful::serve(no_session).await;
    for (can_be_forgotten, is_usable) in [(true, false), (false, true)] {
        let listener = Listener { has_changed: Arc::default() };
        let connection = Connection::new(server.0.transport.connect(listener).await.unwrap(), can_be_forgotten);
        drop(Waiting::on(&connection, &CancellationToken::new()));
        assert_eq!(connection.is_usable(), is_usable);
        connection.give_up();
        assert!(!connection.is_usable());
    }
}

#[tokio::test]
async fn a_stream_that_brings_more_than_is_taken_ends_its_call_and_no_other() {
    let (server, forgetful) = Forgetful::serve(no_session).await;
    let beside = waiting(&server, &forgetful).await;
    let told = call(&server, "endless").await.for_model();
    assert!(told.contains("was lost, or its answer is longer than 1 MiB"), "{told}");
    forgetful.go_on.notify_one();
    assert_eq!(beside.await.unwrap(), completed("waited"));
}

#[tokio::test]
async fn a_connection_that_is_given_up_lasts_as_long_as_the_calls_on_it() {
    let (server, forgetful) = Forgetful::serve(no_session).await;
    let beside = waiting(&server, &forgetful).await;
    forgetful.forget();
    assert!(call(&server, "look").await.for_model().contains("No valid session ID"));
    assert_eq!((call(&server, "look").await, forgetful.sessions()), (completed("look"), 2));
    forgetful.go_on.notify_one();
    assert_eq!(beside.await.unwrap(), completed("waited"));
    forgetful.ended.notified().await;
    assert_eq!((call(&server, "look").await, forgetful.sessions()), (completed("look"), 2), "the new one stays");
}

#[tokio::test]
async fn a_list_that_has_changed_is_not_believed_until_it_is_there_anew() {
    let (url, seen) = weather().await;
    let server = server(&url);
    assert_eq!(server.tools().await.unwrap().len(), 7);
    server.0.has_changed.store(true, Ordering::SeqCst);
    seen.refuses.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(server.tools().await.is_err());
    }
    seen.refuses.store(false, Ordering::SeqCst);
    assert_eq!(server.tools().await.unwrap().len(), 7);
}
