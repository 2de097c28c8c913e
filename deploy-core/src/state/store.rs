//! The contract of a state store: read, compare-and-set, conditional remove, list.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The name of a record: parts of `[A-Za-z0-9._=@:~-]`, joined by `/`; other characters are escaped as `~XX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Joins parts; a `/` or anything unusual inside a part is escaped, so parts cannot run into each other.
    pub fn new<P: AsRef<str>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut text = String::new();
        for part in parts {
            if !text.is_empty() {
                text.push('/');
            }
            for byte in part.as_ref().bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'=' | b'@' | b':' | b'-') {
                    text.push(char::from(byte));
                } else {
                    text.push_str(&format!("~{byte:02x}"));
                }
            }
        }
        Self(text)
    }

    /// The key with one more part.
    #[must_use]
    pub fn join(&self, part: &str) -> Self {
        let Self(tail) = Self::new([part]);
        Self(format!("{}/{tail}", self.0))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this key lies under `prefix` (whole parts).
    #[must_use]
    pub fn is_under(&self, prefix: &Self) -> bool {
        self.0.strip_prefix(&prefix.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a stored record. Opaque; never used twice by a store that counts, equal for equal bytes in
/// a store that hashes (an object store's ETag): callers must not rely on either.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub String);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Its version.
    pub version: Version,
    /// Its content.
    pub body: Vec<u8>,
}

/// What a write requires of the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// It has this version.
    Is(Version),
}

/// How a conditional write or remove ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wrote {
    /// It is stored, durably, with this version. (A removed record: the version that was removed.)
    Stored(Version),
    /// The record was not as required; nothing was changed. It may be one's own write that was seen twice.
    Conflict,
}

/// What a store can hold, and how it is used best.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest value, in bytes.
    pub value_bytes: usize,
    /// How often it is worth looking for commands of other processes.
    pub poll: Duration,
    /// Whether deployers on other machines see the same records. If not, plans say so.
    pub many_machines: bool,
}

impl Limits {
    /// Limits of a store.
    #[must_use]
    pub fn new(value_bytes: usize, poll: Duration, many_machines: bool) -> Self {
        Self { value_bytes, poll, many_machines }
    }
}

/// Where heads, segments and records live.
///
/// Every method may be called from several tasks, processes and machines at once. Each costs one round trip.
/// Errors are of kind [`ErrorKind::Store`] unless said otherwise: with effect `NotApplied` when certainly nothing
/// happened, with `Unknown` when the answer was lost; callers read back.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// What the store can hold. Constant; costs nothing.
    fn limits(&self) -> Limits;

    /// Reads one record; `None` if there is none. Reads see every write that was acknowledged before they began.
    async fn read(&self, key: &Key) -> Result<Option<Versioned>>;

    /// Writes one record if it is as expected, atomically and durably: an acknowledged write survives kill -9 and
    /// power loss. Writing identical content gives a new version in stores that count.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the limit if the value is too large: nothing was written.
    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote>;

    /// Removes one record if it has this version.
    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote>;

    /// Up to `limit` keys under `prefix` (whole parts), in order, after `after`. May miss records that are being
    /// written; order of events never comes from here.
    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>>;
}

/// The error of a value that does not fit.
pub(crate) fn check_size(limits: &Limits, key: &Key, body: &[u8]) -> Result<()> {
    if body.len() <= limits.value_bytes {
        return Ok(());
    }
    let text =
        format!("{key} has {} bytes; this store takes {} bytes a value", body.len(), limits.value_bytes);
    Err(Error::new(ErrorKind::Invalid, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_run_into_each_other() {
        let key = Key::new(["v1", "arn:aws:ecs:us-east-1:1:service/a/b", "head"]);
        assert_eq!(key.as_str(), "v1/arn:aws:ecs:us-east-1:1:service~2fa~2fb/head");
        assert_ne!(Key::new(["a", "b/c"]), Key::new(["a", "b", "c"]));
        assert_ne!(Key::new(["~2f"]), Key::new(["/"]));
        assert!(key.is_under(&Key::new(["v1"])));
        assert!(!Key::new(["v10", "x"]).is_under(&Key::new(["v1"])));
        assert_eq!(Key::new(["v1"]).join("x/y"), Key::new(["v1", "x/y"]));
    }
}
