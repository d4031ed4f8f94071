//! What each kind of node does, and what its failures lead to.

use domain::workflow::{Call, CallResult, NodeError, NodeErrorCode, NodeStatus, Tools, Work};
use serde_json::{Value, json};

use super::driver::{Play, Played, checked, document, known, said, workflow};

fn failed(message: &str) -> CallResult {
    CallResult::Failed(NodeError {
        message: message.to_owned(),
        code: NodeErrorCode::LlmError,
        node_id: String::new(),
        status_code: Some(502),
    })
}

fn play(document: &Value, mut model: impl FnMut(&Work) -> CallResult) -> Played {
    Play::new(&workflow(document), "in").play(&mut model)
}

/// A model that answers with its node's name; nodes with `bad` in their name fail.
fn names(work: &Work) -> CallResult {
    let name = work.node.shown();
    if name.contains("bad") { failed("broken") } else { said(&format!("<{name}>")) }
}

fn last_message(work: &Work) -> String {
    match &work.call {
        Call::Agent { messages, .. } | Call::Choose { messages, .. } | Call::Complete { messages, .. } => {
            match messages.last().unwrap() {
                domain::message::Message::User { content } => content.text(),
                other => panic!("the last message is the user's: {other:?}"),
            }
        }
        Call::Tool { arguments, .. } => arguments.to_string(),
    }
}

fn agent(id: &str) -> (&str, &'static str, Value) {
    (id, "agent", json!({"prompt": "p"}))
}

fn start() -> (&'static str, &'static str, Value) {
    ("s", "start", json!({}))
}

fn out() -> (&'static str, &'static str, Value) {
    ("o", "output", json!({"format": "text"}))
}

#[test]
fn a_join_gets_every_parents_output_in_the_order_of_the_edges() {
    let nodes = [start(), agent("a"), agent("b"), agent("j"), out()];
    let mut told = String::new();
    play(&document(&nodes, &["s - a", "s - b", "b - j", "a - j", "j - o"]), |work: &Work| {
        if work.node.shown() == "j" {
            told = last_message(work);
        }
        names(work)
    });
    assert_eq!(told, "[b]:\n<b>\n\n[a]:\n<a>");
}

#[test]
fn agents_that_run_side_by_side_do_not_see_each_other() {
    let nodes = [start(), agent("a"), agent("b"), agent("c"), agent("j"), out()];
    let edges = ["s - a", "s - b", "b - c", "a - j", "c - j", "j - o"];
    let mut sessions = vec![];
    play(&document(&nodes, &edges), |work: &Work| {
        if let Call::Agent { messages, .. } = &work.call {
            let texts =
                messages.iter().skip(1).map(|message| serde_json::to_value(message).unwrap()["content"].clone());
            sessions.push((work.node.shown(), texts.collect::<Vec<_>>()));
        }
        names(work)
    });
    sessions.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("a", json!(["in"])),
        ("b", json!(["in"])),
        ("c", json!(["in", "<b>", "<b>"])),
        ("j", json!(["in", "<a>", "<b>", "<c>", "[a]:\n<a>\n\n[c]:\n<c>"])),
    ];
    for ((node, session), (expected_node, expected)) in sessions.iter().zip(&expected) {
        assert_eq!((node.as_str(), json!(session)), (*expected_node, expected.clone()));
    }
}

#[test]
fn a_failure_stops_the_run_and_keeps_what_there_is() {
    let played = play(&document(&[start(), agent("a"), agent("bad"), out()], &["s - a", "a - bad", "bad - o"]), names);
    assert_eq!(played.failure(), ("bad".to_owned(), "broken".to_owned()));
    assert_eq!(played.view.failed_node_id.as_deref(), Some("bad"));
    assert_eq!(
        (played.output_of("a"), played.status_of("bad"), played.status_of("o")),
        (Some("<a>"), NodeStatus::Error, NodeStatus::Pending)
    );
    assert_eq!(played.view.execution_order, ["s", "a"]);
    assert_eq!(played.view.current_node_ids, Vec::<String>::new());
    assert_eq!(played.view.node_states["bad"].error.as_ref().unwrap().status_code, Some(502));
}

