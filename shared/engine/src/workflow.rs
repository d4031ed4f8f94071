//! A turn of a lane that works for a workflow's node. What the node needs, and what its result makes of the run, is
//! decided in [`domain::workflow`]; here it is done, and written.

mod request;

use std::{collections::BTreeMap, time::Duration};

use domain::{
    answer::Answer,
    conversation::{Told, before},
    event::EventBody,
    id::{LaneName, ToolCallId},
    input_request::{Action, InputAnswer, InputContext, InputKind, InputOption, InputRequest},
    job::{Ending, FailedDuring, FinishReason, JobError, JobSpec, WorkflowSpec},
    lane::{Lane, Phase},
    limits::CALL_LIMIT_TEXT,
    message::RequestedCall,
    time::Timestamp,
    tool_call::{ToolCall, ToolOutcome},
    turn::totals,
    usage::Usage,
    workflow::{
        AnswerTo, Call, CallResult, InputRequestDraft, LaneResult, LaneSoFar, NodeError, NodeErrorCode, NodeEvent,
        PersonsAnswer, RequestKind, RunEnd, Stage, Step, Tools, Work, settle, stage, start, take_up,
    },
};
use serde_json::Value;
use store::{Fenced, Held, Record, SettleOutcome};
use tokio::time::{Instant, sleep};

use self::request::Request;
use crate::{
    ask::Asking,
    compact::Talk,
    emit::Emitter,
    model_call::{Asked, noted},
    questions::{Draft, Question},
    tool_calls::{Calling, Calls, JobTools},
    turn::{Broken, Outcome, TO_COMMIT, Turn, turn_completed},
};

/// How often a lane's last commit is tried while others settle on the same plan.
const SETTLE_TRIES: u32 = 100;
/// The pause between two tries, at most, times the number of the try.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// What a turn of a node's lane has at hand.
struct Node<'a> {
    record: Record,
    spec: &'a JobSpec,
    flow: &'a WorkflowSpec,
    lane: Lane,
    /// The answer of this turn, once it is recorded.
    answer: Option<Answer>,
    /// Its calls, once they have ended.
    calls: BTreeMap<u32, ToolCall>,
    begun: Instant,
}

/// What came of a call.
enum Called {
    /// The lane's call is over.
    Result(CallResult),
    /// The turn is; what the lane has to do goes on in another, or not at all.
    Turn(Outcome),
}

