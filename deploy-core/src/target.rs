//! The front door: a deployer, its targets, and what can be asked of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, Random, SystemClock, SystemRandom},
    context::{LocalSecrets, Secrets},
    error::{Error, ErrorKind, Result},
    guards::{Guard, IdentityGuard, OrderGuard, WayBackGuard},
    launch::{Lease, Taking},
    machine::{Machine, Rules, Timing},
    model::{Claim, Goal, Outcome, Plan, Release, Revision, RolloutId, Snapshot, TargetName, millis},
    observers::Observer,
    platform::{PlanContext, Platform},
    rollout::Rollout,
    source::Source,
    state::{
        Expect, StateStore, Wrote,
        head::{Head, Holder, TargetRecord},
        journal::{CommandKind, CommandRecord, Entry, Fact},
        keeper::Want,
        process::{Alive, Liveness, ProcLiveness},
        records::Records,
        session::send_command,
    },
};

/// What all targets of a deployer share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) namespace: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) liveness: Arc<dyn Liveness>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) timing: Timing,
    pub(crate) rules: Rules,
    pub(crate) actor: String,
    pub(crate) holder: Option<Holder>,
}

/// Deploys to targets, with its state in one store. Cheap to clone.
///
/// Needs a running tokio runtime with time; a rollout's driver is a task of it, and lives in this process.
#[derive(Debug, Clone)]
pub struct Deployer(pub(crate) Arc<Shared>);

impl Deployer {
    /// A deployer with its state in this store, the system's clock and randomness, and secrets from the environment
    /// and files.
    pub fn new(store: impl StateStore) -> Self {
        Self(Arc::new(Shared {
            store: Arc::new(store),
            namespace: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            liveness: Arc::new(ProcLiveness),
            secrets: Arc::new(LocalSecrets),
            timing: Timing::default(),
            rules: Rules::default(),
            actor: std::env::var("USER")
                .or_else(|_| std::env::var("LOGNAME"))
                .unwrap_or_else(|_| "unknown".into()),
            holder: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Another clock: virtual time in tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.with(|shared| shared.clock = Arc::new(clock))
    }

    /// Another source of randomness.
    #[must_use]
    pub fn random(self, random: impl Random) -> Self {
        self.with(|shared| shared.random = Arc::new(random))
    }

    /// Another way to tell whether a holder's process exists.
    #[must_use]
    pub fn liveness(self, liveness: impl Liveness) -> Self {
        self.with(|shared| shared.liveness = Arc::new(liveness))
    }

    /// Another resolver of secrets.
    #[must_use]
    pub fn secrets(self, secrets: impl Secrets) -> Self {
        self.with(|shared| shared.secrets = Arc::new(secrets))
    }

    /// Other timing of lease and requests.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the inequality of [`Timing::check`] does not hold.
    pub fn timing(self, timing: Timing) -> Result<Self> {
        timing.check()?;
        Ok(self.with(|shared| shared.timing = timing))
    }

    /// Who deploys, for journal and events. Default: the user's name.
    #[must_use]
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.with(|shared| shared.actor = actor.into())
    }

    /// Keeps this deployer's state apart: for an emulator or another endpoint, where the same name is another thing.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.with(|shared| shared.namespace = Some(namespace.into()))
    }

    #[cfg(any(test, feature = "conformance"))]
    #[doc(hidden)]
    #[must_use]
    pub fn named_holder(self, id: impl Into<String>) -> Self {
        self.with(|shared| shared.holder = Some(Holder::named(id)))
    }

    /// A target: the name `app/env`, and the place that it is. A bad name is an error of the first request.
    pub fn target(&self, app: impl Into<String>, env: impl Into<String>, place: impl Platform) -> Target {
        self.target_at(app, env, Arc::new(place))
    }

    /// As [`target`](Self::target), for a place that is shared already.
    pub fn target_at(
        &self,
        app: impl Into<String>,
        env: impl Into<String>,
        place: Arc<dyn Platform>,
    ) -> Target {
        let (app, env) = (app.into(), env.into());
        let name = TargetName::new(app, env).map_err(|error| error.to_string());
        Target {
            deployer: self.clone(),
            name,
            place,
            images: BTreeMap::new(),
            source: None,
            more_guards: Vec::new(),
            overrides: Arc::default(),
            observers: Vec::new(),
            bake: Duration::from_secs(300),
        }
    }

    /// The names of all targets that the store knows. One list and one read a target.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if it cannot be read.
    pub async fn targets(&self) -> Result<Vec<TargetName>> {
        let records = Records::new(Arc::clone(&self.0.store), self.0.namespace.clone());
        Ok(records.targets().await?.into_iter().map(|record| record.target).collect())
    }
}

/// A name with a place, its images, its source, its guards. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) deployer: Deployer,
    pub(crate) name: Result<TargetName, String>,
    pub(crate) place: Arc<dyn Platform>,
    images: BTreeMap<String, String>,
    pub(crate) source: Option<Arc<dyn Source>>,
    more_guards: Vec<Arc<dyn Guard>>,
    pub(crate) overrides: Arc<BTreeMap<String, String>>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    bake: Duration,
}

