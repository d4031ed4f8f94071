//! A run as its job shows it.

use std::{collections::BTreeMap, rc::Rc};

use serde::{Deserialize, Serialize};

use super::{
    document::{Kind, Workflow},
    key::NodeKey,
    plan::{Ended, NodeStatus, Run, RunInput},
    scope::{Board, Scope},
};
use crate::time::Timestamp;

/// A run as its job shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Every node of the workflow, and every repetition and branch that has begun, by the name that viewers know.
    pub node_states: BTreeMap<String, NodeView>,
    /// The workflow's own nodes that had their turn: by the graph, never by time. Nodes in bodies and subflows are not in
    /// it.
    pub execution_order: Vec<String>,
    /// The nodes at work or waiting, those in bodies and subflows included.
    pub current_node_ids: Vec<String>,
    /// The node that the run failed at, the innermost in loops and subflows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_node_id: Option<String>,
}

/// A node as its job shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Where it is.
    pub status: NodeStatus,
    /// Its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<super::retry::NodeError>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The route that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The iteration that it is in; for a loop, how many it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
}

/// A run as its job shows it.
pub fn view(workflow: &Workflow, run: &Run) -> RunView {
    let input = RunInput::default(); // no text is looked at
    let board = Board::new(workflow, &input, run.plan.clone(), &run.nodes);
    let root = board.root();
    let mut view = RunView::default();
    for &node in &root.region().order {
        view.node_states.insert(root.key(node).shown(), NodeView::default());
    }
    for (key, state) in &run.plan.nodes {
        let record = run.nodes.get(key).cloned().unwrap_or_default();
        let node = NodeView {
            status: state.status,
            output: record.output,
            error: record.error,
            started_at: state.started_at,
            finished_at: state.finished_at,
            route: state.route.clone(),
            iteration: state.iteration,
        };
        view.node_states.insert(key.shown(), node);
    }
    view.execution_order = board.order(&root).into_iter().map(|node| root.key(node).shown()).collect();
    current(&board, &root, &mut view.current_node_ids);
    if let Some(Ended::Failed(key)) = &run.plan.ended {
        view.failed_node_id = Some(key.shown());
    }
    view
}

fn current(board: &Board<'_>, scope: &Rc<Scope<'_>>, ids: &mut Vec<String>) {
    visit(board, scope, &mut |key, status| {
        if matches!(status, NodeStatus::Active | NodeStatus::Waiting) {
            ids.push(key.shown());
        }
    });
}

/// Goes over the nodes that have begun and are not over, inner ones after their owners, in the graph's order.
fn visit<'a>(board: &Board<'a>, scope: &Rc<Scope<'a>>, see: &mut dyn FnMut(&NodeKey, NodeStatus)) {
    for &node in &scope.region().order {
        let key = scope.key(node);
        let Some(state) = board.state(&key) else { continue };
        see(&key, state.status);
        if state.status.is_settled() {
            continue;
        }
        let inner = match &scope.node(node).kind {
            Kind::Loop(_) => state.iteration.and_then(|n| board.body(scope, node, n)),
            Kind::Subflow(_) => board.subflow(scope, node),
            _ => None,
        };
        if let Some(inner) = inner {
            visit(board, &inner, see);
        }
    }
}
