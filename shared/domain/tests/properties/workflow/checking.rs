//! What is found in documents: every code, all at once, and nothing in what the editor makes.

use std::collections::BTreeSet;

use domain::workflow::{Code, Finding, Known, MAX_DEPTH, MAX_NODES, check, subflow_ids};
use serde_json::{Value, json};

use super::driver::{checked, document, known};

fn findings(document: &Value, known: &Known) -> Vec<Finding> {
    match check(document, known) {
        Ok(checked) => checked.warnings,
        Err(findings) => findings,
    }
}

fn agent() -> (&'static str, &'static str, Value) {
    ("a", "agent", json!({"prompt": "p"}))
}

fn start() -> (&'static str, &'static str, Value) {
    ("s", "start", json!({}))
}

fn out() -> (&'static str, &'static str, Value) {
    ("o", "output", json!({"format": "text"}))
}

/// A chain from the start to the output, with this node between.
fn with(kind: &str, data: Value, more: &[&str]) -> Value {
    let edges = [&["s output x", "x - o"], more].concat();
    document(&[start(), ("x", kind, data), out()], &edges)
}

#[test]
fn every_code_has_a_document_that_is_refused_with_it() {
    let (usual, none) = (known(), Known::default());
    let no_tools = Known { tools: Some(BTreeSet::new()), ..known() };
    let inner = document(&[start(), out()], &["s - o"]);
    let mut asking = inner.clone();
    asking["inputs"] = json!([{"id": "topic", "required": true}]);
    let catalogue = Known { subflows: [("inner".to_owned(), asking)].into(), ..known() };
    let long: Vec<(String, &str, Value)> = (0..MAX_NODES).map(|n| (format!("n{n}"), "agent", json!({}))).collect();
    let mut long: Vec<(&str, &str, Value)> =
        long.iter().map(|(id, kind, data)| (id.as_str(), *kind, data.clone())).collect();
    long.push(start());
    let cases: Vec<(Code, Option<&str>, Value, &Known)> = vec![
        (Code::NoStartNode, None, document(&[agent(), out()], &["a output o"]), &usual),
        (
            Code::MultipleStartNodes,
            Some("t"),
            document(&[start(), ("t", "start", json!({})), out()], &["s - o", "t - o"]),
            &usual,
        ),
        (Code::DisconnectedNode, Some("a"), document(&[start(), agent(), out()], &["s - o", "a - o"]), &usual),
        (Code::DisconnectedNode, Some("s"), document(&[start()], &[]), &usual),
        (Code::CycleDetected, Some("x"), with("agent", json!({}), &["x output x"]), &usual),
        (
            Code::CycleDetected,
            Some("x"),
            document(&[start(), ("x", "agent", json!({})), agent(), out()], &["s - x", "x - a", "a - x", "a - o"]),
            &usual,
        ),
        (Code::DanglingEdge, None, with("agent", json!({}), &["x output gone"]), &usual),
        (Code::DanglingEdge, None, with("agent", json!({}), &["gone output x"]), &usual),
        (Code::UnknownHandle, Some("x"), with("agent", json!({}), &["x done o"]), &usual),
        (
            Code::UnknownHandle,
            Some("x"),
            with("router", json!({"routes": [{"id": "r", "label": "R"}]}), &["x q o"]),
            &usual,
        ),
        (Code::UnknownHandle, Some("s"), with("agent", json!({}), &["s rejected x"]), &usual),
        (Code::MissingRequiredPort, Some("a"), document(&[start(), agent(), out()], &["s - o", "a - o"]), &usual),
        (
            Code::MissingRequiredPort,
            Some("x"),
            document(&[start(), ("x", "router", json!({})), agent()], &["s - x", "x error a"]),
            &usual,
        ),
        (Code::MissingModel, Some("x"), with("agent", json!({"prompt": "p"}), &[]), &none),
        (Code::MissingModel, Some("x"), with("router", json!({}), &[]), &none),
        (Code::MissingModel, Some("x"), with("parallel", json!({"branches": [{"id": "b", "label": "B"}]}), &[]), &none),
        (Code::MissingModel, Some("x"), with("whileLoop", json!({"conditionPrompt": "?"}), &[]), &none),
        (
            Code::MissingModel,
            Some("o"),
            document(&[start(), ("o", "output", json!({"mode": "synthesis"}))], &["s - o"]),
            &none,
        ),
        (Code::MissingConditionPrompt, Some("x"), with("whileLoop", json!({"conditionPrompt": "  "}), &[]), &usual),
        (
            Code::InvalidMaxIterations,
            Some("x"),
            with("whileLoop", json!({"loopMode": "fixed", "maxIterations": 0}), &[]),
            &usual,
        ),
        (
            Code::InvalidMaxIterations,
            Some("x"),
            with("whileLoop", json!({"loopMode": "fixed", "maxIterations": 1.5}), &[]),
            &usual,
        ),
        (Code::MissingSubflowId, Some("x"), with("subflow", json!({}), &[]), &usual),
        (Code::SubflowNotFound, Some("x"), with("subflow", json!({"subflowId": "gone"}), &[]), &usual),
        (Code::MissingInputMapping, Some("x"), with("subflow", json!({"subflowId": "inner"}), &[]), &catalogue),
        (Code::UnknownNodeType, Some("x"), with("magic", json!({}), &[]), &usual),
        (Code::UnknownTool, Some("x"), with("agent", json!({"tools": ["saw"]}), &[]), &no_tools),
        (Code::UnknownTool, Some("x"), with("tool", json!({"toolId": "saw"}), &[]), &no_tools),
        (
            Code::UnknownTool,
            Some("x"),
            with("parallel", json!({"branches": [{"id": "b", "label": "B", "tools": ["saw"]}]}), &[]),
            &no_tools,
        ),
        (Code::DataValidationError, Some("x"), with("agent", json!({"temperature": 3}), &[]), &usual),
        (Code::DataValidationError, Some("x"), with("agent", json!({"prompt": 7}), &[]), &usual),
        (
            Code::DataValidationError,
            Some("x"),
            with("whileLoop", json!({"conditionPrompt": "?", "maxIterations": "3"}), &[]),
            &usual,
        ),
        (Code::DataValidationError, Some("x"), with("parallel", json!({"branches": []}), &[]), &usual),
        (Code::DataValidationError, Some("x"), with("tool", json!({}), &[]), &usual),
        (Code::DataValidationError, Some("x"), with("agent", json!({"hitl": {"enabled": true}}), &[]), &usual),
        (
            Code::DataValidationError,
            Some("a"),
            document(&[start(), agent(), agent(), out()], &["s - a", "a - o"]),
            &usual,
        ),
        (Code::DataValidationError, None, document(&long, &["s - n0"]), &usual),
        (Code::DataValidationError, None, json!([]), &usual),
        (
            Code::DataValidationError,
            None,
            json!({"meta": {"version": "3.0.0", "name": "n"}, "nodes": [], "edges": []}),
            &usual,
        ),
        (
            Code::DataValidationError,
            None,
            json!({"meta": {"version": "2.0.0", "name": "n"}, "nodes": {}, "edges": []}),
            &usual,
        ),
    ];
    for (code, node, document, known) in cases {
        let found = check(&document, known).expect_err("it is refused");
        let one = found.iter().find(|finding| finding.code == code && finding.node_id.as_deref() == node);
        assert!(one.is_some(), "{code:?} at {node:?} is not among {found:#?}");
        assert!(!one.unwrap().message.is_empty());
    }
}

