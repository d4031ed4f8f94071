//! What is asked of a model, and how that is written for chat completions. Written straight from the caller's values:
//! conversations are large, and a tree of JSON in between would double them.

use domain::{
    job::ToolChoice,
    message::{Content, Message, RequestedCall},
    tool_call::ToolSpec,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

use crate::dialect::Dialect;

/// One request to a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelRequest {
    /// The model's name, as the provider knows it.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The tools that it may ask for. When empty, nothing about tools is sent.
    pub tools: Vec<ToolSpec>,
    /// Whether it may, must, or must not ask for them.
    pub tool_choice: ToolChoice,
    /// Whether it may ask for several at once.
    pub parallel_tool_calls: Option<bool>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// The most tokens that it may write.
    pub max_output_tokens: Option<u32>,
    /// How much to reason, in OpenRouter's form (`{"effort": "high"}`).
    pub reasoning: Option<Value>,
    /// The form of the answer, in the chat-completions form (`{"type": "json_schema", …}`).
    pub response_format: Option<Value>,
}

/// A request's body: the request as chat completions wants it.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    model: &'a str,
    #[serde(serialize_with = "messages")]
    messages: &'a [Message],
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "<[ToolSpec]>::is_empty", serialize_with = "tools")]
    tools: &'a [ToolSpec],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a Value>,
}

