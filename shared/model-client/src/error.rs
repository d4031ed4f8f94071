//! Why there is no answer, each reason with what may be done about it. Whoever calls decides whether to try again; it
//! asks [`ModelError::retryable`] and [`ModelError::retry_after`] and need not know what a status means.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use reqwest::header::HeaderValue;

/// What a provider may ask us to wait at most; longer waits are cut to it.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// What is kept of a provider's words.
const LONGEST_MESSAGE: usize = 500;

/// Why a model gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Too many requests (429).
    #[error("the model's provider is limiting our rate: {message}")]
    RateLimited {
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's words.
        message: String,
    },
    /// The provider is busy or broken (5xx, 408).
    #[error("the model's provider is not able to answer ({status}): {message}")]
    Overloaded {
        /// Its status, or the status that its error code in the stream stands for.
        status: u16,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's words.
        message: String,
    },
    /// The conversation does not fit into the model's context.
    #[error("the conversation is too long for the model: {message}")]
    ContextTooLong {
        /// The provider's words.
        message: String,
    },
    /// The request itself is refused: by its form, its key, or its credit. The same request will be refused again.
    #[error("the model's provider refused the request ({status}): {message}")]
    Rejected {
        /// Its status, or the status that its error code in the stream stands for.
        status: u16,
        /// The provider's words.
        message: String,
    },
    /// The content is refused by a filter.
    #[error("the model's provider filtered the content: {message}")]
    Refused {
        /// The provider's words, or the finish reason.
        message: String,
    },
    /// The provider gave the answer up in the middle.
    #[error("the model's provider gave the answer up ({reason}): {message}")]
    Failed {
        /// The finish reason or the error's code.
        reason: String,
        /// The provider's words.
        message: String,
    },
    /// The stream ended before the answer did.
    #[error("the model's answer was cut off")]
    Interrupted {
        /// What the connection reported, if it was not simply closed.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// Nothing came for too long. Not an abort: nobody asked for an end.
    #[error("the model's provider sent {phase} for {} s", .after.as_secs_f32())]
    TimedOut {
        /// What was being waited for.
        phase: Phase,
        /// How long.
        after: Duration,
    },
    /// The request could not be delivered.
    #[error("the model's provider could not be reached")]
    Transport(#[source] reqwest::Error),
    /// What was received is not a stream of chat completions.
    #[error("the model's answer cannot be read")]
    Malformed(#[source] Malformed),
    /// The answer is larger than anything that we would keep.
    #[error("the model's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit that it broke.
        limit: usize,
    },
}

/// What was being waited for when nothing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The answer's headers.
    Headers,
    /// The next byte of the answer.
    Idle,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "no headers",
            Self::Idle => "nothing",
        })
    }
}

/// What is wrong with an answer's form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A frame is not the JSON that it should be.
    #[error("a frame is not a chat completion chunk")]
    Frame(#[from] serde_json::Error),
    /// The answer is not a stream at all.
    #[error("expected text/event-stream, got {0}")]
    ContentType(String),
}

impl ModelError {
    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Failed { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::Transport(_)
            | Self::Malformed(_) => true,
            Self::ContextTooLong { .. } | Self::Rejected { .. } | Self::Refused { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// How long the provider asks us to wait before the next attempt; at most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Overloaded { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A stable name, for the job's error and for alarms.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "model_rate_limited",
            Self::Overloaded { .. } => "model_overloaded",
            Self::ContextTooLong { .. } => "model_context_too_long",
            Self::Rejected { .. } => "model_rejected",
            Self::Refused { .. } => "model_refused",
            Self::Failed { .. } => "model_failed",
            Self::Interrupted { .. } => "model_interrupted",
            Self::TimedOut { .. } => "model_timed_out",
            Self::Transport(_) => "model_unreachable",
            Self::Malformed(_) => "model_malformed",
            Self::TooLarge { .. } => "model_answer_too_large",
        }
    }

    /// What a status means, with what the provider says about it.
    pub(crate) fn from_status(status: u16, message: &str, retry_after: Option<Duration>) -> Self {
        let message = shortened(message);
        match status {
            429 => Self::RateLimited { retry_after, message },
            408 | 500.. => Self::Overloaded { status, retry_after, message },
            _ if is_about_context(&message) => Self::ContextTooLong { message },
            _ => Self::Rejected { status, message },
        }
    }

    /// What a refused request means: its status says it, unless its code knows better.
    pub(crate) fn from_refusal(status: u16, code: &str, message: &str, retry_after: Option<Duration>) -> Self {
        match Self::from_code(code, message) {
            // OpenAI says 429 for an account without credit, too; waiting brings none.
            error @ (Self::ContextTooLong { .. } | Self::Refused { .. } | Self::Rejected { status: 402, .. })
                if (400..500).contains(&status) =>
            {
                error
            }
            _ => Self::from_status(status, message, retry_after),
        }
    }

