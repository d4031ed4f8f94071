//! Keys that callers bring for the model, sealed: AES-256-GCM under a key of the deployment's, bound to their job. Sealed
//! where the job is accepted, opened only by a worker that holds its lease, and shown to nobody.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::JobId;

/// The version of the form that this release writes: `v1.<nonce>.<ciphertext and tag>`, base64url (R186).
const VERSION: &str = "v1";
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// The shortest secret that a sealing key may be made from, in bytes.
pub const SECRET_BYTES: usize = 32;

/// The key that seals: SHA-256 of a secret of the deployment's.
#[derive(Clone)]
pub struct SealingKey(Aes256Gcm);

/// A sealed text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(String);

/// A secret that is too short to make a key from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key is made from a secret of at least {SECRET_BYTES} bytes")]
pub struct SecretTooShort;

/// A text that cannot be opened: sealed under another key, for another job, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed key cannot be opened with this deployment's sealing key")]
pub struct CannotOpen;

impl SealingKey {
    /// The key that is made from this secret.
    ///
    /// # Errors
    /// When the secret is shorter than [`SECRET_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self, SecretTooShort> {
        if secret.len() < SECRET_BYTES {
            return Err(SecretTooShort);
        }
        let key = Sha256::digest(secret);
        Ok(Self(Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key))))
    }

    /// Seals a text for a job. The nonce must be random: one that is used twice under this key breaks it.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], text: &str, job: &JobId) -> Sealed {
        let payload = Payload { msg: text.as_bytes(), aad: job.as_str().as_bytes() };
        #[expect(clippy::expect_used, reason = "only a text of gigabytes cannot be sealed")]
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), payload).expect("a key is short");
        Sealed(format!("{VERSION}.{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what was sealed for a job.
    ///
    /// # Errors
    /// When it was sealed under another key or for another job, or is damaged.
    pub fn open(&self, sealed: &Sealed, job: &JobId) -> Result<String, CannotOpen> {
        let mut parts = sealed.0.split('.');
        let (Some(VERSION), Some(nonce), Some(text), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CannotOpen);
        };
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| CannotOpen);
        let (nonce, text) = (decode(nonce)?, decode(text)?);
        if nonce.len() != NONCE_BYTES {
            return Err(CannotOpen);
        }
        let payload = Payload { msg: &text, aad: job.as_str().as_bytes() };
        let opened = self.0.decrypt(Nonce::from_slice(&nonce), payload).map_err(|_| CannotOpen)?;
        String::from_utf8(opened).map_err(|_| CannotOpen)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(last: char) -> JobId {
        format!("job_01JDA7Q3W5T8Z2K4M6N8P0R1S{last}").parse().unwrap()
    }

    #[test]
    fn a_key_is_opened_only_with_the_same_secret_and_for_the_same_job() {
        let key = SealingKey::new(&[7; 32]).unwrap();
        let sealed = key.seal([1; 12], "sk-user", &job('3'));
        assert_eq!(key.open(&sealed, &job('3')).as_deref(), Ok("sk-user"));
        assert_eq!(key.open(&sealed, &job('4')), Err(CannotOpen));
        assert_eq!(SealingKey::new(&[8; 32]).unwrap().open(&sealed, &job('3')), Err(CannotOpen));
        assert_eq!(SealingKey::new(&[7; 31]).err(), Some(SecretTooShort));
    }

    #[test]
    fn what_is_damaged_is_not_opened() {
        let key = SealingKey::new(&[7; 32]).unwrap();
        let Sealed(text) = key.seal([1; 12], "sk-user", &job('3'));
        for n in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[n] = if damaged[n] == b'A' { b'B' } else { b'A' };
            let damaged = Sealed(String::from_utf8(damaged).unwrap());
            // The last letter of base64 has bits that mean nothing.
            if n + 1 < text.len() {
                assert_eq!(key.open(&damaged, &job('3')), Err(CannotOpen), "at {n}");
            }
        }
        for nonsense in ["", "v1", "v1..", "v2.AAAA.AAAA", "v1.AAAA.AAAA.AAAA"] {
            assert_eq!(key.open(&Sealed(nonsense.to_owned()), &job('3')), Err(CannotOpen), "{nonsense}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed_or_stored_in_the_clear() {
        let key = SealingKey::new(&[7; 32]).unwrap();
        let sealed = key.seal([1; 12], "sk-user", &job('3'));
        assert!(!format!("{key:?} {sealed:?} {}", serde_json::to_string(&sealed).unwrap()).contains("sk-user"));
    }
}
