//! Whether a document may run: every finding at once, and the typed workflow when nothing is wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    document::{Edge, Flow, Kind, Mode, Node, Subflow, SubflowInput, Workflow},
    finding::{Code, Finding, Findings},
    graph::{Graph, cycle},
    read::{Read, read},
};

/// Most nodes of one document.
pub const MAX_NODES: usize = 500;
/// Most edges of one document.
pub const MAX_EDGES: usize = 2000;
/// How deep subflows may be nested.
pub const MAX_DEPTH: usize = 10;

/// What a document is checked against.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The job's model, if it has one.
    pub default_model: Option<String>,
    /// The names of the job's tools; `None`: they are not known yet, and names are not checked.
    pub tools: Option<BTreeSet<String>>,
    /// The catalogue's documents under the ids that [`subflow_ids`] told, and those that these name.
    pub subflows: BTreeMap<String, Value>,
}

/// A document that may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// It, with everything that it needs.
    pub workflow: Workflow,
    /// What is odd about it.
    pub warnings: Vec<Finding>,
}

/// The workflows that a document's subflow nodes name and that it does not bring along (in `subflows`): to be fetched
/// before [`check()`], and theirs, and so on, [`MAX_DEPTH`] times at most.
pub fn subflow_ids(document: &Value) -> BTreeSet<String> {
    let document = graph_of(document);
    let brought: Vec<&Value> =
        document.get("subflows").and_then(Value::as_object).into_iter().flat_map(Map::values).collect();
    let names = |document: &Value| -> Vec<String> {
        let nodes = document.get("nodes").and_then(Value::as_array);
        let ids = nodes.into_iter().flatten().filter(|node| node["type"] == "subflow");
        ids.filter_map(|node| node["data"]["subflowId"].as_str())
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut ids: BTreeSet<String> = names(document).into_iter().collect();
    ids.extend(brought.into_iter().flat_map(|document| names(graph_of(document))));
    ids.retain(|id| document["subflows"].get(id).is_none());
    ids
}

/// Checks a document.
///
/// # Errors
/// Everything that is wrong with it; warnings are among the findings, too.
pub fn check(document: &Value, known: &Known) -> Result<Checked, Vec<Finding>> {
    let brought = graph_of(document).get("subflows").and_then(Value::as_object);
    let mut check = Check { known, brought, findings: Findings::default(), subflows: BTreeMap::new() };
    // One after the other, each once, however often it is named: nesting multiplies at run time only.
    let mut names: VecDeque<Naming> = VecDeque::new();
    let root = check.document(document, "", &mut names);
    let mut seen = BTreeSet::new();
    while let Some(naming) = names.pop_front() {
        let document = check.named(&naming);
        let Some(document) = document.filter(|_| seen.insert(naming.id.clone())) else { continue };
        let inputs = declared_inputs(document);
        if let Some(flow) = check.document(document, &format!("{}/", naming.node), &mut names) {
            check.subflows.insert(naming.id, Subflow { inputs: inputs.unwrap_or_default(), flow });
        }
    }
    if let Some(root) = &root {
        check.nesting(root);
    }
    let findings = check.findings.0;
    match root {
        Some(root) if findings.iter().all(|finding| finding.code.is_warning()) => {
            let workflow = Workflow { root, subflows: check.subflows, default_model: known.default_model.clone() };
            Ok(Checked { workflow, warnings: findings })
        }
        _ => Err(findings),
    }
}

/// The schemas that people's answers have to fit, and the nodes that ask. A node of a subflow goes by the first name that it
/// has. Whether they are schemas is not looked at here.
pub fn answer_schemas(workflow: &Workflow) -> Vec<(String, &Value)> {
    let (mut found, mut seen) = (vec![], BTreeSet::new());
    let mut flows = VecDeque::from([(String::new(), &workflow.root)]);
    while let Some((prefix, flow)) = flows.pop_front() {
        for node in &flow.nodes {
            let name = format!("{prefix}{}", node.id);
            if let Kind::Subflow(named) = &node.kind
                && let Some(subflow) = workflow.subflows.get(&named.id).filter(|_| seen.insert(&named.id))
            {
                flows.push_back((format!("{name}/"), &subflow.flow));
            }
            let schema = node.hitl.as_ref().and_then(|hitl| hitl.input_schema.as_ref());
            found.extend(schema.map(|schema| (name, schema)));
        }
    }
    found
}

/// A definition may hold its graph under `workflow`.
fn graph_of(document: &Value) -> &Value {
    document.get("workflow").filter(|graph| graph.is_object()).unwrap_or(document)
}

/// A subflow node that names a workflow.
struct Naming {
    /// The node, as findings call it.
    node: String,
    /// The workflow.
    id: String,
    /// What the node maps.
    mapped: BTreeSet<String>,
}

struct Check<'a> {
    known: &'a Known,
    /// Subflows that the document brings along.
    brought: Option<&'a Map<String, Value>>,
    findings: Findings,
    subflows: BTreeMap<String, Subflow>,
}

