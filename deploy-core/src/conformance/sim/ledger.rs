//! What is durable, as the store itself sees it: every head is checked against the one before it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;

use super::trace::{Sim, lock};
use crate::{
    error::Result,
    model::{Ended, Fence, RolloutId},
    state::{
        Expect, Key, Limits, StateStore, Version, Versioned, Wrote,
        head::{Head, Segment},
        journal::{Decision, Entry, Fact, StepState},
        stores::memory::MemoryStore,
    },
};

/// A stored entry, and when it became durable (true time).
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) at: u64,
    pub(super) entry: Entry,
    /// The fence of the head that brought it.
    pub(super) fence: Fence,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    heads: BTreeMap<Key, Head>,
    segments: BTreeMap<String, Segment>,
    pub(super) journals: BTreeMap<RolloutId, Vec<Stored>>,
}

/// The store under all faults.
#[derive(Clone)]
pub(super) struct AuditStore {
    inner: MemoryStore,
    sim: Arc<Sim>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

impl fmt::Debug for AuditStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditStore")
    }
}

impl AuditStore {
    pub(super) fn new(inner: MemoryStore, sim: Arc<Sim>) -> Self {
        Self { inner, sim, ledger: Arc::default() }
    }

    fn stored(&self, key: &Key, body: &[u8]) {
        let text = key.as_str();
        let mut ledger = lock(&self.ledger);
        if text.contains("/seg/") {
            if let Ok(segment) = serde_json::from_slice(body) {
                let name = text.rsplit('/').next().unwrap_or_default().to_owned();
                ledger.segments.insert(name, segment);
            }
            return;
        }
        if !text.ends_with("/head") {
            return;
        }
        let head = match Head::parse(body) {
            Ok(head) => head,
            Err(error) => return self.sim.violated(format!("a head cannot be read: {error}")),
        };
        if let Err(text) = ledger.take(self.sim.now(), key, head, &self.sim) {
            drop(ledger);
            self.sim.violated(text);
        }
    }
}

impl Ledger {
    /// All heads as they are stored now.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.heads.values()
    }

    /// When the outcome of a rollout became durable.
    pub(super) fn ended_at(&self, rollout: &RolloutId) -> Option<u64> {
        let journal = self.journals.get(rollout)?;
        journal.iter().find(|stored| matches!(stored.entry.fact, Fact::Ended { .. })).map(|stored| stored.at)
    }

    fn take(&mut self, now: u64, key: &Key, head: Head, sim: &Sim) -> std::result::Result<(), String> {
        let before = self.heads.insert(key.clone(), head.clone());
        let (fence, seq, beat) =
            before.as_ref().map_or((Fence(0), 0, 0), |before| (before.fence, before.seq, before.beat));
        if head.fence < fence {
            return Err(format!("{key} was written under fence {} after {fence}", head.fence));
        }
        if head.beat < beat || head.seq < seq {
            return Err(format!("{key} went back: beat {beat} -> {}, seq {seq} -> {}", head.beat, head.seq));
        }
        if let (Some(holder), None) = (&head.holder, &head.home) {
            let same = before.as_ref().is_some_and(|before| before.holder.as_ref() == Some(holder));
            if !same && head.fence == fence {
                return Err(format!("{key} changed its holder to {} under fence {fence}", holder.id));
            }
        }
        if let Some(before) = before.as_ref().filter(|_| head.home.is_none())
            && let Some(old) = before.claim.as_ref().filter(|old| head.claim.as_ref() != Some(old))
            && self.ended_at(old).is_none()
            && !head.tail.iter().any(|entry| is_end_of(entry, old))
        {
            let segment = head.segment.as_ref().and_then(|link| self.segments.get(&link.name));
            if !segment.is_some_and(|part| part.entries.iter().any(|entry| is_end_of(entry, old))) {
                return Err(format!("{key} gave up the unfinished deploy {old}"));
            }
        }
        let fresh = usize::try_from(head.seq - seq).unwrap_or(0);
        let mut entries: Vec<Entry> = Vec::new();
        if head.tail.len() < fresh {
            let link = head.segment.as_ref().map(|link| link.name.clone()).unwrap_or_default();
            let segment = self.segments.get(&link);
            entries.extend(segment.map(|segment| segment.entries.clone()).unwrap_or_default());
        }
        entries.extend(head.tail.iter().cloned());
        if entries.len() < fresh {
            return Err(format!("{key} has {fresh} new entries, of which {} can be found", entries.len()));
        }
        for entry in entries.split_off(entries.len() - fresh) {
            let journal = self.journals.entry(entry.rollout.clone()).or_default();
            sim.log(format_args!("   {} {} {}", entry.rollout.short(), entry.seq, summary(&entry.fact)));
            count(&entry.fact, sim);
            if entry.seq != journal.len() as u64 + 1 {
                let (id, seq) = (&entry.rollout, entry.seq);
                return Err(format!("the journal of {id} has entry {seq} after {}", journal.len()));
            }
            journal.push(Stored { at: now, entry, fence: head.fence });
        }
        Ok(())
    }
}

