//! The one place where the rules of a job live: what a command does to a job as it was read, or why it does nothing.
//!
//! A decision is only as good as what was read: the store writes its facts under the condition that nothing has changed.

use std::{collections::BTreeMap, time::Duration};

use super::{Ending, Fact, FinishReason, Head, IllegalTransition, State, Status, evolve};
use crate::{
    id::{InputRequestId, LaneName, WriterId},
    lane::{Disposition, Fence, Lane, LeaseTimes, Take},
    time::Timestamp,
};

/// A job as it was read: its head, and the lanes that matter to the command.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its head.
    pub head: Head,
    /// Its lanes: all of them where a command ends the job.
    pub lanes: BTreeMap<LaneName, Lane>,
}

/// What the world asks of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A worker came with a message for a lane's turn.
    Claim {
        /// The lane.
        lane: LaneName,
        /// The message's turn.
        turn: u32,
        /// Whether the message was delivered before.
        again: bool,
        /// The invocation.
        owner: WriterId,
    },
    /// The lane's worker has the model's whole answer.
    Checkpoint {
        /// Its lease.
        fence: Fence,
        /// Bytes that the answer adds to the lane's text.
        text_bytes: u64,
    },
    /// The lane's worker has done a turn that another must follow.
    Advance {
        /// Its lease.
        fence: Fence,
        /// Where the log ends.
        log_end: u64,
    },
    /// The lane's worker gives the turn back half way.
    Yield {
        /// Its lease.
        fence: Fence,
        /// How long the turn shall wait.
        delay: Duration,
        /// Whether it waits for the model's provider.
        upstream: bool,
    },
    /// The lane's worker needs answers before the turn can go on.
    Pause {
        /// Its lease.
        fence: Fence,
        /// Questions that have no answer.
        pending: u32,
        /// When the first of them expires.
        until: Timestamp,
    },
    /// The lane's worker needs the answer to a question of the whole job.
    PauseOn {
        /// Its lease.
        fence: Fence,
        /// The question.
        question: InputRequestId,
        /// Whether it is this lane that asks it.
        asks: bool,
        /// When it expires.
        until: Timestamp,
    },
    /// A question was answered.
    Answer {
        /// The lanes that wait for it: one, or, where it is asked for the whole job, any number.
        lanes: Vec<LaneName>,
    },
    /// The lane's worker has done its part of a workflow: the lane closes, others open or close, and perhaps the job ends.
    Settle {
        /// Its lease.
        fence: Fence,
        /// Lanes to be opened, with the nodes that they work for.
        opened: Vec<(LaneName, String)>,
        /// Lanes whose work is not wanted any more.
        closed: Vec<LaneName>,
        /// How the job ends, if it does.
        ending: Option<Ending>,
    },
    /// The lane's worker has the job's last answer.
    Complete {
        /// Its lease.
        fence: Fence,
        /// Messages that had been accepted when the answer's conversation was loaded.
        inbox: u32,
        /// Why the model stopped.
        reason: FinishReason,
    },
    /// The lane's worker cannot go on.
    Fail {
        /// Its lease.
        fence: Fence,
        /// How the job ends.
        ending: Ending,
    },
    /// The sweeper found that the job is past its time, or its owner cancels it: nobody's lease is asked for.
    End {
        /// How the job ends.
        ending: Ending,
    },
    /// A message for the running job was accepted.
    Post,
    /// The log's last event is written.
    LogEnded,
    /// The event bus was told.
    Notified,
}

/// Why a command does nothing: a normal answer, not a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The job is over and stays as it is.
    #[error("the job is {} already", .0.as_str())]
    Finished(Status),
    /// The job is not over yet.
    #[error("the job is not over")]
    NotFinished,
    /// The lane cannot be claimed; the message is to be treated so.
    #[error("the lane is not to be claimed: {0:?}")]
    NotClaimable(Disposition),
    /// The lease is somebody else's by now.
    #[error("the lease on lane {0} was lost")]
    LeaseLost(LaneName),
    /// There is no such lane.
    #[error("the job has no lane {0}")]
    NoSuchLane(LaneName),
    /// The lane does not wait for an answer.
    #[error("lane {0} does not wait for an answer")]
    NotWaiting(LaneName),
    /// A message came in after the last answer's conversation was loaded: another turn has to read it.
    #[error("a message came in; the job goes on")]
    MessageWaits,
    /// What was read is not a job that can exist.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

