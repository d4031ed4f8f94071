//! What a node knows of what was before it: its input, its session, the context, and the outputs that templates name.
//!
//! All of it follows from the graph and never from time. *Before* a node is what is on the ways that led to it, over edges
//! that were taken, ordered as the execution order is: a sibling that happened to finish earlier is not before it. Two
//! agents that run side by side do not see each other, and behind their join both are seen, in the order of the graph.
//! A loop brings along what ran in its body, iteration by iteration, just before its own output; a node in a body has
//! before it what is before its loop, then the earlier iterations, then the ways within its own. A subflow sees nothing
//! from outside but what is mapped; with `shareSession`, its session goes on from the session outside, and its agents' outputs
//! are in the session of what comes after it.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    document::{Kind, Node, SubflowNode},
    key::NodeKey,
    plan::NodeStatus,
    scope::{Board, Scope},
    template,
};
use crate::message::Message;

/// Longest part of an earlier attempt that a loop's body is shown, in characters.
const ATTEMPT_SHOWN: usize = 500;

/// Whence something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// It was said in the node's own graph, or in the one around its loop.
    Here,
    /// In a loop's body, as a step to the loop's output.
    Loop,
    /// In a subflow that shares the session: it is for the session only.
    Subflow,
}

/// What one node said.
#[derive(Debug, Clone)]
pub(super) struct Said<'b> {
    pub(super) node: &'b Node,
    pub(super) key: NodeKey,
    pub(super) status: NodeStatus,
    pub(super) output: &'b str,
    pub(super) via: Via,
}

impl<'a> Board<'a> {
    /// Everything that was said before a node, in order.
    pub(super) fn before(&self, scope: &Rc<Scope<'a>>, node: usize) -> Vec<Said<'_>> {
        let mut said = vec![];
        self.around(scope, &mut said);
        for n in self.on_the_path(scope, node) {
            self.say(scope, n, Via::Here, &mut said);
        }
        said
    }

    /// What was said before a body's iteration.
    fn around<'b>(&'b self, scope: &Rc<Scope<'a>>, said: &mut Vec<Said<'b>>) {
        let Some((outer, owner)) = scope.outer.as_ref().filter(|_| scope.is_body()) else { return };
        said.extend(self.before(outer, *owner));
        for iteration in 1..scope.iteration().unwrap_or(1) {
            self.all_of(self.body(outer, *owner, iteration), Via::Loop, said);
        }
    }

