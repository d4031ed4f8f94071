//! Events in, lines out.

use super::{
    super::{event::InputRequest, lines},
    *,
};

#[test]
fn plainly_each_event_is_a_line_and_text_comes_line_by_line() {
    let mut watching = Watching::plain();
    watching.apply(&whole_job());
    assert_eq!(
        watching.written.text(),
        "\
job_01JD000000000000000000TEST  demo/model
queued
running
turn 1

Let me look.

  · get_current_time  Asia/Tokyo  running
  · calculate  1 / 0  running
  ✗ calculate  1 / 0 — division by zero   1 ms
  ✓ get_current_time  Asia/Tokyo → 2026-11-23T12:05:00+09:00   12 ms
  ? send_note  n=2 to=ada — the outcome is unknown
turn 2

It is noon.

✓ completed  2 turns · 3 tool calls · 1,234 tokens · 4.2 s · $0.0012
"
    );
}

#[test]
fn a_job_that_stands_still_says_for_how_long() {
    let stalled = json!({"since": "2026-11-23T12:00:00.000Z", "at": "2026-11-23T12:02:05.000Z"});
    let events = [event("job.running", json!({})), event("job.stalled", stalled)];
    let (mut plain, mut live) = (Watching::plain(), Watching::live(80));
    plain.apply(&events);
    live.apply(&events);
    for text in [plain.written.text(), live.seen()] {
        assert!(text.contains("… nothing has happened for 2 min 5 s"), "{text}");
    }
}

#[test]
fn a_conversation_that_was_made_shorter_is_told() {
    let mut watching = Watching::plain();
    let compacted = json!({"messages": 8, "tokens_before": 90_000, "tokens_after": 1200, "strategy": "summarize"});
    let failed = json!({"messages": 1, "tokens_before": 9000, "tokens_after": 800, "strategy": "truncate",
                        "error": "no summary was made"});
    watching.apply(&[in_turn(3, "context.compacted", compacted), in_turn(4, "context.compacted", failed)]);
    let told = watching.written.text();
    assert!(told.contains("… 8 older messages summarised, about 90,000 tokens became 1,200\n"), "{told}");
    assert!(
        told.contains("… 1 older message left out, about 9,000 tokens became 800: no summary was made\n"),
        "{told}"
    );
}

#[test]
fn on_a_terminal_calls_settle_in_place_and_the_end_is_calm() {
    let mut watching = Watching::live(80);
    let events = whole_job();
    watching.apply(&events[..11]);
    assert_eq!(
        watching.seen(),
        "\
job_01JD000000000000000000TEST  demo/model

Let me look.

  · get_current_time  Asia/Tokyo
  ✗ calculate  1 / 0 — division by zero   1 ms

⠋ running get_current_time"
    );
    watching.apply(&events[11..]);
    assert_eq!(
        watching.seen(),
        "\
job_01JD000000000000000000TEST  demo/model

Let me look.

  ✓ get_current_time  Asia/Tokyo → 2026-11-23T12:05:00+09:00   12 ms
  ✗ calculate  1 / 0 — division by zero   1 ms
  ? send_note  n=2 to=ada — the outcome is unknown

It is noon.

✓ completed  2 turns · 3 tool calls · 1,234 tokens · 4.2 s · $0.0012"
    );
}

