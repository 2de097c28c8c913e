use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::*;
use crate::{
    Deployer,
    clock::{Clock, SeededRandom, TokioClock},
    error::Retry,
    event::PhaseName,
    memory::{MemoryPlace, Shape, World},
    model::{Component, Ended, Outcome, StepKind, Timestamp},
    rollout::Rollout,
    state::{
        journal::{Fact, StepState},
        stores::memory::MemoryStore,
    },
};

/// A registry, and what happens when one builds for it.
#[derive(Debug, Default)]
struct Yard {
    built: BTreeSet<String>,
    builds: u32,
    /// Builds that end with this error first.
    errors: Vec<Error>,
    /// What `finish` says instead.
    wrong: Option<String>,
    stopped: u32,
}

#[derive(Debug, Clone)]
struct Builder(Arc<Mutex<Yard>>, TokioClock);

impl Builder {
    fn yard(&self) -> MutexGuard<'_, Yard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const BUILD: Duration = Duration::from_secs(90);

#[async_trait]
impl Preparer for Builder {
    async fn missing(&self, release: &Release) -> Result<Vec<Step>> {
        let yard = self.yard();
        let missing = release.images.values().filter(|image| !yard.built.contains(*image));
        let step = |image: &String| {
            let step = Step::new("build", Component::from("app"), StepKind::Effect, format!("build {image}"));
            step.within_ms(600_000).with(Value::from(image.as_str()))
        };
        Ok(missing.map(step).collect())
    }

    async fn make(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        self.yard().builds += 1;
        for _ in 0..BUILD.as_secs() {
            self.1.sleep(Duration::from_secs(1)).await;
            if cx.interrupted() {
                self.yard().stopped += 1;
                return Err(Error::new(ErrorKind::Interrupted, "the build was stopped"));
            }
        }
        let mut yard = self.yard();
        if let Some(error) = yard.errors.pop() {
            return Err(error);
        }
        yard.built.insert(step.data.as_str().unwrap_or_default().to_owned());
        Ok(Value::Null)
    }

    async fn finish(&self, release: &Release) -> Result<Release> {
        match &self.yard().wrong {
            Some(text) => Err(Error::new(ErrorKind::Refused, text)),
            None => Ok(release.clone()),
        }
    }
}

struct Stage {
    clock: TokioClock,
    world: World,
    builder: Builder,
    target: Target,
}

const COMMIT: &str = "9f2c1ab09f2c1ab09f2c1ab09f2c1ab09f2c1ab0";

fn stage(shape: Shape) -> Stage {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let world = World::new(shape, Arc::new(clock.clone()));
    let builder = Builder(Arc::default(), clock.clone());
    let deployer = Deployer::new(MemoryStore::new()).clock(clock.clone()).random(SeededRandom::new(1));
    let target = deployer.target("shop", "production", MemoryPlace::new(world.clone()));
    let target = target.image("app", "repo/app").bake(Duration::from_secs(30)).prepare(builder.clone());
    Stage { clock, world, builder, target }
}

impl Stage {
    async fn start(&self) -> Rollout {
        self.target.deploy(Release::commit(COMMIT)).start().await.unwrap()
    }

    async fn end(&self, rollout: &Rollout) -> Outcome {
        rollout.outcome().await.unwrap()
    }

    fn builds(&self) -> u32 {
        self.builder.yard().builds
    }

    async fn words(&self, rollout: &Rollout) -> Vec<&'static str> {
        let journal = self.target.journal(rollout.id().as_str()).await.unwrap();
        let word = |fact: &Fact| match fact {
            Fact::Started { .. } => "started",
            Fact::Step { kind, state: StepState::Began, .. } if kind == "prepare" => "prepares",
            Fact::Step { kind, state: StepState::Done, .. } if kind == "prepare" => "prepared",
            Fact::Planned { .. } => "planned",
            Fact::Step { state: StepState::Asked, .. } => "asked",
            Fact::Ended { .. } => "ended",
            _ => "",
        };
        journal.iter().map(|entry| word(&entry.fact)).filter(|word| !word.is_empty()).collect()
    }
}

