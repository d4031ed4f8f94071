//! Reading and acting on jobs as a Lambda function behind the HTTP API.

use jobs::{config::Config, router};
use lambda_http::{Error, run};

#[tokio::main]
async fn main() -> Result<(), Error> {
    startup::tracing::init()?;
    let desk = Config::from_env()?.desk()?;
    run(router(desk)).await
}
