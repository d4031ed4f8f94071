//! A workflow's events in, its tree out.

use super::*;
use crate::terminal::text;

fn document() -> Value {
    let node = |id: &str, kind: &str, data: Value| {
        let mut all = json!({"label": id.to_uppercase()});
        extend(&mut all, data);
        json!({"id": id, "type": kind, "data": all})
    };
    let edge =
        |source: &str, handle: &str, target: &str| json!({"source": source, "sourceHandle": handle, "target": target});
    json!({
        "nodes": [
            node("start", "start", json!({})),
            node("desk", "router", json!({"routes": [{"id": "r1", "label": "The long way"}, {"id": "r2"}]})),
            node("short", "agent", json!({})),
            node("panel", "parallel", json!({"branches": [{"id": "b1", "label": "Left"}, {"id": "b2", "label": "Right"}]})),
            node("rounds", "whileLoop", json!({"maxIterations": 3})),
            node("editor", "agent", json!({})),
            node("critic", "agent", json!({})),
            node("sub", "subflow", json!({})),
            node("out", "output", json!({})),
        ],
        "edges": [
            edge("start", "output", "desk"), edge("desk", "r1", "panel"), edge("desk", "r2", "short"),
            edge("panel", "merged", "rounds"), edge("rounds", "body", "editor"), edge("editor", "output", "critic"),
            edge("rounds", "done", "sub"), edge("sub", "output", "out"), edge("short", "output", "out"),
        ],
    })
}

fn flow_job() -> Value {
    let mut job = queued_job();
    extend(
        &mut job,
        json!({"kind": "workflow", "workflow": {"name": "Flow", "node_states": {}, "execution_order": []}}),
    );
    job
}

fn at(mut event: Value, second: u64) -> Value {
    event["at"] = format!("2026-11-23T12:00:{second:02}.000Z").into();
    event
}

fn node(kind: &str, id: &str, second: u64, rest: Value) -> Value {
    let mut news = json!({"node_id": id});
    extend(&mut news, rest);
    at(event(&format!("node.{kind}"), news), second)
}

fn turn(lane: &str, second: u64, tokens: u64) -> Value {
    let id = lane.split(':').next();
    let origin = json!({"lane": lane, "turn": 1, "attempt": 1, "node_id": id, "usage": {"input_tokens": tokens - 1, "output_tokens": 1}});
    at(event("turn.completed", origin), second)
}

fn said(id: &str, text: &str) -> Value {
    event("output.delta", json!({"lane": id, "turn": 1, "attempt": 1, "node_id": id, "text": text}))
}

/// Up to the second iteration of the loop.
fn half_way() -> Vec<Value> {
    vec![
        event("job.queued", json!({"status": "queued"})),
        event("job.running", json!({"status": "running"})),
        node("completed", "start", 1, json!({})),
        node("active", "desk", 1, json!({})),
        turn("desk", 2, 120),
        node("completed", "desk", 2, json!({"route": "r1"})),
        node("skipped", "short", 2, json!({})),
        node("active", "panel", 2, json!({})),
        node("active", "panel:b1", 2, json!({})),
        node("active", "panel:b2", 2, json!({})),
        turn("panel:branch-1", 3, 40),
        // A turn that is taken up again says once more what it used.
        turn("panel:branch-1", 3, 40),
        node("completed", "panel:b2", 3, json!({})),
        node("error", "panel:b1", 4, json!({"error": {"code": "TIMEOUT", "message": "It took too long."}})),
        node("completed", "panel", 5, json!({})),
        node("active", "rounds", 5, json!({"iteration": 1})),
        node("active", "editor#1", 5, json!({"iteration": 1})),
        turn("editor#1", 6, 300),
        node("completed", "editor#1", 6, json!({"iteration": 1})),
        node("active", "critic#1", 6, json!({"iteration": 1})),
        node("completed", "critic#1", 7, json!({"iteration": 1})),
        node("active", "rounds", 7, json!({"iteration": 2})),
        node("active", "editor#2", 7, json!({"iteration": 2})),
        at(said("editor#2", "Once upon"), 8),
        at(said("editor#2", " a time"), 9),
    ]
}

