//! How single things look: a tool call, a question, the end of a job.

use serde_json::Value;

use super::{
    ask,
    event::{InputRequest, Job, ToolCall},
    hint::Hint,
    screen::{Line, Look, Style},
    text,
};

/// How much of arguments and results is shown where the width is no measure.
const PLAIN_ARGUMENTS: usize = 120;
const PLAIN_RESULT: usize = 240;
/// A reason may take this many lines.
const REASON_LINES: usize = 4;
/// What a person is shown of an input or an output before they answer; all of it is in the job.
const CONTEXT_LINES: usize = 12;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A tool call: one line, and more below it for a reason that does not fit.
pub(super) fn call(call: &ToolCall, look: Look) -> Vec<Line> {
    let (glyph, style) = match call.status.as_str() {
        "completed" => ("✓", Style::Green),
        "error" => ("✗", Style::Red),
        "unknown" => ("?", Style::Yellow),
        "skipped" => ("–", Style::Dim),
        _ => ("·", Style::Dim),
    };
    let arguments = match &call.edited_arguments {
        Some(edited) => format!("{} (edited)", summary(edited)),
        None => summary(&call.arguments),
    };
    let ended = matches!(call.status.as_str(), "completed" | "error" | "unknown" | "skipped");
    let took = call.duration_ms.filter(|_| ended).map_or(String::new(), |ms| format!("   {}", text::span(ms)));
    let name = text::one_line(&call.name);
    let head =
        Line::of(style, format!("  {glyph} ")).with(if ended { style_of_name(style) } else { Style::Plain }, &name);
    let spaced = |arguments: &str| if arguments.is_empty() { String::new() } else { format!("  {arguments}") };
    let reason = call.error.as_ref().map(|reason| text::one_line(&reason.message)).filter(|reason| !reason.is_empty());
    if let (true, Some(reason)) = (ended, &reason) {
        let room = match look {
            Look::Plain => usize::MAX,
            Look::Live { columns, .. } => (columns - 1).saturating_sub(head.width() + text::width(&took)),
        };
        if text::width(&arguments) + text::width(reason) + 5 <= room {
            let line = head.with(Style::Dim, spaced(&arguments)).with(style, format!(" — {reason}"));
            return vec![line.with(Style::Dim, took)];
        }
        let arguments = text::shorten(&arguments, room.saturating_sub(2));
        let mut lines = vec![head.with(Style::Dim, spaced(&arguments)).with(Style::Dim, took)];
        lines.extend(indented(style, reason, 4, look));
        return lines;
    }
    let result = if ended { call.result.as_deref().map(summary).filter(|r| !r.is_empty()) } else { None };
    let (mut for_arguments, mut for_result) = (PLAIN_ARGUMENTS, PLAIN_RESULT);
    if let Look::Live { columns, .. } = look {
        let arrow = if result.is_some() { 3 } else { 0 };
        let room = (columns - 1).saturating_sub(head.width() + 2 + arrow + text::width(&took));
        let wanted = result.as_deref().map_or(0, text::width);
        for_arguments = room.saturating_sub(wanted).max(room / 3).max(room.saturating_sub(wanted));
        for_result = room.saturating_sub(text::width(&arguments).min(for_arguments));
    }
    let mut line = head.with(Style::Dim, spaced(&text::shorten(&arguments, for_arguments)));
    if let Some(result) = result {
        line = line.with(Style::Dim, " → ").with(Style::Plain, text::shorten(&result, for_result));
    }
    line = line.with(Style::Dim, took);
    if look == Look::Plain && call.status == "running" {
        line = line.with(Style::Plain, "  running");
    }
    vec![line]
}

fn style_of_name(of_call: Style) -> Style {
    if of_call == Style::Green { Style::Bold } else { of_call }
}

/// JSON in short, on one line: the value of an object's only member, `name=value` for several, anything else as it is.
fn summary(json: &str) -> String {
    text::one_line(&in_short(json))
}

