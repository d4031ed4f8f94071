//! The conversation: what has been said to the model and by it. Serialised in the chat-completions form, which is also
//! what callers send; what a provider does differently belongs to `model-client`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::ToolCallId;

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Standing orders to the model.
    #[serde(alias = "developer")]
    System {
        /// What they say.
        content: Content,
    },
    /// What a person said.
    User {
        /// Text, or parts with images and files.
        content: Content,
    },
    /// What the model said.
    Assistant {
        /// Its text; empty when it only asked for tools.
        #[serde(default, deserialize_with = "null_as_empty")]
        content: Content,
        /// The tools that it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<RequestedCall>,
        /// Opaque reasoning that some providers want back unchanged in the next request.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasoning_details: Vec<Value>,
        /// Reasoning in words, where its provider wants that back (DeepSeek).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
    },
    /// What a tool answered.
    Tool {
        /// The call that it answers.
        tool_call_id: ToolCallId,
        /// The tool's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its result, or what went wrong, as the model reads it.
        content: Content,
    },
}

impl Message {
    /// What a person says, as plain text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User { content: Content::Text(text.into()) }
    }

    /// What a model has said, without calls.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::Assistant {
            content: Content::Text(text.into()),
            tool_calls: vec![],
            reasoning_details: vec![],
            reasoning_content: None,
        }
    }

    /// Standing orders, as plain text.
    pub fn system(text: impl Into<String>) -> Self {
        Self::System { content: Content::Text(text.into()) }
    }
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A message's content: plain text, or parts of several kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts in order.
    Parts(Vec<Part>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Content {
    /// The text of it: parts that are not text left out.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text } => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Parts(parts) => parts.is_empty(),
        }
    }
}

/// A piece of a message, in the chat-completions form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text {
        /// The text itself.
        text: String,
    },
    /// A picture, by address or as a data URL.
    ImageUrl {
        /// `{url, detail?}`.
        image_url: Value,
    },
    /// A file, inline or by the provider's id.
    File {
        /// `{filename?, file_data?, file_id?}`.
        file: Value,
    },
    /// A recording.
    InputAudio {
        /// `{data, format}`.
        input_audio: Value,
    },
}

/// A tool call as the model asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireCall", into = "WireCall")]
pub struct RequestedCall {
    /// The model's id of the call, or one that was invented for it.
    pub id: ToolCallId,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them: JSON text, not checked.
    pub arguments: String,
    /// What its provider wants back with the call, unchanged (Google's signatures of thoughts).
    pub extra_content: Option<Value>,
}

impl RequestedCall {
    /// The call as it is run and recorded: without what only its provider reads.
    pub fn bare(&self) -> Self {
        let Self { id, name, arguments, .. } = self;
        Self { id: id.clone(), name: name.clone(), arguments: arguments.clone(), extra_content: None }
    }
}

#[derive(Serialize, Deserialize)]
struct WireCall {
    id: ToolCallId,
    #[serde(default = "function", rename = "type")]
    kind: String,
    function: WireFunction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extra_content: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

fn function() -> String {
    "function".to_owned()
}

impl From<WireCall> for RequestedCall {
    fn from(wire: WireCall) -> Self {
        let WireCall { id, function, extra_content, .. } = wire;
        Self { id, name: function.name, arguments: function.arguments, extra_content }
    }
}

impl From<RequestedCall> for WireCall {
    fn from(call: RequestedCall) -> Self {
        let RequestedCall { id, name, arguments, extra_content } = call;
        Self { id, kind: function(), function: WireFunction { name, arguments }, extra_content }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_and_writes_the_chat_completions_form() {
        let wire = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a cat"},
        ]);
        let messages: Vec<Message> = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(&messages).unwrap(), wire);
    }

    #[test]
    fn what_a_provider_wants_back_is_kept_and_a_bare_call_has_none_of_it() {
        let wire = json!({"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "s"}}}]});
        let message: Message = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(&message).unwrap(), wire);
        let Message::Assistant { tool_calls, reasoning_content, .. } = message else { panic!("{message:?}") };
        assert_eq!(reasoning_content.as_deref(), Some("hm"));
        assert_eq!(
            serde_json::to_value(tool_calls[0].bare()).unwrap(),
            json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}})
        );
    }

    #[test]
    fn an_assistant_message_may_have_null_content() {
        let message: Message = serde_json::from_value(json!({"role": "assistant", "content": null})).unwrap();
        assert_eq!(
            message,
            Message::Assistant {
                content: Content::default(),
                tool_calls: vec![],
                reasoning_details: vec![],
                reasoning_content: None,
            }
        );
    }
}