#[test]
fn the_bytes_for_a_terminal_are_these() {
    let mut watching = Watching::live(60);
    watching.draw();
    watching.apply(&[delta(1, "Hi"), call(1, "a", "completed", "t", json!({"result": "1", "duration_ms": 3}))]);
    watching.apply(&[event("job.cancelled", json!({"status": "cancelled"}))]);
    let expected = [
        "\u{1b}[?25l\u{1b}[1mjob_01JD000000000000000000TEST\u{1b}[0m\u{1b}[2m  demo/model\u{1b}[0m\u{1b}[K\n\u{1b}[K\n",
        "\u{1b}[36m⠋\u{1b}[0m\u{1b}[2m \u{1b}[0m\u{1b}[K",
        "\r\u{1b}[1A\u{1b}[K\nHi\u{1b}[K\n\u{1b}[K\n\u{1b}[36m⠋\u{1b}[0m\u{1b}[2m writing\u{1b}[0m\u{1b}[K\u{1b}[J",
        "\r\u{1b}[3A\u{1b}[K\nHi\u{1b}[K\n\u{1b}[K\n",
        "\u{1b}[32m  ✓ \u{1b}[0m\u{1b}[1mt\u{1b}[0m\u{1b}[2m → \u{1b}[0m1\u{1b}[2m   3 ms\u{1b}[0m\u{1b}[K\n",
        "\u{1b}[K\n\u{1b}[36m⠋\u{1b}[0m\u{1b}[2m asking the model\u{1b}[0m\u{1b}[K\u{1b}[J",
        "\r\u{1b}[1A\u{1b}[K\n\u{1b}[33m– cancelled\u{1b}[0m\u{1b}[2m  0 turns · 4.2 s\u{1b}[0m\u{1b}[K\n\u{1b}[J\u{1b}[?25h",
    ];
    assert_eq!(watching.written.text(), expected.concat());
}