fn in_short(json: &str) -> String {
    fn bare(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }
    let Ok(value) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
    match &value {
        Value::Object(members) if members.len() == 1 => members.values().map(bare).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| format!("{name}={}", bare(value))).collect::<Vec<_>>().join(" ")
        }
        value => bare(value),
    }
}

/// A sentence below something, folded to the width.
pub(super) fn indented(style: Style, sentence: &str, by: usize, look: Look) -> Vec<Line> {
    let indent = " ".repeat(by);
    let sentence = text::one_line(sentence);
    let Look::Live { columns, .. } = look else { return vec![Line::of(style, indent + &sentence)] };
    let mut pieces = text::wrap(&sentence, columns.saturating_sub(by + 1));
    if pieces.len() > REASON_LINES {
        pieces.truncate(REASON_LINES);
        if let Some(last) = pieces.last_mut() {
            last.push('…');
        }
    }
    pieces.iter().map(|piece| Line::of(style, format!("{indent}{piece}"))).collect()
}

/// Text of several lines below something, folded to the width; cut after so many lines.
fn block(style: Style, said: &str, by: usize, most: usize, look: Look) -> Vec<Line> {
    let indent = " ".repeat(by);
    let folded = said.trim_matches('\n').trim_end().lines().flat_map(|line| match look {
        Look::Plain => vec![line.to_owned()],
        Look::Live { columns, .. } => text::wrap(line, columns.saturating_sub(by + 1)),
    });
    let mut lines: Vec<Line> =
        folded.take(most.saturating_add(1)).map(|line| Line::of(style, format!("{indent}{line}"))).collect();
    if lines.len() > most {
        lines.truncate(most);
        lines.push(Line::of(Style::Dim, format!("{indent}… there is more; show has all of it")));
    }
    lines
}

/// What turns while something goes on.
pub(super) fn spinner(now: std::time::Duration) -> &'static str {
    SPINNER[usize::try_from(now.as_millis() / 100).unwrap_or(0) % SPINNER.len()]
}

/// That something is asked, in one line.
pub(super) fn asked(request: &InputRequest, node: Option<&str>, look: Look) -> Line {
    let what = match request.kind.as_str() {
        "approval" => "approval is needed",
        "client_tool" => "a result is needed",
        "budget" => "the budget is used up",
        "tool_limit" => "the limit of tool calls is reached",
        "review" => "a review is needed",
        _ => "an answer is needed",
    };
    let about = match (&request.tool_call, node) {
        (Some(call), _) => {
            let arguments = text::one_line(&text::escaped(&in_short(&call.arguments)));
            format!("  {} {arguments}", text::one_line(&call.name))
        }
        (None, Some(node)) => format!("  {}", text::one_line(node)),
        (None, None) => String::new(),
    };
    let line = Line::of(Style::Yellow, format!("  ? {what}")).with(Style::Dim, about);
    match look {
        Look::Plain => line,
        Look::Live { columns, .. } => line.shortened(columns - 1),
    }
}

/// A question to a person in full: what it is about, and what can be chosen.
pub(super) fn question(request: &InputRequest, node: Option<&str>, look: Look) -> Vec<Line> {
    let mut lines = vec![asked(&InputRequest { tool_call: None, ..request.clone() }, node, look)];
    lines.extend(block(Style::Plain, &text::clean(request.prompt.as_deref().unwrap_or_default()), 4, usize::MAX, look));
    if let Some(call) = &request.tool_call {
        lines.push(Line::of(Style::Bold, format!("    {}", text::one_line(&call.name))));
        // All of it, exactly: this is what is approved.
        lines.extend(block(Style::Plain, &text::escaped(&call.arguments), 6, usize::MAX, look));
    }
    let context = request.context.clone().unwrap_or_default();
    for (name, said) in [("input", context.input), ("output", context.output)] {
        let said = text::escaped(said.as_deref().unwrap_or_default());
        if !said.trim().is_empty() {
            lines.push(Line::of(Style::Dim, format!("    {name}")));
            lines.extend(block(Style::Plain, &said, 6, CONTEXT_LINES, look));
        }
    }
    // What a call's arguments have to fit matters to those who edit them.
    if let Some(schema) = request.input_schema.as_ref().filter(|_| request.tool_call.is_none()) {
        lines.push(Line::of(Style::Dim, "    data has to fit"));
        lines.extend(block(Style::Plain, &schema.to_string(), 6, CONTEXT_LINES, look));
    }
    for (n, choice) in ask::choices(request).into_iter().enumerate() {
        let label = Some(choice.label).filter(|label| !label.eq_ignore_ascii_case(&choice.name) && !label.is_empty());
        let label = label.map_or(String::new(), |label| format!("  {label}"));
        lines.push(Line::of(Style::Cyan, format!("    {} {}", n + 1, choice.name)).with(Style::Dim, label));
    }
    if let (Some(action), Some(at)) = (&request.default_action, request.expires_at) {
        lines.push(Line::of(Style::Dim, format!("    without an answer until {at:.0}: {action}")));
    }
    lines
}

