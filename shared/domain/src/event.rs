//! The log: what happened to a job, numbered from 1 without a gap, as viewers see it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{LaneName, WriterId},
    inbox::InboxMessage,
    input_request::InputRequest,
    job::{CompactionStrategy, FinishReason, JobError, Metrics, Status},
    limits,
    message::RequestedCall,
    time::Timestamp,
    tool_call::{Progress, ToolCall, ToolCallStatus, ToolErrorPhase, ToolOutcome},
    usage::Usage,
    workflow::{self, NodeEvent, NodeStatus},
};

/// An entry of a job's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the log, from 1.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The turn that it belongs to; `None` for events of the job itself.
    pub origin: Option<Origin>,
    /// What happened.
    pub body: EventBody,
}

/// Which attempt at which turn an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The lane.
    pub lane: LaneName,
    /// The turn, from 1.
    pub turn: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The workflow's node that the lane works for, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
}

/// Who put an event into the log, and how many it had put before: by these a writer knows its own entry again when the
/// answer to a put was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The invocation.
    pub writer: WriterId,
    /// Its own count, from 1.
    pub count: u64,
}

/// What happened. The closed list of the API's event types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The job was accepted.
    #[serde(rename = "job.queued")]
    JobQueued(JobState),
    /// Its first turn began, or it goes on after an answer.
    #[serde(rename = "job.running")]
    JobRunning(JobState),
    /// It waits for a person.
    #[serde(rename = "job.input_required")]
    JobInputRequired(JobState),
    /// It ended with an answer.
    #[serde(rename = "job.completed")]
    JobCompleted(Box<JobSummary>),
    /// It ended without.
    #[serde(rename = "job.failed")]
    JobFailed(Box<JobSummary>),
    /// Its owner ended it.
    #[serde(rename = "job.cancelled")]
    JobCancelled(Box<JobSummary>),
    /// A turn began.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// The model that is asked.
        model: String,
    },
    /// A turn is over.
    #[serde(rename = "turn.completed")]
    TurnCompleted {
        /// The model that answered.
        model: String,
        /// Why it stopped.
        finish_reason: FinishReason,
        /// What the turn used.
        usage: Usage,
    },
    /// The attempt before this one was cut off.
    #[serde(rename = "turn.restarted")]
    TurnRestarted {
        /// Bytes of this lane's text that stand. Its text after them, and this turn's tool events so far, are void.
        output_offset: u64,
    },
    /// Text of the answer.
    #[serde(rename = "output.delta")]
    OutputDelta {
        /// The piece.
        text: String,
    },
    /// Text of the model's reasoning.
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta {
        /// The piece.
        text: String,
    },
    /// A call was seen in the model's answer.
    #[serde(rename = "tool_call.pending")]
    ToolCallPending(Box<ToolCallView>),
    /// A call was started.
    #[serde(rename = "tool_call.running")]
    ToolCallRunning(Box<ToolCallView>),
    /// A call has a result.
    #[serde(rename = "tool_call.completed")]
    ToolCallCompleted(Box<ToolCallView>),
    /// A call failed.
    #[serde(rename = "tool_call.error")]
    ToolCallError(Box<ToolCallView>),
    /// A call was not run.
    #[serde(rename = "tool_call.skipped")]
    ToolCallSkipped(Box<ToolCallView>),
    /// A call was cut off: its outcome is unknown.
    #[serde(rename = "tool_call.unknown")]
    ToolCallUnknown(Box<ToolCallView>),
    /// An answer is needed.
    #[serde(rename = "input.requested")]
    InputRequested(Box<InputRequest>),
    /// It was given, or the request expired.
    #[serde(rename = "input.resolved")]
    InputResolved(Box<InputRequest>),
    /// A turn took in a message.
    #[serde(rename = "message.added")]
    MessageAdded {
        /// It.
        message: Box<InboxMessage>,
    },
    /// Older messages of the conversation were made one.
    #[serde(rename = "context.compacted")]
    ContextCompacted(Compacted),
    /// Nothing has happened for a while.
    #[serde(rename = "job.stalled")]
    JobStalled {
        /// Since when.
        since: Timestamp,
    },
    /// A node began.
    #[serde(rename = "node.active")]
    NodeActive(Box<NodeNews>),
    /// A node waits for a person.
    #[serde(rename = "node.waiting")]
    NodeWaiting(Box<NodeNews>),
    /// A node has its output.
    #[serde(rename = "node.completed")]
    NodeCompleted(Box<NodeNews>),
    /// A node failed.
    #[serde(rename = "node.error")]
    NodeError(Box<NodeNews>),
    /// A node is not run.
    #[serde(rename = "node.skipped")]
    NodeSkipped(Box<NodeNews>),
    /// The model's provider asked for patience.
    #[serde(rename = "model.waiting")]
    ModelWaiting {
        /// When it is asked again.
        until: Timestamp,
        /// What it said, as a stable word.
        code: String,
        /// The same for people.
        message: String,
    },
}

