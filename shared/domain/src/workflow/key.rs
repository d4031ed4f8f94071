//! Names within a run: of nodes, of their branches, and of the lanes that work on them.
//!
//! A [`NodeKey`] is the node's id with what distinguishes its repetitions: `<subflow>/<node>` within a subflow, `node#i`
//! in iteration i of a loop (`node#i.j` in a loop within a loop), `node:branch` for a branch. Ids are arbitrary text from
//! the editor, so within a key the signs that have a meaning there are percent-encoded in ids: no two things have one key.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::LaneName;

/// A node, or a branch of one, in one of its repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeKey(String);

/// The signs that mean something in a key.
const SIGNS: [char; 5] = ['/', '#', ':', '@', '%'];

impl NodeKey {
    pub(super) fn new(prefix: &str, id: &str, suffix: &str) -> Self {
        Self(format!("{prefix}{}{suffix}", escaped(id)))
    }

    /// A branch of this node.
    pub(super) fn branch(&self, id: &str) -> Self {
        Self(format!("{}:{}", self.0, escaped(id)))
    }

    /// A key as it was stored: what [`NodeKey::as_str`] gave.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As text, as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As viewers see it: ids are as the document has them.
    pub fn shown(&self) -> String {
        let mut shown = self.0.clone();
        for sign in SIGNS {
            shown = shown.replace(&code(sign), &sign.to_string());
        }
        shown
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

fn code(sign: char) -> String {
    format!("%{:02X}", u32::from(sign))
}

/// An id as it stands in a key.
pub(super) fn escaped(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for sign in id.chars() {
        if SIGNS.contains(&sign) {
            text.push_str(&code(sign));
        } else {
            text.push(sign);
        }
    }
    text
}

/// What a lane does for its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node's own work.
    Node,
    /// The work of a branch, by its place.
    Branch(usize),
    /// The merge of a parallel node's branches.
    Merge,
    /// Asks whether a loop goes on, after so many iterations.
    Guard(u32),
    /// No work: it only lets the plan go on when more was ready than one step may write. Numbered.
    Onward(u32),
}

/// Longest readable part of a lane's name, in bytes.
const READABLE: usize = 80;

/// The name of the lane that does this for this node: readable where the key allows, and different for everything that is
/// different: whatever was left out or replaced is in the hash. (The plan records what each lane is for, so nobody reads
/// names back.)
pub(super) fn lane_name(key: &NodeKey, role: Role) -> LaneName {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut name: String = key.0.chars().map(|c| if plain(c) { c } else { '-' }).take(READABLE).collect();
    // `main` is the lane of a chat job.
    if name != key.0 || name == LaneName::main().as_str() || name.is_empty() {
        name.push('.');
        for byte in &Sha256::digest(key.0.as_bytes())[..12] {
            let _ = write!(name, "{byte:02x}"); // writing to a String cannot fail
        }
    }
    let name = match role {
        Role::Node => name,
        Role::Branch(n) => format!("{name}:branch-{n}"),
        Role::Merge => format!("{name}:merge"),
        Role::Guard(n) => format!("{name}:guard-{n}"),
        Role::Onward(n) => format!("{name}:onward-{n}"),
    };
    #[expect(clippy::expect_used, reason = "at most 126 bytes of plain signs")]
    LaneName::try_from(name).expect("the name is plain and short")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn different_keys_and_roles_have_different_lanes_and_plain_ids_are_their_own() {
        let long = ["x".repeat(300), "x".repeat(301)];
        let keys = ["a", "a-1", "a#1", "a/1", "a:1", "a%231", "é", "e", "", "main", long[0].as_str(), long[1].as_str()];
        let mut names = BTreeSet::new();
        for key in keys {
            for role in [Role::Node, Role::Branch(0), Role::Branch(10), Role::Merge, Role::Guard(0), Role::Onward(0)] {
                assert!(names.insert(lane_name(&NodeKey(key.to_owned()), role)), "{key} {role:?}");
            }
        }
        assert_eq!(lane_name(&NodeKey("writer".into()), Role::Node).as_str(), "writer");
        assert_ne!(lane_name(&NodeKey("main".into()), Role::Node), LaneName::main());
    }

    #[test]
    fn ids_with_signs_make_keys_that_stand_for_nothing_else_and_are_shown_as_they_are() {
        let odd = NodeKey::new("", "a#1", "");
        let repeated = NodeKey::new("", "a", "#1");
        assert_ne!(odd, repeated);
        for id in ["a#1", "a/b:c", "100%", "%23", "x@y"] {
            assert_eq!(NodeKey::new("", id, "").shown(), id);
        }
    }
}
