//! Steps of the user's own around what a platform does: publish a package, run a playbook, dispatch a workflow.
//!
//! A [`StepRunner`] runs all steps of one kind ([`Runner`]); an [`ExtraStep`] is one of them, before it is in a plan;
//! [`WithSteps`] is a place with such steps around its own, and a [`Platform`](crate::Platform) itself. So steps are
//! planned, journaled, granted, settled and undone like everything else.
//!
//! With the feature `command`, on unix: [`CommandStep`] runs a command here or over ssh, and [`CommandPlace`] is a place
//! that consists of commands.
//!
//! ```
//! # #[cfg(all(feature = "command", unix))]
//! # fn target(deployer: &deploy_core::Deployer, service: impl deploy_core::Platform) -> deploy_core::Target {
//! use std::time::Duration;
//!
//! use deploy_core::{
//!     model::{Runner, SecretRef},
//!     steps::{Command, CommandRunner, CommandStep, CommandUndo, Expect, Verify, WithSteps},
//! };
//!
//! let publish = Command::new("npm")
//!     .args(["publish", "--tag", "latest"])
//!     .dir("client")
//!     .secret("NODE_AUTH_TOKEN", SecretRef::FromEnv("NPM_TOKEN".into()))
//!     .timeout(Duration::from_secs(300));
//! let shows_it = Command::shell("npm view shop-client gitHead");
//! let step = CommandStep::new("publish", publish, CommandUndo::None("a version is published once".into()))
//!     .verify(Verify::command(shows_it, Expect::Equals("{commit}".into())));
//!
//! let place = WithSteps::new(service).after(step).runner(Runner::Command, CommandRunner::new());
//! deployer.target("shop", "production", place)
//! # }
//! ```

#[cfg(all(feature = "command", unix))]
mod command;
#[cfg(all(feature = "command", unix))]
mod command_runner;
#[cfg(all(feature = "command", unix))]
mod command_step;
mod guarded;
#[cfg(all(feature = "command", unix))]
mod hosts;
#[cfg(all(feature = "command", feature = "forge", unix))]
mod http_fetch;
#[cfg(all(feature = "command", unix))]
mod output;
#[cfg(all(feature = "command", unix))]
mod place;
#[cfg(all(feature = "command", unix))]
mod run;
#[cfg(all(feature = "command", unix))]
mod script;
#[cfg(all(feature = "command", unix))]
mod verify;
mod with_steps;
#[cfg(feature = "forge")]
pub mod workflow;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

#[cfg(all(feature = "command", feature = "forge", unix))]
pub use self::http_fetch::HttpFetch;
#[cfg(all(feature = "command", unix))]
pub use self::{
    command::Command,
    command_runner::CommandRunner,
    command_step::{CommandStep, CommandUndo},
    hosts::Hosts,
    place::CommandPlace,
    verify::{Expect, Fetch, Fetched, Verify},
};
pub use guarded::guarded;
pub use with_steps::WithSteps;

use crate::{
    context::StepContext,
    error::Result,
    model::{Goal, Plan, Release, Revision, Runner, Step, TargetName},
    platform::Settled,
    state::journal::Intent,
};

/// Runs all steps of one kind that is not the platform's.
#[async_trait]
pub trait StepRunner: fmt::Debug + Send + Sync + 'static {
    /// Runs one effect step: forward, or as a compensation ([`StepContext::going_back`]). As
    /// [`Platform::execute`](crate::Platform::execute): it mutates in [`StepContext::effect`] alone, may be called
    /// again after an error and by another process after a crash, and ends early when it is interrupted. What it needs to
    /// know is in [`Step::data`]. Unlike a platform's it may wait for the end of what it runs.
    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value>;

    /// Whether an intent without answer landed. As [`Platform::settle`](crate::Platform::settle);
    /// [`StepContext::planned`] has the intent's step.
    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled>;

    /// Whether it can run this step: asked when the plan is made, and before the step. Costs nothing.
    ///
    /// # Errors
    /// What it lacks.
    fn accepts(&self, step: &Step) -> Result<()> {
        let _ = step;
        Ok(())
    }
}

/// A step of the user's own, before it is in a plan.
#[async_trait]
pub trait ExtraStep: fmt::Debug + Send + Sync + 'static {
    /// Its id: unique among all steps of the target, and the name of its component, which nothing else may have.
    fn id(&self) -> &str;

    /// The step for what is deployed. The same facts give the same step. Pure.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is wrong, or not for this release.
    fn plan(&self, facts: &StepFacts) -> Result<PlannedStep>;

    /// Its preconditions: asked when the plan is made, and right before the step is run for the first time. Read-only.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) with what does not hold.
    async fn check(&self, facts: &StepFacts) -> Result<()> {
        let _ = facts;
        Ok(())
    }
}

/// A step as it gets into a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedStep {
    /// The step: an effect, of a runner that is not the platform.
    pub step: Step,
    /// What makes up for it, where its undo is [`Undo::Compensates`](crate::model::Undo::Compensates).
    pub compensation: Option<Step>,
    /// Whether it has effects that are never sent twice.
    pub at_most_once: bool,
}

impl PlannedStep {
    /// A step that may be repeated, and that nothing compensates.
    #[must_use]
    pub fn new(step: Step) -> Self {
        Self { step, compensation: None, at_most_once: false }
    }

    /// With what makes up for it. It is run up to three times, after everything else is back, and may be run although the
    /// step did nothing.
    #[must_use]
    pub fn compensated_by(mut self, compensation: Step) -> Self {
        self.compensation = Some(compensation);
        self
    }

    /// With effects that are never sent twice.
    #[must_use]
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }
}

/// What a step of the user's own may know of a deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepFacts {
    /// The target.
    pub target: TargetName,
    /// What is deployed, with its full commit where it has one.
    pub release: Release,
    /// What serves.
    pub from: Revision,
    /// What will serve, as far as it can be predicted.
    pub to: Revision,
}

impl StepFacts {
    /// Of a plan; `None` where nothing is deployed: a rollback, an adoption.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let Goal::Deploy(release) = &plan.goal else { return None };
        Some(Self {
            target: plan.target.clone(),
            release: release.clone(),
            from: plan.base.clone(),
            to: plan.to.clone(),
        })
    }
}

/// Something that has to hold before a step: the tree is clean, the branch is the right one. Read-only.
#[async_trait]
pub trait Precondition: fmt::Debug + Send + Sync + 'static {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Whether it holds now.
    ///
    /// # Errors
    /// What does not hold, or that it cannot be told: either refuses the step.
    async fn check(&self, facts: &StepFacts) -> Result<()>;
}

/// A precondition that is a closure: `Ok` if it holds.
pub fn precondition<F, R>(name: impl Into<String>, check: F) -> impl Precondition
where
    F: Fn(StepFacts) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    Closure { name: name.into(), check }
}

struct Closure<F> {
    name: String,
    check: F,
}

impl<F> fmt::Debug for Closure<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Precondition({})", self.name)
    }
}

#[async_trait]
impl<F, R> Precondition for Closure<F>
where
    F: Fn(StepFacts) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self, facts: &StepFacts) -> Result<()> {
        (self.check)(facts.clone()).await
    }
}

/// The runners of a place, by kind. There are few.
type Runners = Vec<(Runner, Arc<dyn StepRunner>)>;
