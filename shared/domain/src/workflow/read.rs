//! Reads a document of the or3 editor (schema 2) into a [`Flow`]. Everything that is of a wrong type is found at once;
//! unknown members are passed over. What the graph must fulfil is not looked at here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    document::{
        Agent, AtLimit, AtMax, Branch, Edge, ErrorHandling, ErrorMode, Fallback, Flow, Format, Hitl, HitlMode, Kind,
        Mode, Node, Output, Parallel, Router, SubflowNode, ToolNode, WhileLoop,
    },
    fields::{Fields, whole},
    finding::{Code, Findings},
    people::{Choice, DefaultAction},
    retry::RetryRule,
};

/// The schema's major number that is understood here.
const MAJOR: &str = "2";
/// Turns with tools of an agent that does not say, and of a parallel node's branches.
pub(super) const MAX_TOOL_TURNS: u32 = 10;
const MAX_ITERATIONS: u32 = 10;
const BRANCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);

/// A document's graph as far as it could be read, with what its nodes say beside.
pub(super) struct Read {
    /// The graph: nodes of unknown type and edges that dangle are left out.
    pub(super) flow: Flow,
    /// The ids of routes that routers declare, by node.
    pub(super) routes: BTreeMap<usize, Vec<String>>,
    /// The target handles of the edges.
    pub(super) target_handles: Vec<Option<String>>,
}

/// Reads a document's graph.
pub(super) fn read(document: &Map<String, Value>, at: Option<&str>, findings: &mut Findings) -> Read {
    let top = Fields { node: at, path: String::new(), members: document };
    let name = meta(&top, findings);
    for key in ["nodes", "edges"] {
        if top.get(key).is_none() {
            top.wrong(key, "there", findings);
        }
    }
    let (mut nodes, mut routes, mut unknown) = (vec![], BTreeMap::new(), vec![]);
    for fields in top.objects("nodes", findings) {
        let id = fields.required_text("id", findings);
        if nodes.iter().any(|node: &Node| node.id == id) {
            let message = format!("Two nodes have the id `{id}`; give each its own");
            findings.add(Code::DataValidationError, Some(&id), message);
            continue;
        }
        let read_here = Fields { node: Some(&id), path: String::new(), members: fields.members };
        match node(&id, &read_here, findings) {
            Some((node, declared)) => {
                routes.insert(nodes.len(), declared);
                nodes.push(node);
            }
            None => unknown.push(id),
        }
    }
    let mut read = Read { flow: Flow { name, nodes, edges: vec![] }, routes, target_handles: vec![] };
    for (n, fields) in top.objects("edges", findings).into_iter().enumerate() {
        edge(n, &fields, &unknown, &mut read, findings);
    }
    read
}

fn meta(top: &Fields<'_>, findings: &mut Findings) -> String {
    let Some(meta) = top.object("meta", findings) else {
        if top.get("meta").is_none() {
            top.wrong("meta", "there", findings);
        }
        return String::new();
    };
    let version = meta.required_text("version", findings);
    if !version.is_empty() && version.split('.').next() != Some(MAJOR) {
        meta.wrong("version", &format!("{MAJOR}.x: documents of version {version} are not understood"), findings);
    }
    meta.required_text("name", findings)
}

fn edge(n: usize, fields: &Fields<'_>, unknown: &[String], read: &mut Read, findings: &mut Findings) {
    let id = fields.text("id", findings).unwrap_or_else(|| format!("number {}", n + 1));
    let end = |key: &str, findings: &mut Findings| {
        let name = fields.required_text(key, findings);
        let at = read.flow.position(&name);
        if at.is_none() && !name.is_empty() && !unknown.contains(&name) {
            let message = format!("Edge `{id}` has the {key} `{name}`, which is no node; remove or reconnect it");
            findings.add(Code::DanglingEdge, None, message);
        }
        at
    };
    let (source, target) = (end("source", findings), end("target", findings));
    let handle = fields.text("sourceHandle", findings);
    let target_handle = fields.text("targetHandle", findings);
    let label = fields.text("label", findings);
    if let Some((source, target)) = source.zip(target) {
        read.flow.edges.push(Edge { source, target, handle, label });
        read.target_handles.push(target_handle);
    }
}

