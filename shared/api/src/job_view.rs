//! A job as its owner sees it, whole and in short, and the tools that there are.

use domain::{
    event::{Event, ToolCallView, cut},
    id::{JobId, LaneName, MessageId, ThreadId, UserId},
    input_request::InputRequest,
    job::{Ending, FinishReason, Head, JobError, JobKind, Metadata, Metrics, State, Status},
    lane::Lane,
    limits,
    replay::Replay,
    so_far::so_far,
    time::Timestamp,
    tool_call::{ToolCall, ToolOutcome, ToolSpec},
    usage::Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{answer_size, workflow_view::WorkflowView};

/// What a job's view takes from elsewhere than its head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobDetails {
    /// The job's text so far, whole; it is cut to [`limits::JOB_OUTPUT_BYTES`] here.
    pub output: String,
    /// The turn under way, or the last.
    pub turn: u32,
    /// The attempt at it.
    pub attempt: u32,
    /// The number of the log's last event.
    pub last_event: u64,
    /// The job's calls, in order.
    pub tool_calls: Vec<ToolCallView>,
    /// What it asks, or asked, of people and clients.
    pub input_requests: Vec<InputRequest>,
    /// Where its workflow is.
    pub workflow: Option<WorkflowView>,
    /// The caller's notes.
    pub metadata: Metadata,
    /// Where its events can be followed.
    pub stream_url: Option<String>,
    /// What it has used and done, while it is at work; afterwards its head says so.
    pub so_far: Option<(Usage, Metrics)>,
}

impl JobDetails {
    /// What a job's log and lanes say of it at `now`.
    pub fn of<'a>(
        head: &Head,
        events: &[Event],
        lanes: impl IntoIterator<Item = &'a Lane> + Clone,
        input_requests: Vec<InputRequest>,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        let so_far = (!head.status().is_finished()).then(|| so_far(head, lanes.clone(), events, now));
        let mut replay = Replay::of(events);
        let main = lanes.into_iter().find(|lane| lane.name == LaneName::main());
        Self {
            output: replay
                .lanes
                .get_mut(&LaneName::main())
                .map(|lane| std::mem::take(&mut lane.text))
                .unwrap_or_default(),
            turn: main.map_or(0, |lane| lane.turn),
            attempt: main.map_or(0, |lane| lane.attempt),
            last_event: events.last().map_or(0, |event| event.number),
            tool_calls: replay.lanes.into_values().flat_map(|lane| lane.tool_calls).collect(),
            input_requests,
            workflow: None,
            metadata,
            stream_url: None,
            so_far,
        }
    }
}

/// A job as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// What a list of jobs shows, too.
    #[serde(flatten)]
    pub summary: JobSummaryView,
    /// Its text so far, or all of it.
    pub output: String,
    /// Whether there is more text than shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_truncated: bool,
    /// The turn under way, or the last.
    pub turn: u32,
    /// The attempt at it.
    pub attempt: u32,
    /// The number of its last event: a cursor to follow it from here.
    pub last_event: u64,
    /// Its calls.
    pub tool_calls: Vec<ToolCallView>,
    /// What it asks, or asked, of people and clients.
    pub input_requests: Vec<InputRequest>,
    /// Whether the whole would have been over [`limits::ANSWER_BYTES`]: then texts of calls, nodes and answered questions
    /// are cut, and in the extreme the oldest of them are left out. A call that is asked for alone is whole, and so is the
    /// log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
    /// Where its workflow is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowView>,
    /// Where its events can be followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_url: Option<String>,
    /// The caller's notes.
    pub metadata: Metadata,
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummaryView {
    /// Its id.
    pub id: JobId,
    /// `job`.
    pub object: String,
    /// What kind.
    pub kind: JobKind,
    /// Where it is.
    pub status: Status,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first turn began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When its time will be up; null while that clock does not run.
    pub deadline_at: Option<Timestamp>,
    /// When it ceases to be kept.
    pub expires_at: Timestamp,
    /// Whose it is.
    pub user_id: UserId,
    /// The caller's conversation.
    pub thread_id: Option<ThreadId>,
    /// The caller's message.
    pub message_id: Option<MessageId>,
    /// What it is about: the `title` among the caller's notes, else the first line of what was asked, to 100 characters.
    pub title: String,
    /// The model.
    pub model: String,
    /// Tokens and money.
    pub usage: Usage,
    /// Counts and times.
    pub metrics: Metrics,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// Why it failed.
    pub error: Option<JobError>,
}

