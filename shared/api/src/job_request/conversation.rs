//! `input`: text, or a conversation in the chat-completions form. Checked for what every provider refuses, so that a job
//! does not fail minutes later for what could be seen at once.

use std::collections::BTreeSet;

use domain::{
    id::ToolCallId,
    message::{Content, Message, Part, RequestedCall},
};
use serde_json::Value;

use super::{
    members::{Findings, Members, id_message},
    tools::is_name,
};

const REQUIRED: &str = "`input` is required: the text, or an array of chat messages.";

/// The messages, or `None` where something is wrong with them.
pub(super) fn read(input: Option<Value>, findings: &mut Findings) -> Option<Vec<Message>> {
    match input {
        None => findings.add("input", REQUIRED),
        Some(Value::String(text)) if text.trim().is_empty() => {
            findings.add("input", "`input` is empty. Say what the job is to do.");
        }
        Some(Value::String(text)) => return Some(vec![Message::user(text)]),
        Some(Value::Array(items)) if items.is_empty() => {
            findings.add("input", "`input` has no messages. Send at least one.");
        }
        Some(Value::Array(items)) => return conversation(items, findings),
        Some(other) => findings.wrong_type("input", "a string, or an array of chat messages", &other),
    }
    None
}

fn conversation(items: Vec<Value>, findings: &mut Findings) -> Option<Vec<Message>> {
    let before = findings.len();
    let messages: Vec<Message> = items
        .into_iter()
        .enumerate()
        .filter_map(|(index, item)| message(item, &format!("input[{index}]"), findings))
        .collect();
    // The order is looked at only when every message could be read: otherwise each missing one would seem out of order.
    if findings.len() == before {
        check_order(&messages, findings);
    }
    (findings.len() == before).then_some(messages)
}

fn message(item: Value, path: &str, findings: &mut Findings) -> Option<Message> {
    let mut members = Members::of(item, path, findings)?;
    let role = members.text("role", findings);
    let read = match role.as_deref() {
        Some("system" | "developer") => {
            required_content(&mut members, findings).map(|content| Message::System { content })
        }
        Some("user") => {
            let content = required_content(&mut members, findings);
            if content.as_ref().is_some_and(Content::is_empty) {
                let path = members.path("content");
                findings.add(path.clone(), format!("`{path}` is empty. Say something, or leave the message out."));
            }
            content.map(|content| Message::User { content })
        }
        Some("assistant") => assistant(&mut members, findings),
        Some("tool") => tool(&mut members, findings),
        _ => {
            let path = members.path("role");
            findings
                .add(path.clone(), format!("`{path}` must be `system`, `developer`, `user`, `assistant` or `tool`."));
            return None;
        }
    };
    // What models' own answers carry, and means nothing when it is empty.
    for name in ["annotations", "refusal", "audio", "function_call", "name"] {
        if members.peek(name).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty)) {
            members.take(name);
        }
    }
    members.finish(findings);
    read
}

fn assistant(members: &mut Members, findings: &mut Findings) -> Option<Message> {
    let before = findings.len();
    let content = content(members, findings);
    let calls = members.array("tool_calls", findings).unwrap_or_default();
    let path = members.path("tool_calls");
    let tool_calls: Vec<RequestedCall> = calls
        .into_iter()
        .enumerate()
        .filter_map(|(index, item)| call(item, &format!("{path}[{index}]"), findings))
        .collect();
    let reasoning_details = members.array("reasoning_details", findings).unwrap_or_default();
    let reasoning_content = members.text("reasoning_content", findings);
    if content.as_ref().is_none_or(Content::is_empty) && tool_calls.is_empty() && findings.len() == before {
        let path = members.path("content");
        findings.add(path.clone(), format!("`{path}` is required where there are no `tool_calls`."));
    }
    let content = content.unwrap_or_default();
    Some(Message::Assistant { content, tool_calls, reasoning_details, reasoning_content })
}

fn call(item: Value, path: &str, findings: &mut Findings) -> Option<RequestedCall> {
    let mut members = Members::of(item, path, findings)?;
    members.word("type", &["function"], findings);
    members.take("index"); // streamed answers have it
    let extra_content = members.object("extra_content", findings).map(Members::into_value);
    let id: Option<ToolCallId> = required_id("id", &mut members, findings);
    let Some(mut function) = members.object("function", findings) else {
        findings.add(format!("{path}.function"), format!("`{path}.function` is required: `name` and `arguments`."));
        return None;
    };
    members.finish(findings);
    let name = function.text("name", findings).filter(|name| is_name(name));
    if name.is_none() {
        let path = function.path("name");
        findings
            .add(path.clone(), format!("`{path}` must be the name of a tool: 1 to 64 letters, digits, `_` and `-`."));
    }
    let arguments = function.text("arguments", findings).unwrap_or_default();
    function.finish(findings);
    Some(RequestedCall { id: id?, name: name?, arguments, extra_content })
}

