//! The platform as one process reaches it, and the faults between.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    process::current,
    scenario::{Point, Then},
    store::SimPlace,
    trace::{Sim, lock},
    world::{SimCall, SimHook, SimWorld},
};
use crate::{
    context::StepContext,
    error::Result,
    memory::Fault,
    model::{Goal, Observation, Plan, Revision, Scope, Snapshot, Step, StepId},
    platform::{Logs, Observations, Outputs, PlanContext, Platform, Settled, Versions},
    state::journal::Intent,
};

/// How many requests of one process in one millisecond are a busy loop.
const SPIN: u64 = 2_000;

/// What happens to requests: traps of the process that sends, then chance.
pub(super) fn hook(sim: &Arc<Sim>, world: &dyn SimWorld, permille: u64) -> SimHook {
    let (sim, latest, stale) = (Arc::clone(sim), world.latest_ms(), world.stale_ms());
    Arc::new(move |call: &SimCall| {
        let process = current().and_then(|index| lock(&sim.processes).get(index).cloned());
        let Some(process) = process else { return Fault::None };
        if process.is_dead() {
            return Fault::ResetBefore;
        }
        if process.calls_at_once() > SPIN {
            sim.violated(format!("promise 7: {process:?} calls {} again and again in no time", call.what));
            process.die("spins");
            return Fault::ResetBefore;
        }
        if !call.read {
            let number = process.next_platform_call();
            let trap = process.sprung(|point| matches!(point, Point::Platform { nth, .. } if *nth == number));
            if let Some(trap) = trap {
                process.suffer(&trap);
                let after = matches!(trap.point, Point::Platform { after: true, .. });
                // A process that is paused gets its answer late; one that is killed never.
                return match (&trap.then, after) {
                    (Then::Die, false) => Fault::ResetBefore,
                    (Then::Die, true) => Fault::ResetAfter,
                    (Then::Pause(_), false) => Fault::Late(1),
                    (Then::Pause(_), true) => Fault::Slow(1),
                };
            }
        }
        let fault = draw(&sim, call, permille, latest, stale);
        if !call.read || fault != Fault::None {
            sim.log(format_args!("{process:?} {} meets {fault:?}", call.what));
        }
        fault
    })
}

fn draw(sim: &Sim, call: &SimCall, permille: u64, latest: u64, stale: u64) -> Fault {
    let random = &sim.random;
    if !sim.chaos() || random.below(1000) >= permille {
        return Fault::None;
    }
    let (fault, name) = match random.below(if call.read { 6 } else { 12 }) {
        0 => (Fault::Throttled, "throttled"),
        1 => (Fault::ServerError, "server-error"),
        2 => (Fault::Slow([500, 4_000, 15_000][usize::try_from(random.below(3)).unwrap_or(0)]), "slow"),
        3 if call.read && stale > 0 => (Fault::StaleRead(random.below(stale)), "stale-read"),
        3 => (Fault::ResetBefore, "reset-before"),
        4 => (Fault::ResetBefore, "reset-before"),
        5 if random.chance(20) => (Fault::Refused, "refused"),
        5..=7 => (Fault::ResetAfter, "reset-after"),
        _ => {
            let within = [2_000, 20_000, 60_000, latest][usize::try_from(random.below(4)).unwrap_or(0)];
            (Fault::Late(1 + random.below(within.min(latest))), "late")
        }
    };
    sim.count(format!("platform {name}"));
    fault
}

#[async_trait]
impl Platform for SimPlace {
    async fn inspect(&self) -> Result<Snapshot> {
        self.during("inspect", self.inner.inspect()).await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.during("plan", self.inner.plan(goal, now, cx)).await
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let what = if cx.going_back() { "undo" } else { "execute" };
        self.during(what, self.inner.execute(step, cx)).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let what = if matches!(scope, Scope::Holding { .. }) { "observe-back" } else { "observe" };
        self.during(what, self.inner.observe(scope)).await
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        self.during("settle", self.inner.settle(intent, cx)).await
    }

    async fn versions(&self, plan: &Plan) -> Result<Versions> {
        self.during("versions", self.inner.versions(plan)).await
    }

    async fn seal(&self, versions: &Versions, cx: &StepContext) -> Result<()> {
        self.during("seal", self.inner.seal(versions, cx)).await
    }

    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        self.inner.scope(plan, step, outputs)
    }

    fn watch(&self, scope: &Scope) -> Option<Observations> {
        self.inner.watch(scope)
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        self.during("revisions", self.inner.revisions(limit)).await
    }

    async fn startable(&self, revision: &Revision) -> Result<()> {
        self.during("startable", self.inner.startable(revision)).await
    }

    fn logs(&self) -> Option<Arc<dyn Logs>> {
        self.inner.logs()
    }
}