impl<'a> Check<'a> {
    /// Checks one document, whose nodes' names begin with `prefix`, and notes which others it names.
    fn document(&mut self, document: &Value, prefix: &str, names: &mut VecDeque<Naming>) -> Option<Flow> {
        let mut findings = Findings::default();
        let Some(members) = graph_of(document).as_object() else {
            findings.add(Code::DataValidationError, None, "A workflow is an object with meta, nodes and edges");
            self.take(findings, prefix);
            return None;
        };
        let read = read(members, None, &mut findings);
        let flow = &read.flow;
        if flow.nodes.len() > MAX_NODES || flow.edges.len() > MAX_EDGES {
            let message = format!(
                "It has {} nodes and {} edges; {MAX_NODES} and {MAX_EDGES} are allowed: move parts into subflows",
                flow.nodes.len(),
                flow.edges.len()
            );
            findings.add(Code::DataValidationError, None, message);
            self.take(findings, prefix);
            return None;
        }
        let graph = shape(flow, &mut findings);
        for (n, edge) in flow.edges.iter().enumerate() {
            handles(&read, n, edge, &mut findings);
        }
        duplicates(flow, &mut findings);
        for (n, node) in flow.nodes.iter().enumerate() {
            self.node(flow, n, node, &mut findings);
            let ends = flow.leaving(n).next().is_none() && !matches!(node.kind, Kind::Start | Kind::Output(_));
            if ends && graph.as_ref().is_none_or(|graph| !graph.in_a_body(n)) {
                findings.add(
                    Code::DeadEndNode,
                    Some(&node.id),
                    "Nothing follows this node; connect it, or leave it as an end",
                );
            }
        }
        if !flow.nodes.is_empty() && !flow.nodes.iter().any(|node| matches!(node.kind, Kind::Output(_))) {
            findings.add(Code::NoOutput, None, "No output node: the last node's output is the result");
        }
        self.take(findings, prefix);
        for node in &read.flow.nodes {
            if let Kind::Subflow(subflow) = &node.kind {
                let mapped = subflow.mappings.keys().cloned().collect();
                names.push_back(Naming { node: format!("{prefix}{}", node.id), id: subflow.id.clone(), mapped });
            }
        }
        Some(read.flow)
    }

    /// Takes findings over, under the names that their nodes have from outside.
    fn take(&mut self, findings: Findings, prefix: &str) {
        for finding in findings.0 {
            let node = finding.node_id.map(|id| format!("{prefix}{id}"));
            let node = node.or_else(|| prefix.strip_suffix('/').map(str::to_owned));
            self.findings.add(finding.code, node.as_deref(), finding.message);
        }
    }

