//! One component in the world, and what its instances do: a pure function of time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    call::Reply,
    shape::{Behaviour, Shape, WorldOptions},
};
use crate::model::{Component, FaultClass, Permanence};

/// How many past declarations are kept, for stale reads.
const EPOCHS: usize = 16;
/// How many accepted tokens an object remembers, for settling.
const TOKENS: usize = 16;

/// An index into the world's revisions.
pub(super) type Rev = usize;

/// A time in which a component declared one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Epoch {
    /// Since when.
    pub(super) at: i64,
    pub(super) rev: Rev,
    pub(super) deployment: u64,
    /// Instances of `rev` that were running and healthy when it began.
    pub(super) kept: u32,
    /// Instances of another revision that were running when it began.
    pub(super) old: Option<(Rev, u32)>,
    /// Set by the platform, which went back from this revision.
    pub(super) reverted_from: Option<Rev>,
    /// Set by someone else, of this name.
    pub(super) by: Option<String>,
    /// An instance of the revision before that stands in the way, by its unique id.
    pub(super) stuck: Option<String>,
    /// Since when instances are being replaced: later than `at` if something was stuck.
    pub(super) since: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) component: Component,
    pub(super) version: u64,
    pub(super) fence: u64,
    pub(super) epochs: VecDeque<Epoch>,
    /// The last revision that came up entirely: where the platform itself goes back to.
    pub(super) good: Option<Rev>,
    /// Accepted calls: token, kind, what was answered.
    pub(super) tokens: VecDeque<(String, String, Reply)>,
}

/// What its instances look like at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    pub(super) updated: u32,
    pub(super) healthy: u32,
    pub(super) old: u32,
    /// Nothing is in motion.
    pub(super) done: bool,
    pub(super) trouble: Option<Trouble>,
}

#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) class: FaultClass,
    pub(super) permanence: Permanence,
    /// How many instances have failed so far.
    pub(super) failures: u64,
    pub(super) text: &'static str,
}

impl Object {
    pub(super) fn new(component: Component, rev: Rev, at: i64, desired: u32) -> Self {
        let first = Epoch {
            // Long ago: everything has come up and drained.
            at: at - 3_600_000,
            rev,
            deployment: 1,
            kept: desired,
            old: None,
            reverted_from: None,
            by: None,
            stuck: None,
            since: at - 3_600_000,
        };
        Self {
            component,
            version: 1,
            fence: 0,
            epochs: VecDeque::from([first]),
            good: Some(rev),
            tokens: VecDeque::new(),
        }
    }

    /// What is declared now. There always is an epoch: the first is made with the object, and the last is never cut.
    pub(super) fn now(&self) -> &Epoch {
        &self.epochs[self.epochs.len() - 1]
    }

    /// What was declared at a time, as far back as is remembered.
    pub(super) fn as_of(&self, at: i64) -> &Epoch {
        self.epochs.iter().rev().find(|epoch| epoch.at <= at).unwrap_or(&self.epochs[0])
    }

    pub(super) fn stuck_mut(&mut self) -> Option<&mut Epoch> {
        self.epochs.back_mut().filter(|epoch| epoch.stuck.is_some())
    }

    pub(super) fn remember(&mut self, token: &str, kind: &str, reply: &Reply) {
        if self.tokens.len() == TOKENS {
            self.tokens.pop_front();
        }
        self.tokens.push_back((token.to_owned(), kind.to_owned(), reply.clone()));
    }

    pub(super) fn accepted(&self, token: &str, kind: &str) -> Option<&Reply> {
        self.tokens.iter().rev().find(|(t, k, _)| t == token && k == kind).map(|(_, _, reply)| reply)
    }

