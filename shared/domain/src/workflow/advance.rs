//! Goes on from a plan as far as nothing has to be waited for: skips what no way leads to, settles what needs neither a
//! model nor a person nor a tool, and opens lanes for the rest. Looks at the state alone, in the graph's order, so that it
//! does not matter in which order results came in, nor how many steps it took.

use std::rc::Rc;

use super::{
    document::{AtMax, ErrorMode, Kind, Mode, Output, Parallel, WhileLoop},
    key::{NodeKey, Role, lane_name},
    past::Via,
    plan::{
        Ended, Frame, LaneWork, MAX_BYTES, MAX_ITEMS, MAX_OPENED, MAX_TOUCHED, NodeEvent, NodeRecord, NodeState,
        NodeStatus, RunEnd, Step,
    },
    retry::{NodeError, NodeErrorCode},
    scope::{Board, Scope},
    template::{self, Metadata},
};
use crate::{id::LaneName, time::Timestamp};

/// A failure that its graph does not deal with.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    key: NodeKey,
    error: NodeError,
}

/// A step in the making.
pub(super) struct Planner<'a> {
    pub(super) board: Board<'a>,
    now: Timestamp,
    opened: Vec<LaneName>,
    closed: Vec<LaneName>,
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

    /// Whether a step may write one thing more.
    fn has_room(&mut self) -> bool {
        let items = self.opened.len() + self.closed.len() + self.board.changed.len();
        let room = self.opened.len() + 1 < MAX_OPENED && items < MAX_ITEMS && self.bytes < MAX_BYTES;
        self.starved |= !room;
        room
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
        if self.board.plan.nodes.len() >= MAX_TOUCHED {
            let message = format!("The run touches more than {MAX_TOUCHED} nodes, repetitions counted; repeat less");
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
                let text = self.put_together(scope, node, output);
                let output = self.formatted(scope, node, output, text);
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
                Some(_) => {}
                None if self.has_room() => {
                    self.activate(scope, &branch);
                    self.open(scope, node, Role::Branch(n));
                }
                None => {}
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
        let outputs = self.board.iterations(scope, node, count);
        let last = outputs.last().cloned().unwrap_or_else(|| self.board.input_of(scope, node));
        let all = Accumulated { iterations: count, outputs: &outputs, final_output: &last };
        let output = if it.accumulate { serde_json::to_string(&all).unwrap_or_default() } else { last };
        self.complete(scope, node, Done { output, taken: forward(scope, node, "done"), note, ..Done::default() });
    }

    /// What an output node has before it is put into its form.
    fn put_together(&self, scope: &Rc<Scope<'a>>, node: usize, it: &Output) -> String {
        let board = &self.board;
        if let Mode::Template(template) = &it.mode {
            return match template {
                Some(template) => template::fill(template, &|name| board.resolve(scope, node, name)),
                None => board.input_of(scope, node),
            };
        }
        let mut parts = vec![it.intro.clone()];
        if it.sources.is_empty() {
            let parents = board.taken_into(scope, node);
            let is_parent = |key: &NodeKey| parents.iter().any(|n| scope.key(scope.flow.edges[*n].source) == *key);
            // A tool's result is for agents to read; it is part of the answer only where nothing comes between.
            let latest = board.latest(scope, node);
            let speaks = latest.iter().filter(|said| match &said.node.kind {
                // What was said in a loop's body is a step towards the loop's own output.
                Kind::Agent(_) | Kind::Parallel(_) | Kind::Loop(_) | Kind::Subflow(_) => said.via == Via::Here,
                Kind::Tool(_) => is_parent(&said.key),
                Kind::Start | Kind::Router(_) | Kind::Output(_) => false,
            });
            parts.extend(speaks.map(|said| said.output.to_owned()));
            if parts.iter().skip(1).all(String::is_empty) {
                parts.push(board.input_of(scope, node));
            }
        } else {
            parts.extend(it.sources.iter().filter_map(|source| board.output_named(scope, node, source)));
        }
        parts.push(it.outro.clone());
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }

    /// An output node's text in its form.
    pub(super) fn formatted(&self, scope: &Rc<Scope<'a>>, node: usize, it: &Output, text: String) -> String {
        let chain = || self.board.latest(scope, node).iter().map(|said| said.node.id.clone()).collect();
        let metadata = it.metadata.then(|| Metadata { chain: chain(), timestamp: self.now });
        template::formatted(text, it.format, metadata.as_ref())
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
    fn end(
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

    fn write(&mut self, key: &NodeKey, mut record: NodeRecord, note: Option<String>) {
        record.input = self.board.changed.get(key).and_then(|before| before.input.clone());
        let size = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.bytes += size(&record.input) + size(&record.output);
        self.tell(key, record.clone(), note);
        self.board.changed.insert(key.clone(), record);
    }

    fn tell(&mut self, key: &NodeKey, record: NodeRecord, note: Option<String>) {
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

    /// A node has failed for good: the flow goes on as the node says, or its graph fails.
    pub(super) fn fail(&mut self, scope: &Rc<Scope<'a>>, node: usize, error: NodeError) -> Result<bool, Failure> {
        self.fail_with(scope, node, Failure { key: scope.key(node), error }).map(|()| true)
    }

    fn fail_with(&mut self, scope: &Rc<Scope<'a>>, node: usize, failure: Failure) -> Result<(), Failure> {
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
    fn abandon(&mut self, frames: &[Frame]) {
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

/// The branches' answers under their labels, one after the other, and what went wrong.
pub(super) fn branches_text(board: &Board<'_>, key: &NodeKey, it: &Parallel) -> String {
    let answers = it.branches.iter().filter_map(|branch| {
        let text = board.record(&key.branch(&branch.id))?.output.as_ref()?;
        Some(format!("## {}\n{text}", branch.label))
    });
    let mut parts: Vec<String> = answers.collect();
    let errors = branch_errors(board, key, it);
    if !errors.is_empty() {
        parts.push(format!("## Errors\n{}", errors.join("\n")));
    }
    parts.join("\n\n")
}

fn branch_errors(board: &Board<'_>, key: &NodeKey, it: &Parallel) -> Vec<String> {
    let errors = it.branches.iter().filter_map(|branch| {
        let error = board.record(&key.branch(&branch.id))?.error.as_ref()?;
        Some(format!("{}: {}", branch.label, error.message))
    });
    errors.collect()
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
