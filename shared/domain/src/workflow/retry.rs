//! How a node's call failed, and when it is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Retries when a node does not say.
const MAX_RETRIES: u32 = 2;
/// First delay when a node does not say.
const BASE_DELAY: Duration = Duration::from_secs(1);
/// Longest delay when a node does not say.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// What went wrong, in a word. The words are those that documents use in `retryOn` and `skipOn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeErrorCode {
    /// The provider has too much to do.
    RateLimit,
    /// It took too long.
    Timeout,
    /// The provider failed.
    LlmError,
    /// The provider was not reached.
    Network,
    /// The key was refused.
    Auth,
    /// The request, or the workflow, makes no sense.
    Validation,
    /// A tool failed.
    Tool,
    /// More turns with tools than allowed.
    ToolLimit,
    /// A loop ran as often as it may, and that is an error for it.
    LoopLimit,
    /// A person refused.
    Rejected,
    /// Anything else.
    Unknown,
}

impl NodeErrorCode {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "RATE_LIMIT",
            Self::Timeout => "TIMEOUT",
            Self::LlmError => "LLM_ERROR",
            Self::Network => "NETWORK",
            Self::Auth => "AUTH",
            Self::Validation => "VALIDATION",
            Self::Tool => "TOOL",
            Self::ToolLimit => "TOOL_LIMIT",
            Self::LoopLimit => "LOOP_LIMIT",
            Self::Rejected => "REJECTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether it can pass by itself.
    pub fn can_pass(self) -> bool {
        matches!(self, Self::RateLimit | Self::Timeout | Self::LlmError | Self::Network)
    }
}

/// How a node failed. Serialised as templates see it under `{{outputs.<id>_error}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeError {
    /// A sentence for people.
    pub message: String,
    /// The same for programs.
    pub code: NodeErrorCode,
    /// The node that failed, as viewers see its name: in a loop or subflow the innermost.
    pub node_id: String,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

/// When a failed call is made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// Attempts after the first.
    pub max_retries: u32,
    /// The first delay; each later one doubles.
    pub base_delay: Duration,
    /// The longest.
    pub max_delay: Duration,
    /// Codes that are tried again; empty: all that can pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
    /// Codes that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_on: Vec<String>,
}

impl Default for RetryRule {
    fn default() -> Self {
        Self {
            max_retries: MAX_RETRIES,
            base_delay: BASE_DELAY,
            max_delay: MAX_DELAY,
            retry_on: vec![],
            skip_on: vec![],
        }
    }
}

impl RetryRule {
    /// How long to wait before the next attempt after `failures` failed ones (from 1), or `None` when there is none. What
    /// cannot pass is never tried again, whatever the document says. `asked` is what the provider asked for.
    pub fn delay(&self, failures: u32, code: NodeErrorCode, asked: Option<Duration>) -> Option<Duration> {
        let named = |codes: &[String]| codes.iter().any(|it| it == code.as_str());
        let again = failures <= self.max_retries
            && code.can_pass()
            && !named(&self.skip_on)
            && (self.retry_on.is_empty() || named(&self.retry_on));
        let doubled = || self.base_delay.saturating_mul(1 << failures.saturating_sub(1).min(20));
        again.then(|| asked.unwrap_or_else(doubled).min(self.max_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_is_tried_again_and_the_delay_doubles_to_its_cap() {
        let rule = RetryRule::default();
        let secs = |n| Some(Duration::from_secs(n));
        assert_eq!(rule.delay(1, NodeErrorCode::RateLimit, None), secs(1));
        assert_eq!(rule.delay(2, NodeErrorCode::Network, None), secs(2));
        assert_eq!(rule.delay(3, NodeErrorCode::Network, None), None);
        assert_eq!(rule.delay(1, NodeErrorCode::RateLimit, secs(7)), secs(7));
        assert_eq!(rule.delay(1, NodeErrorCode::RateLimit, secs(70)), secs(30));
        let eager = RetryRule { max_retries: 9, retry_on: vec!["AUTH".into(), "TIMEOUT".into()], ..rule };
        assert_eq!(eager.delay(9, NodeErrorCode::Timeout, None), secs(30));
        for never in [
            NodeErrorCode::Auth,
            NodeErrorCode::Validation,
            NodeErrorCode::Rejected,
            NodeErrorCode::Tool,
            NodeErrorCode::LlmError,
        ] {
            assert_eq!(eager.delay(1, never, None), None, "{never:?}");
        }
    }
}