/// What `command` does to `job` at `now`.
///
/// # Errors
/// When it does nothing, and why.
pub fn decide(job: &Job, command: &Command, now: Timestamp, times: &LeaseTimes) -> Result<Vec<Fact>, Rejected> {
    match command {
        Command::Claim { lane, turn, again, owner } => {
            let lane = job.lane(lane)?;
            match lane.take(*turn, *again, owner, now, times) {
                Take::Dispose(disposition) => Err(Rejected::NotClaimable(disposition)),
                Take::Claim(claimed) => {
                    let woken = lane.waits.as_ref().map(|_| Fact::LaneWoken);
                    let head = begun(&job.head, now).into_iter().chain(woken);
                    Ok(head.chain(resumed(&job.head, now)).chain([Fact::Claimed(claimed)]).collect())
                }
            }
        }
        Command::Checkpoint { fence, text_bytes } => {
            Ok(vec![Fact::Checkpointed(job.held(fence)?.checkpointed(*text_bytes))])
        }
        Command::Advance { fence, log_end } => {
            Ok(vec![Fact::Advanced(job.held(fence)?.advanced(*log_end, now, times))])
        }
        Command::Yield { fence, delay, upstream } => {
            Ok(vec![Fact::Yielded(job.held(fence)?.yielded(*delay, *upstream, now, times))])
        }
        Command::Pause { fence, pending, until } => {
            let paused = Fact::Paused(job.held(fence)?.paused(*pending, *until, now, times));
            Ok([paused].into_iter().chain(stopped(&job.head, now)).collect())
        }
        Command::PauseOn { fence, question, asks, until } => {
            let paused = Fact::Paused(job.held(fence)?.paused_on(question, *asks, *until, now, times));
            Ok([paused].into_iter().chain(stopped(&job.head, now)).collect())
        }
        Command::Answer { lanes } => {
            job.unfinished()?;
            let answered = lanes
                .iter()
                .map(|lane| job.lane(lane)?.answered(now, times).ok_or_else(|| Rejected::NotWaiting(lane.clone())));
            let answered: Vec<Lane> = answered.collect::<Result<_, _>>()?;
            let n_woken = answered.iter().filter(|lane| lane.waits.is_none()).count();
            let resumed = resumed(&job.head, now).filter(|_| n_woken > 0);
            let woken = std::iter::repeat_n(Fact::LaneWoken, n_woken);
            Ok(woken.chain(resumed).chain(answered.into_iter().map(Fact::Answered)).collect())
        }
        Command::Settle { fence, opened, closed, ending } => {
            let own = job.held(fence)?;
            if let Some(ending) = ending {
                return job.ended(ending.clone(), now);
            }
            let others = closed.iter().filter_map(|name| job.lanes.get(name)).filter(|lane| lane.open);
            let facts = [own].into_iter().chain(others.filter(|lane| lane.name != own.name));
            let facts = facts.map(|lane| match lane.waits {
                None => Fact::Closed(lane.closed()),
                Some(_) => Fact::ClosedWaiting(lane.closed()),
            });
            let opened = opened.iter().map(|(name, node)| {
                Fact::Opened(Lane { node_id: Some(node.clone()), ..Lane::new(name.clone(), now + times.margin) })
            });
            let facts: Vec<Fact> = facts.chain(opened).collect();
            let after = facts.iter().try_fold(job.clone(), evolve)?;
            // All that is left waits for people.
            let is_left = after.head.lanes_at_work == 0 && after.lanes.values().any(|lane| lane.open);
            let stops = stopped(&after.head, now).filter(|_| is_left);
            Ok(facts.into_iter().chain(stops).collect())
        }
        Command::Complete { fence, inbox, reason } => {
            job.held(fence)?;
            if job.head.inbox != *inbox {
                return Err(Rejected::MessageWaits);
            }
            job.ended(Ending::Completed { reason: *reason }, now)
        }
        Command::Fail { fence, ending } => {
            job.held(fence)?;
            job.ended(ending.clone(), now)
        }
        Command::End { ending } => job.ended(ending.clone(), now),
        Command::Post => {
            job.unfinished()?;
            Ok(vec![Fact::MessageAccepted])
        }
        Command::LogEnded | Command::Notified => match &job.head.state {
            State::Finished { .. } if *command == Command::LogEnded => Ok(vec![Fact::LogEnded]),
            State::Finished { .. } => Ok(vec![Fact::Notified]),
            _ => Err(Rejected::NotFinished),
        },
    }
}

/// The job after `command`.
///
/// # Errors
/// When the command does nothing, and why.
pub fn after(job: &Job, command: &Command, now: Timestamp, times: &LeaseTimes) -> Result<Job, Rejected> {
    let facts = decide(job, command, now, times)?;
    facts.iter().try_fold(job.clone(), |job, fact| evolve(job, fact).map_err(Rejected::from))
}

/// The clock of a job's deadline starts with its first claim.
fn begun(head: &Head, now: Timestamp) -> Option<Fact> {
    matches!(head.state, State::Queued { .. })
        .then(|| Fact::Began { at: now, deadline_at: now + Duration::from_secs(head.deadline_seconds.into()) })
}

/// The clock stands still with the last lane that was at work.
fn stopped(head: &Head, now: Timestamp) -> Option<Fact> {
    match head.state {
        State::Running { deadline_at } if head.lanes_at_work <= 1 => {
            Some(Fact::Stopped { at: now, remaining: deadline_at.since(now) })
        }
        _ => None,
    }
}

/// And goes on with the first that is again.
fn resumed(head: &Head, now: Timestamp) -> Option<Fact> {
    match head.state {
        State::InputRequired { remaining_ms, .. } => {
            Some(Fact::Resumed { at: now, deadline_at: now + Duration::from_millis(remaining_ms) })
        }
        _ => None,
    }
}

impl Job {
    fn lane(&self, name: &LaneName) -> Result<&Lane, Rejected> {
        self.lanes.get(name).ok_or_else(|| Rejected::NoSuchLane(name.clone()))
    }

    /// The lane under `fence`, if the job still runs and the fence still holds.
    fn held(&self, fence: &Fence) -> Result<&Lane, Rejected> {
        self.unfinished()?;
        let lane = self.lane(&fence.lane)?;
        if lane.open && lane.is_held_by(&fence.owner, fence.epoch) {
            Ok(lane)
        } else {
            Err(Rejected::LeaseLost(fence.lane.clone()))
        }
    }

    fn unfinished(&self) -> Result<(), Rejected> {
        let status = self.head.status();
        if status.is_finished() { Err(Rejected::Finished(status)) } else { Ok(()) }
    }

    /// Ending a job closes every open lane, so that no message and no worker can take one up again.
    fn ended(&self, ending: Ending, now: Timestamp) -> Result<Vec<Fact>, Rejected> {
        self.unfinished()?;
        let closed = self.lanes.values().filter(|lane| lane.open).map(|lane| Fact::Closed(lane.closed()));
        Ok(closed.chain([Fact::Finished { ending, at: now }]).collect())
    }
}
