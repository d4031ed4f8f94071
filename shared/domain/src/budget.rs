//! A job's budget: what it may use before a person is asked, and what they have allowed since.

use serde_json::{Value, json};

use crate::{
    input_request::{Action, InputKind, InputRequest},
    limits::JobLimits,
    usage::Usage,
};

/// What a job may use in all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Tokens, of prompts and answers together.
    pub tokens: Option<u64>,
    /// US dollars.
    pub cost_usd: Option<f64>,
}

impl Budget {
    /// What the job was given, and what people added: an answer names the new limit, or, when it names none, allows as
    /// much again.
    pub fn of(limits: &JobLimits, requests: &[InputRequest]) -> Self {
        let given = Self { tokens: limits.max_total_tokens, cost_usd: limits.max_cost_usd };
        let raises = requests.iter().filter(|request| request.kind == InputKind::Budget).filter_map(|request| {
            request.answer.as_ref().filter(|answer| matches!(answer.action, Action::Approve | Action::Submit))
        });
        raises.fold(given, |budget, answer| {
            let named = |name: &str| answer.data.as_ref().and_then(|data| data.get(name));
            let (tokens, cost) = (named("max_total_tokens"), named("max_cost_usd"));
            if tokens.is_none() && cost.is_none() {
                return Self {
                    tokens: budget.tokens.map(|tokens| tokens.saturating_add(given.tokens.unwrap_or(0))),
                    cost_usd: budget.cost_usd.map(|cost| cost + given.cost_usd.unwrap_or(0.0)),
                };
            }
            Self {
                tokens: tokens.and_then(Value::as_u64).or(budget.tokens),
                cost_usd: cost.and_then(Value::as_f64).or(budget.cost_usd),
            }
        })
    }

    /// Why no further model call may be made, in words; nothing while there is something left.
    pub fn used_up(&self, used: &Usage) -> Option<String> {
        let tokens = used.input_tokens + used.output_tokens;
        if let Some(most) = self.tokens.filter(|most| tokens >= *most) {
            return Some(format!("The job has used {tokens} of its {most} tokens (limits.max_total_tokens)."));
        }
        let most = self.cost_usd.filter(|most| used.cost_usd >= *most)?;
        Some(format!("The job has cost {:.4} of its {most:.4} US dollars (limits.max_cost_usd).", used.cost_usd))
    }

    /// What the data of an answer must look like.
    pub fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "max_total_tokens": {"type": "integer", "minimum": 1, "description": "The new limit, what is used included."},
                "max_cost_usd": {"type": "number", "minimum": 0, "description": "The new limit in US dollars, what is spent included."}
            },
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::LaneName,
        input_request::{InputAnswer, InputContext},
        time::Timestamp,
    };

    fn raised(action: Action, data: Option<Value>) -> InputRequest {
        let at = Timestamp::MIN;
        InputRequest {
            id: "main.2.budget0".parse().unwrap(),
            kind: InputKind::Budget,
            lane: LaneName::main(),
            turn: 2,
            node_id: None,
            tool_call: None,
            prompt: String::new(),
            options: vec![],
            input_schema: None,
            context: InputContext::default(),
            created_at: at,
            expires_at: at,
            default_action: Action::Reject,
            default_data: None,
            answer: Some(InputAnswer { action, option: None, data, by: "ann".into(), at }),
        }
    }

    #[test]
    fn people_raise_a_budget_by_naming_a_limit_or_by_as_much_again() {
        let limits = JobLimits { max_total_tokens: Some(1000), max_cost_usd: Some(0.5), ..JobLimits::default() };
        let budget = |requests: &[InputRequest]| Budget::of(&limits, requests);
        assert_eq!(budget(&[]).tokens, Some(1000));
        assert_eq!(budget(&[raised(Action::Approve, None)]), Budget { tokens: Some(2000), cost_usd: Some(1.0) });
        let named = raised(Action::Submit, Some(json!({"max_total_tokens": 5000})));
        assert_eq!(budget(&[named]), Budget { tokens: Some(5000), cost_usd: Some(0.5) });
        assert_eq!(budget(&[raised(Action::Reject, None)]).tokens, Some(1000));
    }

    #[test]
    fn what_is_used_up_says_of_what() {
        let used = Usage { input_tokens: 900, output_tokens: 100, cost_usd: 0.25, ..Usage::default() };
        let budget = Budget { tokens: Some(1000), cost_usd: None };
        assert_eq!(
            budget.used_up(&used).as_deref(),
            Some("The job has used 1000 of its 1000 tokens (limits.max_total_tokens).")
        );
        let money = Budget { tokens: Some(1001), cost_usd: Some(0.2) };
        assert!(money.used_up(&used).unwrap().contains("0.2500 of its 0.2000 US dollars"));
        assert_eq!(Budget { tokens: Some(1001), cost_usd: Some(0.3) }.used_up(&used), None);
    }
}
