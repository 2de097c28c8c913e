//! A target whose place is a file here, with a step that is a command on hosts.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    BoxError, Deployer, Platform, Result, Rollout, Target,
    clock::{Clock, SystemClock},
    context::StepContext,
    event::EventKind,
    model::{
        Capabilities, Claim, Component, Ended, Fingerprint, Goal, Identity, Lateness, Motion, Observation,
        Outcome, Plan, Release, Revision, RolledBackBy, Runner, Scope, Snapshot, Step, StepKind, WayBack,
        WriteGuard,
    },
    platform::PlanContext,
    state::stores::sqlite::SqliteStore,
    steps::{Command, CommandRunner, CommandStep, CommandUndo, Hosts, WithSteps},
};
use serde_json::{Value, json};

use crate::stage::Stage;

/// How a deploy ends whose step did not work.
pub(crate) const BACK: Ended = Ended::RolledBack { by: RolledBackBy::Us };
/// The step that is run on hosts.
pub(crate) const STEP: &str = "roll";

/// A sign in a file: what it says is what runs.
#[derive(Debug)]
struct Sign(PathBuf);

fn revision(text: &str) -> Revision {
    Revision::new(text, [(Component::from("sign"), Fingerprint::from(text))], Value::Null)
}

impl Sign {
    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_else(|_| "old".into())
    }
}

#[async_trait]
impl Platform for Sign {
    async fn inspect(&self) -> Result<Snapshot> {
        let can = Capabilities::new(WriteGuard::None, Lateness::NONE);
        let here = Identity::new([("sign", self.0.to_string_lossy())]);
        Ok(Snapshot::new(SystemClock.now(), "sign", here, can, revision(&self.text())))
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let to = match goal {
            Goal::Deploy(release) => revision(release.images.get("sign").map_or("", String::as_str)),
            Goal::Restore(revision) => revision.clone(),
            _ => now.serving.clone(),
        };
        let write = |id: &str, text: &str| {
            Step::new(id, Component::from("sign"), StepKind::Effect, format!("write {text}"))
                .with(json!(text))
        };
        let claim = Claim::new(self.0.to_string_lossy());
        let mut plan = Plan::new(cx.target.clone(), goal.clone(), now, vec![claim], to.clone());
        let watch = Step::new("watch", Component::from("sign"), StepKind::Await, "read it");
        plan.steps = vec![write("write", &to.name), watch];
        let back = vec![write("back", &now.serving.name)];
        plan.way_back = WayBack::to(now.serving.clone(), back, "write what it said before");
        plan.bake_ms = cx.bake_ms;
        Ok(plan)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let text = step.data.as_str().unwrap_or_default().to_owned();
        cx.effect("write", &text)
            .declares(Component::from("sign"), Fingerprint::from(&*text))
            .idempotent(|permit| async move {
                permit.check()?;
                let _ = fs::write(&self.0, text);
                Ok(Value::Null)
            })
            .await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let declared = Fingerprint::from(&*self.text());
        let motion = match scope.declared() == Some(&declared) {
            true => Motion::Done,
            false => Motion::Foreign { revision: None, by: None },
        };
        let mut seen = Observation::new(SystemClock.now(), Component::from("sign"), declared, motion);
        seen.look_again_ms = 50;
        Ok(seen)
    }
}

/// The folder of one target, which hosts see too: all are this machine.
pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
    pub(crate) ssh: PathBuf,
}

impl Scene {
    pub(crate) fn new(stage: &Stage) -> std::result::Result<Self, BoxError> {
        Ok(Self { folder: stage.folder("scene")?, ssh: stage.operator.ssh() })
    }

    pub(crate) fn at(folder: &Path, ssh: &Path) -> Self {
        Self { folder: folder.to_owned(), ssh: ssh.to_owned() }
    }

    pub(crate) fn hosts(&self, names: &[&str]) -> Hosts {
        Hosts::in_order(names.iter().copied()).ssh(self.ssh.to_string_lossy())
    }

    pub(crate) fn all_at_once(&self, names: &[&str]) -> Hosts {
        Hosts::all_at_once(names.iter().copied()).ssh(self.ssh.to_string_lossy())
    }

    /// A script in whose environment `$D` names the folder.
    pub(crate) fn script(&self, text: &str) -> Command {
        Command::shell(text).env("D", self.folder.to_string_lossy()).timeout(Duration::from_secs(90))
    }

    /// A step that nothing undoes.
    pub(crate) fn step(command: Command, hosts: Hosts) -> CommandStep {
        CommandStep::new(STEP, command, CommandUndo::None("nothing does".into())).on(hosts)
    }

    pub(crate) fn target(&self, step: CommandStep) -> std::result::Result<Target, BoxError> {
        let place = WithSteps::new(Sign(self.folder.join("sign"))).after(step);
        let place = place.runner(Runner::Command, CommandRunner::new());
        let store = SqliteStore::open(self.folder.join("state.db"))?;
        Ok(Deployer::new(store).target("shop", "production", place).bake(Duration::ZERO))
    }

    /// A target whose step is this script on one host.
    pub(crate) fn roll(&self, host: &str, text: &str) -> std::result::Result<Target, BoxError> {
        self.target(Self::step(self.script(text), self.hosts(&[host])))
    }

    pub(crate) fn release(text: &str) -> Release {
        Release::of_what_runs().image("sign", text)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    pub(crate) fn lines(&self, name: &str) -> usize {
        self.read(name).lines().count()
    }
}

/// Deploys, and waits for the end.
pub(crate) async fn deploy(target: &Target, text: &str) -> std::result::Result<Outcome, BoxError> {
    Ok(target.deploy(Scene::release(text)).start().await?.outcome().await?)
}

/// The text of its cause.
pub(crate) fn cause(outcome: &Outcome) -> &str {
    outcome.cause.as_ref().map_or("", |cause| &cause.text)
}

/// Everything that was told of a rollout that has ended: log lines as `INSTANCE STREAM: LINE`, the rest as it is.
pub(crate) async fn told(rollout: &Rollout) -> Vec<String> {
    let (mut events, mut all) = (rollout.events(), Vec::new());
    while let Some(event) = events.next().await {
        all.push(match &event.kind {
            EventKind::Log { instance, stream, line, .. } => {
                format!("{instance} {}: {line}", stream.as_deref().unwrap_or_default())
            }
            _ => format!("{event:?}"),
        });
    }
    all
}
