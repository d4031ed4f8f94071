//! Starting jobs as a Lambda function behind the HTTP API.

use lambda_http::{Error, run};
use start_job::{config::Config, router};

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let starter = Config::from_env()?.starter().await;
    run(router(starter)).await
}
