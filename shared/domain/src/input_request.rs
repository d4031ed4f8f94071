//! Questions to people and clients: a lane that needs an answer pauses, costs nothing while it waits, and goes on when the
//! last of its questions is answered or has expired.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    id::{InputRequestId, LaneName},
    limits::LONGEST_PAUSE,
    time::Timestamp,
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Whether a node, or a tool call, may go ahead.
    Approval,
    /// A node's input.
    Input,
    /// Whether a node's output may stand.
    Review,
    /// The result of a tool that only the caller can run.
    ClientTool,
    /// More tokens or money, or an end.
    Budget,
    /// More turns with tools than a node may have, or an end.
    ToolLimit,
}

/// What a person can do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let it happen as it is.
    Approve,
    /// Refuse it.
    Reject,
    /// Pass it over.
    Skip,
    /// Give what was asked for.
    Submit,
    /// Let it happen changed.
    Modify,
}

impl Action {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Skip => "skip",
            Self::Submit => "submit",
            Self::Modify => "modify",
        }
    }

    /// The action of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Approve, Self::Reject, Self::Skip, Self::Submit, Self::Modify]
            .into_iter()
            .find(|action| action.as_str() == name)
    }
}

/// A choice that is offered: a button with a meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputOption {
    /// By which an answer names it.
    pub id: String,
    /// What people read.
    pub label: String,
    /// What it does.
    pub action: Action,
}

impl InputOption {
    /// A choice.
    pub fn new(id: &str, label: &str, action: Action) -> Self {
        Self { id: id.to_owned(), label: label.to_owned(), action }
    }
}

/// What there is to look at before one answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputContext {
    /// What went in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The tool call that a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedCall {
    /// The call's id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The exact arguments, as the model wrote them.
    pub arguments: String,
    /// Their fingerprint: an approval holds for these arguments alone.
    pub fingerprint: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputAnswer {
    /// What is to be done.
    pub action: Action,
    /// The option that was chosen, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// What came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Who answered: a user's id, or [`NOBODY`].
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Who "answers" a request that expired.
pub const NOBODY: &str = "timeout";

/// Who "answers" a request that nothing waits for any more.
pub const WORKFLOW: &str = "workflow";

impl InputAnswer {
    /// The words that a refusal came with, if any.
    pub fn reason(&self) -> Option<&str> {
        self.data.as_ref()?.get("reason")?.as_str().filter(|reason| !reason.is_empty())
    }
}

/// A question to a person or a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRequest {
    /// Its id, the same again when a turn that was cut off asks again.
    pub id: InputRequestId,
    /// What is asked for.
    pub kind: InputKind,
    /// The lane that waits.
    pub lane: LaneName,
    /// In which of its turns.
    pub turn: u32,
    /// The workflow's node, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The tool call, if about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<AskedCall>,
    /// The question in words.
    pub prompt: String,
    /// The choices; actions may be named without them.
    #[serde(default)]
    pub options: Vec<InputOption>,
    /// What an answer's data must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// What there is to look at.
    #[serde(default)]
    pub context: InputContext,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When the default action is taken.
    pub expires_at: Timestamp,
    /// What happens when nobody answers.
    pub default_action: Action,
    /// What comes with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_data: Option<Value>,
    /// The answer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<InputAnswer>,
}

/// Why an answer cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The request has an answer.
    #[error("the request was answered already, with `{}`", .0.as_str())]
    Answered(Action),
    /// No such action.
    #[error("`{named}` cannot be done here; choose one of {allowed}")]
    Action {
        /// What was named.
        named: String,
        /// What could be.
        allowed: String,
    },
    /// The action needs data.
    #[error("`{}` needs `data`{}", .0.as_str(), .1)]
    NoData(Action, &'static str),
}

impl InputKind {
    /// What can be done about a request of this kind; `of_call`: it is about a tool call.
    pub fn actions(self, of_call: bool) -> &'static [Action] {
        use Action::{Approve, Modify, Reject, Skip, Submit};
        match self {
            Self::Approval if of_call => &[Approve, Modify, Reject],
            Self::Approval | Self::Review => &[Approve, Reject, Skip, Submit, Modify],
            Self::Input => &[Submit, Modify, Reject, Skip],
            Self::ClientTool => &[Submit, Reject],
            Self::Budget => &[Submit, Approve, Reject],
            Self::ToolLimit => &[Approve, Reject],
        }
    }
}

