//! What follows from a graph's form alone: its order, and which nodes belong to which loop.
//!
//! A loop's *body* is what its first body edge leads to, as far as nothing else leads there: nodes that can also be
//! reached without going through the body belong to the graph around the loop. The edges from the body to them are never
//! taken. Each body, and the graph without all bodies, is a *region*; a region has one entry and is run as a whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::document::{Flow, Kind};

/// A part of a graph that is run as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// Where it begins.
    pub(super) entry: usize,
    /// Its nodes, each after its parents; the document's order otherwise.
    pub(super) order: Vec<usize>,
    /// For each node of the graph, whether it is in here.
    member: Vec<bool>,
}

/// A graph's order and regions.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    /// The edges into each node, in the document's order.
    into: Vec<Vec<usize>>,
    /// The regions, by their loop; `None` is the graph itself.
    regions: BTreeMap<Option<usize>, Region>,
    /// Loops whose body has a node that is in another loop's body, too.
    shared: BTreeSet<usize>,
    /// For each edge, whether it leads into a loop's body.
    into_body: Vec<bool>,
}

impl Graph {
    /// Of a graph with this start. Its cycles, if it has any, are in no region.
    pub(super) fn new(flow: &Flow, start: usize) -> Self {
        let is_loop = |node: usize| matches!(flow.nodes[node].kind, Kind::Loop(_));
        let into_body: Vec<bool> = flow.edges.iter().map(|edge| is_loop(edge.source) && edge.is("body")).collect();
        let mut into = vec![vec![]; flow.nodes.len()];
        for (n, edge) in flow.edges.iter().enumerate() {
            into[edge.target].push(n);
        }
        let mut graph = Self { into, regions: BTreeMap::new(), shared: BTreeSet::new(), into_body };
        let topological = topological(flow);
        let main = graph.reached(flow, start);
        graph.add(None, start, main, &topological);
        // Outer loops come first: a loop's own region is known when its body is looked at.
        for node in topological.iter().copied().filter(|node| is_loop(*node)) {
            let around = graph.around(node);
            let Some(entry) = graph.first_body(flow, node).filter(|_| !around.is_empty()) else { continue };
            let reached = graph.reached(flow, entry).into_iter().enumerate();
            let member = reached.map(|(n, reached)| reached && (n == entry || !around.contains(&n))).collect();
            graph.add(Some(node), entry, member, &topological);
        }
        graph.note_shared();
        graph
    }

    /// A loop's first body edge's target.
    fn first_body(&self, flow: &Flow, node: usize) -> Option<usize> {
        flow.leaving(node).find(|(n, _)| self.into_body[*n]).map(|(_, edge)| edge.target)
    }

    /// The nodes of the regions that hold a loop, and of those around them; none when no region holds it.
    fn around(&self, node: usize) -> BTreeSet<usize> {
        let mut nodes = BTreeSet::new();
        let mut inner = vec![node];
        while let Some(node) = inner.pop() {
            for (owner, region) in &self.regions {
                if region.member[node] {
                    nodes.extend(region.order.iter().copied());
                    inner.extend(*owner);
                }
            }
        }
        nodes
    }

    fn reached(&self, flow: &Flow, from: usize) -> Vec<bool> {
        let mut reached = vec![false; flow.nodes.len()];
        reached[from] = true;
        let mut left = vec![from];
        while let Some(node) = left.pop() {
            for (n, edge) in flow.leaving(node) {
                if !self.into_body[n] && !reached[edge.target] {
                    reached[edge.target] = true;
                    left.push(edge.target);
                }
            }
        }
        reached
    }

    fn add(&mut self, owner: Option<usize>, entry: usize, member: Vec<bool>, topological: &[usize]) {
        let order = topological.iter().copied().filter(|node| member[*node]).collect();
        self.regions.insert(owner, Region { entry, order, member });
    }

    fn note_shared(&mut self) {
        let mut owners: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (owner, region) in &self.regions {
            for node in &region.order {
                owners.entry(*node).or_default().extend(*owner);
            }
        }
        self.shared = owners.into_values().filter(|owners| owners.len() > 1).flatten().collect();
    }

    /// The region of a loop's body, or the graph's own.
    pub(super) fn region(&self, of: Option<usize>) -> Option<&Region> {
        self.regions.get(&of)
    }

    /// Whether a loop shares nodes of its body with another loop's.
    pub(super) fn is_shared(&self, node: usize) -> bool {
        self.shared.contains(&node)
    }

    /// Whether the node is in any loop's body.
    pub(super) fn in_a_body(&self, node: usize) -> bool {
        self.regions.iter().any(|(owner, region)| owner.is_some() && region.member[node])
    }

    /// The edges into a node that count in a region, in the document's order: those from its nodes, body edges left out.
    pub(super) fn arriving<'a>(
        &'a self,
        flow: &'a Flow,
        region: &'a Region,
        node: usize,
    ) -> impl Iterator<Item = usize> {
        let at_entry = node == region.entry;
        self.into[node]
            .iter()
            .copied()
            .filter(move |n| !at_entry && !self.into_body[*n] && region.member[flow.edges[*n].source])
    }
}

/// The nodes, each after its parents, the document's order otherwise; nodes on and behind cycles are missing.
pub(super) fn topological(flow: &Flow) -> Vec<usize> {
    let mut parents = vec![0_usize; flow.nodes.len()];
    let mut leaving = vec![vec![]; flow.nodes.len()];
    for edge in &flow.edges {
        parents[edge.target] += 1;
        leaving[edge.source].push(edge.target);
    }
    let mut ready: VecDeque<usize> = (0..parents.len()).filter(|node| parents[*node] == 0).collect();
    let mut order = vec![];
    while let Some(node) = ready.pop_front() {
        order.push(node);
        for target in &leaving[node] {
            parents[*target] -= 1;
            if parents[*target] == 0 {
                ready.push_back(*target);
            }
        }
    }
    order
}

/// The ids along a cycle, the first one again at its end; `None` when there is no cycle.
pub(super) fn cycle(flow: &Flow) -> Option<Vec<String>> {
    let sound: BTreeSet<usize> = topological(flow).into_iter().collect();
    let mut at = (0..flow.nodes.len()).find(|node| !sound.contains(node))?;
    // Every node that is left has a parent that is left: going back from parent to parent comes round.
    let mut way = vec![];
    while !way.contains(&at) {
        way.push(at);
        at = flow.edges.iter().find(|edge| edge.target == at && !sound.contains(&edge.source))?.source;
    }
    let first = way.iter().position(|node| *node == at)?;
    let mut round: Vec<String> = way[first..].iter().rev().map(|node| flow.nodes[*node].id.clone()).collect();
    round.rotate_right(1);
    round.extend(round.first().cloned());
    Some(round)
}
