//! Tools that only the caller can run: known here by their definition alone.

use async_trait::async_trait;
use domain::tool_call::ToolSpec;
use serde_json::Value;

use crate::{RunsOn, Tool, ToolContext, ToolError, ToolReply, limits::CLIENT_ONLY};

/// A tool that a job's caller defines and runs. Registered, in the job's own copy of the registry, so that its arguments
/// are checked like any other's; never called.
#[derive(Debug, Clone)]
pub struct ClientTool {
    spec: ToolSpec,
}

impl ClientTool {
    /// The tool of this definition.
    pub fn new(spec: ToolSpec) -> Self {
        Self { spec }
    }
}

#[async_trait]
impl Tool for ClientTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn::Client
    }

    async fn call(&self, _: Value, _: &ToolContext) -> Result<ToolReply, ToolError> {
        Err(ToolError::RespondToModel(CLIENT_ONLY.to_owned()))
    }
}