fn refused(outcome: &Outcome, why: &str) {
    assert_eq!(outcome.ended, Ended::Refused, "{outcome:?}");
    assert!(outcome.to_string().contains("Nothing was changed"), "{outcome}");
    let cause = outcome.cause.as_ref().map(|cause| cause.text.clone()).unwrap_or_default();
    assert!(cause.contains(why), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_made_once_before_the_place_is_touched() {
    for shape in [Shape::Ecs, Shape::Kubernetes, Shape::Vapor] {
        let stage = stage(shape);
        let plan = stage.target.deploy(Release::commit(COMMIT)).plan().await.unwrap();
        assert!(plan.open && plan.steps.is_empty() && plan.prepare.len() == 1, "{plan:?}");
        assert_eq!(stage.builds(), 0, "a look builds nothing");
        let rollout = stage.start().await;
        stage.clock.sleep(Duration::from_secs(60)).await;
        assert!(stage.world.writes().is_empty(), "{shape:?}");
        let outcome = stage.end(&rollout).await;
        assert!(outcome.is_success(), "{shape:?}: {outcome:?}");
        let words = stage.words(&rollout).await;
        assert_eq!(words[..4], ["started", "prepares", "prepared", "planned"], "{shape:?}");
        assert!(words[4..].contains(&"asked"), "{words:?}");
        let history = stage.target.history(1).await.unwrap();
        assert_eq!(history[0].to.commit.as_deref(), Some(COMMIT));
        let again = stage.start().await;
        assert!(stage.end(&again).await.is_success());
        assert_eq!(stage.builds(), 1, "a second deploy of the same commit builds nothing");
        assert!(!stage.words(&again).await.contains(&"prepares"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_plan_is_neither_approved_nor_applied() {
    let stage = stage(Shape::Ecs);
    let request = stage.target.deploy(Release::commit(COMMIT));
    let plan = request.plan().await.unwrap();
    let approved = request.clone().approved(&plan.approval_hash()[..6]).start().await.unwrap();
    refused(&stage.end(&approved).await, "the plan is open");
    let applied = stage.target.apply(plan).start().await.unwrap();
    refused(&stage.end(&applied).await, "the plan is open");
    assert_eq!(stage.builds(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_ends_with_nothing_changed() {
    let stage = stage(Shape::Ecs);
    let error = |text: &str, retry| Error::new(ErrorKind::Unavailable, text).retry_as(retry);
    stage.builder.yard().errors = vec![error("COPY failed", Retry::Never), error("429", Retry::Always)];
    let rollout = stage.start().await;
    let outcome = stage.end(&rollout).await;
    refused(&outcome, "step build failed: COPY failed");
    assert_eq!(stage.builds(), 2, "what may pass is tried again");
    assert!(stage.world.writes().is_empty());
    assert!(outcome.to_string().contains("serves"), "{outcome}");
    let rollout = stage.start().await;
    assert!(stage.end(&rollout).await.is_success(), "the next try succeeds");
}

#[tokio::test(start_paused = true)]
async fn what_was_built_and_is_not_what_it_should_be_is_not_deployed() {
    let stage = stage(Shape::Kubernetes);
    stage.builder.yard().wrong = Some("built from 4be81d0, not from 9f2c1ab".into());
    let rollout = stage.start().await;
    refused(&stage.end(&rollout).await, "built from 4be81d0, not from 9f2c1ab");
    assert!(stage.world.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_is_stopped_and_paused_as_everything_else() {
    let stage = stage(Shape::Ecs);
    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(10)).await;
    let asked = stage.clock.elapsed();
    rollout.abort("wrong branch").await.unwrap();
    let outcome = stage.end(&rollout).await;
    assert_eq!(outcome.ended, Ended::Aborted, "{outcome:?}");
    assert!(stage.clock.elapsed() - asked <= Duration::from_secs(2), "{:?}", stage.clock.elapsed() - asked);
    assert_eq!(stage.builder.yard().stopped, 1);
    assert!(stage.world.writes().is_empty());

    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(10)).await;
    rollout.pause("lunch").await.unwrap();
    stage.clock.sleep(Duration::from_secs(600)).await;
    assert!(stage.world.writes().is_empty(), "what runs is let end, and nothing follows");
    rollout.go_on().await.unwrap();
    assert!(stage.end(&rollout).await.is_success());
}

#[tokio::test(start_paused = true)]
async fn a_killed_deployer_loses_nothing() {
    // At each second, and a little after the build: while the plan is made, asked for and sent.
    for at_ms in [100, 45_000, 90_000, 90_001, 90_050, 90_200, 91_000, 95_000] {
        let stage = stage(Shape::Ecs);
        let rollout = stage.start().await;
        stage.clock.sleep(Duration::from_millis(at_ms)).await;
        rollout.kill();
        stage.clock.sleep(Duration::from_secs(120)).await;
        let resumed = stage.target.resume().await.unwrap().expect("something is unfinished");
        let outcome = stage.end(&resumed).await;
        assert!(outcome.is_success(), "{at_ms}: {outcome:?}");
        let planned = stage.words(&resumed).await.iter().filter(|word| **word == "planned").count();
        assert_eq!(planned, 1, "{at_ms}");
        assert!(stage.builds() <= 2, "{at_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_nobody_lived_to_obey_is_obeyed_by_the_successor() {
    let stage = stage(Shape::Ecs);
    let rollout = stage.start().await;
    stage.clock.sleep(Duration::from_secs(10)).await;
    let aborting = rollout.clone();
    let asked = tokio::spawn(async move { aborting.abort("wrong branch").await });
    stage.clock.sleep(Duration::from_millis(300)).await;
    rollout.kill();
    drop(asked.await);
    stage.clock.sleep(Duration::from_secs(120)).await;
    let resumed = stage.target.resume().await.unwrap().expect("something is unfinished");
    assert_eq!(stage.end(&resumed).await.ended, Ended::Aborted);
    assert!(stage.world.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_phase() {
    let stage = stage(Shape::Ecs);
    let rollout = stage.start().await;
    let mut events = rollout.events();
    let mut phases = Vec::new();
    while let Some(event) = events.next().await {
        if phases.last() != Some(&event.phase) {
            phases.push(event.phase);
        }
    }
    let at = |phase| phases.iter().position(|seen| *seen == phase);
    assert!(at(PhaseName::Prepare) < at(PhaseName::Apply), "{phases:?}");
    assert!(at(PhaseName::Prepare).is_some(), "{phases:?}");
}
