//! Where a job belongs in a distributed trace: the caller's place in it, as the header `traceparent` says it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The trace that a caller is in, and where (W3C Trace Context, version 00).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    /// The trace. Never zero.
    pub trace: u128,
    /// The caller's span. Never zero.
    pub span: u64,
    /// Whether the caller records it.
    pub is_sampled: bool,
}

/// A text that is no `traceparent`. By the standard such a header is as good as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent is `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, and neither id is zero")]
pub struct InvalidTraceParent;

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.trim().split('-');
        let mut next = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
        };
        let (version, trace, span, flags) = (next(2), next(32), next(16), next(2));
        // Later versions may have more parts, the first never has.
        let ends = parts.next().is_none() || version.is_some_and(|version| version != "00");
        let version = version.filter(|version| *version != "ff" && ends);
        let trace = trace.and_then(|trace| u128::from_str_radix(trace, 16).ok()).filter(|trace| *trace != 0);
        let span = span.and_then(|span| u64::from_str_radix(span, 16).ok()).filter(|span| *span != 0);
        let flags = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok());
        match (version, trace, span, flags) {
            (Some(_), Some(trace), Some(span), Some(flags)) => Ok(Self { trace, span, is_sampled: flags & 1 == 1 }),
            _ => Err(InvalidTraceParent),
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;
    fn try_from(text: String) -> Result<Self, InvalidTraceParent> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = text.parse().unwrap();
        assert_eq!((parent.trace >> 96, parent.span, parent.is_sampled), (0x4bf9_2f35, 0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parent.to_string(), text);
        assert_eq!(serde_json::from_value::<TraceParent>(serde_json::to_value(parent).unwrap()).unwrap(), parent);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more".parse::<TraceParent>().unwrap();
        assert!(!later.is_sampled);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(InvalidTraceParent), "{wrong}");
        }
    }
}
