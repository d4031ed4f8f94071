//! What keeps jobs going apart from turns: stray messages, what finished jobs owe, and the sweep.

use std::{sync::Arc, time::Duration};

use domain::{
    continuation::Continuation,
    id::{JobId, LaneName},
    input_request::InputRequest,
    job::{Ending, FailedDuring, FinishReason, Head, JobError, Metrics, State},
    lane::{Disposition, Lane},
};
use queue::{
    ContinuationQueue, Line, Ticket,
    bus::{EventBus, JobNotice},
};
use signals::{count, trace};
use store::{Due, EndOutcome, Stall, Store, SweptLane};
use tokio::time::Instant;

use crate::{Handled, clock::Clock};

/// How many due entries of each shard one pass takes.
const PAGE: u32 = 50;
/// How much longer than somebody else's lease, or one that is still to be claimed, a message is hidden: so that it does not
/// come back a moment too early.
pub(crate) const HIDDEN_LONGER: Duration = Duration::from_secs(1);

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

/// What a sweep found and did (R63).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Lanes whose continuation was sent again.
    pub continuations_sent: u32,
    /// Pauses of which the event bus was told late.
    pub pauses_announced: u32,
    /// Running jobs of which it was said that they stand still.
    pub jobs_stalled: u32,
    /// Jobs that were failed because their time was up.
    pub jobs_expired: u32,
    /// Jobs whose end was settled.
    pub jobs_settled: u32,
    /// Deleted jobs whose items were removed.
    pub jobs_purged: u32,
    /// Entries that needed nothing.
    pub untouched: u32,
    /// Entries that could not be dealt with; they come again.
    pub failed: u32,
    /// Whether the time was up before everything was looked at.
    pub has_more: bool,
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
    pub async fn settle(&self, head: &Head) -> Result<(), store::Error> {
        if head.owed().terminal {
            self.store.write_terminal(&head.id, &self.clock.fresh_name(), self.clock.now()).await?;
        }
        if let Some(bus) = self.bus.as_ref().filter(|_| head.owed().notification)
            && let Err(error) = bus.tell(&JobNotice::of(head)).await
        {
            // It stays owed: the sweeper tells.
            tracing::warn!(job.id = %head.id, error = &error as &dyn std::error::Error, "the job's end was not told");
            return Ok(());
        }
        if self.store.settled(head).await? {
            job_ended(head);
        }
        Ok(())
    }

    /// Tells the event bus that a lane waits for answers to these.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn announce(&self, head: &Head, lane: &Lane, requests: &[InputRequest]) -> Result<(), store::Error> {
        let open: Vec<&InputRequest> = requests.iter().filter(|request| request.is_open()).collect();
        if let Some(bus) = &self.bus
            && let Err(error) = bus.tell(&JobNotice::waiting(head, &open, self.clock.now())).await
        {
            // It stays owed: the sweeper tells.
            tracing::warn!(job.id = %head.id, error = &error as &dyn std::error::Error, "the pause was not told");
            return Ok(());
        }
        self.store.announced(head, lane).await
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

    /// Looks at everything that is past its due time, for at most `budget`. `stall_after`: how long nothing may happen in a
    /// running job before its log says so.
    ///
    /// # Errors
    /// When the index cannot be read. A single entry that fails is counted and comes again.
    pub async fn sweep(&self, budget: Duration, stall_after: Duration) -> Result<SweepReport, store::Error> {
        let until = Instant::now() + budget;
        let paused = self.store.switches().await?.turns_paused;
        let mut report = SweepReport::default();
        loop {
            let (due, more) = self.store.due(self.clock.now(), PAGE).await?;
            let before = report.failed + report.untouched;
            let found = due.len();
            for entry in due {
                if Instant::now() >= until {
                    report.has_more = true;
                    return Ok(report);
                }
                if paused && matches!(entry, Due::Lane(..)) {
                    report.untouched += 1;
                    continue;
                }
                if let Err(error) = self.sweep_entry(&entry, stall_after, &mut report).await {
                    report.failed += 1;
                    tracing::warn!(?entry, error = &error as &dyn std::error::Error, "not swept");
                }
            }
            // What was dealt with is due no more; when nothing was, the rest would only come round again.
            let stuck = (report.failed + report.untouched - before) as usize >= found;
            if !more || stuck {
                report.has_more = more;
                return Ok(report);
            }
        }
    }

    async fn sweep_entry(
        &self,
        entry: &Due,
        stall_after: Duration,
        report: &mut SweepReport,
    ) -> Result<(), store::Error> {
        match entry {
            Due::Lane(job, lane) => self.sweep_lane(job, lane, stall_after, report).await,
            Due::Job(job) => self.sweep_job(job, report).await,
        }
    }

    async fn sweep_lane(
        &self,
        job: &JobId,
        lane: &LaneName,
        stall_after: Duration,
        report: &mut SweepReport,
    ) -> Result<(), store::Error> {
        let (by, now) = (self.clock.fresh_name(), self.clock.now());
        let (needs, stall) = self.store.sweep_lane(job, lane, stall_after, &by, now).await?;
        match needs {
            SweptLane::Ask(continuation) => {
                self.send(&continuation, Duration::ZERO).await;
                report.continuations_sent += 1;
            }
            SweptLane::Announce(head, lane) => {
                let record = self.store.load(job).await?;
                let requests = record.map(|record| record.inputs).unwrap_or_default();
                let of_lane: Vec<_> = requests.into_iter().filter(|request| request.lane == lane.name).collect();
                self.announce(&head, &lane, &of_lane).await?;
                report.pauses_announced += 1;
            }
            SweptLane::Nothing => report.untouched += 1,
        }
        if let Some(stall) = stall {
            report.jobs_stalled += 1;
            self.tell_of_stall(&stall).await;
        }
        Ok(())
    }

    /// Tells of a job that stands still. The bus is told once, or not at all: the log has it.
    async fn tell_of_stall(&self, stall: &Stall) {
        let Stall { head, since } = stall;
        count::job_stalled();
        tracing::warn!(job.id = %head.id, stalled.since = %since, "a job stands still");
        if let Some(bus) = &self.bus
            && let Err(error) = bus.tell(&JobNotice::stalled(head, *since, self.clock.now())).await
        {
            tracing::warn!(job.id = %head.id, error = &error as &dyn std::error::Error, "the stall was not told");
        }
    }

    async fn sweep_job(&self, job: &JobId, report: &mut SweepReport) -> Result<(), store::Error> {
        let Some(head) = self.store.head(job, true).await? else {
            if self.store.is_deleted(job).await? {
                self.store.purge(job).await?;
                report.jobs_purged += 1;
            }
            return Ok(());
        };
        let now = self.clock.now();
        let ending = match &head.state {
            State::Finished { owed, .. } if owed.any() => {
                self.settle(&head).await?;
                report.jobs_settled += 1;
                return Ok(());
            }
            State::Queued { until } if *until <= now => queue_timeout(),
            State::Running { deadline_at } if *deadline_at <= now => deadline_passed(&head, 0),
            _ => {
                report.untouched += 1;
                return Ok(());
            }
        };
        match self.end(job, ending).await? {
            EndOutcome::Ended(_) => report.jobs_expired += 1,
            EndOutcome::Already(_) | EndOutcome::LeaseLost | EndOutcome::Gone => report.untouched += 1,
        }
        Ok(())
    }
}

/// Told once for a job, by whoever settles it.
fn job_ended(head: &Head) {
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
fn queue_timeout() -> Ending {
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
