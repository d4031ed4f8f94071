//! Lists in pages. A token is opaque to callers, names a place and no owner: whose list it is said of is always the
//! signed-in user's, so that a forged one shows nothing new.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::id::JobId;
use serde::{Deserialize, Serialize};

use crate::error::Finding;

/// Entries in a page, unless the caller says otherwise.
pub const DEFAULT_LIMIT: u32 = 20;
/// The most that a caller may ask for.
pub const LARGEST_LIMIT: u32 = 100;
const VERSION: u32 = 1;
const LONGEST_TOKEN: usize = 512;

/// Where a page of jobs begins: after this one. Ids sort by time, so that nothing else is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub JobId);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    job: JobId,
}

impl PageToken {
    /// The token as callers carry it.
    pub fn encode(&self) -> String {
        #[expect(clippy::expect_used, reason = "a string and a number")]
        let json = serde_json::to_vec(&Wire { v: VERSION, job: self.0.clone() })
            .expect("strings and numbers can be written as JSON");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// A token that a caller brought back.
    ///
    /// # Errors
    /// When it is not one of ours, or of a release whose tokens mean something else.
    pub fn decode(token: &str) -> Result<Self, Finding> {
        Self::read(token).ok_or_else(|| {
            Finding::new(
                "page",
                "`page` is not a page token. Use `next_page` of an answer, or leave it out to begin anew.",
            )
        })
    }

    fn read(token: &str) -> Option<Self> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let wire: Wire = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        (wire.v == VERSION).then_some(Self(wire.job))
    }
}

/// How many entries a page shall have.
///
/// # Errors
/// When it is not a number from 1 to 100.
pub fn limit(text: Option<&str>) -> Result<u32, Finding> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|limit| digits && (1..=LARGEST_LIMIT).contains(limit)).ok_or_else(|| {
        Finding::new(
            "limit",
            format!("`limit` must be an integer from 1 to {LARGEST_LIMIT}; it is {DEFAULT_LIMIT} when left out."),
        )
    })
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Its entries.
    pub data: Vec<T>,
    /// The token of the page that follows; null at the end.
    pub next_page: Option<String>,
}

impl<T> Page<T> {
    /// A page, and the job after which the next one begins.
    pub fn new(data: Vec<T>, next: Option<JobId>) -> Self {
        Self { data, next_page: next.map(|job| PageToken(job).encode()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> PageToken {
        PageToken("job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap())
    }

    fn encoded(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn a_limit_is_1_to_100_and_20_by_default() {
        assert_eq!(limit(None), Ok(20));
        assert_eq!((limit(Some("1")), limit(Some("100"))), (Ok(1), Ok(100)));
        for wrong in ["0", "101", "", "ten", "-1", "+5", "1.0", "99999999999"] {
            assert_eq!(
                limit(Some(wrong)),
                Err(Finding::new("limit", "`limit` must be an integer from 1 to 100; it is 20 when left out."))
            );
        }
    }

    #[test]
    fn a_token_that_is_not_ours_is_a_finding() {
        let ours = r#"{"v":1,"job":"job_01JDA7Q3W5T8Z2K4M6N8P0R1S3"}"#;
        assert_eq!(PageToken::decode(&encoded(ours)), Ok(token()));
        let wrong = [
            String::new(),
            "%%%".to_owned(),
            encoded("{}"),
            encoded(&ours.replace("\"v\":1", "\"v\":2")),
            encoded(&ours.replace("job_", "")),
            encoded(&ours.replace("{", "{\"user\":\"bob\",")),
            encoded(&" ".repeat(400)),
        ];
        for wrong in wrong {
            assert_eq!(PageToken::decode(&wrong).unwrap_err().param, "page", "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_went(ulid in "[0-9A-HJKMNP-TV-Z]{26}") {
            let token = PageToken(JobId::from_ulid(ulid).unwrap());
            let text = token.encode();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
            prop_assert_eq!(PageToken::decode(&text), Ok(token));
        }

        #[test]
        fn no_text_crashes_the_decoder(text in ".{0,200}") {
            let _ = PageToken::decode(&text);
        }
    }
}
