//! What every part of the control plane shares: clock, timers, randomness, images, logs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::ecr::Registry;
use super::ledger::{Caller, Change};
use super::logs::Logs;
use super::rng::Rng;
use super::state::TaskDefinition;
use super::throttle::Buckets;

/// What a task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Step {
    Pending,
    Activating,
    Running,
    Healthy,
    TargetUnhealthy,
    Fail,
    Stopping,
    Deprovisioning,
    Stopped,
    Forget,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Timer {
    Task {
        cluster: String,
        task: String,
        generation: u64,
        step: Step,
    },
    Service {
        cluster: String,
        service: String,
    },
    /// A call that was sent, answered by nobody, and arrives now.
    Late {
        call: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    at: i64,
    /// Timers of one instant fire in the order in which they were set.
    order: u64,
    timer: Timer,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) now: i64,
    pub(super) rng: Rng,
    pub(super) registry: Registry,
    pub(super) logs: Logs,
    pub(super) buckets: Buckets,
    /// By family, in the order of their revisions: revision N is at N - 1.
    pub(super) families: BTreeMap<String, Vec<TaskDefinition>>,
    pub(super) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Who makes the call that is being carried out.
    #[serde(default)]
    pub(super) caller: Caller,
    /// How far behind this call's answer is.
    #[serde(default)]
    pub(super) lag_ms: i64,
    #[serde(default)]
    pub(super) ledger: Vec<Change>,
    timers: BTreeSet<Entry>,
    order: u64,
}

impl Core {
    pub(super) fn new(config: Config) -> Self {
        Self {
            now: config.start_ms,
            rng: Rng::new(config.seed),
            registry: Registry::default(),
            logs: Logs::default(),
            buckets: Buckets::default(),
            families: BTreeMap::new(),
            tags: BTreeMap::new(),
            caller: Caller::default(),
            lag_ms: 0,
            ledger: Vec::new(),
            timers: BTreeSet::new(),
            order: 0,
            config,
        }
    }

    pub(super) fn set_timer(&mut self, at: i64, timer: Timer) {
        self.order += 1;
        self.timers.insert(Entry { at: at.max(self.now), order: self.order, timer });
    }

    /// Takes the first timer that is due at `now`, and moves the clock to it.
    pub(super) fn take_due(&mut self, now: i64) -> Option<Timer> {
        if self.timers.first()?.at > now {
            return None;
        }
        let entry = self.timers.pop_first()?;
        self.now = self.now.max(entry.at);
        Some(entry.timer)
    }

    pub(super) fn next_timer(&self) -> Option<i64> {
        self.timers.first().map(|e| e.at)
    }

    pub(super) fn task_definition(&self, arn: &str) -> Option<&TaskDefinition> {
        let (family, revision) = super::params::last_part(arn).rsplit_once(':')?;
        let at = revision.parse::<usize>().ok()?.checked_sub(1)?;
        self.families.get(family)?.get(at)
    }
}
