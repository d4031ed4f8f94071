//! A workflow being watched: events in, the tree of its nodes out. Under a loop stand its iterations, under a parallel
//! node its branches, under a subflow its nodes. What is known of the shape comes from an outline; what is not in it finds
//! its place by its name. Reads no clock and writes nothing.

mod drawing;
mod place;

use std::{collections::HashMap, time::Duration};

use self::place::Place;
use super::{
    event::{Body, Event, Job, Node as NodeNews, Origin, Reason, ToolCall},
    outline::Outline,
};

/// How much of what a node's model says is kept to be shown while it goes on.
const SAID_CHARS: usize = 240;
/// Behind every node that the outline knows.
const UNKNOWN: usize = 1_000_000;

/// The tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    outline: Outline,
    nodes: Vec<Node>,
    by_key: HashMap<String, usize>,
    /// What each turn used: one that is taken up again says so twice.
    spent: HashMap<(String, u32), u64>,
    /// When the newest event was written, and when it came, counted from when watching began.
    at: Option<jiff::Timestamp>,
    came: Duration,
}

#[derive(Debug, Default)]
struct Node {
    key: String,
    label: String,
    parent: Option<usize>,
    /// The iteration of the loop above it.
    iteration: Option<u64>,
    /// Its place among its siblings.
    order: usize,
    status: Status,
    /// Of a loop: how many iterations it has begun, and may at most.
    begun: Option<u64>,
    most: Option<u64>,
    route: Option<String>,
    note: Option<String>,
    error: Option<Reason>,
    started_at: Option<jiff::Timestamp>,
    finished_at: Option<jiff::Timestamp>,
    tokens: u64,
    calls: Vec<ToolCall>,
    said: String,
}

/// Where a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Pending,
    Active,
    Waiting,
    Completed,
    Failed,
    Skipped,
    /// The job ended before it did.
    Stopped,
}

impl Status {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pending" => Self::Pending,
            "active" => Self::Active,
            "waiting" => Self::Waiting,
            "completed" => Self::Completed,
            "error" => Self::Failed,
            "skipped" => Self::Skipped,
            _ => return None,
        })
    }

    fn is_at_work(self) -> bool {
        matches!(self, Self::Active | Self::Waiting)
    }
}

impl Tree {
    /// The tree of a job's workflow; `outline` as far as there is one.
    pub(super) fn new(outline: Outline, job: &Job) -> Self {
        let mut tree = Self { outline, ..Self::default() };
        // A job lists the nodes of its own graph from the beginning, and what is in loops when it begins.
        let listed = job.workflow.as_ref().map(|run| &run.node_states).filter(|states| !states.is_empty());
        for node in tree.outline.nodes.clone() {
            if node.within.is_none() && listed.is_none_or(|states| states.contains_key(&node.id)) {
                tree.find(&node.id);
                for (branch, _) in &node.branches {
                    tree.find(&format!("{}:{branch}", node.id));
                }
            }
        }
        let Some(run) = &job.workflow else { return tree };
        let unlisted = run.node_states.keys().filter(|key| !run.execution_order.contains(key));
        let mut keys: Vec<&String> = run.execution_order.iter().chain(unlisted).collect();
        // Loops before what is in them: without an outline that is how it finds its place.
        keys.sort_by_key(|key| key.matches(['/', '#', ':', '.']).count());
        for key in keys {
            let Some(state) = run.node_states.get(key) else { continue };
            let n = tree.find(key);
            let status = state.status.as_deref().and_then(Status::named);
            tree.take_news(
                n,
                status.unwrap_or_default(),
                &NodeNews {
                    node_id: key.clone(),
                    iteration: state.iteration,
                    route: state.route.clone(),
                    ..NodeNews::default()
                },
            );
            let node = &mut tree.nodes[n];
            (node.started_at, node.finished_at) = (state.started_at, state.finished_at);
            node.error.clone_from(&state.error);
        }
        if job.is_finished() {
            tree.stop();
        }
        tree
    }