impl Turn<'_> {
    pub(crate) async fn work_on_node(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        record: Record,
        spec: &JobSpec,
        flow: &WorkflowSpec,
    ) -> Result<Outcome, Broken> {
        let lane = held.lane().clone();
        let of_turn = (lane.name.clone(), lane.turn);
        let recorded = record.turns.get(&of_turn).and_then(|turn| turn.answer.clone());
        let answer = recorded.filter(|_| lane.phase == Phase::Tools);
        let mut node = Node { record, spec, flow, lane, answer, calls: BTreeMap::new(), begun: Instant::now() };
        if node.lane.name == LaneName::main() {
            return self.open(held, emitter, node).await;
        }
        let mut so_far = so_far(&node.record.inputs, &node.lane.name);
        if node.record.inputs.iter().any(|it| it.lane == node.lane.name && it.turn == node.lane.turn && !it.is_open()) {
            emitter.event(EventBody::NodeActive(Box::new(news_of(&node.lane)))).await;
        }
        loop {
            let Some((_, run)) = &node.record.run else { return Ok(Outcome::Lost) };
            let Ok(next) = stage(&flow.workflow, &flow.input, run, &node.lane.name, &so_far) else {
                return self.close(held, &node.record).await;
            };
            match next {
                Stage::Settle(result) => return self.settle_node(held, emitter, node, result).await,
                Stage::Ask(draft) => {
                    let to = draft.kind.answers();
                    let draft = Draft::of_node(*draft, spec.limits.input());
                    match self.question(held, &node.record.inputs, draft).await? {
                        Question::Answered(answer) => so_far.take(to, &answer),
                        Question::Open { request, new } => {
                            emitter.event(EventBody::NodeWaiting(Box::new(news_of(&node.lane)))).await;
                            return self.wait_for(held, emitter, vec![(*request, new)]).await;
                        }
                        Question::Lost => return Ok(Outcome::Lost),
                    }
                }
                Stage::Call(work) => match self.call(held, emitter, &mut node, &work, so_far.granted()).await? {
                    Called::Result(result) => so_far.result = Some(result),
                    Called::Turn(outcome) => return Ok(outcome),
                },
            }
        }
    }

    /// The first turn of the job: the plan is made (or, where another job is taken up again, there already), and its first
    /// lanes are opened.
    async fn open(&self, held: &mut Held, emitter: &Emitter, node: Node<'_>) -> Result<Outcome, Broken> {
        let now = self.engine.upkeep.clock.now();
        let step = match &node.record.run {
            None => start(&node.flow.workflow, &node.flow.input, now),
            Some((_, run)) => take_up(&node.flow.workflow, &node.flow.input, run),
        };
        emit(emitter, &step.events, &mut vec![]).await;
        emitter.flush().await;
        let end = self.end_of(&node, &node.record, &step, now);
        let settled = self.engine.upkeep.store.settle_lane(held, &node.record, &step, end, 0, now).await?;
        Ok(match settled {
            SettleOutcome::Settled(lanes) => Outcome::Spread(lanes),
            SettleOutcome::Ended => Outcome::Over,
            SettleOutcome::Moved | SettleOutcome::LeaseLost => Outcome::Lost,
        })
    }

    /// Hands the lane's result to the plan as it is now, and again as it is then, until it is written.
    async fn settle_node(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        node: Node<'_>,
        result: LaneResult,
    ) -> Result<Outcome, Broken> {
        let upkeep = &self.engine.upkeep;
        if let Some(answer) = &node.answer {
            emitter.event(turn_completed(answer)).await;
        }
        let (mut told, mut newest) = (vec![], None::<Record>);
        for try_ in 0..SETTLE_TRIES {
            let record = newest.as_ref().unwrap_or(&node.record);
            let Some((_, run)) = &record.run else { return Ok(Outcome::Lost) };
            let now = upkeep.clock.now();
            let (workflow, input) = (&node.flow.workflow, &node.flow.input);
            let Ok(step) = settle(workflow, input, run, &node.lane.name, result.clone(), now) else {
                return self.close(held, record).await;
            };
            emit(emitter, &step.events, &mut told).await;
            emitter.flush().await;
            let end = self.end_of(&node, record, &step, now);
            match upkeep.store.settle_lane(held, record, &step, end, try_, now).await? {
                SettleOutcome::Settled(lanes) => return Ok(Outcome::Spread(lanes)),
                SettleOutcome::Ended => return Ok(Outcome::Over),
                SettleOutcome::LeaseLost => return Ok(Outcome::Lost),
                SettleOutcome::Moved => {
                    sleep(SETTLE_PAUSE.mul_f64(upkeep.clock.jitter() * f64::from(try_ + 1))).await;
                    newest = upkeep.store.load(held.id()).await?;
                }
            }
        }
        Ok(Outcome::Lost)
    }

    /// The plan does not want the lane's work: what it was for has failed meanwhile.
    async fn close(&self, held: &mut Held, record: &Record) -> Result<Outcome, Broken> {
        let now = self.engine.upkeep.clock.now();
        Ok(match self.engine.upkeep.store.close_lane(held, record, now).await? {
            Fenced::Done(()) => Outcome::Spread(vec![]),
            Fenced::LeaseLost => Outcome::Lost,
        })
    }

    /// How the job ends with this step, if it does, and what it has used.
    fn end_of(
        &self,
        node: &Node<'_>,
        record: &Record,
        step: &Step,
        now: Timestamp,
    ) -> Option<(Ending, Option<String>, Usage, domain::job::Metrics)> {
        let (ending, output) = match step.end.clone()? {
            RunEnd::Completed { output } => (Ending::Completed { reason: FinishReason::Stop }, Some(output)),
            RunEnd::Failed { node: key, error, rejected } => {
                (node_failed(&key.shown(), error, rejected, node.lane.turn), None)
            }
        };
        let mut turns = record.turns.clone();
        if let Some(answer) = &node.answer {
            let turn = turns.entry((node.lane.name.clone(), node.lane.turn)).or_default();
            (turn.answer, turn.calls) = (Some(answer.clone()), node.calls.clone());
        }
        let (usage, metrics) = totals(&record.head, record.lanes.values(), &turns, now);
        Some((ending, output, usage, metrics))
    }

    /// Makes, or goes on with, the call that the node needs. `granted`: how often it was granted more turns with tools.
    async fn call(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        node: &mut Node<'_>,
        work: &Work,
        granted: u32,
    ) -> Result<Called, Broken> {
        let now = self.engine.upkeep.clock.now();
        let began = node.lane.at_work_since.unwrap_or(now);
        let left = work.timeout.map(|timeout| (began + timeout).since(now));
        if node.answer.is_none() {
            // What the model has asked for already, and people may have approved, is done.
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Called::Result(CallResult::Failed(branch_timeout(node, work))));
            }
            if let Call::Tool { name, arguments } = &work.call {
                let answer = tool_answer(node, name, arguments);
                if !self.record(held, emitter, &answer).await? {
                    return Ok(Called::Turn(Outcome::Lost));
                }
                node.answer = Some(answer);
            } else if let Some(instead) = self.ask_for_node(held, emitter, node, work, left).await? {
                return Ok(instead);
            }
        }
        let Some(answer) = node.answer.clone() else { return Ok(Called::Turn(Outcome::Lost)) };
        match &work.call {
            Call::Complete { .. } => Ok(Called::Result(answered(answer.text, None, 0))),
            Call::Choose { tool, .. } => {
                let chosen = answer.calls.iter().find(|call| call.name == *tool);
                let chosen = chosen.and_then(|call| serde_json::from_str(&call.arguments).ok());
                Ok(Called::Result(answered(answer.text, chosen, 0)))
            }
            Call::Tool { name, .. } => {
                if let Err(outcome) =
                    self.calls_of(held, emitter, node, &answer, &Tools::Named(vec![name.clone()])).await?
                {
                    return Ok(Called::Turn(outcome));
                }
                let outcome = node.calls.get(&0).and_then(ToolCall::outcome);
                Ok(Called::Result(tool_result(node, outcome)))
            }
            Call::Agent { max_tool_turns, tools, .. } => {
                if answer.calls.is_empty() {
                    return Ok(Called::Result(answered(node.last_text(&answer), None, 0)));
                }
                let asked_before = before(&node.record.turns, &node.lane.name, node.lane.turn)
                    .filter(|turn| turn.answer.as_ref().is_some_and(|answer| !answer.calls.is_empty()))
                    .count();
                if asked_before >= *max_tool_turns as usize {
                    let times = granted.saturating_add(1);
                    return Ok(Called::Result(answered(node.last_text(&answer), None, times)));
                }
                if answer.calls.len() > node.spec.limits.max_tool_calls_per_turn as usize {
                    return Ok(Called::Result(CallResult::Failed(
                        node.error(NodeErrorCode::ToolLimit, CALL_LIMIT_TEXT),
                    )));
                }
                if let Err(outcome) = self.calls_of(held, emitter, node, &answer, tools).await? {
                    return Ok(Called::Turn(outcome));
                }
                emitter.event(turn_completed(&answer)).await;
                Ok(Called::Turn(self.go_on(held, emitter).await?))
            }
        }
    }

    /// Asks the node's model. `None`: its answer is recorded in `node`.
    async fn ask_for_node(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        node: &mut Node<'_>,
        work: &Work,
        left: Option<Duration>,
    ) -> Result<Option<Called>, Broken> {
        self.tell_again(held, emitter, &node.record).await;
        let request = Request::of(&self.engine.tools, node.spec, &work.call).await;
        let (job, lane, inbox) = (node.record.head.id.clone(), node.lane.clone(), node.record.head.inbox);
        let turn = node.spec.limits.turn();
        let ends = node.begun + left.map_or(turn, |left| left.min(turn));
        let rules = node.spec.compaction.as_ref().filter(|_| request.is_conversation);
        let talk = Talk { spec: node.spec, rules, settings: &request.settings, tools: &request.tools, ends };
        let mut messages = request.messages.clone();
        messages.extend(node.flow.told.iter().filter(|_| request.is_conversation).cloned());
        let nothing = BTreeMap::new();
        let told = |record: &Record| {
            let turns = if request.is_conversation { &record.turns } else { &nothing };
            let known = if request.is_conversation { inbox } else { 0 };
            Told::new(&messages, turns, &record.inbox, &lane.name, lane.turn, known)
        };
        let told = match self.ready(held, emitter, &mut node.record, told, talk).await? {
            Ok(told) => told,
            Err(instead) => return Ok(Some(Called::Turn(instead))),
        };
        let asked = Asked {
            job: &job,
            spec: node.spec,
            settings: request.settings.clone(),
            call_ids: told.call_ids().cloned().collect(),
            messages: noted(told.clone().into_messages(), request.note.clone()),
            lane: &lane,
            inbox,
            tools: request.tools.clone(),
            runs_calls: request.is_conversation,
        };
        let failure = match self.ask(emitter, &asked, ends).await {
            Asking::Answered(answer) => {
                if !self.record(held, emitter, &answer).await? {
                    return Ok(Some(Called::Turn(Outcome::Lost)));
                }
                node.answer = Some(*answer);
                return Ok(None);
            }
            Asking::TookTooLong => {
                let message =
                    format!("The model took longer than the {} seconds that it may", (ends - node.begun).as_secs());
                (NodeError { status_code: None, ..node.error(NodeErrorCode::Timeout, &message) }, None)
            }
            Asking::Failed(failure) => {
                if let Some(again) = self.refused(held, emitter, &mut node.record, &told, talk, &failure).await? {
                    return Ok(Some(Called::Turn(again)));
                }
                let (code, status_code, patience) = failure.for_node();
                (NodeError { status_code, ..node.error(code, &failure.message()) }, patience)
            }
        };
        self.again_or_fail(held, emitter, work, failure).await.map(Some)
    }

    /// The call failed: it is made again later, by the node's rule, or the node fails.
    async fn again_or_fail(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        work: &Work,
        (error, patience): (NodeError, Option<Duration>),
    ) -> Result<Called, Broken> {
        let now = self.engine.upkeep.clock.now();
        let deadline = held.job.head.deadline();
        match work.retry.delay(held.lane().backoffs + 1, error.code, patience) {
            Some(delay) if now + delay < deadline => {
                let (until, code) = (now + delay, error.code.as_str().to_lowercase());
                emitter.event(EventBody::ModelWaiting { until, code, message: error.message }).await;
                emitter.flush().await;
                self.give_back(held, delay, true).await.map(Called::Turn)
            }
            _ => Ok(Called::Result(CallResult::Failed(error))),
        }
    }

    /// Runs the calls of the turn's answer; or what becomes of the turn meanwhile.
    async fn calls_of(
        &self,
        held: &mut Held,
        emitter: &Emitter,
        node: &mut Node<'_>,
        answer: &Answer,
        tools: &Tools,
    ) -> Result<Result<(), Outcome>, Broken> {
        let tools = JobTools::new(&self.engine.tools, &node.spec.tools).await.only(tools);
        if node.lane.phase == Phase::Model && self.short_of_time(&tools, answer) {
            return self.give_back(held, Duration::ZERO, false).await.map(Err);
        }
        let until = (node.begun + node.spec.limits.turn()).min(self.until - TO_COMMIT);
        let calling = Calling { tools: &tools, spec: node.spec, record: &node.record, answer, until };
        Ok(match self.run_calls(held, emitter, &calling).await? {
            Calls::Ended(calls) => {
                node.calls = calls;
                Ok(())
            }
            Calls::Wait(open) => Err(self.wait_for(held, emitter, open).await?),
            Calls::LeaseLost => Err(Outcome::Lost),
        })
    }
}

