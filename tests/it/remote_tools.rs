//! Tools that reach out, in whole jobs: an MCP server made with the official SDK, and an address that calls are posted to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::IntoResponse,
    routing::post,
};
use local::demo_model::{Call, Fault, Script, Turn};
use remote_tools::{Parts, Secrets};
use reqwest::Method;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{StreamableHttpService, session::local::LocalSessionManager},
};
use serde_json::{Value, json};
use tests::{
    System,
    documents::{agent, chain},
};
use tokio::net::TcpListener;
use tools::config::ToolsConfig;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[derive(Clone)]
struct Library;

impl ServerHandler for Library {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let Value::Object(schema) = json!({"type": "object", "properties": {"title": {"type": "string"}}}) else {
            unreachable!()
        };
        let tool = |name: &'static str| Tool::new(name, "Of the library.", schema.clone());
        Ok(ListToolsResult::with_all_items(vec![tool("find"), tool("lend"), tool("calculate")]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let title = request.arguments.as_ref().and_then(|arguments| arguments["title"].as_str()).unwrap_or_default();
        Ok(CallToolResult::success(vec![ContentBlock::text(format!("{}: {title}", request.name))]).into())
    }
}

/// A library's address, and the switch that closes it.
async fn library() -> (SocketAddr, Arc<AtomicBool>) {
    let is_closed = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&is_closed);
    let http: StreamableHttpService<Library, LocalSessionManager> =
        StreamableHttpService::new(|| Ok(Library), Arc::default(), Default::default());
    let gate = middleware::from_fn(move |request, next: Next| {
        let is_closed = closed.load(Ordering::SeqCst);
        async move { if is_closed { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { next.run(request).await } }
    });
    (serve(Router::new().nest_service("/mcp", http).layer(gate)).await, is_closed)
}

/// A system with the tools of this configuration.
async fn system(config: Value) -> System {
    let config = ToolsConfig::parse(&config.to_string()).unwrap();
    let parts = Parts {
        secrets: Secrets::new(Some(r#"{"TICKETS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#), |_| None).unwrap(),
        functions: None,
        clock: Arc::new(|| domain::time::Timestamp::from_millis(1_763_800_000_000)),
    };
    System::with(|options| remote_tools::register(&mut options.tools, &config, &parts).unwrap()).await
}

async fn system_with_library() -> (System, Arc<AtomicBool>) {
    let (address, is_closed) = library().await;
    let url = format!("http://{address}/mcp");
    let config = json!({"mcp_servers": {"library": {"url": url, "allow_private": true, "cache_seconds": 0}}});
    (system(config).await, is_closed)
}

fn names_of(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_job_uses_the_tools_of_an_mcp_server_that_it_names() {
    let (system, _) = system_with_library().await;
    let script = Script::new()
        .turn(Turn::calls([
            Call::new("find", r#"{"title": "Momo"}"#),
            Call::new("library__calculate", r#"{"title": "a fine"}"#),
        ]))
        .turn(Turn::text("Found."));
    system.model.script("Find it", script);
    let job =
        system.submit(json!({"input": "Find it", "tools": ["calculate", {"type": "mcp", "server": "library"}]})).await;
    let job = system.finished(&job).await;
    let results: Vec<_> = job["tool_calls"].as_array().unwrap().iter().map(|call| call["result"].clone()).collect();
    assert_eq!(results, ["find: Momo", "calculate: a fine"], "{job}");
    assert_eq!(names_of(&system.model.requests()[0].body), ["calculate", "find", "lend", "library__calculate"]);
}

/// R98: a flag of the deployment's gates a tool, a built-in one as well as a server's.
#[tokio::test]
async fn a_tool_that_the_deployment_switches_off_is_listed_and_neither_offered_nor_run_r98() {
    let (address, _) = library().await;
    let library = json!({"url": format!("http://{address}/mcp"), "allow_private": true});
    let off = ["calculate", "library__lend"];
    let system = system(json!({"mcp_servers": {"library": library}, "disabled": off})).await;
    let listed = system.get("/tools").await;
    let enabled =
        |name| listed["data"].as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap()["enabled"] == true;
    assert_eq!([enabled("calculate"), enabled("get_current_time")], [false, true]);
    let script = Script::new()
        .turn(Turn::calls([Call::new("calculate", r#"{"expression": "6 * 7"}"#), Call::new("lend", "{}")]))
        .turn(Turn::text("Neither."));
    system.model.script("Reckon and lend", script);
    let tools =
        json!(["calculate", "get_current_time", {"type": "mcp", "server": "library", "tools": ["find", "lend"]}]);
    let job = system.submit(json!({"input": "Reckon and lend", "tools": tools})).await;
    let job = system.finished(&job).await;
    let statuses: Vec<_> = job["tool_calls"].as_array().unwrap().iter().map(|call| call["status"].clone()).collect();
    assert_eq!(statuses, ["skipped", "skipped"], "{job}");
    assert_eq!(names_of(&system.model.requests()[0].body), ["get_current_time", "find"]);
}

#[tokio::test]
async fn a_retried_job_has_the_tools_of_its_servers() {
    let (system, _) = system_with_library().await;
    let script = Script::new()
        .turn(Turn::calls([Call::new("find", r#"{"title": "Momo"}"#)]))
        .turn(Turn::calls([Call::new("find", r#"{"title": "Jim"}"#)]).fault(Fault::Status(401, "no")))
        .turn(Turn::text("Found both."));
    system.model.script("Find two", script);
    let job = json!({"input": "Find two", "tools": [{"type": "mcp", "server": "library", "tools": ["find"]}]});
    let job = system.submit(job).await;
    let job = system.finished(&job).await;
    assert_eq!(job["status"], "failed", "{job}");
    let (status, again) = system.post(&format!("/jobs/{}/retry", job["id"].as_str().unwrap())).await;
    assert_eq!(status, 202, "{again}");
    let again = system.finished(&again).await;
    assert_eq!(
        (again["status"].as_str(), again["output"].as_str()),
        (Some("completed"), Some("Found both.")),
        "{again}"
    );
    let results: Vec<_> = again["tool_calls"].as_array().unwrap().iter().map(|call| call["result"].clone()).collect();
    assert_eq!(results, ["find: Jim"], "what was found before is kept, and not looked for again");
    let told = system.model.requests().last().unwrap().messages().to_vec();
    assert_eq!(told[2]["content"], "find: Momo");
}

#[tokio::test]
async fn a_workflows_agent_names_a_tool_of_a_server() {
    let (system, _) = system_with_library().await;
    let script =
        Script::new().turn(Turn::calls([Call::new("find", r#"{"title": "Momo"}"#)])).turn(Turn::text("Found."));
    system.model.script_model("test/one", script);
    let named = |tool: &str| chain(&[agent("one", json!({"tools": [tool]}))]);
    let served = json!([{"type": "mcp", "server": "library", "tools": ["find"]}]);
    let job = system.submit(json!({"input": "Go", "workflow": named("find"), "tools": served})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["output"].as_str(), job["tool_calls"][0]["result"].as_str()), (Some("Found."), Some("find: Momo")));
    assert_eq!(names_of(&system.model.requests()[0].body), ["find"]);
    for unknown in ["lend", "library"] {
        let body = json!({"input": "Go", "workflow": named(unknown), "tools": served});
        let (status, error) = system.answer(system.request(Method::POST, "/jobs").json(&body)).await;
        assert_eq!((status.as_u16(), error["error"]["details"][0]["code"].as_str()), (400, Some("UNKNOWN_TOOL")));
    }
}

#[tokio::test]
async fn a_job_gets_only_the_tools_that_it_names_of_a_server() {
    let (system, _) = system_with_library().await;
    let script = Script::new().turn(Turn::calls([Call::new("lend", "{}")])).turn(Turn::text("No."));
    system.model.script("Lend it", script);
    let mcp = json!({"type": "mcp", "server": "library", "tools": ["find"]});
    let job = system.submit(json!({"input": "Lend it", "tools": [mcp]})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["tool_calls"][0]["error"]["phase"], "validation", "{job}");
    assert_eq!(names_of(&system.model.requests()[0].body), ["find"]);
}

#[tokio::test]
async fn a_job_goes_on_without_a_server_that_does_not_answer_and_the_model_is_told() {
    let (system, is_closed) = system_with_library().await;
    is_closed.store(true, Ordering::SeqCst);
    system.model.script("Anything", Script::new().turn(Turn::text("The library is closed.")));
    let tools = json!(["calculate", {"type": "mcp", "server": "library"}]);
    let job = system.submit(json!({"input": "Anything", "instructions": "Be brief.", "tools": tools})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("The library is closed.")));
    let requests = system.model.requests();
    let messages = requests[0].messages();
    assert_eq!(
        (&messages[0]["content"], &messages[1]["content"]),
        (
            &json!("Be brief."),
            &json!(
                "Some tools are missing for now, because their servers do not answer: those of library. Do without \
                 them, or say what could not be done."
            )
        )
    );
    assert_eq!(names_of(&requests[0].body), ["calculate"]);
}

#[tokio::test]
async fn a_server_that_the_deployment_does_not_have_is_refused_at_the_start() {
    let (system, _) = system_with_library().await;
    let body = json!({"input": "Hello", "tools": [{"type": "mcp", "server": "librarian"}]});
    let (status, answer) = system.answer(system.request(reqwest::Method::POST, "/jobs").json(&body)).await;
    assert_eq!(status, 400);
    assert!(
        answer.to_string().contains("This deployment has no MCP server `librarian`; it has `library`."),
        "{answer}"
    );
}

#[tokio::test]
async fn a_call_of_an_http_tool_is_posted_signed_and_shown_with_its_result() {
    let received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
    let kept = Arc::clone(&received);
    let hook = post(move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, body));
        r#"{"id": 7}"#
    });
    let address = serve(Router::new().route("/hook", hook)).await;
    let tool = json!({
        "name": "create_ticket", "description": "Opens a ticket.", "url": format!("http://{address}/hook"),
        "parameters": {"type": "object", "properties": {"title": {"type": "string"}}},
        "signing_secret": "TICKETS", "allow_private": true,
    });
    let system = system(json!({"tools": [tool]})).await;
    let call = Call::new("create_ticket", r#"{"title": "It rains in"}"#);
    system.model.script("Ticket", Script::new().turn(Turn::calls([call])).turn(Turn::text("Opened.")));
    let job = system.submit(json!({"input": "Ticket", "tools": ["create_ticket"]})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["tool_calls"][0]["result"], r#"{"id": 7}"#, "{job}");
    let received = received.lock().unwrap().clone();
    let (headers, body) = &received[0];
    let key = headers["idempotency-key"].to_str().unwrap();
    assert!(key.starts_with(job["id"].as_str().unwrap()) && headers["webhook-id"] == key, "{headers:?}");
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&body["job_id"], &body["tool_call_id"]), (&job["id"], &job["tool_calls"][0]["id"]));
    // Secrets reach neither the log nor the events nor the model.
    let log = system.log(&job).await;
    let requests: Vec<_> = system.model.requests().iter().map(|request| request.body.clone()).collect();
    let shown = format!("{log:?} {job} {requests:?}");
    assert!(!shown.contains("whsec_") && !shown.contains("MfKQ9r8G"), "{shown}");
    let tools = system.get("/tools").await;
    assert!(tools["data"].as_array().unwrap().iter().any(|tool| tool["name"] == "create_ticket"), "{tools}");
}
