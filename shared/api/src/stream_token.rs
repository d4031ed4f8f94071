//! The token in a stream's address. A function URL has no authorizer, and a browser's `EventSource` sends no headers, so
//! the address itself says, signed, which job it is for, whose, and until when.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    id::{JobId, UserId},
    time::Timestamp,
};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::ApiError;

const VERSION: &str = "v1";
/// Fewer bytes than this are not a key.
pub const KEY_BYTES: usize = 32;

/// Issues and checks tokens.
#[derive(Clone)]
pub struct StreamTokens {
    mac: Hmac<Sha256>,
}

/// A key that could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of stream tokens has {bytes} bytes; it must have at least {KEY_BYTES}, random ones")]
pub struct KeyTooShort {
    /// What it has.
    pub bytes: usize,
}

/// Why a token does not open a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// It is not one of ours, or is for another job.
    #[error("the token is not valid for this job")]
    Invalid,
    /// It was ours, for this job, until its time was up.
    #[error("the token has expired")]
    Expired,
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Missing | TokenError::Invalid => Self::TokenInvalid,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    job: JobId,
    user: UserId,
    /// Seconds since 1970.
    exp: i64,
}

impl StreamTokens {
    /// Tokens under this key.
    ///
    /// # Errors
    /// When the key is shorter than [`KEY_BYTES`].
    pub fn new(key: &[u8]) -> Result<Self, KeyTooShort> {
        let short = KeyTooShort { bytes: key.len() };
        if key.len() < KEY_BYTES {
            return Err(short);
        }
        Ok(Self { mac: Hmac::new_from_slice(key).map_err(|_| short)? })
    }

    /// A token for `user` to follow `job` from `now` for `ttl`, and the moment at which it expires.
    pub fn issue(&self, job: &JobId, user: &UserId, now: Timestamp, ttl: Duration) -> (String, Timestamp) {
        let exp = (now + ttl).as_seconds();
        let payload = Payload { job: job.clone(), user: user.clone(), exp };
        #[expect(clippy::expect_used, reason = "two strings and a number")]
        let payload = serde_json::to_vec(&payload).expect("strings and numbers can be written as JSON");
        let signed = format!("{VERSION}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&signed));
        (format!("{signed}.{signature}"), Timestamp::from_millis(exp * 1000))
    }

    /// Whose token it is, if it opens `job` at `now`.
    ///
    /// # Errors
    /// When it does not, with the reason; that it has expired is said only of tokens that were ours and for this job.
    pub fn verify(&self, token: Option<&str>, job: &JobId, now: Timestamp) -> Result<UserId, TokenError> {
        let token = token.filter(|token| !token.is_empty()).ok_or(TokenError::Missing)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Invalid)?;
        if !bool::from(self.sign(signed).ct_eq(&signature)) {
            return Err(TokenError::Invalid);
        }
        let payload =
            signed.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Invalid)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Invalid)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| TokenError::Invalid)?;
        if payload.job != *job {
            return Err(TokenError::Invalid);
        }
        if now.as_millis() >= payload.exp.saturating_mul(1000) {
            return Err(TokenError::Expired);
        }
        Ok(payload.user)
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        self.mac.clone().chain_update(text).finalize().into_bytes().to_vec()
    }
}

impl fmt::Debug for StreamTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamTokens(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const HOUR: Duration = Duration::from_secs(3600);

    fn tokens() -> StreamTokens {
        StreamTokens::new(KEY).unwrap()
    }

    fn job(last: char) -> JobId {
        format!("job_01JDA7Q3W5T8Z2K4M6N8P0R1S{last}").parse().unwrap()
    }

    fn ann() -> UserId {
        "ann".parse().unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_763_800_000_500)
    }

    #[test]
    fn a_token_opens_its_job_until_it_expires() {
        let (token, expires_at) = tokens().issue(&job('3'), &ann(), now(), HOUR);
        assert_eq!(expires_at, Timestamp::from_millis(1_763_803_600_000));
        let almost = Timestamp::from_millis(expires_at.as_millis() - 1);
        assert_eq!(tokens().verify(Some(&token), &job('3'), almost), Ok(ann()));
        assert_eq!(tokens().verify(Some(&token), &job('3'), expires_at), Err(TokenError::Expired));
    }

    #[test]
    fn it_opens_no_other_job_and_under_no_other_key() {
        let (token, _) = tokens().issue(&job('3'), &ann(), now(), HOUR);
        assert_eq!(tokens().verify(Some(&token), &job('4'), now()), Err(TokenError::Invalid));
        let other = StreamTokens::new(&[7; 32]).unwrap();
        assert_eq!(other.verify(Some(&token), &job('3'), now()), Err(TokenError::Invalid));
        let (expired, _) = other.issue(&job('3'), &ann(), Timestamp::MIN, HOUR);
        assert_eq!(tokens().verify(Some(&expired), &job('3'), now()), Err(TokenError::Invalid));
    }

    #[test]
    fn no_token_is_missing() {
        for none in [None, Some("")] {
            assert_eq!(tokens().verify(none, &job('3'), now()), Err(TokenError::Missing));
        }
    }

    #[test]
    fn short_keys_are_refused_and_no_key_is_printed() {
        assert_eq!(StreamTokens::new(&[1; 31]).unwrap_err(), KeyTooShort { bytes: 31 });
        assert_eq!(format!("{:?}", tokens()), "StreamTokens(…)");
    }

    proptest! {
        #[test]
        fn any_user_comes_back_from_an_address_safe_token(user in "[^\\p{C}]{1,60}", ms in 0i64..4_000_000_000_000) {
            let user: UserId = user.parse().unwrap();
            let now = Timestamp::from_millis(ms);
            let (token, _) = tokens().issue(&job('3'), &user, now, HOUR);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')));
            prop_assert_eq!(tokens().verify(Some(&token), &job('3'), now), Ok(user));
        }

        #[test]
        fn any_change_makes_it_invalid(at in any::<prop::sample::Index>(), to in "[ -~]") {
            let (token, _) = tokens().issue(&job('3'), &ann(), now(), HOUR);
            let at = at.index(token.len());
            prop_assume!(token[at..=at] != to);
            let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(tokens().verify(Some(&changed), &job('3'), now()), Err(TokenError::Invalid));
        }

        #[test]
        fn rubbish_is_invalid(text in ".{1,80}") {
            prop_assert_eq!(tokens().verify(Some(&text), &job('3'), now()), Err(TokenError::Invalid));
        }
    }
}