fn tool(members: &mut Members, findings: &mut Findings) -> Option<Message> {
    let tool_call_id = required_id("tool_call_id", members, findings);
    let name = members.text("name", findings);
    let content = required_content(members, findings);
    Some(Message::Tool { tool_call_id: tool_call_id?, name, content: content? })
}

fn required_id(name: &str, members: &mut Members, findings: &mut Findings) -> Option<ToolCallId> {
    let path = members.path(name);
    if !members.has(name) {
        findings.add(path.clone(), format!("`{path}` is required."));
        return None;
    }
    let text = members.text(name, findings)?;
    text.parse().map_err(|error| findings.add(path.clone(), id_message(&path, &error))).ok()
}

fn required_content(members: &mut Members, findings: &mut Findings) -> Option<Content> {
    if members.has("content") {
        return content(members, findings);
    }
    let path = members.path("content");
    findings.add(path.clone(), format!("`{path}` is required: a string, or an array of parts."));
    None
}

fn content(members: &mut Members, findings: &mut Findings) -> Option<Content> {
    let path = members.path("content");
    match members.take("content")? {
        Value::String(text) => Some(Content::Text(text)),
        Value::Array(items) => {
            let parts = items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| part(item, &format!("{path}[{index}]"), findings))
                .collect();
            Some(Content::Parts(parts))
        }
        other => {
            findings.wrong_type(&path, "a string, or an array of parts", &other);
            None
        }
    }
}

fn part(item: Value, path: &str, findings: &mut Findings) -> Option<Part> {
    let mut members = Members::of(item, path, findings)?;
    let kind = members.text("type", findings);
    let part = match kind.as_deref() {
        Some("text") => {
            let text = members.text("text", findings);
            if text.is_none() {
                findings.add(format!("{path}.text"), format!("`{path}.text` is required: a string."));
            }
            text.map(|text| Part::Text { text })
        }
        Some("image_url") => {
            payload("image_url", &["url"], &mut members, findings).map(|image_url| Part::ImageUrl { image_url })
        }
        Some("file") => payload("file", &[], &mut members, findings).map(|file| Part::File { file }),
        Some("input_audio") => payload("input_audio", &["data", "format"], &mut members, findings)
            .map(|input_audio| Part::InputAudio { input_audio }),
        _ => {
            findings.add(
                format!("{path}.type"),
                format!("`{path}.type` must be `text`, `image_url`, `file` or `input_audio`."),
            );
            return None;
        }
    };
    members.finish(findings);
    part
}

/// An object that is passed on as it is, with these strings in it.
fn payload(name: &str, strings: &[&str], members: &mut Members, findings: &mut Findings) -> Option<Value> {
    let path = members.path(name);
    if !members.has(name) {
        findings.add(path.clone(), format!("`{path}` is required: an object."));
        return None;
    }
    let value = members.object(name, findings)?.into_value();
    for string in strings {
        if !value.get(string).is_some_and(Value::is_string) {
            let path = format!("{path}.{string}");
            findings.add(path.clone(), format!("`{path}` is required: a string."));
        }
    }
    Some(value)
}

/// Every call is answered, once, before anybody else speaks, and every answer answers a call.
fn check_order(messages: &[Message], findings: &mut Findings) {
    let mut open: Vec<(usize, &ToolCallId)> = Vec::new();
    let mut known: BTreeSet<&ToolCallId> = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        if let Message::Tool { tool_call_id, .. } = message {
            match open.iter().position(|(_, id)| *id == tool_call_id) {
                Some(place) => {
                    open.remove(place);
                }
                None => findings.add(
                    format!("input[{index}].tool_call_id"),
                    format!(
                        "`input[{index}]` answers `{tool_call_id}`, which is not an open call of the assistant's message \
                         before it."
                    ),
                ),
            }
            continue;
        }
        dangling(&mut open, findings);
        if let Message::Assistant { tool_calls, .. } = message {
            for call in tool_calls {
                if !known.insert(&call.id) {
                    findings.add(
                        format!("input[{index}].tool_calls"),
                        format!("The call id `{}` comes twice in the conversation; each call needs its own.", call.id),
                    );
                }
                open.push((index, &call.id));
            }
        }
    }
    dangling(&mut open, findings);
}

fn dangling(open: &mut Vec<(usize, &ToolCallId)>, findings: &mut Findings) {
    for (index, id) in open.drain(..) {
        findings.add(
            format!("input[{index}].tool_calls"),
            format!(
                "The call `{id}` has no answer. Put a `tool` message with its result behind it, or leave the call out."
            ),
        );
    }
}