impl JobSummaryView {
    /// The job with this head, in short.
    pub fn new(head: &Head) -> Self {
        let deadline_at = match &head.state {
            State::Running { deadline_at } => Some(*deadline_at),
            State::Queued { .. } | State::InputRequired { .. } | State::Finished { .. } => None,
        };
        Self {
            id: head.id.clone(),
            object: "job".to_owned(),
            kind: head.kind,
            status: head.status(),
            created_at: head.created_at,
            started_at: head.started_at,
            finished_at: head.finished_at(),
            deadline_at,
            expires_at: head.expires_at,
            user_id: head.user.clone(),
            thread_id: head.thread.clone(),
            message_id: head.message.clone(),
            title: head.title.clone(),
            model: head.model.clone(),
            usage: head.usage,
            metrics: head.metrics,
            finish_reason: head.ending().map(Ending::reason),
            error: head.ending().and_then(Ending::error).cloned(),
        }
    }
}

impl JobView {
    /// The job with this head and these details, cut to what one answer may hold.
    pub fn new(head: &Head, details: JobDetails) -> Self {
        let (output, output_truncated) = if details.output.len() > limits::JOB_OUTPUT_BYTES {
            cut(&details.output, limits::JOB_OUTPUT_BYTES)
        } else {
            (details.output, false)
        };
        let mut summary = JobSummaryView::new(head);
        if let Some((usage, metrics)) = details.so_far {
            (summary.usage, summary.metrics) = (usage, metrics);
        }
        let mut view = Self {
            summary,
            output,
            output_truncated,
            shortened: false,
            turn: details.turn,
            attempt: details.attempt,
            last_event: details.last_event,
            tool_calls: details.tool_calls,
            input_requests: details.input_requests,
            workflow: details.workflow,
            stream_url: details.stream_url,
            metadata: details.metadata,
        };
        answer_size::shorten(&mut view, limits::ANSWER_BYTES);
        view
    }
}

/// A call with its whole result: the answer of `GET /jobs/{id}/tool_calls/{call_id}`.
pub fn whole_tool_call(call: &ToolCall) -> ToolCallView {
    let mut view = ToolCallView::of(call);
    if let Some(ToolOutcome::Completed(result)) = call.outcome() {
        view.result = Some(result.clone());
        view.result_truncated = false;
    }
    view
}

/// Where a job's events can be followed, and until when the address holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTokenView {
    /// The address, its token included.
    pub stream_url: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// Nothing was started under a key, and nothing will be for a while: the answer of a cancel that came ahead of the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationView {
    /// `cancellation`.
    pub object: String,
    /// Until when a start under the key is refused.
    pub expires_at: Timestamp,
}

impl CancellationView {
    /// A cancellation that holds until then.
    pub fn new(expires_at: Timestamp) -> Self {
        Self { object: "cancellation".to_owned(), expires_at }
    }
}

/// A registered tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolView {
    /// The name that jobs use it by.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The schema of its arguments.
    pub parameters: Value,
    /// Whether it can be called; calls of one that is off are skipped.
    pub enabled: bool,
}

impl ToolView {
    /// The tool of this definition.
    pub fn new(spec: &ToolSpec, enabled: bool) -> Self {
        Self {
            name: spec.name.clone(),
            description: spec.description.clone(),
            parameters: spec.parameters.clone(),
            enabled,
        }
    }
}