#[test]
fn with_continue_the_output_is_empty_and_the_flow_goes_on_with_what_there_was_to_do() {
    let bad = ("bad", "agent", json!({"errorHandling": {"mode": "continue"}}));
    let mut told = String::new();
    let nodes = [start(), bad, agent("next"), agent("never"), out()];
    let edges = ["s - bad", "bad output next", "bad error never", "bad rejected never", "next - o", "never - o"];
    let played = play(&document(&nodes, &edges), |work: &Work| {
        if work.node.shown() == "next" {
            told = last_message(work);
        }
        names(work)
    });
    assert_eq!((played.output_of("bad"), told.as_str(), played.output()), (Some(""), "in", "<next>"));
    assert_eq!(played.status_of("never"), NodeStatus::Skipped);
    assert_eq!(played.view.execution_order, ["s", "bad", "next", "o"]);
}

#[test]
fn with_branch_the_error_edge_is_followed_and_the_error_is_there_for_templates() {
    let bad = ("bad", "agent", json!({"errorHandling": {"mode": "branch"}}));
    let template = ("o", "output", json!({"template": "{{outputs.bad_error}}"}));
    let nodes = [start(), bad, agent("next"), agent("mend"), template];
    let edges = ["s - bad", "bad output next", "bad error mend", "next - o", "mend - o"];
    let played = play(&document(&nodes, &edges), names);
    assert_eq!((played.status_of("next"), played.output_of("mend")), (NodeStatus::Skipped, Some("<mend>")));
    let error: Value = serde_json::from_str(played.output()).unwrap();
    assert_eq!(error, json!({"message": "broken", "code": "LLM_ERROR", "nodeId": "bad", "statusCode": 502}));
}

#[test]
fn with_branch_and_no_error_edge_the_run_fails() {
    let bad = ("bad", "agent", json!({"errorHandling": {"mode": "branch"}}));
    assert_eq!(play(&document(&[start(), bad, out()], &["s - bad", "bad - o"]), names).failure().0, "bad");
}

fn router(fallback: &str) -> Value {
    let router = ("r", "router", json!({"fallbackBehavior": fallback}));
    document(
        &[start(), router, agent("a"), agent("b"), agent("never"), out()],
        &["s - r", "r route-1 a", "r route-2 b", "r error never", "a - o", "b - o", "never - o"],
    )
}

#[test]
fn a_router_that_hears_no_route_falls_back_as_it_says() {
    let unsure = |work: &Work| if work.node.shown() == "r" { said("who knows") } else { names(work) };
    let played = play(&router("first"), unsure);
    assert_eq!((played.output(), played.status_of("b")), ("<a>", NodeStatus::Skipped));
    assert!(played.notes()[0].1.contains("route-1"), "{:?}", played.notes());

    let played = play(&router("none"), unsure);
    assert_eq!((played.output(), played.status_of("o")), ("Router failed to select a route", NodeStatus::Skipped));
    assert_eq!(played.view.execution_order, ["s", "r"]);

    assert_eq!(play(&router("error"), unsure).failure().0, "r");
}

#[test]
fn a_text_answer_of_a_router_is_read_as_a_number_or_a_name() {
    for answer in ["2", "b", "route-2", "\"B\"."] {
        let played =
            play(&router("error"), |work: &Work| if work.node.shown() == "r" { said(answer) } else { names(work) });
        assert_eq!((played.output(), played.output_of("r")), ("<b>", Some("Routed to b")), "{answer}");
    }
}

fn fan(data: Value, edges: &[&str]) -> Value {
    let mut all = json!({"branches": [
        {"id": "one", "label": "One", "model": "m/one"}, {"id": "bad", "label": "Bad"}, {"id": "two", "label": "Two", "prompt": "TWO"},
    ]});
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    let nodes = [start(), ("f", "parallel", all), agent("a"), agent("b"), out()];
    document(&nodes, &[&["s - f"], edges].concat())
}

