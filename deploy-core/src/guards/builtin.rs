//! The guards that every deploy has.

use async_trait::async_trait;

use super::{CommitContext, Guard, GuardContext};
use crate::{
    model::{Identity, TargetName},
    report::short_commit,
    source::{Order, Source},
    state::journal::GuardFinding,
};

/// The place is the one that was pinned, and the one that the plan was made for. Nothing overrides it.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdentityGuard;

#[async_trait]
impl Guard for IdentityGuard {
    fn name(&self) -> &'static str {
        "identity"
    }

    async fn check(&self, cx: &GuardContext) -> GuardFinding {
        let target = &cx.plan.target;
        let told = |what: &str, expected: &Identity| -> Option<GuardFinding> {
            let differences = expected.differences(&cx.now.identity);
            if differences.is_empty() {
                return None;
            }
            let lines = differences.iter().map(|(part, there, here)| {
                format!("{part}: {what} {}, here {}", there.unwrap_or("nothing"), here.unwrap_or("nothing"))
            });
            let text = format!("this is not the place of {target}: {}", lines.collect::<Vec<_>>().join("; "));
            let finding = GuardFinding::refuse("identity", text);
            Some(finding.next(format!("if the place has really moved: pin {target} --reason \"...\"")))
        };
        if let Some(head) = cx.head.as_ref().filter(|head| head.target != *target) {
            let text = format!("{} belongs to {}, not to {target}", head.claim_name, head.target);
            return GuardFinding::refuse("identity", text).next(format!("meant {}?", head.target));
        }
        let pinned = cx.pin.as_ref().and_then(|pin| told("pinned", &pin.identity));
        pinned
            .or_else(|| told("planned", &cx.plan.identity))
            .unwrap_or_else(|| GuardFinding::pass("identity"))
    }
}

/// The way back exists and could be started; that there is none is said, and does not refuse.
#[derive(Debug, Clone, Copy, Default)]
pub struct WayBackGuard;

#[async_trait]
impl Guard for WayBackGuard {
    fn name(&self) -> &'static str {
        "way_back"
    }

    async fn check(&self, cx: &GuardContext) -> GuardFinding {
        let mut pass = GuardFinding::pass("way_back");
        let back = &cx.plan.way_back;
        let Some(to) = &back.to else {
            pass.text = format!(
                "there is no way back ({}): a failing release stays and a person is needed",
                back.words
            );
            return pass;
        };
        if !cx.first || !cx.plan.changes_something() {
            return pass;
        }
        match cx.place.startable(to).await {
            Ok(()) => {
                if !back.proven {
                    pass.text = format!("{} was never proved by a deploy; it is only what runs", to.name);
                }
                pass
            }
            Err(error) => {
                let text = format!("the way back leads to {}, which could not be started: {error}", to.name);
                GuardFinding::refuse("way_back", text).overridable()
            }
        }
    }
}

/// An ancestor of what runs never replaces it unless the request is a rollback; diverged commits are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderGuard;

#[async_trait]
impl Guard for OrderGuard {
    fn name(&self) -> &'static str {
        "order"
    }

    async fn check(&self, cx: &GuardContext) -> GuardFinding {
        match (&cx.source, cx.deployed_commit(), &cx.plan.base.commit) {
            (Some(source), Some(wanted), Some(running)) => {
                order(source.as_ref(), wanted, running, &cx.plan.target).await
            }
            _ => GuardFinding::pass("order"),
        }
    }

    async fn check_commit(&self, cx: &CommitContext) -> Option<GuardFinding> {
        let running = cx.running.as_ref()?;
        Some(order(cx.source.as_ref(), &cx.commit, running, &cx.target).await)
    }
}

async fn order(source: &dyn Source, wanted: &str, running: &str, target: &TargetName) -> GuardFinding {
    let (new, old) = (short_commit(wanted), short_commit(running));
    let refuse = |text: String| GuardFinding::refuse("order", text).overridable();
    match source.order(running, wanted).await {
        Ok(Order::Same | Order::Forward) => GuardFinding::pass("order"),
        Ok(Order::Backward) => refuse(format!("{new} is older than {old}, which runs"))
            .next(format!("to go back: rollback {target} --to {new}")),
        Ok(Order::Diverged) => {
            refuse(format!("{new} does not contain {old}, which runs: work would be lost"))
                .next(format!("merge {old} first"))
        }
        Ok(Order::CannotKnow(why)) => refuse(format!("whether {new} contains {old} cannot be known: {why}"))
            .next("fetch the full history"),
        Err(error) => refuse(format!("whether {new} contains {old} cannot be told: {error}")),
    }
}
