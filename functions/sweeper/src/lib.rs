//! The sweeper: everything that is due and not done, by index, until nothing is left or the time is over.

pub mod config;

use std::time::Duration;

use engine::{SweepReport, Upkeep};
use signals::count;
use tokio::time::Instant;

/// Sweeps for at most `budget`, logs and counts what was found (R63). A running job in which nothing has happened for
/// `stall_after` is said to stand still.
///
/// # Errors
/// When the index cannot be read; the next sweep comes in a minute.
pub async fn handle(upkeep: &Upkeep, budget: Duration, stall_after: Duration) -> Result<SweepReport, store::Error> {
    let begun = Instant::now();
    // On the heap: the nest of its futures is deeper than the compiler looks into.
    let report = Box::pin(upkeep.sweep(budget, stall_after)).await?;
    let SweepReport {
        continuations_sent,
        pauses_announced,
        jobs_stalled,
        jobs_expired,
        jobs_settled,
        jobs_purged,
        untouched,
        failed,
        has_more,
    } = report;
    count::sweep(begun.elapsed());
    for (what, times) in [
        ("continuations_sent", continuations_sent),
        ("pauses_announced", pauses_announced),
        ("jobs_expired", jobs_expired),
        ("jobs_settled", jobs_settled),
        ("jobs_purged", jobs_purged),
        ("untouched", untouched),
        ("failed", failed),
    ] {
        count::swept(what, times);
    }
    if report == SweepReport::default() {
        tracing::debug!("nothing was due");
    } else {
        tracing::info!(
            continuations_sent,
            pauses_announced,
            jobs_stalled,
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
