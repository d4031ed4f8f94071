//! What the view of a job makes of events where it has a tree of nodes: they are not told turn by turn, and what nodes say
//! stays at the nodes.

use std::time::Duration;

use super::{Block, RESTARTED, View, is_open};
use crate::terminal::{
    event::{Body, Event, InputRequest},
    screen::Style,
};

impl View {
    /// What people call the node that a question is about.
    pub(in crate::terminal) fn node_of(&self, request: &InputRequest) -> Option<String> {
        let name = |node: &String| self.tree.as_ref().map_or_else(|| node.clone(), |tree| tree.name(node));
        request.node_id.as_ref().map(name)
    }

    /// Takes an event into the tree. Whether nothing else is to be made of it.
    pub(super) fn grow(&mut self, event: &Event, now: Duration) -> bool {
        let Some(tree) = &mut self.tree else { return false };
        let changed = tree.apply(event, now);
        let news = changed.map(|n| tree.news(n));
        match &event.body {
            Body::Node(_) => {
                if let (Some(line), true) = (news, self.is_plain()) {
                    self.settle(Block::Notes, line);
                }
            }
            Body::ToolCall(call) => {
                let mut call = (**call).clone();
                if call.status.is_empty() {
                    call.status = event.origin.kind.trim_start_matches("tool_call.").to_owned();
                }
                if self.is_plain() && !is_open(&call) {
                    self.settle_call(&call);
                }
            }
            Body::TurnRestarted { .. } => {
                let name = event.origin.node_id.as_deref().map_or(String::new(), |node| tree.name(node));
                let resumed = event.origin.lane.as_ref().is_some_and(|lane| self.resumed.remove(lane));
                if self.is_plain() && !resumed {
                    self.note(Style::Dim, format!("{name}: {RESTARTED}"));
                }
            }
            Body::TurnStarted | Body::TurnCompleted { .. } | Body::OutputDelta { .. } | Body::ReasoningDelta { .. } => {
            }
            _ => return false,
        }
        true
    }
}
