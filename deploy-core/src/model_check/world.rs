//! The world that the model checker walks through: one store, one platform, some deployers, and a clock that
//! moves in ticks. Everything that may go wrong is bounded by a [`Budget`].

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::deployer::Live;
use crate::{
    machine::{Rules, Timing},
    model::{Ended, Fingerprint, Plan, Timestamp},
    state::head::Head,
};

/// One tick of the clock: the deadline of a request, and more than any backoff of a first attempt.
pub(super) const TICK: u64 = 10_000;

/// What the platform compares: nothing (P0), a version (P1), our fence (P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Nothing: the last writer wins.
    P0,
    /// The version that the writer has read.
    P1,
    /// That, and the fence that the object carries.
    P2,
}

/// What the one component declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Declared {
    Old,
    New,
    Other,
}

impl Declared {
    pub(super) fn fingerprint(self) -> Fingerprint {
        Fingerprint::from(match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Other => "other",
        })
    }
}

/// How much may go wrong. Each use takes one away, so that the world is finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// A deployer loses everything that is not stored.
    pub(super) crashes: u8,
    /// A deployer stands still while time passes.
    pub(super) pauses: u8,
    /// A store call without answer, with or without effect.
    pub(super) store: u8,
    /// A platform request that is answered too late, or never.
    pub(super) delays: u8,
    /// Somebody else writes a value that is not ours.
    pub(super) foreign: u8,
    /// Somebody else writes the new value.
    pub(super) foreign_new: u8,
    /// A person aborts through the inbox.
    pub(super) aborts: u8,
    /// The new revision turns out to be bad.
    pub(super) red: u8,
    /// A deployer leaves in good order.
    pub(super) leaves: u8,
    /// The store is out of reach for one deployer, for good.
    pub(super) partitions: u8,
    /// Further deployers that resume.
    pub(super) resumes: u8,
    /// Such a deployer need not wait for the patience W: a person breaks the lease.
    pub(super) breaks: u8,
}

impl Budget {
    pub(super) const NONE: Self = Self {
        crashes: 0,
        pauses: 0,
        store: 0,
        delays: 0,
        foreign: 0,
        foreign_new: 0,
        aborts: 0,
        red: 0,
        leaves: 0,
        partitions: 0,
        resumes: 0,
        breaks: 0,
    };
}

/// What is checked: class, rules, plan and budget.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) rules: Rules,
    pub(super) budget: Budget,
    /// Requests are signed: the platform refuses old ones. Otherwise lateness counts from the sending.
    pub(super) signed: bool,
    /// The clock stands still after this many ticks.
    pub(super) ticks: u64,
    pub(super) timing: Timing,
    pub(super) plan: Arc<Plan>,
}

/// A request that was sent and may still land.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Request {
    /// The number of the deployer's run, whose child waits for the answer.
    pub(super) run: u8,
    pub(super) intent: u64,
    pub(super) fence: u64,
    pub(super) what: What,
    /// The version that it is conditional on.
    pub(super) on: Option<u64>,
    /// It lands before this time, or never.
    pub(super) until: u64,
    /// Nobody waits for it any more: it may land at any time until then, or not at all.
    pub(super) late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Declare(Declared),
    Barrier,
    Run,
}

/// The one object of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Object {
    pub(super) declared: Declared,
    pub(super) version: u64,
    pub(super) fence: u64,
    /// Somebody else has written what is declared.
    pub(super) foreign: bool,
    /// How often the step that must not happen twice has happened.
    pub(super) runs: u8,
}

/// The one record of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) version: u64,
    pub(super) head: Option<Head>,
    /// Writes that were not answered and may still arrive.
    pub(super) late: Vec<(u64, Head)>,
}

/// What must never be. Each is set by the step that did it, so that a path to it ends there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Broken(pub(super) std::collections::BTreeSet<&'static str>);

/// What only the checker sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ghost {
    pub(super) broken: Broken,
    /// The highest fence whose holder has sealed the platform (P0: has gone forward under it).
    pub(super) sealed: u64,
    /// The outcome, once it is stored.
    pub(super) ended: Option<Ended>,
    /// Writes of the old value over a new one that somebody else had written, and that was seen.
    pub(super) fights: u8,
    /// Somebody else has written.
    pub(super) foreign: bool,
    /// Forward calls sent.
    pub(super) forward: u8,
    /// An undo was sent under the standing undo alone.
    pub(super) undone_without_store: bool,
    /// A takeover went on with what another had begun.
    pub(super) resumed: bool,
    /// Going back began while a forward call had no answer.
    pub(super) back_over_open: bool,
}

/// A value with its hash, shared: a step changes one part of the world, and the others are neither cloned nor
/// hashed again.
#[derive(Clone)]
pub(super) struct Shared<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T: Hash + Clone> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        let hash = Self::hash_of(&value);
        Self { value: Arc::new(value), hash }
    }

    fn hash_of(value: &T) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn get(&self) -> &T {
        &self.value
    }

    pub(super) fn change<R>(&mut self, how: impl FnOnce(&mut T) -> R) -> R {
        let result = how(Arc::make_mut(&mut self.value));
        self.hash = Self::hash_of(&self.value);
        result
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:016x}", self.hash)
    }
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) deployers: Vec<Shared<Live>>,
    pub(super) store: Shared<Store>,
    pub(super) rest: Rest,
}

/// What a deployer's step may touch besides itself and the store.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Rest {
    pub(super) object: Object,
    pub(super) requests: Vec<Request>,
    pub(super) left: Budget,
    /// How many deployers were ever started.
    pub(super) runs: u8,
    /// The newest number that was given out as random.
    pub(super) fresh: u64,
    /// The new revision is bad.
    pub(super) red: bool,
    pub(super) ghost: Ghost,
}

impl Rest {
    pub(super) fn broke(&mut self, what: &'static str) {
        self.ghost.broken.0.insert(what);
    }
}

pub(super) fn at(now: u64) -> Timestamp {
    Timestamp::from_millis(now.cast_signed())
}