#[test]
fn every_warning_comes_back_with_a_document_that_is_accepted() {
    let cases = [
        (Code::EmptyPrompt, Some("x"), with("agent", json!({}), &[])),
        (
            Code::EmptyPrompt,
            Some("o"),
            document(&[start(), ("o", "output", json!({"template": "no name"}))], &["s - o"]),
        ),
        (Code::DeadEndNode, Some("a"), document(&[start(), agent()], &["s - a"])),
        (Code::DeadEndNode, Some("x"), with("parallel", json!({"branches": [{"id": "b", "label": "B"}]}), &[])),
        (
            Code::DuplicateSourceHandle,
            Some("s"),
            document(&[start(), agent(), out()], &["s output a", "s output o", "a - o"]),
        ),
        (Code::MissingEdgeLabel, Some("x"), with("router", json!({}), &[])),
        (
            Code::MissingEdgeLabel,
            Some("x"),
            with("parallel", json!({"mergeEnabled": false, "branches": [{"id": "b", "label": "B"}]}), &[]),
        ),
        (Code::MissingBody, Some("x"), with("whileLoop", json!({"conditionPrompt": "?"}), &[])),
        (Code::NoOutput, None, document(&[start(), agent()], &["s - a"])),
        (Code::NoOutput, Some("o"), document(&[start(), out(), agent()], &["s - o", "s - a", "o - a"])),
    ];
    for (code, node, document) in cases {
        let warnings = checked(&document, &known()).warnings;
        let there = warnings.iter().any(|it| it.code == code && it.node_id.as_deref() == node && it.code.is_warning());
        assert!(there, "{code:?} at {node:?} is not among {warnings:#?}");
    }
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let document = json!({
        "meta": {"version": 2},
        "nodes": [
            {"id": "x", "type": "agent", "data": {"label": 1, "prompt": 2, "temperature": "hot", "tools": "all", "maxTokens": 0,
                "errorHandling": {"mode": "ignore", "retry": {"maxRetries": -1}}, "hitl": {"enabled": "yes", "mode": "ask"}}},
            {"id": "y", "type": "magic"},
            {"id": "z", "type": "output", "data": {"format": "pdf"}},
            7,
        ],
        "edges": [{"source": "x", "target": "nowhere"}, {"source": "y", "target": "x"}],
    });
    let found = findings(&document, &Known::default());
    let texts: Vec<String> = found.iter().map(|it| format!("{:?} {:?} {}", it.code, it.node_id, it.message)).collect();
    for part in [
        "`meta.version` must be text",
        "`meta.name` must be there",
        "`data.label`",
        "`data.prompt`",
        "`data.temperature`",
        "`data.tools`",
        "`data.maxTokens`",
        "`data.errorHandling.mode`",
        "`data.errorHandling.retry.maxRetries`",
        "`data.hitl.enabled`",
        "`data.hitl.mode`",
        "`magic` is no node type",
        "`data.format`",
        "`nodes[3].`",
        "`nowhere`",
        "MissingModel Some(\"x\")",
        "NoStartNode",
        "MissingRequiredPort Some(\"z\")",
    ] {
        let part = part.replace("`nodes[3].`", "`nodes[3]`");
        assert!(texts.iter().any(|text| text.contains(&part)), "{part} is not in {texts:#?}");
    }
    // An edge at a node of unknown type is not said to dangle.
    assert_eq!(found.iter().filter(|it| it.code == Code::DanglingEdge).count(), 1);
}

