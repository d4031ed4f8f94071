//! The sweeper as a Lambda function: a schedule's events, whose content does not matter.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use sweeper::{config::Config, handle};

/// What the last entry may take after the time is up.
const TO_FINISH: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let metrics = startup::metrics::init()?;
    let traces = startup::traces::init("nightshift-sweeper")?;
    let config = Config::from_env()?;
    let stall_after = config.stall_after;
    let upkeep = config.upkeep()?;
    let (upkeep, traces) = (&upkeep, &traces);
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let swept = handle(upkeep, left.saturating_sub(TO_FINISH), stall_after).await;
        metrics.flush();
        traces.flush().await;
        swept.map(drop).map_err(Error::from)
    }))
    .await
}
