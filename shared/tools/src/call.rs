//! One call, run: within its time, stopped when it must stop, and never able to take the job down with it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::tool_call::{Replay, ToolCallError, ToolErrorPhase, ToolOutcome};
use futures_util::FutureExt;
use serde_json::Value;
use tokio::time::{self, Instant};

use crate::{
    Sent, Source, Tool, ToolContext, ToolError, ToolReply,
    limits::{RESULT_BYTES, RETRY_PAUSE},
    registry::RegisteredTool,
};

/// How a call went.
#[derive(Debug)]
#[must_use]
pub struct Execution {
    /// How it ended, as it is recorded and as the model reads it.
    pub outcome: ToolOutcome,
    /// How long it ran, retry included; zero when it did not run.
    pub execution_time: Duration,
    /// How often the tool was started: 0 when it was not, 2 after a retry.
    pub attempts: u32,
    /// Whether there is more to it than the outcome says.
    pub ending: Ending,
}

/// What the engine must know of a call beyond its outcome.
#[derive(Debug)]
pub enum Ending {
    /// Nothing: record the outcome and go on.
    Settled,
    /// It was stopped because its context was cancelled. The outcome says what is known of it; a tool that may be run
    /// again can be left on record as started instead, for the next worker.
    Cancelled,
    /// The tool is broken, for this reason: the job may be failed (R95). The outcome is an error that the model can read.
    Fatal(Source),
}

impl Execution {
    pub(crate) fn not_run(outcome: ToolOutcome) -> Self {
        Self { outcome, execution_time: Duration::ZERO, attempts: 0, ending: Ending::Settled }
    }
}

/// A call that may be run: the tool is there, may be used, and its arguments fit.
#[derive(Clone)]
#[must_use]
pub struct CheckedCall {
    tool: Arc<dyn Tool>,
    name: String,
    replay: Replay,
    timeout: Duration,
    arguments: Value,
}

impl CheckedCall {
    pub(crate) fn new(registered: &RegisteredTool, arguments: Value) -> Self {
        Self {
            tool: Arc::clone(&registered.tool),
            name: registered.name().to_owned(),
            replay: registered.replay(),
            timeout: registered.timeout(),
            arguments,
        }
    }

    /// The arguments as the tool gets them.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// What may be done with it when it is cut off.
    pub fn replay(&self) -> Replay {
        self.replay
    }

    /// Runs it.
    pub async fn run(self, context: &ToolContext) -> Execution {
        let _ = context;
        Execution::not_run(ToolOutcome::Unknown)
    }
}