#[test]
fn what_is_unknown_is_passed_over_and_null_is_absent() {
    let mut document = with("condition", json!({"status": "idle", "model": null, "routes": null, "prompt": null}), &[]);
    document["viewport"] = json!({"zoom": 1});
    document["edges"][0]["sourceHandle"] = Value::Null;
    document["edges"][0]["animated"] = json!(true);
    assert_eq!(findings(&document, &known()).iter().filter(|it| !it.code.is_warning()).count(), 0);
}

/// A chain of workflows of which each names the next.
fn chain(length: usize) -> Known {
    let named = |n: usize| {
        let inner = ("x", "subflow", json!({"subflowId": format!("f{}", n + 1)}));
        if n == length {
            document(&[start(), out()], &["s - o"])
        } else {
            document(&[start(), inner, out()], &["s - x", "x - o"])
        }
    };
    Known { subflows: (1..=length).map(|n| (format!("f{n}"), named(n))).collect(), ..known() }
}

#[test]
fn subflows_may_be_nested_ten_deep_and_no_deeper() {
    let root = with("subflow", json!({"subflowId": "f1"}), &[]);
    assert_eq!(checked(&root, &chain(MAX_DEPTH)).workflow.subflows.len(), MAX_DEPTH);
    let found = check(&root, &chain(MAX_DEPTH + 1)).expect_err("it is one too deep");
    assert!(
        found.iter().any(|it| it.code == Code::DataValidationError && it.message.contains("deeper than 10")),
        "{found:#?}"
    );
}

