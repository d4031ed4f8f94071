//! Workflows as their users see them: where a job's run is, and what the catalogue keeps.

use std::collections::BTreeMap;

use domain::{
    id::LaneName,
    job::{Head, WorkflowSpec},
    lane::Lane,
    time::Timestamp,
    workflow::{
        Finding, NodeStatus, Run, RunView,
        document::{Flow, Kind},
        view,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a job's workflow is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowView {
    /// The catalogue's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// The catalogue's version that the job keeps to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its nodes and how they are connected, so that whoever looks can draw it, wherever the document came from.
    #[serde(default)]
    pub graph: GraphView,
    /// Where its nodes are.
    #[serde(flatten)]
    pub run: RunView,
    /// What is odd about its document: in the answer to the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

impl WorkflowView {
    /// Where the run of this workflow is. Which nodes wait is known from their lanes; of a finished job none is at work.
    pub fn new(spec: &WorkflowSpec, head: &Head, run: Option<&Run>, lanes: &BTreeMap<LaneName, Lane>) -> Self {
        let none = Run::default();
        let run = run.unwrap_or(&none);
        let mut shown = view(&spec.workflow, run);
        let waits = |name: &LaneName| lanes.get(name).is_some_and(|lane| lane.waits.is_some());
        for (_, work) in run.plan.lanes.iter().filter(|(name, _)| waits(name)) {
            if let Some(node) = shown.node_states.get_mut(&work.key.shown()) {
                node.status = NodeStatus::Waiting;
            }
        }
        if head.status().is_finished() {
            shown.current_node_ids.clear();
            for node in shown.node_states.values_mut() {
                if matches!(node.status, NodeStatus::Active | NodeStatus::Waiting) {
                    node.status = NodeStatus::Skipped;
                }
            }
        }
        Self {
            id: spec.id.clone(),
            name: spec.workflow.root.name.clone(),
            version: spec.version,
            graph: GraphView::new(&spec.workflow.root),
            run: shown,
            warnings: vec![],
        }
    }
}

/// A workflow's graph, without what its nodes do. What is in subflows is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphView {
    /// In the document's order.
    pub nodes: Vec<GraphNodeView>,
    /// In the document's order.
    pub edges: Vec<GraphEdgeView>,
}

/// A node of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphNodeView {
    /// Its id.
    pub id: String,
    /// What it is, as documents say it.
    pub r#type: String,
    /// Its name for people.
    pub label: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// An edge of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphEdgeView {
    /// From which node.
    pub source: String,
    /// To which node.
    pub target: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl GraphView {
    fn new(flow: &Flow) -> Self {
        let id = |node: usize| flow.nodes.get(node).map(|node| node.id.clone()).unwrap_or_default();
        let nodes = flow.nodes.iter().map(|node| GraphNodeView {
            id: node.id.clone(),
            r#type: type_name(&node.kind).to_owned(),
            label: node.label.clone(),
            description: node.description.clone(),
        });
        let edges = flow.edges.iter().map(|edge| GraphEdgeView {
            source: id(edge.source),
            target: id(edge.target),
            label: edge.label.clone(),
        });
        Self { nodes: nodes.collect(), edges: edges.collect() }
    }
}

fn type_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Start => "start",
        Kind::Agent(_) => "agent",
        Kind::Router(_) => "router",
        Kind::Parallel(_) => "parallel",
        Kind::Loop(_) => "whileLoop",
        Kind::Subflow(_) => "subflow",
        Kind::Output(_) => "output",
        Kind::Tool(_) => "tool",
    }
}

/// A workflow of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredWorkflowView {
    /// The user's name for it.
    pub id: String,
    /// `workflow`.
    pub object: String,
    /// Rises with every change, from 1.
    pub version: u32,
    /// The document's name.
    pub name: String,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The document as it came; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
    /// What is odd about it: in the answer to storing it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// The user's workflows: the answer of `GET /workflows`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowsView {
    /// They, by id.
    pub data: Vec<StoredWorkflowView>,
}

/// What a check found: the answer of `POST /workflows/validate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationView {
    /// Whether a job could run it.
    pub valid: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is odd.
    pub warnings: Vec<Finding>,
}