impl Event {
    /// When the job last moved, where this is the last event of its log: a wait that was announced is not standing still,
    /// and to say that it stands still is not moving.
    pub fn moved_at(&self) -> Timestamp {
        match &self.body {
            EventBody::JobStalled { since } => *since,
            EventBody::ModelWaiting { until, .. } => self.at.max(*until),
            _ => self.at,
        }
    }
}

/// What viewers are told about a workflow's node. It may be told twice: what was told last holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNews {
    /// Which: `<subflow>/<node>`, `node#iteration`, `node:branch`.
    pub node_id: String,
    /// In which iteration of a loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// Its output, to [`limits::RESULT_VIEW_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether there is more of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_truncated: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<workflow::NodeError>,
    /// The route that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What else is to be known about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The event that tells of a node; nothing for one that is only pending.
impl From<NodeEvent> for Option<EventBody> {
    fn from(event: NodeEvent) -> Self {
        let NodeEvent { key, status, iteration, output, error, route, note } = event;
        let output = output.map(|output| cut(&output, limits::RESULT_VIEW_BYTES));
        let news = Box::new(NodeNews {
            node_id: key.shown(),
            iteration,
            output_truncated: output.as_ref().is_some_and(|(_, truncated)| *truncated),
            output: output.map(|(output, _)| output),
            error,
            route,
            note,
        });
        Some(match status {
            NodeStatus::Pending => return None,
            NodeStatus::Active => EventBody::NodeActive(news),
            NodeStatus::Waiting => EventBody::NodeWaiting(news),
            NodeStatus::Completed => EventBody::NodeCompleted(news),
            NodeStatus::Error => EventBody::NodeError(news),
            NodeStatus::Skipped => EventBody::NodeSkipped(news),
        })
    }
}

/// How a conversation was shortened. A turn that is begun again tells it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// Messages that were made one, or left out.
    pub messages: u32,
    /// Tokens that the conversation had, as far as known.
    pub tokens_before: u64,
    /// Tokens that it has now, about.
    pub tokens_after: u64,
    /// How it was done.
    pub strategy: CompactionStrategy,
    /// Why it was not done as asked, when the summary failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The status that a job changed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// It.
    pub status: Status,
}

/// A finished job in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// How it ended.
    pub status: Status,
    /// Why.
    pub finish_reason: FinishReason,
    /// Its text, to [`limits::EVENT_OUTPUT_BYTES`].
    pub output: String,
    /// Whether there is more text than that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_truncated: bool,
    /// What it used.
    pub usage: Usage,
    /// What it did.
    pub metrics: Metrics,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

/// A tool call as viewers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallView {
    /// Its id.
    pub id: String,
    /// In which lane.
    pub lane: LaneName,
    /// In which turn.
    pub turn: u32,
    /// The workflow's node, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them; empty while it does.
    pub arguments: String,
    /// How far it got.
    pub status: ToolCallStatus,
    /// Of name and arguments: equal for calls that ask for the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How often it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How it ended, in a word: done, failed, timed_out, denied, skipped, unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The arguments that a person put in place of the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_arguments: Option<String>,
    /// Its result, to [`limits::RESULT_VIEW_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Whether there is more of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub result_truncated: bool,
    /// Why it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ToolErrorView>,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Milliseconds between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// Why a call has no result, as viewers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolErrorView {
    /// Where it failed, when it ran at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ToolErrorPhase>,
    /// What happened.
    pub message: String,
}

/// `text` cut to at most `longest` bytes at a character's edge, and whether anything was cut.
pub fn cut(text: &str, longest: usize) -> (String, bool) {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (text[..end].to_owned(), end < text.len())
}

impl ToolCallView {
    /// A call that was seen in an answer, and nothing was done about yet; without arguments while they are being written.
    pub fn pending(call: &RequestedCall, lane: &LaneName, turn: u32, node_id: Option<&str>) -> Self {
        Self {
            id: call.id.to_string(),
            lane: lane.clone(),
            turn,
            node_id: node_id.map(str::to_owned),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            status: ToolCallStatus::Pending,
            fingerprint: None,
            attempts: None,
            outcome: None,
            edited_arguments: None,
            result: None,
            result_truncated: false,
            error: None,
            started_at: None,
            finished_at: None,
            duration_ms: None,
        }
    }

