//! A turn's checkpoint: the model's whole answer, recorded before anything is done about it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    job::FinishReason,
    message::{Content, Message, RequestedCall},
    usage::Usage,
};

/// What the model answered in a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// What it thought, as far as the provider shows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// Whether what it thought goes back to the provider in words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reasoning_goes_back: bool,
    /// Opaque reasoning that goes back to the provider unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning_details: Vec<Value>,
    /// The calls that it asked for, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<RequestedCall>,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// The model that answered, as its provider names it.
    pub model: String,
    /// What it used.
    pub usage: Usage,
    /// Milliseconds that it took.
    pub model_time_ms: u64,
    /// Messages that had been accepted when its conversation was loaded: the job may end on this answer only if there
    /// are no more.
    pub inbox: u32,
}

/// What stands between the texts of two turns of one lane.
pub const TURN_SEPARATOR: &str = "\n\n";

impl Answer {
    /// The answer as an entry of the conversation.
    pub fn as_message(&self) -> Message {
        Message::Assistant {
            content: Content::Text(self.text.clone()),
            tool_calls: self.calls.clone(),
            reasoning_details: self.reasoning_details.clone(),
            reasoning_content: self.reasoning_goes_back.then(|| self.reasoning.clone()),
        }
    }

    /// Bytes that it adds to a lane that has `before` bytes of text: a separator comes first where there is text already.
    pub fn adds_bytes(&self, before: u64) -> u64 {
        let separator = if before > 0 && !self.text.is_empty() { TURN_SEPARATOR.len() } else { 0 };
        (separator + self.text.len()) as u64
    }
}

/// The text of a lane whose turns answered so.
pub fn lane_text<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> String {
    let texts: Vec<&str> =
        answers.into_iter().map(|answer| answer.text.as_str()).filter(|text| !text.is_empty()).collect();
    texts.join(TURN_SEPARATOR)
}
