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
use serde_json::json;
use store::{Fenced, Held, Record};

use crate::{
    emit::Emitter,
    turn::{Broken, Outcome, Turn},
};

/// What a person is shown of an input or an output.
const CONTEXT_BYTES: usize = 32 * 1024;

/// Questions of one pause: each is an item of its transaction, and that has a hundred. Further ones are asked when these
/// have their answers.
const MOST_ASKED: usize = 90;

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
    pub(crate) input_schema: Option<serde_json::Value>,
    pub(crate) context: InputContext,
    pub(crate) wait: Duration,
    pub(crate) default_action: Action,
    pub(crate) default_data: Option<serde_json::Value>,
}

impl Draft {
    /// Whether this call may run.
    pub(crate) fn approval(index: u32, call: &RequestedCall, fingerprint: &str, wait: Duration) -> Self {
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
            input_schema: None,
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
            ..Self::approval(index, call, fingerprint, wait)
        }
    }

    fn budget(nth: usize, why: String, wait: Duration) -> Self {
        Self {
            about: format!("budget{nth}"),
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
        let answer = request.expired(now);
        let expired = InputRequest { answer: Some(answer.clone()), ..request.clone() };
        let by = self.engine.upkeep.clock.fresh_name();
        Ok(match self.engine.upkeep.store.expire(held, &expired, &by, now).await? {
            Fenced::LeaseLost => Question::Lost,
            Fenced::Done(()) => Question::Answered(answer),
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
        Ok(match self.engine.upkeep.store.pause(held, &new, pending, until, now).await? {
            Fenced::Done(()) => Outcome::Waits(open.into_iter().map(|(request, _)| request).collect()),
            Fenced::LeaseLost => Outcome::Lost,
        })
    }

    /// Whether the model may be asked once more: `None`, or what to do instead, since the budget is used up.
    pub(crate) async fn check_budget(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: &Record,
        spec: &JobSpec,
    ) -> Result<Option<Outcome>, Broken> {
        let Some(why) = Budget::of(&spec.limits, &record.inputs).used_up(&used(&record.turns)) else {
            return Ok(None);
        };
        let (lane, turn) = (&held.fence.lane, held.lane().turn);
        let mut before = record
            .inputs
            .iter()
            .filter(|request| request.kind == InputKind::Budget && request.lane == *lane && request.turn == turn);
        // Those that were answered have raised it, and still it is used up: the next question.
        let nth = before.clone().filter(|request| request.answer.as_ref().is_some_and(is_raise)).count();
        let stop = Outcome::End(Ending::Completed { reason: FinishReason::Budget });
        if before.any(|request| request.answer.as_ref().is_some_and(|answer| !is_raise(answer))) {
            return Ok(Some(stop));
        }
        let draft = Draft::budget(nth, why, spec.limits.input());
        Ok(Some(match self.question(held, &record.inputs, draft).await? {
            Question::Answered(answer) if is_raise(&answer) => return Ok(None),
            Question::Answered(_) => stop,
            Question::Open { request, new } => self.wait_for(held, emitter, vec![(*request, new)]).await?,
            Question::Lost => Outcome::Lost,
        }))
    }
}

fn is_raise(answer: &InputAnswer) -> bool {
    matches!(answer.action, Action::Approve | Action::Submit)
}
