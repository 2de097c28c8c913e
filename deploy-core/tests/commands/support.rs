//! A sign that is a file, scripts in a folder, and processes that can be counted.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Deployer, Platform, Result, Target,
    clock::{Clock, SystemClock},
    context::StepContext,
    event::{Event, EventKind},
    model::{
        Capabilities, Claim, Component, Fingerprint, Goal, Identity, Lateness, Motion, Observation, Outcome,
        Plan, Release, Revision, Scope, Snapshot, Step, StepKind, WayBack, WriteGuard,
    },
    observers::Observer,
    platform::PlanContext,
    state::stores::sqlite::SqliteStore,
    steps::Command,
};
use serde_json::{Value, json};

/// A sign in a file: what it says is what runs.
#[derive(Debug, Clone)]
pub(crate) struct Sign(PathBuf);

fn revision(text: &str) -> Revision {
    Revision::new(text, [(Component::from("sign"), Fingerprint::from(text))], Value::Null)
}

impl Sign {
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.join("sign"))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_else(|_| "old".into())
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
            Goal::Deploy(release) => revision(&release.images["sign"]),
            Goal::Restore(revision) => revision.clone(),
            _ => now.serving.clone(),
        };
        let write = |id: &str, text: &str| {
            Step::new(id, Component::from("sign"), StepKind::Effect, format!("write {text}"))
                .with(json!(text))
        };
        let claim = Claim::new(self.0.to_string_lossy());
        let mut plan = Plan::new(cx.target.clone(), goal.clone(), now, vec![claim], to.clone());
        plan.steps = vec![
            write("write", &to.name),
            Step::new("watch", Component::from("sign"), StepKind::Await, "read it"),
        ];
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
                std::fs::write(&self.0, text).unwrap();
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

/// A folder of one test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    pub(crate) fn lines(&self, name: &str) -> usize {
        self.read(name).lines().count()
    }

    pub(crate) fn sign(&self) -> Sign {
        Sign::at(self.path())
    }

    /// An executable script.
    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub(crate) fn target(&self, place: impl Platform) -> Target {
        target(self.path(), place)
    }

    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.read("pids").lines().filter_map(|line| line.parse().ok()).collect()
    }

    pub(crate) async fn until_there_are(&self, count: usize) -> BTreeSet<u32> {
        for _ in 0..400 {
            let pids = self.pids();
            if pids.len() >= count {
                return pids;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?} instead of {count} processes", self.pids());
    }

    /// How long it takes until none of the processes is left.
    pub(crate) async fn until_none_is_left(&self, patience: Duration) -> Duration {
        let began = SystemClock.elapsed();
        loop {
            let left: Vec<u32> = self.pids().into_iter().filter(|pid| is_alive(*pid)).collect();
            let took = SystemClock.elapsed() - began;
            if left.is_empty() {
                return took;
            }
            assert!(took < patience, "still there: {left:?}");
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) fn target(folder: &Path, place: impl Platform) -> Target {
    let store = SqliteStore::open(folder.join("state.db")).unwrap();
    Deployer::new(store).target("shop", "production", place).bake(Duration::ZERO)
}

/// Whether a process exists and has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// A script whose variable `$D` names the folder.
pub(crate) fn script(folder: &Path, text: &str) -> Command {
    Command::shell(text).env("D", folder.to_string_lossy()).timeout(Duration::from_secs(60))
}

pub(crate) fn release(text: &str) -> Release {
    Release::of_what_runs().image("sign", text)
}

pub(crate) async fn deploy(target: &Target, text: &str) -> Outcome {
    target.deploy(release(text)).start().await.unwrap().outcome().await.unwrap()
}

/// Keeps the log lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogLines(pub(crate) Arc<Mutex<Vec<String>>>);

impl Observer for LogLines {
    fn see(&self, event: &Event) {
        if let EventKind::Log { instance, stream, line, .. } = &event.kind {
            let stream = stream.as_deref().unwrap_or_default();
            self.0.lock().unwrap().push(format!("{instance} {stream}: {line}"));
        }
    }
}
