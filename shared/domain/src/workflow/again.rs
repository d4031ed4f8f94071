//! A new run that begins where another failed, or at a node of it: what was before is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    advance::Planner,
    document::{Kind, Workflow},
    key::NodeKey,
    plan::{Ended, NodeEvent, NodeRecord, NodeState, NodeStatus, Plan, Run, RunEnd, RunInput, Step},
    retry::{NodeError, NodeErrorCode},
    scope::{Board, Scope},
};
use crate::time::Timestamp;

/// Why there is nothing to begin again with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotRetry {
    /// The node is not one that has begun in this run.
    #[error("`{0}` has not run in this job; name a node that has, or none for the failed one")]
    NotRun(String),
    /// Everything went well.
    #[error("nothing has failed in this job; name the node to begin with")]
    NothingFailed,
}

/// Begins a new run from another one: from the node of this name, as viewers know it, or from what failed or was cut off.
/// That, and everything after it, is run anew; everything else is kept, earlier iterations included. The step has all that
/// the new run consists of: it belongs to a new job, and its records may be more than a transaction takes.
///
/// # Errors
/// When there is no such node, or nothing to begin again with.
pub fn retry_from(
    workflow: &Workflow,
    input: &RunInput,
    run: &Run,
    node: Option<&str>,
    now: Timestamp,
) -> Result<Step, CannotRetry> {
    let board = Board::new(workflow, input, run.plan.clone(), &run.nodes);
    let mut again = Again { board: &board, named: node, found: false, kept: BTreeMap::new() };
    let root = board.root();
    let reopened = again.scope(&root);
    if !again.found
        && let Some(node) = node
    {
        return Err(CannotRetry::NotRun(node.to_owned()));
    }
    if !reopened {
        return Err(CannotRetry::NothingFailed);
    }
    let plan = Plan { nodes: again.kept, ..Plan::default() };
    let settled = |key: &NodeKey| plan.nodes.get(key).is_some_and(|state| state.status.is_settled());
    let records: BTreeMap<_, _> =
        run.nodes.iter().filter(|(key, _)| settled(key)).map(|(key, record)| (key.clone(), record.clone())).collect();
    let mut step = Planner::new(Board::new(workflow, input, plan, &records), now).finish();
    for (key, record) in records {
        step.changed.entry(key).or_insert(record);
    }
    Ok(step)
}

/// The first step of a run that was planned when its job was asked for: its lanes are opened, or it is over already.
/// Viewers of the new job are told of every node that is kept, and of those that begin.
pub fn take_up(workflow: &Workflow, input: &RunInput, run: &Run) -> Step {
    let end = run.plan.ended.as_ref().map(|ended| end_of(workflow, input, run, ended));
    let opened = run.plan.lanes.keys().cloned().collect();
    Step { plan: run.plan.clone(), opened, events: so_far(run), end, ..Step::default() }
}

/// What there is to tell of a run's nodes: first of those that are settled, in the order in which they were.
fn so_far(run: &Run) -> Vec<NodeEvent> {
    let mut nodes: Vec<(&NodeKey, &NodeState)> = run.plan.nodes.iter().collect();
    nodes.sort_by_key(|(_, state)| (!state.status.is_settled(), state.finished_at, state.started_at));
    let told = nodes.into_iter().map(|(key, state)| {
        let NodeRecord { output, error, .. } = run.nodes.get(key).cloned().unwrap_or_default();
        let (status, iteration, route) = (state.status, state.iteration, state.route.clone());
        NodeEvent { key: key.clone(), status, iteration, output, error, route, note: None }
    });
    told.collect()
}

/// The end that a plan remembers.
fn end_of(workflow: &Workflow, input: &RunInput, run: &Run, ended: &Ended) -> RunEnd {
    match ended {
        Ended::Completed => {
            let board = Board::new(workflow, input, run.plan.clone(), &run.nodes);
            RunEnd::Completed { output: board.result(&board.root()).to_owned() }
        }
        Ended::Failed(key) => {
            let error = run.nodes.get(key).and_then(|record| record.error.clone()).unwrap_or_else(|| NodeError {
                message: "The run is over".to_owned(),
                code: NodeErrorCode::Unknown,
                node_id: key.shown(),
                status_code: None,
            });
            let rejected = error.code == NodeErrorCode::Rejected;
            RunEnd::Failed { node: key.clone(), error, rejected }
        }
    }
}

struct Again<'b, 'a, 'n> {
    board: &'b Board<'a>,
    named: Option<&'n str>,
    found: bool,
    kept: BTreeMap<NodeKey, NodeState>,
}

/// What is to be done about a node.
enum Fate {
    Keep,
    /// It begins anew.
    Reset,
    /// It goes on, in this state.
    Reopen(NodeState),
}

