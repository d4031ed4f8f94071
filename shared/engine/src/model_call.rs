//! One call of the model: what it is asked, how its stream becomes events, and what its failures mean to the job.

use std::{collections::HashSet, time::Duration};

use domain::{
    answer::{Answer, TURN_SEPARATOR},
    event::{EventBody, ToolCallView},
    id::{JobId, ToolCallId},
    job::{Ending, FailedDuring, FinishReason, JobSpec, ModelSettings},
    lane::Lane,
    limits::ARGUMENTS_BYTES,
    message::{Message, RequestedCall},
    price::Prices,
    retry::{self, backoff},
    tool_call::ToolSpec,
    workflow::NodeErrorCode,
};
use futures_util::StreamExt;
use model_client::{Completion, ModelError, ModelEvent, ModelRequest, Secret};
use signals::{count, trace::Span};

use crate::{Engine, emit::Emitter, engine::duration_ms, upkeep::failed};

/// What the model is asked in a turn.
pub(crate) struct Asked<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) spec: &'a JobSpec,
    /// How: the job's settings, or a node's.
    pub(crate) settings: ModelSettings,
    pub(crate) messages: Vec<Message>,
    pub(crate) lane: &'a Lane,
    /// Messages that had been accepted when the conversation was loaded.
    pub(crate) inbox: u32,
    /// What it may call.
    pub(crate) tools: Vec<ToolSpec>,
    /// Whether what it calls is run, and so shown; a router's or a loop's choice is read off its call.
    pub(crate) runs_calls: bool,
    /// The ids of the calls of the whole conversation.
    pub(crate) call_ids: HashSet<ToolCallId>,
}

/// Why the model gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelFailure {
    /// The model's client says so.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The key that the caller brought cannot be opened.
    #[error("the key that came with the job cannot be opened any more: start the job again")]
    Key,
}

impl Asked<'_> {
    fn request(&self) -> ModelRequest {
        let settings = &self.settings;
        ModelRequest {
            model: settings.model.clone(),
            messages: self.messages.clone(),
            tools: self.tools.clone(),
            tool_choice: settings.tool_choice.clone(),
            parallel_tool_calls: settings.parallel_tool_calls,
            temperature: settings.temperature,
            top_p: settings.top_p,
            max_output_tokens: settings.max_output_tokens,
            reasoning: settings.reasoning.clone(),
            response_format: settings.response_format.clone(),
        }
    }

    /// The event that shows a call to viewers as soon as the model begins to write it (R87): once more, with its arguments,
    /// when the answer is whole.
    fn pending(&self, call: &RequestedCall) -> EventBody {
        let Lane { name, turn, node_id, .. } = self.lane;
        ToolCallView::pending(call, name, *turn, node_id.as_deref()).into_event()
    }
}

impl Engine {
    /// The caller's own key, if one came with the job.
    pub(crate) fn key_of(&self, job: &JobId, spec: &JobSpec) -> Result<Option<Secret>, ModelFailure> {
        let Some(sealed) = &spec.model_api_key else { return Ok(None) };
        let sealing = self.sealing.as_ref();
        let opened = sealing.and_then(|sealing| sealing.open(sealed, spec.key_of.as_ref().unwrap_or(job)).ok());
        opened.map(|key| Some(Secret::new(key))).ok_or(ModelFailure::Key)
    }

    /// Asks the model and passes on what it says as it comes. The answer is whole, or there is none.
    pub(crate) async fn ask_model(
        &self,
        asked: &Asked<'_>,
        emitter: &Emitter,
        span: &mut Span,
    ) -> Result<Answer, ModelFailure> {
        let begun = tokio::time::Instant::now();
        let key = self.key_of(asked.job, asked.spec)?;
        let mut stream = self.model.stream(&asked.request(), key.as_ref()).await?;
        let (mut text, mut reasoning) = (String::new(), String::new());
        let mut is_first = true;
        while let Some(event) = stream.next().await {
            let event = event?;
            if std::mem::take(&mut is_first) {
                let after = begun.elapsed();
                count::first_token(after);
                span.first_token(after);
            }
            match event {
                ModelEvent::TextDelta(delta) => {
                    let apart = if text.is_empty() && asked.lane.output_bytes > 0 { TURN_SEPARATOR } else { "" };
                    emitter.output(format!("{apart}{delta}")).await;
                    text.push_str(&delta);
                }
                ModelEvent::ReasoningDelta(delta) => {
                    emitter.reasoning(delta.clone()).await;
                    reasoning.push_str(&delta);
                }
                // What has no id, or one of an earlier call, is given one when the answer is whole.
                ModelEvent::ToolCallSeen { id: Some(id), name, .. }
                    if asked.runs_calls && !asked.call_ids.contains(&id) =>
                {
                    let being_written = RequestedCall { id, name, arguments: String::new(), extra_content: None };
                    emitter.event(asked.pending(&being_written)).await;
                }
                ModelEvent::ToolCallSeen { .. } => {}
                ModelEvent::Completed(completion) => {
                    let model_time_ms = duration_ms(begun.elapsed());
                    return Ok(answer(asked, text, reasoning, completion, model_time_ms, &self.settings.prices));
                }
            }
        }
        Err(ModelError::Interrupted { source: None }.into())
    }
}

