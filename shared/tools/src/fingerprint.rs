//! The fingerprint of a call: equal for calls that ask for the same thing, however the model spelled it (R178). Used to
//! recognise repetitions, to bind an approval to what was approved, and in logs in place of arguments (R210).

use std::fmt::Write as _;

use domain::canonical::canonical;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256, in hex, of the tool's name and of its arguments with sorted keys and without white space; of the raw text
/// where the arguments are not JSON. No arguments at all are `{}` (R183).
pub fn fingerprint(name: &str, arguments: &str) -> String {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut hash = Sha256::new();
    hash.update(name);
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            hash.update([0, b'j']);
            hash.update(canonical(&value));
        }
        Err(_) => {
            hash.update([0, b'r']);
            hash.update(text);
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
    }
    hex
}
