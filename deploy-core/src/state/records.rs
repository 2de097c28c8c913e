//! Where records lie in a store, and reading them: heads, targets, objects, journals.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Expect, Key, StateStore, Version, Wrote,
    format::{self, Stored},
    head::{Head, Segment, TargetRecord},
    journal::Entry,
};
use crate::{
    clock::Random,
    error::{Error, ErrorKind, Result},
    hash::{self, StoreKey},
    model::{Claim, Plan, RolloutId, TargetName},
};

/// The records of one namespace of a store.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    store: Arc<dyn StateStore>,
    namespace: Option<String>,
}

impl Records {
    /// Runs against an emulator keep their state in a namespace of their own: the same name there is another thing.
    pub(crate) fn new(store: Arc<dyn StateStore>, namespace: Option<String>) -> Self {
        Self { store, namespace }
    }

    pub(crate) fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    fn key(&self, parts: &[&str]) -> Key {
        let mut all = vec!["v1"];
        if let Some(namespace) = &self.namespace {
            all.extend(["ns", namespace.as_str()]);
        }
        all.extend(parts);
        Key::new(all)
    }

    pub(crate) fn head_key(&self, claim: &Claim) -> Key {
        self.key(&["claim", claim.as_str(), "head"])
    }

    pub(crate) fn segment_key(&self, claim: &Claim, name: &str) -> Key {
        self.key(&["claim", claim.as_str(), "seg", name])
    }

    fn target_key(&self, target: &TargetName) -> Key {
        self.key(&["target", target.app(), target.env()])
    }

    fn object_key(&self, hash: &str) -> Key {
        self.key(&["obj", hash])
    }

    /// The head of a claim. Segments without a head mean that the head was lost: a fence must never start again.
    pub(crate) async fn head(&self, claim: &Claim) -> Result<Option<(Version, Head)>> {
        match self.store.read(&self.head_key(claim)).await? {
            Some(found) => Ok(Some((found.version, Head::parse(&found.body)?))),
            None => {
                let segments = self.key(&["claim", claim.as_str(), "seg"]);
                if self.store.list(&segments, None, 1).await?.is_empty() {
                    return Ok(None);
                }
                let text = format!("{claim} has journal segments but no head: the state store has lost it");
                Err(Error::new(ErrorKind::Store, text)
                    .retry_as(crate::Retry::Never)
                    .next("restore the head from a backup; a new one would reuse old fencing tokens"))
            }
        }
    }

    pub(crate) async fn target(&self, target: &TargetName) -> Result<Option<(Version, TargetRecord)>> {
        self.read(&self.target_key(target)).await
    }

    pub(crate) async fn write_target(&self, record: &TargetRecord, expect: Expect) -> Result<Wrote> {
        self.store.write(&self.target_key(&record.target), expect, to_bytes(record)?).await
    }

    pub(crate) async fn targets(&self) -> Result<Vec<TargetRecord>> {
        let prefix = self.key(&["target"]);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(&prefix, after.as_ref(), 100).await?;
            for key in &page {
                if let Some((_, record)) = self.read(key).await? {
                    found.push(record);
                }
            }
            match page.last() {
                Some(last) if page.len() == 100 => after = Some(last.clone()),
                _ => return Ok(found),
            }
        }
    }

    async fn read<T: Stored>(&self, key: &Key) -> Result<Option<(Version, T)>> {
        let Some(found) = self.store.read(key).await? else { return Ok(None) };
        let value = format::parse(&found.body).map_err(|error| error.context(key))?;
        Ok(Some((found.version, value)))
    }

    /// Reads something immutable whose hash is known: of the bytes, so that it stays right when a later version has
    /// added fields that this one skips.
    async fn read_hashed<T: Stored>(&self, key: &Key, hash: &str) -> Result<T> {
        let broken = |text: String| Error::new(ErrorKind::Store, text).retry_as(crate::Retry::Never);
        let found = self.store.read(key).await?;
        let found = found.ok_or_else(|| broken(format!("the {} {key} is missing", T::WHAT)))?;
        if hash::bytes(&found.body) != hash {
            return Err(broken(format!("the {} {key} is not what was written", T::WHAT)));
        }
        format::parse(&found.body).map_err(|error| error.context(key))
    }

    /// Stores something immutable by its hash; storing it twice is the same.
    pub(crate) async fn put_object(&self, value: &impl Serialize) -> Result<String> {
        let body = to_bytes(value)?;
        let name = hash::bytes(&body);
        let key = self.object_key(&name);
        for _ in 0..3 {
            match self.store.write(&key, Expect::Absent, body.clone()).await {
                // Already there: the same content, because the name is its hash.
                Ok(Wrote::Stored(_) | Wrote::Conflict) => return Ok(name),
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(_) if self.store.read(&key).await?.is_some() => return Ok(name),
                Err(_) => {}
            }
        }
        Err(Error::new(ErrorKind::Store, format!("the object {name} cannot be stored")))
    }

    /// A plan by the name that [`put_object`](Self::put_object) gave it.
    pub(crate) async fn plan(&self, name: &str) -> Result<Plan> {
        self.read_hashed(&self.object_key(name), name).await
    }

    /// All entries of one rollout, oldest first: the tail and as many segments as it takes.
    pub(crate) async fn journal(
        &self,
        claim: &Claim,
        head: &Head,
        rollout: &RolloutId,
    ) -> Result<Vec<Entry>> {
        let mine = |entries: &[Entry]| -> Vec<Entry> {
            entries.iter().filter(|entry| entry.rollout == *rollout).cloned().collect()
        };
        let mut entries = mine(&head.tail);
        let mut segment = head.segment.clone();
        while entries.first().is_none_or(|first| first.seq > 1) {
            let Some(link) = segment else { break };
            let part = self.segment(claim, &link.name, &link.hash).await?;
            let mut older = mine(&part.entries);
            older.extend(entries);
            entries = older;
            segment = part.previous;
        }
        Ok(entries)
    }

    /// The newest entries of a claim, newest rollout last, until `enough` says so.
    pub(crate) async fn entries_back(
        &self,
        claim: &Claim,
        head: &Head,
        mut enough: impl FnMut(&[Entry]) -> bool + Send,
    ) -> Result<Vec<Entry>> {
        let mut entries = head.tail.clone();
        let mut segment = head.segment.clone();
        while let Some(link) = segment {
            if enough(&entries) {
                break;
            }
            let mut part = self.segment(claim, &link.name, &link.hash).await?;
            segment = part.previous.take();
            part.entries.extend(entries);
            entries = part.entries;
        }
        Ok(entries)
    }

    async fn segment(&self, claim: &Claim, name: &str, hash: &str) -> Result<Segment> {
        self.read_hashed(&self.segment_key(claim, name), hash).await
    }

    /// The store's random key for hashes of intents, made on first use.
    pub(crate) async fn store_key(&self, random: &dyn Random) -> Result<StoreKey> {
        let key = self.key(&["key"]);
        for _ in 0..5 {
            if let Some(found) = self.store.read(&key).await? {
                return Ok(StoreKey::new(found.body));
            }
            let bytes: Vec<u8> = (0..4).flat_map(|_| random.next().to_le_bytes()).collect();
            // Whether it was stored, was there, or got lost: the next read tells.
            let _ = self.store.write(&key, Expect::Absent, bytes).await;
        }
        Err(Error::new(ErrorKind::Store, "the store's key can be neither read nor written"))
    }
}

pub(crate) fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::Unexpected, format!("a record cannot be written: {error}")))
}
