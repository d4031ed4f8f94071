//! Jobs and events as the API shows them, read leniently: what is unknown is passed over, what is missing is empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) origin: Origin,
    pub(super) body: Body,
}

/// When and where something happened.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Origin {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) at: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(super) lane: Option<String>,
    #[serde(default)]
    pub(super) turn: Option<u32>,
    #[serde(default)]
    pub(super) node_id: Option<String>,
}

impl Event {
    /// Reads a frame's data.
    pub(super) fn parse(data: &str) -> Result<Self, serde_json::Error> {
        // By way of a value: a call's lane and turn may stand there twice, as the event's and as the call's.
        let value: Value = serde_json::from_str(data)?;
        Ok(Self { origin: Origin::deserialize(&value)?, body: Body::deserialize(&value)? })
    }
}

/// What happened.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Body {
    #[serde(rename = "job.queued")]
    JobQueued,
    #[serde(rename = "job.running")]
    JobRunning,
    #[serde(rename = "job.input_required")]
    JobInputRequired,
    #[serde(rename = "job.stalled")]
    JobStalled(Notice),
    #[serde(rename = "job.completed", alias = "job.failed", alias = "job.cancelled")]
    JobFinished(Box<Job>),
    #[serde(rename = "turn.started")]
    TurnStarted,
    #[serde(rename = "turn.completed")]
    TurnCompleted {
        #[serde(default, deserialize_with = "lenient")]
        usage: Option<Usage>,
    },
    #[serde(rename = "turn.restarted")]
    TurnRestarted { output_offset: u64 },
    #[serde(rename = "output.delta")]
    OutputDelta { text: String },
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta { text: String },
    #[serde(
        rename = "tool_call.pending",
        alias = "tool_call.running",
        alias = "tool_call.completed",
        alias = "tool_call.error",
        alias = "tool_call.skipped",
        alias = "tool_call.unknown"
    )]
    ToolCall(Box<ToolCall>),
    #[serde(
        rename = "node.active",
        alias = "node.waiting",
        alias = "node.completed",
        alias = "node.error",
        alias = "node.skipped"
    )]
    Node(Node),
    #[serde(rename = "input.requested")]
    InputRequested(Box<InputRequest>),
    #[serde(rename = "input.resolved")]
    InputResolved(Box<InputRequest>),
    #[serde(rename = "message.added")]
    MessageAdded,
    #[serde(rename = "context.compacted")]
    ContextCompacted(Compacted),
    #[serde(rename = "model.waiting")]
    ModelWaiting(Notice),
    #[serde(other)]
    Unknown,
}

/// What is said of things that just happen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Notice {
    pub(super) message: String,
    pub(super) until: Option<jiff::Timestamp>,
    pub(super) since: Option<jiff::Timestamp>,
}

/// How a conversation was made shorter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Compacted {
    pub(super) messages: u64,
    pub(super) tokens_before: u64,
    pub(super) tokens_after: u64,
    pub(super) strategy: String,
    pub(super) error: Option<String>,
}

/// A workflow's node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) node_id: String,
    pub(super) iteration: Option<u64>,
    pub(super) error: Option<Reason>,
    pub(super) route: Option<String>,
    pub(super) note: Option<String>,
}

/// A tool call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) turn: u32,
    pub(super) name: String,
    #[serde(deserialize_with = "text_or_json")]
    pub(super) arguments: String,
    /// What a person put in the place of the arguments.
    pub(super) edited_arguments: Option<String>,
    pub(super) status: String,
    #[serde(deserialize_with = "optional_text_or_json")]
    pub(super) result: Option<String>,
    pub(super) error: Option<Reason>,
    pub(super) duration_ms: Option<u64>,
}

/// Why something failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Reason {
    pub(super) code: Option<String>,
    pub(super) message: String,
    pub(super) failed_during: Option<String>,
    pub(super) turn: Option<u64>,
}

/// A question to a person.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputRequest {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) node_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) tool_call: Option<ToolCall>,
    pub(super) prompt: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) options: Option<Vec<InputOption>>,
    pub(super) input_schema: Option<Value>,
    #[serde(deserialize_with = "lenient")]
    pub(super) context: Option<InputContext>,
    pub(super) expires_at: Option<jiff::Timestamp>,
    pub(super) default_action: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) answer: Option<Answer>,
}

