//! The tool calls of a turn: side by side, each recorded before it runs and after (PROTOCOL: `run_call`).

use std::{collections::BTreeMap, time::Duration};

use domain::{
    answer::Answer,
    event::{ToolCallView, ToolErrorView},
    job::ToolRef,
    message::RequestedCall,
    time::Timestamp,
    tool_call::{Progress, Recovery, ToolCall, ToolCallStatus, ToolOutcome, ToolSpec, recovery},
};
use futures_util::future::try_join_all;
use store::{FinishOutcome, Held, StartOutcome};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tools::{ClientTool, Ending, ToolContext, ToolRegistry};

use crate::{
    emit::Emitter,
    turn::{Broken, Turn},
};

/// The tools of one job: those of the deployment that it names, and its caller's own.
pub(crate) struct JobTools {
    registry: ToolRegistry,
    allowed: Vec<String>,
}

impl JobTools {
    pub(crate) fn new(registered: &ToolRegistry, wanted: &[ToolRef]) -> Self {
        let mut registry = registered.clone();
        for tool in wanted {
            if let ToolRef::Client { spec } = tool
                && let Err(error) = registry.register(ClientTool::new(spec.clone()))
            {
                tracing::warn!(tool.name = spec.name, error = &error as &dyn std::error::Error, "client tool left out");
            }
        }
        Self { registry, allowed: wanted.iter().map(|tool| tool.name().to_owned()).collect() }
    }

    /// Their definitions, in the order in which the job names them.
    pub(crate) fn specs(&self) -> Vec<ToolSpec> {
        let named = self.allowed.iter().filter_map(|name| self.registry.get(name));
        named.filter(|tool| tool.is_enabled()).map(|tool| tool.spec().clone()).collect()
    }

    /// How long a call of this tool may take.
    pub(crate) fn timeout(&self, name: &str) -> Duration {
        self.registry.get(name).map_or(Duration::ZERO, tools::RegisteredTool::timeout)
    }
}

impl Turn<'_> {
    /// Runs the calls of an answer that have not ended yet. `None`: the lease was lost.
    pub(crate) async fn run_calls(
        &self,
        held: &Held,
        emitter: &Emitter,
        tools: &JobTools,
        answer: &Answer,
        known: Option<&BTreeMap<u32, ToolCall>>,
        until: Instant,
    ) -> Result<Option<BTreeMap<u32, ToolCall>>, Broken> {
        for request in &answer.calls {
            emitter.event(pending(held, request).into_event()).await;
        }
        // Dropped with the turn: whatever a tool has spawned is told to stop.
        let cancel = CancellationToken::new();
        let _stop_when_dropped = cancel.clone().drop_guard();
        let calls = (0..).zip(&answer.calls).map(|(index, request)| {
            let call = Call { turn: self, held, emitter, tools, cancel: &cancel, until, index, request };
            call.run(known.and_then(|known| known.get(&index)))
        });
        let ended = try_join_all(calls).await?;
        Ok(ended.into_iter().map(|call| call.map(|call| (call.index, call))).collect())
    }
}

fn pending(held: &Held, request: &RequestedCall) -> ToolCallView {
    ToolCallView {
        id: request.id.to_string(),
        lane: held.fence.lane.clone(),
        turn: held.lane().turn,
        node_id: None,
        name: request.name.clone(),
        arguments: request.arguments.clone(),
        status: ToolCallStatus::Pending,
        result: None,
        result_truncated: false,
        error: None::<ToolErrorView>,
        started_at: None,
        finished_at: None,
        duration_ms: None,
    }
}

/// One call of an answer.
struct Call<'a> {
    turn: &'a Turn<'a>,
    held: &'a Held,
    emitter: &'a Emitter,
    tools: &'a JobTools,
    cancel: &'a CancellationToken,
    until: Instant,
    index: u32,
    request: &'a RequestedCall,
}

