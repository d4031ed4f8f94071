//! What is wrong, or odd, about a document.

use serde::{Deserialize, Serialize};

/// What kind of finding, in the words of the workflow format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No node is a start.
    NoStartNode,
    /// Several are.
    MultipleStartNodes,
    /// No way leads from the start to the node, or none out of the start.
    DisconnectedNode,
    /// A way leads back to where it came from; also a subflow that holds itself.
    CycleDetected,
    /// An edge whose end does not exist.
    DanglingEdge,
    /// An edge at a handle that its node does not have.
    UnknownHandle,
    /// A node without an edge that it cannot do without.
    MissingRequiredPort,
    /// No model on the node, and none on the job.
    MissingModel,
    /// A loop that asks, without a question.
    MissingConditionPrompt,
    /// A loop's maximum that is not a number from 1.
    InvalidMaxIterations,
    /// A subflow node that names no workflow.
    MissingSubflowId,
    /// A workflow that is neither on the job nor in the catalogue.
    SubflowNotFound,
    /// A subflow's required input that nobody maps.
    MissingInputMapping,
    /// A type that is not one of the format's.
    UnknownNodeType,
    /// A tool that the job does not have.
    UnknownTool,
    /// Anything of a wrong type or out of range.
    DataValidationError,
    /// Nothing in a prompt or template.
    EmptyPrompt,
    /// The flow ends there, perhaps too early.
    DeadEndNode,
    /// Several edges at one handle.
    DuplicateSourceHandle,
    /// A router's edge, or a branch, without a name or an edge.
    MissingEdgeLabel,
    /// A loop without a body.
    MissingBody,
    /// No output node, a subflow that leads nowhere, or an output that leads somewhere.
    NoOutput,
}

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// At which node; within a subflow `<node>/<inner node>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// What it is, and what to do.
    pub message: String,
}

impl Code {
    /// Whether a document with it still runs.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::EmptyPrompt
                | Self::DeadEndNode
                | Self::DuplicateSourceHandle
                | Self::MissingEdgeLabel
                | Self::MissingBody
                | Self::NoOutput
        )
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Adds one, unless the same was found at the same node already.
    pub(super) fn add(&mut self, code: Code, node: Option<&str>, message: impl Into<String>) {
        let finding = Finding { code, node_id: node.map(str::to_owned), message: message.into() };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}