    /// Takes in the next event, `now` after watching began. The node whose state it changed, if one's.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) -> Option<usize> {
        if event.origin.at.is_some() {
            (self.at, self.came) = (event.origin.at, now);
        }
        let origin = &event.origin;
        match &event.body {
            Body::Node(news) => {
                let status = Status::named(origin.kind.trim_start_matches("node."))?;
                let n = self.find(&news.node_id);
                let before = (self.nodes[n].status, self.nodes[n].begun);
                self.take_news(n, status, news);
                let node = &mut self.nodes[n];
                match status {
                    // A loop is told of anew with each iteration.
                    Status::Active => node.started_at = node.started_at.or(origin.at),
                    Status::Completed | Status::Failed | Status::Skipped if before.0 != status => {
                        node.finished_at = origin.at;
                        node.started_at = node.started_at.or(origin.at);
                    }
                    _ => {}
                }
                return (before != (node.status, node.begun)).then_some(n);
            }
            Body::TurnStarted => {
                let n = self.at_work_for(origin)?;
                self.nodes[n].said.clear();
            }
            Body::TurnRestarted { .. } => {
                let n = self.at_work_for(origin)?;
                self.nodes[n].said.clear();
                self.nodes[n].calls.clear();
            }
            Body::TurnCompleted { usage } => {
                let n = self.at_work_for(origin)?;
                let turn = (origin.lane.clone().unwrap_or_default(), origin.turn.unwrap_or(0));
                let usage = usage.unwrap_or_default();
                let spent = usage.input_tokens + usage.output_tokens;
                let before = self.spent.insert(turn, spent).unwrap_or(0);
                let node = &mut self.nodes[n];
                node.tokens = (node.tokens + spent).saturating_sub(before);
                node.said.clear();
                node.calls.clear();
            }
            Body::OutputDelta { text } | Body::ReasoningDelta { text } => {
                let n = self.at_work_for(origin)?;
                let said = &mut self.nodes[n].said;
                said.push_str(text);
                let excess = said.chars().count().saturating_sub(SAID_CHARS);
                if excess > 0 {
                    *said = said.chars().skip(excess).collect();
                }
            }
            Body::ToolCall(call) => {
                let n = self.at_work_for(origin)?;
                let mut call = (**call).clone();
                if call.status.is_empty() {
                    call.status = origin.kind.trim_start_matches("tool_call.").to_owned();
                }
                let calls = &mut self.nodes[n].calls;
                match calls.iter_mut().find(|known| known.id == call.id) {
                    Some(known) => *known = call,
                    None => calls.push(call),
                }
            }
            _ => {}
        }
        None
    }

    /// The job is over: nothing is at work any more.
    pub(super) fn stop(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.status.is_at_work()) {
            node.status = Status::Stopped;
        }
    }

    /// What people call this node, for a sentence.
    pub(super) fn name(&self, key: &str) -> String {
        self.by_key.get(key).map_or_else(|| key.to_owned(), |n| self.path(*n))
    }

    /// How many nodes are at work, those that only hold others left out, and one of their names.
    pub(super) fn at_work(&self) -> (usize, Option<&str>) {
        let holds = |n: usize| self.nodes.iter().any(|node| node.parent == Some(n) && node.status.is_at_work());
        let mut working = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].status == Status::Active && !holds(*n))
            .map(|n| self.nodes[n].label.as_str());
        let first = working.next();
        (usize::from(first.is_some()) + working.count(), first)
    }

    fn take_news(&mut self, n: usize, status: Status, news: &NodeNews) {
        let route = news.route.as_ref().map(|route| self.route_name(&self.nodes[n].key, route));
        let node = &mut self.nodes[n];
        // Of a node in a loop's body it is the loop's; of a loop it is its own.
        if news.iteration.is_some() && (node.iteration.is_none() || node.most.is_some() || node.begun.is_some()) {
            node.begun = news.iteration;
        }
        node.status = status;
        node.route = route.or(node.route.take());
        node.note = news.note.clone().or(node.note.take());
        node.error = news.error.clone().filter(|_| status == Status::Failed);
    }

    fn route_name(&self, key: &str, route: &str) -> String {
        let id = place::id(key);
        let named = self.outline.node(id).and_then(|(_, node)| node.routes.get(route));
        named.map_or(route, String::as_str).to_owned()
    }

    /// The node, or the branch of it, that a turn works for.
    fn at_work_for(&mut self, origin: &Origin) -> Option<usize> {
        let key = origin.node_id.as_deref().filter(|key| !key.is_empty())?;
        let n = self.find(key);
        let lane = origin.lane.as_deref().unwrap_or_default();
        let branch = lane.rsplit_once(":branch-").and_then(|(_, branch)| branch.parse::<usize>().ok());
        Some(branch.and_then(|branch| self.below(Some(n)).get(branch).copied()).unwrap_or(n))
    }

    /// The node with this key, which is put into its place when it is new.
    fn find(&mut self, key: &str) -> usize {
        if let Some(n) = self.by_key.get(key) {
            return *n;
        }
        let Place { id, above, iteration } = self.place(key);
        let parent = above.map(|above| self.find(&above));
        if let Some(parent) = parent.filter(|_| iteration.is_some()) {
            let begun = &mut self.nodes[parent].begun;
            *begun = (*begun).max(iteration);
        }
        let n = self.nodes.len();
        let mut node =
            Node { key: key.to_owned(), label: id.clone(), parent, iteration, order: UNKNOWN + n, ..Node::default() };
        let siblings = parent.and_then(|parent| self.outline.node(place::id(&self.nodes[parent].key)));
        let branch =
            siblings.and_then(|(_, node)| node.branches.iter().enumerate().find(|(_, (known, _))| *known == id));
        if let Some((order, (_, label))) = branch {
            (node.order, node.label) = (order, label.clone());
        } else if let Some((order, sketch)) = self.outline.node(&id).filter(|_| !key.contains('/')) {
            (node.order, node.label, node.most) = (order, sketch.label.clone(), sketch.most_iterations);
        }
        self.nodes.push(node);
        self.by_key.insert(key.to_owned(), n);
        n
    }
}
