//! A request's body, read as far as the demo model understands it: leniently, since any client may send one.

use std::collections::HashMap;

use serde_json::Value;

/// What was said so far, and what the answer may be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The standing orders; empty when there are none.
    pub orders: String,
    /// What was said, in order; standing orders left out.
    pub said: Vec<Said>,
    /// The tools that may be asked for.
    pub tools: Vec<Offered>,
    /// Whether they may or must be.
    pub choice: Choice,
    /// Whether several may be asked for at once.
    pub parallel: bool,
    /// The form that the answer must have.
    pub form: Form,
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// By a person.
    User(String),
    /// By the model.
    Assistant(Vec<Asked>),
    /// By a tool: the call's id, and the result.
    Tool(String, String),
}

/// A tool call that the model asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Its id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments; null when they are not JSON.
    pub arguments: Value,
}

/// A tool that is offered.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// The schema of its arguments.
    pub parameters: Value,
}

/// Whether tools may be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// As the model sees fit.
    #[default]
    Auto,
    /// None may.
    None,
    /// At least one must.
    Required,
    /// This one must.
    Named(String),
}

/// The form of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Form {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    Object,
    /// JSON that fits this schema.
    Schema(Value),
}

impl Conversation {
    /// Reads a request's body.
    ///
    /// # Errors
    /// With words for the client, when it is not a request.
    pub fn read(body: &Value) -> Result<Self, String> {
        let messages = body.get("messages").and_then(Value::as_array).ok_or("`messages` must be an array")?;
        if messages.is_empty() {
            return Err("`messages` must not be empty".to_owned());
        }
        let (mut orders, mut said) = (Vec::new(), Vec::new());
        for (at, message) in messages.iter().enumerate() {
            let content = || text(message.get("content"));
            match message.get("role").and_then(Value::as_str) {
                Some("system" | "developer") => orders.push(content()),
                Some("user") => said.push(Said::User(content())),
                Some("assistant") => said.push(Said::Assistant(calls(message))),
                Some("tool") => {
                    let id = message.get("tool_call_id").and_then(Value::as_str);
                    let id = id.ok_or_else(|| format!("`messages[{at}]` has no `tool_call_id`"))?;
                    said.push(Said::Tool(id.to_owned(), content()));
                }
                _ => return Err(format!("`messages[{at}].role` is none of system, user, assistant and tool")),
            }
        }
        Ok(Self {
            orders: orders.join("\n\n"),
            said,
            tools: tools(body),
            choice: match body.get("tool_choice") {
                Some(Value::String(word)) if word == "none" => Choice::None,
                Some(Value::String(word)) if word == "required" => Choice::Required,
                Some(choice) => match choice.pointer("/function/name").and_then(Value::as_str) {
                    Some(name) => Choice::Named(name.to_owned()),
                    None => Choice::Auto,
                },
                None => Choice::Auto,
            },
            parallel: body.get("parallel_tool_calls") != Some(&Value::Bool(false)),
            form: match body.pointer("/response_format/type").and_then(Value::as_str) {
                Some("json_object") => Form::Object,
                Some("json_schema") => body
                    .pointer("/response_format/json_schema/schema")
                    .map_or(Form::Object, |schema| Form::Schema(schema.clone())),
                _ => Form::Text,
            },
        })
    }

    /// The first thing that a person said.
    pub fn first_user(&self) -> Option<&str> {
        self.said.iter().find_map(|said| match said {
            Said::User(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// How many answers the model gave after that.
    pub fn n_answers(&self) -> usize {
        let from = self.said.iter().position(|said| matches!(said, Said::User(_))).unwrap_or(0);
        self.said[from..].iter().filter(|said| matches!(said, Said::Assistant(_))).count()
    }

    /// The last thing that a person said, with what came before and after it.
    pub fn last_user(&self) -> (&[Said], &str, &[Said]) {
        let last = self.said.iter().enumerate().rev().find_map(|(at, said)| match said {
            Said::User(text) => Some((&self.said[..at], text.as_str(), &self.said[at + 1..])),
            _ => None,
        });
        last.unwrap_or((&[], "", &self.said))
    }
}

/// The calls in a part of a conversation, each with its result, if that is there.
pub fn results(said: &[Said]) -> Vec<(&Asked, Option<&str>)> {
    let by_id: HashMap<&str, &str> = said
        .iter()
        .filter_map(|said| match said {
            Said::Tool(id, result) => Some((id.as_str(), result.as_str())),
            _ => None,
        })
        .collect();
    let asked = said.iter().filter_map(|said| match said {
        Said::Assistant(calls) => Some(calls),
        _ => None,
    });
    asked.flatten().map(|call| (call, by_id.get(call.id.as_str()).copied())).collect()
}

/// The text of a content: a string, or parts, of which those with text count.
fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn calls(message: &Value) -> Vec<Asked> {
    let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text =
        |call: &Value, pointer: &str| call.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    calls
        .iter()
        .map(|call| Asked {
            id: text(call, "/id"),
            name: text(call, "/function/name"),
            arguments: serde_json::from_str(&text(call, "/function/arguments")).unwrap_or_default(),
        })
        .collect()
}

fn tools(body: &Value) -> Vec<Offered> {
    let tools = body.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    tools
        .iter()
        .filter_map(|tool| {
            let function = tool.get("function")?;
            Some(Offered {
                name: function.get("name")?.as_str()?.to_owned(),
                parameters: function.get("parameters").cloned().unwrap_or_default(),
            })
        })
        .collect()
}
