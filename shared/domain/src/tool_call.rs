//! Tool calls: what was asked, how far it got, and what may be done about one that was cut off. No tool lives here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{LaneName, WriterId},
    message::RequestedCall,
    time::Timestamp,
};

/// What may be done with a call that was started and not finished when its worker died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// Run it again: it only reads, or doing it twice is as good as once.
    Safe,
    /// Run it again under the same idempotency key (the call's id): the far side recognises it.
    WithKey,
    /// Do not run it again; the model is told that the outcome is unknown.
    #[default]
    Never,
}

/// A tool as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name the model calls it by: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does, in words for the model.
    #[serde(default)]
    pub description: String,
    /// JSON schema of its arguments, an object schema.
    pub parameters: serde_json::Value,
}

/// How far a call has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolCallStatus {
    /// Asked for, not started.
    Pending,
    /// Started; its outcome is not recorded yet.
    Running,
    /// It has a result.
    Completed,
    /// It failed; the model is told why.
    Error,
    /// It was not run: not one of the job's tools, or one that only a client can run.
    Skipped,
    /// It was cut off and may or may not have happened.
    Unknown,
}

impl ToolCallStatus {
    /// Whether nothing about the call will change any more.
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// Where a failed call failed (R95).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolErrorPhase {
    /// The arguments, or the name, were not acceptable; nothing ran.
    Validation,
    /// The tool ran and failed.
    Execution,
    /// The tool ran longer than it may and was aborted.
    Timeout,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallError {
    /// Where it failed.
    pub phase: ToolErrorPhase,
    /// What the model, and people, are told.
    pub message: String,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolOutcome {
    /// Its result, as text for the model (JSON text where the tool answers JSON).
    Completed(String),
    /// It failed.
    Error(ToolCallError),
    /// It was not run, for this reason.
    Skipped(String),
    /// A person refused it, with this reason if one was given.
    Denied(Option<String>),
    /// It was cut off: nobody knows whether it happened.
    Unknown,
}

/// What the model reads when a call's outcome is unknown.
pub const OUTCOME_UNKNOWN: &str = "The outcome of this call is unknown: it was started and then cut off, and it may or may not have \
taken effect. It was not run again. Check before you repeat it.";

impl ToolOutcome {
    /// The status of a call that ended so.
    pub fn status(&self) -> ToolCallStatus {
        match self {
            Self::Completed(_) => ToolCallStatus::Completed,
            Self::Error(_) => ToolCallStatus::Error,
            Self::Skipped(_) | Self::Denied(_) => ToolCallStatus::Skipped,
            Self::Unknown => ToolCallStatus::Unknown,
        }
    }

    /// In a word, for the ledger.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Completed(_) => "done",
            Self::Error(error) if error.phase == ToolErrorPhase::Timeout => "timed_out",
            Self::Error(_) => "failed",
            Self::Skipped(_) => "skipped",
            Self::Denied(_) => "denied",
            Self::Unknown => "unknown",
        }
    }

    /// Why there is no result, in a sentence.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Completed(_) => None,
            Self::Error(error) => Some(error.message.clone()),
            Self::Skipped(reason) => Some(reason.clone()),
            Self::Denied(Some(reason)) => Some(format!("A person refused this call: {reason}")),
            Self::Denied(None) => Some("A person refused this call.".to_owned()),
            Self::Unknown => Some(OUTCOME_UNKNOWN.to_owned()),
        }
    }

    /// What the model is told.
    pub fn for_model(&self) -> String {
        match self {
            Self::Completed(result) => result.clone(),
            Self::Error(error) => {
                serde_json::json!({"error": {"phase": error.phase, "message": error.message}}).to_string()
            }
            Self::Skipped(reason) => serde_json::json!({"error": {"phase": "skipped", "message": reason}}).to_string(),
            Self::Denied(_) => serde_json::json!({"error": {"phase": "denied", "message": self.message()}}).to_string(),
            Self::Unknown => serde_json::json!({"error": {"phase": "unknown", "message": OUTCOME_UNKNOWN}}).to_string(),
        }
    }
}

/// The recorded progress of a call: absent records mean that it was never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Started by this writer; its outcome is not recorded.
    Started {
        /// The invocation that runs it, and alone may record its end.
        by: WriterId,
    },
    /// It ended.
    Finished {
        /// How.
        outcome: ToolOutcome,
        /// When.
        at: Timestamp,
    },
}

/// One tool call of a job: the record that is stored before it runs and completed after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the model asked for.
    pub request: RequestedCall,
    /// In which lane.
    pub lane: LaneName,
    /// In which turn of the lane, from 1.
    pub turn: u32,
    /// Its place among the turn's calls, from 0.
    pub index: u32,
    /// The workflow's node that it is made for, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// Of the tool's name and the arguments: equal for calls that ask for the same thing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// How often it was started: 0 when it never ran.
    #[serde(default)]
    pub attempts: u32,
    /// The arguments that a person put in place of the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<String>,
    /// When it was started (first started, when it was run again).
    pub started_at: Timestamp,
    /// How far it got.
    pub progress: Progress,
}

impl ToolCall {
    /// Its status.
    pub fn status(&self) -> ToolCallStatus {
        match &self.progress {
            Progress::Started { .. } => ToolCallStatus::Running,
            Progress::Finished { outcome, .. } => outcome.status(),
        }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&ToolOutcome> {
        match &self.progress {
            Progress::Started { .. } => None,
            Progress::Finished { outcome, .. } => Some(outcome),
        }
    }

    /// The arguments that it runs with.
    pub fn arguments(&self) -> &str {
        self.edited.as_deref().unwrap_or(&self.request.arguments)
    }

    /// From start to end; `None` while it runs.
    pub fn duration(&self) -> Option<Duration> {
        match &self.progress {
            Progress::Started { .. } => None,
            Progress::Finished { at, .. } => Some(at.since(self.started_at)),
        }
    }
}

/// What to do about one call of an answer, given what is on record (PROTOCOL: `run_call`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// No record: record the start, then run.
    Start,
    /// Started by somebody else, who is gone: take the record over, then run under the same key.
    TakeOver,
    /// Started by somebody else, and must not run twice: record that its outcome is unknown.
    MarkUnknown,
    /// Ended: use what is recorded.
    Use,
}

/// Decides what to do about a call when a worker comes to it.
pub fn recovery(record: Option<&ToolCall>, replay: Replay, me: &WriterId) -> Recovery {
    match record.map(|call| &call.progress) {
        None => Recovery::Start,
        Some(Progress::Finished { .. }) => Recovery::Use,
        Some(Progress::Started { by }) if by == me => Recovery::TakeOver,
        Some(Progress::Started { .. }) => match replay {
            Replay::Safe | Replay::WithKey => Recovery::TakeOver,
            Replay::Never => Recovery::MarkUnknown,
        },
    }
}
