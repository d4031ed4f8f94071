//! Streams as a Lambda function behind a function URL that streams its responses.

use lambda_http::{Error, run_with_streaming_response_concurrent};
use stream::{config::Config, router};

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let metrics = startup::metrics::init()?;
    let streams = Config::from_env()?.streams()?;
    streams.when_one_leaves(move || metrics.flush());
    // One invocation at a time, unless the environment says that it takes several (AWS_LAMBDA_MAX_CONCURRENCY).
    run_with_streaming_response_concurrent(router(streams)).await
}
