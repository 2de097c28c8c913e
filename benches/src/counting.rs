//! A store that notes every write: of what, how large, how long it took.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Result,
    state::{
        Expect, Key, Limits, StateStore, Version, Versioned, Wrote,
        head::Head,
        journal::{Entry, Fact},
        stores::memory::MemoryStore,
    },
};

use crate::table::wall;

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// How many bytes.
    pub bytes: usize,
    /// How long it took, on a real clock.
    pub took: Duration,
    /// It makes an intent or the end of an effect durable.
    pub effects: bool,
}

#[derive(Debug, Default)]
struct Noted {
    writes: Vec<Write>,
    /// How many entries the head had before.
    seq: u64,
}

/// A store that notes what is written to it. Clones note together.
#[derive(Debug, Clone)]
pub struct Counting {
    inner: Arc<dyn StateStore>,
    noted: Arc<Mutex<Noted>>,
}

impl Counting {
    /// Notes what is written to this store.
    pub fn new(inner: impl StateStore) -> Self {
        Self { inner: Arc::new(inner), noted: Arc::default() }
    }

    /// A store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(MemoryStore::new())
    }

    /// What was written since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Write> {
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner).writes)
    }

    fn note(&self, body: &[u8], took: Duration) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut effects = false;
        if let Ok(head) = Head::parse(body) {
            let new = usize::try_from(head.seq - noted.seq).unwrap_or(usize::MAX);
            noted.seq = head.seq;
            effects = head.tail.iter().rev().take(new).any(is_of_effect);
        }
        noted.writes.push(Write { bytes: body.len(), took, effects });
    }
}

fn is_of_effect(entry: &Entry) -> bool {
    matches!(&entry.fact, Fact::Step { intent, of, .. } if intent.is_some() || of.is_some())
}

#[async_trait]
impl StateStore for Counting {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        let (copy, began) = (body.clone(), wall());
        let wrote = self.inner.write(key, expect, body).await?;
        self.note(&copy, wall().saturating_sub(began));
        Ok(wrote)
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        self.inner.remove(key, expect).await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.inner.list(prefix, after, limit).await
    }
}
