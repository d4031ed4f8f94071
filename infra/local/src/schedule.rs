//! What AWS does by the clock: invokes the sweeper, and forgets items whose time to live has passed.

use std::{sync::Arc, time::Duration};

use engine::Upkeep;
use tokio::time::{MissedTickBehavior, interval};

use crate::emulator::EmbeddedDynamoDb;

/// How long one sweep may take.
const SWEEP_BUDGET: Duration = Duration::from_secs(30);
/// How often items are forgotten; DynamoDB takes up to days.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Sweeps at once and then every so often, until it is dropped.
pub(crate) async fn run(upkeep: Upkeep, dynamodb: Arc<EmbeddedDynamoDb>, every: Duration, stall_after: Duration) {
    let ticks = |every| {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut sweep, mut forget) = (ticks(every), ticks(FORGET_EVERY));
    loop {
        tokio::select! {
            _ = sweep.tick() => if let Err(error) = sweeper::handle(&upkeep, SWEEP_BUDGET, stall_after).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "not swept");
            },
            _ = forget.tick() => {
                // What was measured since the last time is added up, whoever asks for it.
                crate::metrics::counts().run_upkeep();
                if let Err(error) = dynamodb.sweep_ttl().await {
                    tracing::warn!(error = &*error, "nothing forgotten");
                }
            },
        }
    }
}