#[test]
fn text_is_folded_between_words_however_it_arrives() {
    let text = "# Title\n\nThe quick brown fox jumps over the lazy dog, again and again.\n\n- one\n- two: 日本語のテキスト\n\n\
                    let code = 1;\nhttps://example.org/a/very/long/path/that/does/not/fit\n";
    let finished = |pieces: &[&str]| {
        let mut watching = Watching::live(24);
        watching.apply(&[in_turn(1, "turn.started", json!({}))]);
        for piece in pieces {
            watching.apply(&[delta(1, piece)]);
        }
        watching.apply(&[completed()]);
        watching.seen()
    };
    let whole = finished(&[text]);
    let body: Vec<&str> = whole.lines().skip_while(|line| *line != "# Title").take(13).collect();
    assert_eq!(
        body,
        [
            "# Title",
            "",
            "The quick brown fox",
            "jumps over the lazy",
            "dog, again and again.",
            "",
            "- one",
            "- two: 日本語のテキスト",
            "",
            "let code = 1;",
            "https://example.org/a/v",
            "ery/long/path/that/does",
            "/not/fit",
        ]
    );
    for (cut, _) in text.char_indices() {
        assert_eq!(finished(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&str> = text.split_inclusive(|_: char| true).collect();
    assert_eq!(finished(&single), whole);
}

#[test]
fn what_has_settled_is_never_touched_again() {
    let text =
        "Some words that go on for more than one line of this narrow terminal.\nAnd then some more of them, really.";
    let mut watching = Watching::live(30);
    let mut before: Vec<String> = Vec::new();
    for (at, c) in text.char_indices() {
        watching.apply(&[delta(1, &text[at..at + c.len_utf8()])]);
        let now = seen(&watching.written.text(), 30);
        let stays = before.len().saturating_sub(3);
        assert_eq!(now[..stays], before[..stays]);
        before = now;
    }
}

#[test]
fn turns_are_set_apart_by_one_empty_line() {
    let turns = [
        in_turn(1, "turn.started", json!({})),
        delta(1, "\n\nOne.\n\n\n"),
        in_turn(1, "turn.completed", json!({})),
        in_turn(2, "turn.started", json!({})),
        delta(2, "\nTwo.\n\n\n\nMore."),
        in_turn(2, "turn.completed", json!({})),
        completed(),
    ];
    let mut watching = Watching::live(80);
    watching.apply(&turns);
    let seen = watching.seen();
    assert!(seen.contains("\n\nOne.\n\nTwo.\n\nMore.\n\n✓ completed"), "{seen}");
}

#[test]
fn void_text_is_called_void_and_told_anew() {
    let events = [
        in_turn(1, "turn.started", json!({})),
        delta(1, "Kept. "),
        in_turn(1, "turn.completed", json!({})),
        in_turn(2, "turn.started", json!({})),
        delta(2, "Lost words\nand half a"),
        in_turn(2, "turn.restarted", json!({"attempt": 2, "output_offset": 6})),
        delta(2, "Found words."),
        in_turn(2, "turn.completed", json!({})),
        completed(),
    ];
    let mut watching = Watching::live(80);
    watching.apply(&events);
    assert_eq!(
        watching.seen(),
        "\
job_01JD000000000000000000TEST  demo/model

Kept.

Lost words
and half a

… the worker was lost; this turn starts again

Found words.

✓ completed  2 turns · 3 tool calls · 1,234 tokens · 4.2 s · $0.0012"
    );
    let mut watching = Watching::plain();
    watching.apply(&events);
    assert_eq!(
        watching.written.text(),
        "\
job_01JD000000000000000000TEST  demo/model
turn 1

Kept.

turn 2

Lost words

… the worker was lost; this turn starts again

Found words.

✓ completed  2 turns · 3 tool calls · 1,234 tokens · 4.2 s · $0.0012
"
    );
}

#[test]
fn a_restart_before_anything_was_seen_is_not_worth_a_word() {
    let mut watching = Watching::live(80);
    watching.apply(&[
        in_turn(1, "turn.started", json!({})),
        in_turn(1, "turn.restarted", json!({"attempt": 2, "output_offset": 0})),
        delta(1, "Hello."),
        completed(),
    ]);
    assert!(!watching.seen().contains("lost"), "{}", watching.seen());
}

#[test]
fn a_restart_that_keeps_the_text_voids_only_the_calls() {
    let mut watching = Watching::live(80);
    watching.apply(&[
        in_turn(1, "turn.started", json!({})),
        delta(1, "Kept."),
        call(1, "a", "running", "slow", json!({})),
        in_turn(1, "turn.restarted", json!({"attempt": 2, "output_offset": 5})),
        call(1, "a", "completed", "slow", json!({"result": "done", "duration_ms": 1500})),
        completed(),
    ]);
    let seen = watching.seen();
    assert!(
        seen.contains("Kept.\n\n… the worker was lost; this turn starts again\n  ✓ slow → done   1.5 s\n"),
        "{seen}"
    );
}

#[test]
fn a_viewer_who_came_in_the_middle_is_told_of_a_restart_too() {
    let mut watching = Watching::after(7, Look::Live { columns: 80, rows: 24 });
    watching.apply(&[
        delta(2, "half a"),
        in_turn(2, "turn.restarted", json!({"attempt": 2, "output_offset": 400})),
        delta(2, "All of it."),
        in_turn(2, "turn.restarted", json!({"attempt": 3, "output_offset": 410})),
        delta(2, " And more."),
        completed(),
    ]);
    let seen = watching.seen();
    assert_eq!(seen.matches("worker was lost").count(), 1, "{seen}");
    assert!(
        seen.contains("half a\n\n… the worker was lost; this turn starts again\n\nAll of it. And more.\n"),
        "{seen}"
    );
}

#[test]
fn hostile_text_gives_the_terminal_no_orders_wherever_it_stands() {
    let evil = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{9b}31mred\u{8}\u{8}\r";
    let events = [
        delta(1, &evil[..7]),
        delta(1, &evil[7..]),
        call(1, "a", "completed", evil, json!({"arguments": format!("{{\"{evil}\":1}}"), "result": evil})),
        call(1, "b", "error", "t", json!({"arguments": evil, "error": {"message": evil}})),
        event(
            "input.requested",
            json!({"id": evil, "kind": evil, "prompt": evil, "options": [{"id": evil, "action": "';rm -rf ~;'"}]}),
        ),
        event("node.error", json!({"node_id": evil, "error": {"message": evil}, "route": evil, "note": evil})),
        event("model.waiting", json!({"message": evil, "code": evil})),
        event(
            "job.failed",
            json!({"status": evil, "finish_reason": evil, "error": {"code": evil, "message": evil, "failed_during": evil}}),
        ),
    ];
    let mut flow = queued_job();
    flow["kind"] = "workflow".into();
    let outline = Outline::of(&json!({"nodes": [{"id": evil, "type": "agent", "data": {"label": evil}}]}));
    for (job, look) in
        [&queued_job(), &flow].iter().flat_map(|job| [(job, Look::Plain), (job, Look::Live { columns: 80, rows: 24 })])
    {
        let mut watching = Watching::of(job, outline.clone(), 0, look);
        watching.apply(&events);
        // The reader of screens fails on every order that the screen does not give by itself.
        let seen = watching.seen();
        assert!(!seen.contains("pwned") && !seen.contains("rm -rf"), "{seen}");
        if look == Look::Plain {
            assert!(watching.written.text().chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}

#[test]
fn long_arguments_and_results_are_cut_to_the_width() {
    let long = "word ".repeat(60);
    let events = [
        call(
            1,
            "a",
            "completed",
            "search",
            json!({"arguments": json!({"query": long}).to_string(), "result": long, "duration_ms": 61_000}),
        ),
        call(
            1,
            "b",
            "completed",
            "search",
            json!({"arguments": "{\"query\":\"short\"}", "result": long, "duration_ms": 5}),
        ),
        call(
            1,
            "c",
            "error",
            "search",
            json!({"arguments": "{\"query\":\"short\"}", "error": {"message": long}, "duration_ms": 5}),
        ),
    ];
    for columns in [30, 40, 60, 80, 120] {
        let mut watching = Watching::live(columns);
        watching.apply(&events);
        for line in &seen(&watching.written.text(), 10_000)[2..] {
            assert!(line.chars().count() < columns, "{line:?} at {columns}");
        }
    }
    let mut watching = Watching::live(60);
    watching.apply(&events);
    let seen = watching.seen();
    let lines: Vec<&str> = seen.lines().skip(2).take(3).collect();
    assert_eq!(
        lines,
        [
            "  ✓ search  word word… → word word word word w…   1 min 1 s",
            "  ✓ search  short → word word word word word word w…   5 ms",
            "  ✗ search  short   5 ms",
        ],
        "{seen}"
    );
}

#[test]
fn the_status_says_what_is_going_on_and_for_how_long() {
    let mut watching = Watching::live(60);
    let status = |watching: &mut Watching, seconds: u64| {
        watching.draw_at(Duration::from_secs(seconds));
        watching.seen().lines().last().unwrap().to_owned()
    };
    watching.apply(&[event("job.queued", json!({}))]);
    assert_eq!(status(&mut watching, 0), "⠋ waiting in line");
    assert_eq!(status(&mut watching, 3), "⠋ waiting in line  3 s");
    watching.apply(&[in_turn(1, "turn.started", json!({}))]);
    assert_eq!(status(&mut watching, 0), "⠋ asking the model");
    watching.apply(&[in_turn(
        1,
        "reasoning.delta",
        json!({"text": "First, I should look at the time in Tokyo and\nthen"}),
    )]);
    assert_eq!(status(&mut watching, 0), "⠋ thinking  …I should look at the time in Tokyo and then");
    watching.apply(&[call(1, "a", "running", "calculate", json!({}))]);
    assert_eq!(status(&mut watching, 0), "⠋ running calculate");
    watching.apply(&[call(1, "b", "running", "search", json!({}))]);
    assert_eq!(status(&mut watching, 0), "⠋ running 2 tools");
    watching.view.set_lost(true, Duration::ZERO);
    assert_eq!(status(&mut watching, 2), "⠋ connection lost, trying again  2 s");
}

#[test]
fn a_question_is_a_line_that_says_what_it_is_about() {
    let mut watching = Watching::plain();
    watching.apply(&[
        event(
            "input.requested",
            json!({
                "id": "req_1", "kind": "approval", "prompt": "Send this?",
                "tool_call": {"name": "send_email", "arguments": "{\"to\":\"ada\"}"},
            }),
        ),
        event("input.resolved", json!({"id": "req_1", "answer": {"action": "approve", "by": "local"}})),
    ]);
    assert_eq!(
        watching.written.text().lines().skip(1).collect::<Vec<_>>(),
        ["  ? approval is needed  send_email ada", "  ✓ answered: approve  by local"]
    );
}

#[test]
fn what_is_approved_is_shown_whole_whatever_a_terminal_would_make_of_it() {
    let hidden = "{\"to\":\"ada\u{9d}\",\n\"bcc\":\"eve\u{202e}\u{1b}]0;x\u{7}\"}";
    let request: InputRequest = serde_json::from_value(json!({
        "id": "req_1", "kind": "approval", "tool_call": {"name": "send_email", "arguments": hidden},
    }))
    .unwrap();
    let written = Written::default();
    let mut out = Terminal::new(written.clone(), written.clone(), Look::Plain);
    out.say(&lines::question(&request, None, Look::Plain)).unwrap();
    let shown = "      {\"to\":\"ada\\u009d\",\n      \"bcc\":\"eve\\u202e\\u001b]0;x\\u0007\"}\n";
    assert!(written.text().contains(shown), "{}", written.text());
    out.say(&[lines::asked(&request, None, Look::Plain)]).unwrap();
    let text = written.text();
    let in_short = text.lines().last().unwrap();
    assert!(in_short.contains("approval is needed") && in_short.contains(r"ada\u009d"), "{in_short}");
}

#[test]
fn a_turn_that_goes_on_after_an_answer_is_no_accident_and_shows_the_edited_arguments() {
    for look in [Look::Plain, Look::Live { columns: 80, rows: 24 }] {
        let mut watching = Watching::on(look);
        watching.apply(&[
            call(1, "a", "pending", "send", json!({"arguments": "{\"to\":\"ada\"}"})),
            in_turn(1, "input.requested", json!({"id": "r", "kind": "approval"})),
            in_turn(1, "input.resolved", json!({"id": "r", "answer": {"action": "modify"}})),
            in_turn(1, "turn.restarted", json!({"attempt": 2, "output_offset": 0})),
            call(
                1,
                "a",
                "completed",
                "send",
                json!({"arguments": "{\"to\":\"ada\"}", "edited_arguments": "{\"to\":\"bob\"}"}),
            ),
        ]);
        let seen = watching.seen();
        assert!(!seen.contains("lost") && seen.contains("✓ send  bob (edited)"), "{seen}");
        // The next one is.
        watching.apply(&[in_turn(1, "turn.restarted", json!({"attempt": 3, "output_offset": 0}))]);
        assert!(watching.seen().contains("the worker was lost"), "{}", watching.seen());
    }
}

#[test]
fn sentences_of_several_lanes_do_not_mix() {
    let in_lane =
        |lane: &str, kind: &str, text: &str| event(kind, json!({"lane": lane, "turn": 1, "attempt": 1, "text": text}));
    let mut watching = Watching::plain();
    watching.apply(&[
        in_lane("left", "turn.started", ""),
        in_lane("right", "turn.started", ""),
        in_lane("left", "output.delta", "Left be"),
        in_lane("right", "output.delta", "Right begins\nand "),
        in_lane("left", "output.delta", "gins.\n"),
        in_lane("left", "turn.completed", ""),
        in_lane("right", "output.delta", "ends."),
        in_lane("right", "turn.completed", ""),
    ]);
    let text = watching.written.text();
    assert!(text.ends_with("\n\nleft:\nLeft begins.\n\nright:\nRight begins\nand ends.\n"), "{text}");
}

#[test]
fn output_that_nobody_streamed_is_shown_at_the_end() {
    let mut watching = Watching::plain();
    watching.apply(&[completed()]);
    let text = watching.written.text();
    assert!(text.contains("\n\nIt is noon.\n\n✓ completed"), "{text}");
}

#[test]
fn a_failure_says_why_and_where() {
    let mut watching = Watching::live(60);
    watching.apply(&[event("job.failed", json!({
        "status": "failed", "finish_reason": "error", "metrics": {"total_turns": 1},
        "error": {"code": "upstream_rejected", "message": "The provider does not know the model demo/modell.", "failed_during": "model_call", "turn": 1},
    }))]);
    assert_eq!(
        watching.seen().lines().skip(2).collect::<Vec<_>>(),
        [
            "✗ failed  1 turn · 4.2 s",
            "  The provider does not know the model demo/modell.",
            "  (upstream_rejected, during model call, in turn 1)",
        ]
    );
}
