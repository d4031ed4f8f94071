//! What a caller asked for: fixed when the job is accepted, and read by every turn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    approval::Approvals,
    id::JobId,
    limits::JobLimits,
    message::Message,
    sealed::Sealed,
    tool_call::ToolSpec,
    workflow::{RunInput, Workflow},
};

/// Which tools the model may, or must, call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

impl ToolChoice {
    /// The choice in a conversation's turn of this number: what is forced is so once, or no turn could ever be the last
    /// (R180).
    pub fn in_turn(&self, turn: u32) -> Self {
        match self {
            Self::Required | Self::Named(_) if turn > 1 => Self::Auto,
            choice => choice.clone(),
        }
    }
}

/// How the model is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// The model's name, as its provider knows it.
    pub model: String,
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Longest output of one turn, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Value>,
    /// Passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// Holds for the first turn; later ones are free (R180).
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// Whether the model may ask for several calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
}

/// A tool that the job may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolRef {
    /// One that the deployment has registered.
    Registered {
        /// Its name.
        name: String,
    },
    /// One that only the caller can run.
    Client {
        /// Its definition.
        spec: ToolSpec,
        /// Whether the job waits for the caller to run its calls; they are skipped otherwise.
        #[serde(default)]
        waits: bool,
    },
    /// Those of an MCP server that the deployment has configured.
    Mcp {
        /// The server's name in the deployment.
        server: String,
        /// Which of its tools, by the server's names for them; `None`: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<Vec<String>>,
    },
}

impl ToolRef {
    /// The name the model calls it by; of a server's tools, the server's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Registered { name } => name,
            Self::Client { spec, .. } => &spec.name,
            Self::Mcp { server, .. } => server,
        }
    }

    /// Whether the model may know a tool of this name from it. Of a server that is asked for all of its tools nobody can
    /// say.
    pub fn may_name(&self, tool: &str) -> bool {
        match self {
            Self::Registered { name } => name == tool,
            Self::Client { spec, .. } => spec.name == tool,
            Self::Mcp { tools, .. } => tools.as_ref().is_none_or(|tools| tools.iter().any(|name| name == tool)),
        }
    }
}

/// The name by which the model calls a server's tool: its own where no other tool of the job may have it, otherwise
/// `server__tool`. Told from the job alone and not from what its servers list today, so that a name means the same tool
/// in every turn, even in one in which a server does not answer.
pub fn served_name(tools: &[ToolRef], server: &str, tool: &str) -> String {
    let is_other = |other: &&ToolRef| !matches!(other, ToolRef::Mcp { server: name, .. } if name == server);
    if tools.iter().filter(is_other).any(|other| other.may_name(tool)) {
        format!("{server}__{tool}")
    } else {
        tool.to_owned()
    }
}

/// When a conversation is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactionThreshold {
    /// When the model's context is nearly full.
    Auto,
    /// At so many tokens.
    Tokens(u32),
}

/// How a conversation is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactionStrategy {
    /// Older messages become a summary.
    Summarize,
    /// Older messages are left out.
    Truncate,
}

/// When and how a conversation is shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// When.
    pub threshold: CompactionThreshold,
    /// Messages at the end that stay as they are.
    pub preserve_recent: u32,
    /// How.
    pub strategy: CompactionStrategy,
}

/// The caller's own notes on a job: at most 16, keys to 64 characters, values to 512.
pub type Metadata = BTreeMap<String, String>;

/// A workflow and what it is run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSpec {
    /// The catalogue's id of it, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The version of it that the job keeps to, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// It, checked, with everything that it needs.
    pub workflow: Workflow,
    /// What it is run on.
    pub input: RunInput,
    /// The messages that came in while a job ran that this one takes up again: its nodes hear them in all of their turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Message>,
}

/// What a caller asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The conversation so far, standing orders first; never empty.
    pub messages: Vec<Message>,
    /// How the model is asked.
    pub settings: ModelSettings,
    /// What it may call.
    #[serde(default)]
    pub tools: Vec<ToolRef>,
    /// What it may use.
    pub limits: JobLimits,
    /// The caller's notes.
    #[serde(default)]
    pub metadata: Metadata,
    /// The job whose conversation this one goes on from; its messages are in `messages` already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_job: Option<JobId>,
    /// The caller's own key for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_api_key: Option<Sealed>,
    /// The job that the key was sealed for, if not this one: that which this one goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_of: Option<JobId>,
    /// Which calls a person has to approve.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    pub approval: Approvals,
    /// The workflow that is run on the input, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Box<WorkflowSpec>>,
    /// How a long conversation is shortened; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mcp(server: &str, tools: Option<&[&str]>) -> ToolRef {
        let tools = tools.map(|tools| tools.iter().map(|&tool| tool.to_owned()).collect());
        ToolRef::Mcp { server: server.to_owned(), tools }
    }

    #[test]
    fn a_servers_tool_is_prefixed_where_another_may_have_its_name() {
        let registered = |name: &str| ToolRef::Registered { name: name.to_owned() };
        let alone = [registered("calculate"), mcp("wiki", None)];
        assert_eq!(served_name(&alone, "wiki", "search"), "search");
        assert_eq!(served_name(&alone, "wiki", "calculate"), "wiki__calculate");
        let two = [mcp("wiki", None), mcp("shop", None)];
        assert_eq!(served_name(&two, "wiki", "search"), "wiki__search", "the shop may have a `search`");
        let said = [mcp("wiki", Some(&["search"])), mcp("shop", Some(&["orders", "search"]))];
        assert_eq!(served_name(&said, "shop", "orders"), "orders");
        assert_eq!(served_name(&said, "shop", "search"), "shop__search");
        assert_eq!(served_name(&said, "wiki", "search"), "wiki__search");
    }
}
