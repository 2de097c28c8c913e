//! A world, a place, and one deployer that runs steps by hand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use deploy_core::{
    Error, Platform, Result,
    clock::{Clock, TokioClock},
    conformance::{StepRun, run_step},
    context::{Ask, Outputs, StepContext},
    memory::{Fault, MemoryPlace, Shape, World, WorldOptions},
    model::{
        Fence, Goal, Observation, Plan, Release, Revision, Scope, Snapshot, Step, StepId, StepKind,
        TargetName, Timestamp,
    },
    platform::{PlanContext, Settled, Versions},
    state::journal::Intent,
};
use serde_json::{Value, json};

/// One deployer's hands.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) place: Arc<MemoryPlace>,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) fence: Fence,
}

pub(crate) fn bench(shape: Shape) -> Bench {
    bench_with(shape, |_| {})
}

pub(crate) fn bench_with(shape: Shape, change: impl FnOnce(&mut WorldOptions)) -> Bench {
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
    let mut options = WorldOptions::new(shape);
    change(&mut options);
    let world = World::with(shape, options, Arc::new(clock.elsewhere()));
    let place = Arc::new(MemoryPlace::new(world.clone()));
    Bench { world, place, clock, fence: Fence(1) }
}

pub(crate) fn release(tag: &str) -> Goal {
    Goal::Deploy(Release::default().image("app", format!("repo/app:{tag}")))
}

impl Bench {
    /// The next holder, with a view of its own.
    pub(crate) fn successor(&self) -> Self {
        let place = Arc::new(MemoryPlace::new(self.world.clone()));
        Self {
            world: self.world.clone(),
            place,
            clock: Arc::clone(&self.clock),
            fence: Fence(self.fence.0 + 1),
        }
    }

    pub(crate) async fn plan(&self, goal: &Goal) -> Result<Plan> {
        self.plan_with(goal, None).await
    }

    pub(crate) async fn plan_with(&self, goal: &Goal, good: Option<Revision>) -> Result<Plan> {
        let now = self.place.inspect().await?;
        let plan = self.place.plan(goal, &now, &context(good)).await?;
        plan.check()?;
        Ok(plan)
    }

    pub(crate) async fn wait(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }

    /// One step, once.
    pub(crate) async fn step(&self, plan: &Plan, id: &str, outputs: &Outputs) -> StepRun {
        self.on(&*self.place, plan, id, outputs, BTreeMap::new()).await
    }

    pub(crate) async fn on(
        &self,
        platform: &dyn Platform,
        plan: &Plan,
        id: &str,
        outputs: &Outputs,
        recorded: BTreeMap<String, Value>,
    ) -> StepRun {
        let clock: Arc<dyn Clock> = Arc::<TokioClock>::clone(&self.clock);
        run_step(platform, plan, &StepId::from(id), outputs.clone(), self.fence, recorded, clock).await
    }

    /// Runs effect steps in order, patiently at gates, and fails with the first error.
    pub(crate) async fn steps<'a>(
        &self,
        plan: &Plan,
        steps: impl IntoIterator<Item = &'a Step>,
        outputs: &mut Outputs,
    ) -> Result<()> {
        for step in steps {
            match step.kind {
                StepKind::Effect => {
                    let run = self.step(plan, step.id.as_str(), outputs).await;
                    outputs.insert(step.id.clone(), run.result?);
                }
                StepKind::Gate { .. } => self.wait(6_000).await,
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) async fn deploy(&self, tag: &str) -> Result<(Plan, Outputs)> {
        let plan = self.plan(&release(tag)).await?;
        let mut outputs = Outputs::new();
        self.steps(&plan, &plan.steps, &mut outputs).await?;
        Ok((plan, outputs))
    }

    pub(crate) async fn look(&self, plan: &Plan, step: &str, outputs: &Outputs) -> Observation {
        let scope = self.place.scope(plan, &StepId::from(step), outputs).unwrap();
        self.place.observe(&scope).await.unwrap()
    }

    pub(crate) async fn hold(&self, component: &str, revision: &Revision) -> Observation {
        let scope = Scope::Holding { component: component.into(), revision: revision.clone() };
        self.place.observe(&scope).await.unwrap()
    }

    /// The next request of this kind meets this fault; the others meet none.
    pub(crate) fn next(&self, what: &'static str, fault: Fault) {
        let once = std::sync::atomic::AtomicBool::new(true);
        self.world.faults(move |call| {
            let hit = call.what == what && once.swap(false, std::sync::atomic::Ordering::Relaxed);
            if hit { fault } else { Fault::None }
        });
    }

    /// Settles an intent, under this deployer's fence.
    pub(crate) async fn settle(&self, plan: &Plan, intent: &Intent) -> Result<Settled> {
        let doing = Doing { place: Arc::clone(&self.place), what: What::Settle(Box::new(intent.clone())) };
        let run = self.on(&doing, plan, plan.steps[0].id.as_str(), &Outputs::new(), BTreeMap::new()).await;
        run.result.map(|value| serde_json::from_value(value).unwrap())
    }

    pub(crate) async fn seal(&self, plan: &Plan, versions: &Versions) -> Result<()> {
        let doing = Doing { place: Arc::clone(&self.place), what: What::Seal(versions.clone()) };
        let run = self.on(&doing, plan, plan.steps[0].id.as_str(), &Outputs::new(), BTreeMap::new()).await;
        run.result.map(|_| ())
    }

    /// The intent that a journal would hold of an ask.
    pub(crate) fn intent(&self, ask: &Ask, id: u64) -> Intent {
        let now = self.clock.now();
        let mut intent = json!({
            "id": id, "rollout": "0000000000", "step": ask.step, "key": ask.key, "direction": "forward",
            "sending": ask.sending, "hash": ask.hash, "exclusive": ask.exclusive, "change": ask.change,
            "fence": self.fence, "signed_at": now, "late_bound": now.plus_ms(315_000),
        });
        if let (Some(component), Some(to)) = (&ask.component, &ask.to) {
            (intent["component"], intent["to"]) = (json!(component), json!(to));
        }
        serde_json::from_value(intent).unwrap()
    }
}

pub(crate) fn context(good: Option<Revision>) -> PlanContext {
    PlanContext::new(TargetName::new("shop", "test").unwrap(), 30_000, good)
}

#[derive(Debug)]
enum What {
    Settle(Box<Intent>),
    Seal(Versions),
}

/// Runs `settle` and `seal` where a step would run: they need a step's context.
#[derive(Debug)]
struct Doing {
    place: Arc<MemoryPlace>,
    what: What,
}

#[async_trait]
impl Platform for Doing {
    async fn inspect(&self) -> Result<Snapshot> {
        self.place.inspect().await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.place.plan(goal, now, cx).await
    }

    async fn execute(&self, _: &Step, cx: &StepContext) -> Result<Value> {
        match &self.what {
            What::Settle(intent) => serde_json::to_value(self.place.settle(intent, cx).await?)
                .map_err(|error| Error::new(deploy_core::ErrorKind::Malformed, error.to_string())),
            What::Seal(versions) => self.place.seal(versions, cx).await.map(|()| Value::Null),
        }
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.place.observe(scope).await
    }
}
