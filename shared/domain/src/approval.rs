//! Which tool calls a person has to approve before they run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When calls of a tool need a person's approval. Written as the words `never` and `always`, or as the schema itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ApprovalRule {
    /// As the word says.
    Word(ApprovalWord),
    /// When their arguments match this JSON schema.
    Matching(Value),
}

impl ApprovalRule {
    /// No call needs one.
    pub const NEVER: Self = Self::Word(ApprovalWord::Never);
    /// Every call does.
    pub const ALWAYS: Self = Self::Word(ApprovalWord::Always);
}

/// A rule that does not look at arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalWord {
    /// No call does.
    Never,
    /// Every call does.
    Always,
}

/// A job's rules by tool; `*` is for the tools that have none of their own.
pub type Approvals = BTreeMap<String, ApprovalRule>;

/// The rule for calls of `tool`: the tool's own of the job, the job's for all tools, or the deployment's.
pub fn rule_for<'a>(approvals: &'a Approvals, tool: &str, deployment: &'a ApprovalRule) -> &'a ApprovalRule {
    approvals.get(tool).or_else(|| approvals.get("*")).unwrap_or(deployment)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_nearest_rule_holds() {
        let approvals: Approvals = serde_json::from_value(json!({
            "*": "always", "look": "never", "pay": {"properties": {"amount": {"minimum": 100}}}
        }))
        .unwrap();
        let none = ApprovalRule::NEVER;
        assert_eq!(rule_for(&approvals, "look", &none), &ApprovalRule::NEVER);
        assert_eq!(rule_for(&approvals, "send", &none), &ApprovalRule::ALWAYS);
        assert!(matches!(rule_for(&approvals, "pay", &none), ApprovalRule::Matching(_)));
        assert_eq!(rule_for(&Approvals::new(), "pay", &none), &none);
    }
}