#[test]
fn a_workflow_that_holds_itself_is_refused() {
    let loops = |to: &str| document(&[start(), ("x", "subflow", json!({"subflowId": to})), out()], &["s - x", "x - o"]);
    let known = Known { subflows: [("a".to_owned(), loops("b")), ("b".to_owned(), loops("a"))].into(), ..known() };
    let found = check(&loops("a"), &known).expect_err("it would never end");
    assert!(found.iter().any(|it| it.code == Code::CycleDetected && it.message.contains("a → b → a")), "{found:#?}");
}

#[test]
fn subflows_are_named_for_who_fetches_them_and_may_come_with_the_document() {
    let named = |id: &str| ("x", "subflow", json!({"subflowId": id}));
    let inner = document(&[start(), named("other"), out()], &["s - x", "x - o"]);
    let mut root = document(
        &[start(), named("brought"), ("y", "subflow", json!({"subflowId": "kept"})), out()],
        &["s - x", "x - y", "y - o"],
    );
    root["subflows"] = json!({"brought": inner});
    assert_eq!(subflow_ids(&root), ["kept".to_owned(), "other".to_owned()].into());
    let end = document(&[start(), out()], &["s - o"]);
    let subflows =
        [("kept".to_owned(), end.clone()), ("other".to_owned(), json!({"id": "other", "name": "O", "workflow": end}))];
    let known = Known { subflows: subflows.into(), ..known() };
    assert_eq!(checked(&root, &known).workflow.subflows.into_keys().collect::<Vec<_>>(), ["brought", "kept", "other"]);
}

#[test]
fn findings_within_a_subflow_name_the_way_to_the_node() {
    let inner = document(&[start(), ("bad", "agent", json!({"temperature": 9})), out()], &["s - bad", "bad - o"]);
    let known = Known { subflows: [("inner".to_owned(), inner)].into(), ..known() };
    let found =
        check(&with("subflow", json!({"subflowId": "inner"}), &[]), &known).expect_err("the inner one is wrong");
    assert!(found.iter().any(|it| it.node_id.as_deref() == Some("x/bad")), "{found:#?}");
}

/// Nesting multiplies: each names the next thirty times.
#[test]
fn a_catalogue_that_multiplies_is_checked_once_for_each_document() {
    let named = |n: usize| {
        let ids: Vec<String> = (0..30).map(|m| format!("x{m}")).collect();
        let data = json!({"subflowId": format!("f{}", n + 1)});
        let mut nodes = vec![start()];
        nodes.extend(ids.iter().filter(|_| n < MAX_DEPTH).map(|id| (id.as_str(), "subflow", data.clone())));
        nodes.push(out());
        let edges: Vec<String> = ids.iter().filter(|_| n < MAX_DEPTH).map(|id| format!("s - {id}")).collect();
        let mut edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        edges.push("s - o");
        document(&nodes, &edges)
    };
    let known = Known { subflows: (1..=MAX_DEPTH).map(|n| (format!("f{n}"), named(n))).collect(), ..known() };
    assert_eq!(checked(&named(0), &known).workflow.subflows.len(), MAX_DEPTH);
}