/// One deploy of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deploy {
    /// Its id.
    pub rollout: RolloutId,
    /// When it began.
    pub started_at: crate::model::Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// From where.
    pub from: Revision,
    /// To where.
    pub to: Revision,
    /// Whether it was a rollback.
    pub rollback: bool,
    /// How it ended; `None` while it is unfinished.
    pub outcome: Option<Outcome>,
    /// Whether rollback would go here.
    pub known_good: bool,
}

impl std::fmt::Display for Deploy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.outcome.as_ref().map_or("UNFINISHED", Outcome::verdict);
        write!(f, "{}  {}  {}", self.rollout.short(), self.started_at, self.actor)?;
        write!(f, "  {} -> {}  {end}", self.from.short(), self.to.short())
    }
}

/// What a target is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The target.
    pub target: TargetName,
    /// What the place shows.
    pub now: Snapshot,
    /// The deploy that is unfinished, if one is.
    pub unfinished: Option<RolloutId>,
    /// Who runs it, in words.
    pub holder: Option<String>,
    /// Revisions that proved themselves, newest first.
    pub known_good: Vec<Revision>,
}

impl Target {
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

    /// Goes on with what is unfinished, whoever stopped it: a person or a crash. With a living holder it follows it.
    /// `None`: nothing is unfinished. Waits up to the patience W (45 s) for a silent holder elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the state cannot be read, [`ErrorKind::Unsupported`] if another version wrote it.
    pub async fn resume(&self) -> Result<Option<Rollout>> {
        self.go_on(Taking::ToGoOn).await
    }

