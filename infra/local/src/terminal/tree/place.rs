//! Where in the tree a node belongs, by its name: `<subflow>/<node>`, `node#iteration`, `node:branch`.

use super::{Node, Tree};

/// Where a node belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its own id.
    pub(super) id: String,
    /// The key of what it stands under.
    pub(super) above: Option<String>,
    /// In which iteration of that, if it is a loop.
    pub(super) iteration: Option<u64>,
}

/// The id in a key, without the way to it and its iterations.
pub(super) fn id(key: &str) -> &str {
    let last = key.rsplit('/').next().unwrap_or(key);
    last.split('#').next().unwrap_or(last)
}

impl Tree {
    pub(super) fn place(&self, key: &str) -> Place {
        let top = |id: &str| Place { id: id.to_owned(), above: None, iteration: None };
        if self.outline.node(key).is_some() {
            return top(key);
        }
        let (way, local) = key.rsplit_once('/').map_or(("", key), |(way, local)| (way, local));
        if let Some((node, branch)) = key.rsplit_once(':').filter(|(node, _)| node.len() > way.len()) {
            return Place { id: branch.to_owned(), above: Some(node.to_owned()), iteration: None };
        }
        let Some((id, iterations)) = local.rsplit_once('#') else {
            let above = (!way.is_empty()).then(|| way.to_owned());
            return Place { above, ..top(local) };
        };
        let (around, last) = iterations.rsplit_once('.').unwrap_or(("", iterations));
        let iteration: Option<u64> = last.split('@').next().and_then(|n| n.parse().ok());
        let way = if way.is_empty() { String::new() } else { format!("{way}/") };
        let around = if around.is_empty() { String::new() } else { format!("#{around}") };
        let known = self.outline.node(id).filter(|_| way.is_empty()).and_then(|(_, node)| node.within.as_ref());
        let above =
            known.map(|id| format!("{way}{id}{around}")).or_else(|| self.loop_at_work(&way, &around, iteration));
        match above {
            Some(above) => Place { id: id.to_owned(), above: Some(above), iteration },
            None => top(local),
        }
    }

    /// The loop beside which this iteration is: the one at work, or else the last that got so far.
    fn loop_at_work(&self, way: &str, around: &str, iteration: Option<u64>) -> Option<String> {
        let fits = |key: &str| {
            let rest = key.strip_prefix(way).and_then(|rest| rest.strip_suffix(around));
            rest.is_some_and(|id| !id.is_empty() && !id.contains(['/', ':', '#']))
        };
        // A loop within a loop may not have said yet that it is one, or that it has got so far.
        let is_loop = |node: &Node| node.status.is_at_work() || (node.begun.is_some() && node.begun >= iteration);
        let loops = self.nodes.iter().filter(|node| fits(&node.key) && is_loop(node));
        loops.max_by_key(|node| (node.begun.is_some(), node.status.is_at_work())).map(|node| node.key.clone())
    }
}
