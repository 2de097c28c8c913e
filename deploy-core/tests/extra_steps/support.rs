//! Steps that do what a script says, around the memory platform, in virtual time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use deploy_core::{
    Deployer, Error, ErrorKind, Result, Target,
    clock::{Clock, SeededRandom, TokioClock},
    context::StepContext,
    error::EffectState,
    memory::{MemoryPlace, Shape, World},
    model::{Component, Release, Runner, Step, StepKind, Timestamp, Undo},
    platform::Settled,
    state::{
        journal::{Entry, Intent},
        stores::memory::MemoryStore,
    },
    steps::{ExtraStep, PlannedStep, StepFacts, StepRunner, WithSteps},
};
use serde_json::{Value, json};

/// What one run of a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// Ends well after so many milliseconds.
    Works(u64),
    /// Ends, and says that it did not.
    Fails,
    /// Was refused before it did anything.
    Refused,
    /// Nobody sees its end.
    NoAnswer,
    /// Goes on until it is cut off.
    Hangs,
}

/// A world, and who deploys to it.
pub(crate) struct Bench {
    pub(crate) clock: TokioClock,
    pub(crate) world: World,
    pub(crate) store: MemoryStore,
    pub(crate) runner: Scripted,
}

/// The name of what was run, and what the world declared then.
pub(crate) type Ran = (String, Option<String>);

/// A runner that does what it is told, and remembers what it ran.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scripted {
    script: Arc<Mutex<BTreeMap<String, VecDeque<Does>>>>,
    /// Each run, with what the world declared then.
    pub(crate) ran: Arc<Mutex<Vec<Ran>>>,
    /// What settling says.
    pub(crate) settles: Arc<Mutex<Option<bool>>>,
    world: Arc<Mutex<Option<World>>>,
}

impl Scripted {
    pub(crate) fn then(&self, step: &str, does: impl IntoIterator<Item = Does>) {
        self.script.lock().unwrap().insert(step.to_owned(), does.into_iter().collect());
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.ran.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    fn next(&self, step: &str) -> Does {
        let mut script = self.script.lock().unwrap();
        script.get_mut(step).and_then(VecDeque::pop_front).unwrap_or(Does::Works(100))
    }

    async fn run(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let id = step.id.as_str();
        let declared = self.world.lock().unwrap().as_ref().and_then(|world| world.declared("service"));
        self.ran.lock().unwrap().push((id.to_owned(), declared));
        match self.next(id) {
            Does::Works(millis) => {
                cx.clock().sleep(Duration::from_millis(millis)).await;
                Ok(json!({ "failed": false }))
            }
            Does::Fails => Ok(json!({ "failed": true })),
            Does::Refused => Err(Error::new(ErrorKind::PermissionDenied, "no")),
            Does::NoAnswer => Err(Error::new(ErrorKind::Unavailable, "its end was not seen")),
            Does::Hangs => {
                cx.until_interrupted().await;
                Err(Error::new(ErrorKind::Interrupted, "cut off").effect_as(EffectState::Unknown))
            }
        }
    }
}

#[async_trait]
impl StepRunner for Scripted {
    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let effect = cx.effect("run", step.id.as_str()).within(Duration::from_secs(600));
        let call = |permit: deploy_core::context::Permit| async move {
            permit.check()?;
            self.run(step, cx).await
        };
        let ended = if step.data["once"] == true {
            effect.at_most_once(call).await
        } else {
            effect.idempotent(call).await
        }?;
        match ended["failed"] == true {
            true => Err(Error::new(ErrorKind::Unexpected, format!("{} says that it failed", step.id))),
            false => Ok(ended),
        }
    }

    async fn settle(&self, _: &Intent, cx: &StepContext) -> Result<Settled> {
        assert!(cx.planned(&deploy_core::model::StepId::from("no such step")).is_none());
        Ok(match *self.settles.lock().unwrap() {
            Some(true) => Settled::Applied(json!({ "failed": false })),
            Some(false) => Settled::NotApplied,
            None => Settled::Unknown,
        })
    }
}

/// An extra step.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) id: &'static str,
    pub(crate) once: bool,
    pub(crate) undo: Undo,
    pub(crate) holds: Arc<Mutex<VecDeque<bool>>>,
}

impl Extra {
    pub(crate) fn compensated(id: &'static str) -> Self {
        Self { id, once: false, undo: Undo::Compensates, holds: Arc::default() }
    }

    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(crate) fn final_because(id: &'static str, reason: &str) -> Self {
        Self { undo: Undo::None { reason: reason.into() }, ..Self::compensated(id) }
    }
}

fn step(id: &str, of: &str, undo: Undo, once: bool) -> Step {
    let mut step = Step::new(id, Component::from(of), StepKind::Effect, format!("run {id}"))
        .with(json!({ "once": once }))
        .within_ms(1_200_000)
        .undone_by(undo);
    step.runner = Runner::Command;
    step
}

#[async_trait]
impl ExtraStep for Extra {
    fn id(&self) -> &str {
        self.id
    }

    fn plan(&self, _: &StepFacts) -> Result<PlannedStep> {
        let mut planned = PlannedStep::new(step(self.id, self.id, self.undo.clone(), self.once));
        if self.undo == Undo::Compensates {
            let reason = "it makes up for a step".into();
            let undo = step(&format!("undo-{}", self.id), self.id, Undo::None { reason }, false);
            planned = planned.compensated_by(undo);
        }
        Ok(if self.once { planned.at_most_once() } else { planned })
    }

    async fn check(&self, _: &StepFacts) -> Result<()> {
        match self.holds.lock().unwrap().pop_front() {
            Some(false) => Err(Error::new(ErrorKind::Refused, "the tree is not clean").next("commit it")),
            _ => Ok(()),
        }
    }
}

pub(crate) fn release(tag: &str) -> Release {
    Release::of_what_runs().image("app", format!("repo/app:{tag}"))
}

impl Bench {
    pub(crate) fn new(shape: Shape) -> Self {
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
        let world = World::new(shape, Arc::new(clock.clone()));
        let runner = Scripted::default();
        *runner.world.lock().unwrap() = Some(world.clone());
        Self { clock, world, store: MemoryStore::new(), runner }
    }

    pub(crate) fn bare(&self) -> WithSteps {
        WithSteps::new(MemoryPlace::new(self.world.clone()))
    }

    pub(crate) fn place(&self) -> WithSteps {
        self.bare().runner(Runner::Command, self.runner.clone())
    }

    pub(crate) fn target(&self, name: &str, place: WithSteps) -> Target {
        let deployer = Deployer::new(self.store.clone())
            .clock(self.clock.clone())
            .random(SeededRandom::new(name.len() as u64))
            .named_holder(name);
        deployer.target("shop", "production", place).bake(Duration::from_secs(30))
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    pub(crate) fn revision(&self) -> String {
        self.world.serving().name
    }
}

/// How often a step asked for an effect.
pub(crate) fn asked(journal: &[Entry], step: &str) -> usize {
    use deploy_core::state::journal::Fact;
    let of = |entry: &&Entry| matches!(&entry.fact, Fact::Step { intent: Some(intent), .. } if intent.step.as_str() == step);
    journal.iter().filter(of).count()
}
