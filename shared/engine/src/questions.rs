//! Questions of a turn to people and clients: asked once, waited for without anybody at work, and answered by them or by
//! their deadline.

use std::time::Duration;

use domain::{
    budget::Budget,
    event::{EventBody, cut},
    id::InputRequestId,
    input_request::{Action, AskedCall, InputAnswer, InputContext, InputKind, InputOption, InputRequest, expiry},
    job::{Ending, FinishReason, JobSpec},
    message::RequestedCall,
    turn::used,
};
use serde_json::{Value, json};
use store::{Fenced, Held, PauseOutcome, Record, WaitsFor};

use crate::{
    emit::Emitter,
    turn::{Broken, Outcome, Turn},
};

/// What a person is shown of an input or an output.
const CONTEXT_BYTES: usize = 32 * 1024;

/// Longest schema of a tool that goes with the question about its call. A longer one is held against edited arguments when
/// the call is to run: too late for whoever wrote them, but a pause has many questions, and is one transaction.
const SCHEMA_BYTES: usize = 16 * 1024;

/// Questions of one pause: each is an item of its transaction, and that has a hundred. Further ones are asked when these
/// have their answers.
const MOST_ASKED: usize = 90;
/// How often a lane that is to wait for more budget looks again because others were quicker.
const BUDGET_TRIES: u32 = 16;

/// How a question stands.
pub(crate) enum Question {
    /// It was answered, or has expired.
    Answered(InputAnswer),
    /// It waits; `new`: it is still to be recorded.
    Open { request: Box<InputRequest>, new: bool },
    /// The lease was lost.
    Lost,
}

/// A question as it is put.
pub(crate) struct Draft {
    /// What tells it apart from the turn's other questions.
    pub(crate) about: String,
    pub(crate) kind: InputKind,
    pub(crate) node_id: Option<String>,
    pub(crate) tool_call: Option<AskedCall>,
    pub(crate) prompt: String,
    pub(crate) options: Vec<InputOption>,
    pub(crate) input_schema: Option<Value>,
    pub(crate) context: InputContext,
    pub(crate) wait: Duration,
    pub(crate) default_action: Action,
    pub(crate) default_data: Option<Value>,
}

impl Draft {
    /// Whether this call may run; `schema`: what its arguments have to fit, edited ones, too.
    pub(crate) fn approval(
        index: u32,
        call: &RequestedCall,
        fingerprint: &str,
        schema: Option<&Value>,
        wait: Duration,
    ) -> Self {
        Self {
            about: format!("call{index}"),
            kind: InputKind::Approval,
            node_id: None,
            tool_call: Some(asked(call, fingerprint)),
            prompt: format!("May the tool `{}` run with these arguments?", call.name),
            options: vec![
                InputOption::new("approve", "Approve", Action::Approve),
                InputOption::new("reject", "Reject", Action::Reject),
            ],
            input_schema: schema.filter(|schema| schema.to_string().len() <= SCHEMA_BYTES).cloned(),
            context: InputContext::default(),
            wait,
            default_action: Action::Reject,
            default_data: Some(json!({"reason": "Nobody approved it in time"})),
        }
    }

    /// The result of a call that only the caller can run.
    pub(crate) fn client_call(index: u32, call: &RequestedCall, fingerprint: &str, wait: Duration) -> Self {
        Self {
            kind: InputKind::ClientTool,
            prompt: format!("Run the tool `{}` and send its result.", call.name),
            options: vec![],
            default_data: Some(json!({"reason": tools::limits::CLIENT_ONLY})),
            ..Self::approval(index, call, fingerprint, None, wait)
        }
    }

    fn budget(why: String, wait: Duration) -> Self {
        Self {
            about: String::new(),
            kind: InputKind::Budget,
            node_id: None,
            tool_call: None,
            prompt: format!("{why} Raise the limit to go on, or stop here."),
            options: vec![
                InputOption::new("raise", "As much again", Action::Approve),
                InputOption::new("stop", "Stop here", Action::Reject),
            ],
            input_schema: Some(Budget::schema()),
            context: InputContext::default(),
            wait,
            default_action: Action::Reject,
            default_data: None,
        }
    }
}

