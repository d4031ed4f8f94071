//! Where each item is: the only place where key strings are built or read.

use std::fmt;

use domain::id::{InputRequestId, JobId, LaneName, MessageId, ThreadId, UserId};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use domain::{job::Status, workflow::NodeKey};

/// The table's hash key.
pub const PK: &str = "pk";
/// The table's range key.
pub const SK: &str = "sk";

/// What would blur the parts of a key.
const PARTS: &AsciiSet = &CONTROLS.add(b'#').add(b'%').add(b' ');

/// Shards of the due index: one hot partition takes 1,000 writes a second, and every claim and commit moves a due time.
pub const DUE_SHARDS: u32 = 8;

/// A part of a key, such that it cannot be taken for two.
fn part(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, PARTS)
}

/// The range key of an item in a job's partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sort<'a> {
    /// An event of the log.
    Event(u64),
    /// The head.
    Head,
    /// The caller's notes.
    Info,
    /// A question to a person or a client.
    Input(&'a InputRequestId),
    /// A lane.
    Lane(&'a LaneName),
    /// A message that came in, by its id.
    Message(&'a str),
    /// What a workflow's node has said.
    Node(&'a NodeKey),
    /// A part of it, in order, by whom it was written.
    NodePart(&'a NodeKey, &'a str, u32),
    /// A workflow's final output.
    Output,
    /// A part of it, in order, by whom it was written.
    OutputPart(&'a str, u32),
    /// A workflow's plan.
    Plan,
    /// A part of it, in order, by whom it was written.
    PlanPart(&'a str, u32),
    /// What the caller asked for.
    Request,
    /// A part of it, in order.
    RequestPart(u32),
    /// A turn's answer.
    Answer(&'a LaneName, u32),
    /// A part of it, in order, by whom it was written: an attempt that died may have left parts of its own.
    AnswerPart(&'a LaneName, u32, &'a str, u32),
    /// A tool call.
    Call(&'a LaneName, u32, u32),
    /// What stands for the earlier part of a turn's conversation, by its place among those of the turn.
    Compaction(&'a LaneName, u32, usize),
}

impl fmt::Display for Sort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(number) => write!(f, "event#{number:010}"),
            Self::Head => f.write_str("head"),
            Self::Info => f.write_str("info"),
            Self::Input(id) => write!(f, "input#{id}"),
            Self::Lane(name) => write!(f, "lane#{name}"),
            Self::Message(id) => write!(f, "message#{}", part(id)),
            Self::Node(key) => write!(f, "node#{}", node_name(key)),
            Self::NodePart(key, writer, n) => write!(f, "node#{}#part#{writer}#{n:04}", node_name(key)),
            Self::Output => f.write_str("output"),
            Self::OutputPart(writer, n) => write!(f, "output#{writer}#{n:04}"),
            Self::Plan => f.write_str("plan"),
            Self::PlanPart(writer, n) => write!(f, "plan#{writer}#{n:04}"),
            Self::Request => f.write_str("request"),
            Self::RequestPart(n) => write!(f, "request#part#{n:04}"),
            Self::Answer(lane, turn) => write!(f, "turn#{lane}#{turn:05}#answer"),
            Self::AnswerPart(lane, turn, writer, n) => write!(f, "turn#{lane}#{turn:05}#answer#{writer}#{n:04}"),
            Self::Call(lane, turn, index) => write!(f, "turn#{lane}#{turn:05}#call#{index:03}"),
            Self::Compaction(lane, turn, n) => write!(f, "turn#{lane}#{turn:05}#compaction#{n:03}"),
        }
    }
}

/// Longest name of a node in a key, in bytes: a range key may have 1,024.
const NODE_NAME: usize = 800;

/// A node's name in a key: itself where it is short enough, or else the beginning of it and a hash of the whole.
fn node_name(key: &NodeKey) -> String {
    let name = part(key.as_str()).to_string();
    if name.len() <= NODE_NAME {
        return name;
    }
    let hash = Sha256::digest(key.as_str().as_bytes());
    let mut short = name[..name.floor_char_boundary(NODE_NAME)].to_owned();
    for byte in &hash[..16] {
        let _ = fmt::Write::write_fmt(&mut short, format_args!("{byte:02x}")); // writing to a String cannot fail
    }
    short
}

/// After every key that starts with `turn#`: the end of what a turn has to know.
pub(crate) const AFTER_TURNS: &str = "turn#~";
/// After every lane, before what came in.
pub(crate) const AFTER_LANES: &str = "lane#~";
/// After the plan, before the request.
pub(crate) const AFTER_PLAN: &str = "plan#~";
/// Before every lane.
pub(crate) const BEFORE_LANES: &str = "lane#";

/// The number of the event under this range key, if it is one's.
pub(crate) fn event_number(sort: &str) -> Option<u64> {
    sort.strip_prefix("event#")?.parse().ok()
}

/// The whole key of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its partition.
    pub pk: String,
    /// Its place in it.
    pub sk: String,
}

impl Key {
    /// An item of a job.
    pub(crate) fn of(job: &JobId, sort: &Sort<'_>) -> Self {
        Self { pk: job.to_string(), sk: sort.to_string() }
    }

    /// What an idempotency key of a user stands for.
    pub(crate) fn idempotency(user: &UserId, key: &str) -> Self {
        Self { pk: user_partition(user), sk: format!("key#{}", part(key)) }
    }

    /// The operator's switches.
    pub(crate) fn switches() -> Self {
        Self { pk: "system".to_owned(), sk: "switches".to_owned() }
    }

    /// The set of a user's jobs at work.
    pub(crate) fn at_work(user: &UserId) -> Self {
        Self { pk: user_partition(user), sk: "at_work".to_owned() }
    }
}

/// The range key of a user's workflow.
pub(crate) fn workflow_sort(id: &str) -> String {
    format!("workflow#{}", part(id))
}

pub(crate) fn user_partition(user: &UserId) -> String {
    format!("user#{}", part(user.as_str()))
}

/// Index key: a user's jobs of one status. Those in line are under that of those at work, of which a user has few: to move
/// each job from one to the other costs more than to tell them apart by their heads.
pub(crate) fn user_status(user: &UserId, status: Status) -> String {
    let place = if status == Status::Queued { Status::Running } else { status };
    format!("{}#{}", part(user.as_str()), place.as_str())
}

/// Index key: a user's jobs of one thread.
pub(crate) fn user_thread(user: &UserId, thread: &ThreadId) -> String {
    format!("{}#{}", part(user.as_str()), part(thread.as_str()))
}

/// Index key: a user's jobs that answer one message.
pub(crate) fn user_message(user: &UserId, message: &MessageId) -> String {
    format!("{}#{}", part(user.as_str()), part(message.as_str()))
}

/// Index key: which shard of the due index a job is in. The end of a ULID is random, so it spreads evenly.
pub(crate) fn due_shard(job: &JobId) -> String {
    let sum: u32 = job.as_str().bytes().rev().take(8).map(u32::from).sum();
    shard_name(sum % DUE_SHARDS)
}

/// Index key: the n-th shard.
pub(crate) fn shard_name(n: u32) -> String {
    format!("due#{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_items_sort_as_its_readers_want_them() {
        let lane = LaneName::main();
        let sorted = [
            Sort::Event(1),
            Sort::Event(10),
            Sort::Event(9_999_999_999),
            Sort::Head,
            Sort::Info,
            Sort::Input(&InputRequestId::of(&lane, 1, "call0")),
            Sort::Lane(&lane),
            Sort::Message("m"),
            Sort::Node(&NodeKey::stored("n#1")),
            Sort::Output,
            Sort::Plan,
            Sort::Request,
            Sort::RequestPart(0),
            Sort::Answer(&lane, 1),
            Sort::AnswerPart(&lane, 1, "w", 0),
            Sort::Call(&lane, 1, 0),
            Sort::Compaction(&lane, 1, 0),
            Sort::Answer(&lane, 2),
        ]
        .map(|sort| sort.to_string());
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert!(sorted.last().unwrap().as_str() < AFTER_TURNS);
        assert!(sorted[6].as_str() < AFTER_LANES && AFTER_LANES < sorted[7].as_str());
        assert!(sorted[10].as_str() < AFTER_PLAN && AFTER_PLAN < sorted[11].as_str());
        assert_eq!(event_number(&sorted[1]), Some(10));
    }

    #[test]
    fn two_users_never_share_an_index_key() {
        let (a, b): (UserId, UserId) = ("a#b".parse().unwrap(), "a".parse().unwrap());
        let (t, u): (ThreadId, ThreadId) = ("c".parse().unwrap(), "b#c".parse().unwrap());
        assert_ne!(user_thread(&a, &t), user_thread(&b, &u));
        assert_ne!(Key::idempotency(&a, "x"), Key::idempotency(&b, "b#x"));
    }
}
