//! Guards: what has to be true before the first mutation, and again right before it.

mod builtin;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

pub use builtin::{IdentityGuard, OrderGuard, WayBackGuard};

use crate::{
    model::{Plan, Snapshot},
    platform::Platform,
    source::Source,
    state::{
        head::{Head, Pin},
        journal::GuardFinding,
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
    pub overrides: Arc<std::collections::BTreeMap<String, String>>,
}

/// Something that can say no. Read-only.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync + 'static {
    /// The stable name: in events, and for `--override`.
    fn name(&self) -> &str;

    /// What it finds. It cannot fail: what cannot be told is a refusal that says so, or a pass with a text.
    async fn check(&self, cx: &GuardContext) -> GuardFinding;
}

/// Asks every guard; an override turns a refusal that allows it into `overridden`.
pub(crate) async fn ask(guards: &[Arc<dyn Guard>], cx: &GuardContext) -> Vec<GuardFinding> {
    let mut findings = Vec::with_capacity(guards.len());
    for guard in guards {
        let mut finding = guard.check(cx).await;
        if finding.result == crate::state::journal::GuardResult::Refuse
            && finding.overridable
            && let Some(reason) = cx.overrides.get(&finding.guard)
        {
            finding.result = crate::state::journal::GuardResult::Overridden;
            finding.text = format!("{} (overridden: {reason})", finding.text);
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests;
