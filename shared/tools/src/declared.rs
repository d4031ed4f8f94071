//! Tools that are known here and run elsewhere: for processes that name tools, list them and check what a caller asks
//! for, and have no client that could run one.

use std::time::Duration;

use async_trait::async_trait;
use domain::tool_call::{Replay, ToolSpec};
use serde_json::Value;

use crate::{Tool, ToolContext, ToolError, ToolReply, TypedTool, limits::DEFAULT_TIMEOUT, typed};

/// A tool without its code.
#[derive(Debug, Clone)]
pub struct Declared {
    spec: ToolSpec,
    replay: Replay,
    timeout: Duration,
}

impl Declared {
    /// The tool of this definition.
    pub fn new(spec: ToolSpec, replay: Replay, timeout: Duration) -> Self {
        Self { spec, replay, timeout }
    }

    /// A typed tool, of which only the definition is used, with the usual time-out.
    pub(crate) fn of<T: TypedTool>(replay: Replay) -> Self {
        Self::new(typed::spec::<T::Arguments>(T::NAME, T::DESCRIPTION), replay, DEFAULT_TIMEOUT)
    }
}

#[async_trait]
impl Tool for Declared {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn replay(&self) -> Replay {
        self.replay
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn call(&self, _: Value, _: &ToolContext) -> Result<ToolReply, ToolError> {
        Err(ToolError::Fatal("this process declares the tool and does not run it".into()))
    }
}