/// The registered tools: the answer of `GET /tools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolsView {
    /// They, by name.
    pub data: Vec<ToolView>,
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{
        id::LaneName,
        job::{FailedDuring, Owed},
        message::RequestedCall,
        tool_call::Progress,
    };
    use serde_json::json;

    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_763_800_000_000 + seconds * 1000)
    }

    pub(crate) fn head(state: State) -> Head {
        Head {
            id: "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(),
            user: "ann".parse().unwrap(),
            kind: JobKind::Chat,
            thread: Some("t1".parse().unwrap()),
            message: None,
            title: "Hello".to_owned(),
            model: "m".into(),
            created_at: at(0),
            started_at: Some(at(1)),
            state,
            deadline_seconds: 300,
            retention_seconds: 604_800,
            expires_at: at(604_800),
            lanes_version: 1,
            lanes_at_work: 1,
            paused_ms: 0,
            inbox: 0,
            watched_until: Timestamp::MIN,
            trace: None,
            usage: Usage::default(),
            metrics: Metrics::default(),
        }
    }

    pub(crate) fn call(result: &str) -> ToolCall {
        ToolCall {
            request: RequestedCall {
                id: "c1".parse().unwrap(),
                name: "look".into(),
                arguments: "{}".into(),
                extra_content: None,
            },
            lane: LaneName::main(),
            turn: 1,
            index: 0,
            node_id: None,
            fingerprint: String::new(),
            attempts: 0,
            edited: None,
            started_at: at(2),
            progress: Progress::Finished { outcome: ToolOutcome::Completed(result.into()), at: at(3) },
        }
    }

    #[test]
    fn a_running_job_is_written_as_the_contract_says() {
        let details = JobDetails {
            output: "so far".into(),
            turn: 3,
            attempt: 1,
            last_event: 57,
            tool_calls: vec![ToolCallView::of(&call("a cat"))],
            input_requests: vec![],
            workflow: None,
            metadata: Metadata::from([("k".into(), "v".into())]),
            stream_url: Some("https://x/jobs/y/stream?token=z".into()),
            so_far: None,
        };
        let view = JobView::new(&head(State::Running { deadline_at: at(301) }), details);
        let wire = serde_json::to_value(&view).unwrap();
        assert_eq!(
            wire,
            json!({
                "id": "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3", "object": "job", "kind": "chat", "status": "running",
                "created_at": at(0), "started_at": at(1), "finished_at": null, "deadline_at": at(301),
                "expires_at": at(604_800), "user_id": "ann", "thread_id": "t1", "message_id": null,
                "title": "Hello", "model": "m",
                "output": "so far", "turn": 3, "attempt": 1, "last_event": 57,
                "tool_calls": [{"id": "c1", "lane": "main", "turn": 1, "name": "look", "arguments": "{}",
                    "status": "completed", "outcome": "done", "result": "a cat", "started_at": at(2), "finished_at": at(3),
                    "duration_ms": 1000}],
                "input_requests": [],
                "usage": {"input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cached_tokens": 0,
                    "cost_usd": 0.0},
                "metrics": {"total_turns": 0, "tool_call_count": 0, "tool_execution_time_ms": 0, "model_time_ms": 0,
                    "queue_time_ms": 0, "overhead_ms": 0, "recoveries": 0, "requests": 0},
                "finish_reason": null, "error": null, "stream_url": "https://x/jobs/y/stream?token=z",
                "metadata": {"k": "v"}
            })
        );
        assert_eq!(serde_json::from_value::<JobView>(wire).unwrap(), view);
    }

    #[test]
    fn a_failed_job_says_why() {
        let error = JobError {
            code: "deadline".into(),
            message: "It took longer than it may".into(),
            failed_during: FailedDuring::ModelCall,
            tool_name: None,
            node_id: None,
            turn: 2,
        };
        let ending = Ending::Failed { reason: FinishReason::Deadline, error: error.clone() };
        let state = State::Finished { ending, at: at(9), owed: Owed::default() };
        let view = JobSummaryView::new(&head(state));
        assert_eq!(
            (view.status, view.finish_reason, view.error, view.finished_at, view.deadline_at),
            (Status::Failed, Some(FinishReason::Deadline), Some(error), Some(at(9)), None)
        );
    }

    #[test]
    fn long_output_is_cut_at_a_character_and_said_to_be() {
        let output = format!("x{}", "é".repeat(limits::JOB_OUTPUT_BYTES / 2));
        let details = JobDetails { output, ..JobDetails::default() };
        let view = JobView::new(&head(State::Queued { until: at(9) }), details);
        assert!(view.output_truncated);
        assert_eq!(view.output.len(), limits::JOB_OUTPUT_BYTES - 1);
        assert_eq!(serde_json::to_value(&view).unwrap()["output_truncated"], true);
    }

    #[test]
    fn a_call_by_itself_has_its_whole_result() {
        let long = "r".repeat(limits::RESULT_BYTES);
        let view = whole_tool_call(&call(&long));
        assert_eq!((view.result.as_deref(), view.result_truncated), (Some(long.as_str()), false));
        assert!(ToolCallView::of(&call(&long)).result_truncated);
    }

    #[test]
    fn tools_are_listed_with_their_schemas() {
        let spec =
            ToolSpec { name: "look".into(), description: "Looks.".into(), parameters: json!({"type": "object"}) };
        assert_eq!(
            serde_json::to_value(ToolsView { data: vec![ToolView::new(&spec, true)] }).unwrap(),
            json!({"data": [{"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "enabled": true}]})
        );
    }
}
