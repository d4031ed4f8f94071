//! What a job is at a moment: its head. What may become of it is decided in [`decide()`] and applied in [`evolve()`].

mod accept;
mod decide;
mod evolve;
mod spec;
mod title;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::{
    accept::{Asker, accept},
    decide::{Command, Job, Rejected, after, decide},
    evolve::{Fact, IllegalTransition, evolve},
    spec::{
        Compaction, CompactionStrategy, CompactionThreshold, JobSpec, Metadata, ModelSettings, ToolChoice, ToolRef,
        WorkflowSpec, served_name,
    },
};
use crate::{
    id::{JobId, MessageId, ThreadId, UserId},
    lane::Lane,
    time::Timestamp,
    trace::TraceParent,
    usage::Usage,
};

/// What kind of work it is (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// One conversation with tools.
    Chat,
    /// A graph of them.
    Workflow,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted; no turn has begun.
    Queued,
    /// Being worked on.
    Running,
    /// Waiting for a person or a client.
    InputRequired,
    /// Ended with an answer.
    Completed,
    /// Ended without.
    Failed,
    /// Ended by its owner.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::InputRequired, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name that callers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job is over.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Why a job, or its last turn, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model had said everything.
    Stop,
    /// The model reached its longest output.
    Length,
    /// The model asked for tools (of a turn only).
    ToolCalls,
    /// More turns with tools, or more calls in a turn, than allowed.
    ToolLimit,
    /// The job took longer than it may.
    Deadline,
    /// The job waited longer for its first turn than it may.
    QueueTimeout,
    /// Its budget of tokens or money was used up.
    Budget,
    /// Its owner ended it.
    Cancelled,
    /// A person refused what it asked for.
    Rejected,
    /// Something went wrong.
    Error,
}

impl FinishReason {
    /// The name that callers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ToolLimit => "tool_limit",
            Self::Deadline => "deadline",
            Self::QueueTimeout => "queue_timeout",
            Self::Budget => "budget",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Error => "error",
        }
    }
}

/// What was being done when a job failed (R64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedDuring {
    /// Waiting in line.
    Queue,
    /// Asking the model.
    ModelCall,
    /// Running tools.
    ToolExecution,
    /// Anything else of ours.
    Turn,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable word for programs, such as `upstream_rejected`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What was being done.
    pub failed_during: FailedDuring,
    /// The tool, if one was at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    /// The workflow's node, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The lane's turn; 0 before the first.
    pub turn: u32,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// With an answer.
    Completed {
        /// Why the model stopped.
        reason: FinishReason,
    },
    /// Without one.
    Failed {
        /// The class of failure.
        reason: FinishReason,
        /// The failure.
        error: JobError,
    },
    /// By its owner.
    Cancelled,
}

impl Ending {
    /// The status of a job that ended so.
    pub fn status(&self) -> Status {
        match self {
            Self::Completed { .. } => Status::Completed,
            Self::Failed { .. } => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Why it ended, in a word.
    pub fn reason(&self) -> FinishReason {
        match self {
            Self::Completed { reason } | Self::Failed { reason, .. } => *reason,
            Self::Cancelled => FinishReason::Cancelled,
        }
    }

    /// The failure, if it was one.
    pub fn error(&self) -> Option<&JobError> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What is recorded as to be done after a job's end, and perhaps not done yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The log's last event.
    pub terminal: bool,
    /// Telling the event bus.
    pub notification: bool,
}

impl Owed {
    /// Whether anything is left to do.
    pub fn any(self) -> bool {
        self.terminal || self.notification
    }
}

/// Where a job is, with what only makes sense there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Waiting for its first turn.
    Queued {
        /// It fails if it still waits then.
        until: Timestamp,
    },
    /// At work.
    Running {
        /// It fails if it is still at work then.
        deadline_at: Timestamp,
    },
    /// Waiting for a person or a client; the deadline's clock stands still.
    InputRequired {
        /// Since when.
        since: Timestamp,
        /// Milliseconds of progress that are left to it.
        remaining_ms: u64,
    },
    /// Over.
    Finished {
        /// How.
        ending: Ending,
        /// When.
        at: Timestamp,
        /// What is still to be done about it.
        owed: Owed,
    },
}

/// What a job has used and done so far, as far as it is known where it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Turns that ended, the last one included (R62).
    pub total_turns: u32,
    /// Tool calls (R62).
    pub tool_call_count: u32,
    /// Milliseconds in tools, summed over calls (R62).
    pub tool_execution_time_ms: u64,
    /// Milliseconds in model calls.
    pub model_time_ms: u64,
    /// Milliseconds from the start request to the first claim.
    pub queue_time_ms: u64,
    /// Milliseconds of the job's life that were none of the above, pauses left out.
    pub overhead_ms: u64,
    /// Turns that were taken over from a worker that died.
    pub recoveries: u32,
    /// Requests to the table and the queues that its start and its turns made, those of viewers and of the sweeper left out.
    #[serde(default)]
    pub requests: u32,
}

