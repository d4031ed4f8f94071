//! The tool calls of a turn: side by side, each recorded before it runs and after (PROTOCOL: `run_call`); those that a
//! person has to approve, or only the caller can run, wait without anybody at work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    answer::Answer,
    approval::{ApprovalRule, ApprovalWord, rule_for},
    event::ToolCallView,
    input_request::{Action, InputAnswer, InputRequest, NOBODY},
    job::{JobSpec, ToolRef},
    limits::REPEATED_CALLS,
    message::RequestedCall,
    time::Timestamp,
    tool_call::{Progress, Recovery, Replay, ToolCall, ToolCallError, ToolErrorPhase, ToolOutcome, ToolSpec, recovery},
    turn::repetitions,
    workflow::Tools,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::Value;
use signals::count;
use store::{FinishOutcome, Held, Record, StartOutcome};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use tools::{ClientTool, Ending, RegisteredTool, ToolContext, ToolRegistry, fingerprint::fingerprint};

use crate::{
    emit::Emitter,
    questions::{Draft, Question},
    turn::{Broken, Turn},
};

/// The tools of one job: those of the deployment that it names, and its caller's own.
pub(crate) struct JobTools {
    registry: ToolRegistry,
    allowed: Vec<String>,
    /// Those that the job's caller runs while the job waits.
    clients: BTreeSet<String>,
}

impl JobTools {
    /// Asks the servers that the job names for their tools. One that does not answer is left out: the turn goes on
    /// without its tools and the model is told ([`Self::note`]), since a server that is down for an hour is no reason to
    /// hold up a job that may not need it.
    pub(crate) async fn new(registered: &ToolRegistry, wanted: &[ToolRef]) -> Self {
        let mut registry = registered.clone();
        let mut clients = BTreeSet::new();
        for tool in wanted {
            if let ToolRef::Client { spec, waits } = tool {
                if let Err(error) = registry.register(ClientTool::new(spec.clone())) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(tool.name = spec.name, error, "client tool left out");
                } else if *waits {
                    clients.insert(spec.name.clone());
                }
            }
        }
        let is_server = |tool: &&ToolRef| matches!(tool, ToolRef::Mcp { .. });
        let mut allowed: Vec<String> =
            wanted.iter().filter(|tool| !is_server(tool)).map(|tool| tool.name().to_owned()).collect();
        allowed.extend(registry.add_served(wanted).await);
        Self { registry, allowed, clients }
    }

    /// What the model has to know of tools that are missing, if any are.
    pub(crate) fn note(&self) -> Option<String> {
        let absent = self.registry.absent();
        (!absent.is_empty()).then(|| {
            format!(
                "Some tools are missing for now, because their servers do not answer: those of {}. Do without them, or \
                 say what could not be done.",
                absent.join(", ")
            )
        })
    }

    /// Those of them that a workflow's node may use: these, or all.
    pub(crate) fn only(self, tools: &Tools) -> Self {
        match tools {
            Tools::All => self,
            Tools::Named(names) => Self { allowed: names.clone(), ..self },
        }
    }

    /// Their definitions, in the order in which the job names them.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        let named = self.allowed.iter().filter_map(|name| self.registry.get(name));
        named.filter(|tool| tool.is_enabled()).map(|tool| tool.spec().clone()).collect()
    }

    /// How long a call of this tool may take.
    pub(crate) fn timeout(&self, name: &str) -> Duration {
        self.registry.get(name).map_or(Duration::ZERO, RegisteredTool::timeout)
    }
}

/// What a turn's calls are run with.
pub(crate) struct Calling<'a> {
    pub(crate) tools: &'a JobTools,
    pub(crate) spec: &'a JobSpec,
    pub(crate) record: &'a Record,
    pub(crate) answer: &'a Answer,
    pub(crate) until: Instant,
}

/// How a turn's calls stand.
pub(crate) enum Calls {
    /// All of them ended.
    Ended(BTreeMap<u32, ToolCall>),
    /// All ended that could; the others wait for these, of which those marked are still to be asked.
    Wait(Vec<(InputRequest, bool)>),
    /// The lease was lost.
    LeaseLost,
}

