//! What a failure leads to: the node's own way of dealing with it, or the failure of the graph that it is in, which is its
//! owner's to deal with; at the top, the end of the run.

use std::rc::Rc;

use super::{
    advance::{Planner, onward},
    document::{ErrorMode, Kind},
    key::{NodeKey, Role},
    plan::{Frame, LaneWork, MAX_ITEMS, NodeRecord, NodeStatus},
    retry::{NodeError, NodeErrorCode},
    scope::Scope,
};
use crate::id::LaneName;

/// A failure that its graph does not deal with.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) key: NodeKey,
    pub(super) error: NodeError,
}

impl<'a> Planner<'a> {
    /// A node has failed for good: the flow goes on as the node says, or its graph fails.
    pub(super) fn fail(&mut self, scope: &Rc<Scope<'a>>, node: usize, error: NodeError) -> Result<bool, Failure> {
        self.fail_with(scope, node, Failure { key: scope.key(node), error }).map(|()| true)
    }

    pub(super) fn fail_with(&mut self, scope: &Rc<Scope<'a>>, node: usize, failure: Failure) -> Result<(), Failure> {
        let key = scope.key(node);
        let error_edges: Vec<usize> = scope.flow.leaving(node).filter(|(_, e)| e.is("error")).map(|(n, _)| n).collect();
        // A person's refusal has its own edge; what goes wrong inside, a refusal included, is the owner's to deal with.
        let refused_here = failure.error.code == NodeErrorCode::Rejected && failure.key == key;
        let (taken, output) = match scope.node(node).error_mode() {
            _ if refused_here => (None, None),
            ErrorMode::Branch if !error_edges.is_empty() => (Some(error_edges), None),
            ErrorMode::Continue => (Some(onward(scope, node)), Some(String::new())),
            ErrorMode::Branch | ErrorMode::Stop => (None, None),
        };
        let goes_on = taken.is_some();
        self.end(scope, &key, NodeStatus::Error, taken, None);
        self.write(&key, NodeRecord { input: None, output, error: Some(failure.error.clone()) }, None);
        if goes_on { Ok(()) } else { Err(failure) }
    }

    /// A person refused a node: the flow goes on along its rejected edges, or its graph fails.
    pub(super) fn reject(
        &mut self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        error: NodeError,
        output: Option<String>,
    ) -> Result<bool, Failure> {
        let taken: Vec<usize> = scope.flow.leaving(node).filter(|(_, e)| e.is("rejected")).map(|(n, _)| n).collect();
        if taken.is_empty() {
            let result = self.fail(scope, node, error);
            // What was refused is kept.
            if let Some(record) = self.board.changed.get_mut(&scope.key(node)) {
                record.output = output;
            }
            return result;
        }
        let key = scope.key(node);
        self.end(scope, &key, NodeStatus::Error, Some(taken), None);
        self.write(&key, NodeRecord { input: None, output, error: Some(error) }, None);
        Ok(true)
    }

    /// A failure in this scope goes up to the first owner that deals with it.
    pub(super) fn raise(&mut self, scope: &Rc<Scope<'a>>, failure: Failure) -> Result<(), Failure> {
        let Some((outer, owner)) = &scope.outer else { return Err(failure) };
        self.abandon(&scope.frames);
        match self.fail_with(outer, *owner, failure) {
            Ok(()) => Ok(()),
            Err(failure) => self.raise(outer, failure),
        }
    }

    /// Gives up whatever is at work at the end of this way and behind. Lanes that do not fit into the step stay open and
    /// are refused when they come with a result; those that wait for a person are closed first, since they may not come
    /// for days.
    pub(super) fn abandon(&mut self, frames: &[Frame]) {
        let within = |work: &LaneWork| work.frames.starts_with(frames) && !matches!(work.role, Role::Onward(_));
        let lanes: Vec<(LaneName, LaneWork)> = self
            .board
            .plan
            .lanes
            .iter()
            .filter(|(_, work)| within(work))
            .map(|(l, w)| (l.clone(), w.clone()))
            .collect();
        let (mut waiting, mut working) = (vec![], vec![]);
        for (lane, work) in lanes {
            self.board.plan.lanes.remove(&lane);
            let waits = self.board.state(&work.key).is_some_and(|state| state.status == NodeStatus::Waiting);
            if waits { waiting.push(lane) } else { working.push(lane) }
        }
        for lane in waiting.into_iter().chain(working) {
            if !self.opened.contains(&lane)
                && self.closed.len() + self.opened.len() + self.board.changed.len() < MAX_ITEMS
            {
                self.closed.push(lane);
            }
        }
        self.give_up(frames);
    }

    /// Settles as skipped whatever has begun at the end of this way and behind, and is not over.
    fn give_up(&mut self, frames: &[Frame]) {
        let Some(scope) = self.board.at(frames) else { return };
        for n in 0..scope.region().order.len() {
            let node = scope.region().order[n];
            let key = scope.key(node);
            let Some(state) = self.board.state(&key).filter(|state| !state.status.is_settled()) else { continue };
            let iteration = state.iteration;
            let (inner, branches) = match &scope.node(node).kind {
                Kind::Loop(_) => (iteration.and_then(|n| self.board.body(&scope, node, n)), vec![]),
                Kind::Subflow(_) => (self.board.subflow(&scope, node), vec![]),
                Kind::Parallel(it) => (None, it.branches.iter().map(|branch| key.branch(&branch.id)).collect()),
                _ => (None, vec![]),
            };
            if let Some(inner) = inner {
                self.give_up(&inner.frames);
            }
            for key in branches.into_iter().chain([key]) {
                if self.board.state(&key).is_some_and(|state| !state.status.is_settled()) {
                    self.end(&scope, &key, NodeStatus::Skipped, None, None);
                    self.tell(&key, NodeRecord::default(), None);
                }
            }
        }
    }
}
