//! Large workflows, and names that no lane could have.

use domain::workflow::{Known, MAX_DEPTH, MAX_LANES, MAX_TOUCHED, NodeStatus, RunEnd, Work};
use serde_json::{Value, json};

use super::driver::{Play, checked, document, known, said, workflow};

fn short(work: &Work) -> domain::workflow::CallResult {
    said(&format!("<{}>", work.node.shown()))
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n:03}")).collect()
}

/// A start, so many agents side by side, and an output behind all.
fn wide(count: usize) -> Value {
    let ids = ids(count);
    let mut nodes = vec![("s", "start", json!({}))];
    nodes.extend(ids.iter().map(|id| (id.as_str(), "agent", json!({"prompt": "p"}))));
    nodes.push(("o", "output", json!({})));
    let edges: Vec<String> = ids.iter().flat_map(|id| [format!("s - {id}"), format!("{id} - o")]).collect();
    document(&nodes, &edges.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_line_of_200_nodes_runs_to_its_end() {
    let ids = ids(198);
    let mut nodes = vec![("s", "start", json!({}))];
    nodes.extend(ids.iter().map(|id| (id.as_str(), "agent", json!({"prompt": "p"}))));
    nodes.push(("o", "output", json!({"sources": ["n197"]})));
    let line: Vec<&str> = nodes.iter().map(|node| node.0).collect();
    let edges: Vec<String> = line.windows(2).map(|pair| format!("{} output {}", pair[0], pair[1])).collect();
    let flow = workflow(&document(&nodes, &edges.iter().map(String::as_str).collect::<Vec<_>>()));
    let played = Play::new(&flow, "in").play(&mut short);
    assert_eq!(played.output(), "<n197>");
    assert_eq!(played.view.execution_order, line);
    assert!(played.plan_bytes < 40_000, "{} bytes", played.plan_bytes);
}

#[test]
fn two_hundred_nodes_side_by_side_are_opened_in_portions_and_all_run() {
    let flow = workflow(&wide(198));
    let played = Play::new(&flow, "in").play(&mut short);
    assert_eq!(played.output().split("\n\n").count(), 198);
    assert!(played.plan_bytes < 60_000, "{} bytes", played.plan_bytes);
}

#[test]
fn no_more_lanes_are_open_at_once_than_one_transaction_can_close() {
    let flow = workflow(&wide(198));
    let play = Play::new(&flow, "in");
    assert!((40..MAX_LANES).contains(&play.open.len()), "{} lanes", play.open.len());
    assert!(!play.open.keys().any(|lane| lane.as_str().contains(":onward")), "whichever settles next goes on");
    let played = play.play(&mut short);
    assert_eq!(played.view.execution_order.len(), 200);
}

#[test]
fn a_parallel_node_of_50_branches_and_one_of_150() {
    for count in [50, 150] {
        let branches: Vec<Value> =
            (0..count).map(|n| json!({"id": format!("b{n}"), "label": format!("B{n}")})).collect();
        let fan = ("f", "parallel", json!({"branches": branches, "prompt": "MERGE", "model": "m"}));
        let flow =
            workflow(&document(&[("s", "start", json!({})), fan, ("o", "output", json!({}))], &["s - f", "f - o"]));
        let played = Play::new(&flow, "in").play(&mut |work: &Work| match &work.call {
            domain::workflow::Call::Complete { messages, .. } => {
                said(&serde_json::to_string(messages).unwrap().matches("## B").count().to_string())
            }
            _ => short(work),
        });
        assert_eq!(played.output(), count.to_string());
    }
}

#[test]
fn three_hundred_outputs_in_a_row_are_settled_in_portions_that_a_transaction_can_write() {
    let ids = ids(300);
    let mut nodes = vec![("s", "start", json!({}))];
    nodes.extend(ids.iter().map(|id| (id.as_str(), "output", json!({}))));
    let edges: Vec<String> = ids.iter().map(|id| format!("s - {id}")).collect();
    let flow = workflow(&document(&nodes, &edges.iter().map(String::as_str).collect::<Vec<_>>()));
    let played = Play::new(&flow, "in").play(&mut short);
    assert_eq!((played.output(), played.view.execution_order.len()), ("in", 301));
    assert!((3..=6).contains(&played.n_steps), "{} steps", played.n_steps);
}

#[test]
fn large_outputs_are_settled_in_portions_too() {
    let ids = ids(20);
    let mut nodes = vec![("s", "start", json!({}))];
    nodes.extend(ids.iter().map(|id| (id.as_str(), "output", json!({}))));
    let edges: Vec<String> = ids.iter().map(|id| format!("s - {id}")).collect();
    let flow = workflow(&document(&nodes, &edges.iter().map(String::as_str).collect::<Vec<_>>()));
    let played = Play::new(&flow, &"x".repeat(1_000_000)).play(&mut short);
    assert!(played.n_steps >= 7, "{} steps", played.n_steps);
}

#[test]
fn subflows_run_to_the_limit_of_their_nesting() {
    let (start, end) = (("s", "start", json!({})), ("o", "output", json!({})));
    let inner = |n: usize| {
        let sub = ("x", "subflow", json!({"subflowId": format!("f{}", n + 1)}));
        let agent = ("x", "agent", json!({"prompt": "p"}));
        let node = if n == MAX_DEPTH { agent } else { sub };
        document(&[start.clone(), node, end.clone()], &["s - x", "x - o"])
    };
    let known = Known { subflows: (1..=MAX_DEPTH).map(|n| (format!("f{n}"), inner(n))).collect(), ..known() };
    let flow = checked(&inner(0), &known).workflow;
    let played = Play::new(&flow, "in").play(&mut short);
    assert_eq!(played.output(), format!("<{}x>", "x/".repeat(MAX_DEPTH)));
}

#[test]
fn a_run_that_touches_too_many_nodes_fails_and_its_plan_stays_an_item() {
    let nodes = [
        ("s", "start", json!({})),
        (
            "l",
            "whileLoop",
            json!({"loopMode": "fixed", "maxIterations": 4000000, "includePreviousOutputs": false, "errorHandling": {"mode": "continue"}}),
        ),
        ("a-node-with-the-36-letters-of-a-uuid", "output", json!({"useRawTemplate": true})),
        ("a-note-with-the-36-letters-of-a-uuid", "output", json!({"useRawTemplate": true})),
        ("o", "output", json!({})),
    ];
    let edges = [
        "s - l",
        "l body a-node-with-the-36-letters-of-a-uuid",
        "l body a-note-with-the-36-letters-of-a-uuid",
        "l done o",
    ];
    let flow = workflow(&document(&nodes, &edges));
    let played = Play::new(&flow, "in").play(&mut short);
    assert!(
        matches!(&played.end, RunEnd::Failed { error, .. } if error.message.contains(&MAX_TOUCHED.to_string())),
        "{:?}",
        played.end
    );
    assert!(played.plan_bytes < 400_000, "{} bytes", played.plan_bytes);
}

#[test]
fn nodes_may_be_called_anything() {
    let odd = ["main", "a b", "a/b", "a#1", "a:b", "é", "%2F", "x@y", "\u{1F600}"];
    let long = "long ".repeat(100);
    let mut nodes = vec![("s", "start", json!({}))];
    let all: Vec<&str> = odd.iter().copied().chain([long.as_str()]).collect();
    nodes.extend(all.iter().map(|id| (*id, "agent", json!({"prompt": "p"}))));
    nodes.push(("o", "output", json!({})));
    let mut flow = document(&nodes, &[]);
    let mut edges = vec![];
    for id in &all {
        edges.push(json!({"id": format!("in {id}"), "source": "s", "target": id}));
        edges.push(json!({"id": format!("out {id}"), "source": id, "target": "o"}));
    }
    flow["edges"] = json!(edges);
    let flow = workflow(&flow);
    let played = Play::new(&flow, "in").play(&mut short);
    for id in all {
        assert_eq!(
            (played.status_of(id), played.output_of(id)),
            (NodeStatus::Completed, Some(format!("<{id}>").as_str()))
        );
    }
}

/// Each level would ask all of the level around for each of its own: ten to the power of ten evaluations.
#[test]
fn ten_inputs_are_passed_down_ten_subflows_with_one_look_at_each_level() {
    let names: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    let mapped = |to: &dyn Fn(&str) -> String| -> Value {
        names.iter().map(|name| (name.clone(), Value::from(to(name)))).collect::<serde_json::Map<_, _>>().into()
    };
    let level = |id: &str, mappings: Value| {
        let sub = json!({"subflowId": id, "inputMappings": mappings});
        let nodes = [("s", "start", json!({})), ("sub", "subflow", sub), ("o", "output", json!({"sources": ["sub"]}))];
        document(&nodes, &["s - sub", "sub - o"])
    };
    let placeholder = |name: &str| format!("{{{{{name}}}}}");
    let template = names.iter().map(|name| placeholder(name)).collect::<Vec<_>>().join(" ");
    let ends = [("s", "start", json!({})), ("o", "output", json!({"template": template, "useRawTemplate": true}))];
    let mut subflows = json!({});
    for n in 1..=MAX_DEPTH {
        let mut inner = match n {
            MAX_DEPTH => document(&ends, &["s - o"]),
            _ => level(&format!("l{}", n + 1), mapped(&placeholder)),
        };
        inner["inputs"] = names.iter().map(|name| json!({"id": name, "required": true})).collect();
        subflows[format!("l{n}")] = inner;
    }
    let mut root = level("l1", mapped(&|name| format!("<{name}>")));
    root["subflows"] = subflows;
    let played = Play::new(&workflow(&root), "in").play(&mut short);
    assert_eq!(played.output(), names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" "));
}
