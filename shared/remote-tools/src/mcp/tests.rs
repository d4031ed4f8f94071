//! Against a server made with the same SDK, over real HTTP.

mod connections;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Router, http::HeaderMap, middleware};
use domain::{job::ToolRef, tool_call::ToolOutcome};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        Tool as Listing,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::json;
use tokio::sync::Notify;
use tools::ToolRegistry;

use super::*;
use crate::far_side::{context, context_for, serve};

/// What the server sees.
#[derive(Default)]
struct Seen {
    lists: AtomicUsize,
    cancelled: Notify,
    started: Notify,
    was_cancelled: AtomicBool,
    refuses: AtomicBool,
}

#[derive(Clone)]
struct Weather(Arc<Seen>);

fn listing(name: &'static str, hints: ToolAnnotations) -> Listing {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let Value::Object(schema) = schema else { unreachable!() };
    Listing::new(name, "Of the weather.", schema).with_annotations(hints)
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.lists.fetch_add(1, Ordering::SeqCst);
        let hints = ToolAnnotations::new;
        Ok(ListToolsResult::with_all_items(vec![
            listing("forecast", hints().read_only(true)),
            listing("order_sun", hints().idempotent(true)),
            listing("order_rain", hints()),
            listing("hang", hints().read_only(true)),
            listing("fail", hints()),
            listing("refuse", hints()),
            listing("calculate", hints()),
        ]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let city = request.arguments.as_ref().and_then(|arguments| arguments.get("city")).and_then(Value::as_str);
        match &*request.name {
            "hang" => {
                self.0.started.notify_one();
                context.ct.cancelled().await;
                self.0.was_cancelled.store(true, Ordering::SeqCst);
                self.0.cancelled.notify_one();
                Ok(CallToolResult::success(vec![]).into())
            }
            "fail" => Ok(CallToolResult::error(vec![ContentBlock::text("no sun left")]).into()),
            "refuse" => Err(ErrorData::invalid_params("no such city", None)),
            name => {
                Ok(CallToolResult::success(vec![ContentBlock::text(format!("{name}: {}", city.unwrap_or("?")))]).into())
            }
        }
    }
}

/// Where a server answers, and what it sees. It wants a token.
async fn weather() -> (String, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let handler = Weather(Arc::clone(&seen));
    let http: StreamableHttpService<Weather, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), StreamableHttpServerConfig::default());
    let refuses = Arc::clone(&seen);
    let wants_a_token = middleware::from_fn(move |headers: HeaderMap, request, next: middleware::Next| {
        let refuses = refuses.refuses.load(Ordering::SeqCst);
        async move {
            if refuses || headers.get("authorization").is_none_or(|value| value != "Bearer hunter2") {
                return axum::response::IntoResponse::into_response(axum::http::StatusCode::SERVICE_UNAVAILABLE);
            }
            next.run(request).await
        }
    });
    let router = Router::new().nest_service("/mcp", http).layer(wants_a_token);
    (format!("http://{}/mcp", serve(router).await), seen)
}

fn config(url: &str) -> McpServerConfig {
    serde_json::from_value(json!({
        "url": url, "headers": {"Authorization": "Bearer ${TOKEN}"}, "allow_private": true, "timeout_seconds": 5,
        "approval": "always",
    }))
    .unwrap()
}

