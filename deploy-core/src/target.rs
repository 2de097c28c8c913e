//! A target: a name with a place, and what can be asked of it.

mod history;
mod ready;
mod refuse;
mod resume;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    deployer::Deployer,
    error::{Error, ErrorKind, Result},
    guards::{Guard, IdentityGuard, OrderGuard, WayBackGuard},
    model::{Claim, Goal, Plan, Release, Revision, Snapshot, TargetName, millis},
    observers::Observer,
    platform::{Logs, PlanContext, Platform},
    prepare::Preparer,
    request::{Request, Wish},
    source::{Migrations, Source},
    state::{Expect, Wrote, head::TargetRecord, records::Records},
};

pub use history::{Deploy, Status};

/// A name with a place, its images, its source, its guards. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) deployer: Deployer,
    pub(crate) name: Result<TargetName, String>,
    pub(crate) place: Arc<dyn Platform>,
    images: BTreeMap<String, String>,
    pub(crate) source: Option<Arc<dyn Source>>,
    pub(crate) preparer: Option<Arc<dyn Preparer>>,
    pub(crate) migrations: Option<Migrations>,
    more_guards: Vec<Arc<dyn Guard>>,
    pub(crate) overrides: Arc<BTreeMap<String, String>>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    bake: Duration,
}

impl Target {
    pub(crate) fn new(deployer: Deployer, app: String, env: String, place: Arc<dyn Platform>) -> Self {
        Self {
            deployer,
            name: TargetName::new(app, env).map_err(|error| error.to_string()),
            place,
            images: BTreeMap::new(),
            source: None,
            preparer: None,
            migrations: None,
            more_guards: Vec::new(),
            overrides: Arc::default(),
            observers: Vec::new(),
            bake: Duration::from_secs(300),
        }
    }

    /// The target's name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it was given a bad one.
    pub fn name(&self) -> Result<&TargetName> {
        self.name.as_ref().map_err(|text| Error::new(ErrorKind::Invalid, text))
    }

    /// The image repository of a container: a commit's image is this with the full commit as tag.
    #[must_use]
    pub fn image(mut self, container: impl Into<String>, repository: impl Into<String>) -> Self {
        self.images.insert(container.into(), repository.into());
        self
    }

    /// Where commits come from.
    #[must_use]
    pub fn source(mut self, source: impl Source) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Who makes what releases need: images that are not built yet.
    #[must_use]
    pub fn prepare(mut self, preparer: impl Preparer) -> Self {
        self.preparer = Some(Arc::new(preparer));
        self
    }

    /// Which files of the source are database migrations: [`Request::look`] tells which of them a deploy brings.
    #[must_use]
    pub fn migrations(mut self, migrations: Migrations) -> Self {
        self.migrations = Some(migrations);
        self
    }

    /// One more guard.
    #[must_use]
    pub fn guard(mut self, guard: impl Guard) -> Self {
        self.more_guards.push(Arc::new(guard));
        self
    }

    /// Someone who is told of every event of this target's rollouts in this process. May be slow or fail.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// How long everything must stay healthy after the last step. Default: five minutes.
    #[must_use]
    pub fn bake(mut self, bake: Duration) -> Self {
        self.bake = bake;
        self
    }

