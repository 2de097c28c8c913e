//! What is there now: identity, capabilities, revision, declared state.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Component, Counts, Fingerprint, Timestamp};

/// One state that a place can be put back to. Configuration is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revision {
    /// What the platform calls it (`prod-api-task:41`).
    pub name: String,
    /// The commit it was built from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Image digests (or references, where the digest is not known) by container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// The declared state of each component at this revision.
    pub declared: BTreeMap<Component, Fingerprint>,
    /// What the platform needs to find it again. Never secret values.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub handle: Value,
}

impl Revision {
    /// A revision by name and by what it declares.
    pub fn new(
        name: impl Into<String>,
        declared: impl IntoIterator<Item = (Component, Fingerprint)>,
        handle: Value,
    ) -> Self {
        Self {
            name: name.into(),
            commit: None,
            images: BTreeMap::new(),
            declared: declared.into_iter().collect(),
            handle,
        }
    }

    /// With the commit that it was built from.
    #[must_use]
    pub fn built_from(mut self, commit: Option<String>) -> Self {
        self.commit = commit;
        self
    }

    /// The seven-character commit, else the platform's name: what screens show.
    #[must_use]
    pub fn short(&self) -> &str {
        match &self.commit {
            Some(commit) => commit.get(..7).unwrap_or(commit),
            None => &self.name,
        }
    }
}

/// What inspecting says "here" is. Pinned to the target's name by the first use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// An identity of named parts (`account`, `region`, `cluster`, `service`, `family`, `containers`, ...).
    pub fn new<K: Into<String>, V: Into<String>>(parts: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(parts.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// A part by name.
    #[must_use]
    pub fn get(&self, part: &str) -> Option<&str> {
        self.0.get(part).map(String::as_str)
    }

    /// All parts in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The parts in which `other` differs: name, here, there.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let mut names: Vec<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let both = names.into_iter().map(|name| (name, self.get(name), other.get(name)));
        both.filter(|(_, here, there)| here != there).collect()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What a write can be compared with on this platform: decides how other writers are kept out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteGuard {
    /// Nothing: the last writer wins. Old requests are kept out by signature age, and detected.
    #[default]
    None,
    /// A version: a write carries the version that it was made for, or is rejected.
    Version,
    /// Our fence is part of the object, and the server compares it.
    Fence,
}

/// How late an accepted call may still change something; all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lateness {
    /// How long the platform honours a signature.
    pub signature_ms: u64,
    /// How far our clock may be from the platform's.
    pub skew_ms: u64,
    /// How long the platform takes to apply a call that it accepted, and to show it to readers.
    pub apply_ms: u64,
    /// In how much time the kernel still flushes the socket of a process that died on this host.
    pub flush_ms: u64,
}

impl Lateness {
    /// Nothing arrives late: for platforms that compare, and for tests.
    pub const NONE: Self = Self { signature_ms: 0, skew_ms: 0, apply_ms: 0, flush_ms: 0 };
    /// AWS: 300 s of signature, 5 s of skew, 10 s to apply.
    pub const AWS: Self = Self { signature_ms: 300_000, skew_ms: 5_000, apply_ms: 10_000, flush_ms: 20_000 };

    /// Bounds of one's own.
    #[must_use]
    pub const fn new(signature_ms: u64, skew_ms: u64, apply_ms: u64, flush_ms: u64) -> Self {
        Self { signature_ms, skew_ms, apply_ms, flush_ms }
    }

    /// After this time from its signing a call can no longer change anything.
    #[must_use]
    pub const fn bound_ms(&self) -> u64 {
        self.signature_ms + self.skew_ms + self.apply_ms
    }
}

/// What a place can do. Trials, guards and screens are chosen by it; the negative is asserted too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// What writes can be compared with.
    pub write_guard: WriteGuard,
    /// How late a call may arrive.
    pub lateness: Lateness,
    /// The platform may go back by itself.
    pub reverts_itself: bool,
    /// Observations may call for remedies.
    pub remedies: bool,
    /// Several components are moved as one group.
    pub groups: bool,
    /// The platform's own gates must be confirmed.
    pub gates: bool,
    /// The real plan exists only later, and must fit into an envelope.
    pub envelope: bool,
    /// There is at least one effect that can neither be repeated nor observed.
    pub at_most_once: bool,
    /// Instances are counted; otherwise the declaration is read back.
    pub counts: bool,
    /// Logs can be read.
    pub logs: bool,
}

impl Capabilities {
    /// Nothing but a last-writer-wins platform with these bounds.
    #[must_use]
    pub fn new(write_guard: WriteGuard, lateness: Lateness) -> Self {
        Self {
            write_guard,
            lateness,
            reverts_itself: false,
            remedies: false,
            groups: false,
            gates: false,
            envelope: false,
            at_most_once: false,
            counts: true,
            logs: false,
        }
    }

    /// What fencing amounts to here, in the word that plans show.
    #[must_use]
    pub fn fencing(&self) -> &'static str {
        match self.write_guard {
            WriteGuard::None => "detected",
            WriteGuard::Version | WriteGuard::Fence => "enforced",
        }
    }
}

/// What runs now. Two snapshots of an untouched place are equal but for `at` and `counts`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// The platform's short name (`ecs`, `k8s`, `memory`).
    pub platform: String,
    /// What "here" is.
    pub identity: Identity,
    /// What the place can do.
    pub capabilities: Capabilities,
    /// The revision that is declared now.
    pub serving: Revision,
    /// Declared state that we write, by component: never health, never counts that an autoscaler owns.
    pub declared: BTreeMap<Component, Fingerprint>,
    /// Instances, where they are counted.
    pub counts: Option<Counts>,
    /// Nothing is in motion and every counted instance is healthy.
    pub steady: bool,
    /// Platform data that planning needs.
    pub detail: Value,
}

impl Snapshot {
    /// A snapshot; `declared` is taken from the serving revision.
    pub fn new(
        at: Timestamp,
        platform: impl Into<String>,
        identity: Identity,
        capabilities: Capabilities,
        serving: Revision,
    ) -> Self {
        let declared = serving.declared.clone();
        Self {
            at,
            platform: platform.into(),
            identity,
            capabilities,
            serving,
            declared,
            counts: None,
            steady: true,
            detail: Value::Null,
        }
    }
}