    /// What was said in a scope that came to its end.
    fn all_of<'b>(&'b self, scope: Option<Rc<Scope<'a>>>, via: Via, said: &mut Vec<Said<'b>>) {
        let Some(scope) = scope else { return };
        let failed = |node: &usize| {
            self.state(&scope.key(*node)).is_some_and(|state| state.status == NodeStatus::Error && !state.in_order)
        };
        // What had ended by the time that something failed is a matter of time.
        if !scope.region().order.iter().any(failed) {
            for node in self.order(&scope) {
                self.say(&scope, node, via, said);
            }
        }
    }

    fn say<'b>(&'b self, scope: &Rc<Scope<'a>>, n: usize, via: Via, said: &mut Vec<Said<'b>>) {
        let (node, key) = (scope.node(n), scope.key(n));
        let Some(state) = self.state(&key) else { return };
        match &node.kind {
            Kind::Loop(_) => {
                for iteration in 1..=state.iteration.unwrap_or(0) {
                    let inner = if via == Via::Here { Via::Loop } else { via };
                    self.all_of(self.body(scope, n, iteration), inner, said);
                }
            }
            Kind::Subflow(subflow) if subflow.share_session && state.status == NodeStatus::Completed => {
                self.all_of(self.subflow(scope, n), Via::Subflow, said);
            }
            _ => {}
        }
        let output = self.record(&key).and_then(|record| record.output.as_deref()).unwrap_or_default();
        said.push(Said { node, key, status: state.status, output, via });
    }

    /// What each node said last, in the order in which they began to speak.
    pub(super) fn latest(&self, scope: &Rc<Scope<'a>>, node: usize) -> Vec<Said<'_>> {
        let mut latest: Vec<Said<'_>> = vec![];
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for said in self.before(scope, node).into_iter().filter(|said| said.via != Via::Subflow) {
            match places.get(said.node.id.as_str()) {
                Some(place) => latest[*place] = said,
                None => {
                    places.insert(&said.node.id, latest.len());
                    latest.push(said);
                }
            }
        }
        latest
    }

    /// The conversation that an agent goes on: the user's text, then what the agents before it said.
    pub(super) fn session(&self, scope: &Rc<Scope<'a>>, node: usize) -> Vec<Message> {
        let mut own = scope.clone();
        while let Some((outer, _)) = own.outer.clone().filter(|_| own.is_body()) {
            own = outer;
        }
        let mut session = match (&own.outer, own.subflow) {
            (Some((outer, owner)), Some((_, SubflowNode { share_session: true, .. }))) => self.session(outer, *owner),
            _ => vec![],
        };
        add_user(&mut session, self.text(&own));
        for said in self.before(scope, node) {
            let speaks = matches!(said.node.kind, Kind::Agent(_)) && said.status != NodeStatus::Skipped;
            if speaks && !said.output.is_empty() {
                session.push(Message::assistant(said.output));
            }
        }
        session
    }

    /// The text that a graph begins with, or an iteration of a body.
    pub(super) fn text(&self, scope: &Rc<Scope<'a>>) -> String {
        let Some((outer, owner)) = &scope.outer else { return self.input.text.clone() };
        let Some((subflow, _)) = scope.subflow else { return self.body_text(scope, outer, *owner) };
        let first = subflow.inputs.first().map_or("input", |input| input.id.as_str());
        self.given(scope, first).unwrap_or_else(|| self.input_of(outer, *owner))
    }

    /// The input of this name that a subflow was given: what is mapped to it, else its default. Nothing but this one is
    /// looked at: subflows within each other pass inputs on, and what each level asks of the one around is one name.
    fn given(&self, scope: &Rc<Scope<'a>>, name: &str) -> Option<String> {
        let ((outer, owner), (subflow, named)) = (scope.outer.as_ref()?, scope.subflow?);
        let Some(value) = named.mappings.get(name) else {
            let input = subflow.inputs.iter().rfind(|input| input.id == name && input.default.is_some());
            return input?.default.as_ref().map(template::as_text);
        };
        let whole = value.as_str().and_then(template::whole);
        let mapped = whole.and_then(|name| self.mapping(outer, *owner, name));
        Some(mapped.unwrap_or_else(|| template::as_text(value)))
    }

    /// A mapping's `{{name}}`; of an output that is not there, nothing.
    fn mapping(&self, outer: &Rc<Scope<'a>>, owner: usize, name: &str) -> Option<String> {
        let there = self.resolve(outer, owner, name);
        there.or_else(|| (name.starts_with("outputs.") || name.starts_with("context.")).then(String::new))
    }

    fn body_text(&self, scope: &Rc<Scope<'a>>, outer: &Rc<Scope<'a>>, owner: usize) -> String {
        let Kind::Loop(it) = &outer.node(owner).kind else { return String::new() };
        let iteration = scope.iteration().unwrap_or(1);
        let before = iteration - 1;
        let outputs = if it.previous_outputs { self.iterations(outer, owner, 1, before) } else { vec![] };
        let mut parts = vec![];
        if !it.loop_prompt.trim().is_empty() {
            parts.push(format!("[Instructions: {}]", it.loop_prompt.trim()));
        }
        if it.iteration_context {
            parts.push(format!("[Iteration {iteration} of {}]", it.max_iterations));
        }
        if !outputs.is_empty() {
            parts.push(format!("[Previous attempts ({}):]", outputs.len()));
            for (n, output) in outputs.iter().enumerate() {
                let shown = match output.char_indices().nth(ATTEMPT_SHOWN) {
                    Some((end, _)) => format!("{}...[truncated]", &output[..end]),
                    None => output.clone(),
                };
                parts.push(format!("Attempt {}: {shown}", n + 1));
            }
            parts.push("[Current input to improve:]".to_owned());
        }
        let last = self.iterations(outer, owner, before.max(1), before).pop();
        parts.push(last.unwrap_or_else(|| self.input_of(outer, owner)));
        parts.join("\n\n")
    }

    /// The outputs of a loop's iterations, from one to another.
    pub(super) fn iterations(&self, outer: &Rc<Scope<'a>>, owner: usize, first: u32, last: u32) -> Vec<String> {
        let bodies = (first..=last).filter_map(|iteration| self.body(outer, owner, iteration));
        bodies.map(|body| self.result(&body).to_owned()).collect()
    }

    /// A node's input: what a person put in its place, what its graph begins with, or what its parents pass on.
    pub(super) fn input_of(&self, scope: &Rc<Scope<'a>>, node: usize) -> String {
        if let Some(replaced) = self.record(&scope.key(node)).and_then(|record| record.input.clone()) {
            return replaced;
        }
        if node == scope.region().entry {
            return self.text(scope);
        }
        let taken = self.taken_into(scope, node);
        let mut parents: Vec<usize> = vec![];
        for n in taken {
            let edge = &scope.flow.edges[n];
            let same = |other: &usize| {
                let other = &scope.flow.edges[*other];
                other.source == edge.source
                    && (!self.passes_branches(scope, edge.source) || other.handle == edge.handle)
            };
            if !parents.iter().any(same) {
                parents.push(n);
            }
        }
        match parents[..] {
            [] => String::new(),
            [only] => self.passed(scope, only),
            [first, ..] => {
                let spoke = |n: &usize| self.passes_own(scope, *n);
                let texts: Vec<String> = parents
                    .iter()
                    .filter(|n| spoke(n))
                    .map(|n| (self.label_of(scope, *n), self.passed(scope, *n)))
                    .map(|(label, text)| format!("[{label}]:\n{text}"))
                    .collect();
                // Where every parent failed, what they were to work on goes on, once.
                if texts.is_empty() { self.passed(scope, first) } else { texts.join("\n\n") }
            }
        }
    }

    fn passes_branches(&self, scope: &Scope<'a>, node: usize) -> bool {
        matches!(&scope.node(node).kind, Kind::Parallel(it) if !it.merge)
    }

    /// Whether what passes along an edge is something that its source has, not only was given and failed with.
    fn passes_own(&self, scope: &Rc<Scope<'a>>, edge: usize) -> bool {
        let key = scope.key(scope.flow.edges[edge].source);
        let failed = self.state(&key).is_some_and(|state| state.status == NodeStatus::Error);
        !failed || self.record(&key).is_some_and(|record| record.output.as_ref().is_some_and(|text| !text.is_empty()))
    }

    /// What passes along a taken edge. A router passes its input on, and so does what failed with nothing to say.
    fn passed(&self, scope: &Rc<Scope<'a>>, n: usize) -> String {
        let edge = &scope.flow.edges[n];
        let (source, key) = (scope.node(edge.source), scope.key(edge.source));
        let output = |key: &NodeKey| self.record(key).and_then(|it| it.output.clone()).unwrap_or_default();
        match &source.kind {
            _ if !self.passes_own(scope, n) => self.input_of(scope, edge.source),
            Kind::Router(_) if !edge.is_exceptional() => self.input_of(scope, edge.source),
            Kind::Parallel(it) if !it.merge => match &edge.handle {
                Some(branch) if !edge.is_exceptional() => output(&key.branch(branch)),
                _ => output(&key),
            },
            _ => output(&key),
        }
    }

    fn label_of(&self, scope: &Scope<'a>, n: usize) -> String {
        let edge = &scope.flow.edges[n];
        let node = scope.node(edge.source);
        match (&node.kind, &edge.handle) {
            (Kind::Parallel(it), Some(handle)) if !it.merge => {
                let branch = it.branches.iter().find(|branch| branch.id == *handle);
                branch.map_or_else(|| node.label.clone(), |branch| format!("{} → {}", node.label, branch.label))
            }
            _ => node.label.clone(),
        }
    }

    /// What `{{name}}` stands for at a node: its input, an output before it, an error, or what its subflow was given.
    pub(super) fn resolve(&self, scope: &Rc<Scope<'a>>, node: usize, name: &str) -> Option<String> {
        if matches!(name, "input" | "output") {
            return Some(self.input_of(scope, node));
        }
        self.output_named(scope, node, name.strip_prefix("outputs.").unwrap_or(name)).or_else(|| {
            let mut own = scope.clone();
            while let Some((outer, _)) = own.outer.clone().filter(|_| own.is_body()) {
                own = outer;
            }
            self.given(&own, name.strip_prefix("inputs.").unwrap_or(name))
        })
    }

    /// An output before a node: of a node, of a branch as `node:branch`, or an error as `node_error`.
    pub(super) fn output_named(&self, scope: &Rc<Scope<'a>>, node: usize, name: &str) -> Option<String> {
        let latest = self.latest(scope, node);
        let of = |id: &str| latest.iter().find(|said| said.node.id == id);
        if let Some(said) = of(name) {
            return Some(said.output.to_owned());
        }
        if let Some(said) = name.strip_suffix("_error").and_then(of) {
            let error = self.record(&said.key).and_then(|record| record.error.as_ref());
            return error.and_then(|error| serde_json::to_string(error).ok());
        }
        let branches =
            latest.iter().filter_map(|said| Some((said, name.strip_prefix(&said.node.id)?.strip_prefix(':')?)));
        let mut records = branches.filter_map(|(said, branch)| self.record(&said.key.branch(branch)));
        records.find_map(|record| record.output.clone())
    }
}

/// Adds what the user says, unless it is what was said last.
pub(super) fn add_user(messages: &mut Vec<Message>, text: String) {
    let again = matches!(messages.last(), Some(Message::User { content }) if content.text() == text);
    if !again && !text.is_empty() {
        messages.push(Message::user(text));
    }
}
