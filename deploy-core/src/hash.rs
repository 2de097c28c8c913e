//! Hashes: plain ones for what may be compared by anyone, keyed ones for what must not be guessed.

use hmac_sha256::{HMAC, Hash};
use serde::Serialize;

use crate::model::Fingerprint;

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

fn canonical(value: &impl Serialize) -> Vec<u8> {
    // Maps are ordered in everything that is hashed here, so equal values give equal bytes.
    serde_json::to_vec(value).unwrap_or_default()
}

/// SHA-256 of a value's JSON, in hex.
#[must_use]
pub fn of(value: &impl Serialize) -> String {
    bytes(&canonical(value))
}

/// SHA-256 of bytes, in hex.
#[must_use]
pub fn bytes(data: &[u8]) -> String {
    hex(&Hash::hash(data))
}

/// The first 16 hex digits of [`of`]: enough to tell declared states apart.
#[must_use]
pub fn fingerprint(value: &impl Serialize) -> Fingerprint {
    let mut text = of(value);
    text.truncate(16);
    Fingerprint::new(text)
}

/// The random key of one store: intents are hashed with it, so that a guessed value cannot be confirmed.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey(Vec<u8>);

impl StoreKey {
    /// Takes the key as it is.
    #[must_use]
    pub fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    /// The raw key, for storing it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// HMAC-SHA-256 of a value's JSON, the first 16 hex digits.
    #[must_use]
    pub fn of(&self, value: &impl Serialize) -> String {
        let mut text = hex(&HMAC::mac(canonical(value), &self.0));
        text.truncate(16);
        text
    }
}

impl std::fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreKey(..)")
    }
}