fn secrets() -> Secrets {
    Secrets::new(Some(r#"{"TOKEN": "hunter2"}"#), |_| None).unwrap()
}

fn server(url: &str) -> McpServer {
    McpServer::new("weather", &config(url), &secrets()).unwrap()
}

/// A registry with the server's tools, as a job gets them.
async fn registry(server: &McpServer) -> (ToolRegistry, Vec<String>) {
    let mut registry = tools::builtin::builtin(crate::far_side::clock());
    registry.register_server("weather", server.clone());
    let names = registry.add_served(&[ToolRef::Mcp { server: "weather".to_owned(), tools: None }]).await;
    (registry, names)
}

async fn run(registry: &ToolRegistry, names: &[String], tool: &str) -> ToolOutcome {
    registry.execute(tool, r#"{"city": "Oslo"}"#, &context(), names).await.outcome
}

#[tokio::test]
async fn a_servers_tools_are_listed_called_and_told_apart_by_what_they_may_do() {
    let (url, _) = weather().await;
    let (registry, names) = registry(&server(&url)).await;
    assert_eq!(names, ["forecast", "order_sun", "order_rain", "hang", "fail", "refuse", "weather__calculate"]);
    assert_eq!(run(&registry, &names, "forecast").await, ToolOutcome::Completed("forecast: Oslo".to_owned()));
    assert_eq!(
        run(&registry, &names, "weather__calculate").await,
        ToolOutcome::Completed("calculate: Oslo".to_owned()),
        "the server knows its own name of the tool"
    );
    let replay = |name| registry.replay(name);
    assert_eq!(
        [replay("forecast"), replay("order_sun"), replay("order_rain")],
        [Replay::Safe, Replay::Safe, Replay::Never]
    );
    let forecast = registry.get("forecast").unwrap();
    assert_eq!((forecast.timeout(), forecast.approval()), (Duration::from_secs(5), ApprovalRule::ALWAYS));
}

#[tokio::test]
async fn errors_are_told_to_the_model() {
    let (url, _) = weather().await;
    let (registry, names) = registry(&server(&url)).await;
    let told = async |tool| run(&registry, &names, tool).await.for_model();
    assert!(told("fail").await.contains("no sun left"));
    assert!(told("refuse").await.contains("MCP server `weather` refused the call: no such city"));
}

#[tokio::test]
async fn a_list_is_believed_for_a_while_and_then_asked_for_again() {
    let (url, seen) = weather().await;
    let believing = server(&url);
    for _ in 0..3 {
        assert_eq!(believing.tools().await.unwrap().len(), 7);
    }
    assert_eq!(seen.lists.load(Ordering::SeqCst), 1);
    let doubting = McpServerConfig { cache_seconds: 0, ..config(&url) };
    let doubting = McpServer::new("weather", &doubting, &secrets()).unwrap();
    for _ in 0..3 {
        assert_eq!(doubting.tools().await.unwrap().len(), 7);
    }
    assert_eq!(seen.lists.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_an_error_and_is_cancelled_at_the_server() {
    let (url, seen) = weather().await;
    let (registry, names) = registry(&server(&url)).await;
    let short = context_for(Duration::from_millis(300));
    let execution = registry.execute("hang", "{}", &short, &names).await;
    assert!(execution.outcome.for_model().contains("\"phase\":\"timeout\""), "{execution:?}");
    seen.cancelled.notified().await;
}

#[tokio::test]
async fn a_jobs_cancelling_is_passed_on_to_the_server() {
    let (url, seen) = weather().await;
    let (registry, names) = registry(&server(&url)).await;
    let context = context();
    let cancel = context.cancel.clone();
    let (execution, ()) = tokio::join!(registry.execute("hang", "{}", &context, &names), async {
        seen.started.notified().await;
        assert!(!seen.was_cancelled.load(Ordering::SeqCst));
        cancel.cancel();
    });
    assert!(matches!(execution.ending, tools::Ending::Cancelled), "{execution:?}");
    seen.cancelled.notified().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_absent_and_comes_back() {
    let (url, seen) = weather().await;
    let server = server(&url);
    seen.refuses.store(true, Ordering::SeqCst);
    let (absent, names) = registry(&server).await;
    assert_eq!((names.len(), absent.absent()), (0, &["weather".to_owned()][..]));
    seen.refuses.store(false, Ordering::SeqCst);
    let (present, names) = registry(&server).await;
    assert_eq!((names.len(), present.absent().len()), (7, 0));
    // And goes away between the list and the call.
    seen.refuses.store(true, Ordering::SeqCst);
    let told = run(&present, &names, "forecast").await.for_model();
    assert!(told.contains("network failure"), "{told}");
    seen.refuses.store(false, Ordering::SeqCst);
    assert_eq!(run(&present, &names, "forecast").await, ToolOutcome::Completed("forecast: Oslo".to_owned()));
}

#[tokio::test]
async fn a_servers_private_address_is_refused_unless_the_deployment_says_so() {
    let public_only = McpServerConfig { allow_private: false, ..config("http://127.0.0.1:1/mcp") };
    let error = McpServer::new("weather", &public_only, &secrets()).err().unwrap();
    assert_eq!(error.to_string(), "an address of the tools cannot be used: 127.0.0.1 is loopback");
    let (url, seen) = weather().await;
    let by_name = url.replace("127.0.0.1", "localhost");
    let by_name = McpServer::new("weather", &McpServerConfig { allow_private: false, ..config(&by_name) }, &secrets());
    assert!(by_name.unwrap().tools().await.is_err());
    assert_eq!(seen.lists.load(Ordering::SeqCst), 0);
}

#[test]
fn a_child_process_is_started_only_where_that_is_turned_on() {
    let config = McpServerConfig {
        url: None,
        command: vec!["true".to_owned()],
        headers: BTreeMap::new(),
        ..config("http://127.0.0.1:1/")
    };
    assert_eq!(McpServer::new("x", &config, &secrets()).is_ok(), cfg!(feature = "stdio"));
}
