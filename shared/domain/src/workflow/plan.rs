//! What is stored of a run: the plan, which is small and one item, and a record for each node that has something to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    key::{NodeKey, Role},
    retry::NodeError,
};
use crate::{id::LaneName, message::Part, time::Timestamp};

/// What a workflow is run on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInput {
    /// The user's text.
    pub text: String,
    /// What came with it; it goes to every agent whose model takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Part>,
}

/// Where a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Not begun.
    #[default]
    Pending,
    /// At work.
    Active,
    /// Waits for a person.
    Waiting,
    /// It has an output.
    Completed,
    /// It failed, or a person refused it.
    Error,
    /// It was not run: no way led to it, a person passed it over, or the run failed elsewhere while it was at work.
    Skipped,
}

impl NodeStatus {
    /// Whether it will not change any more.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Error | Self::Skipped)
    }
}

/// A node in the plan; nodes that are not in it are pending. Its texts are in its [`NodeRecord`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Where it is.
    #[serde(rename = "s")]
    pub status: NodeStatus,
    /// When it began.
    #[serde(rename = "b", default, with = "millis", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(rename = "e", default, with = "millis", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The route that a router took.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// For a loop the iteration it is in, or how many it had; for a node in a loop's body its own.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// The edges that were taken from it, by their place in the graph.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<usize>,
    /// It had its turn: it ran, or a person passed it over, and the flow goes on from it.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
    /// A loop that is being asked whether it goes on.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub deciding: bool,
}

mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::time::Timestamp;

    #[expect(clippy::ref_option, reason = "serde asks for this signature")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_millis).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Timestamp::from_millis))
    }
}

/// The way from the workflow's graph to the one that a node is in: through subflow nodes and iterations of loops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The subflow or loop, by its place in its graph.
    #[serde(rename = "n")]
    pub node: usize,
    /// The loop's iteration, from 1; `None` for a subflow.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
}

/// What a lane is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneWork {
    /// The node, as it is called.
    #[serde(rename = "k")]
    pub key: NodeKey,
    /// What it does for the node.
    #[serde(rename = "r")]
    pub role: Role,
    /// Where the node is.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
    /// The node, by its place in its graph.
    #[serde(rename = "n")]
    pub node: usize,
}

/// How a run ended, as the plan remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a result.
    Completed,
    /// This node failed.
    Failed(NodeKey),
}

/// Which nodes are where, and which lanes are at work: all that planning needs beside the nodes' texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The nodes that are not pending.
    #[serde(default)]
    pub nodes: BTreeMap<NodeKey, NodeState>,
    /// The lanes at work, and what for.
    #[serde(default)]
    pub lanes: BTreeMap<LaneName, LaneWork>,
    /// How often a lane was opened only to go on: their names are numbered.
    #[serde(default)]
    pub onwards: u32,
    /// Bytes of all records.
    #[serde(default)]
    pub bytes: usize,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What a node has said. Written when it settles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What a person put in the place of its input. Any other input follows from the nodes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it failed, or who refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
}

/// A run as it is stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// The plan.
    pub plan: Plan,
    /// The records.
    pub nodes: BTreeMap<NodeKey, NodeRecord>,
}

/// What viewers are told about a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeEvent {
    /// Which.
    pub key: NodeKey,
    /// Where it is now.
    pub status: NodeStatus,
    /// In which iteration.
    pub iteration: Option<u32>,
    /// Its output.
    pub output: Option<String>,
    /// Why it failed.
    pub error: Option<NodeError>,
    /// The route that it took.
    pub route: Option<String>,
    /// What else is to be known: that a router fell back, or a loop reached its maximum.
    pub note: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd {
    /// With a result.
    Completed {
        /// It.
        output: String,
    },
    /// Without.
    Failed {
        /// The node that failed, the innermost in loops and subflows.
        node: NodeKey,
        /// Why.
        error: NodeError,
        /// Whether a person refused.
        rejected: bool,
    },
}

/// What one change of a run writes: all of it in one transaction, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The plan, whole.
    pub plan: Plan,
    /// The records that are new or changed.
    pub changed: BTreeMap<NodeKey, NodeRecord>,
    /// Lanes to be made. At most [`MAX_LANES`].
    pub opened: Vec<LaneName>,
    /// Lanes that were at work for what has failed: to be closed, they are not heard any more.
    pub closed: Vec<LaneName>,
    /// What viewers are told.
    pub events: Vec<NodeEvent>,
    /// How the run ended, if it did with this step.
    pub end: Option<RunEnd>,
}

/// Most lanes that are open at once: whoever ends the job closes all of them in one transaction.
pub const MAX_LANES: usize = 80;
/// Most items that one step opens, closes and changes together: DynamoDB writes 100 in a transaction, and the caller has
/// some of its own in it.
pub const MAX_ITEMS: usize = 90;
/// Bytes of records after which a step leaves what else is ready to the next: a transaction has at most 4 MB.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Most nodes that a run may touch, all repetitions counted. So many make a plan of about 350 KB before compression; an
/// item has at most 400.
pub const MAX_TOUCHED: usize = 4000;

/// Most bytes that the records of a run may have together: loops can make texts that grow with each iteration.
pub const MAX_RUN_BYTES: usize = 64 * 1024 * 1024;

/// Why a result was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The lane does no work in this plan: it has settled already, or what it worked for has failed.
    #[error("the lane is not at work in this plan")]
    NotAtWork,
    /// The run is over.
    #[error("the run is over")]
    Ended,
}

impl Run {
    /// The run as it is after a step.
    #[must_use]
    pub fn after(&self, step: &Step) -> Self {
        let mut nodes = self.nodes.clone();
        nodes.extend(step.changed.iter().map(|(key, record)| (key.clone(), record.clone())));
        Self { plan: step.plan.clone(), nodes }
    }
}