fn rest() -> Vec<Value> {
    vec![
        node("completed", "editor#2", 10, json!({"iteration": 2})),
        node("completed", "rounds", 10, json!({"iteration": 2})),
        node("active", "sub", 10, json!({})),
        node("active", "sub/inner", 10, json!({})),
        node("completed", "sub/inner", 12, json!({})),
        node("completed", "sub", 12, json!({})),
        node("completed", "out", 12, json!({})),
        at(completed(), 12),
    ]
}

const HALF_WAY: &str = "\
job_01JD000000000000000000TEST  demo/model

  ✓ START
  ✓ DESK → The long way  1 s · 120 tokens
  – SHORT  skipped
  ✓ PANEL  3 s · 40 tokens
  ├ ✗ Left  2 s
      It took too long.
  └ ✓ Right  1 s · 40 tokens
  ⠋ ROUNDS  iteration 2 of 3 · 4 s · 300 tokens
  ├ 1 ✓ EDITOR  1 s · 300 tokens
  ├   ✓ CRITIC  1 s
  └ 2 ⠋ EDITOR  2 s  Once upon a time
  · SUB
  · OUT

⠋ working on EDITOR";

#[test]
fn a_terminal_shows_the_nodes_as_a_tree_that_moves_and_then_stands() {
    let mut watching = Watching::of(&flow_job(), Outline::of(&document()), 0, Look::Live { columns: 80, rows: 40 });
    watching.apply(&half_way());
    assert_eq!(watching.seen(), HALF_WAY);
    watching.apply(&rest());
    let seen = watching.seen();
    assert!(
        seen.ends_with("It is noon.\n\n✓ completed  2 turns · 3 tool calls · 1,234 tokens · 12 s · $0.0012"),
        "{seen}"
    );
    assert!(seen.contains("\n  ✓ ROUNDS  2 iterations · 5 s · 300 tokens\n"), "{seen}");
    assert!(seen.contains("\n  ✓ SUB  2 s\n  └ ✓ inner  2 s\n  ✓ OUT\n\n"), "{seen}");
    assert_eq!(seen.matches("START").count(), 1, "the tree stands there once: {seen}");
}

#[test]
fn plainly_each_change_of_a_node_is_a_line_and_the_output_comes_last() {
    let mut watching = Watching::of(&flow_job(), Outline::of(&document()), 0, Look::Plain);
    watching.apply(&half_way()).apply(&rest());
    let text = watching.written.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1..8],
        [
            "queued",
            "running",
            "  ✓ START",
            "  ● DESK",
            "  ✓ DESK → The long way  1 s · 120 tokens",
            "  – SHORT  skipped",
            "  ● PANEL"
        ]
    );
    assert!(text.contains("\n  ✗ PANEL / Left  2 s — It took too long.\n"), "{text}");
    assert!(text.contains("\n  ● ROUNDS #2 / EDITOR\n"), "{text}");
    assert!(!text.contains("Once upon"), "{text}");
    assert!(
        text.ends_with("\n\nIt is noon.\n\n✓ completed  2 turns · 3 tool calls · 1,234 tokens · 12 s · $0.0012\n"),
        "{text}"
    );
}

#[test]
fn without_a_document_the_nodes_find_their_places_by_their_names() {
    let mut watching = Watching::of(&flow_job(), Outline::default(), 0, Look::Live { columns: 80, rows: 40 });
    watching.apply(&half_way());
    let seen = watching.seen();
    assert!(seen.contains("  ✓ panel  3 s · 40 tokens\n  ├ ✗ b1  2 s\n"), "{seen}");
    assert!(seen.contains("  ⠋ rounds  iteration 2 · 4 s · 300 tokens\n  ├ 1 ✓ editor"), "{seen}");
    watching.apply(&rest());
    assert!(watching.seen().contains("\n  ✓ sub  2 s\n  └ ✓ inner  2 s\n"), "{}", watching.seen());
}