impl Node<'_> {
    fn error(&self, code: NodeErrorCode, message: &str) -> NodeError {
        let node_id = self.lane.node_id.clone().unwrap_or_default();
        NodeError { message: message.to_owned(), code, node_id, status_code: None }
    }

    /// The answer's text, or the last before it that said something.
    fn last_text(&self, answer: &Answer) -> String {
        if !answer.text.is_empty() {
            return answer.text.clone();
        }
        let earlier = before(&self.record.turns, &self.lane.name, self.lane.turn);
        let mut texts = earlier.filter_map(|turn| turn.answer.as_ref()).map(|answer| &answer.text);
        texts.rfind(|text| !text.is_empty()).cloned().unwrap_or_default()
    }
}

impl Draft {
    /// A question of a node. A document that names no time leaves it to the job.
    fn of_node(draft: InputRequestDraft, wait: Duration) -> Self {
        let (about, kind) = match draft.kind {
            RequestKind::Approval => ("before", InputKind::Approval),
            RequestKind::Input => ("before", InputKind::Input),
            RequestKind::Review => ("after", InputKind::Review),
            RequestKind::ToolLimit => ("limit", InputKind::ToolLimit),
        };
        let options = draft.options.iter().map(|choice| {
            // What means nothing else lets the node go on.
            InputOption::new(&choice.id, &choice.label, Action::named(&choice.action).unwrap_or(Action::Approve))
        });
        Self {
            about: about.to_owned(),
            kind,
            node_id: Some(draft.node_id),
            tool_call: None,
            prompt: draft.prompt,
            options: options.collect(),
            input_schema: draft.input_schema,
            context: InputContext { input: Some(draft.context.input), output: draft.context.output },
            wait: draft.timeout.unwrap_or(wait),
            default_action: Action::named(draft.default_action.as_str()).unwrap_or(Action::Reject),
            default_data: None,
        }
    }
}

