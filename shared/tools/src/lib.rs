//! What a job can do besides talking: tools, and the registry that runs them so that none can hurt the job.
//!
//! A *tool* is a named function that the model may ask for: a description, a JSON schema of its arguments, and code. The
//! tool owns what it does and how it says that it failed ([`ToolError`]). The [registry](ToolRegistry) owns everything
//! that must hold for every tool: names, argument checks, time-outs, cancelling, panics, sizes, the one retry after a
//! network failure. What a call *means* to the job (records, recovery, events) belongs to `domain` and `engine`;
//! nothing here knows a database, a queue or a model.
//!
//! # Adding a tool
//!
//! One file and one line (R103): `README.md` beside this package's manifest is a page about it, with a whole tool. A tool
//! whose schema is only known at run time (an MCP server's, a caller's) implements [`Tool`] itself.
//!
//! Tools that reach out (`http_get`, `web_search`, a deployment's own addresses and functions, MCP servers) are known here
//! by name and schema alone ([`config`], [`Declared`]); `remote-tools` has the code behind them. So a function that only
//! checks which tools a job names links no HTTP client.
//!
//! Secrets that a tool needs are handed to it when it is constructed, from the deployment's configuration (R145); the
//! context of a call carries none.

mod arguments;
pub mod builtin;
mod call;
mod client;
pub mod config;
mod context;
mod declared;
mod error;
pub mod fingerprint;
pub mod limits;
mod registry;
mod server;
mod typed;

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use serde::Serialize;
use serde_json::Value;

pub use self::{
    arguments::{InvalidSchema, matches},
    call::{CheckedCall, Ending, Execution},
    client::ClientTool,
    context::ToolContext,
    declared::Declared,
    error::{Sent, Source, ToolError},
    registry::{RegisterError, RegisteredTool, ToolRegistry},
    server::ToolServer,
    typed::TypedTool,
};

/// Something that the model may ask for. Most tools implement [`TypedTool`] instead and get this from it.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Name, description and the schema of the arguments. Read once, when the tool is registered.
    fn spec(&self) -> ToolSpec;

    /// What may be done with a call that was started and never finished. `Safe` and `WithKey` also allow the one retry
    /// after a network failure.
    fn replay(&self) -> Replay {
        Replay::Never
    }

    /// How long a call may run before it is aborted (R45).
    fn timeout(&self) -> Duration {
        limits::DEFAULT_TIMEOUT
    }

    /// Which calls need a person's approval, unless the job says otherwise.
    fn approval(&self) -> ApprovalRule {
        ApprovalRule::NEVER
    }

    /// Where it can run (R52, R151).
    fn runs_on(&self) -> RunsOn {
        RunsOn::Either
    }

    /// Does it. The arguments have been checked against the schema.
    ///
    /// The future is dropped when the call's time is over or the job is cancelled, wherever it is waiting; work that it
    /// handed to other tasks must watch `context.cancel`. It must not block: a future that does not yield cannot be
    /// stopped.
    ///
    /// # Errors
    /// See [`ToolError`] for which error to answer with.
    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError>;
}

/// Where a tool can run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunsOn {
    /// Here only.
    Server,
    /// Only where the caller is (a browser, a phone): a job in the background cannot run it.
    Client,
    /// Here as well as there: what a tool is that says nothing (R151).
    #[default]
    Either,
}

/// What a tool answers: text for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolReply(String);

impl ToolReply {
    /// An answer in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An answer as JSON text.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, which is the tool's own mistake and so fatal.
    pub fn json(value: &impl Serialize) -> Result<Self, ToolError> {
        serde_json::to_string(value).map(Self).map_err(|error| ToolError::Fatal(error.into()))
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// The page about writing a tool is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