impl Turn<'_> {
    /// Runs the calls of an answer that have not ended yet.
    pub(crate) async fn run_calls(
        &self,
        held: &Held,
        emitter: &Emitter,
        calling: &Calling<'_>,
    ) -> Result<Calls, Broken> {
        let requests = &calling.answer.calls;
        if !requests.is_empty() {
            let turn = held.lane().turn;
            tracing::info!(job.id = %held.id(), turn.number = turn, calls = requests.len(), "tool calls begin");
        }
        for request in requests {
            let view = {
                let lane = held.lane();
                ToolCallView::pending(request, &lane.name, lane.turn, lane.node_id.as_deref())
            };
            emitter.event(view.into_event()).await;
        }
        let of_turn = (held.fence.lane.clone(), held.lane().turn);
        let known = calling.record.turns.get(&of_turn).map(|turn| &turn.calls);
        let fingerprints: Vec<String> = requests.iter().map(|call| fingerprint(&call.name, &call.arguments)).collect();
        // Dropped with the turn: whatever a tool has spawned is told to stop.
        let cancel = CancellationToken::new();
        let recording = Mutex::new(());
        let _stop_when_dropped = cancel.clone().drop_guard();
        let calls = (0..).zip(requests).zip(&fingerprints).map(|((index, request), fingerprint)| {
            let repeated = repetitions(&calling.record.turns, &of_turn.0, of_turn.1, &fingerprints, index as usize);
            let (cancel, recording) = (&cancel, &recording);
            let call =
                Call { turn: self, held, emitter, calling, cancel, recording, index, request, fingerprint, repeated };
            async move { (index, call.run(known.and_then(|known| known.get(&index))).await) }
        });
        let mut running: FuturesUnordered<_> = calls.collect();
        let (mut ended, mut open, mut failed) = (BTreeMap::new(), BTreeMap::new(), None);
        // One that fails cuts no other off, since what that one has done is not to be forgotten; a lost lease does.
        while let Some((index, end)) = running.next().await {
            match end {
                Ok(CallEnd::Ended(call)) => drop(ended.insert(index, *call)),
                Ok(CallEnd::Waits(request, new)) => drop(open.insert(index, (*request, new))),
                Ok(CallEnd::LeaseLost) => return Ok(Calls::LeaseLost),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None if open.is_empty() => Ok(Calls::Ended(ended)),
            None => Ok(Calls::Wait(open.into_values().collect())),
        }
    }
}

/// One call of an answer.
struct Call<'a> {
    turn: &'a Turn<'a>,
    held: &'a Held,
    emitter: &'a Emitter,
    calling: &'a Calling<'a>,
    cancel: &'a CancellationToken,
    /// Held while a start is recorded. Each looks at the lane in a transaction, and the table refuses all but one of those
    /// that do so at once: the calls of a turn would hold each other up.
    recording: &'a Mutex<()>,
    index: u32,
    request: &'a RequestedCall,
    fingerprint: &'a str,
    /// How often the same call was made right before.
    repeated: usize,
}

/// How a call came out for now.
enum CallEnd {
    Ended(Box<ToolCall>),
    /// It waits for this answer; the mark says that it is still to be asked for.
    Waits(Box<InputRequest>, bool),
    LeaseLost,
}

/// What is to be done with a call that has no record.
enum Gate {
    /// Run it, with these arguments instead of the model's if there are any.
    Run(Option<String>),
    /// It ends so, without having run.
    Ends(ToolOutcome),
    Waits(Box<InputRequest>, bool),
    LeaseLost,
}