    fn node(&self, flow: &Flow, n: usize, node: &Node, findings: &mut Findings) {
        let id = Some(node.id.as_str());
        let mut model = |named: &Option<String>, what: &str| {
            if named.is_none() && self.known.default_model.is_none() {
                let message = format!("{what} has no model, and the job has none; choose one");
                findings.add(Code::MissingModel, id, message);
            }
        };
        let mut tools: Vec<&String> = vec![];
        match &node.kind {
            Kind::Start => {}
            Kind::Agent(agent) => {
                model(&agent.model, "The agent");
                tools.extend(&agent.tools);
                if agent.prompt.trim().is_empty() {
                    findings.add(Code::EmptyPrompt, id, "The agent has no prompt; it is told only its name");
                }
            }
            Kind::Router(router) => {
                model(&router.model, "The router");
                routes(flow, n, node, findings);
            }
            Kind::Parallel(parallel) => {
                for branch in &parallel.branches {
                    model(&branch.model.clone().or_else(|| parallel.model.clone()), &format!("Branch `{}`", branch.id));
                    tools.extend(&branch.tools);
                }
                if parallel.merge && !parallel.prompt.trim().is_empty() {
                    model(&parallel.model, "The merge");
                }
                branches(flow, n, node, parallel, findings);
            }
            Kind::Loop(it) => {
                if !it.fixed {
                    model(&it.condition_model, "The loop's condition");
                    if it.condition_prompt.trim().is_empty() {
                        let message = "The loop has no `conditionPrompt`; write one, or set `loopMode` to fixed";
                        findings.add(Code::MissingConditionPrompt, id, message);
                    }
                }
                if !flow.leaving(n).any(|(_, edge)| edge.is("body")) {
                    findings.add(Code::MissingBody, id, "Nothing hangs on the loop's body handle; the loop will fail");
                }
            }
            Kind::Subflow(_) => {
                if flow.leaving(n).next().is_none() {
                    findings.add(Code::NoOutput, id, "Nothing follows the subflow");
                }
            }
            Kind::Output(output) => {
                if let Mode::Synthesis { model: named, .. } = &output.mode {
                    model(named, "The synthesis");
                }
                if flow.leaving(n).next().is_some() {
                    findings.add(Code::NoOutput, id, "An output is an end: its outgoing edges are not followed");
                }
                if matches!(&output.mode, Mode::Template(Some(template)) if !template.contains("{{")) {
                    findings.add(
                        Code::EmptyPrompt,
                        id,
                        "The template has no {{name}} in it; it is the result as it stands",
                    );
                }
            }
            Kind::Tool(tool) => tools.extend((!tool.tool.is_empty()).then_some(&tool.tool)),
        }
        for tool in tools {
            if self.known.tools.as_ref().is_some_and(|known| !known.contains(tool)) {
                let message =
                    format!("The job has no tool `{tool}`; add it to the job's tools, or remove the name here");
                findings.add(Code::UnknownTool, id, message);
            }
        }
    }

    /// The document that a subflow node names, its mappings checked.
    fn named(&mut self, naming: &Naming) -> Option<&'a Value> {
        let (id, at) = (naming.id.as_str(), Some(naming.node.as_str()));
        if id.is_empty() {
            self.findings.add(Code::MissingSubflowId, at, "The subflow names no workflow; set `subflowId`");
            return None;
        }
        let document = self.brought.and_then(|brought| brought.get(id)).or_else(|| self.known.subflows.get(id));
        let Some(document) = document else {
            let message =
                format!("There is no workflow `{id}`, neither with this document nor in the catalogue; store it first");
            self.findings.add(Code::SubflowNotFound, at, message);
            return None;
        };
        let Some(inputs) = declared_inputs(document) else {
            let message = format!("The `inputs` of the workflow `{id}` must be a list of {{id, required?, default?}}");
            self.findings.add(Code::DataValidationError, at, message);
            return Some(document);
        };
        for input in inputs.iter().filter(|it| it.required && it.default.is_none() && !naming.mapped.contains(&it.id)) {
            let message = format!("The workflow `{id}` requires the input `{}`; map it in `inputMappings`", input.id);
            self.findings.add(Code::MissingInputMapping, at, message);
        }
        Some(document)
    }

    /// How deep subflows go, and whether one holds itself.
    fn nesting(&mut self, root: &Flow) {
        let mut level: BTreeMap<&str, Vec<&str>> = named_in(root).map(|id| (id, vec![id])).collect();
        let mut found = vec![];
        for depth in 1.. {
            let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (id, way) in &level {
                for inner in self.subflows.get(*id).into_iter().flat_map(|it| named_in(&it.flow)) {
                    let way: Vec<&str> = way.iter().copied().chain([inner]).collect();
                    if way[..way.len() - 1].contains(&inner) {
                        let message = format!("The workflow `{inner}` holds itself: {}; remove one", way.join(" → "));
                        found.push((Code::CycleDetected, message));
                    } else {
                        next.entry(inner).or_insert(way);
                    }
                }
            }
            let Some((_, way)) = next.first_key_value() else { break };
            if depth >= MAX_DEPTH {
                let message = format!("Subflows are nested deeper than {MAX_DEPTH}: {}; join some", way.join(" → "));
                found.push((Code::DataValidationError, message));
                break;
            }
            level = next;
        }
        for (code, message) in found {
            self.findings.add(code, None, message);
        }
    }
}

