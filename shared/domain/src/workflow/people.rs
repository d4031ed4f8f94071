//! What people are asked about a node, and what they may answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Whether a node may begin.
    Approval,
    /// What a node begins with.
    Input,
    /// Whether a node's output is good.
    Review,
    /// Whether an agent may go on at the limit of its turns with tools.
    ToolLimit,
}

/// Something to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The action that names it in an answer.
    pub id: String,
    /// Its text for people.
    pub label: String,
    /// What it means: an action's name; anything else, such as `custom`, lets the node go on.
    pub action: String,
}

/// What counts as answered when the time is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultAction {
    /// Yes.
    Approve,
    /// No.
    #[default]
    Reject,
    /// Pass the node over.
    Skip,
}

impl DefaultAction {
    /// The action's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Skip => "skip",
        }
    }
}

/// What the person needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContext {
    /// What the node begins with.
    pub input: String,
    /// What it came to, in a review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A request as the workflow makes it; its id and times are the caller's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRequestDraft {
    /// What it is for.
    pub kind: RequestKind,
    /// Which node, as viewers see its name.
    pub node_id: String,
    /// What the person reads.
    pub prompt: String,
    /// What the person may choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Choice>,
    /// JSON schema of the answer's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// What the person needs to know.
    pub context: RequestContext,
    /// How long the person has; `None`: as long as the job's limits say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What counts as answered then.
    pub default_action: DefaultAction,
}

/// A person's answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonsAnswer {
    /// One of [`allowed_actions`].
    pub action: String,
    /// What goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Who answered; for a time-out, words that say so.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The actions that answer a request: the kind's own, and the ids of the options.
pub fn allowed_actions(kind: RequestKind, options: &[Choice]) -> Vec<String> {
    let own: &[&str] = match kind {
        RequestKind::ToolLimit => &["approve", "reject"],
        RequestKind::Approval | RequestKind::Input | RequestKind::Review => {
            &["approve", "reject", "skip", "submit", "modify"]
        }
    };
    let mut actions: Vec<String> = own.iter().map(|&action| action.to_owned()).collect();
    for choice in options {
        if !actions.contains(&choice.id) {
            actions.push(choice.id.clone());
        }
    }
    actions
}

/// What an answer means for its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Go,
    Replace,
    Skip,
    Reject,
}

/// What an answer means: an option's id stands for the option's action.
pub(super) fn meaning(answer: &PersonsAnswer, options: &[Choice]) -> Meaning {
    let chosen = options.iter().find(|choice| choice.id == answer.action);
    match chosen.map_or(answer.action.as_str(), |choice| choice.action.as_str()) {
        "reject" => Meaning::Reject,
        "skip" => Meaning::Skip,
        "submit" | "modify" => Meaning::Replace,
        _ => Meaning::Go,
    }
}

/// An answer's data as text: text as it is, anything else as JSON; `None` when there is nothing in it.
pub(super) fn data_text(answer: &PersonsAnswer) -> Option<String> {
    match answer.data.as_ref()? {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_options_id_is_an_action_and_stands_for_the_options_own() {
        let choice = |id: &str, action: &str| Choice { id: id.into(), label: id.into(), action: action.into() };
        let options = [choice("no", "reject"), choice("later", "custom"), choice("approve", "approve")];
        let actions = allowed_actions(RequestKind::Approval, &options);
        assert_eq!(actions, ["approve", "reject", "skip", "submit", "modify", "no", "later"]);
        assert_eq!(allowed_actions(RequestKind::ToolLimit, &[]), ["approve", "reject"]);
        let answer =
            |action: &str| PersonsAnswer { action: action.into(), data: None, by: "ann".into(), at: Timestamp::MIN };
        let means = |action: &str| meaning(&answer(action), &options);
        assert_eq!(
            ["no", "later", "modify", "skip", "approve"].map(means),
            [Meaning::Reject, Meaning::Go, Meaning::Replace, Meaning::Skip, Meaning::Go]
        );
    }
}
