//! Workflow documents as an editor writes them.

use serde_json::{Value, json};

/// A document of these nodes, and of edges from a node's handle to another node.
pub fn document(name: &str, nodes: &[Value], edges: &[(&str, &str, &str)]) -> Value {
    let edge = |(source, handle, target): &(&str, &str, &str)| json!({"id": format!("{source}-{target}"), "source": source, "sourceHandle": handle, "target": target});
    let edges: Vec<Value> = edges.iter().map(edge).collect();
    json!({"meta": {"version": "2.0.0", "name": name}, "nodes": nodes, "edges": edges})
}

/// A start, these nodes one after another, and an output.
pub fn chain(nodes: &[Value]) -> Value {
    let mut all = vec![node("start", "start", json!({}))];
    all.extend(nodes.iter().cloned());
    all.push(node("out", "output", json!({"format": "text"})));
    let ids: Vec<&str> = all.iter().filter_map(|node| node["id"].as_str()).collect();
    let edges: Vec<_> = ids.windows(2).map(|pair| (pair[0], "output", pair[1])).collect();
    document("Chain", &all, &edges)
}

/// A node that is called by its id.
pub fn node(id: &str, kind: &str, mut data: Value) -> Value {
    data["label"] = id.into();
    json!({"id": id, "type": kind, "position": {"x": 0, "y": 0}, "data": data})
}

/// An agent with a model of its own, `test/` and its id.
pub fn agent(id: &str, more: Value) -> Value {
    let mut data = json!({"model": format!("test/{id}"), "prompt": "Go."});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node(id, "agent", data)
}