/// What people have answered to a lane so far.
fn so_far(inputs: &[InputRequest], lane: &LaneName) -> LaneSoFar {
    let mut so_far = LaneSoFar::default();
    for request in inputs.iter().filter(|request| request.lane == *lane && request.tool_call.is_none()) {
        let to = match request.kind {
            InputKind::Approval | InputKind::Input => AnswerTo::Before,
            InputKind::Review => AnswerTo::After,
            InputKind::ToolLimit => AnswerTo::AtLimit,
            InputKind::ClientTool | InputKind::Budget => continue,
        };
        if let Some(answer) = &request.answer {
            so_far.take(to, answer);
        }
    }
    so_far
}

/// Notes what people answer.
trait Take {
    fn take(&mut self, to: AnswerTo, answer: &InputAnswer);
}

impl Take for LaneSoFar {
    fn take(&mut self, to: AnswerTo, answer: &InputAnswer) {
        let refuses = matches!(answer.action, Action::Reject);
        let persons = PersonsAnswer {
            action: answer.option.clone().unwrap_or_else(|| answer.action.as_str().to_owned()),
            data: if refuses { answer.reason().map(Value::from) } else { answer.data.clone() },
            by: answer.by.clone(),
            at: answer.at,
        };
        match to {
            AnswerTo::Before => self.before = Some(persons),
            AnswerTo::After => self.after = Some(persons),
            AnswerTo::AtLimit => self.at_limit.push(persons),
        }
    }
}