/// A note goes to the standing orders at the beginning: some models take those nowhere else.
pub(crate) fn noted(mut messages: Vec<Message>, note: Option<String>) -> Vec<Message> {
    if let Some(note) = note {
        let orders = messages.iter().take_while(|message| matches!(message, Message::System { .. })).count();
        messages.insert(orders, Message::system(note));
    }
    messages
}

/// Arguments as they are kept: what is too long for any tool (R184) is replaced by JSON that says so.
fn kept(arguments: String) -> String {
    if arguments.len() <= ARGUMENTS_BYTES {
        return arguments;
    }
    format!("\"[left out: {} bytes of arguments, more than {ARGUMENTS_BYTES}]\"", arguments.len())
}

fn answer(
    asked: &Asked<'_>,
    text: String,
    reasoning: String,
    completion: Completion,
    model_time_ms: u64,
    prices: &Prices,
) -> Answer {
    let Completion { tool_calls, mut usage, model, .. } = completion;
    if !completion.cost_is_reported {
        let known = prices.cost_usd(&asked.settings.model, &usage);
        let known = known.or_else(|| prices.cost_usd(model.as_deref()?, &usage));
        usage.cost_usd = known.unwrap_or(usage.cost_usd);
    }
    // Some models count from zero in every answer: in the conversation, and in the job, an id names one call.
    let mut seen = asked.call_ids.clone();
    let calls: Vec<RequestedCall> = tool_calls
        .into_iter()
        .enumerate()
        .map(|(index, call)| {
            let invented = || ToolCallId::invented(&asked.lane.name, asked.lane.turn, index);
            let id = call.id.filter(|id| !seen.contains(id)).unwrap_or_else(invented);
            seen.insert(id.clone());
            RequestedCall { id, name: call.name, arguments: kept(call.arguments), extra_content: call.extra_content }
        })
        .collect();
    let finish_reason = match completion.finish {
        _ if !calls.is_empty() => FinishReason::ToolCalls,
        model_client::FinishReason::Length => FinishReason::Length,
        model_client::FinishReason::Stop | model_client::FinishReason::ToolCalls => FinishReason::Stop,
    };
    Answer {
        text,
        reasoning,
        reasoning_goes_back: completion.reasoning_goes_back,
        reasoning_details: completion.reasoning_details,
        calls,
        finish_reason,
        model: model.unwrap_or_else(|| asked.settings.model.clone()),
        usage,
        model_time_ms,
        inbox: asked.inbox,
    }
}

impl ModelFailure {
    /// How long to wait before the next try; `None`: the same request would be refused again.
    pub(crate) fn delay(&self, backoffs: u32, jitter: f64) -> Option<Duration> {
        let Self::Model(error) = self else { return None };
        let asked = match (error, error.retry_after()) {
            (_, Some(wait)) => retry::Asked::Wait(wait),
            (ModelError::RateLimited { .. }, None) => retry::Asked::Patience,
            _ => retry::Asked::Nothing,
        };
        error.retryable().then(|| backoff(backoffs, asked, jitter))
    }

    /// The same as a workflow's documents name it, with the provider's status and the patience that it asks for.
    pub(crate) fn for_node(&self) -> (NodeErrorCode, Option<u16>, Option<Duration>) {
        let Self::Model(error) = self else { return (NodeErrorCode::Auth, None, None) };
        let (code, status) = match error {
            ModelError::RateLimited { .. } => (NodeErrorCode::RateLimit, Some(429)),
            ModelError::Rejected { status: status @ (401..=403), .. } => (NodeErrorCode::Auth, Some(*status)),
            ModelError::Rejected { status, .. } => (NodeErrorCode::Validation, Some(*status)),
            ModelError::ContextTooLong { .. } | ModelError::Refused { .. } => (NodeErrorCode::Validation, None),
            ModelError::Overloaded { status, .. } => (NodeErrorCode::LlmError, Some(*status)),
            ModelError::TimedOut { .. } => (NodeErrorCode::Timeout, None),
            ModelError::Interrupted { .. } | ModelError::Transport { .. } => (NodeErrorCode::Network, None),
            _ => (NodeErrorCode::LlmError, None),
        };
        (code, status, error.retry_after())
    }

    /// Whether a shorter conversation may be answered.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Self::Model(ModelError::ContextTooLong { .. }))
    }

    /// A stable word.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Key => "model_key_unreadable",
        }
    }

    /// The same for people.
    pub(crate) fn message(&self) -> String {
        self.to_string()
    }

    /// How the job ends that cannot go on without an answer.
    pub(crate) fn ending(&self, turn: u32) -> Ending {
        failed(FinishReason::Error, self.code(), self.message(), FailedDuring::ModelCall, turn)
    }
}
