//! The sweep: everything that is past its due time, by index, each entry once.
//!
//! Nothing that cannot be dealt with holds up what comes after it: an entry that fails is passed over and comes again with
//! the next sweep, one whose turn the event bus refuses is put off, and a bus that refused once is not asked again in the
//! same sweep.

use std::time::Duration;

use domain::{
    id::{JobId, LaneName},
    job::{Head, State},
    lane::Lane,
};
use queue::bus::JobNotice;
use signals::count;
use store::{Due, DueFrom, EndOutcome, Stall, SweptLane};
use tokio::time::Instant;

use crate::upkeep::{Told, Upkeep, deadline_passed, job_ended, queue_timeout};

/// How many due entries of each shard one request asks for.
const PAGE: u32 = 50;
/// When a finished job is looked at again of whose end the event bus could not be told.
const TELL_AGAIN: Duration = Duration::from_secs(120);

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
    /// Looks at everything that is past its due time, for at most `budget`. `stall_after`: how long nothing may happen in a
    /// running job before its log says so.
    ///
    /// # Errors
    /// When the index cannot be read. A single entry that fails is counted and comes again.
    pub async fn sweep(&self, budget: Duration, stall_after: Duration) -> Result<SweepReport, store::Error> {
        let until = Instant::now() + budget;
        let now = self.clock.now();
        let paused = self.store.switches().await?.turns_paused;
        let mut sweep = Sweep { upkeep: self, stall_after, bus_refuses: false, report: SweepReport::default() };
        let mut from = Some(DueFrom::default());
        while let Some(start) = from {
            let (due, next) = self.store.due(now, PAGE, start).await?;
            for entry in due {
                if Instant::now() >= until {
                    sweep.report.has_more = true;
                    return Ok(sweep.report);
                }
                if paused && matches!(entry, Due::Lane(..)) {
                    sweep.report.untouched += 1;
                    continue;
                }
                if let Err(error) = sweep.entry(&entry).await {
                    sweep.report.failed += 1;
                    tracing::warn!(?entry, error = &error as &dyn std::error::Error, "not swept");
                }
            }
            from = next;
        }
        Ok(sweep.report)
    }
}

/// A sweep under way.
struct Sweep<'a> {
    upkeep: &'a Upkeep,
    stall_after: Duration,
    /// Whether the event bus has refused, or not answered: each further try would take seconds of what others wait for.
    bus_refuses: bool,
    report: SweepReport,
}

impl Sweep<'_> {
    async fn entry(&mut self, entry: &Due) -> Result<(), store::Error> {
        match entry {
            Due::Lane(job, lane) => self.lane(job, lane).await,
            Due::Job(job) => self.job(job).await,
        }
    }

    async fn lane(&mut self, job: &JobId, lane: &LaneName) -> Result<(), store::Error> {
        let Upkeep { store, clock, .. } = self.upkeep;
        let (needs, stall) = store.sweep_lane(job, lane, self.stall_after, &clock.fresh_name(), clock.now()).await?;
        match needs {
            SweptLane::Ask(continuation) => {
                self.upkeep.send(&continuation, Duration::ZERO).await;
                self.report.continuations_sent += 1;
            }
            SweptLane::Announce(head, lane) => self.announce(&head, &lane).await?,
            SweptLane::Nothing => self.report.untouched += 1,
        }
        if let Some(stall) = stall {
            self.report.jobs_stalled += 1;
            self.tell_of_stall(&stall).await;
        }
        Ok(())
    }

    async fn announce(&mut self, head: &Head, lane: &Lane) -> Result<(), store::Error> {
        if self.bus_refuses {
            self.report.failed += 1;
            return Ok(());
        }
        let record = self.upkeep.store.load(&head.id).await?;
        let requests = record.map(|record| record.inputs).unwrap_or_default();
        let of_lane: Vec<_> = requests.into_iter().filter(|request| request.lane == lane.name).collect();
        let told = self.upkeep.announce(head, lane, &of_lane).await?;
        match self.noted(told) {
            Told::Done => self.report.pauses_announced += 1,
            Told::StaysOwed => self.report.failed += 1,
        }
        Ok(())
    }

    /// Tells of a job that stands still. The bus is told once, or not at all: the log has it.
    async fn tell_of_stall(&mut self, stall: &Stall) {
        let Stall { head, since } = stall;
        count::job_stalled();
        tracing::warn!(job.id = %head.id, stalled.since = %since, "a job stands still");
        if !self.bus_refuses {
            let told = self.upkeep.tell(&JobNotice::stalled(head, *since, self.upkeep.clock.now())).await;
            self.noted(told);
        }
    }

    async fn job(&mut self, job: &JobId) -> Result<(), store::Error> {
        let Some(head) = self.upkeep.store.head(job, true).await? else { return self.deleted(job).await };
        let now = self.upkeep.clock.now();
        let ending = match &head.state {
            State::Finished { owed, .. } if owed.any() => return self.settle(&head).await,
            State::Queued { until } if *until <= now => queue_timeout(),
            State::Running { deadline_at } if *deadline_at <= now => deadline_passed(&head, 0),
            _ => {
                self.report.untouched += 1;
                return Ok(());
            }
        };
        let ended = self.upkeep.store.end(job, ending, None, &self.upkeep.clock.fresh_name(), now).await?;
        match ended {
            EndOutcome::Ended(head) => {
                self.report.jobs_expired += 1;
                if head.owed().any() {
                    self.settle_owed(&head).await?;
                }
            }
            EndOutcome::Already(_) | EndOutcome::LeaseLost | EndOutcome::Gone => self.report.untouched += 1,
        }
        Ok(())
    }

    async fn settle(&mut self, head: &Head) -> Result<(), store::Error> {
        match self.settle_owed(head).await? {
            Told::Done => self.report.jobs_settled += 1,
            Told::StaysOwed => self.report.failed += 1,
        }
        Ok(())
    }

    /// Does what a finished job owes; what the event bus refuses is put off, so that others are not behind it for ever.
    async fn settle_owed(&mut self, head: &Head) -> Result<Told, store::Error> {
        let Upkeep { store, clock, .. } = self.upkeep;
        let told = if self.bus_refuses {
            self.upkeep.end_log(head).await?;
            Told::StaysOwed
        } else {
            self.upkeep.settle(head).await?
        };
        if self.noted(told) == Told::StaysOwed {
            store.put_off(&head.id, clock.now() + TELL_AGAIN).await?;
        }
        Ok(told)
    }

    /// Removes what is left of a deleted job, once the bus knows how it ended.
    async fn deleted(&mut self, job: &JobId) -> Result<(), store::Error> {
        let Upkeep { store, clock, .. } = self.upkeep;
        let Some(mark) = store.mark_of_deleted(job).await? else { return Ok(()) };
        if let Some(head) = mark.owes {
            let told = if self.bus_refuses { Told::StaysOwed } else { self.upkeep.tell(&JobNotice::of(&head)).await };
            if self.noted(told) == Told::StaysOwed {
                self.report.failed += 1;
                return store.put_off(job, clock.now() + TELL_AGAIN).await;
            }
            job_ended(&head);
        }
        store.purge(job).await?;
        self.report.jobs_purged += 1;
        Ok(())
    }

    fn noted(&mut self, told: Told) -> Told {
        self.bus_refuses |= told == Told::StaysOwed;
        told
    }
}