impl Metrics {
    /// What head and lanes know of a job, before its turns are counted.
    pub(crate) fn begun<'a>(head: &Head, lanes: impl IntoIterator<Item = &'a Lane>) -> Self {
        let mut metrics = Self { queue_time_ms: head.metrics.queue_time_ms, ..Self::default() };
        for lane in lanes {
            metrics.recoveries += lane.recoveries;
            metrics.requests += lane.requests;
        }
        metrics
    }
}

/// The small record at the centre of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub user: UserId,
    /// What kind.
    pub kind: JobKind,
    /// The caller's conversation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadId>,
    /// The caller's message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// What it is about, in a line; empty where nothing says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The model that it asks, unless its nodes say otherwise.
    pub model: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first turn began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Where it is.
    #[serde(flatten)]
    pub state: State,
    /// Seconds of progress it may take.
    pub deadline_seconds: u32,
    /// Seconds that it is kept after its end.
    pub retention_seconds: u32,
    /// When it ceases to exist.
    pub expires_at: Timestamp,
    /// Rises whenever lanes are added: whoever ends the job must have seen them all.
    pub lanes_version: u32,
    /// Open lanes that do not wait for an answer. With the last of them the deadline's clock stops.
    #[serde(default = "one")]
    pub lanes_at_work: u32,
    /// Milliseconds that it has waited for answers, this pause left out.
    #[serde(default)]
    pub paused_ms: u64,
    /// Messages accepted for it while it ran.
    pub inbox: u32,
    /// Until when somebody is known to watch.
    pub watched_until: Timestamp,
    /// Its caller's place in a trace, if the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// Tokens and money; complete once it is over.
    pub usage: Usage,
    /// Counts and times; complete once it is over.
    pub metrics: Metrics,
}

/// Heads of the first release, whose jobs had one lane, do not say so.
fn one() -> u32 {
    1
}

impl Head {
    /// Its status.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Queued { .. } => Status::Queued,
            State::Running { .. } => Status::Running,
            State::InputRequired { .. } => Status::InputRequired,
            State::Finished { ending, .. } => ending.status(),
        }
    }

    /// How it ended, if it did.
    pub fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Finished { ending, .. } => Some(ending),
            _ => None,
        }
    }

    /// When it ended, if it did.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Finished { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// When its time is up, as far as that is known while it runs.
    pub fn deadline(&self) -> Timestamp {
        match self.state {
            State::Running { deadline_at } => deadline_at,
            _ => Timestamp::from_millis(i64::MAX),
        }
    }

    /// What it owes.
    pub fn owed(&self) -> Owed {
        match &self.state {
            State::Finished { owed, .. } => *owed,
            _ => Owed::default(),
        }
    }

    /// Whether somebody is known to watch.
    pub fn is_watched(&self, now: Timestamp) -> bool {
        self.watched_until > now
    }

    /// When the sweeper should look at it, if ever: `margin` after something should have been done.
    pub fn due_at(&self, margin: Duration) -> Option<Timestamp> {
        match &self.state {
            State::Queued { until } => Some(*until),
            State::Running { deadline_at } => Some(*deadline_at),
            // Its lanes say when.
            State::InputRequired { .. } => None,
            State::Finished { at, owed, .. } => owed.any().then(|| *at + margin),
        }
    }
}
