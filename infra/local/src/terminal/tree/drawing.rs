//! The tree as lines.

use std::time::Duration;

use super::{Node, Status, Tree};
use crate::terminal::{
    lines,
    screen::{Line, Look, Style},
    text,
};

/// What takes less is not worth a word.
const SHORTEST_MS: u64 = 10;
/// Columns that a node's last words must have to be shown.
const FEWEST_WORDS: usize = 12;

/// A line of the tree.
struct Row {
    line: Line,
    /// Whether its node is at work, or holds one that is.
    busy: bool,
}

impl Tree {
    /// The whole tree as it stands.
    pub(in crate::terminal) fn lines(&self, look: Look) -> Vec<Line> {
        self.rows(look, None).into_iter().map(|row| row.line).collect()
    }

    /// The tree as it is `now`, in at most so many lines: where it is larger, what is at work and how much else there is.
    pub(in crate::terminal) fn alive(&self, look: Look, most: usize, now: Duration) -> Vec<Line> {
        let rows = self.rows(look, Some(now));
        if rows.len() <= most {
            return rows.into_iter().map(|row| row.line).collect();
        }
        let top = || self.nodes.iter().filter(|node| node.parent.is_none());
        let done = top().filter(|node| !matches!(node.status, Status::Pending) && !node.status.is_at_work()).count();
        let pending = top().filter(|node| node.status == Status::Pending).count();
        let said = format!("  … {} are through, {} to come", text::counted(done as u64, "node"), pending);
        let busy: Vec<Line> = rows.into_iter().filter(|row| row.busy).map(|row| row.line).collect();
        let room = most.saturating_sub(2).max(1);
        let more = busy.len().saturating_sub(room);
        let mut lines = vec![Line::of(Style::Dim, said)];
        lines.extend(busy.into_iter().take(room));
        if more > 0 {
            lines.push(Line::of(Style::Dim, format!("  … and {more} more at work")));
        }
        lines
    }

    /// A node's line where lines stand alone.
    pub(in crate::terminal) fn news(&self, n: usize) -> Line {
        let line = self.line(n, Line::of(Style::Plain, "  "), &self.path(n), None);
        let node = &self.nodes[n];
        match &node.error {
            Some(error) => line.with(Style::Red, format!(" — {}", text::one_line(&error.message))),
            None => line,
        }
    }

    /// The names from the top to a node.
    pub(super) fn path(&self, n: usize) -> String {
        let node = &self.nodes[n];
        let iteration = node.iteration.map_or(String::new(), |n| format!(" #{n}"));
        let above = node.parent.map_or(String::new(), |parent| format!("{}{iteration} / ", self.path(parent)));
        format!("{above}{}", node.label)
    }

    fn rows(&self, look: Look, now: Option<Duration>) -> Vec<Row> {
        let mut rows = Vec::new();
        for n in self.below(None) {
            self.push(n, &Line::of(Style::Plain, "  "), "  ", look, now, &mut rows);
        }
        rows
    }

