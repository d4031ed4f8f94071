//! What each fact does to a job. One match, shared by the live path and by tests that replay.

use std::time::Duration;

use super::{Ending, Head, Owed, State, decide::Job};
use crate::{lane::Lane, time::Timestamp};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The first turn began: queued becomes running.
    Began {
        /// When.
        at: Timestamp,
        /// When the job's time will be up.
        deadline_at: Timestamp,
    },
    /// A lane was claimed, and now is so.
    Claimed(Lane),
    /// A lane's answer is recorded.
    Checkpointed(Lane),
    /// A lane's turn is over and the next one owed.
    Advanced(Lane),
    /// A lane's turn was given back half way.
    Yielded(Lane),
    /// A lane's turn waits for answers.
    Paused(Lane),
    /// A question of a lane was answered.
    Answered(Lane),
    /// A lane that waited is at work again.
    LaneWoken,
    /// No lane is at work any more: the job waits.
    Stopped {
        /// Since when.
        at: Timestamp,
        /// What is left of its time.
        remaining: Duration,
    },
    /// The job goes on.
    Resumed {
        /// Since when.
        at: Timestamp,
        /// When its time will be up.
        deadline_at: Timestamp,
    },
    /// A lane is opened.
    Opened(Lane),
    /// A lane that was at work is closed.
    Closed(Lane),
    /// A lane that waited for an answer is closed.
    ClosedWaiting(Lane),
    /// The job is over; its terminal event and its notification are owed.
    Finished {
        /// How.
        ending: Ending,
        /// When.
        at: Timestamp,
    },
    /// A message waits in the inbox.
    MessageAccepted,
    /// The log has its last event.
    LogEnded,
    /// The event bus was told.
    Notified,
}

/// A fact that cannot have happened to this job: corruption, or a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fact} cannot happen to a job that is {status}")]
pub struct IllegalTransition {
    /// The fact's name.
    pub fact: &'static str,
    /// The job's status.
    pub status: &'static str,
}

/// The job after `fact`.
///
/// # Errors
/// When the fact cannot follow on the job's state.
pub fn evolve(mut job: Job, fact: &Fact) -> Result<Job, IllegalTransition> {
    let illegal = IllegalTransition { fact: fact.name(), status: job.head.status().as_str() };
    let finished = job.head.status().is_finished();
    match fact {
        Fact::Began { at, deadline_at } => {
            let State::Queued { .. } = job.head.state else { return Err(illegal) };
            job.head.started_at = Some(*at);
            job.head.metrics.queue_time_ms = millis(at.since(job.head.created_at));
            job.head.state = State::Running { deadline_at: *deadline_at };
        }
        Fact::Claimed(lane)
        | Fact::Checkpointed(lane)
        | Fact::Advanced(lane)
        | Fact::Yielded(lane)
        | Fact::Paused(lane)
        | Fact::Answered(lane) => {
            if finished {
                return Err(illegal);
            }
            if let Fact::Paused(_) = fact {
                job.head.lanes_at_work = job.head.lanes_at_work.saturating_sub(1);
            }
            job.lanes.insert(lane.name.clone(), lane.clone());
        }
        Fact::LaneWoken => {
            if finished {
                return Err(illegal);
            }
            job.head.lanes_at_work += 1;
        }
        Fact::Stopped { at, remaining } => {
            let State::Running { .. } = job.head.state else { return Err(illegal) };
            job.head.state = State::InputRequired { since: *at, remaining_ms: millis(*remaining) };
        }
        Fact::Resumed { at, deadline_at } => {
            let State::InputRequired { since, .. } = job.head.state else { return Err(illegal) };
            job.head.paused_ms += millis(at.since(since));
            job.head.state = State::Running { deadline_at: *deadline_at };
        }
        Fact::Opened(lane) => {
            if finished {
                return Err(illegal);
            }
            job.head.lanes_at_work += 1;
            job.head.lanes_version += 1;
            job.lanes.insert(lane.name.clone(), lane.clone());
        }
        Fact::Closed(lane) | Fact::ClosedWaiting(lane) => {
            if let Fact::Closed(_) = fact {
                job.head.lanes_at_work = job.head.lanes_at_work.saturating_sub(1);
            }
            job.lanes.insert(lane.name.clone(), lane.clone());
        }
        Fact::Finished { ending, at } => {
            if finished {
                return Err(illegal);
            }
            job.head = finished_head(job.head, ending.clone(), *at);
        }
        Fact::MessageAccepted => {
            if finished {
                return Err(illegal);
            }
            job.head.inbox += 1;
        }
        Fact::LogEnded | Fact::Notified => {
            let State::Finished { owed, .. } = &mut job.head.state else { return Err(illegal) };
            match fact {
                Fact::LogEnded => owed.terminal = false,
                _ => owed.notification = false,
            }
        }
    }
    Ok(job)
}

fn finished_head(head: Head, ending: Ending, at: Timestamp) -> Head {
    Head {
        state: State::Finished { ending, at, owed: Owed { terminal: true, notification: true } },
        expires_at: at + Duration::from_secs(head.retention_seconds.into()),
        ..head
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Fact {
    fn name(&self) -> &'static str {
        match self {
            Self::Began { .. } => "beginning",
            Self::Claimed(_) => "a claim",
            Self::Checkpointed(_) => "a checkpoint",
            Self::Advanced(_) => "the next turn",
            Self::Yielded(_) => "giving a turn back",
            Self::Paused(_) => "a pause",
            Self::Answered(_) => "an answer",
            Self::LaneWoken => "a lane going on",
            Self::Stopped { .. } => "waiting for an answer",
            Self::Resumed { .. } => "going on",
            Self::Opened(_) => "opening a lane",
            Self::Closed(_) | Self::ClosedWaiting(_) => "closing a lane",
            Self::Finished { .. } => "an end",
            Self::MessageAccepted => "a message",
            Self::LogEnded => "the log's end",
            Self::Notified => "a notification",
        }
    }
}
