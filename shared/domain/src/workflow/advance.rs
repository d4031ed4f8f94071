//! Goes on from a plan as far as nothing has to be waited for: skips what no way leads to, settles what needs neither a
//! model nor a person nor a tool, and opens lanes for the rest. Looks at the state alone, in the graph's order, so that it
//! does not matter in which order results came in, nor how many steps it took.

use std::rc::Rc;

use super::{
    combine::{branch_errors, branches_text},
    document::{AtMax, Kind, Mode, Parallel, WhileLoop},
    failing::Failure,
    key::{NodeKey, Role, lane_name},
    plan::{
        Ended, LaneWork, MAX_BYTES, MAX_ITEMS, MAX_LANES, MAX_RUN_BYTES, MAX_TOUCHED, NodeEvent, NodeRecord, NodeState,
        NodeStatus, RunEnd, Step,
    },
    retry::{NodeError, NodeErrorCode},
    scope::{Board, Scope},
};
use crate::{id::LaneName, time::Timestamp};

/// A step in the making.
pub(super) struct Planner<'a> {
    pub(super) board: Board<'a>,
    pub(super) now: Timestamp,
    pub(super) opened: Vec<LaneName>,
    pub(super) closed: Vec<LaneName>,
    pub(super) events: Vec<NodeEvent>,
    bytes: usize,
    /// More is ready than one step may write.
    starved: bool,
}

/// How a node ended that the flow goes on from.
#[derive(Default)]
pub(super) struct Done {
    pub(super) output: String,
    pub(super) taken: Vec<usize>,
    pub(super) route: Option<String>,
    pub(super) note: Option<String>,
    /// A person passed it over.
    pub(super) passed_over: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn new(board: Board<'a>, now: Timestamp) -> Self {
        Self { board, now, opened: vec![], closed: vec![], events: vec![], bytes: 0, starved: false }
    }

