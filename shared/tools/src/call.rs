//! One call, run: within its time, stopped when it must stop, and never able to take the job down with it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::{
    event::cut,
    tool_call::{Replay, ToolCallError, ToolErrorPhase, ToolOutcome},
};
use futures_util::FutureExt;
use serde_json::Value;
use tokio::time::{self, Instant};

use crate::{
    Sent, Source, Tool, ToolContext, ToolError, ToolReply,
    limits::{FAILURE_BYTES, RESULT_BYTES, RETRY_PAUSE},
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

    /// Runs it: within the tool's time and the context's, and no longer than the context is not cancelled. When this
    /// future is dropped, so is the tool's, and its token is cancelled.
    pub async fn run(self, context: &ToolContext) -> Execution {
        let begun = Instant::now();
        let left = context.deadline.saturating_duration_since(begun);
        if context.cancel.is_cancelled() {
            let skipped = Execution::not_run(ToolOutcome::Skipped("Cancelled before the tool was started".to_owned()));
            return Execution { ending: Ending::Cancelled, ..skipped };
        }
        if left.is_zero() {
            return Execution::not_run(failed(
                ToolErrorPhase::Timeout,
                format!("Tool `{}` was not started: the turn has no time left", self.name),
            ));
        }
        let limit = self.timeout.min(left);
        let cancel = context.cancel.child_token();
        let _stops_what_the_tool_spawned = cancel.clone().drop_guard();
        let inner = ToolContext { cancel, deadline: begun + limit, ..context.clone() };
        let attempts = AtomicU32::new(0);
        let attempted = AssertUnwindSafe(self.attempt(&inner, &attempts)).catch_unwind();
        let (outcome, ending) = tokio::select! {
            biased;
            () = context.cancel.cancelled() => (ToolOutcome::Unknown, Ending::Cancelled),
            ended = time::timeout(limit, attempted) => match ended {
                Err(_) => (self.timed_out(limit), Ending::Settled),
                Ok(Err(_panic)) => (self.panicked(), Ending::Settled), // the process's panic hook has logged it
                Ok(Ok(answer)) => self.settle(answer),
            },
        };
        Execution { outcome, ending, execution_time: begun.elapsed(), attempts: attempts.into_inner() }
    }

    /// Once, and once more after a network failure that allows it (R65).
    async fn attempt(&self, context: &ToolContext, attempts: &AtomicU32) -> Result<ToolReply, ToolError> {
        attempts.fetch_add(1, Ordering::Relaxed);
        let answer = self.tool.call(self.arguments.clone(), context).await;
        let Err(ToolError::Network { sent, .. }) = &answer else { return answer };
        if *sent == Sent::Perhaps && self.replay == Replay::Never {
            return answer;
        }
        time::sleep(RETRY_PAUSE).await;
        attempts.fetch_add(1, Ordering::Relaxed);
        self.tool.call(self.arguments.clone(), context).await
    }

    fn settle(&self, answer: Result<ToolReply, ToolError>) -> (ToolOutcome, Ending) {
        let name = &self.name;
        let outcome = match answer.map(ToolReply::into_text) {
            Ok(text) if text.len() > RESULT_BYTES => {
                let n = text.len();
                failed(
                    ToolErrorPhase::Execution,
                    format!("Tool `{name}` answered with {n} bytes; at most {RESULT_BYTES} are kept"),
                )
            }
            Ok(text) => ToolOutcome::Completed(text),
            Err(ToolError::InvalidArguments(message)) => failed(ToolErrorPhase::Validation, message),
            Err(ToolError::RespondToModel(message)) => failed(ToolErrorPhase::Execution, message),
            Err(ToolError::Network { message, sent, .. }) => {
                let doubt = if sent == Sent::Perhaps { self.doubt() } else { "" };
                failed(ToolErrorPhase::Execution, format!("Tool `{name}` had a network failure: {message}{doubt}"))
            }
            Err(ToolError::Fatal(source)) => {
                let message = format!("Tool `{name}` is out of order; this is not the fault of the call");
                return (failed(ToolErrorPhase::Execution, message), Ending::Fatal(source));
            }
        };
        (outcome, Ending::Settled)
    }

    fn timed_out(&self, limit: Duration) -> ToolOutcome {
        let (name, doubt) = (&self.name, self.doubt());
        let whose = if limit < self.timeout { "that were left of the turn" } else { "that it may take" };
        failed(ToolErrorPhase::Timeout, format!("Tool `{name}` was stopped after the {limit:?} {whose}{doubt}"))
    }

    fn panicked(&self) -> ToolOutcome {
        let (name, doubt) = (&self.name, self.doubt());
        failed(ToolErrorPhase::Execution, format!("Tool `{name}` stopped unexpectedly{doubt}"))
    }

    /// What must be added to the report of a failure in the middle of something that must not be done twice.
    fn doubt(&self) -> &'static str {
        if self.replay == Replay::Never { "; it may have taken effect, so check before repeating it" } else { "" }
    }
}

pub(crate) fn failed(phase: ToolErrorPhase, message: String) -> ToolOutcome {
    ToolOutcome::Error(ToolCallError { phase, message: shorten(message) })
}

/// Tools pass on what far sides say, which may be of any length.
fn shorten(message: String) -> String {
    if message.len() <= FAILURE_BYTES {
        return message;
    }
    let note = format!("\n[cut: it has {} bytes]", message.len());
    let (kept, _) = cut(&message, FAILURE_BYTES - note.len());
    kept + &note
}
