//! A new run that begins where another failed, or at a node that is named.

use std::collections::BTreeMap;

use domain::{
    time::Timestamp,
    workflow::{
        Call, CallResult, CannotRetry, NodeError, NodeErrorCode, NodeStatus, Run, Step, Work, Workflow, retry_from,
        take_up, view,
    },
};
use serde_json::{Value, json};

use super::driver::{Play, Played, document, said, workflow};

/// Answers with the node's name, fails at `bad`, and writes down who was called.
fn players<'c>(bad: &'c str, calls: &'c mut Vec<String>) -> impl FnMut(&Work) -> CallResult {
    move |work: &Work| {
        let node = work.node.shown();
        calls.push(node.clone());
        if node == bad {
            let (message, node_id) = ("no".to_owned(), String::new());
            return CallResult::Failed(NodeError { message, code: NodeErrorCode::Network, node_id, status_code: None });
        }
        match &work.call {
            Call::Choose { .. } => {
                let text = serde_json::to_string(&work.call_messages()).unwrap();
                said(if text.contains("Current iteration: 2") { "done" } else { "continue" })
            }
            _ => said(&format!("<{node}>")),
        }
    }
}

trait Messages {
    fn call_messages(&self) -> Value;
}

impl Messages for Work {
    fn call_messages(&self) -> Value {
        match &self.call {
            Call::Agent { messages, .. } | Call::Choose { messages, .. } | Call::Complete { messages, .. } => {
                serde_json::to_value(messages).unwrap()
            }
            Call::Tool { .. } => Value::Null,
        }
    }
}

fn graph() -> Workflow {
    let agent = json!({"prompt": "p"});
    let nodes = [
        ("s", "start", json!({})),
        ("a", "agent", agent.clone()),
        ("side", "agent", agent.clone()),
        ("l", "whileLoop", json!({"conditionPrompt": "more?", "errorHandling": {"mode": "stop"}})),
        ("x", "agent", agent.clone()),
        ("y", "agent", agent.clone()),
        ("f", "parallel", json!({"branches": [{"id": "p", "label": "P"}, {"id": "q", "label": "Q"}]})),
        ("o", "output", json!({"template": "{{l}} {{f}} {{side}}"})),
    ];
    let edges = ["s - a", "s - side", "a - l", "l body x", "x - y", "l done f", "f - o", "side - o"];
    workflow(&document(&nodes, &edges))
}

fn first(flow: &Workflow, bad: &str) -> (Played, Vec<String>) {
    let mut calls = vec![];
    let played = Play::new(flow, "in").play(&mut players(bad, &mut calls));
    (played, calls)
}

fn again(flow: &Workflow, run: &Played, node: Option<&str>) -> (Played, Vec<String>) {
    let step = retry_from(flow, &run.input, &run.run, node, Timestamp::from_millis(999)).unwrap();
    let mut calls = vec![];
    let played = Play::from(flow, run.input.clone(), step).play(&mut players("-", &mut calls));
    calls.sort();
    (played, calls)
}

#[test]
fn what_failed_is_run_anew_and_what_was_before_it_is_kept() {
    let flow = graph();
    let (whole, _) = first(&flow, "-");
    for (bad, expected) in [
        ("a", vec!["a", "f:p", "f:q", "l", "l", "l", "x#1", "x#2", "y#1", "y#2"]),
        ("x#1", vec!["f:p", "f:q", "l", "l", "x#1", "x#2", "y#1", "y#2"]),
        ("y#2", vec!["f:p", "f:q", "l", "y#2"]),
        ("l", vec!["f:p", "f:q", "l", "l", "l", "x#1", "x#2", "y#1", "y#2"]),
    ] {
        let (failed, before) = first(&flow, bad);
        assert_eq!(failed.failure().0, bad);
        let (done, calls) = again(&flow, &failed, None);
        let without_side: Vec<&str> = calls.iter().map(String::as_str).filter(|node| *node != "side").collect();
        assert_eq!(without_side, expected, "after a failure at {bad}");
        // The other way at the start is kept when it had ended, and run when it had not.
        let side_ended = before.contains(&"side".to_owned()) && failed.output_of("side").is_some();
        assert_eq!(calls.contains(&"side".to_owned()), !side_ended);
        assert_eq!(
            (done.output(), done.view.execution_order.clone()),
            (whole.output(), whole.view.execution_order.clone())
        );
        assert_eq!(done.run.nodes, whole.run.nodes, "after a failure at {bad}");
    }
}