    /// Takes the lease of an unfinished rollout from whoever holds it, and goes on with it. For a person who knows that
    /// the holder is stuck: the fence keeps the old holder's writes out where the platform compares.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub async fn break_lease(&self, reason: impl Into<String>) -> Result<Option<Rollout>> {
        let reason = reason.into();
        let rollout = self.go_on(Taking::ByForce).await?;
        tracing::warn!(target = %self.name()?, reason, "a person broke the lease");
        Ok(rollout)
    }

    /// The unfinished rollout, to look at and to command: its commands travel through the store, and if its holder is
    /// dead this process takes over to execute them. `None`: nothing is unfinished.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub async fn active(&self) -> Result<Option<Rollout>> {
        let Some((home, head)) = self.home().await? else { return Ok(None) };
        match head.claim {
            Some(_) => Ok(Some(self.follow(home, *head)?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn go_on(&self, how: Taking) -> Result<Option<Rollout>> {
        loop {
            let Some((home, head)) = self.home().await? else { return Ok(None) };
            let Some(rollout) = head.claim.clone() else { return Ok(None) };
            let Some(plan_object) = head.plan.clone() else {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("{home} has an unfinished deploy without a plan"),
                ));
            };
            let records = self.records();
            let plan = Arc::new(records.plan(&plan_object).await?);
            // Versions before the head: what a takeover fences off must be older than the taking.
            let versions = if self.deployer.0.rules.versions_first {
                self.place.versions(&plan).await.ok()
            } else {
                None
            };
            let Some(versions) =
                versions.or_else(|| (!self.deployer.0.rules.versions_first).then(Default::default))
            else {
                let text =
                    format!("the place of {} cannot be seen now; its deploy is left as it is", self.name()?);
                return Err(Error::new(ErrorKind::Unavailable, text).next("resume when it can be seen"));
            };
            match self.lease(&home, Want::Resume, how).await? {
                Lease::Nothing => {}
                Lease::Busy(head) => return Ok(Some(self.follow(home, *head)?)),
                Lease::Unfinished(_) => {
                    return Err(Error::new(ErrorKind::Unexpected, "a resumption cannot be refused so"));
                }
                Lease::Held(held) => {
                    if held.head.claim.as_ref() != Some(&rollout) {
                        // It ended, and another began, while we looked. Leave that one alone.
                        let _ =
                            held.keeper.send(crate::state::session::ToKeeper::Release { keep_claim: true });
                        let _ = held.task.await;
                        continue;
                    }
                    let journal = records.journal(&home, &held.head, &rollout).await?;
                    let quiet_ms = self.quiet_ms(&plan, held.how);
                    let shared = &self.deployer.0;
                    let mut machine =
                        Machine::with_rules(Arc::clone(&plan), rollout.clone(), shared.timing, shared.rules);
                    machine.replay(&journal)?;
                    let pin = records.target(self.name()?).await?.map(|(_, record)| record.pin);
                    let paused = machine.is_paused();
                    let rollout = self.drive(plan, machine, *held, journal, pin, quiet_ms, versions).await?;
                    if paused {
                        // "Go on", whoever stopped it.
                        let _ = rollout.go_on().await;
                    }
                    return Ok(Some(rollout));
                }
            }
        }
    }

    /// The home claim and its head, by the target's record.
    pub(crate) async fn home(&self) -> Result<Option<(Claim, Box<Head>)>> {
        let records = self.records();
        let Some((_, record)) = records.target(self.name()?).await? else { return Ok(None) };
        let Some((_, head)) = records.head(&record.home).await? else { return Ok(None) };
        Ok(Some((record.home, Box::new(head))))
    }

    /// Puts a command into the inbox, and takes over if nobody is there to read it.
    pub(crate) async fn command(
        &self,
        rollout: &RolloutId,
        kind: CommandKind,
        reason: Option<String>,
    ) -> Result<()> {
        let shared = &self.deployer.0;
        let Some((home, head)) = self.home().await? else {
            return Err(Error::new(ErrorKind::Conflict, format!("the deploy {rollout} is over")));
        };
        let id = format!("{:016x}", shared.random.next());
        let expires = shared.clock.now().plus(Duration::from_secs(3600));
        let mut command = CommandRecord::new(id, rollout.clone(), kind, shared.actor.clone(), expires);
        command.reason = reason;
        send_command(&self.records(), &home, &command, &*shared.random).await?;
        let dead = head.holder.as_ref().is_none_or(|holder| shared.liveness.of(holder) == Alive::Dead);
        if dead {
            self.go_on(Taking::ToGoOn).await?;
        }
        Ok(())
    }

    /// The newest deploys, newest first. Reads as many journal segments as it takes.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the state cannot be read.
    pub async fn history(&self, limit: usize) -> Result<Vec<Deploy>> {
        let Some((home, head)) = self.home().await? else { return Ok(Vec::new()) };
        let began = |entries: &[Entry]| {
            entries.iter().filter(|entry| matches!(entry.fact, Fact::Started { .. })).count()
        };
        let entries = self.records().entries_back(&home, &head, |entries| began(entries) >= limit).await?;
        let mut deploys: Vec<Deploy> = Vec::new();
        for entry in &entries {
            match &entry.fact {
                Fact::Started { from, to, actor, rollback, .. } => deploys.push(Deploy {
                    rollout: entry.rollout.clone(),
                    started_at: entry.at,
                    actor: actor.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    rollback: *rollback,
                    outcome: None,
                    known_good: head.known_good.iter().any(|good| good.rollout == entry.rollout),
                }),
                Fact::Ended { outcome, .. } => {
                    if let Some(deploy) =
                        deploys.iter_mut().rev().find(|deploy| deploy.rollout == entry.rollout)
                    {
                        deploy.outcome = Some((**outcome).clone());
                    }
                }
                _ => {}
            }
        }
        deploys.reverse();
        deploys.truncate(limit);
        Ok(deploys)
    }

    /// All journaled entries of one deploy, by its id or the last four characters of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such deploy.
    pub async fn journal(&self, deploy: &str) -> Result<Vec<Entry>> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no deploy {deploy}"));
        let (home, head) = self.home().await?.ok_or_else(missing)?;
        let all = self.records().entries_back(&home, &head, |_| false).await?;
        let named = |id: &RolloutId| id.as_str() == deploy || id.short() == deploy;
        let newest = all.iter().rev().find(|entry| named(&entry.rollout)).map(|entry| entry.rollout.clone());
        let id = newest.ok_or_else(missing)?;
        Ok(all.into_iter().filter(|entry| entry.rollout == id).collect())
    }

    /// What the place shows and what the store says of it. One inspection and two reads.
    ///
    /// # Errors
    /// As inspecting and reading.
    pub async fn status(&self) -> Result<Status> {
        let now = self.place.inspect().await?;
        let head = self.home().await?.map(|(_, head)| head);
        let holder = head.as_ref().and_then(|head| head.holder.as_ref()).map(crate::launch::owner_words);
        Ok(Status {
            target: self.name()?.clone(),
            now,
            unfinished: head.as_ref().and_then(|head| head.claim.clone()),
            holder,
            known_good: head
                .map_or(Vec::new(), |head| head.known_good.into_iter().map(|good| good.revision).collect()),
        })
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

    async fn plan_for(&self, goal: &Goal, now: &Snapshot, known_good: Option<Revision>) -> Result<Plan> {
        let cx = PlanContext::new(self.name()?.clone(), millis(self.bake), known_good);
        self.place.plan(goal, now, &cx).await
    }

    /// The commit and its images, if the release is one by commit.
    async fn resolve(&self, mut release: Release) -> Result<Release> {
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
        if release.images.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the target has no image repository for a release by commit",
            )
            .next("name one with .image(container, repository)"));
        }
        Ok(release)
    }
}