    /// The nodes under one, in order.
    pub(super) fn below(&self, parent: Option<usize>) -> Vec<usize> {
        let mut below: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].parent == parent).collect();
        below.sort_by_key(|n| (self.nodes[*n].iteration, self.nodes[*n].order));
        below
    }

    fn push(&self, n: usize, lead: &Line, indent: &str, look: Look, now: Option<Duration>, rows: &mut Vec<Row>) {
        let node = &self.nodes[n];
        let at = rows.len();
        let mut line = self.line(n, lead.clone(), &node.label, now);
        let mut errors = Vec::new();
        if let Some(error) = &node.error {
            match look {
                Look::Plain => line = line.with(Style::Red, format!(" — {}", text::one_line(&error.message))),
                Look::Live { .. } => {
                    errors = lines::indented(Style::Red, &error.message, text::width(indent) + 2, look);
                }
            }
        }
        if let (Look::Live { columns, .. }, Some(_)) = (look, now) {
            let room = (columns - 1).saturating_sub(line.width() + 2);
            let doing = doing(node);
            if !doing.is_empty() && room >= FEWEST_WORDS {
                line = line.with(Style::Dim, format!("  {}", text::ending(&doing, room)));
            }
        }
        if let Look::Live { columns, .. } = look {
            line = line.shortened(columns - 1);
        }
        rows.push(Row { line, busy: node.status.is_at_work() });
        rows.extend(errors.into_iter().map(|line| Row { line, busy: false }));
        let below = self.below(Some(n));
        let mut before = None;
        for (nth, inner) in below.iter().enumerate() {
            let iteration = self.nodes[*inner].iteration;
            let number = match iteration {
                Some(n) if before != iteration => format!("{n} "),
                Some(n) => " ".repeat(n.to_string().len() + 1),
                None => String::new(),
            };
            before = iteration;
            let is_last = nth + 1 == below.len();
            let lead = Line::of(Style::Dim, format!("{indent}{} {number}", if is_last { "└" } else { "├" }));
            let room = " ".repeat(number.len());
            let inner_indent = format!("{indent}{} {room}", if is_last { " " } else { "│" });
            self.push(*inner, &lead, &inner_indent, look, now, rows);
        }
        let busy = rows[at..].iter().any(|row| row.busy);
        rows[at].busy = busy;
    }

    fn line(&self, n: usize, lead: Line, label: &str, now: Option<Duration>) -> Line {
        let node = &self.nodes[n];
        let (glyph, style) = match node.status {
            Status::Pending => ("·", Style::Dim),
            Status::Active => (now.map_or("●", lines::spinner), Style::Cyan),
            Status::Waiting => ("?", Style::Yellow),
            Status::Completed => ("✓", Style::Green),
            Status::Failed => ("✗", Style::Red),
            Status::Skipped | Status::Stopped => ("–", Style::Dim),
        };
        let name = match node.status {
            Status::Pending | Status::Skipped | Status::Stopped => Style::Dim,
            _ => Style::Bold,
        };
        let mut line = lead.with(style, format!("{glyph} ")).with(name, text::one_line(label));
        if let Some(route) = &node.route {
            line = line.with(Style::Cyan, format!(" → {}", text::one_line(route)));
        }
        let mut pieces: Vec<String> = Vec::new();
        match node.status {
            Status::Waiting => pieces.push("waits for an answer".to_owned()),
            Status::Skipped => pieces.push("skipped".to_owned()),
            Status::Stopped => pieces.push("stopped".to_owned()),
            _ => {}
        }
        pieces.extend(node.begun.map(|begun| match (node.status.is_at_work(), node.most) {
            (true, Some(most)) => format!("iteration {begun} of {most}"),
            (true, None) => format!("iteration {begun}"),
            _ => text::counted(begun, "iteration"),
        }));
        // What moves shall not flicker: whole seconds have no tenths.
        pieces.extend(self.took(node, now).map(|ms| text::span(ms).replace(".0 s", " s")));
        let tokens = self.tokens(n);
        if tokens > 0 {
            pieces.push(text::counted(tokens, "token"));
        }
        pieces.extend(node.note.as_deref().map(text::one_line));
        if pieces.is_empty() { line } else { line.with(Style::Dim, format!("  {}", pieces.join(" · "))) }
    }

    /// How long a node took, or has been at work for.
    fn took(&self, node: &Node, now: Option<Duration>) -> Option<u64> {
        let started_at = node.started_at?;
        let until = match node.status {
            Status::Completed | Status::Failed => node.finished_at?,
            Status::Active => self.at?,
            _ => return None,
        };
        let ms = u64::try_from(until.duration_since(started_at).as_millis()).unwrap_or(0);
        match (node.status, now) {
            // In whole seconds: what moves shall not flicker.
            (Status::Active, Some(now)) => {
                let since = u64::try_from(now.saturating_sub(self.came).as_millis()).unwrap_or(0);
                Some(ms + since).filter(|ms| *ms >= 1000).map(|ms| ms / 1000 * 1000)
            }
            (Status::Active, None) => None,
            _ => Some(ms).filter(|ms| *ms >= SHORTEST_MS),
        }
    }

    /// What a node and those under it have used.
    fn tokens(&self, n: usize) -> u64 {
        self.nodes[n].tokens + self.below(Some(n)).into_iter().map(|inner| self.tokens(inner)).sum::<u64>()
    }
}

/// What a node's model does right now, or says.
fn doing(node: &Node) -> String {
    if node.status != Status::Active {
        return String::new();
    }
    let open: Vec<&str> = node
        .calls
        .iter()
        .filter(|call| matches!(call.status.as_str(), "pending" | "running"))
        .map(|call| call.name.as_str())
        .collect();
    match open.as_slice() {
        [] => text::one_line(&node.said),
        [name] => format!("running {}", text::one_line(name)),
        calls => format!("running {} tools", calls.len()),
    }
}
