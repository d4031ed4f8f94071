//! DynamoDB, SQS and EventBridge inside this process, behind the AWS SDK's HTTP-client seam.
//!
//! The functions' code talks to the real SDK clients here as it does on AWS; only the connector differs. Both emulators
//! are crates (`dynoxide-rs`, `winterbaume-sqs`); these modules carry requests to them without a socket, wake who waits,
//! and offer the place where tests lose, double and hold requests ([`fault`]). Nothing in here knows what a job is.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

pub mod dynamodb;
pub mod eventbridge;
mod expose;
pub mod fault;
pub mod sqs;

pub use dynamodb::EmbeddedDynamoDb;
pub use eventbridge::EmbeddedEventBridge;
pub use sqs::EmbeddedSqs;

/// The region that both emulators answer for.
pub const REGION: &str = "us-east-1";

/// The account that owns the emulated queues.
pub const ACCOUNT: &str = "123456789012";

/// The operation named by `X-Amz-Target`: the part behind the service and its version.
fn operation(request: &HttpRequest) -> Option<&str> {
    let target = request.headers().get("x-amz-target")?;
    Some(target.rsplit_once('.').map_or(target, |(_, name)| name))
}

fn response(status: u16, body: impl Into<SdkBody>) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::other(e.into(), None))?;
    Ok(HttpResponse::new(status, body.into()))
}