#[derive(Debug, Clone)]
enum Wish {
    Deploy(Release),
    Rollback(Option<String>),
    Adopt,
    Apply(Box<Plan>),
}

/// Something that changes the place: look at it with [`plan`](Self::plan), start it, or run it to its end.
#[derive(Debug, Clone)]
pub struct Request {
    target: Target,
    wish: Wish,
    reason: Option<String>,
    approved: Option<String>,
}

impl Request {
    fn new(target: Target, wish: Wish) -> Self {
        Self { target, wish, reason: None, approved: None }
    }

    /// Why; kept in the journal.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Where to go back to, by the platform's name or the commit. Only for rollbacks.
    #[must_use]
    pub fn to(mut self, revision: impl Into<String>) -> Self {
        if let Wish::Rollback(to) = &mut self.wish {
            *to = Some(revision.into());
        }
        self
    }

    /// Only if the plan's approval hash begins with this.
    #[must_use]
    pub fn approved(mut self, hash: impl Into<String>) -> Self {
        self.approved = Some(hash.into());
        self
    }

    /// Looks: makes the plan. Changes nothing and stores nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] and [`ErrorKind::Unsupported`] for what cannot be done; as inspecting.
    pub async fn plan(&self) -> Result<Plan> {
        Ok(self.make().await?.0)
    }

