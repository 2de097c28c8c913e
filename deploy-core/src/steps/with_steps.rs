//! A place with steps of the user's own around what it does.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use super::{ExtraStep, PlannedStep, Runners, StepFacts, StepRunner};
use crate::{
    context::StepContext,
    error::{Error, ErrorKind, Result},
    model::{Goal, Observation, Plan, Revision, Runner, Scope, Snapshot, Step, StepId, StepKind, Undo},
    platform::{Logs, Observations, Outputs, PlanContext, Platform, Settled, Versions},
    state::journal::Intent,
};

/// A place with steps of the user's own, which are run in order before the place's first mutation or after its last
/// watch.
///
/// They belong to a deploy that changes something: a rollback, an adoption and a deploy of what runs already have none.
/// When a deploy is undone, the place goes back first; then the steps that were run, or may have been, are made up for,
/// the last one first. What nobody could make up for is owed in the outcome.
///
/// A process that goes on with a stored plan runs a step only if it would plan the same itself: else the deploy goes back,
/// and what would have made up for the step is owed.
#[derive(Debug)]
pub struct WithSteps {
    place: Arc<dyn Platform>,
    before: Vec<Arc<dyn ExtraStep>>,
    after: Vec<Arc<dyn ExtraStep>>,
    runners: Runners,
}

impl WithSteps {
    /// Around a place, with nothing yet.
    #[must_use]
    pub fn new(place: impl Platform) -> Self {
        Self::around(Arc::new(place))
    }

    /// As [`new`](Self::new), for a place that is shared already.
    #[must_use]
    pub fn around(place: Arc<dyn Platform>) -> Self {
        Self { place, before: Vec::new(), after: Vec::new(), runners: Vec::new() }
    }

    /// One more step before the place's first mutation.
    #[must_use]
    pub fn before(mut self, step: impl ExtraStep) -> Self {
        self.before.push(Arc::new(step));
        self
    }

    /// One more step after the place's last watch.
    #[must_use]
    pub fn after(mut self, step: impl ExtraStep) -> Self {
        self.after.push(Arc::new(step));
        self
    }

    /// Who runs the steps of a kind. The last one given counts.
    #[must_use]
    pub fn runner(mut self, kind: Runner, runner: impl StepRunner) -> Self {
        self.runners.retain(|(known, _)| *known != kind);
        self.runners.push((kind, Arc::new(runner)));
        self
    }

    fn runner_of(&self, step: &Step) -> Result<&dyn StepRunner> {
        let found = self.runners.iter().find(|(kind, _)| *kind == step.runner);
        let missing = || {
            let text = format!("there is no runner for step {}, a {}", step.id, step.runner.word());
            Error::new(ErrorKind::Unsupported, text).next("give the place one with .runner(..)")
        };
        found.map(|(_, runner)| &**runner).ok_or_else(missing)
    }

    fn extra(&self, id: &StepId) -> Option<&Arc<dyn ExtraStep>> {
        self.before.iter().chain(&self.after).find(|extra| extra.id() == id.as_str())
    }

    /// A stored plan tells what is to be done, and not what this process runs for it: whoever can write the store could have
    /// anything run otherwise.
    fn check_own(&self, step: &Step, plan: &Plan) -> Result<()> {
        let facts = StepFacts::of(plan);
        let all = self.before.iter().chain(&self.after);
        let mut mine = all.filter_map(|extra| extra.plan(facts.as_ref()?).ok());
        let is_it = |own: &Step| own.id == step.id && own.runner == step.runner && own.data == step.data;
        if mine.any(|planned| is_it(&planned.step) || planned.compensation.as_ref().is_some_and(is_it)) {
            return Ok(());
        }
        let text = format!(
            "step {} of the plan is not what this process is set up to run; nothing was run",
            step.id
        );
        Err(Error::new(ErrorKind::Refused, text)
            .next("the plan is another version's: deploy again, or go on with the version that made it"))
    }

    async fn planned(&self, extra: &dyn ExtraStep, facts: &StepFacts) -> Result<PlannedStep> {
        extra.check(facts).await.map_err(|error| {
            let next = error.what_next().map(str::to_owned);
            let refused = Error::new(ErrorKind::Refused, format!("step {}: {}", extra.id(), error.message()));
            match next {
                Some(next) => refused.next(next),
                None => refused,
            }
        })?;
        let planned = extra.plan(facts)?;
        for step in [Some(&planned.step), planned.compensation.as_ref()].into_iter().flatten() {
            self.runner_of(step)?.accepts(step)?;
            if step.kind != StepKind::Effect || step.runner == Runner::Platform {
                let text = format!("step {} is no effect of a runner of its own", step.id);
                return Err(Error::new(ErrorKind::Unexpected, text));
            }
        }
        if planned.compensation.is_some() != (planned.step.undo == Undo::Compensates) {
            let text = format!(
                "step {} says that it is compensated, or has a compensation, but not both",
                extra.id()
            );
            return Err(Error::new(ErrorKind::Unexpected, text));
        }
        Ok(planned)
    }
}

