//! The shape of a workflow, as far as a tree of its nodes needs it: names, order, and what belongs to which loop. Read
//! leniently from a document that the API has accepted, or will refuse; or from the graph in the answer about a job, which
//! has names and order alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The shape of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// Its nodes, each after those that lead to it.
    pub(super) nodes: Vec<Sketch>,
}

/// A node in an outline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    pub(super) id: String,
    pub(super) label: String,
    /// The loop whose body it is in.
    pub(super) within: Option<String>,
    /// Of a parallel node: ids and names.
    pub(super) branches: Vec<(String, String)>,
    /// Of a router: the names of its routes by their ids.
    pub(super) routes: BTreeMap<String, String>,
    /// Of a loop.
    pub(super) most_iterations: Option<u64>,
}

impl Outline {
    /// The outline of a document.
    pub(super) fn of(document: &Value) -> Self {
        let nodes = array(&document["nodes"]);
        let ids: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap_or_default()).collect();
        let at = |id: &Value| ids.iter().position(|known| Some(*known) == id.as_str());
        let edges: Vec<(usize, usize, &Value)> = array(&document["edges"])
            .iter()
            .filter_map(|edge| Some((at(&edge["source"])?, at(&edge["target"])?, edge)))
            .collect();
        let mut sketches: Vec<Sketch> = nodes.iter().map(sketch).collect();
        for (node, target, edge) in &edges {
            // A route without a name of its own is called as its edge, or as what it leads to.
            if let Some(route) = edge["sourceHandle"].as_str().filter(|_| is(&nodes[*node], &["router", "condition"])) {
                let name = edge["label"].as_str().map_or_else(|| sketches[*target].label.clone(), str::to_owned);
                sketches[*node].routes.entry(route.to_owned()).or_insert(name);
            }
        }
        for (node, body) in bodies(nodes, &edges) {
            for inner in body {
                sketches[inner].within = Some(ids[node].to_owned());
            }
        }
        let nodes = in_order(nodes.len(), &edges).into_iter().map(|n| std::mem::take(&mut sketches[n])).collect();
        Self { nodes }
    }

    /// A node's place in the order, and the node.
    pub(super) fn node(&self, id: &str) -> Option<(usize, &Sketch)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.id == id)
    }
}

fn sketch(node: &Value) -> Sketch {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&node["id"]);
    let data = &node["data"];
    let named =
        |item: &Value| (text(&item["id"]), item["label"].as_str().map_or_else(|| text(&item["id"]), str::to_owned));
    let items = |member: &str| array(&data[member]).iter().map(named);
    Sketch {
        label: data["label"]
            .as_str()
            .or(node["label"].as_str())
            .filter(|label| !label.trim().is_empty())
            .unwrap_or(&id)
            .to_owned(),
        branches: if is(node, &["parallel"]) { items("branches").collect() } else { Vec::new() },
        routes: items("routes").collect(),
        most_iterations: if is(node, &["whileLoop"]) { data["maxIterations"].as_u64() } else { None },
        within: None,
        id,
    }
}

/// The loops with the nodes that hang on their body edges; a loop around another one comes before it.
fn bodies(nodes: &[Value], edges: &[(usize, usize, &Value)]) -> Vec<(usize, BTreeSet<usize>)> {
    let loops = nodes.iter().enumerate().filter(|(_, node)| is(node, &["whileLoop"]));
    let mut bodies: Vec<(usize, BTreeSet<usize>)> = loops
        .map(|(n, _)| {
            let begins = edges.iter().filter(|(source, _, edge)| *source == n && edge["sourceHandle"] == "body");
            let mut open: Vec<usize> = begins.map(|(_, target, _)| *target).collect();
            let mut body = BTreeSet::new();
            while let Some(node) = open.pop() {
                if node != n && body.insert(node) {
                    open.extend(edges.iter().filter(|(source, ..)| *source == node).map(|(_, target, _)| *target));
                }
            }
            (n, body)
        })
        .collect();
    bodies.sort_by_key(|(_, body)| std::cmp::Reverse(body.len()));
    bodies
}

/// Nodes after those that lead to them, otherwise as in the document; what is in a circle comes last.
fn in_order(n: usize, edges: &[(usize, usize, &Value)]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(n);
    let mut left: Vec<usize> = (0..n).collect();
    while !left.is_empty() {
        let ready = left.iter().position(|node| edges.iter().all(|(from, to, _)| to != node || order.contains(from)));
        order.push(left.remove(ready.unwrap_or(0)));
    }
    order
}

fn is(node: &Value, kinds: &[&str]) -> bool {
    node["type"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_come_after_those_that_lead_to_them_and_know_their_innermost_loop() {
        let node = |id: &str, kind: &str| json!({"id": id, "type": kind, "data": {"label": id.to_uppercase()}});
        let edge = |source: &str, handle: &str, target: &str| json!({"source": source, "sourceHandle": handle, "target": target});
        let outline = Outline::of(&json!({
            "nodes": [node("end", "output"), node("start", "start"), node("outer", "whileLoop"), node("inner", "whileLoop"),
                node("a", "agent"), node("b", "agent")],
            "edges": [edge("start", "output", "outer"), edge("outer", "body", "a"), edge("a", "output", "inner"),
                edge("inner", "body", "b"), edge("outer", "done", "end"), edge("nobody", "output", "end")],
        }));
        let seen: Vec<(&str, &str, Option<&str>)> =
            outline.nodes.iter().map(|node| (node.id.as_str(), node.label.as_str(), node.within.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("start", "START", None),
                ("outer", "OUTER", None),
                ("end", "END", None),
                ("a", "A", Some("outer")),
                ("inner", "INNER", Some("outer")),
                ("b", "B", Some("inner")),
            ]
        );
    }

    #[test]
    fn what_is_no_document_has_an_empty_outline() {
        for strange in [json!(null), json!({"nodes": 1}), json!({"nodes": [1], "edges": [{}]})] {
            assert!(Outline::of(&strange).nodes.len() <= 1);
        }
    }
}