    async fn make(&self) -> Result<(Plan, Snapshot)> {
        let target = &self.target;
        let now = target.place.inspect().await?;
        if let Wish::Apply(plan) = &self.wish {
            return Ok(((**plan).clone(), now));
        }
        let home = target.home().await?;
        let known: Vec<Revision> = home.map_or_else(Vec::new, |(_, head)| {
            head.known_good.into_iter().map(|good| good.revision).collect()
        });
        let goal = match &self.wish {
            Wish::Deploy(release) => Goal::Deploy(target.resolve(release.clone()).await?),
            Wish::Adopt => Goal::Adopt,
            Wish::Rollback(Some(to)) => Goal::Restore(self.named(to, &known).await?),
            Wish::Rollback(None) => {
                let back = known.iter().find(|revision| revision.declared != now.serving.declared);
                let none = || {
                    Error::new(
                        ErrorKind::NotFound,
                        "no other revision is known good: there is nothing to go back to",
                    )
                    .next("name one with --to")
                };
                Goal::Restore(back.cloned().ok_or_else(none)?)
            }
            Wish::Apply(_) => Goal::Adopt,
        };
        // The way back is what is known good and runs; else the newest known good that is not what we deploy.
        let back = known
            .iter()
            .find(|revision| revision.declared == now.serving.declared)
            .or(known.first())
            .cloned();
        let mut plan = target.plan_for(&goal, &now, back.filter(|_| !goal.is_rollback())).await?;
        if goal.is_rollback() && plan.way_back.to.is_none() {
            plan.way_back.words = "what is left by a rollback is not gone back to".into();
        }
        Ok((plan, now))
    }

    async fn named(&self, to: &str, known: &[Revision]) -> Result<Revision> {
        let fits = |revision: &&Revision| {
            revision.name == to
                || to.len() >= 7 && revision.commit.as_ref().is_some_and(|commit| commit.starts_with(to))
        };
        if let Some(revision) = known.iter().find(fits) {
            return Ok(revision.clone());
        }
        let all = self.target.place.revisions(100).await?;
        all.iter().find(fits).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no revision {to} here"))
                .next("history and status show which there are")
        })
    }

    /// Goes: takes the lease, journals the beginning, and returns the handle. Every ending is an outcome of it, a
    /// refusal too.
    ///
    /// # Errors
    /// Only for configuration, the store and credentials; nothing was changed then.
    pub async fn start(&self) -> Result<Rollout> {
        let (plan, now) = self.make().await?;
        let target = &self.target;
        if let Some(wanted) = &self.approved {
            let hash = plan.approval_hash();
            if wanted.is_empty() || !hash.starts_with(wanted.as_str()) {
                let text = format!(
                    "the plan is {} now, not {wanted}: something moved since it was approved",
                    &hash[..12]
                );
                let next = [format!("plan {}", target.name()?)];
                return Ok(target.refused(&plan, self.new_id(), "plan", text, &now, &next));
            }
        }
        if plan.base.declared != now.declared {
            let text = "what runs is not what the plan was made for".to_owned();
            return Ok(target.refused(&plan, self.new_id(), "base", text, &now, &["plan again".into()]));
        }
        target.launch(plan, &now, self.reason.clone()).await
    }

    fn new_id(&self) -> RolloutId {
        let shared = &self.target.deployer.0;
        RolloutId::make(shared.clock.now(), shared.random.next())
    }

    /// Goes and waits: `Ok` for success alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotSucceeded`] with the outcome for every other ending; as [`start`](Self::start).
    pub async fn run(&self) -> Result<Outcome> {
        let outcome = self.start().await?.outcome().await?;
        if outcome.is_success() { Ok(outcome) } else { Err(Error::not_succeeded(outcome)) }
    }
}
