//! Standard Webhooks: how a receiver knows that a call is this deployment's, and has not seen it before.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes that a key has at least; the specification says 24 to 64.
const SHORTEST: usize = 24;
/// What a secret must be.
pub(crate) const RULE: &str = "`whsec_` and at least 24 bytes in base64";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that signs.
#[derive(Clone)]
pub(crate) struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The key of a secret in its usual form, `whsec_…`.
    pub(crate) fn parse(secret: &str) -> Option<Self> {
        let key = LENIENT.decode(secret.trim().strip_prefix("whsec_")?).ok()?;
        (key.len() >= SHORTEST).then_some(Self(key))
    }

    /// The value of `webhook-signature`; `at` in seconds since 1970.
    pub(crate) fn sign(&self, id: &str, at: i64, body: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for secret in ["", "whsec_", "whsec_short", "hunter2", "whsec_!!!!"] {
            assert!(SigningKey::parse(secret).is_none(), "{secret}");
        }
    }
}
