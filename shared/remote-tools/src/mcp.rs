//! MCP servers, spoken to through the official SDK: their tools are listed and called, and nothing else of the protocol
//! is offered (no sampling, no roots, no elicitation: nobody is there to answer).
//!
//! One connection serves all jobs of a process; it is made when a tool is first needed, and made anew after it was lost
//! or may have been.
//! A call that is given up (its time is over, its job is cancelled) is cancelled at the server as well: the SDK sends
//! `notifications/cancelled` when the waiting ends.

mod connection;
mod failure;
mod reply;
mod transport;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use rmcp::{
    ClientHandler, RoleClient,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation, ToolAnnotations,
    },
    service::NotificationContext,
};
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{self, Instant},
};
use tools::{Sent, Source, Tool, ToolContext, ToolError, ToolReply, ToolServer, config::McpServerConfig};

use self::{
    connection::{Connection, Waiting},
    transport::Transport,
};
use crate::{SetupError, secrets::Secrets};

/// Characters of a description that the model reads: servers write them, and each turn pays for them.
const DESCRIPTION_CHARS: usize = 4_000;
/// How long a connection that is there already may take to list the tools. A new one has the rest of
/// [`tools::limits::LIST_TIMEOUT`], which is the larger part: a server may have to be started for it.
const LIST_AGAIN: Duration = Duration::from_secs(3);

/// A configured server. Clones share its connection and its list.
#[derive(Clone)]
pub(crate) struct McpServer(Arc<Shared>);

struct Shared {
    name: String,
    transport: Transport,
    timeout: Duration,
    approval: ApprovalRule,
    cache: Duration,
    connection: Mutex<Option<Arc<Connection>>>,
    listed: Mutex<Option<Listed>>,
    has_changed: Arc<AtomicBool>,
}

struct Listed {
    at: Instant,
    tools: Vec<rmcp::model::Tool>,
}

impl McpServer {
    pub(crate) fn new(name: &str, config: &McpServerConfig, secrets: &Secrets) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Shared {
            name: name.to_owned(),
            transport: Transport::new(config, secrets)?,
            timeout: config.timeout(),
            approval: config.approval.clone(),
            cache: Duration::from_secs(config.cache_seconds),
            connection: Mutex::new(None),
            listed: Mutex::new(None),
            has_changed: Arc::new(AtomicBool::new(false)),
        })))
    }
}

#[async_trait]
impl ToolServer for McpServer {
    async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, Source> {
        let mut listed = self.0.listed.lock().await;
        if self.0.has_changed.swap(false, Ordering::Relaxed) {
            *listed = None;
        }
        if listed.as_ref().is_none_or(|listed| listed.at.elapsed() >= self.0.cache) {
            *listed = Some(Listed { tools: self.0.list().await?, at: Instant::now() });
        }
        let tools = listed.iter().flat_map(|listed| &listed.tools);
        Ok(tools.map(|tool| Arc::new(McpTool::new(&self.0, tool)) as Arc<dyn Tool>).collect())
    }
}

impl Shared {
    /// The connection that is there already, if it may be used again.
    async fn there(&self) -> Option<Arc<Connection>> {
        self.connection.lock().await.clone().filter(|there| there.is_usable())
    }

    /// The connection, made when there is none.
    async fn connected(&self) -> Result<Arc<Connection>, Source> {
        let mut connection = self.connection.lock().await;
        if let Some(there) = connection.take().filter(|there| there.is_usable()) {
            return Ok(Arc::clone(connection.insert(there)));
        }
        let listener = Listener { has_changed: Arc::clone(&self.has_changed) };
        let made = self.transport.connect(listener).await?;
        let made = Connection::new(made, self.transport.can_be_forgotten());
        Ok(Arc::clone(connection.insert(Arc::new(made))))
    }

    async fn list(&self) -> Result<Vec<rmcp::model::Tool>, Source> {
        if let Some(there) = self.there().await {
            if let Ok(Ok(tools)) = time::timeout(LIST_AGAIN, there.list_all_tools()).await {
                return Ok(tools);
            }
            // Its server may have forgotten it since its last use, and not say so; a new one says more.
            there.give_up();
        }
        Ok(self.connected().await?.list_all_tools().await?)
    }
}

/// What the server may tell us: that its list has changed.
struct Listener {
    has_changed: Arc<AtomicBool>,
}

impl ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.has_changed.store(true, Ordering::Relaxed);
    }

    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(ClientCapabilities::default(), Implementation::new("nightshift", env!("CARGO_PKG_VERSION")))
    }
}

/// A tool of a server.
struct McpTool {
    server: Arc<Shared>,
    spec: ToolSpec,
    replay: Replay,
}

impl McpTool {
    fn new(server: &Arc<Shared>, tool: &rmcp::model::Tool) -> Self {
        let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
        let spec = ToolSpec {
            name: tool.name.to_string(),
            description: description.chars().take(DESCRIPTION_CHARS).collect(),
            parameters: Value::Object((*tool.input_schema).clone()),
        };
        Self { server: Arc::clone(server), spec, replay: replay(tool.annotations.as_ref()) }
    }
}

/// What a server says of its tool is believed: whoever configured the server trusts it. What it does not say is taken for
/// the worst.
fn replay(annotations: Option<&ToolAnnotations>) -> Replay {
    let says = |hint: fn(&ToolAnnotations) -> Option<bool>| annotations.and_then(hint) == Some(true);
    if says(|hints| hints.read_only_hint) || says(|hints| hints.idempotent_hint) { Replay::Safe } else { Replay::Never }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn replay(&self) -> Replay {
        self.replay
    }

    fn timeout(&self) -> Duration {
        self.server.timeout
    }

    fn approval(&self) -> ApprovalRule {
        self.server.approval.clone()
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError> {
        let name = &self.server.name;
        let connection = self.server.connected().await.map_err(|source| ToolError::Network {
            message: format!("MCP server `{name}` cannot be reached"),
            sent: Sent::Nothing,
            source: Some(source),
        })?;
        let mut request = CallToolRequestParams::new(self.spec.name.clone());
        if let Value::Object(arguments) = arguments {
            request = request.with_arguments(arguments);
        }
        let waiting = Waiting::on(&connection, &context.cancel);
        match waiting.until(connection.call_tool_once(request)).await {
            Ok(CallToolResponse::Complete(result)) => reply::reply(result),
            Ok(_) => Err(ToolError::RespondToModel(format!(
                "MCP server `{name}` wants to be answered by a person before this tool ends, which a background job cannot do"
            ))),
            Err(error) => Err(failure::failure(name, error, &connection)),
        }
    }
}

#[cfg(test)]
mod tests;
