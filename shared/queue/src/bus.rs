//! The event bus: where a job says that it has ended, so that somebody can be told who is not looking.

use std::{fmt, sync::Arc};

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use domain::{
    id::{InputRequestId, JobId, MessageId, ThreadId, UserId},
    input_request::{InputKind, InputRequest},
    job::{Ending, FinishReason, Head, JobError, Metrics, Status},
    time::Timestamp,
    usage::Usage,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The source of our events.
pub const SOURCE: &str = "nightshift";
/// The type of events that ask for a job; of any source.
pub const REQUESTED: &str = "Nightshift Job Requested";
/// The type of events that say that an asked-for job could not be started.
pub const REJECTED: &str = "Nightshift Job Rejected";

/// The event bus and a client for it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventBus {
    client: Client,
    in_process: Option<Arc<dyn InProcessBus>>,
    name: String,
}

/// A bus in this process, on which events are put without a client.
pub trait InProcessBus: fmt::Debug + Send + Sync {
    /// Puts an event of this source and type on the bus.
    fn put(&self, source: &str, detail_type: &str, detail: serde_json::Value);
}

/// What the bus is told of a job that ended or waits. Nothing of what was said in it: who is told may ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobNotice {
    /// The job. What is told twice is told of the same job.
    pub job_id: JobId,
    /// Whose.
    pub user_id: UserId,
    /// The caller's conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    /// The caller's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// How it ended, or that it waits.
    pub status: Status,
    /// Why.
    pub finish_reason: Option<FinishReason>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_requests: Vec<RequestNotice>,
    /// Since when it stands still, where that is what is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_since: Option<Timestamp>,
    /// Whether somebody was looking when it ended, began to wait, or was seen to stand still.
    pub watched: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What it used.
    pub usage: Usage,
    /// What it did.
    pub metrics: Metrics,
}

/// What the bus is told of a question: not the question itself, which may quote the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestNotice {
    /// Its id.
    pub id: InputRequestId,
    /// What is asked for.
    pub kind: InputKind,
    /// The workflow's node, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The tool, if about a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
    /// When its default action is taken.
    pub expires_at: Timestamp,
}

impl JobNotice {
    /// What is told of this job, which waits for answers to these.
    pub fn waiting(head: &Head, requests: &[&InputRequest], now: Timestamp) -> Self {
        let requests = requests.iter().map(|request| RequestNotice {
            id: request.id.clone(),
            kind: request.kind,
            node_id: request.node_id.clone(),
            tool_name: request.tool_call.as_ref().map(|call| call.name.clone()),
            expires_at: request.expires_at,
        });
        Self {
            status: Status::InputRequired,
            input_requests: requests.collect(),
            watched: head.is_watched(now),
            ..Self::of(head)
        }
    }

    /// What is told of this running job, in which nothing has happened since then.
    pub fn stalled(head: &Head, since: Timestamp, now: Timestamp) -> Self {
        Self { stalled_since: Some(since), watched: head.is_watched(now), ..Self::of(head) }
    }

    /// What is told of this job's end.
    pub fn of(head: &Head) -> Self {
        let finished_at = head.finished_at();
        Self {
            job_id: head.id.clone(),
            user_id: head.user.clone(),
            thread_id: head.thread.clone(),
            message_id: head.message.clone(),
            status: head.status(),
            finish_reason: head.ending().map(Ending::reason),
            error: head.ending().and_then(Ending::error).cloned(),
            input_requests: vec![],
            stalled_since: None,
            watched: finished_at.is_some_and(|at| head.is_watched(at)),
            created_at: head.created_at,
            finished_at,
            usage: head.usage,
            metrics: head.metrics,
        }
    }

    /// The event's type.
    pub fn detail_type(&self) -> &'static str {
        match self.status {
            _ if self.stalled_since.is_some() => "Nightshift Job Stalled",
            Status::Completed => "Nightshift Job Completed",
            Status::Cancelled => "Nightshift Job Cancelled",
            Status::InputRequired => "Nightshift Job Input Required",
            Status::Failed | Status::Queued | Status::Running => "Nightshift Job Failed",
        }
    }
}

/// Why an asked-for job was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRejected {
    /// The event that asked for it.
    pub event_id: String,
    /// For whom, if that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// A stable word.
    pub code: String,
    /// What was wrong, and what to do.
    pub message: String,
}

impl EventBus {
    /// The bus of this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, in_process: None, name: name.into() }
    }

    /// The same bus, which is in this process: it is told without the client.
    #[must_use]
    pub fn in_process(self, bus: Arc<dyn InProcessBus>) -> Self {
        Self { in_process: Some(bus), ..self }
    }

    /// Tells of a job's end, or that it waits.
    ///
    /// # Errors
    /// When the bus cannot be reached or refuses; it may have been told all the same.
    pub async fn tell(&self, job: &JobNotice) -> Result<(), Error> {
        self.put(job.detail_type(), job).await
    }

    /// Tells that a job could not be started.
    ///
    /// # Errors
    /// When the bus cannot be reached or refuses.
    pub async fn rejected(&self, rejected: &JobRejected) -> Result<(), Error> {
        self.put(REJECTED, rejected).await
    }

    async fn put(&self, kind: &str, detail: &impl Serialize) -> Result<(), Error> {
        if let Some(bus) = &self.in_process {
            let detail = serde_json::to_value(detail).map_err(|error| Error(Box::new(error)))?;
            bus.put(SOURCE, kind, detail);
            return Ok(());
        }
        let detail = serde_json::to_string(detail).map_err(|error| Error(Box::new(error)))?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(&self.name)
            .source(SOURCE)
            .detail_type(kind)
            .detail(detail)
            .build();
        let answer = self.client.put_events().entries(entry).send().await.map_err(|error| Error(Box::new(error)))?;
        match answer.entries().iter().find_map(|entry| entry.error_code()) {
            Some(code) => Err(Error(format!("the bus refused the event: {code}").into())),
            None => Ok(()),
        }
    }
}
