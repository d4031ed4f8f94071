//! Jobs as tables and pages.

use serde_json::Value;

use super::{
    event::Job,
    hint::Hint,
    lines::{self, words},
    screen::{Line, Look, Style},
    text,
    tree::Tree,
};

/// How wide tables are where the width is no measure.
const PLAIN_COLUMNS: usize = 160;

/// Jobs as a table; `more` says that there are others.
pub(super) fn jobs(jobs: &[Job], more: bool, now: jiff::Timestamp, hint: &Hint, look: Look) -> Vec<Line> {
    if jobs.is_empty() {
        return vec![Line::of(Style::Dim, format!("no jobs; start one with: {}", hint.command("run \"…\"")))];
    }
    let columns = columns(look);
    let rows: Vec<[String; 5]> = jobs
        .iter()
        .map(|job| {
            let (glyph, _) = lines::glyph(&job.status);
            let failure = job.error.as_ref().map(|error| error.message.as_str());
            let asks = job.open_requests().find_map(|request| request.prompt.as_deref());
            let parts = [job.title.as_deref(), asks.or(failure)].into_iter().flatten().filter(|part| !part.is_empty());
            let about = parts.collect::<Vec<_>>().join(" — ");
            [
                text::one_line(&job.id),
                format!("{glyph} {}", words(&job.status)),
                job.created_at.map_or(String::new(), |at| age(at, now)),
                model(job.model.as_deref().unwrap_or_default(), look),
                // Words beyond any width are not worth their cleaning.
                text::one_line(&about.chars().take(1000).collect::<String>()),
            ]
        })
        .collect();
    let head = ["id", "status", "age", "model", "about"];
    let width = |column: usize| {
        rows.iter().map(|row| text::width(&row[column])).chain([text::width(head[column])]).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let padded = |cell: &str, column: usize| {
        let room = " ".repeat(widths[column].saturating_sub(text::width(cell)));
        if column == 2 { format!("{room}{cell}  ") } else { format!("{cell}{room}  ") }
    };
    let mut table =
        vec![(0..4).fold(Line::new(), |line, i| line.with(Style::Dim, padded(head[i], i))).with(Style::Dim, head[4])];
    for (job, row) in jobs.iter().zip(&rows) {
        let (_, style) = lines::glyph(&job.status);
        let line = [(0, Style::Plain), (1, style), (2, Style::Plain), (3, Style::Dim)]
            .into_iter()
            .fold(Line::new(), |line, (i, style)| line.with(style, padded(&row[i], i)));
        table.push(line.with(Style::Plain, &row[4]).shortened(columns));
    }
    if more {
        table.push(Line::of(
            Style::Dim,
            format!("… and older ones: {}", hint.command(&format!("jobs -n {}", jobs.len() * 5))),
        ));
    }
    table
}

/// A job in full.
pub(super) fn job(job: &Job, tree: &Tree, now: jiff::Timestamp, hint: &Hint, look: Look) -> Vec<Line> {
    let (glyph, style) = lines::glyph(&job.status);
    let finish = job.finish_reason.as_deref().filter(|reason| !matches!(*reason, "stop" | "error" | "cancelled"));
    let mut page = vec![
        Line::of(Style::Bold, &job.id)
            .with(style, format!("  {glyph} {}", words(&job.status)))
            .with(style, finish.map_or(String::new(), |reason| format!(" ({})", words(reason)))),
        Line::new(),
    ];
    let moment = |at: jiff::Timestamp| format!("{at:.0}  ({} ago)", age(at, now));
    let metrics = job.metrics.unwrap_or_default();
    let usage = job.usage.unwrap_or_default();
    let mut took = Vec::new();
    for (name, ms) in [
        ("in line", metrics.queue_time_ms),
        ("model", metrics.model_time_ms),
        ("tools", metrics.tool_execution_time_ms),
        ("overhead", metrics.overhead_ms),
    ] {
        if ms > 0 {
            took.push(format!("{name} {}", text::span(ms)));
        }
    }
    let mut tokens = Vec::new();
    for (name, n) in [
        ("in", usage.input_tokens),
        ("cached", usage.cached_tokens),
        ("out", usage.output_tokens),
        ("reasoning", usage.reasoning_tokens),
    ] {
        if n > 0 {
            tokens.push(format!("{} {name}", text::grouped(n)));
        }
    }
    let turns = if metrics.total_turns > 0 { Some(metrics.total_turns) } else { job.turn };
    let metadata: Vec<String> = job
        .metadata
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let facts = [
        ("about", job.title.clone()),
        ("kind", job.kind.clone().filter(|kind| kind != "chat")),
        ("workflow", job.workflow.as_ref().and_then(|workflow| workflow.name.clone())),
        ("model", job.model.clone()),
        ("thread", job.thread_id.clone()),
        ("created", job.created_at.map(moment)),
        ("started", job.started_at.map(moment)),
        ("finished", job.finished_at.map(moment)),
        ("time", Some(took.join(" · "))),
        ("turns", turns.filter(|n| *n > 0).map(text::grouped)),
        ("recoveries", Some(metrics.recoveries).filter(|n| *n > 0).map(text::grouped)),
        ("requests", Some(metrics.requests).filter(|n| *n > 0).map(text::grouped)),
        ("tokens", Some(tokens.join(" · "))),
        ("cost", text::dollars(usage.cost_usd)),
        ("events", job.last_event.map(text::grouped)),
        ("metadata", Some(metadata.join("  "))),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact.filter(|fact| !fact.is_empty()) {
            page.push(Line::of(Style::Dim, format!("  {name:<11}")).with(Style::Plain, text::one_line(&fact)));
        }
    }
    if job.workflow.is_some() {
        heading(&mut page, "nodes");
        page.extend(tree.lines(look));
    }
    let calls = job.tool_calls.as_deref().unwrap_or_default();
    if !calls.is_empty() {
        heading(&mut page, "tool calls");
        page.extend(calls.iter().flat_map(|call| lines::call(call, look)));
    }
    for request in job.open_requests().take(20) {
        page.push(Line::new());
        page.extend(lines::question_with_commands(&job.id, request, hint, look));
    }
    if job.error.is_some() {
        heading(&mut page, "error");
        let sentence = text::one_line(&lines::reason(job));
        page.extend(wrapped(&sentence, look).map(|line| Line::of(Style::Red, format!("  {line}"))));
    }
    if let Some(said) = job.output.as_deref().map(text::clean).filter(|said| !said.trim().is_empty()) {
        heading(&mut page, "output");
        for line in said.trim_matches('\n').trim_end().lines() {
            page.extend(wrapped(line, look).map(|line| Line::of(Style::Plain, format!("  {line}"))));
        }
    }
    if job.output_truncated {
        page.push(Line::of(Style::Dim, "  … the output is longer; all of it is in the events"));
    }
    page
}

/// A tool's name, in whichever form it is listed.
pub(super) fn tool_name(tool: &Value) -> Option<&str> {
    tool.as_str().or(tool["name"].as_str()).or(tool["function"]["name"].as_str())
}

fn heading(page: &mut Vec<Line>, name: &str) {
    page.extend([Line::new(), Line::of(Style::Dim, format!("  {name}"))]);
}

fn wrapped(line: &str, look: Look) -> impl Iterator<Item = String> {
    match look {
        Look::Plain => vec![line.to_owned()],
        Look::Live { columns, .. } => text::wrap(line, columns.saturating_sub(3)),
    }
    .into_iter()
}

pub(super) fn columns(look: Look) -> usize {
    match look {
        Look::Plain => PLAIN_COLUMNS,
        Look::Live { columns, .. } => columns - 1,
    }
}

/// A model's name; without its maker's where room is dear.
fn model(name: &str, look: Look) -> String {
    let name = text::one_line(name);
    match look {
        Look::Plain => name,
        Look::Live { .. } => text::shorten(name.rsplit('/').next().unwrap_or_default(), 20),
    }
}

/// How long ago, in one unit.
fn age(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
