//! Tools whose arguments are a Rust type: the schema and the parsing come from the type.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolSpec},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{RunsOn, Tool, ToolContext, ToolError, ToolReply, limits};

/// A [`Tool`] with typed arguments. What is not said here is said at [`Tool`], whose defaults these are.
#[async_trait]
pub trait TypedTool: Send + Sync {
    /// The arguments: a struct with a doc comment on every field, which the model reads. `#[serde(deny_unknown_fields)]`
    /// makes a misspelt argument an error instead of a silence.
    type Arguments: DeserializeOwned + JsonSchema + Send;

    /// What the model calls it by: letters, digits, `_` and `-`, at most 64.
    const NAME: &'static str;

    /// What it does and when to use it, in words for the model.
    const DESCRIPTION: &'static str;

    /// See [`Tool::replay`].
    fn replay(&self) -> Replay {
        Replay::Never
    }

    /// See [`Tool::timeout`].
    fn timeout(&self) -> Duration {
        limits::DEFAULT_TIMEOUT
    }

    /// See [`Tool::approval`].
    fn approval(&self) -> ApprovalRule {
        ApprovalRule::NEVER
    }

    /// See [`Tool::runs_on`].
    fn runs_on(&self) -> RunsOn {
        RunsOn::Either
    }

    /// See [`Tool::call`].
    ///
    /// # Errors
    /// See [`ToolError`].
    async fn call(&self, arguments: Self::Arguments, context: &ToolContext) -> Result<ToolReply, ToolError>;
}

#[async_trait]
impl<T: TypedTool> Tool for T {
    fn spec(&self) -> ToolSpec {
        spec::<T::Arguments>(T::NAME, T::DESCRIPTION)
    }

    fn replay(&self) -> Replay {
        TypedTool::replay(self)
    }

    fn timeout(&self) -> Duration {
        TypedTool::timeout(self)
    }

    fn approval(&self) -> ApprovalRule {
        TypedTool::approval(self)
    }

    fn runs_on(&self) -> RunsOn {
        TypedTool::runs_on(self)
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError> {
        // The schema has been checked; what a type refuses beyond it is still the model's to correct.
        let arguments = serde_json::from_value(arguments)
            .map_err(|error| ToolError::InvalidArguments(format!("Invalid arguments: {error}.")))?;
        TypedTool::call(self, arguments, context).await
    }
}

/// The definition of a tool with arguments of this type.
pub(crate) fn spec<A: JsonSchema>(name: &str, description: &str) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters: schema_of::<A>() }
}

/// The schema as models take it: nothing to resolve, no dialect, no Rust names.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(members) = schema.as_object_mut() {
        members.remove("title");
        if members.get("type") == Some(&json!("object")) {
            members.entry("properties").or_insert_with(|| json!({}));
        }
    }
    schema
}