fn node(id: &str, fields: &Fields<'_>, findings: &mut Findings) -> Option<(Node, Vec<String>)> {
    let kind = fields.required_text("type", findings);
    let empty = Map::new();
    let none = Fields { node: Some(id), path: "data.".into(), members: &empty };
    let data = fields.object("data", findings).unwrap_or(none);
    let mut routes = vec![];
    let kind = match kind.as_str() {
        "start" => Kind::Start,
        "agent" => Kind::Agent(agent(&data, findings)),
        "router" | "condition" => {
            routes = data.objects("routes", findings).iter().map(|it| it.required_text("id", findings)).collect();
            Kind::Router(router(&data, findings))
        }
        "parallel" => Kind::Parallel(parallel(&data, findings)),
        "whileLoop" => Kind::Loop(while_loop(&data, findings)),
        "subflow" => Kind::Subflow(subflow(&data, findings)),
        "output" => Kind::Output(output(&data, findings)),
        "tool" => Kind::Tool(tool(&data, findings)),
        "" => return None,
        other => {
            let message = format!(
                "`{other}` is no node type; use start, agent, router, parallel, whileLoop, subflow, output or tool"
            );
            findings.add(Code::UnknownNodeType, Some(id), message);
            return None;
        }
    };
    let node = Node {
        id: id.to_owned(),
        label: data.text("label", findings).unwrap_or_else(|| id.to_owned()),
        description: data.text("description", findings).unwrap_or_default(),
        kind,
        error_handling: error_handling(&data, findings),
        hitl: hitl(&data, findings),
    };
    Some((node, routes))
}

fn agent(data: &Fields<'_>, findings: &mut Findings) -> Agent {
    let at_limit = [("warning", AtLimit::Warning), ("error", AtLimit::Error), ("hitl", AtLimit::Ask)];
    Agent {
        model: data.text("model", findings),
        prompt: data.text("prompt", findings).unwrap_or_default(),
        temperature: data.number("temperature", 0.0, 2.0, findings),
        max_tokens: data.whole("maxTokens", 1, findings),
        tools: data.texts("tools", findings),
        max_tool_turns: data.whole("maxToolIterations", 1, findings).unwrap_or(MAX_TOOL_TURNS),
        at_limit: data.word("onMaxToolIterations", &at_limit, findings).unwrap_or_default(),
    }
}

fn router(data: &Fields<'_>, findings: &mut Findings) -> Router {
    let fallbacks = [("first", Fallback::First), ("error", Fallback::Error), ("none", Fallback::None)];
    Router {
        model: data.text("model", findings),
        prompt: data.text("prompt", findings).unwrap_or_default(),
        fallback: data.word("fallbackBehavior", &fallbacks, findings).unwrap_or_default(),
    }
}

fn parallel(data: &Fields<'_>, findings: &mut Findings) -> Parallel {
    let mut branches: Vec<Branch> = vec![];
    for fields in data.objects("branches", findings) {
        let id = fields.required_text("id", findings);
        if branches.iter().any(|branch| branch.id == id) {
            let message = format!("Two branches have the id `{id}`; give each its own");
            findings.add(Code::DataValidationError, data.node, message);
        }
        branches.push(Branch {
            label: fields.text("label", findings).unwrap_or_else(|| id.clone()),
            id,
            model: fields.text("model", findings),
            prompt: fields.text("prompt", findings).unwrap_or_default(),
            tools: fields.texts("tools", findings),
        });
    }
    let timeout = data.millis("branchTimeout", findings).unwrap_or(BRANCH_TIMEOUT);
    Parallel {
        model: data.text("model", findings),
        prompt: data.text("prompt", findings).unwrap_or_default(),
        branches,
        merge: data.flag("mergeEnabled", true, findings),
        branch_timeout: (!timeout.is_zero()).then_some(timeout),
    }
}

fn while_loop(data: &Fields<'_>, findings: &mut Findings) -> WhileLoop {
    let at_max = [("warning", AtMax::Warning), ("error", AtMax::Error), ("continue", AtMax::Continue)];
    let max_iterations = match data.get("maxIterations") {
        None => MAX_ITERATIONS,
        Some(value) if !value.is_number() => {
            data.wrong("maxIterations", "a whole number from 1", findings);
            MAX_ITERATIONS
        }
        Some(value) => whole(value).filter(|it| *it > 0).unwrap_or_else(|| {
            let message = format!("`data.maxIterations` is {value}; it must be a whole number from 1");
            findings.add(Code::InvalidMaxIterations, data.node, message);
            MAX_ITERATIONS
        }),
    };
    WhileLoop {
        condition_prompt: data.text("conditionPrompt", findings).unwrap_or_default(),
        condition_model: data.text("conditionModel", findings),
        max_iterations,
        at_max: data.word("onMaxIterations", &at_max, findings).unwrap_or_default(),
        loop_prompt: data.text("loopPrompt", findings).unwrap_or_default(),
        fixed: data.word("loopMode", &[("condition", false), ("fixed", true)], findings).unwrap_or(false),
        previous_outputs: data.flag("includePreviousOutputs", true, findings),
        iteration_context: data.flag("includeIterationContext", false, findings),
        accumulate: data.word("outputMode", &[("last", false), ("accumulate", true)], findings).unwrap_or(false),
    }
}

