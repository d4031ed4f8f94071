//! A workflow as it is stored with the job: typed, checked, its subflows pinned. How it is read from a document is in
//! [`read`](super::read), what a document must fulfil in [`check()`](super::check()).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::retry::RetryRule;

/// A checked workflow with everything that it needs. Stored with its job, so that a later version in the catalogue
/// changes nothing for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The graph that the job runs.
    pub root: Flow,
    /// The workflows that its subflow nodes name, and those that these name, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subflows: BTreeMap<String, Subflow>,
    /// The job's model, for nodes that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
}

/// A workflow that is a node of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subflow {
    /// What it declares to take; the first is its text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<SubflowInput>,
    /// Its graph.
    pub flow: Flow,
}

/// What a subflow declares to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubflowInput {
    /// The name that mappings and templates use.
    pub id: String,
    /// Whether a node must map it.
    #[serde(default)]
    pub required: bool,
    /// What it is when nobody maps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// One graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// Its nodes, in the document's order.
    pub nodes: Vec<Node>,
    /// Its edges, in the document's order.
    pub edges: Vec<Edge>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id: any text, unique in its graph.
    pub id: String,
    /// Its name for people and models.
    pub label: String,
    /// What it is for; routers are told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it does.
    pub kind: Kind,
    /// What becomes of its failures; `None`: what its type does by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_handling: Option<ErrorHandling>,
    /// Whether a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hitl: Option<Hitl>,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The entry: its output is the input.
    Start,
    /// A conversation with a model that may call tools.
    Agent(Agent),
    /// A model chooses one of several ways.
    Router(Router),
    /// Several agents at once.
    Parallel(Parallel),
    /// Repeats what hangs on its body edge.
    Loop(WhileLoop),
    /// Another workflow.
    Subflow(SubflowNode),
    /// Puts the result together.
    Output(Output),
    /// One call of a tool.
    Tool(ToolNode),
}

/// Data of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its standing orders.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Longest answer, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Names of its tools; none named: all of the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Turns that may ask for tools.
    pub max_tool_turns: u32,
    /// What happens then.
    pub at_limit: AtLimit,
}

/// What happens when an agent has used up its turns with tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// It ends with its last text.
    #[default]
    Warning,
    /// It fails.
    Error,
    /// A person is asked whether it may go on.
    Ask,
}

/// Data of a router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The rules.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// What happens when the model's answer names no route.
    pub fallback: Fallback,
}

/// What a router does when the model's answer names no route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// It takes the first one.
    #[default]
    First,
    /// It fails.
    Error,
    /// The flow ends there.
    None,
}

/// Data of a parallel node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parallel {
    /// The model of the merge, and of branches that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How a model merges the answers; empty: they are put one after the other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The branches.
    pub branches: Vec<Branch>,
    /// Whether there is one result.
    pub merge: bool,
    /// How long a branch may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_timeout: Option<Duration>,
}

/// One branch of a parallel node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Its id, unique in its node.
    pub id: String,
    /// Its name.
    pub label: String,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its standing orders.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// Names of its tools; none named: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
}

/// Data of a loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhileLoop {
    /// What a model is asked before each iteration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub condition_prompt: String,
    /// Which model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_model: Option<String>,
    /// Most iterations.
    pub max_iterations: u32,
    /// What happens after them.
    pub at_max: AtMax,
    /// Instructions that go before the body's input.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub loop_prompt: String,
    /// Whether nobody is asked and all iterations run.
    pub fixed: bool,
    /// Whether the body is told the outputs before.
    pub previous_outputs: bool,
    /// Whether the body is told its iteration.
    pub iteration_context: bool,
    /// Whether the output has every iteration's.
    pub accumulate: bool,
}

/// What happens when a loop has run as often as it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtMax {
    /// It ends with its last output, and says so.
    #[default]
    Warning,
    /// It fails.
    Error,
    /// It ends with its last output.
    Continue,
}

