//! Real processes in virtual time: time stands still while one is run.

use std::{
    future::poll_fn,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Platform, Result,
    clock::{Clock, TokioClock},
    context::StepContext,
    model::{Goal, Observation, Plan, Revision, Runner, Scope, Snapshot, Step, StepId},
    platform::{Outputs, PlanContext, Settled},
    state::journal::Intent,
    steps::CommandPlace,
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A place whose calls take no virtual time. Before each the virtual time is written down for the scripts.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) place: CommandPlace,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) folder: PathBuf,
}

/// How often it is looked whether a process still runs.
const TICK: Duration = Duration::from_millis(5);

impl Frozen {
    /// Makes a call. Tokio's paused time goes on by itself whenever there is nothing to do but to wait, unless there is
    /// blocking work: so there is some as long as this process has a child. (One of another trial only makes it slower.)
    async fn frozen<T>(&self, call: impl Future<Output = T>) -> T {
        let now = self.clock.now().as_millis().to_string();
        crate::world::replace(&self.folder, "now", &now).expect("the folder can be written");
        let mut cut_off = CutOff { folder: self.folder.clone(), ended: false };
        let mut call = pin!(call);
        let mut tick: Option<JoinHandle<()>> = None;
        let done = poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = call.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                match &mut tick {
                    Some(running) => match Pin::new(running).poll(cx) {
                        Poll::Ready(_) => tick = None,
                        Poll::Pending => return Poll::Pending,
                    },
                    None if has_children() => tick = Some(tokio::task::spawn_blocking(|| really_sleep(TICK))),
                    None => return Poll::Pending,
                }
            }
        })
        .await;
        cut_off.ended = true;
        done
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn really_sleep(time: Duration) {
    std::thread::sleep(time);
}

/// A call that is dropped is over when its processes are: what takes them a moment must not take days of virtual time.
struct CutOff {
    folder: PathBuf,
    ended: bool,
}

impl Drop for CutOff {
    fn drop(&mut self) {
        let mark = format!("WORLD={}", self.folder.display());
        for _ in 0..300 {
            if self.ended || !any_process_has(&mark) {
                return;
            }
            really_sleep(Duration::from_millis(10));
        }
        eprintln!("processes of a call that was cut off are still there");
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.map(|entry| entry.path()).filter(|path| path.join("stat").exists())
}

fn has_children() -> bool {
    let parent = std::process::id().to_string();
    processes().any(|path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let mut after_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, ppid) = (after_name.next(), after_name.next());
        ppid == Some(&parent) && state != Some("Z")
    })
}

fn any_process_has(mark: &str) -> bool {
    processes().any(|path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    })
}

#[async_trait]
impl Platform for Frozen {
    async fn inspect(&self) -> Result<Snapshot> {
        self.frozen(self.place.inspect()).await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.place.plan(goal, now, cx).await
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        // Asking for a permit takes its time; what comes after it does not.
        self.frozen(self.place.execute(step, cx)).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.frozen(self.place.observe(scope)).await
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        self.place.settle(intent, cx).await
    }

    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        self.place.scope(plan, step, outputs)
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        self.frozen(self.place.revisions(limit)).await
    }

    async fn startable(&self, revision: &Revision) -> Result<()> {
        self.frozen(self.place.startable(revision)).await
    }

    fn runs(&self, runner: Runner) -> bool {
        self.place.runs(runner)
    }

    fn deploys_commits(&self) -> bool {
        self.place.deploys_commits()
    }
}