    /// Lets a guard's refusal pass, with a reason that is recorded. Guards that allow it only; never identity.
    #[must_use]
    pub fn override_guard(mut self, guard: impl Into<String>, reason: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.overrides).insert(guard.into(), reason.into());
        self
    }

    /// Log lines of instances, if the platform has them.
    #[must_use]
    pub fn logs(&self) -> Option<Arc<dyn Logs>> {
        self.place.logs()
    }

    pub(crate) fn records(&self) -> Records {
        let shared = &self.deployer.0;
        Records::new(Arc::clone(&shared.store), shared.namespace.clone())
    }

    pub(crate) fn guards(&self) -> Vec<Arc<dyn Guard>> {
        let mut guards: Vec<Arc<dyn Guard>> =
            vec![Arc::new(IdentityGuard), Arc::new(WayBackGuard), Arc::new(OrderGuard)];
        guards.extend(self.more_guards.iter().cloned());
        guards
    }

    /// A request to put a release in place.
    #[must_use]
    pub fn deploy(&self, release: Release) -> Request {
        Request::new(self.clone(), Wish::Deploy(release))
    }

    /// A request to go back: to the last known good that does not run now, or with [`Request::to`] elsewhere.
    #[must_use]
    pub fn rollback(&self) -> Request {
        Request::new(self.clone(), Wish::Rollback(None))
    }

    /// A request to take over what runs: it becomes known good once it has baked.
    #[must_use]
    pub fn adopt(&self) -> Request {
        Request::new(self.clone(), Wish::Adopt)
    }

    /// A request to run a plan made earlier. Refused if anything moved meanwhile.
    #[must_use]
    pub fn apply(&self, plan: Plan) -> Request {
        Request::new(self.clone(), Wish::Apply(Box::new(plan)))
    }

    /// Pins the target to the place as it is now: the only way to change a pin. The reason is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while a deploy is unfinished; as inspecting and writing.
    pub async fn pin(&self, reason: impl Into<String>) -> Result<()> {
        let (shared, records, name) = (&self.deployer.0, self.records(), self.name()?.clone());
        let now = self.place.inspect().await?;
        if let Some((home, head)) = self.home().await?
            && head.claim.is_some()
        {
            let text =
                format!("{home} has an unfinished deploy: finish it before {name} is pinned elsewhere");
            return Err(Error::new(ErrorKind::Busy, text).next(format!("resume {name}")));
        }
        let plan = self.plan_for(&Goal::Adopt, &now, None).await?;
        let home = plan.claims.first().cloned().unwrap_or_else(|| Claim::from(""));
        let mut record =
            TargetRecord::new(name, home, now.identity, shared.clock.now(), shared.actor.clone());
        record.pin.reason = Some(reason.into());
        let expect =
            records.target(&record.target).await?.map_or(Expect::Absent, |(version, _)| Expect::Is(version));
        match records.write_target(&record, expect).await? {
            Wrote::Stored(_) => Ok(()),
            Wrote::Conflict => {
                Err(Error::new(ErrorKind::Conflict, "somebody else changed the pin at the same time"))
            }
        }
    }

    /// Plans a goal with the way back that is known: what is known good and runs, else the newest known good that is not
    /// what is deployed.
    pub(crate) async fn plan_goal(&self, goal: &Goal, now: &Snapshot) -> Result<Plan> {
        let home = self.home().await?;
        let known = home.map_or_else(Vec::new, |(_, head)| head.known_good);
        let runs = known.iter().find(|good| good.revision.declared == now.serving.declared);
        let back = runs.or(known.first()).map(|good| good.revision.clone());
        self.plan_for(goal, now, back.filter(|_| !goal.is_rollback())).await
    }

    /// Who lacks a runner says so before it holds anything.
    pub(crate) fn check_runners(&self, plan: &Plan) -> Result<()> {
        let Some(step) = plan.step_without_runner(|runner| self.place.runs(runner)) else { return Ok(()) };
        let text = format!(
            "step {} is run by a {}, for which this process has no runner",
            step.id,
            step.runner.word()
        );
        Err(Error::new(ErrorKind::Unsupported, text)
            .next("give the target's place the runner, as the process had that made the plan"))
    }

    pub(crate) async fn plan_for(
        &self,
        goal: &Goal,
        now: &Snapshot,
        known_good: Option<Revision>,
    ) -> Result<Plan> {
        let cx = PlanContext::new(self.name()?.clone(), millis(self.bake), known_good);
        self.place.plan(goal, now, &cx).await
    }

    /// The commit and its images, if the release is one by commit.
    pub(crate) async fn resolve(&self, mut release: Release) -> Result<Release> {
        if let Some(change) = release.plain_secret() {
            let text = format!(
                "`{}` of container {} looks like a secret and has a plain value",
                change.key, change.container
            );
            return Err(Error::new(ErrorKind::Invalid, text)
                .next("give a reference: from the environment, a file or a resolver"));
        }
        let Some(revision) = release.commit.clone() else { return Ok(release) };
        if let Some(source) = &self.source {
            let commit = source.resolve(&revision).await?;
            release.subject = Some(commit.subject);
            release.commit = Some(commit.id);
        } else if revision.len() != 40 || !revision.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = format!("`{revision}` cannot be resolved: the target has no source");
            return Err(
                Error::new(ErrorKind::Invalid, text).next("give the full commit, or the target a source")
            );
        }
        let commit = release.commit.clone().unwrap_or_default();
        for (container, repository) in &self.images {
            release.images.entry(container.clone()).or_insert_with(|| format!("{repository}:{commit}"));
        }
        if release.images.is_empty() && !self.place.deploys_commits() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the target has no image repository for a release by commit",
            )
            .next("name one with .image(container, repository)"));
        }
        Ok(release)
    }
}
