//! The first record of a job that was asked for.

use std::time::Duration;

use super::{Head, JobKind, JobSpec, Metrics, State, title::title};
use crate::{
    id::{JobId, LaneName, MessageId, ThreadId, UserId},
    lane::{Lane, LeaseTimes},
    limits::LONGEST_PAUSE,
    time::Timestamp,
    trace::TraceParent,
    usage::Usage,
};

/// The transaction that accepts a job, and the message that asks for its first turn.
const START_REQUESTS: u32 = 2;

/// Who asks for a job, and in which context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The job's future name.
    pub id: JobId,
    /// Whose it is.
    pub user: UserId,
    /// The caller's conversation that it belongs to.
    pub thread: Option<ThreadId>,
    /// The caller's message that it answers.
    pub message: Option<MessageId>,
    /// Seconds that it is kept after its end.
    pub retention_seconds: u32,
    /// Its place in a trace, if it has one.
    pub trace: Option<TraceParent>,
}

impl Asker {
    /// Somebody outside of any conversation and trace.
    pub fn new(id: JobId, user: UserId, retention_seconds: u32) -> Self {
        Self { id, user, thread: None, message: None, retention_seconds, trace: None }
    }
}

/// A job as it is first recorded: it waits for the first turn of its one lane. A workflow's opens the others.
pub fn accept(asker: Asker, spec: &JobSpec, now: Timestamp, times: &LeaseTimes) -> (Head, Lane) {
    let Asker { id, user, thread, message, retention_seconds, trace } = asker;
    let limits = spec.limits;
    let longest = limits.queue() + limits.deadline() + LONGEST_PAUSE + Duration::from_secs(retention_seconds.into());
    let head = Head {
        id,
        user,
        kind: if spec.workflow.is_some() { JobKind::Workflow } else { JobKind::Chat },
        thread,
        message,
        title: title(spec),
        model: spec.settings.model.clone(),
        created_at: now,
        started_at: None,
        state: State::Queued { until: now + limits.queue() },
        deadline_seconds: limits.deadline_seconds,
        retention_seconds,
        expires_at: now + longest,
        lanes_version: 1,
        lanes_at_work: 1,
        paused_ms: 0,
        inbox: 0,
        watched_until: now,
        trace,
        usage: Usage::default(),
        metrics: Metrics::default(),
    };
    // Its first event comes with it; what was asked to start it is the first turn's.
    (head, Lane { log_end: Some(1), requests: START_REQUESTS, ..Lane::new(LaneName::main(), now + times.margin) })
}
