//! A continuation as a message's text. The form carries its version; one that this release does not know is kept for a
//! release that does.

use domain::continuation::Continuation;
use serde::{Deserialize, Serialize};

/// The version of the form that this release writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u32,
    job: &'a str,
    lane: &'a str,
    turn: u32,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was written by another release.
    #[error("the message has version {0}, which this release does not know")]
    Version(u32),
    /// It is no continuation.
    #[error("the message is no continuation: {0}")]
    Malformed(String),
}

/// The message's text.
pub fn encode(continuation: &Continuation) -> String {
    let Continuation { job, lane, turn } = continuation;
    serde_json::json!({"v": VERSION, "job": job, "lane": lane, "turn": turn}).to_string()
}

/// What a message's text asks for.
///
/// # Errors
/// When it cannot be read.
pub fn decode(text: &str) -> Result<Continuation, Unreadable> {
    let malformed = |error: &dyn std::fmt::Display| Unreadable::Malformed(error.to_string());
    let Version { v } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if v != VERSION {
        return Err(Unreadable::Version(v));
    }
    let Wire { job, lane, turn, .. } = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    Ok(Continuation {
        job: job.parse().map_err(|error| malformed(&error))?,
        lane: lane.parse().map_err(|error| malformed(&error))?,
        turn,
    })
}

#[cfg(test)]
mod tests {
    use domain::id::LaneName;

    use super::*;

    #[test]
    fn a_continuation_survives_the_queue() {
        let continuation =
            Continuation { job: "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap(), lane: LaneName::main(), turn: 3 };
        assert_eq!(encode(&continuation), r#"{"job":"job_01JDA7Q3W5T8Z2K4M6N8P0R1S3","lane":"main","turn":3,"v":1}"#);
        assert_eq!(decode(&encode(&continuation)).unwrap(), continuation);
    }

    #[test]
    fn other_versions_and_nonsense_are_told_apart() {
        assert!(matches!(decode(r#"{"v":2,"anything":true}"#), Err(Unreadable::Version(2))));
        for nonsense in ["", "{}", "[]", r#"{"v":1}"#, r#"{"v":1,"job":"x","lane":"main","turn":1}"#] {
            assert!(matches!(decode(nonsense), Err(Unreadable::Malformed(_))), "{nonsense}");
        }
    }
}