/// Data of a subflow node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SubflowNode {
    /// Which workflow.
    pub id: String,
    /// What it is given, by the name of its inputs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mappings: BTreeMap<String, Value>,
    /// Whether it goes on with this workflow's session.
    #[serde(default)]
    pub share_session: bool,
}

/// Data of an output node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// In which form.
    pub format: Format,
    /// From what.
    pub mode: Mode,
    /// Whose outputs; none: every agent's on the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// What comes first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub intro: String,
    /// What comes last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outro: String,
    /// Whether the result says how it was made.
    #[serde(default)]
    pub metadata: bool,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As it is.
    #[default]
    Text,
    /// JSON, printed readably.
    Json,
    /// Markdown.
    Markdown,
}

/// What a result is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The sources, one after the other.
    #[default]
    Combine,
    /// A template with `{{name}}` in it; `None`: the node's input as it is.
    Template(Option<String>),
    /// One more model call.
    Synthesis {
        /// Its standing orders; empty: the usual ones.
        prompt: String,
        /// Its model.
        model: Option<String>,
    },
}

/// Data of a tool node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolNode {
    /// The tool's name.
    pub tool: String,
    /// Its arguments; strings in it may hold `{{name}}`.
    pub arguments: Value,
}

/// What becomes of a node's failures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorHandling {
    /// When it has failed for good; `None`: what its type does by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ErrorMode>,
    /// When it is tried again.
    #[serde(default)]
    pub retry: RetryRule,
}

/// What a node's failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorMode {
    /// The run fails.
    Stop,
    /// It goes on with an empty output.
    Continue,
    /// It goes on along the error edge; where there is none, it fails.
    Branch,
}

/// When a person is asked about a node, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hitl {
    /// When, and what for.
    pub mode: HitlMode,
    /// What the person reads; empty: the usual words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// What the person may choose from, if the document says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<super::people::Choice>,
    /// JSON schema of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// How long the person has; `None`: as long as the job's limits say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What counts as answered then.
    pub default_action: super::people::DefaultAction,
}

/// What a person is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitlMode {
    /// Whether the node may begin.
    Approval,
    /// What it begins with.
    Input,
    /// Whether its output is good.
    Review,
}

/// An edge, its ends by their place among the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// From which node.
    #[serde(rename = "s")]
    pub source: usize,
    /// To which node.
    #[serde(rename = "t")]
    pub target: usize,
    /// From which of its handles.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Its label.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Edge {
    /// Whether it leaves by this handle.
    pub fn is(&self, handle: &str) -> bool {
        self.handle.as_deref() == Some(handle)
    }

    /// Whether it leaves by this handle, or by none in particular.
    pub fn is_or_none(&self, handle: &str) -> bool {
        self.handle.is_none() || self.is(handle)
    }

    /// Whether it is for what goes wrong.
    pub fn is_exceptional(&self) -> bool {
        self.is("error") || self.is("rejected")
    }
}

impl Flow {
    /// Where a node of this id is.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// The edges that leave a node, with their places, in the document's order.
    pub fn leaving(&self, node: usize) -> impl Iterator<Item = (usize, &Edge)> {
        self.edges.iter().enumerate().filter(move |(_, edge)| edge.source == node)
    }
}

impl Node {
    /// When it is tried again.
    pub fn retry(&self) -> RetryRule {
        self.error_handling.as_ref().map(|handling| handling.retry.clone()).unwrap_or_default()
    }

    /// What its failure means. Loops, subflows and tools, whose data have no error mode in the editor, follow an error
    /// edge where there is one.
    pub fn error_mode(&self) -> ErrorMode {
        let by_default = match self.kind {
            Kind::Loop(_) | Kind::Subflow(_) | Kind::Tool(_) => ErrorMode::Branch,
            _ => ErrorMode::Stop,
        };
        self.error_handling.as_ref().and_then(|handling| handling.mode).unwrap_or(by_default)
    }
}
