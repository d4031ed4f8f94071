//! Starting jobs as a Lambda function: behind the HTTP API, and behind the queue of events that ask for jobs.

use lambda_http::{Adapter, Error, LambdaEvent, Service, request::LambdaRequest, service_fn};
use serde_json::Value;
use start_job::{config::Config, events, router};

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let metrics = startup::metrics::init()?;
    let starter = Config::from_env()?.starter()?;
    let http = Adapter::from(router(starter.clone()));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let (starter, mut http) = (starter.clone(), http.clone());
        async move {
            if event.payload.get("Records").is_some() {
                let batch = serde_json::from_value(event.payload)?;
                let response = events::handle(&starter, &batch).await;
                metrics.flush();
                return Ok::<Value, Error>(serde_json::to_value(response)?);
            }
            let request: LambdaRequest = serde_json::from_value(event.payload)?;
            let response = http.call(LambdaEvent::new(request, event.context)).await?;
            metrics.flush();
            Ok(serde_json::to_value(response)?)
        }
    }))
    .await
}
