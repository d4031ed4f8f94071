//! The beginning of a run, and what a lane's result makes of it.

use std::{collections::BTreeMap, rc::Rc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    advance::{Done, Planner, forward, onward},
    answer::{chosen, goes_on, routed, routes},
    document::{Fallback, Kind, Workflow},
    failing::Failure,
    key::Role,
    plan::{LaneWork, Plan, Refused, Run, RunInput, Step},
    retry::{NodeError, NodeErrorCode},
    scope::{Board, Scope},
};
use crate::{id::LaneName, time::Timestamp};

/// What a lane came to, as [`stage()`](super::stage()) gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneResult {
    /// What a person put in the place of the node's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// How it ended.
    pub end: LaneEnd,
}

/// How a lane ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneEnd {
    /// With an answer of the model or the tool.
    Answered {
        /// Its text.
        text: String,
        /// The arguments of the tool that it had to call.
        chosen: Option<Value>,
        /// What a person put in the place of the output.
        replaced: Option<String>,
    },
    /// It failed, and is not to be tried again.
    Failed(NodeError),
    /// A person refused.
    Rejected {
        /// Who.
        by: String,
        /// Why, when they said.
        reason: Option<String>,
        /// What was refused, in a review.
        output: Option<String>,
    },
    /// A person passed the node over before it began.
    PassedOver,
    /// There was nothing to do but to let the plan go on.
    Onward,
}

impl LaneResult {
    /// A result that no person has changed.
    pub fn plain(end: LaneEnd) -> Self {
        Self { input: None, end }
    }
}

/// Begins a run.
pub fn start(workflow: &Workflow, input: &RunInput, now: Timestamp) -> Step {
    let none = BTreeMap::new();
    Planner::new(Board::new(workflow, input, Plan::default(), &none), now).finish()
}

/// What a lane's result makes of a run. The result is applied to whatever plan is stored: results of different lanes may
/// come in any order.
///
/// # Errors
/// When the lane is not at work in this plan, or the run is over: the lane has nothing more to do, and is to be closed.
pub fn settle(
    workflow: &Workflow,
    input: &RunInput,
    run: &Run,
    lane: &LaneName,
    result: LaneResult,
    now: Timestamp,
) -> Result<Step, Refused> {
    let (mut planner, work, scope) = at_work(workflow, input, run, lane, now)?;
    planner.board.plan.lanes.remove(lane);
    match planner.apply(&scope, &work, result) {
        Ok(()) => Ok(planner.finish()),
        Err(failure) => match planner.raise(&scope, failure) {
            Ok(()) => Ok(planner.finish()),
            Err(failure) => Ok(planner.failed(failure)),
        },
    }
}

/// Notes that a lane's node waits for a person, or (`waits` false) that it has its answer.
///
/// # Errors
/// As [`settle`].
pub fn set_waiting(
    workflow: &Workflow,
    input: &RunInput,
    run: &Run,
    lane: &LaneName,
    waits: bool,
    now: Timestamp,
) -> Result<Step, Refused> {
    let (mut planner, work, _) = at_work(workflow, input, run, lane, now)?;
    planner.set_waiting(&work.key, waits);
    Ok(planner.finish())
}

fn at_work<'a>(
    workflow: &'a Workflow,
    input: &'a RunInput,
    run: &'a Run,
    lane: &LaneName,
    now: Timestamp,
) -> Result<(Planner<'a>, LaneWork, Rc<Scope<'a>>), Refused> {
    if run.plan.ended.is_some() {
        return Err(Refused::Ended);
    }
    let work = run.plan.lanes.get(lane).cloned().ok_or(Refused::NotAtWork)?;
    let planner = Planner::new(Board::new(workflow, input, run.plan.clone(), &run.nodes), now);
    let scope = planner.board.at(&work.frames).ok_or(Refused::NotAtWork)?;
    Ok((planner, work, scope))
}

