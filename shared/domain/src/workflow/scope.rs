//! Where in a run something is: the workflow's own graph, a subflow's, or an iteration of a loop's body; and what is known
//! of the nodes there.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    document::{Flow, Kind, Node, Subflow, SubflowNode, Workflow},
    graph::{Graph, Region},
    key::NodeKey,
    plan::{Frame, NodeRecord, NodeState, Plan, RunInput},
};

/// One graph, or one iteration of a loop's body, being run.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The graph.
    pub(super) flow: &'a Flow,
    graph: Rc<Graph>,
    /// The loop whose body this is.
    body_of: Option<usize>,
    /// The way here.
    pub(super) frames: Vec<Frame>,
    prefix: String,
    suffix: String,
    /// The scope around, and the subflow or loop there that this is.
    pub(super) outer: Option<(Rc<Scope<'a>>, usize)>,
    /// The subflow that this is, if it is one.
    pub(super) subflow: Option<(&'a Subflow, &'a SubflowNode)>,
}

impl<'a> Scope<'a> {
    /// A node's key.
    pub(super) fn key(&self, node: usize) -> NodeKey {
        NodeKey::new(&self.prefix, &self.flow.nodes[node].id, &self.suffix)
    }

    /// A node.
    pub(super) fn node(&self, node: usize) -> &'a Node {
        &self.flow.nodes[node]
    }

    /// What is run here.
    pub(super) fn region(&self) -> &Region {
        #[expect(clippy::expect_used, reason = "a scope is made for a region that exists")]
        self.graph.region(self.body_of).expect("the region exists")
    }

    /// Whether it is an iteration of a loop's body.
    pub(super) fn is_body(&self) -> bool {
        self.body_of.is_some()
    }

    /// The iteration that it is in, if in one.
    pub(super) fn iteration(&self) -> Option<u32> {
        self.frames.last().and_then(|frame| frame.iteration)
    }

    /// The edges into a node that count here.
    pub(super) fn arriving(&self, node: usize) -> impl Iterator<Item = usize> {
        self.graph.arriving(self.flow, self.region(), node)
    }
}

/// A run with everything that is needed to reason about it.
pub(super) struct Board<'a> {
    workflow: &'a Workflow,
    root: Rc<Graph>,
    subflows: BTreeMap<&'a str, Rc<Graph>>,
    /// What it is run on.
    pub(super) input: &'a RunInput,
    /// The plan as it is now.
    pub(super) plan: Plan,
    before: &'a BTreeMap<NodeKey, NodeRecord>,
    /// Records that are not stored yet.
    pub(super) changed: BTreeMap<NodeKey, NodeRecord>,
}

fn graph_of(flow: &Flow) -> Rc<Graph> {
    let start = flow.nodes.iter().position(|node| matches!(node.kind, Kind::Start)).unwrap_or(0);
    Rc::new(Graph::new(flow, start))
}

impl<'a> Board<'a> {
    /// Of a checked workflow.
    pub(super) fn new(
        workflow: &'a Workflow,
        input: &'a RunInput,
        plan: Plan,
        before: &'a BTreeMap<NodeKey, NodeRecord>,
    ) -> Self {
        let subflows = workflow.subflows.iter().map(|(id, subflow)| (id.as_str(), graph_of(&subflow.flow))).collect();
        Self { workflow, root: graph_of(&workflow.root), subflows, input, plan, before, changed: BTreeMap::new() }
    }

    /// The model of a node that names this one, or none.
    pub(super) fn model(&self, named: Option<&String>) -> String {
        named.or(self.workflow.default_model.as_ref()).cloned().unwrap_or_default()
    }

