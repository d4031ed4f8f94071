//! The registered tools as a list: what each does, and what it is asked for.

use serde_json::Value;

use super::{
    listing::{columns, tool_name},
    screen::{Line, Look, Style},
    text,
};

/// What a tool's description and its arguments are moved in by.
const INDENT: &str = "  ";

/// The tools, each with its arguments.
pub(super) fn tools(tools: &[Value], look: Look) -> Vec<Line> {
    if tools.is_empty() {
        return vec![Line::of(Style::Dim, "no tools are registered")];
    }
    let mut list = Vec::new();
    for tool in tools {
        if !list.is_empty() {
            list.push(Line::new());
        }
        let function = if tool["function"].is_object() { &tool["function"] } else { tool };
        let mut head = Line::of(Style::Bold, text::one_line(tool_name(tool).unwrap_or("?")));
        if tool["enabled"] == false {
            head = head.with(Style::Yellow, " (off)");
        }
        list.push(head);
        let description = text::one_line(function["description"].as_str().unwrap_or_default());
        let room = columns(look).saturating_sub(INDENT.len()).max(20);
        if !description.is_empty() {
            let pieces = text::wrap(&description, room).into_iter();
            list.extend(pieces.map(|piece| Line::of(Style::Plain, format!("{INDENT}{piece}"))));
        }
        list.extend(arguments(&function["parameters"], room));
    }
    list
}

/// One line for each argument, and more where its description is long: name, type, whether it has to be given.
fn arguments(schema: &Value, room: usize) -> Vec<Line> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = Vec::new();
    for (name, argument) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.contains(&name.as_str());
        let kind = kind(argument) + if is_required { "" } else { ", optional" };
        let head = format!("{INDENT}{INDENT}{}", text::one_line(name));
        let described = text::one_line(argument["description"].as_str().unwrap_or_default());
        let line = Line::of(Style::Cyan, head).with(Style::Dim, format!(" ({})", text::one_line(&kind)));
        lines.push(line);
        if !described.is_empty() {
            let pieces = text::wrap(&described, room.saturating_sub(2 * INDENT.len()).max(20)).into_iter();
            lines.extend(pieces.map(|piece| Line::of(Style::Plain, format!("{INDENT}{INDENT}{INDENT}{piece}"))));
        }
    }
    lines
}

/// A schema's type in a few words.
fn kind(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
            kinds.join(" or ")
        }
        _ if schema["enum"].is_array() => "one of several".to_owned(),
        _ => "any".to_owned(),
    }
}
