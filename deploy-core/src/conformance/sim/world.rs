//! What a platform brings to be simulated: worlds with fault hooks and an audit of what has really happened.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    memory::{Fault, WriteKind, Writer},
    model::Release,
    platform::Platform,
};

/// A request, as a fault hook is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimCall {
    /// A stable word for what is asked.
    pub what: String,
    /// Whether it changes nothing.
    pub read: bool,
}

/// Decides what happens to a request.
pub type SimHook = Arc<dyn Fn(&SimCall) -> Fault + Send + Sync>;

/// An effective write, as the world knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimWrite {
    /// When it landed, in milliseconds since the world began.
    pub at: u64,
    /// What kind.
    pub kind: WriteKind,
    /// The component, if it concerns one.
    pub component: Option<String>,
    /// The revision's name, the instance, the run, the hook.
    pub value: String,
    /// Whether what is declared changed.
    pub changed: bool,
    /// Whether its caller had been told that there was no answer, before it landed.
    pub late: bool,
    /// Who.
    pub by: Writer,
}

/// What a world is to be like. Drawn from the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSetting {
    /// One of [`SimPlatform::shapes`].
    pub shape: &'static str,
    /// Wanted instances.
    pub desired: u32,
    /// Whether releases have a hook that must run at most once.
    pub hook: bool,
}

/// A platform that can be simulated.
pub trait SimPlatform: fmt::Debug + Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The shapes that its worlds come in; at least one.
    fn shapes(&self) -> &'static [&'static str];

    /// A fresh world. The clock is the platform's own, and starts at `epoch` of [`super::EPOCH_MS`].
    fn world(&self, setting: &WorldSetting, clock: Arc<dyn Clock>) -> Arc<dyn SimWorld>;
}

/// One world. Everything in it is a function of what is asked of it and of its clock.
pub trait SimWorld: fmt::Debug + Send + Sync {
    /// A deployer's own view of the place, dated by its clock.
    fn place(&self, clock: Arc<dyn Clock>) -> Arc<dyn Platform>;

    /// From now on this decides what happens to requests; `None`: nothing happens to them.
    fn faults(&self, hook: Option<SimHook>);

    /// The components whose declared state is written.
    fn components(&self) -> Vec<String>;

    /// The name of the revision that a component declares, in truth.
    fn declared(&self, component: &str) -> Option<String>;

    /// Every effective write so far, oldest first.
    fn writes(&self) -> Vec<SimWrite>;

    /// How many calls are under way and have not landed.
    fn under_way(&self) -> usize;

    /// A process on this host is dead: what its kernel still holds is sent within so many milliseconds, or never.
    fn hasten(&self, within_ms: u64);

    /// Whether writes are compared with a version or a fence (P1 and P2).
    fn compares(&self) -> bool;

    /// Whether a rollout waits for somebody to promote it.
    fn needs_promotion(&self) -> bool;

    /// The largest delay after which a call may still be accepted.
    fn latest_ms(&self) -> u64;

    /// How far reads may lag behind.
    fn stale_ms(&self) -> u64;

    /// A release that behaves so: `ok`, `crash`, `nopull`, `unhealthy`, `slow`, `flaky`, `platform-revert`.
    fn release(&self, behaviour: &str, number: u64) -> Release;

    /// Whether a revision of this name can never be healthy.
    fn is_bad(&self, revision: &str) -> bool;

    /// Somebody else changes a component. What was done, in words.
    fn foreign_write(&self, random: u64) -> Option<String>;

    /// Somebody uses the platform's own pages (confirms or discards). What was done, in words.
    fn outside(&self, random: u64) -> Option<String>;
}
