//! What has to be made before a place is touched, and the plan that is closed with it.
//!
//! A release by commit may need an image that nobody has built yet. Then the plan is *open*: its steps cannot be known.
//! It can be shown, and it can be started: under the lease and with a journal what is missing is made, then the plan is
//! closed and goes on as every other. It cannot be approved or applied, because nobody has seen its steps.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    context::StepContext,
    error::{Error, ErrorKind, Result},
    model::{Goal, Plan, Release, Step},
    target::Target,
};

/// Makes what releases need: builds, pushes and verifies images.
#[async_trait]
pub trait Preparer: fmt::Debug + Send + Sync + 'static {
    /// The steps that are missing for this release, in order; none if all is there and verified. Read-only: it is asked by
    /// `plan` too.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for what is there and is not what it says it is.
    async fn missing(&self, release: &Release) -> Result<Vec<Step>>;

    /// Makes what one of these steps says, and returns what may be of use later. It touches nothing of the place, asks for
    /// no effect, ends soon after [`StepContext::interrupted`] is true, and keeps nothing running when it is dropped. It
    /// may be called again, by another process too, and then finds what an earlier run made.
    ///
    /// # Errors
    /// As it fails. The deploy ends *refused*, nothing changed, unless another attempt may help.
    async fn make(&self, step: &Step, cx: &StepContext) -> Result<Value>;

    /// The release with everything verified and named by digest. Read-only.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with both values if something is not what the release says it is.
    async fn finish(&self, release: &Release) -> Result<Release>;
}

/// Plans anew what was planned openly.
#[derive(Debug, Clone)]
pub(crate) struct Planner(pub(crate) Target);

impl Planner {
    pub(crate) async fn make(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        match &self.0.preparer {
            Some(preparer) => preparer.make(step, cx).await,
            None => {
                let text = format!("nobody here can run step {} of the preparation", step.id);
                Err(Error::new(ErrorKind::Unsupported, text)
                    .next("resume with a target that builds its images"))
            }
        }
    }

    /// The plan with its steps, stored, and the object that holds it.
    pub(crate) async fn close(&self, open: &Plan) -> Result<(Plan, String)> {
        let target = &self.0;
        let (Goal::Deploy(release), Some(preparer)) = (&open.goal, &target.preparer) else {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "only a release can be prepared, by who prepares it",
            ));
        };
        let release = preparer.finish(release).await?;
        let now = target.place.inspect().await?;
        let mut plan = target.plan_goal(&Goal::Deploy(release), &now).await?;
        plan.prepare.clone_from(&open.prepare);
        plan.check()?;
        let object = target.records().put_object(&plan).await?;
        Ok((plan, object))
    }
}

impl Target {
    /// The plan of a release that needs what is not there yet: what it claims, and what comes first.
    pub(crate) async fn open_plan(
        &self,
        release: Release,
        now: &crate::model::Snapshot,
        missing: Vec<Step>,
    ) -> Result<Plan> {
        // What taking over what runs would claim is what a deploy will claim.
        let mut plan = self.plan_for(&Goal::Adopt, now, None).await?;
        plan.to =
            crate::model::Revision::new("(to be made)", [], Value::Null).built_from(release.commit.clone());
        plan.goal = Goal::Deploy(release);
        plan.steps = Vec::new();
        plan.diff = Vec::new();
        plan.prepare = missing;
        plan.open = true;
        plan.check()?;
        Ok(plan)
    }

    pub(crate) fn prepares(&self) -> Option<&Arc<dyn Preparer>> {
        self.preparer.as_ref()
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests;
