//! What goes on beside a turn: the lease is renewed, the message stays hidden, and the head is looked at for an end of the
//! job and for viewers.

use domain::{id::JobId, lane::Fence, time::Timestamp};
use queue::Ticket;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
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
    pub(crate) watched_until: watch::Sender<Timestamp>,
    /// When the lease ends that the claim made.
    pub(crate) expires: Instant,
}

impl Keeper<'_> {
    /// Runs until the turn must stop.
    pub(crate) async fn run(mut self) -> Stop {
        let times = *self.upkeep.store.times();
        let begun = Instant::now();
        let ticks = |every| {
            let mut ticks = interval_at(begun + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut renew, mut look) = (ticks(times.renew_every), ticks(times.look_every));
        loop {
            tokio::select! {
                // A table that does not answer must not let us outlive the lease.
                () = sleep_until(self.expires) => return Stop::LeaseLost,
                _ = renew.tick() => if let Some(stop) = self.renew().await { return stop },
                _ = look.tick() => if let Some(stop) = self.look().await { return stop },
            }
        }
    }

    async fn renew(&mut self) -> Option<Stop> {
        let asked = Instant::now();
        match self.upkeep.store.renew(self.job, self.fence, self.upkeep.clock.now()).await {
            Ok(true) => self.expires = asked + self.upkeep.store.times().length,
            Ok(false) => return Some(Stop::LeaseLost),
            Err(error) => {
                tracing::warn!(job.id = %self.job, error = &error as &dyn std::error::Error, "lease not renewed");
            }
        }
        if let Some(ticket) = self.ticket {
            self.upkeep.hide(ticket, self.upkeep.store.times().length).await;
        }
        None
    }

    async fn look(&self) -> Option<Stop> {
        match self.upkeep.store.head(self.job, false).await {
            Ok(Some(head)) if head.status().is_finished() => Some(Stop::JobOver),
            Ok(Some(head)) => {
                self.watched_until.send_replace(head.watched_until);
                None
            }
            Ok(None) => Some(Stop::JobOver),
            Err(error) => {
                tracing::warn!(job.id = %self.job, error = &error as &dyn std::error::Error, "head not read");
                None
            }
        }
    }
}
