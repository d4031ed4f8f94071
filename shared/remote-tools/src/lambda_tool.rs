//! A tool that is a Lambda function: its calls invoke it and wait. The payload carries the key by which the function
//! knows a repetition.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_lambda::{
    Client, error::SdkError, operation::invoke::InvokeError, primitives::Blob, types::InvocationType,
};
use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use serde_json::Value;
use tools::{Sent, Source, Tool, ToolContext, ToolError, ToolReply, config::ConfiguredTool};

use crate::http_tool::Asked;

/// Characters of a function's error that the model may read.
const ERROR_CHARS: usize = 1_000;

/// A tool behind a function.
pub(crate) struct LambdaTool {
    spec: ToolSpec,
    timeout: Duration,
    approval: ApprovalRule,
    function: String,
    client: Client,
}

impl LambdaTool {
    pub(crate) fn new(config: &ConfiguredTool, function: &str, client: Client) -> Self {
        Self {
            spec: config.spec(),
            timeout: config.timeout(),
            approval: config.approval.clone(),
            function: function.to_owned(),
            client,
        }
    }
}

#[async_trait]
impl Tool for LambdaTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn replay(&self) -> Replay {
        ConfiguredTool::REPLAY
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn approval(&self) -> ApprovalRule {
        self.approval.clone()
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError> {
        let key = context.idempotency_key();
        let payload = Asked::new(&self.spec.name, &arguments, context, &key).json()?;
        let answer = self
            .client
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(failure)?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let name = &self.spec.name;
        if answer.function_error.is_some() {
            let said = serde_json::from_slice::<Value>(&payload).unwrap_or_default();
            let said: String = said["errorMessage"].as_str().unwrap_or_default().chars().take(ERROR_CHARS).collect();
            return Err(ToolError::RespondToModel(format!("Tool `{name}` failed: {said}")));
        }
        match serde_json::from_slice(&payload) {
            Ok(Value::String(text)) => Ok(ToolReply::text(text)),
            Ok(value) => ToolReply::json(&value),
            Err(_) => Err(ToolError::RespondToModel(format!("Tool `{name}` answered what is not JSON"))),
        }
    }
}

/// What a failed invocation means.
fn failure(error: SdkError<InvokeError>) -> ToolError {
    let network = |message: &str, sent, source: Source| ToolError::Network {
        message: message.to_owned(),
        sent,
        source: Some(source),
    };
    match &error {
        SdkError::ConstructionFailure(_) => ToolError::Fatal(error.into()),
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() || dispatch.is_timeout() => {
            network("the function could not be reached", Sent::Perhaps, error.into())
        }
        SdkError::ServiceError(refused) => match refused.err() {
            InvokeError::TooManyRequestsException(_) => {
                network("the function is at its limit", Sent::Nothing, error.into())
            }
            // Not allowed, or not there: the deployment is broken.
            refused if refused.is_resource_not_found_exception() || is_denied(refused) => {
                ToolError::Fatal(error.into())
            }
            InvokeError::InvalidRequestContentException(_) | InvokeError::RequestTooLargeException(_) => {
                ToolError::RespondToModel("The function does not take these arguments".to_owned())
            }
            _ => network("the function was not invoked", Sent::Perhaps, error.into()),
        },
        _ => network("the function's answer was lost", Sent::Perhaps, error.into()),
    }
}

fn is_denied(error: &InvokeError) -> bool {
    matches!(error.meta().code(), Some("AccessDeniedException" | "UnrecognizedClientException"))
}

#[cfg(test)]
mod tests;
