//! Asking twice for one job: the caller's key, and how the same body is recognised.

use std::fmt::Write as _;

use domain::canonical::canonical;
use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::Finding;

/// The header's name.
pub const HEADER: &str = "Idempotency-Key";
const LONGEST: usize = 255;

/// A caller's name for a request: 1 to 255 printable characters. Means something only together with its user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key from its text.
    ///
    /// # Errors
    /// When it is empty, too long, or has characters that cannot be printed.
    pub fn parse(text: &str) -> Result<Self, Finding> {
        let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
        if printable && (1..=LONGEST).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Finding::new(
            HEADER,
            "`Idempotency-Key` must have 1 to 255 printable ASCII characters; a random UUID is a good one.",
        ))
    }

    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// When it has several, or one that is not a key.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Finding> {
        let mut keys = headers.get_all(HEADER).iter();
        let Some(key) = keys.next() else { return Ok(None) };
        if keys.next().is_some() {
            return Err(Finding::new(HEADER, "`Idempotency-Key` came more than once; send one."));
        }
        Self::parse(key.to_str().unwrap_or_default()).map(Some)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256, in hex, of a body: equal for bodies that differ only in white space and in the order of members.
pub fn fingerprint(body: &[u8]) -> String {
    let mut hash = Sha256::new();
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            hash.update(b"json:");
            hash.update(canonical(&value));
        }
        Err(_) => {
            hash.update(b"raw:");
            hash.update(body);
        }
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_has_1_to_255_printable_characters() {
        assert_eq!(IdempotencyKey::parse("a b~").unwrap().as_str(), "a b~");
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        for wrong in ["", "a\tb", "é", &"k".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(wrong).unwrap_err().param, "Idempotency-Key");
        }
    }

    #[test]
    fn a_request_has_one_key_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(IdempotencyKey::of(&headers), Ok(None));
        headers.append(HEADER, HeaderValue::from_static("one"));
        assert_eq!(IdempotencyKey::of(&headers).unwrap().unwrap().as_str(), "one");
        headers.append(HEADER, HeaderValue::from_static("two"));
        assert!(IdempotencyKey::of(&headers).is_err());
        headers.insert(HEADER, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(IdempotencyKey::of(&headers).is_err());
    }

    #[test]
    fn the_order_of_members_and_white_space_do_not_matter_and_all_else_does() {
        let one = fingerprint(br#"{"a": {"x": 1, "y": [1, 2]}, "b": "\u00e9"}"#);
        assert_eq!(one, fingerprint("{\"b\":\"é\",\"a\":{\"y\":[1,2],\"x\":1}}".as_bytes()));
        assert_eq!(one.len(), 64);
        for other in [&br#"{"a":{"x":1,"y":[2,1]},"b":"\u00e9"}"#[..], br#"{"a":{"x":1,"y":[1,2]}}"#, b"", b"{"] {
            assert_ne!(one, fingerprint(other));
        }
    }
}
