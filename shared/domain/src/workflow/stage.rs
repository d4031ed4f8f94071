//! What a lane has to do next, given what it has done: ask a person, make a call, or settle. Decided anew at each turn
//! from what is stored, so that a lane goes on wherever its worker died.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{chosen, is_router, routed, routes},
    document::{AtLimit, Hitl, HitlMode, Kind, Workflow},
    key::Role,
    people::{
        Choice, DefaultAction, InputRequestDraft, Meaning, PersonsAnswer, RequestContext, RequestKind, data_text,
        meaning,
    },
    plan::{LaneWork, Refused, Run, RunInput},
    retry::{NodeError, NodeErrorCode},
    scope::{Board, Scope},
    settle::{LaneEnd, LaneResult},
    work::Work,
};
use crate::id::LaneName;

/// What a lane has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Ask a person. While nobody has answered, the lane has nothing to do.
    Ask(Box<InputRequestDraft>),
    /// Make this call. When the lane has made some of its turns already, it goes on with it.
    Call(Box<Work>),
    /// Hand this to [`settle()`](super::settle()), whatever it is then.
    Settle(LaneResult),
}

/// What a lane's call came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// An answer.
    Answered {
        /// Its text: the last one, where there were several turns.
        text: String,
        /// The arguments of the tool that the model had to call; `None` when it answered with text instead, or with
        /// arguments that are not JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chosen: Option<Value>,
        /// Zero when the model had said everything. Otherwise it asked for tools in a turn beyond
        /// [`max_tool_turns`](super::Call::Agent), and this counts how often that has happened in this lane.
        #[serde(default)]
        at_limit: u32,
    },
    /// A failure that is not to be tried again.
    Failed(NodeError),
}

/// What a lane has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LaneSoFar {
    /// The answer to what was asked before the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PersonsAnswer>,
    /// What its call came to, the last time that it came to something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CallResult>,
    /// The answers to what was asked at the limit of turns with tools, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_limit: Vec<PersonsAnswer>,
    /// The answer to what was asked after the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PersonsAnswer>,
}

impl LaneSoFar {
    /// How often it was granted its turns with tools once more. A refusal grants nothing, also where all that is left of
    /// the call that came to the limit is on record in its turns.
    pub fn granted(&self) -> u32 {
        let options = limit_options();
        let grants =
            self.at_limit.iter().filter(|answer| matches!(meaning(answer, &options), Meaning::Go | Meaning::Replace));
        u32::try_from(grants.count()).unwrap_or(u32::MAX)
    }
}

/// Which answer of [`LaneSoFar`] a request's answer becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerTo {
    /// [`LaneSoFar::before`].
    Before,
    /// [`LaneSoFar::at_limit`].
    AtLimit,
    /// [`LaneSoFar::after`].
    After,
}

impl RequestKind {
    /// Where its answer belongs.
    pub fn answers(self) -> AnswerTo {
        match self {
            Self::Approval | Self::Input => AnswerTo::Before,
            Self::Review => AnswerTo::After,
            Self::ToolLimit => AnswerTo::AtLimit,
        }
    }
}

/// What a lane has to do next.
///
/// # Errors
/// When the lane is not at work in this plan, or the run is over: it has nothing more to do, and is to be closed.
pub fn stage(
    workflow: &Workflow,
    input: &RunInput,
    run: &Run,
    lane: &LaneName,
    so_far: &LaneSoFar,
) -> Result<Stage, Refused> {
    if run.plan.ended.is_some() {
        return Err(Refused::Ended);
    }
    let work = run.plan.lanes.get(lane).ok_or(Refused::NotAtWork)?;
    let board = Board::new(workflow, input, run.plan.clone(), &run.nodes);
    let scope = board.at(&work.frames).ok_or(Refused::NotAtWork)?;
    let input = board.input_of(&scope, work.node);
    Staging { board: &board, scope: &scope, work, input }.next(so_far)
}

struct Staging<'s, 'a> {
    board: &'s Board<'a>,
    scope: &'s std::rc::Rc<Scope<'a>>,
    work: &'s LaneWork,
    input: String,
}

impl Staging<'_, '_> {
    fn next(self, so_far: &LaneSoFar) -> Result<Stage, Refused> {
        if matches!(self.work.role, Role::Onward(_)) {
            return Ok(Stage::Settle(LaneResult::plain(LaneEnd::Onward)));
        }
        let node = self.scope.node(self.work.node);
        let asks = matches!(node.kind, Kind::Agent(_) | Kind::Router(_) | Kind::Tool(_));
        let hitl = node.hitl.as_ref().filter(|_| asks && self.work.role == Role::Node);
        let mut replaced = None;
        if let Some(hitl) = hitl.filter(|hitl| hitl.mode != HitlMode::Review) {
            let Some(answer) = &so_far.before else { return Ok(self.ask(hitl, None)) };
            let settled = |end| Ok(Stage::Settle(LaneResult::plain(end)));
            match meaning(answer, &hitl.options) {
                Meaning::Reject => return settled(rejected(answer, None)),
                Meaning::Skip => return settled(LaneEnd::PassedOver),
                Meaning::Go | Meaning::Replace => replaced = data_text(answer),
            }
        }
        let input = replaced.clone().unwrap_or_else(|| self.input.clone());
        let (text, chosen) = match &so_far.result {
            None => return self.call(input, so_far),
            Some(CallResult::Failed(error)) => {
                return Ok(Stage::Settle(LaneResult { input: replaced, end: LaneEnd::Failed(error.clone()) }));
            }
            Some(CallResult::Answered { text, at_limit: 0, chosen }) => (text.clone(), chosen.clone()),
            Some(CallResult::Answered { text, at_limit, .. }) => match self.limit(*at_limit, text, so_far) {
                AtTheLimit::Ends(text) => (text, None),
                AtTheLimit::Fails(error) => {
                    return Ok(Stage::Settle(LaneResult { input: replaced, end: LaneEnd::Failed(error) }));
                }
                AtTheLimit::Asks(request) => return Ok(Stage::Ask(request)),
                AtTheLimit::GoesOn => return self.call(input, so_far),
            },
        };
        let mut changed = None;
        if let Some(hitl) = hitl.filter(|hitl| hitl.mode == HitlMode::Review) {
            let output = self.output(&text, chosen.as_ref());
            let Some(answer) = &so_far.after else { return Ok(self.ask(hitl, Some(output))) };
            match meaning(answer, &hitl.options) {
                Meaning::Reject => {
                    return Ok(Stage::Settle(LaneResult { input: replaced, end: rejected(answer, Some(output)) }));
                }
                Meaning::Replace => changed = data_text(answer),
                Meaning::Go | Meaning::Skip => {}
            }
        }
        let end = LaneEnd::Answered { text, chosen, replaced: changed };
        Ok(Stage::Settle(LaneResult { input: replaced, end }))
    }