fn named_in(flow: &Flow) -> impl Iterator<Item = &str> {
    flow.nodes.iter().filter_map(|node| match &node.kind {
        Kind::Subflow(subflow) => Some(subflow.id.as_str()),
        _ => None,
    })
}

/// What a definition declares to take: `inputs` beside or in the document, or in its meta. `None` when it is malformed.
fn declared_inputs(document: &Value) -> Option<Vec<SubflowInput>> {
    let graph = graph_of(document);
    let declared = document.get("inputs").or_else(|| graph.get("inputs")).or_else(|| graph.get("meta")?.get("inputs"));
    match declared.filter(|it| !it.is_null()) {
        Some(declared) => Vec::<SubflowInput>::deserialize(declared).ok(),
        None => Some(vec![]),
    }
}

/// Starts, ways and cycles. The graph when it has exactly one start.
fn shape(flow: &Flow, findings: &mut Findings) -> Option<Graph> {
    let starts: Vec<usize> = (0..flow.nodes.len()).filter(|n| matches!(flow.nodes[*n].kind, Kind::Start)).collect();
    if let Some(round) = cycle(flow) {
        let message = format!(
            "The edges go round in a circle: {}; remove one (a loop's body does not link back)",
            round.join(" → ")
        );
        findings.add(Code::CycleDetected, round.first().map(String::as_str), message);
    }
    for (n, node) in flow.nodes.iter().enumerate() {
        let has_parent = flow.edges.iter().any(|edge| edge.target == n);
        if !has_parent && !matches!(node.kind, Kind::Start) {
            let message = "The node has no edge into its input; connect it, or remove it";
            findings.add(Code::MissingRequiredPort, Some(&node.id), message);
        }
    }
    match starts[..] {
        [start] => {
            let reached = reached(flow, start);
            for (n, node) in flow.nodes.iter().enumerate().filter(|(n, _)| !reached[*n]) {
                debug_assert_ne!(n, start);
                let message = "No way leads from the start to this node; connect it, or remove it";
                findings.add(Code::DisconnectedNode, Some(&node.id), message);
            }
            if flow.leaving(start).next().is_none() {
                let message = "Nothing follows the start; connect it";
                findings.add(Code::DisconnectedNode, Some(&flow.nodes[start].id), message);
            }
            Some(Graph::new(flow, start))
        }
        [] => {
            findings.add(Code::NoStartNode, None, "No node has the type `start`; add one");
            None
        }
        [_, ref others @ ..] => {
            for other in others {
                let message = "A workflow has one start; remove this one";
                findings.add(Code::MultipleStartNodes, Some(&flow.nodes[*other].id), message);
            }
            None
        }
    }
}

fn reached(flow: &Flow, from: usize) -> Vec<bool> {
    let mut reached = vec![false; flow.nodes.len()];
    reached[from] = true;
    let mut left = vec![from];
    while let Some(node) = left.pop() {
        for (_, edge) in flow.leaving(node) {
            if !std::mem::replace(&mut reached[edge.target], true) {
                left.push(edge.target);
            }
        }
    }
    reached
}

