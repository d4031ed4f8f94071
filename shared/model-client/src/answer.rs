//! An answer as it grows: chunks to events. No IO and no clock; what a connection's end means is decided here as well.

use std::collections::VecDeque;

use domain::usage::Usage;
use serde_json::Value;

use crate::{
    error::{ModelError, shortened},
    event::{Completion, FinishReason, ModelEvent, StreamedCall},
    wire::{CallFragment, Choice, Chunk, Complaint},
};

/// The most that is kept of one answer's calls and reasoning details; its text is passed on, not kept.
const MAX_KEPT_BYTES: usize = 4 << 20;
const CALL_BYTES: usize = 64; // what an empty call counts as

/// What has been received of an answer.
#[derive(Default)]
pub(crate) struct Answer {
    calls: Vec<Call>,
    reasoning_details: Vec<Value>,
    usage: Usage,
    cost_is_reported: bool,
    finish: Option<FinishReason>,
    model: Option<String>,
    said_something: bool,
    done: bool,
    kept_bytes: usize,
}

struct Call {
    /// The place that the provider gave it, if it gives any.
    wire_index: Option<u64>,
    announced: bool,
    call: StreamedCall,
}

impl Answer {
    /// Takes in the data of one frame.
    pub(crate) fn take(&mut self, data: &[u8], events: &mut VecDeque<ModelEvent>) -> Result<(), ModelError> {
        let data = data.trim_ascii();
        if data.is_empty() || self.done {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|error| ModelError::Malformed(error.into()))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let Complaint { code, message } = Complaint::from_error(&error);
            return Err(ModelError::from_code(&code, &message));
        }
        if self.model.is_none() {
            self.model = chunk.model.filter(|model| !model.is_empty()).map(Into::into);
        }
        if let Some(usage) = chunk.usage {
            self.cost_is_reported = usage.cost.is_some();
            self.usage = usage.into();
        }
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.take_choice(choice, data.len(), events)?;
        }
        if self.kept_bytes > MAX_KEPT_BYTES {
            return Err(ModelError::TooLarge { limit: MAX_KEPT_BYTES });
        }
        Ok(())
    }

    /// Whether the provider has said that nothing more will come.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the answer is whole, so that the connection's end, however it comes, cuts nothing off.
    pub(crate) fn is_whole(&self) -> bool {
        self.finish.is_some() || (self.done && self.said_something)
    }

    /// Closes a whole answer.
    pub(crate) fn complete(&mut self, events: &mut VecDeque<ModelEvent>) {
        let Self { mut calls, reasoning_details, usage, cost_is_reported, finish, model, .. } = std::mem::take(self);
        let finish = finish.unwrap_or(if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls });
        for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| !call.announced) {
            events.push_back(call.announce(index));
        }
        let mut tool_calls: Vec<StreamedCall> = calls.into_iter().map(|call| call.call).collect();
        for call in tool_calls.iter_mut().filter(|call| call.arguments.trim().is_empty()) {
            "{}".clone_into(&mut call.arguments);
        }
        let completion = Completion { tool_calls, reasoning_details, usage, cost_is_reported, finish, model };
        events.push_back(ModelEvent::Completed(completion));
    }

    fn take_choice(
        &mut self,
        choice: Choice,
        frame_bytes: usize,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        let delta = choice.delta;
        let mut reasoning = delta.reasoning;
        if reasoning.is_empty() {
            reasoning = delta.reasoning_content;
        }
        if !reasoning.is_empty() {
            events.push_back(ModelEvent::ReasoningDelta(reasoning));
        }
        for detail in delta.reasoning_details {
            self.take_detail(detail, frame_bytes);
        }
        for text in [delta.content.0, delta.refusal] {
            if !text.is_empty() {
                self.said_something = true;
                events.push_back(ModelEvent::TextDelta(text));
            }
        }
        for fragment in delta.tool_calls {
            self.take_fragment(fragment, events);
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.finish = Some(finish_reason(&reason)?);
        }
        Ok(())
    }

    fn take_fragment(&mut self, fragment: CallFragment, events: &mut VecDeque<ModelEvent>) {
        let id = fragment.id.filter(|id| !id.is_empty());
        let name = fragment.function.name;
        let arguments = match fragment.function.arguments {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        let at = match self.place_of(fragment.index, id.as_deref(), &name) {
            Some(at) => at,
            None if id.is_none() && name.is_empty() && arguments.is_empty() => return, // a stray trailer
            None => {
                let call = StreamedCall { id: None, name: String::new(), arguments: String::new() };
                self.calls.push(Call { wire_index: fragment.index, announced: false, call });
                self.said_something = true;
                self.kept_bytes += CALL_BYTES;
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        self.kept_bytes += arguments.len();
        call.call.arguments.push_str(&arguments);
        if call.call.name.is_empty() {
            self.kept_bytes += name.len();
            call.call.name = name; // some servers repeat it in every fragment
        }
        if call.call.id.is_none() && !call.announced {
            call.call.id = id.and_then(|id| id.parse().ok());
        }
        if !call.announced && call.call.id.is_some() && !call.call.name.is_empty() {
            events.push_back(call.announce(at));
        }
    }

    /// Which of the calls so far a fragment belongs to; `None`: a new one.
    fn place_of(&self, index: Option<u64>, id: Option<&str>, name: &str) -> Option<usize> {
        let starts_another = |call: &Call| {
            // Gemini's parallel calls all come with index 0, each with its own id and name. An id alone proves nothing:
            // old vLLMs send a fresh one with every fragment.
            !name.is_empty() && matches!((id, &call.call.id), (Some(id), Some(known)) if id != known.as_str())
        };
        let found = match index {
            Some(index) => self.calls.iter().rposition(|call| call.wire_index == Some(index))?,
            None => match id {
                Some(id) => {
                    let of_id = |call: &Call| call.call.id.as_ref().is_some_and(|known| known.as_str() == id);
                    return self.calls.iter().rposition(of_id);
                }
                None if !name.is_empty() => return None,
                None => self.calls.len().checked_sub(1)?,
            },
        };
        (!starts_another(&self.calls[found])).then_some(found)
    }

    /// Reasoning comes in fragments of a few characters, each wrapped like a whole. Neighbours of one block (the same
    /// type and index) are joined as OpenRouter's own client does: the provider that gets them back checks a signature
    /// over the block's whole text, and a list of thousands of crumbs would be stored with every turn.
    fn take_detail(&mut self, detail: Value, frame_bytes: usize) {
        self.said_something = true;
        if let (Some(Value::Object(last)), Value::Object(next)) = (self.reasoning_details.last_mut(), &detail) {
            let kind = next.get("type").and_then(Value::as_str).unwrap_or_default();
            let text_key = match kind {
                "reasoning.text" => "text",
                "reasoning.summary" => "summary",
                _ => "",
            };
            let same_block = ["type", "index"].iter().all(|key| last.get(*key) == next.get(*key));
            let text = next.get(text_key).and_then(Value::as_str).unwrap_or_default();
            let signed = last.get("signature").is_some_and(|signature| !signature.is_null());
            if !text_key.is_empty() && same_block && (!signed || text.is_empty()) {
                for (key, value) in next.iter().filter(|(key, value)| *key != text_key && !value.is_null()) {
                    if last.insert(key.clone(), value.clone()).as_ref() != Some(value) {
                        self.kept_bytes += value.as_str().map_or(CALL_BYTES, str::len);
                    }
                }
                self.kept_bytes += text.len();
                match last.get_mut(text_key) {
                    Some(Value::String(all)) => all.push_str(text),
                    _ => drop(last.insert(text_key.to_owned(), Value::String(text.to_owned()))),
                }
                return;
            }
        }
        self.kept_bytes += frame_bytes;
        self.reasoning_details.push(detail);
    }
}

impl Call {
    fn announce(&mut self, index: usize) -> ModelEvent {
        self.announced = true;
        ModelEvent::ToolCallSeen { index, name: self.call.name.clone(), id: self.call.id.clone() }
    }
}

fn finish_reason(reason: &str) -> Result<FinishReason, ModelError> {
    match reason {
        "length" | "max_tokens" | "model_length" => Ok(FinishReason::Length),
        "tool_calls" | "function_call" | "tool_use" => Ok(FinishReason::ToolCalls),
        "content_filter" | "safety" | "refusal" => Err(ModelError::Refused { message: shortened(reason) }),
        "error" | "failed" | "cancelled" | "canceled" | "abort" | "insufficient_system_resource" => {
            Err(ModelError::Failed { reason: shortened(reason), message: "it gave no details".to_owned() })
        }
        _ => Ok(FinishReason::Stop), // stop, eos, end_turn, and whatever a local server calls it
    }
}
