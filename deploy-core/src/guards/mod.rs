//! Guards: what has to be true before the first mutation, and again right before it.

mod builtin;
mod ci;
mod commit;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

pub use builtin::{IdentityGuard, OrderGuard, WayBackGuard};
pub use ci::{Ci, CiGuard, CommitChecks};
pub use commit::{CleanGuard, PushedGuard};

use crate::{
    model::{Goal, Plan, Snapshot, TargetName},
    platform::Platform,
    source::Source,
    state::{
        head::{Head, Pin},
        journal::{GuardFinding, GuardResult},
    },
};

/// What a guard may look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GuardContext {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The place as it is now.
    pub now: Snapshot,
    /// The identity that is pinned to the target, if one is.
    pub pin: Option<Pin>,
    /// The head of the home claim.
    pub head: Option<Arc<Head>>,
    /// The place.
    pub place: Arc<dyn Platform>,
    /// Where commits come from, if the target has a source.
    pub source: Option<Arc<dyn Source>>,
    /// Whether this is the first time in this process: slow guards need to look only then.
    pub first: bool,
    /// Guards that a person has overridden, each with the reason.
    pub overrides: Arc<Overrides>,
}

impl GuardContext {
    /// The commit that is to be deployed, where one is and has not been asked about yet.
    fn deployed_commit(&self) -> Option<&str> {
        match &self.plan.goal {
            Goal::Deploy(release) if self.first => release.commit.as_deref(),
            _ => None,
        }
    }
}

/// What a guard may look at before anything is built: there is a commit, and no plan yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CommitContext {
    /// The target.
    pub target: TargetName,
    /// The full id of the commit that is to be built and deployed.
    pub commit: String,
    /// The commit that runs now, if something does and tells it.
    pub running: Option<String>,
    /// Where commits come from.
    pub source: Arc<dyn Source>,
}

/// Something that can say no. Read-only.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync + 'static {
    /// The stable name: in events, and for `--override`.
    fn name(&self) -> &str;

    /// What it finds. It cannot fail: what cannot be told is a refusal that says so, or a pass with a text.
    async fn check(&self, cx: &GuardContext) -> GuardFinding;

    /// What it finds before anything is built: what it would say later anyway, and what matters only then. Nothing,
    /// if it needs the plan. As [`check`](Self::check), it cannot fail.
    async fn check_commit(&self, cx: &CommitContext) -> Option<GuardFinding> {
        let _ = cx;
        None
    }
}

/// Guards that a person has overridden, each with the reason.
type Overrides = std::collections::BTreeMap<String, String>;

/// Asks every guard; an override turns a refusal that allows it into `overridden`.
pub(crate) async fn ask(guards: &[Arc<dyn Guard>], cx: &GuardContext) -> Vec<GuardFinding> {
    let mut findings = Vec::with_capacity(guards.len());
    for guard in guards {
        findings.push(overridden(guard.check(cx).await, &cx.overrides));
    }
    findings
}

/// Asks what can be asked of this plan: of an open one, its commit.
pub(crate) async fn ask_now(guards: &[Arc<dyn Guard>], cx: &GuardContext) -> Vec<GuardFinding> {
    if !cx.plan.open {
        return ask(guards, cx).await;
    }
    // Nothing is built for a place that is not the one that is meant.
    let mut findings = vec![overridden(IdentityGuard.check(cx).await, &cx.overrides)];
    if let (Some(commit), Some(source)) = (cx.deployed_commit().map(str::to_owned), cx.source.clone()) {
        let (target, running) = (cx.plan.target.clone(), cx.now.serving.commit.clone());
        let of_commit = CommitContext { target, commit, running, source };
        findings.extend(ask_of_commit(guards, &of_commit, &cx.overrides).await);
    }
    findings
}

/// As [`ask`], of a commit that nothing is built from yet.
pub(crate) async fn ask_of_commit(
    guards: &[Arc<dyn Guard>],
    cx: &CommitContext,
    overrides: &Overrides,
) -> Vec<GuardFinding> {
    let mut findings = Vec::new();
    for guard in guards {
        findings.extend(guard.check_commit(cx).await.map(|finding| overridden(finding, overrides)));
    }
    findings
}

fn overridden(mut finding: GuardFinding, overrides: &Overrides) -> GuardFinding {
    if finding.result == GuardResult::Refuse
        && finding.overridable
        && let Some(reason) = overrides.get(&finding.guard)
    {
        finding.result = GuardResult::Overridden;
        finding.text = format!("{} (overridden: {reason})", finding.text);
    }
    finding
}

#[cfg(test)]
mod tests;