fn is_end_of(entry: &Entry, rollout: &RolloutId) -> bool {
    entry.rollout == *rollout && matches!(entry.fact, Fact::Ended { .. })
}

/// The stable word of an outcome.
pub(super) fn ended_word(ended: &Ended) -> &'static str {
    ended.word()
}

fn count(fact: &Fact, sim: &Sim) {
    match fact {
        Fact::Ended { outcome, .. } => sim.count(format!("outcome {}", ended_word(&outcome.ended))),
        Fact::Driver { how, .. } => sim.count(format!("driver {how:?}")),
        Fact::Decision { decision, .. } => sim.count(format!("decision {decision:?}")),
        Fact::Step { closed: Some(by), .. } => sim.count(format!("closed {by:?}")),
        Fact::Command { accepted: true, command, via, .. } => {
            sim.count(format!("command {} by {via}", command.word()));
        }
        _ => {}
    }
}

/// The word by which traps know an entry.
pub(super) fn word(fact: &Fact) -> &'static str {
    match fact {
        Fact::Started { .. } => "started",
        Fact::Driver { .. } => "driver",
        Fact::Step { state: StepState::Began, .. } => "began",
        Fact::Step { state: StepState::Asked, .. } => "asked",
        Fact::Step { .. } => "answered",
        Fact::Decision { .. } => "decision",
        Fact::Restored { .. } => "restored",
        Fact::Command { .. } => "command",
        Fact::Ended { .. } => "ended",
        _ => "other",
    }
}

fn summary(fact: &Fact) -> String {
    match fact {
        Fact::Step { step, state, attempt, effect, intent, of, closed, error, .. } => {
            let mut text = format!("step {step} {state:?} attempt {attempt}");
            if let Some(effect) = effect {
                text.push_str(&format!(" effect {effect:?}"));
            }
            if let Some(intent) = intent {
                let (direction, fence) = (intent.direction, intent.fence);
                text.push_str(&format!(" {direction:?} fence {fence} to {:?}", intent.to));
            }
            if let Some(of) = of {
                text.push_str(&format!(" of {of} closed {closed:?}"));
            }
            if let Some(error) = error {
                text.push_str(&format!(" ({})", error.text));
            }
            text
        }
        Fact::Decision { decision, cause, to, .. } => {
            let cause = cause.as_ref().map_or("", |cause| &cause.text);
            format!("decision {decision:?} {} {cause}", to.as_deref().unwrap_or_default())
        }
        Fact::Started { from, to, actor, .. } => format!("started {} -> {} by {actor}", from.name, to.name),
        Fact::Driver { owner, previous, fence, how, .. } => {
            format!("driver {owner} after {previous:?} fence {fence} {how:?}")
        }
        Fact::Guard(finding) => format!("guard {} {:?} {}", finding.guard, finding.result, finding.text),
        Fact::Command { command, via, accepted, .. } => {
            format!("command {} via {via} accepted {accepted}", command.word())
        }
        Fact::Ended { outcome, .. } => {
            let at = outcome.serving.observed_at.as_millis() - super::EPOCH_MS;
            format!("ENDED {:?} {:?} seen {at} {outcome}", outcome.ended, outcome.serving.side)
        }
        Fact::Fault { class, text, .. } => format!("fault {class:?} {text}"),
        Fact::Restored { open_calls, .. } => format!("restored, {open_calls} open"),
        _ => word(fact).to_owned(),
    }
}

/// Whether nothing may be written forward after this.
pub(super) fn turns(fact: &Fact) -> bool {
    let Fact::Decision { decision, .. } = fact else { return false };
    matches!(decision, Decision::GoBack | Decision::FollowRevert | Decision::GiveWay | Decision::Abandon)
}

#[async_trait]
impl StateStore for AuditStore {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        let copy = body.clone();
        let wrote = self.inner.write(key, expect, body).await?;
        if matches!(wrote, Wrote::Stored(_)) {
            self.stored(key, &copy);
        }
        Ok(wrote)
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        self.inner.remove(key, expect).await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.inner.list(prefix, after, limit).await
    }
}