    /// Declares `rev` from `at` on. False if that was declared already: then nothing moves.
    pub(super) fn declare(
        &mut self,
        at: i64,
        rev: Rev,
        how: &How<'_>,
        behaviour: impl Fn(Rev) -> Behaviour,
    ) -> bool {
        self.version += 1;
        let now = self.now();
        if now.rev == rev {
            return false;
        }
        let status = status(how.shape, how.options, now, behaviour(now.rev), at);
        let old_there = now.old.filter(|_| status.old > 0).map(|(old, _)| (old, status.old));
        let kept = old_there.map_or(0, |(old, count)| if old == rev { count } else { 0 });
        let rest = [Some((now.rev, status.healthy)), old_there.filter(|(old, _)| *old != rev)];
        let old = rest.into_iter().flatten().filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count);
        // An ordered set does not replace an instance that never became ready: someone has to delete it.
        let broken = status.trouble.is_some() || now.stuck.is_some();
        let stuck = (how.shape == Shape::Kubernetes && broken).then(|| match &now.stuck {
            Some(id) => id.clone(),
            None => {
                format!("{}-{}.{}", self.component, how.options.desired.saturating_sub(1), now.deployment)
            }
        });
        let good = (status.done && status.trouble.is_none()).then_some(now.rev);
        let epoch = Epoch {
            at,
            rev,
            deployment: now.deployment + 1,
            kept,
            old,
            reverted_from: how.reverted_from,
            by: how.by.map(str::to_owned),
            stuck,
            since: at,
        };
        self.good = good.or(self.good);
        if self.epochs.len() == EPOCHS {
            self.epochs.pop_front();
        }
        self.epochs.push_back(epoch);
        true
    }

    /// When the platform will go back by itself, and where to.
    pub(super) fn revert_due(
        &self,
        options: &WorldOptions,
        behaviour: impl Fn(Rev) -> Behaviour,
    ) -> Option<(i64, Rev)> {
        let now = self.now();
        let to = self.good.filter(|good| *good != now.rev)?;
        let due = now.at.saturating_add(signed(options.revert_after_ms));
        (behaviour(now.rev) == Behaviour::PlatformRevert).then_some((due, to))
    }
}

/// Who declares something, in what world.
pub(super) struct How<'a> {
    pub(super) shape: Shape,
    pub(super) options: &'a WorldOptions,
    pub(super) by: Option<&'a str>,
    pub(super) reverted_from: Option<Rev>,
}

pub(super) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// What instances look like `at` a time in an epoch whose revision behaves so.
pub(super) fn status(
    shape: Shape,
    options: &WorldOptions,
    epoch: &Epoch,
    behaviour: Behaviour,
    at: i64,
) -> Status {
    let passed = u64::try_from(at.saturating_sub(epoch.since)).unwrap_or(0);
    let old = epoch.old.map_or(0, |(_, count)| count);
    if epoch.stuck.is_some() {
        return Status {
            updated: epoch.kept,
            healthy: epoch.kept,
            old: old.max(1),
            done: false,
            trouble: None,
        };
    }
    let start = options.start_ms.max(1) * if behaviour == Behaviour::Slow { 8 } else { 1 };
    let missing = options.desired.saturating_sub(epoch.kept);
    if !behaviour.comes_up() {
        // One at a time is replaced where they are ordered: the others stay as they are.
        let (tried, old) = match shape {
            Shape::Kubernetes => (missing.min(1), old.min(options.desired.saturating_sub(epoch.kept + 1))),
            _ => (missing, old),
        };
        let trouble = trouble(behaviour, passed / start, tried);
        // Pointers move at once whatever the code behind them does.
        let done = !shape.counts() && passed >= options.drain_ms;
        return Status { updated: epoch.kept + tried, healthy: epoch.kept, old, done, trouble };
    }
    let (come, ready) = match shape {
        Shape::Kubernetes => {
            let come = u32::try_from((passed / start).min(missing.into())).unwrap_or(missing);
            (come, u64::from(missing) * start)
        }
        _ => {
            let ready = if missing == 0 { 0 } else { start };
            (if passed >= ready { missing } else { 0 }, ready)
        }
    };
    let done = passed >= ready.saturating_add(options.drain_ms);
    let (updated, old) = match shape {
        // The one that is being replaced is neither.
        Shape::Kubernetes => {
            let updated = (epoch.kept + come + 1).min(options.desired);
            (updated, old.min(options.desired - updated))
        }
        _ => (options.desired, if done { 0 } else { old }),
    };
    let fails_at = ready.saturating_add(options.flaky_after_ms);
    if behaviour == Behaviour::Flaky && passed >= fails_at {
        let rounds = 1 + (passed - fails_at) / start;
        let trouble = trouble(Behaviour::Crash, rounds, options.desired);
        return Status { updated, healthy: 0, old, done: !shape.counts(), trouble };
    }
    Status { updated, healthy: epoch.kept + come, old, done, trouble: None }
}

fn trouble(behaviour: Behaviour, rounds: u64, instances: u32) -> Option<Trouble> {
    let (class, permanence, text) = match behaviour {
        Behaviour::NoPull => {
            (FaultClass::Image, Permanence::Permanent, "the image cannot be pulled: not found")
        }
        Behaviour::Unhealthy => (FaultClass::Unhealthy, Permanence::Recurring, "health checks fail: 503"),
        _ => (FaultClass::Crash, Permanence::Recurring, "the process ended by itself with exit code 1"),
    };
    // A missing image shows at once, everything else after a start.
    let rounds = if behaviour == Behaviour::NoPull { 1 } else { rounds };
    let failures = rounds * u64::from(instances);
    (failures > 0).then_some(Trouble { class, permanence, failures, text })
}