impl<'a> Planner<'a> {
    fn apply(&mut self, scope: &Rc<Scope<'a>>, work: &LaneWork, result: LaneResult) -> Result<(), Failure> {
        let (node, key) = (work.node, &work.key);
        self.replace_input(key, result.input);
        match (work.role, result.end) {
            (Role::Onward(_), _) => {}
            (Role::Branch(n), end) => {
                let Kind::Parallel(it) = &scope.node(node).kind else { return Ok(()) };
                let key = key.branch(&it.branches[n].id);
                let unexpected = self.error(&key, NodeErrorCode::Unknown, UNEXPECTED.to_owned());
                let result = match end {
                    LaneEnd::Answered { text, .. } => Ok(text),
                    LaneEnd::Failed(error) => Err(NodeError { node_id: key.shown(), ..error }),
                    _ => Err(unexpected),
                };
                self.end_branch(scope, &key, result);
            }
            (_, LaneEnd::Failed(error)) => {
                let error = NodeError { node_id: key.shown(), ..error };
                self.fail(scope, node, error)?;
            }
            (Role::Merge, LaneEnd::Answered { text, .. }) => {
                self.complete(
                    scope,
                    node,
                    Done { output: text, taken: forward(scope, node, "merged"), ..Done::default() },
                );
            }
            (Role::Guard(iteration), LaneEnd::Answered { text, chosen, .. }) => {
                self.decide(scope, work, iteration, goes_on(&text, chosen.as_ref()));
            }
            (Role::Node, LaneEnd::Answered { text, chosen, replaced }) => {
                self.answered(scope, work, text, chosen.as_ref(), replaced)?;
            }
            (Role::Node, LaneEnd::Rejected { by, reason, output }) => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let error = self.error(key, NodeErrorCode::Rejected, format!("Rejected by {by}{reason}"));
                self.reject(scope, node, error, output)?;
            }
            (Role::Node, LaneEnd::PassedOver) => {
                let output = self.board.input_of(scope, node);
                self.complete(
                    scope,
                    node,
                    Done { output, taken: onward(scope, node), passed_over: true, ..Done::default() },
                );
            }
            _ => {
                let error = self.error(key, NodeErrorCode::Unknown, UNEXPECTED.to_owned());
                self.fail(scope, node, error)?;
            }
        }
        Ok(())
    }

    fn decide(&mut self, scope: &Rc<Scope<'a>>, work: &LaneWork, iteration: u32, goes_on: Option<bool>) {
        let Kind::Loop(it) = &scope.node(work.node).kind else { return };
        if goes_on == Some(true) {
            if let Some(state) = self.board.plan.nodes.get_mut(&work.key) {
                (state.iteration, state.deciding) = (Some(iteration + 1), false);
            }
            return;
        }
        let note =
            goes_on.is_none().then(|| "The model's answer was neither to go on nor to end; the loop ends".to_owned());
        self.end_loop(scope, work.node, it, iteration, note);
    }

    /// The node's own call has an answer.
    fn answered(
        &mut self,
        scope: &Rc<Scope<'a>>,
        work: &LaneWork,
        text: String,
        tool: Option<&Value>,
        replaced: Option<String>,
    ) -> Result<(), Failure> {
        let node = work.node;
        let done = match &scope.node(node).kind {
            Kind::Router(it) => {
                let routes = routes(scope, node);
                let chosen = chosen(&routes, &text, tool);
                let (route, note) = match (chosen, it.fallback) {
                    (Some(route), _) => (Some(route), None),
                    (None, Fallback::First) => {
                        let first = routes.first();
                        let id = first.map_or("", |route| route.id.as_str());
                        (first, Some(format!("The model's answer named no route; the first one is taken: {id}")))
                    }
                    (None, Fallback::None) => {
                        (None, Some("The model's answer named no route; the flow ends here".to_owned()))
                    }
                    (None, Fallback::Error) => {
                        let message = "The model's answer named no route".to_owned();
                        return self
                            .fail(scope, node, self.error(&work.key, NodeErrorCode::Validation, message))
                            .map(drop);
                    }
                };
                let output = replaced.unwrap_or_else(|| route.map_or_else(|| NO_ROUTE.to_owned(), routed));
                let taken = route.map(|route| route.edge).into_iter().collect();
                Done { output, taken, route: route.map(|route| route.id.clone()), note, ..Done::default() }
            }
            Kind::Output(it) => {
                Done { output: self.board.formatted(scope, node, it, text, self.now), ..Done::default() }
            }
            _ => {
                let output = replaced.unwrap_or(text);
                Done { output, taken: forward(scope, node, "output"), ..Done::default() }
            }
        };
        self.complete(scope, node, done);
        Ok(())
    }
}

const UNEXPECTED: &str = "The lane came to something that its node does not do";
/// A router's output when it took no route.
const NO_ROUTE: &str = "Router failed to select a route";
