//! The sweeper: everything that is due and not done, by index, until nothing is left or the time is over.

pub mod config;

use std::time::Duration;

use engine::{SweepReport, Upkeep};

/// Sweeps for at most `budget`, and logs what was found (R63).
///
/// # Errors
/// When the index cannot be read; the next sweep comes in a minute.
pub async fn handle(upkeep: &Upkeep, budget: Duration) -> Result<SweepReport, store::Error> {
    let report = upkeep.sweep(budget).await?;
    let SweepReport {
        continuations_sent,
        pauses_announced,
        jobs_expired,
        jobs_settled,
        jobs_purged,
        untouched,
        failed,
        has_more,
    } = report;
    if report == SweepReport::default() {
        tracing::debug!("nothing was due");
    } else {
        tracing::info!(
            continuations_sent,
            pauses_announced,
            jobs_expired,
            jobs_settled,
            jobs_purged,
            untouched,
            failed,
            has_more,
            "swept"
        );
    }
    Ok(report)
}
