//! What a backend gives the suite: a world of its platform, and ways to disturb it.

use std::{fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Clock,
    error::Result,
    model::{Capabilities, Release},
    platform::Platform,
};

/// How a release behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Word {
    /// Starts and stays healthy.
    Ok,
    /// Starts and ends by itself, again and again.
    Crash,
    /// Its image does not exist.
    NoPull,
    /// Runs, and fails its health checks.
    Unhealthy,
    /// Becomes healthy and then crashes, within the bake.
    Flaky,
    /// Fails, and the platform goes back by itself before anyone else can tell.
    Reverts,
}

impl Word {
    /// The word in names and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Crash => "crash",
            Self::NoPull => "nopull",
            Self::Unhealthy => "unhealthy",
            Self::Flaky => "flaky",
            Self::Reverts => "reverts",
        }
    }
}

/// How a deploy of a failing release has to end here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The class of the outcome's cause.
    pub class: &'static str,
    /// Whether anything is changed before it fails: if not, the deploy ends as failed, and nothing is undone.
    pub changes: bool,
}

impl Failing {
    /// It changes something, is found out by this class of fault, and is undone.
    #[must_use]
    pub const fn undone(class: &'static str) -> Self {
        Self { class, changes: true }
    }

    /// The platform refuses it before anything is changed.
    #[must_use]
    pub const fn refused(class: &'static str) -> Self {
        Self { class, changes: false }
    }
}

/// What happens to a mutation on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is applied, and its answer is lost.
    LoseAnswer,
    /// It is lost itself: not applied, which its sender cannot know.
    LoseRequest,
    /// It is refused for now.
    Throttle,
    /// It is refused for good.
    Refuse,
    /// It has no answer, and arrives this many milliseconds later.
    Late(u64),
}

/// What a subject cannot do, in words: the trial that needs it is reported as not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Unsupported {
    /// In these words: `a late call`.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// What really serves, whatever anyone was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// The platform's name of the revision.
    pub revision: String,
    /// All that serves is of this revision and healthy, and nothing is being changed.
    pub healthy: bool,
}

/// One fresh world of the platform under test, in which a first release runs steadily.
#[async_trait]
pub trait Subject: fmt::Debug + Send + Sync {
    /// One more view of the place, as another deployer would have it.
    fn place(&self) -> Arc<dyn Platform>;

    /// The clock of world and deployers.
    fn clock(&self) -> Arc<dyn Clock>;

    /// The name of a container whose configuration can be changed.
    fn container(&self) -> String;

    /// A release that behaves so. Each number is another release.
    ///
    /// # Errors
    /// If no release behaves so on this platform.
    fn release(&self, word: Word, number: u32) -> Result<Release, Unsupported>;

    /// How a deploy of such a release fails here.
    fn failing(&self, word: Word) -> Failing {
        Failing::undone(match word {
            Word::NoPull => "image",
            Word::Unhealthy => "unhealthy",
            Word::Reverts => "platform_revert",
            Word::Ok | Word::Crash | Word::Flaky => "crash",
        })
    }

    /// How long to bake: long enough for a flaky release to fail in it.
    fn bake(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Someone else changes what this place declares.
    async fn foreign_change(&self) -> Result<(), Unsupported>;

    /// Whether what the last foreign change declared is still declared.
    ///
    /// # Errors
    /// If it cannot be told: the trial fails.
    async fn foreign_stays(&self) -> Result<bool>;

    /// The credentials or the configuration lead elsewhere now: another identity under the same claim.
    async fn move_identity(&self) -> Result<(), Unsupported> {
        Err(Unsupported::new("an identity that moves"))
    }

    /// The ground truth.
    ///
    /// # Errors
    /// If it cannot be had: the trial fails.
    async fn serving(&self) -> Result<Truth>;

    /// How many mutations had an effect so far, by the ground truth: what was made, changed or run, by anyone.
    /// Barrier writes, and repeats that changed nothing, do not count.
    ///
    /// # Errors
    /// If it cannot be had: the trial fails.
    async fn writes(&self) -> Result<usize>;

    /// From now on, the `nth` mutation (1: the next one) meets this fault, once; faults set before are forgotten.
    fn fault(&self, nth: usize, fault: Fault) -> Result<(), Unsupported>;
}

/// Makes subjects.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// The platform's name in the results.
    fn name(&self) -> String;

    /// What a place of it can do.
    fn capabilities(&self) -> Capabilities;

    /// A fresh world. Called inside the runtime of [`runtime`](Self::runtime).
    ///
    /// # Errors
    /// If it cannot be made: the trial fails.
    async fn subject(&self) -> Result<Box<dyn Subject>>;

    /// What each trial runs on. Default: one thread, in virtual time.
    ///
    /// # Errors
    /// If there is no runtime to be had.
    fn runtime(&self) -> io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
    }

    /// Trials that this platform is known not to pass, each with the reason. One that passes fails the run.
    fn exclusions(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// How long one trial may take in real time before it counts as stuck.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}