#[test]
fn iterations_of_a_loop_within_a_loop_stand_under_their_own() {
    let node_of = |id: &str, kind: &str| json!({"id": id, "type": kind, "data": {}});
    let edge =
        |source: &str, handle: &str, target: &str| json!({"source": source, "sourceHandle": handle, "target": target});
    let outline = Outline::of(&json!({
        "nodes": [node_of("outer", "whileLoop"), node_of("inner", "whileLoop"), node_of("a", "agent")],
        "edges": [edge("outer", "body", "inner"), edge("inner", "body", "a")],
    }));
    let events = [
        node("active", "outer", 0, json!({"iteration": 1})),
        node("active", "inner#1", 0, json!({"iteration": 1})),
        node("completed", "a#1.1", 0, json!({"iteration": 1})),
        node("active", "inner#1", 0, json!({"iteration": 2})),
        node("completed", "a#1.2", 0, json!({"iteration": 2})),
        node("active", "outer", 0, json!({"iteration": 2})),
        node("active", "inner#2", 0, json!({"iteration": 1})),
        node("completed", "a#2.1", 0, json!({"iteration": 1})),
    ];
    for outline in [outline, Outline::default()] {
        let mut watching = Watching::of(&flow_job(), outline, 0, Look::Live { columns: 80, rows: 40 });
        watching.apply(&events);
        let seen = watching.seen();
        for line in ["  ├ 1 ⠋ inner", "  │   ├ 1 ✓ a", "  │   └ 2 ✓ a", "  └ 2 ⠋ inner", "      └ 1 ✓ a"]
        {
            assert!(seen.contains(line), "{line}: {seen}");
        }
    }
}

#[test]
fn a_tree_that_does_not_fit_shows_what_is_at_work() {
    let nodes: Vec<Value> = (0..200)
        .map(|n| json!({"id": format!("n{n}"), "type": "agent", "data": {"label": format!("Node {n}")}}))
        .collect();
    let outline = Outline::of(&json!({"nodes": nodes, "edges": []}));
    let mut watching = Watching::of(&flow_job(), outline, 0, Look::Live { columns: 44, rows: 12 });
    for n in 0..50 {
        watching.apply(&[node("completed", &format!("n{n}"), 1, json!({}))]);
    }
    watching.apply(&[node("active", "n50", 1, json!({})), node("active", "n51", 1, json!({}))]);
    assert_eq!(
        watching.seen(),
        "\
job_01JD000000000000000000TEST  demo/model

  … 50 nodes are through, 148 to come
  ⠋ Node 50
  ⠋ Node 51

⠋ working on 2 nodes"
    );
    for n in 50..70 {
        watching.apply(&[node("active", &format!("n{n}"), 1, json!({}))]);
    }
    assert!(watching.seen().lines().count() <= 12, "{}", watching.seen());
    assert!(watching.seen().contains("more at work"), "{}", watching.seen());
}

#[test]
fn what_is_drawn_fits_the_width_whatever_a_node_says() {
    for columns in [20, 30, 60] {
        let mut watching = Watching::of(&flow_job(), Outline::of(&document()), 0, Look::Live { columns, rows: 40 });
        watching.apply(&half_way());
        watching.apply(&[said("editor#2", &"日本 word ".repeat(40))]);
        for line in seen(&watching.written.text(), 10_000) {
            assert!(text::width(&line) < columns.max(43), "{line:?} at {columns}");
        }
    }
}

#[test]
fn a_job_that_ends_early_leaves_nothing_at_work() {
    let mut watching = Watching::of(&flow_job(), Outline::of(&document()), 0, Look::Live { columns: 80, rows: 40 });
    watching.apply(&half_way());
    watching.apply(&[event("job.cancelled", json!({"status": "cancelled"}))]);
    let seen = watching.seen();
    assert!(seen.contains("\n  └ 2 – EDITOR  stopped\n") && !seen.contains('⠋') && !seen.contains('●'), "{seen}");
}

#[test]
fn a_retried_job_shows_what_it_kept() {
    let mut job = flow_job();
    job["workflow"]["node_states"] = json!({
        "start": {"status": "completed"}, "out": {"status": "pending"},
        "desk": {"status": "completed", "route": "r1", "started_at": "2026-11-23T12:00:00Z", "finished_at": "2026-11-23T12:00:03Z"},
        "panel": {"status": "pending"}, "panel:b1": {"status": "error", "error": {"message": "No."}},
        "editor#1": {"status": "completed", "iteration": 1}, "rounds": {"status": "active", "iteration": 1},
    });
    let mut watching = Watching::of(&job, Outline::of(&document()), 0, Look::Live { columns: 80, rows: 40 });
    watching.draw();
    let seen = watching.seen();
    assert!(seen.contains("  ✓ DESK → The long way  3 s\n"), "{seen}");
    assert!(seen.contains("  ├ ✗ Left\n      No.\n"), "{seen}");
    assert!(seen.contains("  ⠋ ROUNDS  iteration 1 of 3\n  └ 1 ✓ EDITOR\n"), "{seen}");
}
