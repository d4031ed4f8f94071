//! An event as viewers get it: in frames, and as JSON for those who poll.

use domain::{
    event::{Event, EventBody},
    id::{JobId, LaneName},
    job::Status,
    limits,
    time::Timestamp,
};
use serde::Serialize;

use crate::answer_size;

/// The `data` of an event's frame.
///
/// Written by a type of its own since a tool call or a question brings its lane and turn with it, and the event's origin would write
/// both a second time: a reader that is strict about JSON refuses members that come twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventView<'a> {
    /// What happened.
    #[serde(flatten)]
    body: &'a EventBody,
    /// To which job.
    job_id: &'a JobId,
    /// When.
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<&'a LaneName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<&'a str>,
}

impl<'a> EventView<'a> {
    /// `event` of `job` as viewers get it.
    pub fn new(job: &'a JobId, event: &'a Event) -> Self {
        let place = event.origin.as_ref().filter(|_| !event.body.brings_its_place());
        Self {
            body: &event.body,
            job_id: job,
            at: event.at,
            lane: place.map(|origin| &origin.lane),
            turn: place.map(|origin| origin.turn),
            attempt: event.origin.as_ref().map(|origin| origin.attempt),
            node_id: event
                .origin
                .as_ref()
                .filter(|_| !event.body.brings_its_node())
                .and_then(|origin| origin.node_id.as_deref()),
        }
    }

    /// Its JSON, on one line: JSON has no line breaks within strings.
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "strings, numbers, and JSON that was read before")]
        serde_json::to_string(self).expect("an event can be written as JSON")
    }
}

/// An event with its number, for viewers who poll; in frames the number is the frame's id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberedEventView<'a> {
    /// Its place in the log. Not `id`, which a tool call's event has of the call.
    pub number: u64,
    /// The event.
    #[serde(flatten)]
    pub event: EventView<'a>,
}

/// A piece of a job's log: the answer of `GET /jobs/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventsView<'a> {
    /// The events after the cursor, in order.
    pub data: Vec<NumberedEventView<'a>>,
    /// The cursor for the next request.
    pub last_event: u64,
    /// Where the job is.
    pub status: Status,
}