impl Call<'_> {
    async fn run(self, known: Option<&ToolCall>) -> Result<CallEnd, Broken> {
        let replay = self.calling.tools.registry.replay(&self.request.name);
        let ended = match (recovery(known, replay, &self.held.fence.owner), known) {
            (Recovery::Use, Some(known)) => Some(known.clone()),
            (Recovery::MarkUnknown, Some(known)) => self.mark_unknown(known).await?,
            (Recovery::TakeOver, Some(known)) => self.start(known.clone(), Some(known)).await?,
            (_, _) => match self.gate().await? {
                Gate::Run(edited) => {
                    let started = Progress::Started { by: self.held.fence.owner.clone() };
                    self.start(ToolCall { edited, ..self.call(self.now(), started) }, None).await?
                }
                Gate::Ends(outcome) => self.settle_unrun(outcome).await?,
                Gate::Waits(request, new) => return Ok(CallEnd::Waits(request, new)),
                Gate::LeaseLost => None,
            },
        };
        let Some(call) = ended else { return Ok(CallEnd::LeaseLost) };
        self.emitter.event(ToolCallView::of(&call).into_event()).await;
        Ok(CallEnd::Ended(Box::new(call)))
    }

    /// Whether the call may run: its tool and arguments, its repetitions, and what a person or its caller says.
    async fn gate(&self) -> Result<Gate, Broken> {
        let (tools, name) = (self.calling.tools, &self.request.name);
        let is_clients = tools.clients.contains(name);
        match tools.registry.check(name, &self.request.arguments, &tools.allowed) {
            Err(ToolOutcome::Skipped(_)) if is_clients => {}
            Err(outcome) => return Ok(Gate::Ends(outcome)),
            Ok(_) => {}
        }
        if self.repeated + 1 >= REPEATED_CALLS {
            return Ok(Gate::Ends(ToolOutcome::Skipped(repeated_text(name, self.repeated + 1))));
        }
        if is_clients {
            let draft = Draft::client_call(self.index, self.request, self.fingerprint, self.wait());
            return self.answered(draft, client_result).await;
        }
        if self.needs_approval() {
            let schema = tools.registry.get(name).map(|tool| &tool.spec().parameters);
            let draft = Draft::approval(self.index, self.request, self.fingerprint, schema, self.wait());
            return self.answered(draft, |answer| self.approved(answer)).await;
        }
        Ok(Gate::Run(None))
    }

    async fn answered(&self, draft: Draft, then: impl FnOnce(InputAnswer) -> Gate) -> Result<Gate, Broken> {
        let asked = self.turn.question(self.held, &self.calling.record.inputs, draft).await?;
        Ok(match asked {
            Question::Answered(answer) => then(answer),
            Question::Open { request, new } => Gate::Waits(request, new),
            Question::Lost => Gate::LeaseLost,
        })
    }

    fn needs_approval(&self) -> bool {
        let name = &self.request.name;
        let deployments = self.calling.tools.registry.get(name).map_or(ApprovalRule::NEVER, RegisteredTool::approval);
        match rule_for(&self.calling.spec.approval, name, &deployments) {
            ApprovalRule::Word(ApprovalWord::Never) => false,
            ApprovalRule::Word(ApprovalWord::Always) => true,
            ApprovalRule::Matching(schema) => tools::matches(schema, &self.request.arguments),
        }
    }

    /// What a person said to the call. An approval holds for the arguments that were shown, by their fingerprint.
    fn approved(&self, answer: InputAnswer) -> Gate {
        match answer.action {
            Action::Approve => {
                let id = domain::id::InputRequestId::of(
                    &self.held.fence.lane,
                    self.held.lane().turn,
                    &format!("call{}", self.index),
                );
                let shown = self.calling.record.inputs.iter().find(|request| request.id == id);
                let shown = shown.and_then(|request| request.tool_call.as_ref());
                if shown.is_some_and(|call| call.fingerprint == self.fingerprint) {
                    Gate::Run(None)
                } else {
                    Gate::Ends(ToolOutcome::Denied(Some("What was approved is another call".to_owned())))
                }
            }
            Action::Modify | Action::Submit => {
                let edited = answer.data.map_or_else(|| "{}".to_owned(), |data| data.to_string());
                let tools = self.calling.tools;
                match tools.registry.check(&self.request.name, &edited, &tools.allowed) {
                    Ok(_) => Gate::Run(Some(edited)),
                    Err(outcome) => Gate::Ends(outcome),
                }
            }
            Action::Reject | Action::Skip => Gate::Ends(ToolOutcome::Denied(answer.reason().map(str::to_owned))),
        }
    }

    fn wait(&self) -> Duration {
        self.calling.spec.limits.input()
    }

    /// Records a call that is not run: no such tool, not the job's, invalid arguments, refused, or run by the caller.
    async fn settle_unrun(&self, outcome: ToolOutcome) -> Result<Option<ToolCall>, Broken> {
        let now = self.now();
        tracing::info!(
            job.id = %self.held.id(),
            turn.number = self.held.lane().turn,
            tool.outcome = outcome.word(),
            arguments.fingerprint = self.fingerprint,
            "tool call not run"
        );
        count::tool_skipped(self.counted_as());
        let call = self.call(now, Progress::Finished { outcome, at: now });
        Ok(match self.record_start(&call, None).await? {
            StartOutcome::Started => Some(call),
            StartOutcome::Taken(there) => Some(*there).filter(|call| call.outcome().is_some()),
            StartOutcome::LeaseLost => None,
        })
    }

    fn call(&self, started_at: Timestamp, progress: Progress) -> ToolCall {
        ToolCall {
            request: self.request.bare(),
            lane: self.held.fence.lane.clone(),
            turn: self.held.lane().turn,
            index: self.index,
            node_id: self.held.lane().node_id.clone(),
            fingerprint: self.fingerprint.to_owned(),
            attempts: 0,
            edited: None,
            started_at,
            progress,
        }
    }

    fn now(&self) -> Timestamp {
        self.turn.engine.upkeep.clock.now()
    }

    async fn record_start(&self, call: &ToolCall, known: Option<&ToolCall>) -> Result<StartOutcome, store::Error> {
        let _alone = self.recording.lock().await;
        self.turn.engine.upkeep.store.start_call(self.held, call, known).await
    }

    async fn mark_unknown(&self, known: &ToolCall) -> Result<Option<ToolCall>, Broken> {
        let upkeep = &self.turn.engine.upkeep;
        let now = upkeep.clock.now();
        let _alone = self.recording.lock().await;
        Ok(match upkeep.store.mark_call_unknown(self.held, known, now).await? {
            StartOutcome::Started => {
                let outcome = ToolOutcome::Unknown;
                tracing::warn!(
                    job.id = %self.held.id(),
                    turn.number = known.turn,
                    tool.name = self.request.name,
                    "a tool call was cut off; its outcome is unknown"
                );
                count::tool_ended(self.counted_as(), &outcome, Duration::ZERO);
                Some(ToolCall { progress: Progress::Finished { outcome, at: now }, ..known.clone() })
            }
            StartOutcome::Taken(there) => Some(*there).filter(|call| call.outcome().is_some()),
            StartOutcome::LeaseLost => None,
        })
    }

    /// Runs a call, or runs it again: `known` is the record of whoever started it before.
    async fn start(&self, call: ToolCall, known: Option<&ToolCall>) -> Result<Option<ToolCall>, Broken> {
        let upkeep = &self.turn.engine.upkeep;
        let progress = Progress::Started { by: self.held.fence.owner.clone() };
        let started = ToolCall { attempts: call.attempts + 1, progress, ..call };
        // What changes nothing outside needs no record that it has begun.
        let is_recorded = known.is_some() || self.calling.tools.registry.replay(&self.request.name) != Replay::Safe;
        if is_recorded {
            match self.record_start(&started, known).await? {
                StartOutcome::Started => {}
                // Finished meanwhile by the worker that was thought dead: its result stands.
                StartOutcome::Taken(there) => return Ok(Some(*there).filter(|call| call.outcome().is_some())),
                StartOutcome::LeaseLost => return Ok(None),
            }
        }
        self.emitter.event(ToolCallView::of(&started).into_event()).await;
        let (name, tools) = (&self.request.name, self.calling.tools);
        tracing::info!(
            job.id = %self.held.id(),
            turn.number = started.turn,
            tool.name = name,
            tool.attempt = started.attempts,
            "tool call started"
        );
        count::tool_started(self.counted_as());
        let span = self.turn.span.tool(name, self.request.id.as_str());
        let execution = tools.registry.execute(name, started.arguments(), &self.context(), &tools.allowed).await;
        count::tool_ended(self.counted_as(), &execution.outcome, execution.execution_time);
        span.called(&execution.outcome);
        let progress = Progress::Finished { outcome: execution.outcome, at: upkeep.clock.now() };
        // The one retry after a network failure counts, too.
        let attempts = started.attempts + execution.attempts.saturating_sub(1);
        let ended = ToolCall { progress, attempts, ..started };
        match upkeep.store.finish_call(self.held, &ended, is_recorded).await? {
            FinishOutcome::Finished if matches!(execution.ending, Ending::Fatal(_)) => {
                self.emitter.event(ToolCallView::of(&ended).into_event()).await;
                self.emitter.flush().await;
                Err(Broken::Tool(name.clone()))
            }
            FinishOutcome::Finished => Ok(Some(ended)),
            FinishOutcome::Taken(there) => Ok(Some(*there)),
            FinishOutcome::Lost => Ok(None),
        }
    }

    /// The dimension of metrics: names that callers and servers choose are without end.
    fn counted_as(&self) -> &str {
        let known = self.turn.engine.tools.get(&self.request.name);
        known.map_or(count::OTHER_TOOL, RegisteredTool::name)
    }

    fn context(&self) -> ToolContext {
        let head = &self.held.job.head;
        ToolContext {
            user: head.user.clone(),
            thread: head.thread.clone(),
            job: head.id.clone(),
            lane: self.held.fence.lane.clone(),
            turn: self.held.lane().turn,
            call: self.request.id.clone(),
            cancel: self.cancel.clone(),
            deadline: self.calling.until,
        }
    }
}

/// What the caller made of a call.
fn client_result(answer: InputAnswer) -> Gate {
    Gate::Ends(match answer.action {
        Action::Approve | Action::Submit | Action::Modify => ToolOutcome::Completed(match answer.data {
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
            None => String::new(),
        }),
        Action::Reject | Action::Skip if answer.by == NOBODY => {
            ToolOutcome::Skipped(answer.reason().unwrap_or_default().to_owned())
        }
        Action::Reject | Action::Skip => ToolOutcome::Error(ToolCallError {
            phase: ToolErrorPhase::Execution,
            message: answer.reason().unwrap_or("The caller could not run this tool").to_owned(),
        }),
    })
}

/// What the model is told instead of the same result once more.
fn repeated_text(name: &str, times: usize) -> String {
    format!(
        "`{name}` was called with the same arguments {times} times in a row, and was not run again: its result will not \
         change. Use the results that you have, try something else, or answer."
    )
}