#[test]
fn a_guard_that_failed_is_asked_again_and_the_iterations_are_kept() {
    let flow = graph();
    let mut n_asked = 0;
    let failed = Play::new(&flow, "in").play(&mut |work: &Work| {
        n_asked += usize::from(matches!(work.call, Call::Choose { .. }));
        let bad = if n_asked == 2 { "l" } else { "-" };
        players(bad, &mut vec![])(work)
    });
    assert_eq!(failed.failure().0, "l");
    let (_, calls) = again(&flow, &failed, None);
    let expected = ["f:p", "f:q", "l", "l", "x#2", "y#2"];
    assert_eq!(calls.into_iter().filter(|node| node != "side").collect::<Vec<_>>(), expected);
}

#[test]
fn a_named_node_and_what_comes_after_it_are_run_anew() {
    let flow = graph();
    let (whole, _) = first(&flow, "-");
    for (node, expected) in [
        ("side", vec!["side"]),
        ("f", vec!["f:p", "f:q"]),
        ("y#2", vec!["f:p", "f:q", "l", "y#2"]),
        ("x#1", vec!["f:p", "f:q", "l", "l", "x#1", "x#2", "y#1", "y#2"]),
        ("o", vec![]),
    ] {
        let (done, calls) = again(&flow, &whole, Some(node));
        assert_eq!(calls, expected, "from {node}");
        assert_eq!((done.output(), &done.run.nodes), (whole.output(), &whole.run.nodes), "from {node}");
    }
}

#[test]
fn a_node_that_has_not_run_and_a_run_without_a_failure_are_refused() {
    let flow = graph();
    let (whole, _) = first(&flow, "-");
    let retry = |node| retry_from(&flow, &whole.input, &whole.run, node, Timestamp::MIN);
    assert_eq!(retry(Some("nobody")), Err(CannotRetry::NotRun("nobody".to_owned())));
    assert_eq!(retry(None), Err(CannotRetry::NothingFailed));
}

/// The first step of the new job, on what was stored when it was asked for.
fn taken_up(flow: &Workflow, run: &Played, node: Option<&str>) -> (Step, Step) {
    let planned = retry_from(flow, &run.input, &run.run, node, Timestamp::from_millis(999)).unwrap();
    let stored = Run { plan: planned.plan.clone(), nodes: planned.changed.clone() };
    (take_up(flow, &run.input, &stored), planned)
}

#[test]
fn a_run_that_is_over_when_it_is_planned_ends_with_its_first_step() {
    let flow = graph();
    let (whole, _) = first(&flow, "-");
    let (step, planned) = taken_up(&flow, &whole, Some("o"));
    assert_eq!((step.end, step.opened.len()), (Some(whole.end), 0));
    assert!(planned.end.is_some());

    // A loop without a body fails where it begins.
    let nodes = [("s", "start", json!({})), ("l", "whileLoop", json!({"conditionPrompt": "?", "loopMode": "fixed"}))];
    let flow = workflow(&document(&nodes, &["s - l"]));
    let failed = Play::new(&flow, "in").play(&mut players("-", &mut vec![]));
    let (step, planned) = taken_up(&flow, &failed, None);
    assert_eq!(failed.failure().0, "l");
    assert_eq!((&step.end, &planned.end), (&Some(failed.end.clone()), &Some(failed.end)));
}

#[test]
fn the_first_step_tells_of_every_node_that_is_kept_and_of_those_that_begin() {
    let flow = graph();
    let (failed, _) = first(&flow, "y#2");
    let (step, planned) = taken_up(&flow, &failed, None);
    let kept = view(&flow, &Run { plan: planned.plan, nodes: planned.changed });
    let begun = kept.node_states.iter().filter(|(_, node)| node.status != NodeStatus::Pending);
    let expected: BTreeMap<_, _> =
        begun.map(|(id, node)| (id.clone(), (node.status, node.output.clone(), node.iteration))).collect();
    let told = step.events.iter().map(|it| (it.key.shown(), (it.status, it.output.clone(), it.iteration)));
    let told: Vec<_> = told.collect();
    assert_eq!(told.iter().cloned().collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(told.len(), expected.len(), "each once");
    assert_eq!(expected["x#1"], (NodeStatus::Completed, Some("<x#1>".to_owned()), Some(1)));
    assert_eq!((expected["y#2"].0, expected["l"].0), (NodeStatus::Active, NodeStatus::Active));
    assert!(told.is_sorted_by_key(|(_, (status, ..))| !status.is_settled()), "{told:?}");
}
