//! What a model's answer is made of, as it comes in. Owned data; nothing of HTTP or of a provider's JSON.

use domain::{id::ToolCallId, usage::Usage};
use serde_json::Value;

/// One piece of an answer. [`ModelEvent::Completed`] is the last of every answer: a stream without it has failed.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelEvent {
    /// More of the answer's text (or of a refusal in words). Never empty.
    TextDelta(String),
    /// More of the model's visible reasoning. Never empty.
    ReasoningDelta(String),
    /// A tool call came into sight; its arguments are still being written.
    ToolCallSeen {
        /// Its place among the answer's calls, from 0: the same as in [`Completion::tool_calls`].
        index: usize,
        /// The tool's name, as the model wrote it.
        name: String,
        /// Its id; `None` when the model sends none, and then [`StreamedCall::id`] is `None` too.
        id: Option<ToolCallId>,
    },
    /// The answer is complete.
    Completed(Completion),
}

/// The whole of an answer but its text, which has been streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The tools it asks for, in order, whatever the finish reason says.
    pub tool_calls: Vec<StreamedCall>,
    /// Whether the visible reasoning is to be sent back in words (`reasoning_content`): it came so, and nothing opaque with
    /// it.
    pub reasoning_goes_back: bool,
    /// Opaque reasoning to be sent back unchanged in the next request.
    pub reasoning_details: Vec<Value>,
    /// What the provider counted; zeros when it did not.
    pub usage: Usage,
    /// Whether the provider said what the answer cost.
    pub cost_is_reported: bool,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// The model that answered, where the provider says so; a router may have chosen it.
    pub model: Option<String>,
}

/// A tool call as it came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedCall {
    /// The model's id of it; `None` when it sent none, or one that is no id, and the caller has to invent one.
    pub id: Option<ToolCallId>,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// The arguments as the model wrote them, not checked; `{}` when it wrote nothing.
    pub arguments: String,
    /// What is to be sent back with the call, unchanged.
    pub extra_content: Option<Value>,
}

/// Why a model stopped. Reasons that are failures are errors instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It ran into the limit of tokens; the last tool call's arguments may be cut off.
    Length,
    /// It waits for its tools.
    ToolCalls,
}