    fn call(self, input: String, so_far: &LaneSoFar) -> Result<Stage, Refused> {
        let times = so_far.granted().saturating_add(1);
        let work = self.board.work(self.scope, self.work, input, times).ok_or(Refused::NotAtWork)?;
        Ok(Stage::Call(Box::new(work)))
    }

    /// What the node's output will be, as a reviewer sees it.
    fn output(&self, text: &str, tool: Option<&Value>) -> String {
        if !is_router(&self.scope.node(self.work.node).kind) {
            return text.to_owned();
        }
        let routes = routes(self.scope, self.work.node);
        chosen(&routes, text, tool).map_or_else(|| text.to_owned(), routed)
    }

    fn ask(&self, hitl: &Hitl, output: Option<String>) -> Stage {
        let label = &self.scope.node(self.work.node).label;
        let (kind, usual) = match hitl.mode {
            HitlMode::Approval => {
                (RequestKind::Approval, format!("Review and approve the input for \"{label}\" before proceeding."))
            }
            HitlMode::Input => (RequestKind::Input, format!("Provide input for \"{label}\".")),
            HitlMode::Review => (RequestKind::Review, format!("Review the output from \"{label}\" before continuing.")),
        };
        let choice =
            |id: &str, label: &str| Choice { id: id.to_owned(), label: label.to_owned(), action: id.to_owned() };
        let options = if hitl.options.is_empty() && kind == RequestKind::Approval {
            vec![choice("approve", "Approve"), choice("reject", "Reject")]
        } else {
            hitl.options.clone()
        };
        Stage::Ask(Box::new(InputRequestDraft {
            kind,
            node_id: self.work.key.shown(),
            prompt: if hitl.prompt.is_empty() { usual } else { hitl.prompt.clone() },
            options,
            input_schema: hitl.input_schema.clone(),
            context: RequestContext { input: self.input.clone(), output },
            timeout: hitl.timeout,
            default_action: hitl.default_action,
        }))
    }

    /// An agent, or a branch, has used up its turns with tools for the n-th time.
    fn limit(&self, times: u32, text: &str, so_far: &LaneSoFar) -> AtTheLimit {
        let (policy, turns) = match &self.scope.node(self.work.node).kind {
            Kind::Agent(it) => (it.at_limit, it.max_tool_turns),
            _ => (AtLimit::Warning, 0),
        };
        match policy {
            AtLimit::Warning => AtTheLimit::Ends(text.to_owned()),
            AtLimit::Error => AtTheLimit::Fails(NodeError {
                message: format!("Maximum tool iterations ({turns}) reached. Execution stopped."),
                code: NodeErrorCode::ToolLimit,
                node_id: self.work.key.shown(),
                status_code: None,
            }),
            AtLimit::Ask => {
                let answered = u32::try_from(so_far.at_limit.len()).unwrap_or(u32::MAX);
                let options = limit_options();
                match so_far.at_limit.last() {
                    Some(answer) if answered >= times => match meaning(answer, &options) {
                        Meaning::Go | Meaning::Replace => AtTheLimit::GoesOn,
                        Meaning::Reject | Meaning::Skip => AtTheLimit::Ends(text.to_owned()),
                    },
                    _ => AtTheLimit::Asks(Box::new(InputRequestDraft {
                        kind: RequestKind::ToolLimit,
                        node_id: self.work.key.shown(),
                        prompt: format!(
                            "The agent has reached the maximum tool iterations limit ({turns}). Would you like to allow it to continue with {turns} more iterations?"
                        ),
                        options,
                        input_schema: None,
                        context: RequestContext { input: self.input.clone(), output: Some(text.to_owned()) },
                        timeout: None,
                        default_action: DefaultAction::Reject,
                    })),
                }
            }
        }
    }
}

enum AtTheLimit {
    Ends(String),
    Fails(NodeError),
    Asks(Box<InputRequestDraft>),
    GoesOn,
}

fn limit_options() -> Vec<Choice> {
    let choice = |id: &str, label: &str, action: &str| Choice {
        id: id.to_owned(),
        label: label.to_owned(),
        action: action.to_owned(),
    };
    vec![choice("continue", "Continue", "approve"), choice("stop", "Stop", "reject")]
}

fn rejected(answer: &PersonsAnswer, output: Option<String>) -> LaneEnd {
    LaneEnd::Rejected { by: answer.by.clone(), reason: data_text(answer), output }
}