/// A question with the commands that answer it.
pub(super) fn question_with_commands(job: &str, request: &InputRequest, hint: &Hint, look: Look) -> Vec<Line> {
    let mut lines = question(request, request.node_id.as_deref(), look);
    for choice in ask::choices(request) {
        let data = ask::data_hint(request, &choice.action);
        lines.push(Line::of(Style::Dim, format!("    {}", hint.answer(job, &request.id, &choice.name, data))));
    }
    lines
}

/// How a job ended and what it took; below that, why it failed.
pub(super) fn footer(job: &Job, created_at: Option<jiff::Timestamp>) -> (Line, Option<String>) {
    let (glyph, style) = glyph(&job.status);
    let finish = job.finish_reason.as_deref().unwrap_or_default();
    let because = match finish {
        "" | "stop" | "error" | "cancelled" => String::new(),
        reason => format!(" ({})", words(reason)),
    };
    let metrics = job.metrics.unwrap_or_default();
    let usage = job.usage.unwrap_or_default();
    let mut pieces = vec![text::counted(metrics.total_turns, "turn")];
    if metrics.tool_call_count > 0 {
        pieces.push(text::counted(metrics.tool_call_count, "tool call"));
    }
    let tokens = usage.input_tokens + usage.output_tokens;
    if tokens > 0 {
        pieces.push(text::counted(tokens, "token"));
    }
    if let Some((from, to)) = created_at.zip(job.finished_at) {
        pieces.push(text::span(u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)));
    }
    pieces.extend(text::dollars(usage.cost_usd));
    if metrics.recoveries > 0 {
        let thing = if metrics.recoveries == 1 { "recovery" } else { "recoveries" };
        pieces.push(format!("{} {thing}", metrics.recoveries));
    }
    let line = Line::of(style, format!("{glyph} {}", words(&job.status))).with(style, because);
    let first = line.with(Style::Dim, format!("  {}", pieces.join(" · ")));
    (first, job.error.as_ref().map(|_| reason(job)))
}

/// Why a job failed, with where and when.
pub(super) fn reason(job: &Job) -> String {
    let Some(error) = &job.error else { return String::new() };
    let during = error.failed_during.as_deref().map(|during| format!("during {}", words(during)));
    let turn = error.turn.filter(|turn| *turn > 0).map(|turn| format!("in turn {turn}"));
    let place: Vec<String> = error.code.clone().into_iter().chain(during).chain(turn).collect();
    if place.is_empty() { error.message.clone() } else { format!("{} ({})", error.message, place.join(", ")) }
}

/// A status's sign and colour.
pub(super) fn glyph(status: &str) -> (&'static str, Style) {
    match status {
        "completed" => ("✓", Style::Green),
        "failed" => ("✗", Style::Red),
        "cancelled" => ("–", Style::Yellow),
        "input_required" => ("?", Style::Yellow),
        "running" => ("●", Style::Cyan),
        _ => ("·", Style::Dim),
    }
}

/// `input_required` as people read it.
pub(super) fn words(name: &str) -> String {
    text::one_line(name).replace('_', " ")
}
