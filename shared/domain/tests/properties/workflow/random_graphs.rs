//! Random sound graphs, run with a model that answers by name and with lanes that settle in any order.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    time::Timestamp,
    workflow::{Call, CallResult, NodeError, NodeErrorCode, NodeStatus, Work, Workflow, retry_from},
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::driver::{Play, Played, Players, document, workflow};

/// One node in the making: its kind, and which earlier ways out it hangs on.
#[derive(Debug, Clone)]
struct Sketch {
    kind: u8,
    parents: Vec<prop::sample::Index>,
    option: u8,
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let sketch = (0..9_u8, vec(any::<prop::sample::Index>(), 1..4), any::<u8>())
        .prop_map(|(kind, parents, option)| Sketch { kind, parents, option });
    vec(sketch, 1..14)
}

/// A way out of a node, and the loop whose body it is in.
type Exit = (String, String, Option<usize>);

/// A sound document: every node hangs on ways out of earlier ones; bodies of loops do not lead out of them.
fn drawn(sketches: &[Sketch], inner: Option<&Value>) -> Value {
    let mut nodes: Vec<(String, &str, Value)> = vec![("s".to_owned(), "start", json!({}))];
    let mut edges: BTreeSet<(String, String, String)> = BTreeSet::new();
    let mut exits: Vec<Exit> = vec![("s".to_owned(), "output".to_owned(), None)];
    for (n, sketch) in sketches.iter().enumerate() {
        let id = format!("n{n}");
        let first = sketch.parents[0].get(&exits).clone();
        let body = first.2;
        let mut hung = vec![first];
        hung.extend(sketch.parents[1..].iter().map(|it| it.get(&exits).clone()).filter(|exit| exit.2 == body));
        // A loop's body has one entry, and ends without an edge back.
        if hung.iter().any(|exit| exit.1 == "body") {
            hung.truncate(1);
            if hung[0].1 != "body" || edges.iter().any(|edge| edge.0 == hung[0].0 && edge.1 == "body") {
                hung[0] = ("s".to_owned(), "output".to_owned(), None);
            }
        }
        let inside = match hung[0].1.as_str() {
            "body" => hung[0].0[1..].parse().ok(),
            _ => hung[0].2,
        };
        for (source, handle, _) in hung {
            edges.insert((source, handle, id.clone()));
        }
        let mode = ["continue", "branch"][usize::from(sketch.option / 2 % 2)];
        let errors = json!({"mode": mode});
        let (kind, data, handles): (&str, Value, Vec<&str>) = match sketch.kind {
            0 | 1 => ("agent", json!({"prompt": "p", "errorHandling": errors}), vec!["output", "error"]),
            2 | 3 => (
                "router",
                json!({"fallbackBehavior": "none", "errorHandling": errors}),
                vec!["route-1", "route-2", "error"],
            ),
            4 => {
                let branches = json!([{"id": "p", "label": "P"}, {"id": "q", "label": "Q"}]);
                let merge = sketch.option % 2 == 0;
                let prompt = if sketch.option % 4 == 0 { "merge" } else { "" };
                let data =
                    json!({"branches": branches, "mergeEnabled": merge, "prompt": prompt, "errorHandling": errors});
                ("parallel", data, if merge { vec!["merged", "error"] } else { vec!["p", "q", "error"] })
            }
            5 | 6 => {
                let fixed = if sketch.option % 2 == 0 { "fixed" } else { "condition" };
                let max = 1 + sketch.option % 3;
                let data =
                    json!({"conditionPrompt": "?", "loopMode": fixed, "maxIterations": max, "errorHandling": errors});
                ("whileLoop", data, vec!["body", "done", "error"])
            }
            7 if inner.is_some() => {
                let share = sketch.option % 2 == 0;
                (
                    "subflow",
                    json!({"subflowId": "inner", "shareSession": share, "errorHandling": errors}),
                    vec!["output", "error"],
                )
            }
            7 => ("tool", json!({"toolId": "t", "arguments": {"a": "{{input}}"}}), vec!["output", "error"]),
            _ => ("output", json!({}), vec![]),
        };
        exits.extend(handles.iter().map(|handle| (id.clone(), (*handle).to_owned(), inside)));
        nodes.push((id, kind, data));
    }
    // A router has to lead somewhere.
    for (id, kind, _) in nodes.clone() {
        if kind == "router" && !edges.iter().any(|edge| edge.0 == id && edge.1 != "error") {
            let end = format!("end-of-{id}");
            edges.insert((id, "route-1".to_owned(), end.clone()));
            nodes.push((end, "output", json!({})));
        }
    }
    let nodes: Vec<(&str, &str, Value)> =
        nodes.iter().map(|(id, kind, data)| (id.as_str(), *kind, data.clone())).collect();
    let edges: Vec<String> =
        edges.iter().map(|(source, handle, target)| format!("{source} {handle} {target}")).collect();
    let mut document = document(&nodes, &edges.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(inner) = inner {
        document["subflows"] = json!({"inner": inner});
    }
    document
}

fn flows() -> impl Strategy<Value = Value> {
    (sketches(), sketches()).prop_map(|(root, inner)| drawn(&root, Some(&drawn(&inner, None))))
}

/// Answers depend on what is asked, and on nothing else; lanes go on in the order of the dice.
struct Dice {
    order: Vec<usize>,
    at: usize,
    calls: BTreeMap<String, usize>,
    /// Whether calls fail by themselves.
    fails: bool,
    /// The call that fails in any case.
    breaks_at: Option<usize>,
}

impl Players for Dice {
    fn call(&mut self, work: &Work) -> CallResult {
        let kind = match &work.call {
            Call::Agent { .. } | Call::Tool { .. } => "own",
            Call::Choose { messages, .. } => &format!("choose {}", serde_json::to_string(messages).unwrap()),
            Call::Complete { .. } => "merge",
        };
        *self.calls.entry(format!("{} {kind}", work.node)).or_default() += 1;
        let n_calls = self.calls.values().sum::<usize>();
        let digest = Sha256::digest(format!("{} {:?}", work.node, work.call));
        let (fate, mark) = (digest[0], digest[1]);
        match &work.call {
            _ if (self.fails && fate < 40) || self.breaks_at == Some(n_calls) => CallResult::Failed(NodeError {
                message: format!("broken {mark}"),
                code: NodeErrorCode::Network,
                node_id: String::new(),
                status_code: None,
            }),
            Call::Choose { tool, .. } if tool == "decide" => {
                let chosen = Some(json!({"continue": fate % 3 > 0}));
                CallResult::Answered { text: String::new(), chosen, at_limit: 0 }
            }
            Call::Choose { schema, .. } => {
                let ids = schema["properties"]["route_id"]["enum"].as_array().unwrap();
                let id = ids.get(usize::from(mark) % (ids.len() + 1)).cloned().unwrap_or(json!("nonsense"));
                CallResult::Answered { text: String::new(), chosen: Some(json!({"route_id": id})), at_limit: 0 }
            }
            _ => CallResult::Answered { text: format!("<{} {mark}>", work.node), chosen: None, at_limit: 0 },
        }
    }

    fn pick(&mut self, lanes: usize) -> usize {
        self.at += 1;
        self.order.get(self.at % self.order.len().max(1)).copied().unwrap_or(0) % lanes
    }
}

fn run(flow: &Workflow, order: &[usize]) -> (Played, BTreeMap<String, usize>) {
    let mut dice = Dice { order: order.to_vec(), at: 0, calls: BTreeMap::new(), fails: true, breaks_at: None };
    let played = Play::new(flow, "the user's text").play(&mut dice);
    (played, dice.calls)
}

/// The same document with nodes whose failure is the run's.
fn strict(mut document: Value) -> Value {
    let strict = |document: &mut Value| {
        for node in document["nodes"].as_array_mut().unwrap() {
            node["data"]["errorHandling"] = json!({"mode": "stop"});
        }
    };
    strict(&mut document["subflows"]["inner"]);
    strict(&mut document);
    document
}

/// Everything that happened to a node, in order.
fn statuses(played: &Played) -> BTreeMap<String, Vec<NodeStatus>> {
    let mut statuses: BTreeMap<String, Vec<NodeStatus>> = BTreeMap::new();
    for event in &played.events {
        statuses.entry(event.key.shown()).or_default().push(event.status);
    }
    statuses
}

/// The outcome without what is inside loops and subflows.
fn outside(played: &Played) -> Vec<(String, NodeStatus, Option<String>, Option<String>)> {
    let nodes = played.view.node_states.iter().filter(|(id, _)| !id.contains(['#', '/']));
    let nodes = nodes.map(|(id, node)| (id.clone(), node.status, node.output.clone(), node.route.clone()));
    nodes
        .chain([(played.view.execution_order.join(" "), NodeStatus::Completed, Some(played.output().to_owned()), None)])
        .collect()
}

fn status(played: &Played, shown: &str) -> Option<NodeStatus> {
    played.run.plan.nodes.iter().find(|(key, _)| key.shown() == shown).map(|(_, state)| state.status)
}

/// The branches that have failed without their node having failed.
fn given_up(played: &Played) -> Vec<String> {
    let goes_on = |id: &String| {
        let node = id.rsplit_once(':').and_then(|(node, _)| status(played, node));
        status(played, id) == Some(NodeStatus::Error) && node == Some(NodeStatus::Completed)
    };
    played.run.plan.nodes.keys().map(domain::workflow::NodeKey::shown).filter(goes_on).collect()
}

fn failed(played: &Played) -> bool {
    played.run.plan.ended != Some(domain::workflow::Ended::Completed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_node_settles_exactly_once_and_is_called_once(document in flows(), order in vec(0..50_usize, 1..60)) {
        let flow = workflow(&document);
        let (played, calls) = run(&flow, &order);
        prop_assert!(calls.values().all(|times| *times == 1), "{:?}", calls);
        for (node, statuses) in statuses(&played) {
            let ends = statuses.iter().filter(|status| status.is_settled()).count();
            prop_assert_eq!(ends, 1, "{} {:?}", node, statuses);
            prop_assert!(statuses.last().unwrap().is_settled());
        }
        // A run that came to its end has left nothing pending.
        let pending = played.view.node_states.values().any(|node| !node.status.is_settled());
        prop_assert!(failed(&played) || !pending);
        prop_assert!(played.run.plan.lanes.is_empty());
        prop_assert!(played.view.current_node_ids.is_empty());
    }

    #[test]
    fn the_order_of_execution_is_one_of_the_graph(document in flows(), order in vec(0..50_usize, 1..60)) {
        let flow = workflow(&document);
        let (played, _) = run(&flow, &order);
        let place: BTreeMap<&str, usize> =
            played.view.execution_order.iter().enumerate().map(|(n, id)| (id.as_str(), n)).collect();
        prop_assert_eq!(place.len(), played.view.execution_order.len());
        let taken: BTreeMap<String, &[usize]> =
            played.run.plan.nodes.iter().map(|(key, state)| (key.shown(), &state.taken[..])).collect();
        for (n, edge) in flow.root.edges.iter().enumerate() {
            let ends = (&flow.root.nodes[edge.source].id, &flow.root.nodes[edge.target].id);
            if !taken.get(ends.0).is_some_and(|taken| taken.contains(&n)) {
                continue;
            }
            if let (Some(before), Some(after)) = (place.get(ends.0.as_str()), place.get(ends.1.as_str())) {
                prop_assert!(before < after, "{:?}", ends);
            }
        }
    }

    #[test]
    fn what_no_way_led_to_is_skipped_and_nothing_else(document in flows(), order in vec(0..50_usize, 1..60)) {
        let flow = workflow(&document);
        let (played, _) = run(&flow, &order);
        if failed(&played) {
            return Ok(());
        }
        let states = &played.run.plan.nodes;
        let named = |id: &str| states.iter().find(|(key, _)| key.shown() == id).map(|(_, state)| state);
        for (n, node) in flow.root.nodes.iter().enumerate().skip(1) {
            let Some(state) = named(&node.id) else { continue };
            let taken = flow.root.edges.iter().enumerate().any(|(e, edge)| {
                edge.target == n && named(&flow.root.nodes[edge.source].id).is_some_and(|source| source.taken.contains(&e))
            });
            prop_assert_eq!(state.status == NodeStatus::Skipped, !taken, "{}", node.id);
        }
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_order_of_settling(
        document in flows(), one in vec(0..50_usize, 1..60), other in vec(0..50_usize, 1..60)
    ) {
        let flow = workflow(&document);
        let (one, calls_of_one) = run(&flow, &one);
        let (other, calls_of_other) = run(&flow, &other);
        prop_assert_eq!(failed(&one), failed(&other));
        // What siblings have come to when something fails, and which of two failures is the first, is a matter of time.
        if failed(&one) {
            return Ok(());
        }
        let fails_inside = one.run.plan.nodes.values().any(|state| state.status == NodeStatus::Error && !state.in_order);
        if fails_inside {
            prop_assert_eq!(outside(&one), outside(&other));
        } else {
            prop_assert_eq!(one.outcome(), other.outcome());
            prop_assert_eq!(calls_of_one, calls_of_other);
        }
    }

    #[test]
    fn a_run_that_failed_and_was_retried_ends_as_if_nothing_had_failed(
        document in flows(), order in vec(0..50_usize, 1..60), breaks_at in 1..12_usize
    ) {
        let flow = workflow(&strict(document));
        let dice = |breaks_at| Dice { order: order.clone(), at: 0, calls: BTreeMap::new(), fails: false, breaks_at };
        let whole = Play::new(&flow, "in").play(&mut dice(None));
        let mut first = dice(Some(breaks_at));
        let broken = Play::new(&flow, "in").play(&mut first);
        if !failed(&broken) || failed(&whole) {
            // Too few calls, one of several branches, or a loop without a body.
            return Ok(());
        }
        let step = retry_from(&flow, &broken.input, &broken.run, None, Timestamp::from_millis(5)).unwrap();
        let kept: BTreeSet<String> = step.plan.nodes.iter().filter(|(_, state)| state.status == NodeStatus::Completed)
            .map(|(key, _)| key.shown()).collect();
        let mut second = dice(None);
        let retried = Play::from(&flow, broken.input.clone(), step).play(&mut second);
        prop_assert!(!second.calls.keys().any(|call| call.ends_with(" own") && kept.contains(call.trim_end_matches(" own"))));
        // What broke may have been a branch that its node goes on without, so that what came after it was told something
        // else, and failed of that. The branch stands as it is then, and what is run anew is told the same as before.
        let given_up = given_up(&broken);
        if given_up.is_empty() {
            prop_assert_eq!(retried.outcome(), whole.outcome());
        }
        for branch in given_up {
            prop_assert_eq!(status(&retried, &branch), Some(NodeStatus::Error), "{}", branch);
        }
    }
}

#[test]
fn the_random_graphs_have_everything_in_them() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..400 {
        let flow = workflow(&flows().new_tree(&mut runner).unwrap().current());
        let (played, _) = run(&flow, &[3, 1, 4, 1, 5, 9, 2, 6]);
        let keys: Vec<String> = played.run.plan.nodes.keys().map(domain::workflow::NodeKey::shown).collect();
        let mut see = |what, seen_here: bool| *seen.entry(what).or_default() += usize::from(seen_here);
        see("iterations", keys.iter().any(|key| key.contains("#2")));
        see("loops in loops", keys.iter().any(|key| key.contains("#1.1")));
        see("subflows", keys.iter().any(|key| key.contains('/')));
        see("branches", keys.iter().any(|key| key.contains(':')));
        see("errors", played.view.node_states.values().any(|node| node.status == NodeStatus::Error));
        see("skips", played.view.node_states.values().any(|node| node.status == NodeStatus::Skipped));
        see("routes", played.view.node_states.values().any(|node| node.route.is_some()));
        see("joins", {
            let target = |n: usize| flow.root.edges.iter().filter(|edge| edge.target == n).count();
            (0..flow.root.nodes.len()).any(|n| target(n) > 1 && keys.contains(&flow.root.nodes[n].id))
        });
        see("completed", !failed(&played));
        see("failed", failed(&played));
    }
    assert!(seen.values().all(|times| *times >= 3), "{seen:?}");
}
