//! The contract of a platform: what a place that can be deployed to has to do.

use std::{fmt, pin::Pin};

use async_trait::async_trait;
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    context::StepContext,
    error::{Error, ErrorKind, Result},
    model::{
        Goal, Observation, Plan, Revision, Runner, Scope, Snapshot, Step, StepId, TargetName, Timestamp,
    },
    state::journal::Intent,
};

pub use crate::context::Outputs;

/// A stream of observations that the platform pushes.
pub type Observations = Pin<Box<dyn Stream<Item = Result<Observation>> + Send>>;

/// What settling an intent of unknown outcome found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It landed; this is what it returned, as far as it can be told.
    Applied(Value),
    /// It did not land, and never will: the old request is burned or would be rejected.
    NotApplied,
    /// It cannot be told now; it may still land until its late bound.
    Unknown,
}

/// Versions of the objects concerned, read *before* the head is taken over: what the barrier writes are
/// conditional on. Opaque to the core.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Versions(pub Value);

/// A line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which instance, or which part of it.
    pub source: String,
    /// The line, as it was written.
    pub text: String,
}

impl LogLine {
    /// A line.
    #[must_use]
    pub fn new(at: Timestamp, source: impl Into<String>, text: impl Into<String>) -> Self {
        Self { at, source: source.into(), text: text.into() }
    }
}

/// Where log lines of instances come from.
#[async_trait]
pub trait Logs: fmt::Debug + Send + Sync {
    /// The last `limit` lines of an instance, oldest first, each `time  line`. One or two API calls.
    async fn tail(&self, instance: &str, limit: usize) -> Result<Vec<String>>;

    /// Up to `limit` lines that look like errors, of all instances since then, oldest first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where logs cannot be searched.
    async fn errors(&self, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let _ = (since, limit);
        Err(Error::new(ErrorKind::Unsupported, "the logs of this platform cannot be searched"))
    }

    /// Up to `limit` lines of all instances since then, oldest first: to follow them, ask again from the time of the
    /// last one on.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the lines of one instance alone can be read.
    async fn written(&self, since: Timestamp, limit: usize) -> Result<Vec<LogLine>> {
        let _ = (since, limit);
        Err(Error::new(ErrorKind::Unsupported, "the logs of this platform can be read by instance alone"))
    }
}

/// What planning is told besides goal and snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanContext {
    /// The target's name, for the plan.
    pub target: TargetName,
    /// How long to bake, in milliseconds.
    pub bake_ms: u64,
    /// The revision to go back to that is known good, if one is known and differs from the goal.
    pub known_good: Option<Revision>,
}

impl PlanContext {
    /// For a target, with nothing known good.
    #[must_use]
    pub fn new(target: TargetName, bake_ms: u64, known_good: Option<Revision>) -> Self {
        Self { target, bake_ms, known_good }
    }
}

/// A place that can be deployed to. Used as `Arc<dyn Platform>`.
///
/// Four methods are required; the provided ones are what a platform can do better. All are called from several
/// tasks. None retries by itself, none waits for settling, none mutates outside [`StepContext::effect`]. Errors
/// carry what is known of the effect; those of read-only methods are always "not applied".
#[async_trait]
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// Looks at everything that planning and the identity guard need. Read-only; a few API calls.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the place does not exist, else what the API says.
    async fn inspect(&self) -> Result<Snapshot>;

    /// Makes the plan that takes the snapshot to the goal, the way back included. Pure or read-only; may make
    /// scratch objects (a speculative run), nothing else. The same goal and snapshot give the same plan. A goal that
    /// needs no change gives a plan without effect steps.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] by name for what this backend cannot do, [`ErrorKind::Refused`] for a goal that does
    /// not fit the place (an unknown container, another repository's image, another architecture, an image that does
    /// not exist): an ending of the deploy, with nothing changed. [`ErrorKind::Invalid`] for one that fits no place.
    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan>;

    /// Runs one effect step: one or more effects, in order. Never waits for settling. May be called again after an
    /// error, and by another process after a crash: recorded effects then answer from the journal.
    /// What it returns is the step's output. If that is an object with a [`Revision`] as `revision`, the step has made
    /// it: screens and history name it.
    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value>;

    /// One cheap look at one component. Read-only, one or two API calls. Must see through stale reads: what an
    /// earlier step returned (the scope's handle) must be visible before anything else is believed; until then the
    /// motion is `Progressing` and the declared state is the scope's own.
    async fn observe(&self, scope: &Scope) -> Result<Observation>;

    /// Whether an intent without answer landed. May make a conditional barrier write through `cx` that burns the old
    /// request, so that the answer stays true. Called again until it tells or the late bound has passed.
    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        let _ = (intent, cx);
        Ok(Settled::Unknown)
    }

    /// The versions of all objects that the plan writes: what a takeover must fence off. Read-only.
    async fn versions(&self, plan: &Plan) -> Result<Versions> {
        let _ = plan;
        Ok(Versions::default())
    }

    /// Barrier writes to the objects, each conditional on its version, through [`StepContext::effect`].
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a version moved in between: read the versions again, take the head again, retry.
    /// [`ErrorKind::LeaseLost`] if an object carries a higher fence: this process is the old one.
    async fn seal(&self, versions: &Versions, cx: &StepContext) -> Result<()> {
        let _ = (versions, cx);
        Ok(())
    }

    /// What a step's component is watched for, from what earlier steps returned; for an effect step that writes
    /// declared state, what will be declared once it has landed. Pure; costs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] if an output that it needs is missing.
    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        let _ = outputs;
        let component = match plan.step(step) {
            Some(step) => step.component.clone(),
            None => return Err(Error::new(ErrorKind::Unexpected, format!("the plan has no step {step}"))),
        };
        Ok(Scope::Toward { component, revision: plan.to.clone(), handle: Value::Null })
    }

    /// A stream of observations, where the platform pushes. `None`: the driver polls [`observe`](Self::observe).
    fn watch(&self, scope: &Scope) -> Option<Observations> {
        let _ = scope;
        None
    }

    /// Revisions that the place can be put back to, newest first. Read-only.
    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// Whether the place could be started at this revision now (definition active, image there). Read-only.
    ///
    /// # Errors
    /// With the reason, if it could not.
    async fn startable(&self, revision: &Revision) -> Result<()> {
        let _ = revision;
        Ok(())
    }

    /// Whether this process can run steps of this runner here. Asked before a plan is started, and before the lease of
    /// an unfinished rollout is taken. Costs nothing.
    fn runs(&self, runner: Runner) -> bool {
        runner == Runner::Platform
    }

    /// Whether a commit alone is a release here, without an image that is built from it.
    fn deploys_commits(&self) -> bool {
        false
    }

    /// Log lines of instances, if the platform has them.
    fn logs(&self) -> Option<std::sync::Arc<dyn Logs>> {
        None
    }
}

/// Identity and health of something, read-only, from any crate: how one platform judges another's change.
#[async_trait]
pub trait HealthSource: fmt::Debug + Send + Sync + 'static {
    /// What it looks at.
    async fn identity(&self) -> Result<crate::model::Identity>;
    /// One look.
    async fn look(&self) -> Result<Observation>;
}
