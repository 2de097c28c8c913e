//! One deployer's view of a world: the platform.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    health,
    plan::{self, Known},
    shape::{Behaviour, Shape, Spec},
    state::State,
    work::{Handle, Work, output, places, work},
    world::World,
};
use crate::{
    clock::Clock,
    context::StepContext,
    error::{EffectState, Error, ErrorKind, Result},
    model::{
        Component, Fingerprint, Goal, Identity, Observation, Plan, Revision, Scope, Snapshot, Step, StepId,
        StepKind, Timestamp,
    },
    platform::{Logs, Outputs, PlanContext, Platform, Settled, Versions},
    state::journal::Intent,
};

/// How often a read is made again that shows less than this reader has seen already.
const STALE_TRIES: usize = 3;

/// A place in a [`World`].
pub struct MemoryPlace {
    world: World,
    /// The deployer's own clock: what its looks are dated with.
    clock: Arc<dyn Clock>,
    /// The newest deployment of each component that this reader has seen: reads never go back behind it.
    seen: Mutex<BTreeMap<Component, u64>>,
}

impl fmt::Debug for MemoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryPlace({})", self.world.shape().word())
    }
}

impl MemoryPlace {
    /// A deployer's view. Every deployer should have its own: it remembers what it has seen.
    #[must_use]
    pub fn new(world: World) -> Self {
        let clock = Arc::clone(world.clock());
        Self { world, clock, seen: Mutex::new(BTreeMap::new()) }
    }

    /// With the deployer's own clock, which may be wrong.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn saw(&self, component: &Component, deployment: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(component) {
            Some(newest) => *newest = deployment.max(*newest),
            None => {
                seen.insert(component.clone(), deployment);
            }
        }
    }

    fn seen(&self, component: &Component) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(component).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Platform for MemoryPlace {
    async fn inspect(&self) -> Result<Snapshot> {
        for _ in 0..STALE_TRIES {
            let began = self.clock.now();
            let look = |state: &State, at| {
                let (revs, parts) = health::standing(state, at);
                let can = state.shape.capabilities(state.options.lateness);
                let identity =
                    Identity::new(state.identity.iter().map(|(key, value)| (key.as_str(), value.as_str())));
                let serving = state.revision_of(&revs);
                let mut snapshot = Snapshot::new(began, "memory", identity, can, serving);
                (snapshot.steady, snapshot.counts) = health::steady(state, at);
                Ok((snapshot, parts))
            };
            let (snapshot, parts) = self.world.read("inspect", None, look).await?;
            if parts.iter().all(|(component, _, deployment)| *deployment >= self.seen(component)) {
                for (component, _, deployment) in &parts {
                    self.saw(component, *deployment);
                }
                return Ok(snapshot);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the reads of this place lag behind what was seen before")
            .effect_as(EffectState::NotApplied))
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let here = places(&now.serving)?;
        let good = cx.known_good.as_ref().map(places).transpose()?;
        let target = match goal {
            Goal::Restore(revision) => Some(places(revision)?),
            _ => None,
        };
        let known = |state: &State, _| {
            let usable = |name: &String| state.named(name).filter(|rev| !state.records[*rev].retired);
            let content = |name: &String| match state.named(name) {
                Some(rev) => Ok(state.records[rev].spec.clone()),
                None => Err(Error::new(ErrorKind::NotFound, format!("there is no revision {name}"))),
            };
            let parts = state.shape.components().iter().map(|part| Component::from(*part));
            let specs = parts.map(|part| here.get(&part).map_or_else(|| Ok(Spec::default()), content));
            let all =
                |places: &BTreeMap<Component, String>| places.values().all(|name| usable(name).is_some());
            let restored = target.as_ref().filter(|places| all(places));
            let restored = restored.and_then(|places| places.values().next()).and_then(usable);
            Ok((
                specs.collect::<Result<Vec<Spec>>>()?,
                restored.map(|rev| state.records[rev].spec.clone()),
                good.as_ref()
                    .filter(|places| all(places))
                    .and_then(|places| content(places.values().next()?).ok()),
                state.options.clone(),
            ))
        };
        let (specs, restored, good, options) = self.world.read("fetch", None, known).await?;
        let shape = self.world.shape();
        let known = Known { shape, options: &options, specs: &specs, restored, good };
        plan::make(goal, now, cx, &known)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        self.run(step, cx).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let (seen, began) = (self.seen(scope.component()), self.clock.now());
        let look = |state: &State, at| health::observe(state, at, began, scope, seen);
        let (look, deployment) = self.world.read("look", Some(scope.component()), look).await?;
        self.saw(scope.component(), deployment);
        Ok(look)
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        self.settle_intent(intent, cx).await
    }

    async fn versions(&self, plan: &Plan) -> Result<Versions> {
        self.read_versions(plan).await
    }

    async fn seal(&self, versions: &Versions, cx: &StepContext) -> Result<()> {
        self.seal_versions(versions, cx).await
    }

    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        scope(self.world.shape(), plan, step, outputs)
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        let list = |state: &State, _| {
            let usable = (0..state.records.len()).rev().filter(|rev| !state.records[*rev].retired);
            Ok(usable.take(limit).map(|rev| state.revision(rev)).collect())
        };
        self.world.read("fetch", None, list).await
    }

    async fn startable(&self, revision: &Revision) -> Result<()> {
        let places = places(revision)?;
        let check = |state: &State, _| {
            let missing = |text: String| Err(Error::new(ErrorKind::NotFound, text));
            for name in places.values() {
                match state.named(name).map(|rev| &state.records[rev]) {
                    None => return missing(format!("there is no revision {name}")),
                    Some(record) if record.retired => {
                        return missing(format!("revision {name} is not active"));
                    }
                    Some(record) if record.behaviour == Behaviour::NoPull => {
                        return missing(format!("the image of revision {name} does not exist"));
                    }
                    Some(_) => {}
                }
            }
            Ok(())
        };
        self.world.read("fetch", None, check).await
    }

    fn logs(&self) -> Option<Arc<dyn Logs>> {
        let logs = || Arc::new(MemoryLogs(self.world.clone())) as Arc<dyn Logs>;
        (self.world.shape() != Shape::Terraform).then(logs)
    }
}