impl<'a> Again<'_, 'a, '_> {
    /// Keeps what stands of a scope. Whether there is something in it to be run.
    fn scope(&mut self, scope: &Rc<Scope<'a>>) -> bool {
        let mut behind: BTreeSet<usize> = BTreeSet::new();
        let mut reopened = false;
        for &node in &scope.region().order {
            let key = scope.key(node);
            let state = self.board.state(&key).cloned();
            let was_before = scope.arriving(node).all(|n| !behind.contains(&scope.flow.edges[n].source));
            let fate = match state {
                Some(state) if was_before => self.fate(scope, node, &key, &state),
                // What comes after is run anew, and what has not begun is run if it is reached.
                state => {
                    let named = state.is_some() && self.named == Some(key.shown().as_str());
                    self.found |= named;
                    Fate::Reset
                }
            };
            match fate {
                Fate::Keep => continue,
                Fate::Reset => {}
                Fate::Reopen(state) => {
                    self.kept.insert(key, state);
                }
            }
            reopened = true;
            behind.insert(node);
        }
        reopened
    }

    fn fate(&mut self, scope: &Rc<Scope<'a>>, node: usize, key: &NodeKey, state: &NodeState) -> Fate {
        if self.named == Some(key.shown().as_str()) {
            self.found = true;
            return Fate::Reset;
        }
        let kind = &scope.node(node).kind;
        // What was skipped since no way led to it is found out again.
        if state.status == NodeStatus::Skipped && !state.in_order {
            return if self.board.taken_into(scope, node).is_empty() { self.keep(key, state) } else { Fate::Reset };
        }
        let ended_well = state.in_order && state.status.is_settled();
        match kind {
            Kind::Loop(_) | Kind::Subflow(_) => {
                // What was inside is kept with its owner, or not at all.
                let outside = std::mem::take(&mut self.kept);
                let found = self.found;
                let mut fate = self.owner_fate(scope, node, state);
                // What ended well stands, a failure inside that its owner has dealt with included, unless it was named.
                if ended_well && self.found == found {
                    self.kept.clear();
                    self.keep_within(scope, node, state);
                    fate = Fate::Keep;
                }
                let inside = std::mem::replace(&mut self.kept, outside);
                match fate {
                    Fate::Reset => Fate::Reset,
                    Fate::Keep => {
                        self.kept.extend(inside);
                        self.keep(key, state)
                    }
                    reopened @ Fate::Reopen(_) => {
                        self.kept.extend(inside);
                        reopened
                    }
                }
            }
            Kind::Parallel(_) if ended_well => {
                self.keep_within(scope, node, state);
                self.keep(key, state)
            }
            _ if ended_well => self.keep(key, state),
            _ => Fate::Reset,
        }
    }

    /// What is to be done about a loop or subflow, from what is inside.
    fn owner_fate(&mut self, scope: &Rc<Scope<'a>>, node: usize, state: &NodeState) -> Fate {
        let Kind::Loop(it) = &scope.node(node).kind else {
            return match self.board.subflow(scope, node) {
                Some(inner) if self.scope(&inner) => Fate::Reopen(active(state, state.iteration, false)),
                _ => Fate::Reset,
            };
        };
        let begun = state.iteration.unwrap_or(0);
        for iteration in 1..=begun {
            if self.board.body(scope, node, iteration).is_some_and(|body| self.scope(&body)) {
                return Fate::Reopen(active(state, Some(iteration), false));
            }
        }
        // Every iteration stands: it is the question whether to go on that failed, or was cut off.
        if !it.fixed && begun < it.max_iterations {
            Fate::Reopen(active(state, Some(begun), true))
        } else {
            Fate::Reset
        }
    }

    /// Keeps everything inside a loop or subflow as it is.
    fn keep_within(&mut self, scope: &Rc<Scope<'a>>, node: usize, state: &NodeState) {
        let inner: Vec<Rc<Scope<'a>>> = match &scope.node(node).kind {
            Kind::Loop(_) => {
                (1..=state.iteration.unwrap_or(0)).filter_map(|n| self.board.body(scope, node, n)).collect()
            }
            Kind::Subflow(_) => self.board.subflow(scope, node).into_iter().collect(),
            Kind::Parallel(it) => {
                let branches = it.branches.iter().map(|branch| scope.key(node).branch(&branch.id));
                let states = branches.filter_map(|key| Some((key.clone(), self.board.state(&key)?.clone())));
                self.kept.extend(states.collect::<Vec<_>>());
                vec![]
            }
            _ => vec![],
        };
        for inner in inner {
            for &node in &inner.region().order {
                let key = inner.key(node);
                if let Some(state) = self.board.state(&key).cloned() {
                    self.keep_within(&inner, node, &state);
                    self.kept.insert(key, state);
                }
            }
        }
    }

    fn keep(&mut self, key: &NodeKey, state: &NodeState) -> Fate {
        self.kept.insert(key.clone(), state.clone());
        Fate::Keep
    }
}

/// A loop or subflow that goes on.
fn active(state: &NodeState, iteration: Option<u32>, deciding: bool) -> NodeState {
    NodeState { status: NodeStatus::Active, started_at: state.started_at, iteration, deciding, ..NodeState::default() }
}
