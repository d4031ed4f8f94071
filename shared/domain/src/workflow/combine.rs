//! What outputs and parallel nodes put together from what was said.

use std::rc::Rc;

use super::{
    document::{Kind, Mode, Output, Parallel},
    key::NodeKey,
    past::Via,
    scope::{Board, Scope},
    template::{self, Metadata},
};
use crate::time::Timestamp;

impl<'a> Board<'a> {
    /// What an output node has before it is put into its form.
    pub(super) fn put_together(&self, scope: &Rc<Scope<'a>>, node: usize, it: &Output) -> String {
        let board = self;
        if let Mode::Template(template) = &it.mode {
            return match template {
                Some(template) => template::fill(template, &|name| board.resolve(scope, node, name)),
                None => board.input_of(scope, node),
            };
        }
        let mut parts = vec![it.intro.clone()];
        if it.sources.is_empty() {
            let parents = board.taken_into(scope, node);
            let is_parent = |key: &NodeKey| parents.iter().any(|n| scope.key(scope.flow.edges[*n].source) == *key);
            // A tool's result is for agents to read; it is part of the answer only where nothing comes between.
            let latest = board.latest(scope, node);
            let speaks = latest.iter().filter(|said| match &said.node.kind {
                // What was said in a loop's body is a step towards the loop's own output.
                Kind::Agent(_) | Kind::Parallel(_) | Kind::Loop(_) | Kind::Subflow(_) => said.via == Via::Here,
                Kind::Tool(_) => is_parent(&said.key),
                Kind::Start | Kind::Router(_) | Kind::Output(_) => false,
            });
            parts.extend(speaks.map(|said| said.output.to_owned()));
            if parts.iter().skip(1).all(String::is_empty) {
                parts.push(board.input_of(scope, node));
            }
        } else {
            parts.extend(it.sources.iter().filter_map(|source| board.output_named(scope, node, source)));
        }
        parts.push(it.outro.clone());
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }

    /// An output node's text in its form.
    pub(super) fn formatted(
        &self,
        scope: &Rc<Scope<'a>>,
        node: usize,
        it: &Output,
        text: String,
        now: Timestamp,
    ) -> String {
        let chain = || self.latest(scope, node).iter().map(|said| said.node.id.clone()).collect();
        let metadata = it.metadata.then(|| Metadata { chain: chain(), timestamp: now });
        template::formatted(text, it.format, metadata.as_ref())
    }
}

/// The branches' answers under their labels, one after the other, and what went wrong.
pub(super) fn branches_text(board: &Board<'_>, key: &NodeKey, it: &Parallel) -> String {
    let answers = it.branches.iter().filter_map(|branch| {
        let text = board.record(&key.branch(&branch.id))?.output.as_ref()?;
        Some(format!("## {}\n{text}", branch.label))
    });
    let mut parts: Vec<String> = answers.collect();
    let errors = branch_errors(board, key, it);
    if !errors.is_empty() {
        parts.push(format!("## Errors\n{}", errors.join("\n")));
    }
    parts.join("\n\n")
}

pub(super) fn branch_errors(board: &Board<'_>, key: &NodeKey, it: &Parallel) -> Vec<String> {
    let errors = it.branches.iter().filter_map(|branch| {
        let error = board.record(&key.branch(&branch.id))?.error.as_ref()?;
        Some(format!("{}: {}", branch.label, error.message))
    });
    errors.collect()
}