/// Tells what was not told before.
async fn emit(emitter: &Emitter, events: &[NodeEvent], told: &mut Vec<NodeEvent>) {
    for event in events {
        if told.contains(event) {
            continue;
        }
        told.push(event.clone());
        if let Some(body) = Option::<EventBody>::from(event.clone()) {
            emitter.event(body).await;
        }
    }
}

fn news_of(lane: &Lane) -> domain::event::NodeNews {
    domain::event::NodeNews {
        node_id: lane.node_id.clone().unwrap_or_default(),
        iteration: None,
        output: None,
        output_truncated: false,
        error: None,
        route: None,
        note: None,
    }
}

fn answered(text: String, chosen: Option<Value>, at_limit: u32) -> CallResult {
    CallResult::Answered { text, chosen, at_limit }
}

/// The call of a tool's node, in the form of an answer: recorded, run and recovered like any other.
fn tool_answer(node: &Node<'_>, name: &str, arguments: &Value) -> Answer {
    let call = RequestedCall {
        id: ToolCallId::invented(&node.lane.name, node.lane.turn, 0),
        name: name.to_owned(),
        arguments: arguments.to_string(),
        extra_content: None,
    };
    Answer {
        text: String::new(),
        reasoning: String::new(),
        reasoning_goes_back: false,
        reasoning_details: vec![],
        calls: vec![call],
        finish_reason: FinishReason::ToolCalls,
        model: String::new(),
        usage: Usage::default(),
        model_time_ms: 0,
        inbox: node.record.head.inbox,
    }
}

fn tool_result(node: &Node<'_>, outcome: Option<&ToolOutcome>) -> CallResult {
    match outcome {
        Some(ToolOutcome::Completed(text)) => answered(text.clone(), None, 0),
        Some(other) => CallResult::Failed(node.error(NodeErrorCode::Tool, &other.message().unwrap_or_default())),
        None => CallResult::Failed(node.error(NodeErrorCode::Tool, "The tool was not run")),
    }
}

fn branch_timeout(node: &Node<'_>, work: &Work) -> NodeError {
    let seconds = work.timeout.unwrap_or_default().as_secs_f64();
    let error = node.error(NodeErrorCode::Timeout, &format!("The branch took longer than its {seconds} seconds"));
    NodeError { node_id: work.node.shown(), ..error }
}

/// How a job ends whose workflow failed.
fn node_failed(node: &str, error: NodeError, rejected: bool, turn: u32) -> Ending {
    let reason = match error.code {
        _ if rejected => FinishReason::Rejected,
        NodeErrorCode::ToolLimit => FinishReason::ToolLimit,
        _ => FinishReason::Error,
    };
    let failed_during = match error.code {
        NodeErrorCode::Tool | NodeErrorCode::ToolLimit => FailedDuring::ToolExecution,
        NodeErrorCode::Rejected | NodeErrorCode::LoopLimit | NodeErrorCode::Unknown => FailedDuring::Turn,
        _ => FailedDuring::ModelCall,
    };
    let error = JobError {
        code: error.code.as_str().to_lowercase(),
        message: error.message,
        failed_during,
        tool_name: None,
        node_id: Some(node.to_owned()),
        turn,
    };
    Ending::Failed { reason, error }
}
