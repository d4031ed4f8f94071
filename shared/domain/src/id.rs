//! Names of things. Each is parsed once, at the edge, and trusted afterwards; none is generated here, since randomness
//! belongs to whoever composes the system.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name that does not have the form its kind asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// What was being parsed, in words.
    pub kind: &'static str,
    /// The offending text, cut to 64 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidId { kind: $kind, value: value.chars().take(64).collect(), rule: $rule })
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

fn printable(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

id!(
    /// One durable run: `job_` and a ULID, so that ids sort by the time of their creation.
    JobId, "job id", "it is `job_` followed by a ULID (26 characters)",
    |text| text.strip_prefix("job_").is_some_and(|ulid| {
        ulid.len() == 26 && ulid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'Z') && !matches!(b, b'I' | b'L' | b'O' | b'U'))
    })
);
id!(
    /// Whose job it is: the authorizer's `sub`.
    UserId, "user id", "it has 1 to 256 bytes and no control characters", |text| printable(text, 256)
);
id!(
    /// A conversation in the caller's own system that jobs belong to.
    ThreadId, "thread id", "it has 1 to 256 bytes and no control characters", |text| printable(text, 256)
);
id!(
    /// A message in the caller's own system that a job answers.
    MessageId, "message id", "it has 1 to 256 bytes and no control characters", |text| printable(text, 256)
);
id!(
    /// A thread of work in a job. A chat has one, `main`.
    LaneName, "lane name", "it has 1 to 200 bytes: letters, digits, `_`, `-`, `.` and `:`", |text| plain(text, 200)
);
id!(
    /// The model's own id of a tool call, unique within its job's conversation.
    ToolCallId, "tool call id", "it has 1 to 256 bytes and no control characters", |text| printable(text, 256)
);
id!(
    /// A question to a person or a client, unique in its job.
    InputRequestId, "input request id", "it has 1 to 240 bytes: letters, digits, `_`, `-`, `.` and `:`", |text| plain(text, 240)
);
id!(
    /// What distinguishes one invocation of a worker from every other: leases and log entries are held in this name.
    WriterId, "writer id", "it has 1 to 64 bytes: letters, digits, `_`, `-`, `.` and `:`", |text| plain(text, 64)
);

impl LaneName {
    /// The one lane of a chat job.
    pub fn main() -> Self {
        Self("main".to_owned())
    }
}

impl InputRequestId {
    /// The id of a turn's question: `about` tells a turn's questions apart, in at most 20 letters and digits. The same
    /// again when a turn that was cut off asks again.
    pub fn of(lane: &LaneName, turn: u32, about: &str) -> Self {
        Self(format!("{lane}.{turn}.{about}"))
    }

    /// The id of a question that is asked for the whole job: the same whichever lane asks.
    pub fn of_job(about: &str) -> Self {
        Self(format!("job.{about}"))
    }
}

impl ToolCallId {
    /// An id for a call whose model sent none: unique within the job, and the same again when the same answer is read.
    pub fn invented(lane: &LaneName, turn: u32, index: usize) -> Self {
        Self(format!("call_{lane}_{turn}_{index}"))
    }
}

impl JobId {
    /// A job id from a ULID's text.
    ///
    /// # Errors
    /// When the text is not a ULID in Crockford's alphabet.
    pub fn from_ulid(ulid: impl Into<Cow<'static, str>>) -> Result<Self, InvalidId> {
        Self::try_from(format!("job_{}", ulid.into()))
    }

    /// The ULID as a number: 48 bits of time, 80 of randomness.
    pub fn number(&self) -> u128 {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        self.0.bytes().skip("job_".len()).fold(0, |number, digit| {
            let digit = DIGITS.iter().zip(0u128..).find(|(known, _)| **known == digit).map_or(0, |(_, digit)| digit);
            number << 5 | digit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_a_prefixed_ulid() {
        assert!("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse::<JobId>().is_ok());
        for wrong in ["", "job_", "01JDA7Q3W5T8Z2K4M6N8P0R1S3", "job_01JDA7Q3W5T8Z2K4M6N8P0R1SI", "job_#/../x"] {
            assert!(wrong.parse::<JobId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_job_ids_number_is_its_ulids() {
        let job: JobId = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(job.number(), 0x0156_3E3A_B5D3_D676_4C61_EFB9_9302_BD5B);
    }

    #[test]
    fn names_with_control_characters_are_refused() {
        assert!("ann\nbob".parse::<UserId>().is_err());
        assert!("Zoë #1".parse::<UserId>().is_ok());
        assert!("main#x".parse::<LaneName>().is_err());
    }
}