impl InputRequest {
    /// Whether nobody has answered it.
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_none()
    }
}

/// What there is to look at before one answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputContext {
    pub(super) input: Option<String>,
    pub(super) output: Option<String>,
}

/// One of the answers that a question offers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InputOption {
    pub(super) id: String,
    pub(super) label: Option<String>,
    pub(super) action: Option<String>,
}

/// What a person answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) action: String,
    pub(super) by: Option<String>,
}

/// A job, whole or in short.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) kind: Option<String>,
    pub(super) status: String,
    pub(super) created_at: Option<jiff::Timestamp>,
    pub(super) started_at: Option<jiff::Timestamp>,
    pub(super) finished_at: Option<jiff::Timestamp>,
    pub(super) thread_id: Option<String>,
    pub(super) title: Option<String>,
    pub(super) model: Option<String>,
    #[serde(deserialize_with = "optional_text_or_json")]
    pub(super) output: Option<String>,
    pub(super) output_truncated: bool,
    pub(super) turn: Option<u64>,
    pub(super) last_event: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    #[serde(deserialize_with = "lenient")]
    pub(super) workflow: Option<WorkflowRun>,
    #[serde(deserialize_with = "lenient")]
    pub(super) input_requests: Option<Vec<InputRequest>>,
    #[serde(deserialize_with = "lenient")]
    pub(super) usage: Option<Usage>,
    #[serde(deserialize_with = "lenient")]
    pub(super) metrics: Option<Metrics>,
    pub(super) finish_reason: Option<String>,
    pub(super) error: Option<Reason>,
    pub(super) stream_url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) metadata: Option<serde_json::Map<String, Value>>,
}

/// How a workflow stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkflowRun {
    pub(super) graph: Value,
    pub(super) name: Option<String>,
    pub(super) node_states: BTreeMap<String, NodeState>,
    pub(super) execution_order: Vec<String>,
}

/// How a workflow's node stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeState {
    pub(super) status: Option<String>,
    pub(super) route: Option<String>,
    pub(super) iteration: Option<u64>,
    pub(super) error: Option<Reason>,
    pub(super) started_at: Option<jiff::Timestamp>,
    pub(super) finished_at: Option<jiff::Timestamp>,
}

/// What the models counted.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) reasoning_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) cost_usd: f64,
}

/// What the job did.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metrics {
    pub(super) total_turns: u64,
    pub(super) tool_call_count: u64,
    pub(super) tool_execution_time_ms: u64,
    pub(super) model_time_ms: u64,
    pub(super) queue_time_ms: u64,
    pub(super) overhead_ms: u64,
    pub(super) recoveries: u64,
    pub(super) requests: u64,
}

impl Job {
    /// Reads a job; one that is no job reads as an error.
    pub(super) fn parse(value: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }

    /// Whether it runs a workflow.
    pub(super) fn is_workflow(&self) -> bool {
        self.kind.as_deref() == Some("workflow") || self.workflow.is_some()
    }

    /// The questions that wait for an answer; none once the job is over.
    pub(super) fn open_requests(&self) -> impl Iterator<Item = &InputRequest> {
        let requests = self.input_requests.iter().flatten().filter(|request| request.is_open());
        requests.take(if self.is_finished() { 0 } else { usize::MAX })
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Ok(Self {
            code: text("code"),
            message: value.as_str().map(str::to_owned).or(text("message")).unwrap_or_else(|| value.to_string()),
            failed_during: text("failed_during"),
            turn: value["turn"].as_u64(),
        })
    }
}

fn text_or_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    optional_text_or_json(deserializer).map(Option::unwrap_or_default)
}

fn optional_text_or_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        json => Some(json.to_string()),
    })
}

/// A part that is shown when it is understood, and left out when not.
fn lenient<'de, D: serde::Deserializer<'de>, T: for<'a> Deserialize<'a>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(Value::deserialize(deserializer)?).ok())
}