fn asked(call: &RequestedCall, fingerprint: &str) -> AskedCall {
    AskedCall {
        id: call.id.to_string(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
        fingerprint: fingerprint.to_owned(),
    }
}

fn shown(text: Option<String>) -> Option<String> {
    text.map(|text| cut(&text, CONTEXT_BYTES).0)
}

impl Turn<'_> {
    /// How the turn's question stands; one that has expired is answered by its default here and now.
    pub(crate) async fn question(&self, held: &Held, known: &[InputRequest], draft: Draft) -> Result<Question, Broken> {
        let now = self.engine.upkeep.clock.now();
        let id = InputRequestId::of(&held.fence.lane, held.lane().turn, &draft.about);
        let Some(request) = known.iter().find(|request| request.id == id) else {
            return Ok(Question::Open { request: Box::new(self.put(held, id, draft)), new: true });
        };
        if let Some(answer) = &request.answer {
            return Ok(Question::Answered(answer.clone()));
        }
        if request.expires_at > now {
            return Ok(Question::Open { request: Box::new(request.clone()), new: false });
        }
        let answer = self.expire(held, request).await?.and_then(|expired| expired.answer);
        Ok(answer.map_or(Question::Lost, Question::Answered))
    }

    /// Answers a question that has expired by its default, unless it was answered meanwhile; `None`: the lease was lost.
    async fn expire(&self, held: &Held, request: &InputRequest) -> Result<Option<InputRequest>, Broken> {
        let (now, by) = (self.engine.upkeep.clock.now(), self.engine.upkeep.clock.fresh_name());
        let expired = InputRequest { answer: Some(request.expired(now)), ..request.clone() };
        Ok(match self.engine.upkeep.store.expire(held, &expired, &by, now).await? {
            Fenced::Done(on_record) => Some(on_record),
            Fenced::LeaseLost => None,
        })
    }

    fn put(&self, held: &Held, id: InputRequestId, draft: Draft) -> InputRequest {
        let now = self.engine.upkeep.clock.now();
        InputRequest {
            id,
            kind: draft.kind,
            lane: held.fence.lane.clone(),
            turn: held.lane().turn,
            node_id: draft.node_id,
            tool_call: draft.tool_call,
            prompt: draft.prompt,
            options: draft.options,
            input_schema: draft.input_schema,
            context: InputContext { input: shown(draft.context.input), output: shown(draft.context.output) },
            created_at: now,
            expires_at: expiry(now, draft.wait, held.job.head.created_at),
            default_action: draft.default_action,
            default_data: draft.default_data,
            answer: None,
        }
    }

    /// Lets the turn wait for these: asks those that are new, and gives the turn back until the last is answered.
    pub(crate) async fn wait_for(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        mut open: Vec<(InputRequest, bool)>,
    ) -> Result<Outcome, Broken> {
        // Those that are asked already count whatever happens: each answer to them is counted off.
        open.sort_by_key(|(_, new)| *new);
        open.truncate(MOST_ASKED);
        let now = self.engine.upkeep.clock.now();
        let new: Vec<InputRequest> = open.iter().filter(|(_, new)| *new).map(|(request, _)| request.clone()).collect();
        for request in &new {
            emitter.event(EventBody::InputRequested(Box::new(request.clone()))).await;
        }
        emitter.flush().await;
        let pending = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let until = open.iter().map(|(request, _)| request.expires_at).min().unwrap_or(now);
        let waits = WaitsFor::Own { asked: &new, pending, until };
        Ok(match self.engine.upkeep.store.pause(held, waits, now).await? {
            PauseOutcome::Paused => Outcome::Waits(open.into_iter().map(|(request, _)| request).collect()),
            PauseOutcome::Overtaken | PauseOutcome::LeaseLost => Outcome::Lost,
        })
    }

    /// Whether the model may be asked once more: `None`, or what to do instead, since the budget is used up. People are
    /// asked once for the whole job; every lane that finds the budget used up waits for the same answer.
    pub(crate) async fn check_budget(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &mut Record,
        spec: &JobSpec,
    ) -> Result<Option<Outcome>, Broken> {
        for _ in 0..BUDGET_TRIES {
            let Some(why) = Budget::of(&spec.limits, &record.inputs).used_up(&used(&record.turns)) else {
                return Ok(None);
            };
            let asked = || record.inputs.iter().filter(|request| request.kind == InputKind::Budget);
            if asked().any(|request| request.answer.as_ref().is_some_and(|answer| !is_raise(answer))) {
                return Ok(Some(Outcome::End(Ending::Completed { reason: FinishReason::Budget })));
            }
            let now = self.engine.upkeep.clock.now();
            let waits_already = asked().find(|request| request.is_open()).cloned();
            if let Some(expired) = waits_already.as_ref().filter(|request| request.expires_at <= now) {
                let Some(answered) = self.expire(held, expired).await? else {
                    return Ok(Some(Outcome::Lost));
                };
                let there = record.inputs.iter_mut().filter(|request| request.id == answered.id);
                there.for_each(|request| request.clone_from(&answered));
                continue;
            }
            let is_new = waits_already.is_none();
            let question = waits_already.unwrap_or_else(|| {
                // Those before were answered by more, and still it is used up: the next question.
                let id = InputRequestId::of_job(&format!("budget{}", asked().count()));
                self.put(held, id, Draft::budget(why, spec.limits.input()))
            });
            emitter.flush().await;
            let waits = WaitsFor::OfJob { question: &question, is_new };
            match self.engine.upkeep.store.pause(held, waits, now).await? {
                // Whoever asked has told the event bus, or owes it.
                PauseOutcome::Paused => {
                    return Ok(Some(Outcome::Waits(is_new.then_some(question).into_iter().collect())));
                }
                PauseOutcome::LeaseLost => return Ok(Some(Outcome::Lost)),
                PauseOutcome::Overtaken => {
                    let Some(newest) = self.engine.upkeep.store.load(held.id()).await? else {
                        return Ok(Some(Outcome::Over));
                    };
                    held.job.head = newest.head.clone();
                    *record = newest;
                }
            }
        }
        Ok(Some(Outcome::Lost))
    }
}

fn is_raise(answer: &InputAnswer) -> bool {
    matches!(answer.action, Action::Approve | Action::Submit)
}