    /// A call as viewers see it; its result cut to [`limits::RESULT_VIEW_BYTES`].
    pub fn of(call: &ToolCall) -> Self {
        let (mut result, mut result_truncated, mut error) = (None, false, None);
        match call.outcome() {
            Some(ToolOutcome::Completed(text)) => {
                let (text, truncated) = cut(text, limits::RESULT_VIEW_BYTES);
                (result, result_truncated) = (Some(text), truncated);
            }
            Some(ToolOutcome::Error(failure)) => {
                error = Some(ToolErrorView { phase: Some(failure.phase), message: failure.message.clone() });
            }
            Some(outcome) => error = outcome.message().map(|message| ToolErrorView { phase: None, message }),
            None => {}
        }
        let finished_at = match &call.progress {
            Progress::Finished { at, .. } => Some(*at),
            Progress::Started { .. } => None,
        };
        Self {
            status: call.status(),
            fingerprint: Some(call.fingerprint.clone()).filter(|fingerprint| !fingerprint.is_empty()),
            attempts: Some(call.attempts).filter(|attempts| *attempts > 0),
            outcome: call.outcome().map(|outcome| outcome.word().to_owned()),
            edited_arguments: call.edited.clone(),
            result,
            result_truncated,
            error,
            started_at: Some(call.started_at),
            finished_at,
            duration_ms: call.duration().map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            ..Self::pending(&call.request, &call.lane, call.turn, call.node_id.as_deref())
        }
    }

    /// The event that tells of this call's status.
    pub fn into_event(self) -> EventBody {
        let view = Box::new(self);
        match view.status {
            ToolCallStatus::Pending => EventBody::ToolCallPending(view),
            ToolCallStatus::Running => EventBody::ToolCallRunning(view),
            ToolCallStatus::Completed => EventBody::ToolCallCompleted(view),
            ToolCallStatus::Error => EventBody::ToolCallError(view),
            ToolCallStatus::Skipped => EventBody::ToolCallSkipped(view),
            ToolCallStatus::Unknown => EventBody::ToolCallUnknown(view),
        }
    }
}

impl JobSummary {
    /// The terminal event of a job that ended so.
    pub fn into_event(self) -> EventBody {
        let summary = Box::new(self);
        match summary.status {
            Status::Completed => EventBody::JobCompleted(summary),
            Status::Cancelled => EventBody::JobCancelled(summary),
            _ => EventBody::JobFailed(summary),
        }
    }
}

impl EventBody {
    /// The type's name, as in frames.
    pub fn name(&self) -> &'static str {
        match self {
            Self::JobQueued(_) => "job.queued",
            Self::JobRunning(_) => "job.running",
            Self::JobInputRequired(_) => "job.input_required",
            Self::JobCompleted(_) => "job.completed",
            Self::JobFailed(_) => "job.failed",
            Self::JobCancelled(_) => "job.cancelled",
            Self::TurnStarted { .. } => "turn.started",
            Self::TurnCompleted { .. } => "turn.completed",
            Self::TurnRestarted { .. } => "turn.restarted",
            Self::OutputDelta { .. } => "output.delta",
            Self::ReasoningDelta { .. } => "reasoning.delta",
            Self::ToolCallPending(_) => "tool_call.pending",
            Self::ToolCallRunning(_) => "tool_call.running",
            Self::ToolCallCompleted(_) => "tool_call.completed",
            Self::ToolCallError(_) => "tool_call.error",
            Self::ToolCallSkipped(_) => "tool_call.skipped",
            Self::ToolCallUnknown(_) => "tool_call.unknown",
            Self::InputRequested(_) => "input.requested",
            Self::InputResolved(_) => "input.resolved",
            Self::MessageAdded { .. } => "message.added",
            Self::ContextCompacted(_) => "context.compacted",
            Self::JobStalled { .. } => "job.stalled",
            Self::NodeActive(_) => "node.active",
            Self::NodeWaiting(_) => "node.waiting",
            Self::NodeCompleted(_) => "node.completed",
            Self::NodeError(_) => "node.error",
            Self::NodeSkipped(_) => "node.skipped",
            Self::ModelWaiting { .. } => "model.waiting",
        }
    }

    /// Whether it brings lane and turn with it, as calls and questions do.
    pub fn brings_its_place(&self) -> bool {
        self.tool_call().is_some() || matches!(self, Self::InputRequested(_) | Self::InputResolved(_))
    }

    /// Whether it brings its node's name with it.
    pub fn brings_its_node(&self) -> bool {
        matches!(
            self,
            Self::NodeActive(_)
                | Self::NodeWaiting(_)
                | Self::NodeCompleted(_)
                | Self::NodeError(_)
                | Self::NodeSkipped(_)
        ) || self.brings_its_place()
    }

    /// Whether it is a job's last event.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::JobCompleted(_) | Self::JobFailed(_) | Self::JobCancelled(_))
    }

    /// The call that it tells of, if it tells of one.
    pub fn tool_call(&self) -> Option<&ToolCallView> {
        match self {
            Self::ToolCallPending(view)
            | Self::ToolCallRunning(view)
            | Self::ToolCallCompleted(view)
            | Self::ToolCallError(view)
            | Self::ToolCallSkipped(view)
            | Self::ToolCallUnknown(view) => Some(view),
            _ => None,
        }
    }
}