impl InputRequest {
    /// Whether it still waits for an answer.
    pub fn is_open(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether it is asked for the whole job: any number of its lanes may wait for the answer.
    pub fn is_of_job(&self) -> bool {
        self.kind == InputKind::Budget
    }

    /// What can be done about it: actions, and the ids of its options.
    pub fn choices(&self) -> Vec<&str> {
        let actions = self.kind.actions(self.tool_call.is_some()).iter().map(|action| action.as_str());
        self.options.iter().map(|option| option.id.as_str()).chain(actions).collect()
    }

    /// The answer that `named` (an action, or an option's id) and `data` make. The data is not held against the schema
    /// here.
    ///
    /// # Errors
    /// When the request is answered, or the answer does not fit.
    pub fn answer(
        &self,
        named: &str,
        data: Option<Value>,
        by: String,
        at: Timestamp,
    ) -> Result<InputAnswer, BadAnswer> {
        if let Some(answer) = &self.answer {
            return Err(BadAnswer::Answered(answer.action));
        }
        let option = self.options.iter().find(|option| option.id == named);
        let allowed = self.kind.actions(self.tool_call.is_some());
        let action = match option {
            Some(option) => option.action,
            None => Action::named(named).filter(|action| allowed.contains(action)).ok_or_else(|| {
                let allowed = self.choices().iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
                BadAnswer::Action { named: named.chars().take(64).collect(), allowed }
            })?,
        };
        if data.is_none() && self.needs_data(action) {
            let hint = match self.kind {
                InputKind::ClientTool => ": the tool's result",
                InputKind::Budget => ": `max_total_tokens` or `max_cost_usd`, higher than what is used",
                _ if self.tool_call.is_some() => ": the arguments to use instead",
                _ => "",
            };
            return Err(BadAnswer::NoData(action, hint));
        }
        Ok(InputAnswer { action, option: option.map(|option| option.id.clone()), data, by, at })
    }

    fn needs_data(&self, action: Action) -> bool {
        match action {
            Action::Modify => true,
            Action::Submit => matches!(self.kind, InputKind::ClientTool | InputKind::Input),
            Action::Approve | Action::Reject | Action::Skip => false,
        }
    }

    /// What happens since nobody has answered.
    pub fn expired(&self, at: Timestamp) -> InputAnswer {
        InputAnswer {
            action: self.default_action,
            option: None,
            data: self.default_data.clone(),
            by: NOBODY.to_owned(),
            at,
        }
    }

    /// What happens since the lane that waits is not wanted any more.
    pub fn withdrawn(&self, at: Timestamp) -> InputAnswer {
        let data = json!({"reason": "What it was asked for is not done any more, since something else has failed"});
        InputAnswer { action: Action::Reject, option: None, data: Some(data), by: WORKFLOW.to_owned(), at }
    }
}

/// When a request that is asked now expires: after `wait`, and never so late that its job's items could be gone.
pub fn expiry(now: Timestamp, wait: Duration, job_created_at: Timestamp) -> Timestamp {
    (now + wait).min((job_created_at + LONGEST_PAUSE).max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: InputKind) -> InputRequest {
        let now = Timestamp::from_millis(1000);
        InputRequest {
            id: "main.1.call0".parse().unwrap(),
            kind,
            lane: LaneName::main(),
            turn: 1,
            node_id: None,
            tool_call: None,
            prompt: "May I?".to_owned(),
            options: vec![InputOption::new("later", "Not now", Action::Skip)],
            input_schema: None,
            context: InputContext::default(),
            created_at: now,
            expires_at: expiry(now, Duration::from_secs(900), now),
            default_action: Action::Reject,
            default_data: None,
            answer: None,
        }
    }

    #[test]
    fn an_answer_names_an_action_or_an_option() {
        let request = request(InputKind::Approval);
        let answer = |named: &str| request.answer(named, None, "ann".into(), Timestamp::from_millis(2));
        assert_eq!(answer("approve").unwrap().action, Action::Approve);
        let chosen = answer("later").unwrap();
        assert_eq!((chosen.action, chosen.option.as_deref()), (Action::Skip, Some("later")));
        let refused = answer("fly").unwrap_err().to_string();
        assert!(refused.starts_with("`fly` cannot be done here; choose one of `later`, `approve`"), "{refused}");
        assert_eq!(answer("modify"), Err(BadAnswer::NoData(Action::Modify, "")));
    }

    #[test]
    fn a_request_is_answered_once() {
        let mut request = request(InputKind::ClientTool);
        let answer = request.answer("submit", Some(json!("12°")), "ann".into(), Timestamp::from_millis(2)).unwrap();
        request.answer = Some(answer);
        let again = request.answer("reject", None, "ann".into(), Timestamp::from_millis(3));
        assert_eq!(again, Err(BadAnswer::Answered(Action::Submit)));
    }

    #[test]
    fn a_pause_ends_before_the_jobs_items_do() {
        let created = Timestamp::from_millis(0);
        let late = created + LONGEST_PAUSE - Duration::from_secs(1);
        assert_eq!(expiry(late, Duration::from_secs(3600), created), created + LONGEST_PAUSE);
    }
}
