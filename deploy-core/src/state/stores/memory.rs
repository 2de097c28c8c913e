//! The reference store: records in this process, gone with it.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    error::Result,
    hash,
    state::store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote, check_size},
};

/// The largest value of a store made without limits of its own; the same as the SQLite store's.
const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records in memory. Clones share them, as two processes share a file.
///
/// Versions are counted, by one counter for all keys that deletes and restores do not turn back; or, from
/// [`hashing`](Self::hashing), made of the content, as an object store's ETags are.
#[derive(Clone)]
pub struct MemoryStore {
    records: Arc<Mutex<Records>>,
    limits: Limits,
    hashing: bool,
}

#[derive(Default)]
struct Records {
    counter: u64,
    by_key: BTreeMap<Key, Versioned>,
}

/// All records of a [`MemoryStore`] at one moment.
#[derive(Clone)]
pub struct MemoryBackup(BTreeMap<Key, Versioned>);

impl fmt::Debug for MemoryBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBackup({} records)", self.0.len())
    }
}

impl MemoryStore {
    /// An empty store that counts versions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: Arc::default(),
            limits: Limits::new(VALUE_BYTES_MAX, Duration::from_millis(200), false),
            hashing: false,
        }
    }

    /// An empty store whose versions are hashes of the content: equal bytes have equal versions, so that
    /// A -> B -> A looks unchanged.
    #[must_use]
    pub fn hashing() -> Self {
        Self { hashing: true, ..Self::new() }
    }

    /// The same records under other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A copy of all records.
    #[must_use]
    pub fn back_up(&self) -> MemoryBackup {
        MemoryBackup(self.lock().by_key.clone())
    }

    /// Puts an older state back. The counter goes on, so no version from after the backup is given again.
    pub fn restore(&self, backup: &MemoryBackup) {
        self.lock().by_key = backup.0.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Each change below is a single map operation: a panic elsewhere cannot leave half of one behind.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold configuration: they are counted, not shown.
        f.debug_struct("MemoryStore")
            .field("records", &self.lock().by_key.len())
            .field("limits", &self.limits)
            .field("hashing", &self.hashing)
            .finish()
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        Ok(self.lock().by_key.get(key).cloned())
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        check_size(&self.limits, key, &body)?;
        let mut records = self.lock();
        let as_expected = match (records.by_key.get(key), &expect) {
            (None, Expect::Absent) => true,
            (Some(record), Expect::Is(version)) => record.version == *version,
            (None, Expect::Is(_)) | (Some(_), Expect::Absent) => false,
        };
        if !as_expected {
            return Ok(Wrote::Conflict);
        }
        let version = if self.hashing {
            Version(hash::bytes(&body))
        } else {
            records.counter += 1;
            Version(records.counter.to_string())
        };
        records.by_key.insert(key.clone(), Versioned { version: version.clone(), body });
        Ok(Wrote::Stored(version))
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        let mut records = self.lock();
        if records.by_key.get(key).is_none_or(|record| record.version != expect) {
            return Ok(Wrote::Conflict);
        }
        records.by_key.remove(key);
        Ok(Wrote::Stored(expect))
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let records = self.lock();
        let from = after.map_or(prefix, |after| after.max(prefix));
        let under = records
            .by_key
            .range((Bound::Excluded(from), Bound::Unbounded))
            .map(|(key, _)| key)
            // `a-b` sorts before `a/b`: neighbours that only look alike come first.
            .skip_while(|key| key.as_str().starts_with(prefix.as_str()) && !key.is_under(prefix))
            .take_while(|key| key.is_under(prefix));
        Ok(under.take(limit).cloned().collect())
    }
}