    /// What an error inside a stream means. Its code is a status as a number or as text, or a word.
    pub(crate) fn from_code(code: &str, message: &str) -> Self {
        let status = match code {
            "rate_limit_exceeded" | "rate_limited" | "too_many_requests" => 429,
            "server_error" | "internal_error" | "internal_server_error" => 500,
            "overloaded" | "overloaded_error" | "service_unavailable" | "provider_unavailable" => 503,
            "invalid_request" | "invalid_request_error" | "invalid_prompt" | "bad_request" => 400,
            "authentication_error" | "invalid_api_key" | "unauthorized" => 401,
            "insufficient_quota"
            | "insufficient_credits"
            | "payment_required"
            | "billing_not_active"
            | "billing_hard_limit_reached" => 402,
            "permission_error" | "forbidden" => 403,
            "not_found" | "model_not_found" => 404,
            "context_length_exceeded" | "string_above_max_length" | "max_tokens_exceeded" => {
                return Self::ContextTooLong { message: shortened(message) };
            }
            "content_filter" | "content_policy_violation" | "moderation" => {
                return Self::Refused { message: shortened(message) };
            }
            number => number.parse().ok().filter(|status| (400..600).contains(status)).unwrap_or(0),
        };
        match status {
            0 => Self::Failed { reason: shortened(code), message: shortened(message) },
            status => Self::from_status(status, message, None),
        }
    }
}

/// Providers have no common code for this, only common words.
fn is_about_context(message: &str) -> bool {
    const PHRASES: [&str; 11] = [
        "context length",
        "context_length",
        "context window",
        "context size",
        "context limit",
        "maximum context",
        "maximum prompt length",
        "input token count",
        "prompt is too long",
        "input is too long",
        "too many tokens",
    ];
    let message = message.to_ascii_lowercase();
    PHRASES.iter().any(|phrase| message.contains(phrase))
}

/// A provider's words on one line and of a sane length.
pub(crate) fn shortened(message: &str) -> String {
    let mut short: String = message.trim().chars().take(LONGEST_MESSAGE).collect();
    if short.len() < message.trim().len() {
        short.push('…');
    }
    if short.contains(char::is_control) { short.replace(char::is_control, " ") } else { short }
}

/// Reads a `Retry-After` header: seconds, or a date.
pub(crate) fn parse_retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT.as_secs_f64())).ok()?,
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_may_be_done() {
        let of = |status| ModelError::from_status(status, "no", None);
        for (status, code, retryable) in [
            (400, "model_rejected", false),
            (401, "model_rejected", false),
            (402, "model_rejected", false),
            (403, "model_rejected", false),
            (404, "model_rejected", false),
            (408, "model_overloaded", true),
            (429, "model_rate_limited", true),
            (500, "model_overloaded", true),
            (502, "model_overloaded", true),
            (503, "model_overloaded", true),
            (529, "model_overloaded", true),
        ] {
            assert_eq!((of(status).code(), of(status).retryable()), (code, retryable), "{status}");
        }
    }

    #[test]
    fn a_conversation_that_is_too_long_is_told_by_its_words() {
        for words in [
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
            "the request exceeds the available context size, try increasing it",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length",
            "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
            "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        ] {
            assert_eq!(ModelError::from_status(400, words, None).code(), "model_context_too_long", "{words}");
        }
        let no_credit = "You exceeded your current quota, please check your plan and billing details.";
        assert_eq!(ModelError::from_status(400, no_credit, None).code(), "model_rejected");
    }

    #[test]
    fn a_refusals_code_is_believed_where_its_status_would_say_try_again() {
        let of = |status, code| {
            let error = ModelError::from_refusal(status, code, "words", Some(Duration::from_secs(7)));
            (error.code(), error.retryable(), error.retry_after().is_some())
        };
        let no_credit = ("model_rejected", false, false);
        for code in ["insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "402"] {
            assert_eq!(of(429, code), no_credit, "{code}");
        }
        let no_credit = ModelError::from_refusal(429, "insufficient_quota", "words", None);
        assert!(matches!(no_credit, ModelError::Rejected { status: 402, .. }), "{no_credit:?}");
        assert_eq!(of(429, "rate_limit_exceeded"), ("model_rate_limited", true, true));
        assert_eq!(of(429, "something_new"), ("model_rate_limited", true, true));
        assert_eq!(of(400, "context_length_exceeded"), ("model_context_too_long", false, false));
        assert_eq!(of(400, "content_filter"), ("model_refused", false, false));
        assert_eq!(of(400, "server_error"), ("model_rejected", false, false));
        assert_eq!(of(502, "insufficient_quota"), ("model_overloaded", true, true));
    }

    #[test]
    fn an_error_in_the_stream_is_told_by_its_code() {
        for (code, expected) in [
            ("429", "model_rate_limited"),
            ("502", "model_overloaded"),
            ("server_error", "model_overloaded"),
            ("rate_limit_exceeded", "model_rate_limited"),
            ("context_length_exceeded", "model_context_too_long"),
            ("invalid_prompt", "model_rejected"),
            ("content_filter", "model_refused"),
            ("something_new", "model_failed"),
            ("200", "model_failed"),
        ] {
            assert_eq!(ModelError::from_code(code, "words").code(), expected, "{code}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_a_date_and_capped() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_800_000);
        let read = |text: &str| parse_retry_after(&HeaderValue::from_str(text).unwrap(), now);
        let date = |ahead| httpdate::fmt_http_date(now + Duration::from_secs(ahead));
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(read("-3"), Some(Duration::ZERO));
        assert_eq!(read("999999999"), Some(LONGEST_WAIT));
        assert_eq!(read("inf"), Some(LONGEST_WAIT));
        assert_eq!(read("NaN"), None);
        assert_eq!(read(&date(90)), Some(Duration::from_secs(90)));
        assert_eq!(read(&date(90_000)), Some(LONGEST_WAIT));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_providers_words_are_cut() {
        assert_eq!(shortened(" two\nlines "), "two lines");
        assert_eq!(shortened(&"é".repeat(2000)).chars().count(), LONGEST_MESSAGE + 1);
    }
}
