//! What the sweeper needs to know, from its environment.

use std::{sync::Arc, time::Duration};

use domain::lane::LeaseTimes;
use engine::{SystemClock, Upkeep};
use queue::{ContinuationQueue, bus::EventBus};
use startup::env;
use store::Store;

/// What the sweeper needs to know.
#[derive(Debug)]
pub struct Config {
    /// The table.
    pub table: String,
    /// The queue of first turns.
    pub starts_queue: String,
    /// The queue of all other turns.
    pub continuations_queue: String,
    /// The event bus.
    pub event_bus: String,
    /// How long nothing may happen in a running job.
    pub stall_after: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable is missing or wrong; the error names it.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(Self {
            table: env::table("NIGHTSHIFT_TABLE")?,
            starts_queue: env::address("NIGHTSHIFT_STARTS_QUEUE")?,
            continuations_queue: env::address("NIGHTSHIFT_CONTINUATIONS_QUEUE")?,
            event_bus: env::required("NIGHTSHIFT_EVENT_BUS")?,
            stall_after: Duration::from_secs(env::parsed("NIGHTSHIFT_STALL_SECONDS", "a number of seconds")?),
        })
    }

    /// The clients of a sweeper that is configured so.
    ///
    /// # Errors
    /// When the environment has no region.
    pub fn upkeep(self) -> anyhow::Result<Upkeep> {
        let aws = startup::aws::config()?;
        let queue = ContinuationQueue::new(aws_sdk_sqs::Client::new(&aws), self.starts_queue, self.continuations_queue);
        let bus = Some(EventBus::new(aws_sdk_eventbridge::Client::new(&aws), self.event_bus));
        let store = Store::new(aws_sdk_dynamodb::Client::new(&aws), self.table, LeaseTimes::default());
        Ok(Upkeep { store, queue, bus, clock: Arc::new(SystemClock) })
    }
}