    /// The workflow's own graph.
    pub(super) fn root(&self) -> Rc<Scope<'a>> {
        Rc::new(Scope {
            flow: &self.workflow.root,
            graph: self.root.clone(),
            body_of: None,
            frames: vec![],
            prefix: String::new(),
            suffix: String::new(),
            outer: None,
            subflow: None,
        })
    }

    /// What a subflow node runs.
    pub(super) fn subflow(&self, outer: &Rc<Scope<'a>>, node: usize) -> Option<Rc<Scope<'a>>> {
        let Kind::Subflow(named) = &outer.node(node).kind else { return None };
        let subflow = self.workflow.subflows.get(&named.id)?;
        let mut frames = outer.frames.clone();
        frames.push(Frame { node, iteration: None });
        Some(Rc::new(Scope {
            flow: &subflow.flow,
            graph: self.subflows.get(named.id.as_str())?.clone(),
            body_of: None,
            frames,
            prefix: format!("{}/", outer.key(node).as_str()),
            suffix: String::new(),
            outer: Some((outer.clone(), node)),
            subflow: Some((subflow, named)),
        }))
    }

    /// An iteration of a loop's body; `None` when it has no body.
    pub(super) fn body(&self, outer: &Rc<Scope<'a>>, node: usize, iteration: u32) -> Option<Rc<Scope<'a>>> {
        outer.graph.region(Some(node))?;
        let sign = if outer.suffix.is_empty() { '#' } else { '.' };
        let mut suffix = format!("{}{sign}{iteration}", outer.suffix);
        if outer.graph.is_shared(node) {
            suffix = format!("{suffix}@{}", super::key::escaped(&outer.node(node).id));
        }
        let mut frames = outer.frames.clone();
        frames.push(Frame { node, iteration: Some(iteration) });
        Some(Rc::new(Scope {
            flow: outer.flow,
            graph: outer.graph.clone(),
            body_of: Some(node),
            frames,
            prefix: outer.prefix.clone(),
            suffix,
            outer: Some((outer.clone(), node)),
            subflow: None,
        }))
    }

    /// The scope at the end of a way.
    pub(super) fn at(&self, frames: &[Frame]) -> Option<Rc<Scope<'a>>> {
        frames.iter().try_fold(self.root(), |outer, frame| match frame.iteration {
            None => self.subflow(&outer, frame.node),
            Some(iteration) => self.body(&outer, frame.node, iteration),
        })
    }

    /// A node's state; `None` while it is pending.
    pub(super) fn state(&self, key: &NodeKey) -> Option<&NodeState> {
        self.plan.nodes.get(key)
    }

    /// What a node has said.
    pub(super) fn record(&self, key: &NodeKey) -> Option<&NodeRecord> {
        self.changed.get(key).or_else(|| self.before.get(key))
    }

    /// The edges that were taken into a node, in the document's order.
    pub(super) fn taken_into(&self, scope: &Scope<'a>, node: usize) -> Vec<usize> {
        let taken = |n: usize| {
            let source = scope.key(scope.flow.edges[n].source);
            self.state(&source).is_some_and(|state| state.taken.contains(&n))
        };
        scope.arriving(node).filter(|n| taken(*n)).collect()
    }

    /// The nodes that had their turn, by level (the longest way over taken edges) and then the document's order: the order
    /// of everything that is put in order, never that of time.
    pub(super) fn order(&self, scope: &Scope<'a>) -> Vec<usize> {
        let mut levels: BTreeMap<usize, usize> = BTreeMap::new();
        for &node in &scope.region().order {
            if self.state(&scope.key(node)).is_some_and(|state| state.in_order) {
                let parents = self.taken_into(scope, node).into_iter().map(|n| scope.flow.edges[n].source);
                let level = parents.filter_map(|parent| levels.get(&parent)).max().map_or(0, |level| level + 1);
                levels.insert(node, level);
            }
        }
        let mut order: Vec<(usize, usize)> = levels.into_iter().map(|(node, level)| (level, node)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, node)| node).collect()
    }

    /// The nodes on the ways that led to this one, in that order.
    pub(super) fn on_the_path(&self, scope: &Scope<'a>, node: usize) -> Vec<usize> {
        let mut found = BTreeSet::new();
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            for n in self.taken_into(scope, node) {
                let parent = scope.flow.edges[n].source;
                if found.insert(parent) {
                    left.push(parent);
                }
            }
        }
        let mut order = self.order(scope);
        order.retain(|node| found.contains(node));
        order
    }

    /// A scope's result: the output of its last output node, or of its last node.
    pub(super) fn result(&self, scope: &Scope<'a>) -> &str {
        let order = self.order(scope);
        let output = order.iter().rev().find(|node| matches!(scope.node(**node).kind, Kind::Output(_)));
        let last = output.or(order.last()).and_then(|node| self.record(&scope.key(*node)));
        last.and_then(|record| record.output.as_deref()).unwrap_or_default()
    }
}
