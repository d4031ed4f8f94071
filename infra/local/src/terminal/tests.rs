//! What the tests share: a terminal that can be read, and jobs to watch.

mod commands;
mod flow;
mod rendering;
mod streaming;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    event::{Event, Job},
    outline::Outline,
    screen::{Look, Terminal},
    view::View,
};

const ID: &str = "job_01JD000000000000000000TEST";

/// Bytes that were written.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What a person sees after these bytes, by the rules of a terminal so wide. Knows only what the screen writes, and
/// fails on anything else.
fn seen(bytes: &str, columns: usize) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut rest = bytes.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\n' => (row, column) = (row + 1, 0),
            '\r' => column = 0,
            '\u{1b}' => {
                assert_eq!(rest.next(), Some('['), "in {bytes:?}");
                let mut number = String::new();
                let order = loop {
                    match rest.next() {
                        Some(c @ ('0'..='9' | '?')) => number.push(c),
                        order => break order,
                    }
                };
                match order {
                    Some('A') => row -= number.parse::<usize>().unwrap(),
                    Some('K') => rows[row].truncate(column),
                    Some('J') => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    Some('m') => {}
                    Some('h' | 'l') => assert_eq!(number, "?25"),
                    order => panic!("order {order:?} in {bytes:?}"),
                }
            }
            c => {
                assert!(!c.is_control(), "{c:?} in {bytes:?}");
                if column >= columns {
                    (row, column) = (row + 1, 0);
                    rows.resize(rows.len().max(row + 1), Vec::new());
                }
                let at = column;
                let line = &mut rows[row];
                line.resize(line.len().max(at + 1), ' ');
                line[at] = c;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    let rows = rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
    let mut rows: Vec<String> = rows.collect();
    while rows.last().is_some_and(String::is_empty) {
        rows.pop();
    }
    rows
}

fn queued_job() -> Value {
    json!({
        "id": ID, "object": "job", "kind": "chat", "status": "queued", "model": "demo/model",
        "created_at": "2026-11-23T12:00:00.000Z", "stream_url": format!("/jobs/{ID}/stream?token=first"),
    })
}

fn extend(object: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    object.as_object_mut().unwrap().extend(more);
}

fn event(kind: &str, rest: Value) -> Value {
    let mut event = json!({"type": kind, "job_id": ID, "at": "2026-11-23T12:00:04.200Z"});
    extend(&mut event, rest);
    event
}

fn in_turn(turn: u32, kind: &str, rest: Value) -> Value {
    let mut origin = json!({"lane": "main", "turn": turn, "attempt": 1});
    extend(&mut origin, rest);
    event(kind, origin)
}

fn delta(turn: u32, text: &str) -> Value {
    in_turn(turn, "output.delta", json!({"text": text}))
}

fn call(turn: u32, id: &str, status: &str, name: &str, rest: Value) -> Value {
    let mut call = json!({"id": id, "name": name, "arguments": "{}", "status": status});
    extend(&mut call, rest);
    in_turn(turn, &format!("tool_call.{status}"), call)
}

fn completed() -> Value {
    event(
        "job.completed",
        json!({"status": "completed", "finish_reason": "stop", "output": "It is noon.",
               "usage": {"input_tokens": 1200, "output_tokens": 34, "cost_usd": 0.0012},
               "metrics": {"total_turns": 2, "tool_call_count": 3}}),
    )
}

/// A whole job: text, three calls side by side, an answer.
fn whole_job() -> Vec<Value> {
    let tokyo = json!({"arguments": "{\"timezone\":\"Asia/Tokyo\"}"});
    let told = json!({"arguments": "{\"timezone\":\"Asia/Tokyo\"}", "result": "{\"time\":\"2026-11-23T12:05:00+09:00\"}",
                      "duration_ms": 12});
    let sum = json!({"arguments": "{\"expression\":\"1 / 0\"}"});
    let failed = json!({"arguments": "{\"expression\":\"1 / 0\"}", "duration_ms": 1,
                        "error": {"phase": "execution", "message": "division by zero"}});
    let lost = json!({"arguments": "{\"to\":\"ada\",\"n\":2}", "error": {"message": "the outcome is unknown"}});
    vec![
        event("job.queued", json!({"status": "queued"})),
        event("job.running", json!({"status": "running"})),
        in_turn(1, "turn.started", json!({"model": "demo/model"})),
        in_turn(1, "reasoning.delta", json!({"text": "Let me see."})),
        delta(1, "Let me "),
        delta(1, "look."),
        call(1, "a", "pending", "get_current_time", tokyo.clone()),
        call(1, "b", "pending", "calculate", sum.clone()),
        call(1, "a", "running", "get_current_time", tokyo),
        call(1, "b", "running", "calculate", sum),
        call(1, "b", "error", "calculate", failed),
        call(1, "a", "completed", "get_current_time", told),
        call(1, "c", "unknown", "send_note", lost),
        in_turn(1, "turn.completed", json!({"model": "demo/model", "finish_reason": "tool_calls"})),
        in_turn(2, "turn.started", json!({"model": "demo/model"})),
        delta(2, "It is "),
        delta(2, "noon.\n"),
        in_turn(2, "turn.completed", json!({"model": "demo/model", "finish_reason": "stop"})),
        completed(),
    ]
}

/// A view and the terminal that it is drawn on.
struct Watching {
    view: View,
    terminal: Terminal,
    written: Written,
    columns: usize,
}

impl Watching {
    fn on(look: Look) -> Self {
        Self::after(0, look)
    }

    fn plain() -> Self {
        Self::on(Look::Plain)
    }

    fn live(columns: usize) -> Self {
        Self::on(Look::Live { columns, rows: 24 })
    }

    fn after(after: u64, look: Look) -> Self {
        Self::of(&queued_job(), Outline::default(), after, look)
    }

    fn of(job: &Value, outline: Outline, after: u64, look: Look) -> Self {
        let written = Written::default();
        let terminal = Terminal::new(written.clone(), io::sink(), look);
        let view = View::new(Job::parse(job).unwrap(), after, outline, look);
        let columns = if let Look::Live { columns, .. } = look { columns } else { 10_000 };
        Self { view, terminal, written, columns }
    }

    fn apply(&mut self, events: &[Value]) -> &mut Self {
        for event in events {
            self.view.apply(&Event::parse(&event.to_string()).unwrap(), Duration::ZERO);
            self.draw();
        }
        self
    }

    fn draw(&mut self) {
        self.draw_at(Duration::ZERO);
    }

    fn draw_at(&mut self, now: Duration) {
        self.terminal.draw(&self.view.take_settled(), &self.view.alive(now)).unwrap();
    }

    fn seen(&self) -> String {
        seen(&self.written.text(), self.columns).join("\n")
    }
}