impl<'a> Body<'a> {
    /// The request as the server that speaks so reads it.
    pub(crate) fn new(request: &'a ModelRequest, dialect: Dialect) -> Self {
        let has_tools = !request.tools.is_empty();
        let is_openai = dialect == Dialect::OpenAi;
        let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.get("effort")).filter(|_| is_openai);
        Self {
            model: &request.model,
            messages: &request.messages,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            tools: &request.tools,
            tool_choice: WireChoice::new(&request.tool_choice).filter(|_| has_tools),
            parallel_tool_calls: request.parallel_tool_calls.filter(|_| has_tools),
            temperature: request.temperature,
            top_p: request.top_p,
            max_tokens: request.max_output_tokens.filter(|_| !is_openai),
            max_completion_tokens: request.max_output_tokens.filter(|_| is_openai),
            reasoning: request.reasoning.as_ref().filter(|_| effort.is_none()),
            reasoning_effort: effort,
            response_format: request.response_format.as_ref(),
        }
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Function { r#type: &'static str, function: Name<'a> },
}

impl<'a> WireChoice<'a> {
    /// `auto` is what leaving it out means, and some servers know nothing else.
    fn new(choice: &'a ToolChoice) -> Option<Self> {
        match choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Self::Word("none")),
            ToolChoice::Required => Some(Self::Word("required")),
            ToolChoice::Named(name) => Some(Self::Function { r#type: "function", function: Name { name } }),
        }
    }
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

fn tools<S: Serializer>(tools: &[ToolSpec], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Wire<'a> {
        r#type: &'static str,
        function: &'a ToolSpec,
    }
    serializer.collect_seq(tools.iter().map(|function| Wire { r#type: "function", function }))
}

fn messages<S: Serializer>(messages: &[Message], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(messages.len()))?;
    for message in messages {
        match message {
            // Several providers refuse an empty text beside tool calls, and none refuses null.
            Message::Assistant { content, tool_calls, reasoning_details, reasoning_content }
                if content.is_empty() && !tool_calls.is_empty() =>
            {
                sequence.serialize_element(&OnlyCalls {
                    role: "assistant",
                    content: None,
                    tool_calls,
                    reasoning_details,
                    reasoning_content: reasoning_content.as_deref(),
                })?;
            }
            other => sequence.serialize_element(other)?,
        }
    }
    sequence.end()
}

#[derive(Serialize)]
struct OnlyCalls<'a> {
    role: &'static str,
    content: Option<&'a Content>,
    tool_calls: &'a [RequestedCall],
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    reasoning_details: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(request: &ModelRequest) -> Value {
        serde_json::to_value(Body::new(request, Dialect::Usual)).unwrap()
    }

    fn clock() -> ToolSpec {
        ToolSpec { name: "clock".into(), description: "The time.".into(), parameters: json!({"type": "object"}) }
    }

    #[test]
    fn a_plain_request_says_nothing_that_was_not_asked_for() {
        let request = ModelRequest {
            model: "m".into(),
            messages: vec![Message::user("Hi")],
            parallel_tool_calls: Some(true),
            tool_choice: ToolChoice::Required,
            ..ModelRequest::default()
        };
        assert_eq!(
            body(&request),
            json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}],
                "stream": true, "stream_options": {"include_usage": true}})
        );
    }

    #[test]
    fn a_full_request_is_in_the_chat_completions_form() {
        let request = ModelRequest {
            model: "m".into(),
            messages: vec![
                Message::Assistant {
                    content: Content::default(),
                    tool_calls: vec![RequestedCall {
                        id: "c1".parse().unwrap(),
                        name: "clock".into(),
                        arguments: "{}".into(),
                        extra_content: None,
                    }],
                    reasoning_details: vec![json!({"type": "reasoning.encrypted", "data": "x"})],
                    reasoning_content: None,
                },
                Message::Tool {
                    tool_call_id: "c1".parse().unwrap(),
                    name: None,
                    content: Content::Text("noon".into()),
                },
            ],
            tools: vec![clock()],
            tool_choice: ToolChoice::Named("clock".into()),
            parallel_tool_calls: Some(false),
            temperature: Some(0.5),
            top_p: Some(0.9),
            max_output_tokens: Some(100),
            reasoning: Some(json!({"effort": "low"})),
            response_format: Some(json!({"type": "json_object"})),
        };
        assert_eq!(
            body(&request),
            json!({
                "model": "m",
                "messages": [
                    {"role": "assistant", "content": null,
                        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
                        "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
                    {"role": "tool", "tool_call_id": "c1", "content": "noon"},
                ],
                "stream": true, "stream_options": {"include_usage": true},
                "tools": [{"type": "function",
                    "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object"}}}],
                "tool_choice": {"type": "function", "function": {"name": "clock"}},
                "parallel_tool_calls": false, "temperature": 0.5, "top_p": 0.9, "max_tokens": 100,
                "reasoning": {"effort": "low"}, "response_format": {"type": "json_object"},
            })
        );
    }

    #[test]
    fn what_a_provider_wants_back_goes_back_with_text_and_without() {
        let call = RequestedCall {
            id: "c1".parse().unwrap(),
            name: "clock".into(),
            arguments: "{}".into(),
            extra_content: Some(json!({"google": {"thought_signature": "s"}})),
        };
        for (text, content) in [("", Value::Null), ("One moment.", json!("One moment."))] {
            let message = Message::Assistant {
                content: Content::Text(text.into()),
                tool_calls: vec![call.clone()],
                reasoning_details: vec![],
                reasoning_content: Some("hm".into()),
            };
            let request = ModelRequest { messages: vec![message], ..ModelRequest::default() };
            assert_eq!(
                body(&request)["messages"][0],
                json!({"role": "assistant", "content": content, "reasoning_content": "hm", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "s"}}}]})
            );
        }
    }

    #[test]
    fn openais_reasoning_models_get_what_they_refuse_under_the_names_that_they_know() {
        let asked = |reasoning| {
            let request = ModelRequest { max_output_tokens: Some(100), reasoning, ..ModelRequest::default() };
            let body = serde_json::to_value(Body::new(&request, Dialect::OpenAi)).unwrap();
            ["max_tokens", "max_completion_tokens", "reasoning", "reasoning_effort"].map(|key| body[key].clone())
        };
        let nothing = Value::Null;
        assert_eq!(asked(None), [nothing.clone(), json!(100), nothing.clone(), nothing.clone()]);
        let effort = json!({"effort": "low", "exclude": true});
        assert_eq!(asked(Some(effort)), [nothing.clone(), json!(100), nothing.clone(), json!("low")]);
        let other = json!({"max_tokens": 50});
        assert_eq!(asked(Some(other.clone())), [nothing.clone(), json!(100), other, nothing]);
    }

    #[test]
    fn tool_choices_are_words_or_a_function() {
        let choice = |tool_choice| {
            let request = ModelRequest { tools: vec![clock()], tool_choice, ..ModelRequest::default() };
            body(&request).get("tool_choice").cloned()
        };
        assert_eq!(choice(ToolChoice::Auto), None);
        assert_eq!(choice(ToolChoice::None), Some(json!("none")));
        assert_eq!(choice(ToolChoice::Required), Some(json!("required")));
    }
}
