//! An answer as it grows: chunks to events. No IO and no clock; what a connection's end means is decided here as well.

use std::collections::VecDeque;

use domain::usage::Usage;
use serde_json::Value;

use crate::{
    error::{ModelError, shortened},
    event::{Completion, FinishReason, ModelEvent, StreamedCall},
    secret::Secret,
    wire::{CallFragment, Choice, Chunk, Complaint},
};

/// The most that is taken of one answer: its text, its reasoning, its calls and what goes back with them.
const MAX_KEPT_BYTES: usize = 4 << 20;
const CALL_BYTES: usize = 64; // what an empty call counts as

/// What has been received of an answer.
#[derive(Default)]
pub(crate) struct Answer {
    calls: Vec<Call>,
    reasoning_details: Vec<Value>,
    /// Whether `reasoning_content` has come, were it empty: who sends it wants it back.
    has_reasoning_content: bool,
    usage: Usage,
    cost_is_reported: bool,
    finish: Option<FinishReason>,
    model: Option<String>,
    said_something: bool,
    done: bool,
    kept_bytes: usize,
    /// What no error may quote.
    secret: Option<Secret>,
}

struct Call {
    /// The place that the provider gave it, if it gives any.
    wire_index: Option<u64>,
    announced: bool,
    call: StreamedCall,
}