fn subflow(data: &Fields<'_>, findings: &mut Findings) -> SubflowNode {
    let mappings = data.object("inputMappings", findings);
    SubflowNode {
        id: data.text("subflowId", findings).unwrap_or_default(),
        mappings: mappings.map(|it| it.members.clone().into_iter().collect()).unwrap_or_default(),
        share_session: data.flag("shareSession", false, findings),
    }
}

fn output(data: &Fields<'_>, findings: &mut Findings) -> Output {
    let formats = [("text", Format::Text), ("json", Format::Json), ("markdown", Format::Markdown)];
    let template = data.text("template", findings);
    let raw = data.flag("useRawTemplate", false, findings);
    let named = data.word("mode", &[("combine", false), ("synthesis", true)], findings);
    let synthesis = data.object("synthesis", findings);
    let mode = match named {
        _ if raw => Mode::Template(template),
        None if template.is_some() => Mode::Template(template),
        Some(true) => Mode::Synthesis {
            prompt: synthesis.as_ref().and_then(|it| it.text("prompt", findings)).unwrap_or_default(),
            model: synthesis.as_ref().and_then(|it| it.text("model", findings)),
        },
        Some(false) | None => Mode::Combine,
    };
    Output {
        format: data.word("format", &formats, findings).unwrap_or_default(),
        mode,
        sources: data.texts("sources", findings),
        intro: data.text("introText", findings).unwrap_or_default(),
        outro: data.text("outroText", findings).unwrap_or_default(),
        metadata: data.flag("includeMetadata", false, findings),
    }
}

fn tool(data: &Fields<'_>, findings: &mut Findings) -> ToolNode {
    let arguments = data.object("arguments", findings).map(|it| it.members.clone()).unwrap_or_default();
    ToolNode { tool: data.required_text("toolId", findings), arguments: Value::Object(arguments) }
}

fn error_handling(data: &Fields<'_>, findings: &mut Findings) -> Option<ErrorHandling> {
    let modes = [("stop", ErrorMode::Stop), ("continue", ErrorMode::Continue), ("branch", ErrorMode::Branch)];
    let fields = data.object("errorHandling", findings)?;
    let usual = RetryRule::default();
    let retry = fields.object("retry", findings).map(|it| RetryRule {
        max_retries: it.whole("maxRetries", 0, findings).unwrap_or(usual.max_retries),
        base_delay: it.millis("baseDelay", findings).unwrap_or(usual.base_delay),
        max_delay: it.millis("maxDelay", findings).unwrap_or(usual.max_delay),
        retry_on: it.texts("retryOn", findings),
        skip_on: it.texts("skipOn", findings),
    });
    Some(ErrorHandling { mode: fields.word("mode", &modes, findings), retry: retry.unwrap_or_default() })
}

fn hitl(data: &Fields<'_>, findings: &mut Findings) -> Option<Hitl> {
    let modes = [("approval", HitlMode::Approval), ("input", HitlMode::Input), ("review", HitlMode::Review)];
    let actions =
        [("approve", DefaultAction::Approve), ("reject", DefaultAction::Reject), ("skip", DefaultAction::Skip)];
    let fields = data.object("hitl", findings)?;
    let enabled = fields.flag("enabled", false, findings);
    if enabled && fields.get("mode").is_none() {
        fields.wrong("mode", "there: approval, input or review", findings);
    }
    let mut options = vec![];
    for option in fields.objects("options", findings) {
        let id = option.required_text("id", findings);
        options.push(Choice {
            label: option.text("label", findings).unwrap_or_else(|| id.clone()),
            action: option.text("action", findings).unwrap_or_else(|| id.clone()),
            id,
        });
    }
    let hitl = Hitl {
        mode: fields.word("mode", &modes, findings).unwrap_or(HitlMode::Approval),
        // Older editors call it `message`.
        prompt: fields.text("prompt", findings).or_else(|| fields.text("message", findings)).unwrap_or_default(),
        options,
        input_schema: fields.object("inputSchema", findings).map(|it| Value::Object(it.members.clone())),
        timeout: fields.millis("timeout", findings).filter(|it| !it.is_zero()),
        default_action: fields.word("defaultAction", &actions, findings).unwrap_or_default(),
    };
    enabled.then_some(hitl)
}