impl<'a> EventsView<'a> {
    /// The events after the cursor `after` of a job with this status; not all of them, when they are more than one answer
    /// may hold.
    pub fn new(job: &'a JobId, events: &'a [Event], after: u64, status: Status) -> Self {
        let data: Vec<_> = events
            .iter()
            .map(|event| NumberedEventView { number: event.number, event: EventView::new(job, event) })
            .collect();
        let data = answer_size::fitting(data, limits::ANSWER_BYTES);
        let last_event = data.last().map_or(after, |event| event.number);
        Self { data, last_event, status }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{
        event::{Compacted, JobState, JobSummary, Origin, ToolCallView, ToolErrorView},
        inbox::InboxMessage,
        input_request::{Action, InputContext, InputKind, InputRequest},
        job::{CompactionStrategy, FailedDuring, FinishReason, JobError, Metrics},
        message::Content,
        tool_call::{ToolCallStatus, ToolErrorPhase},
        usage::Usage,
    };
    use serde_json::json;

    use super::*;

    pub(crate) fn job() -> JobId {
        "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap()
    }

    pub(crate) fn at() -> Timestamp {
        Timestamp::from_millis(1_763_800_000_120)
    }

    pub(crate) fn event(number: u64, body: EventBody) -> Event {
        let origin = Origin { lane: LaneName::main(), turn: 2, attempt: 3, node_id: None };
        Event { number, at: at(), origin: Some(origin), body }
    }

    fn call(status: ToolCallStatus) -> EventBody {
        ToolCallView {
            id: "call_1".into(),
            lane: LaneName::main(),
            turn: 2,
            node_id: Some("n1".into()),
            name: "look".into(),
            arguments: "{}".into(),
            status,
            fingerprint: Some("f".into()),
            attempts: Some(1),
            outcome: None,
            edited_arguments: None,
            result: Some("a\r\nb".into()),
            result_truncated: true,
            error: Some(ToolErrorView { phase: Some(ToolErrorPhase::Timeout), message: "slow".into() }),
            started_at: Some(at()),
            finished_at: None,
            duration_ms: Some(5),
        }
        .into_event()
    }

    fn question() -> InputRequest {
        InputRequest {
            id: "main.2.call0".parse().unwrap(),
            kind: InputKind::Approval,
            lane: LaneName::main(),
            turn: 2,
            node_id: None,
            tool_call: None,
            prompt: "May I?".into(),
            options: vec![],
            input_schema: None,
            context: InputContext::default(),
            created_at: at(),
            expires_at: at(),
            default_action: Action::Reject,
            default_data: None,
            answer: None,
        }
    }

    fn message() -> InboxMessage {
        InboxMessage {
            number: 1,
            id: "m1".into(),
            content: Content::Text("And the price?".into()),
            by: "ann".into(),
            at: at(),
        }
    }

    fn summary(status: Status) -> EventBody {
        JobSummary {
            status,
            finish_reason: FinishReason::Error,
            output: "text\nof two lines".into(),
            output_truncated: false,
            usage: Usage { cost_usd: 0.25, ..Usage::default() },
            metrics: Metrics::default(),
            error: Some(JobError {
                code: "upstream_rejected".into(),
                message: "no".into(),
                failed_during: FailedDuring::ModelCall,
                tool_name: None,
                node_id: None,
                turn: 2,
            }),
        }
        .into_event()
    }

    pub(crate) fn one_of_each() -> Vec<Event> {
        use ToolCallStatus as S;
        let state = |status| JobState { status };
        let bodies = vec![
            EventBody::JobQueued(state(Status::Queued)),
            EventBody::JobRunning(state(Status::Running)),
            EventBody::JobInputRequired(state(Status::InputRequired)),
            EventBody::TurnStarted { model: "m".into() },
            EventBody::OutputDelta { text: "Zoë\r\n".into() },
            EventBody::ReasoningDelta { text: "hm".into() },
            call(S::Pending),
            call(S::Running),
            call(S::Completed),
            call(S::Error),
            call(S::Skipped),
            call(S::Unknown),
            EventBody::TurnRestarted { output_offset: 5 },
            EventBody::InputRequested(Box::new(question())),
            EventBody::InputResolved(Box::new(question())),
            EventBody::MessageAdded { message: Box::new(message()) },
            EventBody::ContextCompacted(Compacted {
                messages: 5,
                tokens_before: 9000,
                tokens_after: 1200,
                strategy: CompactionStrategy::Summarize,
                error: None,
            }),
            EventBody::JobStalled { since: at() },
            EventBody::ModelWaiting { until: at(), code: "rate_limited".into(), message: "wait".into() },
            EventBody::TurnCompleted { model: "m".into(), finish_reason: FinishReason::Stop, usage: Usage::default() },
            summary(Status::Completed),
            summary(Status::Failed),
            summary(Status::Cancelled),
        ];
        bodies.into_iter().zip(1..).map(|(body, number)| event(number, body)).collect()
    }

    /// What a frame's data says, to a reader that knows the domain's types.
    #[derive(serde::Deserialize)]
    struct ReadBack {
        #[serde(flatten)]
        body: EventBody,
        job_id: JobId,
        at: Timestamp,
        #[serde(flatten)]
        origin: Option<Origin>,
    }

    #[test]
    fn every_event_reads_back_as_the_domains_view_of_it() {
        for event in one_of_each() {
            let json = EventView::new(&job(), &event).to_json();
            let view: ReadBack = serde_json::from_str(&json).unwrap();
            assert_eq!(view.body, event.body);
            // A call's node is in the same member as its origin's would be.
            let origin = view.origin.map(|origin| Origin { node_id: None, ..origin });
            assert_eq!((view.job_id, view.at, origin), (job(), event.at, event.origin));
        }
    }

    #[test]
    fn no_member_comes_twice() {
        for event in one_of_each() {
            let json = EventView::new(&job(), &event).to_json();
            for member in ["\"lane\":", "\"turn\":2", "\"attempt\":", "\"job_id\":", "\"type\":"] {
                // A failed job's error names its turn too, one level down.
                let nested = usize::from(member == "\"turn\":2" && json.contains("failed_during"));
                assert_eq!(json.matches(member).count(), 1 + nested, "{member} in {json}");
            }
        }
    }

    #[test]
    fn an_event_of_the_job_itself_has_no_lane() {
        let queued = Event { origin: None, ..event(1, EventBody::JobQueued(JobState { status: Status::Queued })) };
        let view = serde_json::to_value(EventsView::new(&job(), &[queued], 0, Status::Queued)).unwrap();
        assert_eq!(
            view,
            json!({
                "data": [{"number": 1, "type": "job.queued", "status": "queued", "job_id": job(), "at": at()}],
                "last_event": 1, "status": "queued"
            })
        );
    }

    #[test]
    fn an_empty_piece_of_the_log_keeps_the_cursor() {
        let job = job();
        let view = EventsView::new(&job, &[], 57, Status::Running);
        assert_eq!(serde_json::to_value(view).unwrap(), json!({"data": [], "last_event": 57, "status": "running"}));
    }
}