impl Call<'_> {
    /// The call, ended; `None` when the lease was lost.
    async fn run(self, known: Option<&ToolCall>) -> Result<Option<ToolCall>, Broken> {
        let replay = self.tools.registry.replay(&self.request.name);
        let ended = match (recovery(known, replay, &self.held.fence.owner), known) {
            (Recovery::Use, Some(known)) => Some(known.clone()),
            (Recovery::MarkUnknown, Some(known)) => self.mark_unknown(known).await?,
            (Recovery::TakeOver, Some(known)) => self.start(known.started_at, Some(known)).await?,
            (_, _) => match self.tools.registry.check(&self.request.name, &self.request.arguments, &self.tools.allowed)
            {
                Ok(_) => self.start(self.now(), None).await?,
                Err(outcome) => self.settle_unrun(outcome).await?,
            },
        };
        if let Some(call) = &ended {
            self.emitter.event(ToolCallView::of(call).into_event()).await;
        }
        Ok(ended)
    }

    /// Records a call that cannot be run: no such tool, not the job's, not ours to run, or invalid arguments.
    async fn settle_unrun(&self, outcome: ToolOutcome) -> Result<Option<ToolCall>, Broken> {
        let now = self.now();
        let call = self.call(now, Progress::Finished { outcome, at: now });
        Ok(match self.turn.engine.upkeep.store.start_call(self.held, &call, None).await? {
            StartOutcome::Started => Some(call),
            StartOutcome::Taken(there) => Some(*there).filter(|call| call.outcome().is_some()),
            StartOutcome::LeaseLost => None,
        })
    }

    fn call(&self, started_at: Timestamp, progress: Progress) -> ToolCall {
        ToolCall {
            request: self.request.clone(),
            lane: self.held.fence.lane.clone(),
            turn: self.held.lane().turn,
            index: self.index,
            started_at,
            progress,
        }
    }

    fn now(&self) -> Timestamp {
        self.turn.engine.upkeep.clock.now()
    }

    async fn mark_unknown(&self, known: &ToolCall) -> Result<Option<ToolCall>, Broken> {
        let upkeep = &self.turn.engine.upkeep;
        let now = upkeep.clock.now();
        Ok(match upkeep.store.mark_call_unknown(self.held, known, now).await? {
            StartOutcome::Started => {
                let outcome = ToolOutcome::Unknown;
                Some(ToolCall { progress: Progress::Finished { outcome, at: now }, ..known.clone() })
            }
            StartOutcome::Taken(there) => Some(*there).filter(|call| call.outcome().is_some()),
            StartOutcome::LeaseLost => None,
        })
    }

    async fn start(&self, started_at: Timestamp, known: Option<&ToolCall>) -> Result<Option<ToolCall>, Broken> {
        let upkeep = &self.turn.engine.upkeep;
        let started = self.call(started_at, Progress::Started { by: self.held.fence.owner.clone() });
        match upkeep.store.start_call(self.held, &started, known).await? {
            StartOutcome::Started => {}
            // Finished meanwhile by the worker that was thought dead: its result stands.
            StartOutcome::Taken(there) => return Ok(Some(*there).filter(|call| call.outcome().is_some())),
            StartOutcome::LeaseLost => return Ok(None),
        }
        self.emitter.event(ToolCallView::of(&started).into_event()).await;
        let RequestedCall { name, arguments, .. } = self.request;
        let execution = self.tools.registry.execute(name, arguments, &self.context(), &self.tools.allowed).await;
        let progress = Progress::Finished { outcome: execution.outcome, at: upkeep.clock.now() };
        let ended = ToolCall { progress, ..started };
        match upkeep.store.finish_call(self.held, &ended).await? {
            FinishOutcome::Finished if matches!(execution.ending, Ending::Fatal(_)) => {
                self.emitter.event(ToolCallView::of(&ended).into_event()).await;
                self.emitter.flush().await;
                Err(Broken::Tool(name.clone()))
            }
            FinishOutcome::Finished => Ok(Some(ended)),
            FinishOutcome::Lost => Ok(None),
        }
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
            deadline: self.until,
        }
    }
}