#[test]
fn branches_results_are_in_their_order_with_failures_at_the_end() {
    let played = play(&fan(json!({}), &["f - o", "f error a", "f error b"]), names);
    assert_eq!(played.output(), "## One\n<f:one>\n\n## Two\n<f:two>\n\n## Errors\nBad: broken");
    assert_eq!((played.output_of("f:one"), played.status_of("f:bad")), (Some("<f:one>"), NodeStatus::Error));
}

#[test]
fn all_branches_failing_fails_the_node() {
    let document = fan(json!({"errorHandling": {"mode": "branch"}}), &["f merged b", "f error a", "a - o", "b - o"]);
    let played =
        play(&document, |work: &Work| if work.node.shown().starts_with("f:") { failed("no") } else { names(work) });
    assert_eq!(
        (played.output(), played.status_of("f"), played.status_of("b")),
        ("<a>", NodeStatus::Error, NodeStatus::Skipped)
    );
}

#[test]
fn without_a_merge_each_branchs_edge_gets_its_own_text_and_a_failed_branchs_is_not_taken() {
    let edges = ["f one a", "f two a", "f bad b", "a - o", "b - o"];
    let mut told = String::new();
    let played = play(&fan(json!({"mergeEnabled": false}), &edges), |work: &Work| {
        if work.node.shown() == "a" {
            told = last_message(work);
        }
        names(work)
    });
    assert_eq!(told, "[f → One]:\n<f:one>\n\n[f → Two]:\n<f:two>");
    assert_eq!(played.status_of("b"), NodeStatus::Skipped);
}

#[test]
fn a_branch_asks_its_own_model_with_its_own_orders_and_its_time() {
    let mut calls = vec![];
    play(
        &fan(json!({"model": "m/node", "branchTimeout": 1500}), &["f - o", "f error a", "f error b"]),
        |work: &Work| {
            calls.push(work.clone());
            names(work)
        },
    );
    let models: Vec<_> = calls
        .iter()
        .map(|work| match &work.call {
            Call::Agent { model, tools, .. } => (model.as_str(), tools.clone(), work.timeout.unwrap().as_millis()),
            other => panic!("{other:?}"),
        })
        .collect();
    let none = || Tools::Named(vec![]);
    assert_eq!(models, [("m/one", none(), 1500), ("m/node", none(), 1500), ("m/node", none(), 1500)]);
}

fn looping(data: Value) -> Value {
    let mut all = json!({"conditionPrompt": "more?", "maxIterations": 3});
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    let nodes = [start(), ("l", "whileLoop", all), agent("a"), agent("b"), agent("mend"), out()];
    document(&nodes, &["s - l", "l body a", "a - b", "l done o", "l error mend", "mend - o"])
}

/// Goes on so many times.
fn guarded(times: usize) -> impl FnMut(&Work) -> CallResult {
    let mut asked = 0;
    move |work: &Work| match &work.call {
        Call::Choose { .. } => {
            asked += 1;
            CallResult::Answered { text: String::new(), chosen: Some(json!({"continue": asked <= times})), at_limit: 0 }
        }
        _ => names(work),
    }
}

#[test]
fn a_loop_runs_its_body_while_the_model_says_so() {
    let played = play(&looping(json!({})), guarded(2));
    assert_eq!(played.output(), "<b#2>");
    assert_eq!(played.view.execution_order, ["s", "l", "o"]);
    let states: Vec<&str> = played.view.node_states.keys().map(String::as_str).collect();
    assert_eq!(states, ["a#1", "a#2", "b#1", "b#2", "l", "mend", "o", "s"]);

    assert_eq!(play(&looping(json!({})), guarded(0)).output(), "in");
}

