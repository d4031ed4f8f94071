//! The worker as a Lambda function: batches from the two queues.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use worker::{config::Config, handle, until};

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let metrics = startup::metrics::init()?;
    let traces = startup::traces::init("nightshift-worker")?;
    let traces = &traces;
    let engine = Config::from_env()?.engine()?;
    let engine = &engine;
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let until = until(event.context.deadline());
        let response = handle(engine, &event.payload, until).await;
        metrics.flush();
        traces.flush().await;
        Ok::<_, Error>(response)
    }))
    .await
}