/// Puts the steps around those of the place, and what makes up for them behind its way back.
fn insert(plan: &mut Plan, before: Vec<PlannedStep>, after: Vec<PlannedStep>) -> Result<()> {
    let known = plan.steps.iter().chain(&plan.way_back.steps).map(|step| &step.component);
    let mut components: BTreeSet<_> = known.cloned().collect();
    components.extend(plan.base.declared.keys().cloned());
    components.extend(plan.to.declared.keys().cloned());
    let all = || before.iter().chain(&after);
    for planned in all() {
        if !components.insert(planned.step.component.clone()) {
            let text = format!("a step cannot be called {}: that name is taken here", planned.step.component);
            return Err(Error::new(ErrorKind::Invalid, text).next("give it another name"));
        }
    }
    plan.capabilities.at_most_once |= all().any(|planned| planned.at_most_once);
    for planned in all() {
        if let Undo::None { reason } = &planned.step.undo {
            plan.way_back.not_restored.push(format!("{}: {reason}", planned.step.title));
        }
    }
    let compensations: Vec<Step> = all().filter_map(|planned| planned.compensation.clone()).collect();
    plan.way_back.steps.extend(compensations.into_iter().rev());
    let place = std::mem::take(&mut plan.steps);
    plan.steps.extend(before.into_iter().map(|planned| planned.step));
    plan.steps.extend(place);
    plan.steps.extend(after.into_iter().map(|planned| planned.step));
    plan.check()
}

#[async_trait]
impl Platform for WithSteps {
    async fn inspect(&self) -> Result<Snapshot> {
        self.place.inspect().await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let mut plan = self.place.plan(goal, now, cx).await?;
        let facts = StepFacts::of(&plan).filter(|_| plan.changes_something());
        let Some(facts) = facts else {
            if plan.changes_something() && !(self.before.is_empty() && self.after.is_empty()) {
                let all = self.before.iter().chain(&self.after);
                let names: Vec<&str> = all.map(|extra| extra.id()).collect();
                plan.notes
                    .push(format!("not run, nor undone, by going back to a revision: {}", names.join(", ")));
            }
            return Ok(plan);
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (extras, planned) in [(&self.before, &mut before), (&self.after, &mut after)] {
            for extra in extras {
                planned.push(self.planned(&**extra, &facts).await?);
            }
        }
        insert(&mut plan, before, after)?;
        Ok(plan)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        if step.runner == Runner::Platform {
            return self.place.execute(step, cx).await;
        }
        let runner = self.runner_of(step)?;
        self.check_own(step, cx.plan())?;
        runner.accepts(step)?;
        // Later attempts find what the first one may have left behind: a tree that is not clean any more.
        let first = cx.attempt() == 1 && !cx.going_back();
        if let (true, Some(extra), Some(facts)) = (first, self.extra(&step.id), StepFacts::of(cx.plan())) {
            extra.check(&facts).await.map_err(|error| error.context("right before the step"))?;
        }
        runner.execute(step, cx).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.place.observe(scope).await
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        match cx.planned(&intent.step).filter(|step| step.runner != Runner::Platform) {
            // What is not ours to run is not ours to look at either.
            Some(step) if self.check_own(step, cx.plan()).is_err() => Ok(Settled::Unknown),
            Some(step) => self.runner_of(step)?.settle(intent, cx).await,
            None => self.place.settle(intent, cx).await,
        }
    }

    async fn versions(&self, plan: &Plan) -> Result<Versions> {
        self.place.versions(plan).await
    }

    async fn seal(&self, versions: &Versions, cx: &StepContext) -> Result<()> {
        self.place.seal(versions, cx).await
    }

    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        self.place.scope(plan, step, outputs)
    }

    fn watch(&self, scope: &Scope) -> Option<Observations> {
        self.place.watch(scope)
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        self.place.revisions(limit).await
    }

    async fn startable(&self, revision: &Revision) -> Result<()> {
        self.place.startable(revision).await
    }

    fn runs(&self, runner: Runner) -> bool {
        self.place.runs(runner) || self.runners.iter().any(|(kind, _)| *kind == runner)
    }

    fn deploys_commits(&self) -> bool {
        self.place.deploys_commits()
    }

    fn logs(&self) -> Option<Arc<dyn Logs>> {
        self.place.logs()
    }
}