#[test]
fn at_its_maximum_a_loop_ends_with_its_last_output_or_fails() {
    let played = play(&looping(json!({"onMaxIterations": "warning"})), guarded(9));
    assert_eq!((played.output(), played.notes().len()), ("<b#3>", 1));
    let played = play(&looping(json!({"onMaxIterations": "continue"})), guarded(9));
    assert_eq!((played.output(), played.notes().len()), ("<b#3>", 0));
    let played = play(&looping(json!({"onMaxIterations": "error"})), guarded(9));
    assert_eq!(
        (played.output(), played.view.node_states["l"].error.as_ref().unwrap().code),
        ("<mend>", NodeErrorCode::LoopLimit)
    );
}

#[test]
fn a_fixed_loop_asks_nobody_and_accumulates_if_it_is_to() {
    let fixed = json!({"loopMode": "fixed", "outputMode": "accumulate", "conditionPrompt": null});
    let played = play(&looping(fixed), |work: &Work| {
        assert!(matches!(work.call, Call::Agent { .. }));
        names(work)
    });
    assert_eq!(played.output(), r###"{"iterations":3,"outputs":["<b#1>","<b#2>","<b#3>"],"finalOutput":"<b#3>"}"###);
}

#[test]
fn a_loops_text_answer_that_is_neither_ends_it_and_is_noted() {
    let played = play(&looping(json!({})), |work: &Work| match &work.call {
        Call::Choose { .. } => said("I would continue, I think"),
        _ => names(work),
    });
    assert_eq!((played.output(), played.notes().len()), ("in", 1));
}

#[test]
fn an_earlier_attempt_is_shown_to_500_characters() {
    let mut told = vec![];
    play(&looping(json!({"loopMode": "fixed", "maxIterations": 2})), |work: &Work| {
        if work.node.shown().starts_with('a') {
            told.push(last_message(work));
        }
        said(&"é".repeat(600))
    });
    let (cut, whole) = ("é".repeat(500), "é".repeat(600));
    let expected =
        format!("[Previous attempts (1):]\n\nAttempt 1: {cut}...[truncated]\n\n[Current input to improve:]\n\n{whole}");
    assert_eq!(told, ["in".to_owned(), expected]);
}

#[test]
fn a_failure_in_a_body_is_the_loops_and_names_the_node() {
    let mut document = looping(json!({"loopMode": "fixed", "errorHandling": {"mode": "stop"}}));
    let bad = |work: &Work| if work.node.shown() == "b#2" { failed("no") } else { names(work) };
    assert_eq!(play(&document, bad).failure(), ("b#2".to_owned(), "no".to_owned()));
    document["nodes"][1]["data"]["errorHandling"]["mode"] = json!("branch");
    let played = play(&document, bad);
    assert_eq!(
        (played.output(), played.view.node_states["l"].error.as_ref().unwrap().node_id.as_str()),
        ("<mend>", "b#2")
    );
}

#[test]
fn loops_in_loops_repeat_their_bodies_under_names_of_their_own() {
    let fixed = |n: u32| json!({"loopMode": "fixed", "maxIterations": n});
    let nodes = [start(), ("l", "whileLoop", fixed(2)), ("m", "whileLoop", fixed(2)), agent("a"), agent("b"), out()];
    let played = play(&document(&nodes, &["s - l", "l body m", "m body a", "m done b", "l done o"]), names);
    let ran: Vec<&str> = played.view.node_states.keys().map(String::as_str).collect();
    assert_eq!(ran, ["a#1.1", "a#1.2", "a#2.1", "a#2.2", "b#1", "b#2", "l", "m#1", "m#2", "o", "s"]);
    assert_eq!(played.output(), "<b#2>");
}

#[test]
fn two_loops_may_share_a_body() {
    let fixed = json!({"loopMode": "fixed", "maxIterations": 2});
    let nodes = [start(), ("l", "whileLoop", fixed.clone()), ("m", "whileLoop", fixed), agent("a"), out()];
    let played = play(&document(&nodes, &["s - l", "l body a", "l done m", "m body a", "m done o"]), names);
    let ran: Vec<&str> = played.view.node_states.keys().map(String::as_str).collect();
    assert_eq!(ran, ["a#1@l", "a#1@m", "a#2@l", "a#2@m", "l", "m", "o", "s"]);
}

fn nested(data: Value) -> domain::workflow::Workflow {
    let mut inner = document(
        &[
            start(),
            agent("a"),
            agent("bad"),
            ("o", "output", json!({"template": "{{a}} on {{topic}} in {{tone}} {{gone}}"})),
        ],
        &["s - a", "a - o", "s - bad", "bad - o"],
    );
    inner["nodes"][2]["data"]["errorHandling"] = json!({"mode": "continue"});
    inner["inputs"] = json!([{"id": "text", "required": true}, {"id": "topic"}, {"id": "tone", "default": "plain"}]);
    let mut all = json!({"subflowId": "inner", "inputMappings": {"text": "{{outputs.first}}", "topic": "{{input}}"}});
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    let nodes = [start(), agent("first"), ("sub", "subflow", all), agent("last"), out()];
    let mut root = document(&nodes, &["s - first", "first - sub", "sub - last", "last - o"]);
    root["subflows"] = json!({"inner": inner});
    checked(&root, &known()).workflow
}

#[test]
fn a_subflow_gets_what_is_mapped_and_its_nodes_are_named_with_it() {
    let mut told = vec![];
    let flow = nested(json!({}));
    let played = Play::new(&flow, "in").play(&mut |work: &Work| {
        let Call::Agent { messages, .. } = &work.call else { panic!("only agents") };
        let texts: Vec<Value> =
            messages.iter().skip(1).map(|it| serde_json::to_value(it).unwrap()["content"].clone()).collect();
        told.push((work.node.shown(), json!(texts)));
        names(work)
    });
    assert_eq!(played.output_of("sub"), Some("<sub/a> on <first> in plain {{gone}}"));
    assert!(told.contains(&("sub/a".to_owned(), json!(["<first>"]))), "{told:?}");
    let last = json!(["in", "<first>", "<sub/a> on <first> in plain {{gone}}"]);
    assert!(told.contains(&("last".to_owned(), last)), "{told:?}");
    assert_eq!(played.view.execution_order, ["s", "first", "sub", "last", "o"]);
}

#[test]
fn a_shared_session_goes_in_and_comes_out() {
    let mut told = vec![];
    let flow = nested(json!({"shareSession": true}));
    Play::new(&flow, "in").play(&mut |work: &Work| {
        let Call::Agent { messages, .. } = &work.call else { panic!("only agents") };
        let texts: Vec<Value> =
            messages.iter().skip(1).map(|it| serde_json::to_value(it).unwrap()["content"].clone()).collect();
        told.push((work.node.shown(), json!(texts)));
        names(work)
    });
    assert!(told.contains(&("sub/a".to_owned(), json!(["in", "<first>", "<first>"]))), "{told:?}");
    let last = json!(["in", "<first>", "<sub/a>", "<sub/a> on <first> in plain {{gone}}"]);
    assert!(told.contains(&("last".to_owned(), last)), "{told:?}");
}

#[test]
fn a_failing_subflow_fails_its_node_and_what_is_at_work_inside_is_given_up() {
    let mut inner =
        document(&[start(), agent("slow"), agent("bad"), out()], &["s - slow", "s - bad", "slow - o", "bad - o"]);
    inner["inputs"] = json!([]);
    let sub = ("sub", "subflow", json!({"subflowId": "inner"}));
    let mut root =
        document(&[start(), sub, agent("mend"), out()], &["s - sub", "sub output o", "sub error mend", "mend - o"]);
    root["subflows"] = json!({"inner": inner});
    let flow = workflow(&root);
    let mut play = Play::new(&flow, "in");
    let bad = "sub-bad".to_owned();
    let lane = play.open.keys().find(|lane| lane.as_str().starts_with(&bad)).unwrap().clone();
    play.turn(&lane, &mut names);
    play.turn(&lane, &mut names);
    assert_eq!(play.open.len(), 1, "only the mending is at work: {:?}", play.open);
    let played = play.play(&mut names);
    assert_eq!(
        (played.output(), played.status_of("sub/slow"), played.status_of("sub")),
        ("<mend>", NodeStatus::Skipped, NodeStatus::Error)
    );
}

#[test]
fn a_tool_node_is_called_with_its_arguments_filled_in() {
    let tool = (
        "t",
        "tool",
        json!({"toolId": "look", "arguments": {"q": "about {{outputs.a}}", "n": [1, "{{input}}", "{{gone}}"]}}),
    );
    let mut told = None;
    let played = play(&document(&[start(), agent("a"), tool, out()], &["s - a", "a - t", "t - o"]), |work: &Work| {
        if let Call::Tool { name, arguments } = &work.call {
            told = Some((name.clone(), arguments.clone()));
        }
        names(work)
    });
    assert_eq!(told, Some(("look".to_owned(), json!({"q": "about <a>", "n": [1, "<a>", "{{gone}}"]}))));
    assert_eq!(played.output(), "<a>\n\n<t>");
}

#[test]
fn a_synthesis_asks_a_model_with_the_sources_under_their_names() {
    let o = (
        "o",
        "output",
        json!({"mode": "synthesis", "sources": ["b", "a", "f:one", "gone"], "format": "json", "synthesis": {"prompt": "SYN", "model": "m/syn"}}),
    );
    let fan = (
        "f",
        "parallel",
        json!({"label": "Fan", "branches": [{"id": "one", "label": "One"}, {"id": "two", "label": "Two"}]}),
    );
    let mut call = None;
    let played = play(
        &document(&[start(), agent("a"), agent("b"), fan, o], &["s - a", "a - b", "b - f", "f - o"]),
        |work: &Work| {
            if let Call::Complete { model, messages } = &work.call {
                call = Some((model.clone(), serde_json::to_value(messages).unwrap()));
                return said(r#"{"b":1,"a":2}"#);
            }
            names(work)
        },
    );
    let text = "--- Output from b ---\n<b>\n\n--- Output from a ---\n<a>\n\n--- Output from Fan → One ---\n<f:one>\n\n--- Output from gone ---\n(No output)";
    let messages = json!([{"role": "system", "content": "SYN"}, {"role": "user", "content": text}]);
    assert_eq!(call, Some(("m/syn".to_owned(), messages)));
    assert_eq!(played.output(), "{\n  \"b\": 1,\n  \"a\": 2\n}");
}

#[test]
fn an_agent_without_a_prompt_is_told_its_name_and_has_the_jobs_tools() {
    let a = ("a", "agent", json!({"label": "Ann", "temperature": 0.5, "maxTokens": 9, "maxToolIterations": 4}));
    let b = ("b", "agent", json!({"prompt": "B", "tools": ["x"]}));
    let mut calls = vec![];
    play(&document(&[start(), a, b, out()], &["s - a", "a - b", "b - o"]), |work: &Work| {
        calls.push(work.call.clone());
        names(work)
    });
    let Call::Agent { messages, tools, temperature, max_tokens, max_tool_turns, model, .. } = &calls[0] else {
        panic!()
    };
    assert!(serde_json::to_string(&messages[0]).unwrap().contains("You are a helpful assistant named Ann."));
    assert_eq!((tools, *temperature, *max_tokens, *max_tool_turns), (&Tools::All, Some(0.5), Some(9), 4));
    assert_eq!(model, "test/default");
    assert!(matches!(&calls[1], Call::Agent { tools: Tools::Named(named), .. } if named == &["x"]));
}

#[test]
fn one_text_in_a_session_is_said_once() {
    // The router passes the user's text on: it is the session's last message already.
    let mut messages_to_a = 0;
    play(&router("first"), |work: &Work| {
        if let (Call::Agent { messages, .. }, "a") = (&work.call, work.node.shown().as_str()) {
            messages_to_a = messages.len();
        }
        names(work)
    });
    assert_eq!(messages_to_a, 2);
}