impl Answer {
    /// Leaves this key out of errors.
    pub(crate) fn leave_out(&mut self, key: Option<Secret>) {
        self.secret = key;
    }

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
            let message = self.secret.as_ref().map_or_else(|| message.clone(), |key| key.left_out_of(&message));
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
        let Self {
            mut calls, reasoning_details, has_reasoning_content, usage, cost_is_reported, finish, model, ..
        } = std::mem::take(self);
        let reasoning_goes_back = has_reasoning_content && reasoning_details.is_empty();
        let finish = finish.unwrap_or(if calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls });
        for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| !call.announced) {
            events.push_back(call.announce(index));
        }
        let mut tool_calls: Vec<StreamedCall> = calls.into_iter().map(|call| call.call).collect();
        for call in tool_calls.iter_mut().filter(|call| call.arguments.trim().is_empty()) {
            "{}".clone_into(&mut call.arguments);
        }
        let completion =
            Completion { tool_calls, reasoning_goes_back, reasoning_details, usage, cost_is_reported, finish, model };
        events.push_back(ModelEvent::Completed(completion));
    }

    fn take_choice(
        &mut self,
        choice: Choice,
        frame_bytes: usize,
        events: &mut VecDeque<ModelEvent>,
    ) -> Result<(), ModelError> {
        let delta = choice.delta;
        self.has_reasoning_content |= delta.reasoning_content.is_some();
        let mut reasoning = delta.reasoning;
        if reasoning.is_empty() {
            reasoning = delta.reasoning_content.unwrap_or_default();
        }
        if !reasoning.is_empty() {
            self.kept_bytes += reasoning.len();
            events.push_back(ModelEvent::ReasoningDelta(reasoning));
        }
        for detail in delta.reasoning_details {
            self.take_detail(detail, frame_bytes);
        }
        for text in [delta.content.0, delta.refusal] {
            if !text.is_empty() {
                self.said_something = true;
                self.kept_bytes += text.len();
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
                let call =
                    StreamedCall { id: None, name: String::new(), arguments: String::new(), extra_content: None };
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
        if let Some(extra) = fragment.extra_content.filter(|extra| call.call.extra_content.as_ref() != Some(extra)) {
            self.kept_bytes += extra.to_string().len();
            call.call.extra_content = Some(extra);
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

#[cfg(test)]
mod tests {
    use domain::id::ToolCallId;
    use serde_json::json;

    use super::*;

    /// What comes of chunks with these deltas.
    fn read(deltas: impl IntoIterator<Item = Value>) -> Result<(Vec<ModelEvent>, Completion), ModelError> {
        let (mut answer, mut events) = (Answer::default(), VecDeque::new());
        for delta in deltas {
            let chunk = json!({"choices": [{"index": 0, "delta": delta}]});
            answer.take(chunk.to_string().as_bytes(), &mut events)?;
        }
        answer.complete(&mut events);
        let Some(ModelEvent::Completed(completion)) = events.pop_back() else { panic!("not complete: {events:?}") };
        Ok((events.into(), completion))
    }

    /// The calls that come of these fragments, one a chunk: id, name and arguments.
    fn calls(fragments: impl IntoIterator<Item = Value>) -> Vec<(Option<String>, String, String)> {
        let (_, completion) = read(fragments.into_iter().map(|it| json!({"tool_calls": [it]}))).unwrap();
        let parts = |call: StreamedCall| (call.id.map(|id| id.to_string()), call.name, call.arguments);
        completion.tool_calls.into_iter().map(parts).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (Option<String>, String, String) {
        (Some(id.to_owned()).filter(|id| !id.is_empty()), name.to_owned(), arguments.to_owned())
    }

    fn fragment(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
        json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn fragments_are_put_together_by_their_place() {
        let two = [
            fragment(0, Some("a"), Some("add"), ""),
            fragment(1, Some("b"), Some("sub"), "{"),
            fragment(0, None, None, "{\"x\":"),
            fragment(1, None, None, "}"),
            fragment(0, None, None, "1}"),
        ];
        assert_eq!(calls(two), [call("a", "add", "{\"x\":1}"), call("b", "sub", "{}")]);
    }

    #[test]
    fn servers_that_say_it_in_other_ways_are_understood() {
        let all_at_the_first_place =
            [fragment(0, Some("a"), Some("add"), "{}"), fragment(0, Some("b"), Some("add"), "{\"x\":2}")];
        assert_eq!(calls(all_at_the_first_place), [call("a", "add", "{}"), call("b", "add", "{\"x\":2}")]);
        let another_id_each_time = [fragment(0, Some("a"), Some("add"), "{"), fragment(0, Some("b"), None, "}")];
        assert_eq!(calls(another_id_each_time), [call("a", "add", "{}")]);
        let the_name_each_time = [fragment(0, Some("a"), Some("add"), "{"), fragment(0, None, Some("add"), "}")];
        assert_eq!(calls(the_name_each_time), [call("a", "add", "{}")]);
        let ids_only = ["a", "b", "a"].map(|id| json!({"id": id, "function": {"name": "add", "arguments": "x"}}));
        assert_eq!(calls(ids_only), [call("a", "add", "xx"), call("b", "add", "x")]);
        let names_only = [
            json!({"function": {"name": "add", "arguments": "{"}}),
            json!({"function": {"arguments": "}"}}),
            json!({"function": {"name": "add"}}),
        ];
        assert_eq!(calls(names_only), [call("", "add", "{}"), call("", "add", "{}")]);
        let as_json = [json!({"index": 0, "id": "a", "function": {"name": "add", "arguments": {"x": 1}}})];
        assert_eq!(calls(as_json), [call("a", "add", "{\"x\":1}")]);
        let a_stray_trailer = [fragment(0, Some("a"), Some("add"), "{}"), fragment(7, None, None, "")];
        assert_eq!(calls(a_stray_trailer), [call("a", "add", "{}")]);
    }

    #[test]
    fn a_call_is_announced_once_it_has_a_name_and_at_the_end_without_an_id() {
        let fragments = [fragment(0, Some("a"), None, ""), fragment(0, None, Some("add"), "{}")];
        let nameless = json!({"function": {"name": "sub"}});
        let (events, _) = read(fragments.into_iter().chain([nameless]).map(|it| json!({"tool_calls": [it]}))).unwrap();
        let seen = events.iter().map(|event| match event {
            ModelEvent::ToolCallSeen { index, name, id } => {
                (*index, name.as_str(), id.as_ref().map(ToolCallId::as_str))
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(seen.collect::<Vec<_>>(), [(0, "add", Some("a")), (1, "sub", None)]);
    }

    #[test]
    fn reasoning_that_came_as_reasoning_content_goes_back_unless_something_opaque_does() {
        let goes_back = |deltas: &[Value]| {
            let (events, completion) = read(deltas.iter().cloned()).unwrap();
            (events.len(), completion.reasoning_goes_back)
        };
        let text = json!({"content": "Yes."});
        assert_eq!(goes_back(&[json!({"reasoning_content": "hm"}), text.clone()]), (2, true));
        assert_eq!(goes_back(&[json!({"reasoning_content": ""}), text.clone()]), (1, true));
        assert_eq!(goes_back(&[json!({"reasoning": "hm", "reasoning_content": "hm"}), text.clone()]), (2, true));
        assert_eq!(goes_back(&[json!({"reasoning_content": null}), text.clone()]), (1, false));
        assert_eq!(goes_back(&[json!({"reasoning": "hm"}), text.clone()]), (2, false));
        let detail = json!({"type": "reasoning.text", "text": "hm"});
        assert_eq!(goes_back(&[json!({"reasoning_content": "hm", "reasoning_details": [detail]}), text]), (2, false));
    }

    #[test]
    fn what_goes_back_with_a_call_is_kept_with_it() {
        let function = json!({"name": "add", "arguments": "{}"});
        let signed = |id: &str, extra: Value| json!({"id": id, "function": function, "extra_content": extra});
        let signature = |text: &str| json!({"google": {"thought_signature": text}});
        let fragments = [
            signed("a", signature("s")),
            signed("b", Value::Null),
            json!({"id": "b", "function": {}, "extra_content": signature("t")}),
            signed("c", Value::Null),
        ];
        let (_, completion) = read(fragments.map(|fragment| json!({"tool_calls": [fragment]}))).unwrap();
        let kept: Vec<_> = completion.tool_calls.into_iter().map(|call| call.extra_content).collect();
        assert_eq!(kept, [Some(signature("s")), Some(signature("t")), None]);
    }

    fn details(details: impl IntoIterator<Item = Value>) -> Vec<Value> {
        read(details.into_iter().map(|it| json!({"reasoning_details": [it]}))).unwrap().1.reasoning_details
    }

    #[test]
    fn crumbs_of_one_block_of_reasoning_are_joined_and_its_signature_kept() {
        let text = |index: u64, text: &str| json!({"type": "reasoning.text", "index": index, "text": text});
        let signed = json!({"type": "reasoning.text", "index": 0, "text": "", "signature": "s"});
        let joined = details([text(0, "I "), text(0, "think"), signed, text(1, "Then")]);
        let first = json!({"type": "reasoning.text", "index": 0, "text": "I think", "signature": "s"});
        assert_eq!(joined, [first, text(1, "Then")]);
        // What follows on a signature is another block, whatever its number.
        let signed = |text: &str| json!({"type": "reasoning.text", "index": 0, "text": text, "signature": "s"});
        assert_eq!(details([signed("One"), text(0, "Two")]), [signed("One"), text(0, "Two")]);
        let summary = |text: &str| json!({"type": "reasoning.summary", "index": 0, "summary": text});
        assert_eq!(details([summary("In "), summary("short")]), [summary("In short")]);
        let sealed = |data: &str| json!({"type": "reasoning.encrypted", "index": 0, "data": data});
        assert_eq!(details([sealed("a"), sealed("b")]), [sealed("a"), sealed("b")]);
    }

    #[test]
    fn an_answer_that_would_fill_the_memory_is_refused() {
        let much = "x".repeat(MAX_KEPT_BYTES / 2);
        let limit = |result: Result<_, ModelError>| match result {
            Err(ModelError::TooLarge { limit }) => limit,
            other => panic!("{other:?}"),
        };
        let arguments = [0, 1].map(|n| json!({"tool_calls": [fragment(n, Some("a"), Some("add"), &much)]}));
        assert_eq!(limit(read(arguments)), MAX_KEPT_BYTES);
        let extra = [0, 1].map(
            |n| json!({"tool_calls": [{"index": n, "function": {"name": "add"}, "extra_content": {"google": much}}]}),
        );
        assert_eq!(limit(read(extra)), MAX_KEPT_BYTES);
        let crumbs = [0, 1].map(|_| json!({"reasoning_details": [{"type": "reasoning.text", "text": much}]}));
        assert_eq!(limit(read(crumbs)), MAX_KEPT_BYTES);
        for kind in ["content", "reasoning", "reasoning_content", "refusal"] {
            let piece = "x".repeat(MAX_KEPT_BYTES / 2 + 1);
            assert_eq!(limit(read([0, 1].map(|_| json!({kind: piece})))), MAX_KEPT_BYTES, "{kind}");
        }
    }

    #[test]
    fn an_error_within_an_answer_does_not_quote_the_key() {
        let mut answer = Answer::default();
        answer.leave_out(Some(Secret::new("sk-or-1")));
        let error = json!({"error": {"code": 401, "message": "The key sk-or-1 is not known."}});
        let error = answer.take(error.to_string().as_bytes(), &mut VecDeque::new()).unwrap_err();
        assert!(error.to_string().contains("The key … is not known."), "{error}");
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let (mut answer, mut events) = (Answer::default(), VecDeque::new());
        answer.take(b" [DONE] ", &mut events).unwrap();
        answer.take(b"no JSON at all", &mut events).unwrap();
        assert!(answer.is_done() && !answer.is_whole() && events.is_empty());
    }

    #[test]
    fn reasons_that_are_failures_are_errors() {
        assert!(matches!(finish_reason("content_filter"), Err(ModelError::Refused { .. })));
        assert!(matches!(finish_reason("error"), Err(ModelError::Failed { .. })));
        assert_eq!(finish_reason("max_tokens").unwrap(), FinishReason::Length);
        assert_eq!(finish_reason("tool_use").unwrap(), FinishReason::ToolCalls);
        assert_eq!(finish_reason("whatever").unwrap(), FinishReason::Stop);
    }
}
