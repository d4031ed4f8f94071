//! What goes on beside a turn: the lease is renewed, the message stays hidden, and the head is looked at for an end of the
//! job and for viewers.

use std::time::Duration;

use domain::{id::JobId, job::Head, lane::Fence, time::Timestamp};
use queue::Ticket;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until},
};

use crate::upkeep::Upkeep;

/// Why a turn must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The lease is somebody else's, or may be by now.
    LeaseLost,
    /// The job is over.
    JobOver,
}

/// Keeps a turn's lease.
pub(crate) struct Keeper<'a> {
    pub(crate) upkeep: &'a Upkeep,
    pub(crate) job: &'a JobId,
    pub(crate) fence: &'a Fence,
    pub(crate) ticket: Option<&'a Ticket>,
    /// When the job was asked for.
    pub(crate) created_at: Timestamp,
    pub(crate) watched_until: watch::Sender<Timestamp>,
    /// When the lease ends; at first the one that the claim made.
    pub(crate) expires: watch::Sender<Instant>,
}

impl Keeper<'_> {
    /// Runs until the turn must stop.
    pub(crate) async fn run(self) -> Stop {
        // Side by side, so that a table that does not answer one of them cannot make us outlive the lease.
        tokio::select! {
            biased;
            stop = self.outlived() => stop,
            stop = self.renew() => stop,
            stop = self.look() => stop,
        }
    }

    async fn outlived(&self) -> Stop {
        loop {
            let expires = *self.expires.borrow();
            if expires <= Instant::now() {
                return Stop::LeaseLost;
            }
            sleep_until(expires).await;
        }
    }

    async fn renew(&self) -> Stop {
        let times = self.upkeep.store.times();
        let mut ticks = ticks(times.renew_every);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            match self.upkeep.store.renew(self.job, self.fence, self.upkeep.clock.now()).await {
                Ok(true) => {
                    self.expires.send_replace(asked + times.length);
                    if let Some(ticket) = self.ticket {
                        // Asked for after the lease, so it comes back after it, and not a second later: whoever dies now is
                        // replaced within ten.
                        self.upkeep.hide(ticket, times.length).await;
                    }
                }
                Ok(false) => return Stop::LeaseLost,
                Err(error) => {
                    tracing::warn!(job.id = %self.job, error = &error as &dyn std::error::Error, "lease not renewed");
                }
            }
        }
    }

    async fn look(&self) -> Stop {
        loop {
            let age = self.upkeep.clock.now().since(self.created_at);
            sleep(self.upkeep.store.times().look_after(age)).await;
            match self.head().await {
                Ok(Some(head)) if !head.status().is_finished() => {
                    self.watched_until.send_replace(head.watched_until);
                }
                Ok(_) => return Stop::JobOver,
                Err(error) => {
                    tracing::warn!(job.id = %self.job, error = &error as &dyn std::error::Error, "head not read");
                }
            }
        }
    }

    /// The head, as it may have been a moment ago; that it is not there is believed of a consistent read alone, since a young
    /// job's may only not have arrived yet.
    async fn head(&self) -> Result<Option<Head>, store::Error> {
        match self.upkeep.store.head(self.job, false).await? {
            Some(head) => Ok(Some(head)),
            None => self.upkeep.store.head(self.job, true).await,
        }
    }
}

/// Ticks that begin after the first interval.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
