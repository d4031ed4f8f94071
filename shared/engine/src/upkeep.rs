//! What keeps jobs going apart from turns: stray messages, and what finished jobs owe.

use std::{sync::Arc, time::Duration};

use domain::{
    continuation::Continuation,
    id::JobId,
    input_request::InputRequest,
    job::{Ending, FailedDuring, FinishReason, Head, JobError, Metrics},
    lane::{Disposition, Lane},
};
use queue::{
    ContinuationQueue, Line, Ticket,
    bus::{EventBus, JobNotice},
};
use signals::{count, trace};
use store::{EndOutcome, Store};

use crate::{Handled, clock::Clock};

/// How much longer than somebody else's lease, or one that is still to be claimed, a message is hidden: so that it does not
/// come back a moment too early.
pub(crate) const HIDDEN_LONGER: Duration = Duration::from_secs(1);

/// Whether the event bus knows what it is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It does, or jobs tell it nothing.
    Done,
    /// It could not be reached, or refused: the sweeper tells.
    StaysOwed,
}

/// The table, the queues and the time.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// The table.
    pub store: Store,
    /// The queues.
    pub queue: ContinuationQueue,
    /// The event bus, if jobs are to tell of their ends.
    pub bus: Option<EventBus>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Upkeep {
    /// Does what becomes of a message whose turn is not to be taken (PROTOCOL: `dispose`).
    pub(crate) async fn dispose(
        &self,
        message: &Continuation,
        ticket: Option<&Ticket>,
        again: bool,
        disposition: Disposition,
        head: &Head,
    ) -> Result<Handled, store::Error> {
        match disposition {
            Disposition::Drop => {}
            Disposition::Keep => return Ok(Handled::Back),
            Disposition::ComeBack(left) => {
                if let Some(ticket) = ticket {
                    let jitter = Duration::from_secs_f64(self.clock.jitter());
                    self.hide(ticket, left + jitter + HIDDEN_LONGER).await;
                }
                return Ok(Handled::Back);
            }
            Disposition::SendAgain(turn) => self.send(&Continuation { turn, ..message.clone() }, Duration::ZERO).await,
            Disposition::Closed => self.dispose_closed(message, again, head).await?,
        }
        Ok(Handled::Done)
    }

    async fn dispose_closed(&self, message: &Continuation, again: bool, head: &Head) -> Result<(), store::Error> {
        // The lane was read after this head: read it again, or a job that has just ended looks as if it went on.
        let Some(head) = self.store.head(&head.id, true).await? else { return Ok(()) };
        if head.status().is_finished() {
            if head.owed().any() {
                self.settle(&head).await?;
            }
        } else if again {
            for lane in self.store.lanes(&message.job).await?.into_iter().filter(|lane| lane.open && lane.epoch == 0) {
                let continuation = Continuation { job: message.job.clone(), lane: lane.name, turn: 1 };
                self.send(&continuation, Duration::ZERO).await;
            }
        }
        Ok(())
    }

    /// Does what a finished job owes: its terminal event, and telling the event bus. Anyone may, any number of times.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn settle(&self, head: &Head) -> Result<Told, store::Error> {
        self.end_log(head).await?;
        if head.owed().notification && self.tell(&JobNotice::of(head)).await == Told::StaysOwed {
            return Ok(Told::StaysOwed);
        }
        if self.store.settled(head).await? {
            job_ended(head);
        }
        Ok(Told::Done)
    }

    /// Writes a finished job's terminal event, if it is owed.
    pub(crate) async fn end_log(&self, head: &Head) -> Result<(), store::Error> {
        if head.owed().terminal {
            self.store.write_terminal(&head.id, &self.clock.fresh_name(), self.clock.now()).await?;
        }
        Ok(())
    }

    /// Tells the event bus, if jobs are to tell it anything.
    pub(crate) async fn tell(&self, notice: &JobNotice) -> Told {
        let Some(bus) = &self.bus else { return Told::Done };
        match bus.tell(notice).await {
            Ok(()) => Told::Done,
            Err(error) => {
                let (kind, error) = (notice.detail_type(), &error as &dyn std::error::Error);
                tracing::warn!(job.id = %notice.job_id, kind, error, "the event bus was not told");
                Told::StaysOwed
            }
        }
    }

    /// Tells the event bus that a lane waits for answers to these.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn announce(&self, head: &Head, lane: &Lane, requests: &[InputRequest]) -> Result<Told, store::Error> {
        let open: Vec<&InputRequest> = requests.iter().filter(|request| request.is_open()).collect();
        if self.tell(&JobNotice::waiting(head, &open, self.clock.now())).await == Told::StaysOwed {
            return Ok(Told::StaysOwed);
        }
        self.store.announced(head, lane).await?;
        Ok(Told::Done)
    }

    /// Ends a job from outside of its turns, and settles it.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn end(&self, job: &JobId, ending: Ending) -> Result<EndOutcome, store::Error> {
        let ended = self.store.end(job, ending, None, &self.clock.fresh_name(), self.clock.now()).await?;
        if let EndOutcome::Ended(head) = &ended {
            self.settle(head).await?;
        }
        Ok(ended)
    }

    /// Asks for a turn. That the queue cannot be reached is logged and nothing else: the turn is recorded as owed.
    pub async fn send(&self, continuation: &Continuation, delay: Duration) {
        // A first turn belongs behind other first turns, wherever its message was lost.
        let line = if continuation.turn == 1 && delay.is_zero() { Line::Starts } else { Line::Continuations };
        self.send_to(line, continuation, delay).await;
    }

    pub(crate) async fn send_to(&self, line: Line, continuation: &Continuation, delay: Duration) {
        if let Err(error) = self.queue.send(continuation, line, delay).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(job.id = %continuation.job, error, "continuation not sent; the sweeper will");
        }
    }

    /// Hides a message for so long, if the queue can be reached.
    pub async fn hide(&self, ticket: &Ticket, span: Duration) {
        if let Err(error) = self.queue.hide(ticket, span).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "message not hidden");
        }
    }

    /// For a system that is the table's only user and has just started: takes up what a dead predecessor left.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn take_over(&self) -> Result<usize, store::Error> {
        let owed = self.store.release_all(self.clock.now()).await?;
        for (continuation, delay) in &owed {
            self.send(continuation, *delay).await;
        }
        Ok(owed.len())
    }
}