/// What a step's component is watched for. Pure.
fn scope(shape: Shape, plan: &Plan, id: &StepId, outputs: &Outputs) -> Result<Scope> {
    let missing = || Error::new(ErrorKind::Unexpected, format!("the plan has no step {id}"));
    let step = plan.step(id).ok_or_else(missing)?;
    let component = step.component.clone();
    let back = plan.is_undo(id);
    let of = match work(step)? {
        Work::Register { .. } | Work::Hook { .. } => {
            return Ok(Scope::Holding { component, revision: plan.base.clone() });
        }
        Work::Watch { of: Some(of) } => of,
        Work::Watch { of: None } | Work::DeleteStuck | Work::Set { .. } | Work::Confirm { .. } => id.clone(),
    };
    // A remedy is run on the way there and on the way back: neither value is anyone else's.
    let either = back || plan.remedies.iter().any(|remedy| remedy.id == *id);
    let revision = if back {
        let to = plan.way_back.to.clone();
        to.ok_or_else(|| Error::new(ErrorKind::Unexpected, "there is no way back"))?
    } else {
        forward(shape, plan, outputs)?
    };
    let mut ours: Vec<Fingerprint> = plan.base.declared.get(&component).cloned().into_iter().collect();
    if either && let Ok(made) = forward(shape, plan, outputs) {
        ours.extend(made.declared.get(&component).cloned());
    }
    let allowed = plan.envelope.as_ref().map(|envelope| envelope.allowed.clone());
    let gate = match &step.kind {
        StepKind::Gate { gate, .. } => Some(gate.clone()),
        _ => None,
    };
    let handle = Handle { sent: output(outputs, &of)?, ours, gate, allowed, back: either };
    Ok(Scope::Toward { component, revision, handle: json!(handle) })
}

/// What is gone to: with the number that the platform gave it, where it gave one.
fn forward(shape: Shape, plan: &Plan, outputs: &Outputs) -> Result<Revision> {
    if !plan.to.declared.is_empty() {
        return Ok(plan.to.clone());
    }
    let maker = StepId::from(if shape == Shape::Ecs { "register" } else { "publish" });
    let made = output(outputs, &maker)?
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("step {maker} has returned nothing yet")))?;
    let parts = shape.components().iter();
    let declared = parts.map(|part| (Component::from(*part), Shape::numbered(part, &made.name))).collect();
    let mut revision = plan::at(shape, &made.name, declared);
    revision.commit.clone_from(&plan.to.commit);
    revision.images.clone_from(&plan.to.images);
    Ok(revision)
}

/// A few lines for instances of releases that do not work.
#[derive(Debug)]
struct MemoryLogs(World);

#[async_trait]
impl Logs for MemoryLogs {
    async fn tail(&self, instance: &str, limit: usize) -> Result<Vec<String>> {
        let lines = |state: &State, at| {
            let time = Timestamp::from_millis(at);
            let named = |record: &&super::state::Record| instance.contains(&format!("-{}-", record.name));
            let words: &[&str] = match state.records.iter().find(named).map(|record| record.behaviour) {
                Some(Behaviour::Crash | Behaviour::Flaky | Behaviour::PlatformRevert) => {
                    &["starting", "cannot read the configuration: DATABASE_URL is not set", "exit 1"]
                }
                Some(Behaviour::Unhealthy) => &["starting", "listening on :8080", "GET /health 503"],
                Some(Behaviour::Ok | Behaviour::Slow) => &["starting", "listening on :8080"],
                Some(Behaviour::NoPull) | None => &[],
            };
            let from = words.len().saturating_sub(limit);
            Ok(words[from..].iter().map(|line| format!("{time}  {line}")).collect())
        };
        self.0.read("fetch", None, lines).await
    }
}