/// The handles of an edge's ends.
fn handles(read: &Read, n: usize, edge: &Edge, findings: &mut Findings) {
    let (source, target) = (&read.flow.nodes[edge.source], &read.flow.nodes[edge.target]);
    if let Some(handle) = &edge.handle {
        let declared = read.routes.get(&edge.source).map_or(&[][..], Vec::as_slice);
        if !leaves_by(source, declared, handle) {
            let message =
                format!("An edge to `{}` leaves by the handle `{handle}`, which this node does not have", target.id);
            findings.add(Code::UnknownHandle, Some(&source.id), message);
        }
    }
    if let Some(handle) = &read.target_handles[n] {
        let known = match target.kind {
            Kind::Start => false,
            Kind::Loop(_) => ["input", "body", "exit"].contains(&handle.as_str()),
            _ => handle == "input",
        };
        if !known {
            let message = format!(
                "The edge from `{}` arrives at the handle `{handle}`, which this node does not have",
                source.id
            );
            findings.add(Code::UnknownHandle, Some(&target.id), message);
        }
    }
}

fn leaves_by(node: &Node, routes: &[String], handle: &str) -> bool {
    let numbered = || handle.strip_prefix("route-").is_some_and(|n| n.parse::<u32>().is_ok());
    handle == "error"
        || match &node.kind {
            Kind::Start | Kind::Subflow(_) | Kind::Tool(_) => handle == "output",
            Kind::Agent(_) => matches!(handle, "output" | "rejected"),
            Kind::Router(_) => handle == "rejected" || numbered() || routes.iter().any(|route| route == handle),
            Kind::Parallel(it) => handle == "merged" || it.branches.iter().any(|branch| branch.id == handle),
            Kind::Loop(_) => matches!(handle, "body" | "done"),
            Kind::Output(_) => false,
        }
}

fn duplicates(flow: &Flow, findings: &mut Findings) {
    let mut seen: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for edge in &flow.edges {
        if let Some(handle) = &edge.handle {
            *seen.entry((edge.source, handle)).or_default() += 1;
        }
    }
    for ((node, handle), _) in seen.into_iter().filter(|(_, times)| *times > 1) {
        let message = format!("Several edges leave by the handle `{handle}`; a router takes the first, others all");
        findings.add(Code::DuplicateSourceHandle, Some(&flow.nodes[node].id), message);
    }
}

fn routes(flow: &Flow, n: usize, node: &Node, findings: &mut Findings) {
    let mut edges = flow.leaving(n).filter(|(_, edge)| !edge.is_exceptional()).peekable();
    if edges.peek().is_none() {
        let message = "The router has no route; connect at least one";
        findings.add(Code::MissingRequiredPort, Some(&node.id), message);
    }
    for (_, edge) in edges.filter(|(_, edge)| edge.label.is_none()) {
        let message = format!("The edge to `{}` has no label; one helps to decide", flow.nodes[edge.target].id);
        findings.add(Code::MissingEdgeLabel, Some(&node.id), message);
    }
}

fn branches(flow: &Flow, n: usize, node: &Node, it: &super::document::Parallel, findings: &mut Findings) {
    let id = Some(node.id.as_str());
    match it.branches.len() {
        0 => findings.add(Code::DataValidationError, id, "`data.branches` is empty; add at least one branch"),
        1 => findings.add(Code::DeadEndNode, id, "One branch alone is not parallel; an agent would do"),
        _ => {}
    }
    if it.merge {
        if it.prompt.trim().is_empty() {
            findings.add(Code::EmptyPrompt, id, "Without a prompt the branches' outputs are put one after the other");
        }
        if !flow.leaving(n).any(|(_, edge)| edge.is_or_none("merged")) {
            findings.add(Code::DeadEndNode, id, "Nothing follows the merged output");
        }
        return;
    }
    for branch in it.branches.iter().filter(|branch| !flow.leaving(n).any(|(_, edge)| edge.is(&branch.id))) {
        let message = format!("Nothing follows the branch `{}`", branch.label);
        findings.add(Code::MissingEdgeLabel, id, message);
    }
}