/// Told once for a job, by whoever settles it.
pub(crate) fn job_ended(head: &Head) {
    let Metrics { total_turns, tool_call_count, tool_execution_time_ms, model_time_ms, queue_time_ms, .. } =
        head.metrics;
    tracing::info!(
        job.id = %head.id,
        job.status = head.status().as_str(),
        job.finish_reason = head.ending().map(|ending| ending.reason().as_str()),
        error.code = head.ending().and_then(Ending::error).map(|error| error.code.as_str()),
        turns = total_turns,
        calls = tool_call_count,
        tools_ms = tool_execution_time_ms,
        model_ms = model_time_ms,
        queue_ms = queue_time_ms,
        overhead_ms = head.metrics.overhead_ms,
        recoveries = head.metrics.recoveries,
        tokens.input = head.usage.input_tokens,
        tokens.output = head.usage.output_tokens,
        cost_usd = head.usage.cost_usd,
        trace.id = %trace::trace_id(head),
        "job ended"
    );
    count::job_ended(head);
    trace::job_ended(head);
}

/// How a job ends that nobody took up in time.
pub(crate) fn queue_timeout() -> Ending {
    let message = "No worker took the job up in time (limits.queue_seconds)".to_owned();
    failed(FinishReason::QueueTimeout, "queue_timeout", message, FailedDuring::Queue, 0)
}

/// How a job ends that has used up its time.
pub(crate) fn deadline_passed(head: &Head, turn: u32) -> Ending {
    let message = format!("The job took longer than its {} seconds (limits.deadline_seconds)", head.deadline_seconds);
    failed(FinishReason::Deadline, "deadline", message, FailedDuring::Turn, turn)
}

/// A failure without a tool or a node.
pub(crate) fn failed(reason: FinishReason, code: &str, message: String, during: FailedDuring, turn: u32) -> Ending {
    let error =
        JobError { code: code.to_owned(), message, failed_during: during, tool_name: None, node_id: None, turn };
    Ending::Failed { reason, error }
}