    /// Goes on as far as possible, and gives the step.
    pub(super) fn finish(mut self) -> Step {
        let root = self.board.root();
        match self.advance(&root) {
            Ok(true) => {
                self.board.plan.ended = Some(Ended::Completed);
                let output = self.board.result(&root).to_owned();
                self.step(Some(RunEnd::Completed { output }))
            }
            Ok(false) => {
                let waits = self.board.plan.lanes.values().any(|work| matches!(work.role, Role::Onward(_)));
                if self.starved && !waits {
                    self.board.plan.onwards += 1;
                    let role = Role::Onward(self.board.plan.onwards);
                    self.open(&root, root.region().entry, role);
                }
                debug_assert!(!self.board.plan.lanes.is_empty(), "a run that is not over has work");
                self.step(None)
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// The run is over, for this reason. Its lanes are closed by whoever ends the job.
    pub(super) fn failed(mut self, failure: Failure) -> Step {
        self.abandon(&[]);
        self.board.plan.lanes.clear();
        self.closed.clear();
        let Failure { key, error } = failure;
        self.board.plan.ended = Some(Ended::Failed(key.clone()));
        let rejected = error.code == NodeErrorCode::Rejected;
        self.step(Some(RunEnd::Failed { node: key, error, rejected }))
    }

    fn step(self, end: Option<RunEnd>) -> Step {
        let Self { board, opened, closed, events, .. } = self;
        // What was opened and given up again in one step was never there.
        let opened = opened.into_iter().filter(|lane| board.plan.lanes.contains_key(lane)).collect();
        Step { plan: board.plan, changed: board.changed, opened, closed, events, end }
    }

    /// Whether a step may write one thing more. When it may not, another step is to follow; when only too many lanes are
    /// open, that is the step of whichever settles next.
    fn has_room(&mut self) -> bool {
        let items = self.opened.len() + self.closed.len() + self.board.changed.len();
        let room = items < MAX_ITEMS && self.bytes < MAX_BYTES;
        self.starved |= !room;
        room && self.board.plan.lanes.len() + 1 < MAX_LANES
    }

    /// Whether everything in a scope is settled, after going on in it.
    fn advance(&mut self, scope: &Rc<Scope<'a>>) -> Result<bool, Failure> {
        let mut all = true;
        for n in 0..scope.region().order.len() {
            let node = scope.region().order[n];
            let key = scope.key(node);
            all &= match self.board.state(&key).map(|state| state.status) {
                Some(status) if status.is_settled() => true,
                Some(_) => self.go_on(scope, node, &key)?,
                None => self.begin_if_ready(scope, node, &key)?,
            };
        }
        Ok(all)
    }

    fn begin_if_ready(&mut self, scope: &Rc<Scope<'a>>, node: usize, key: &NodeKey) -> Result<bool, Failure> {
        if node != scope.region().entry {
            let is_settled = |n: usize| {
                let parent = scope.key(scope.flow.edges[n].source);
                self.board.state(&parent).is_some_and(|state| state.status.is_settled())
            };
            if !scope.arriving(node).all(is_settled) {
                return Ok(false);
            }
            if self.board.taken_into(scope, node).is_empty() {
                self.skip(scope, key);
                return Ok(true);
            }
        }
        if !self.has_room() {
            return Ok(false);
        }
        if self.board.plan.nodes.len() >= MAX_TOUCHED || self.board.plan.bytes > MAX_RUN_BYTES {
            let message = format!(
                "The run touches more than {MAX_TOUCHED} nodes, repetitions counted, or has more than {MAX_RUN_BYTES} bytes \
                 of texts; repeat less"
            );
            let error = self.error(key, NodeErrorCode::Validation, message);
            self.end(scope, key, NodeStatus::Error, None, None);
            self.write(key, NodeRecord { error: Some(error.clone()), ..NodeRecord::default() }, None);
            // No node deals with this one by itself: then there would be no end.
            return Err(Failure { key: key.clone(), error });
        }
        self.begin(scope, node, key)
    }

    fn begin(&mut self, scope: &Rc<Scope<'a>>, node: usize, key: &NodeKey) -> Result<bool, Failure> {
        match &scope.node(node).kind {
            Kind::Start => {
                let output = self.board.text(scope);
                self.complete(scope, node, Done { output, taken: onward(scope, node), ..Done::default() });
                return Ok(true);
            }
            Kind::Output(output) if !matches!(output.mode, Mode::Synthesis { .. }) => {
                let text = self.board.put_together(scope, node, output);
                let output = self.board.formatted(scope, node, output, text, self.now);
                self.complete(scope, node, Done { output, ..Done::default() });
                return Ok(true);
            }
            _ => {}
        }
        self.activate(scope, key);
        match &scope.node(node).kind {
            Kind::Agent(_) | Kind::Router(_) | Kind::Tool(_) | Kind::Output(_) | Kind::Start => {
                self.open(scope, node, Role::Node);
                return Ok(false);
            }
            Kind::Loop(it) => {
                let state = self.state(key);
                (state.iteration, state.deciding) = (Some(u32::from(it.fixed)), !it.fixed);
            }
            Kind::Parallel(_) | Kind::Subflow(_) => {}
        }
        self.go_on(scope, node, key)
    }

    /// Goes on with a node that has begun. Whether it is settled.
    fn go_on(&mut self, scope: &Rc<Scope<'a>>, node: usize, key: &NodeKey) -> Result<bool, Failure> {
        match &scope.node(node).kind {
            Kind::Parallel(it) => self.go_on_parallel(scope, node, key, it),
            Kind::Loop(it) => self.go_on_loop(scope, node, key, it),
            Kind::Subflow(_) => {
                let Some(inner) = self.board.subflow(scope, node) else {
                    let error =
                        self.error(key, NodeErrorCode::Validation, "The workflow of the subflow is not there".into());
                    return self.fail(scope, node, error);
                };
                if !self.within(scope, node, &inner)?.unwrap_or(false) {
                    return Ok(self.is_settled(key));
                }
                let output = self.board.result(&inner).to_owned();
                self.complete(scope, node, Done { output, taken: forward(scope, node, "output"), ..Done::default() });
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Goes on within a subflow or an iteration. Whether all is settled there; `None` when it failed and its owner, which is
    /// settled then, deals with it.
    fn within(&mut self, scope: &Rc<Scope<'a>>, node: usize, inner: &Rc<Scope<'a>>) -> Result<Option<bool>, Failure> {
        match self.advance(inner) {
            Ok(all) => Ok(Some(all)),
            Err(failure) => {
                self.abandon(&inner.frames);
                self.fail_with(scope, node, failure).map(|()| None)
            }
        }
    }

    fn go_on_parallel(
        &mut self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        key: &NodeKey,
        it: &Parallel,
    ) -> Result<bool, Failure> {
        let (mut settled, mut failed) = (0, 0);
        for (n, branch) in it.branches.iter().enumerate() {
            let branch = key.branch(&branch.id);
            match self.board.state(&branch).map(|state| state.status) {
                Some(status) if status.is_settled() => {
                    settled += 1;
                    failed += usize::from(status == NodeStatus::Error);
                }
                None if self.has_room() => {
                    self.activate(scope, &branch);
                    self.open(scope, node, Role::Branch(n));
                }
                _ => {}
            }
        }
        if settled < it.branches.len() {
            return Ok(false);
        }
        if failed == settled {
            let first = it
                .branches
                .iter()
                .filter_map(|branch| self.board.record(&key.branch(&branch.id))?.error.clone())
                .next();
            let code = first.as_ref().map_or(NodeErrorCode::Unknown, |error| error.code);
            let message = format!("All branches failed\n{}", branch_errors(&self.board, key, it).join("\n"));
            let status_code = first.and_then(|error| error.status_code);
            let error = NodeError { status_code, ..self.error(key, code, message) };
            return self.fail(scope, node, error);
        }
        if it.merge && !it.prompt.trim().is_empty() {
            let merging = self.board.plan.lanes.contains_key(&lane_name(key, Role::Merge));
            if !merging && self.has_room() {
                self.open(scope, node, Role::Merge);
            }
            return Ok(false);
        }
        let output = branches_text(&self.board, key, it);
        let taken = if it.merge { forward(scope, node, "merged") } else { self.branch_edges(scope, node, key, it) };
        self.complete(scope, node, Done { output, taken, ..Done::default() });
        Ok(true)
    }

    /// The edges of the branches that have an answer.
    fn branch_edges(&self, scope: &Scope<'a>, node: usize, key: &NodeKey, it: &Parallel) -> Vec<usize> {
        let answered = |handle: &str| {
            let branch = it.branches.iter().find(|branch| branch.id == handle);
            branch.is_some_and(|branch| {
                let state = self.board.state(&key.branch(&branch.id));
                state.is_some_and(|state| state.status == NodeStatus::Completed)
            })
        };
        let leaving = scope.flow.leaving(node).filter(|(_, edge)| edge.handle.as_deref().is_some_and(answered));
        leaving.map(|(n, _)| n).collect()
    }

    fn go_on_loop(
        &mut self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        key: &NodeKey,
        it: &WhileLoop,
    ) -> Result<bool, Failure> {
        loop {
            let state = self.state(key);
            let (iteration, deciding) = (state.iteration.unwrap_or(0), state.deciding);
            let Some(body) = self.board.body(scope, node, iteration) else {
                let message = "The loop has no body: connect its body handle".to_owned();
                return self.fail(scope, node, self.error(key, NodeErrorCode::Validation, message));
            };
            if deciding {
                let role = Role::Guard(iteration);
                if !self.board.plan.lanes.contains_key(&lane_name(key, role)) && self.has_room() {
                    self.open(scope, node, role);
                }
                return Ok(false);
            }
            match self.within(scope, node, &body)? {
                Some(true) => {}
                Some(false) => return Ok(false),
                None => return Ok(true),
            }
            if iteration >= it.max_iterations {
                return match it.at_max {
                    AtMax::Error => {
                        let message = format!("While loop reached max iterations ({iteration})");
                        self.fail(scope, node, self.error(key, NodeErrorCode::LoopLimit, message))
                    }
                    at_max => {
                        let warns = at_max == AtMax::Warning && !it.fixed;
                        let note = warns.then(|| format!("The loop reached its maximum of {iteration} iterations"));
                        self.end_loop(scope, node, it, iteration, note);
                        Ok(true)
                    }
                };
            }
            let state = self.state(key);
            if it.fixed {
                state.iteration = Some(iteration + 1);
            } else {
                state.deciding = true;
            }
        }
    }

    /// A loop is over after so many iterations.
    pub(super) fn end_loop(
        &mut self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        it: &WhileLoop,
        count: u32,
        note: Option<String>,
    ) {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Accumulated<'o> {
            iterations: u32,
            outputs: &'o [String],
            final_output: &'o str,
        }
        let outputs = self.board.iterations(scope, node, 1, count);
        let last = outputs.last().cloned().unwrap_or_else(|| self.board.input_of(scope, node));
        let all = Accumulated { iterations: count, outputs: &outputs, final_output: &last };
        let output = if it.accumulate { serde_json::to_string(&all).unwrap_or_default() } else { last };
        self.complete(scope, node, Done { output, taken: forward(scope, node, "done"), note, ..Done::default() });
    }

    fn state(&mut self, key: &NodeKey) -> &mut NodeState {
        self.board.plan.nodes.entry(key.clone()).or_default()
    }

    fn is_settled(&self, key: &NodeKey) -> bool {
        self.board.state(key).is_some_and(|state| state.status.is_settled())
    }

    fn activate(&mut self, scope: &Scope<'a>, key: &NodeKey) {
        let (now, iteration) = (self.now, scope.iteration().filter(|_| scope.is_body()));
        let state = self.state(key);
        (state.status, state.started_at, state.iteration) = (NodeStatus::Active, Some(now), iteration);
        self.tell(key, NodeRecord::default(), None);
    }

    fn open(&mut self, scope: &Scope<'a>, node: usize, role: Role) {
        let key = scope.key(node);
        let lane = lane_name(&key, role);
        let work = LaneWork { key, role, frames: scope.frames.clone(), node };
        self.board.plan.lanes.insert(lane.clone(), work);
        self.opened.push(lane);
    }

    fn skip(&mut self, scope: &Scope<'a>, key: &NodeKey) {
        let (now, iteration) = (self.now, scope.iteration().filter(|_| scope.is_body()));
        let state = self.state(key);
        (state.status, state.finished_at, state.iteration) = (NodeStatus::Skipped, Some(now), iteration);
        self.tell(key, NodeRecord::default(), None);
    }

    /// A node has ended well.
    pub(super) fn complete(&mut self, scope: &Scope<'a>, node: usize, done: Done) {
        let Done { output, taken, route, note, passed_over } = done;
        let key = scope.key(node);
        let status = if passed_over { NodeStatus::Skipped } else { NodeStatus::Completed };
        self.end(scope, &key, status, Some(taken), route);
        self.write(&key, NodeRecord { output: Some(output), ..NodeRecord::default() }, note);
    }

    /// A branch of a node has ended.
    pub(super) fn end_branch(&mut self, scope: &Scope<'a>, key: &NodeKey, result: Result<String, NodeError>) {
        let (status, record) = match result {
            Ok(text) => (NodeStatus::Completed, NodeRecord { output: Some(text), ..NodeRecord::default() }),
            Err(error) => (NodeStatus::Error, NodeRecord { error: Some(error), ..NodeRecord::default() }),
        };
        self.end(scope, key, status, Some(vec![]), None);
        self.write(key, record, None);
    }

    /// `taken` is `None` when the flow does not go on from here.
    pub(super) fn end(
        &mut self,
        scope: &Scope<'a>,
        key: &NodeKey,
        status: NodeStatus,
        taken: Option<Vec<usize>>,
        route: Option<String>,
    ) {
        let (now, iteration) = (self.now, scope.iteration().filter(|_| scope.is_body()));
        let state = self.state(key);
        state.status = status;
        state.started_at = state.started_at.or(Some(now));
        state.finished_at = Some(now);
        state.iteration = state.iteration.or(iteration);
        state.deciding = false;
        state.in_order = taken.is_some();
        state.taken = taken.unwrap_or_default();
        state.route = route;
    }

    /// A person put this in the place of a node's input.
    pub(super) fn replace_input(&mut self, key: &NodeKey, input: Option<String>) {
        if input.is_some() {
            self.board.changed.insert(key.clone(), NodeRecord { input, ..NodeRecord::default() });
        }
    }

    pub(super) fn write(&mut self, key: &NodeKey, mut record: NodeRecord, note: Option<String>) {
        record.input = self.board.changed.get(key).and_then(|before| before.input.clone());
        let size = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = size(&record.input) + size(&record.output);
        self.bytes += bytes;
        self.board.plan.bytes += bytes;
        self.tell(key, record.clone(), note);
        self.board.changed.insert(key.clone(), record);
    }

    pub(super) fn tell(&mut self, key: &NodeKey, record: NodeRecord, note: Option<String>) {
        let Some(state) = self.board.state(key) else { return };
        let (status, iteration, route) = (state.status, state.iteration, state.route.clone());
        let NodeRecord { output, error, .. } = record;
        self.events.push(NodeEvent { key: key.clone(), status, iteration, output, error, route, note });
    }

    /// A node waits for a person, or does so no longer.
    pub(super) fn set_waiting(&mut self, key: &NodeKey, waits: bool) {
        self.state(key).status = if waits { NodeStatus::Waiting } else { NodeStatus::Active };
        self.tell(key, NodeRecord::default(), None);
    }

    pub(super) fn error(&self, key: &NodeKey, code: NodeErrorCode, message: String) -> NodeError {
        NodeError { message, code, node_id: key.shown(), status_code: None }
    }
}

/// The edges that leave by this handle, or by none in particular.
pub(super) fn forward(scope: &Scope<'_>, node: usize, handle: &str) -> Vec<usize> {
    scope.flow.leaving(node).filter(|(_, edge)| edge.is_or_none(handle)).map(|(n, _)| n).collect()
}

/// All edges but those for what goes wrong, and those into a body.
pub(super) fn onward(scope: &Scope<'_>, node: usize) -> Vec<usize> {
    let into_body = |handle: &str| handle == "body" && matches!(scope.node(node).kind, Kind::Loop(_));
    let onward =
        scope.flow.leaving(node).filter(|(_, e)| !e.is_exceptional() && !e.handle.as_deref().is_some_and(into_body));
    onward.map(|(n, _)| n).collect()
}
