//! Terraform runs: they plan after a push, wait to be confirmed, and apply.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{object::Rev, shape::Spec};
use crate::{hash, model::Fingerprint};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for the run before it.
    Pending,
    /// Makes its plan.
    Planning,
    /// Waits to be confirmed.
    Planned,
    /// Applies.
    Applying,
    /// Has applied.
    Applied,
    /// There was nothing to change.
    Unchanged,
    /// The plan or the apply failed.
    Errored,
    /// Someone discarded it.
    Discarded,
    /// A later push took its place.
    Superseded,
}

impl RunState {
    /// Whether it can still be discarded.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Planning | Self::Planned)
    }
}

/// A run as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunView {
    /// Its number.
    pub id: u64,
    /// Where it is.
    pub state: RunState,
    /// The content's name.
    pub revision: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) rev: Rev,
    pub(super) state: RunState,
    pub(super) since: i64,
    /// The call that confirmed or replaced it.
    pub(super) token: Option<String>,
    pub(super) fence: Option<u64>,
}

/// The addresses that differ, with a fingerprint of the value that they get.
pub(super) fn changes(from: &Spec, to: &Spec) -> BTreeMap<String, Option<Fingerprint>> {
    let mut all = BTreeMap::new();
    for name in from.images.keys().chain(to.images.keys()) {
        if from.images.get(name) != to.images.get(name) {
            all.insert(format!("image.{name}"), to.images.get(name).map(hash::fingerprint));
        }
    }
    for name in from.env.keys().chain(to.env.keys()) {
        if from.env.get(name) != to.env.get(name) {
            all.insert(format!("env.{name}"), to.env.get(name).map(hash::fingerprint));
        }
    }
    all
}

/// The changes that do not fit into what was allowed.
pub(super) fn outside(
    made: &BTreeMap<String, Option<Fingerprint>>,
    allowed: &BTreeMap<String, Option<Fingerprint>>,
) -> Vec<String> {
    let fits = |(address, value): &(&String, &Option<Fingerprint>)| match allowed.get(*address) {
        None => false,
        Some(None) => true,
        Some(expected) => expected == *value,
    };
    made.iter().filter(|change| !fits(change)).map(|(address, _)| address.clone()).collect()
}
