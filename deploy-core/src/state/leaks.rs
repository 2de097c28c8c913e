//! What others write may hold secrets: none of it gets into a store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Deployer, Error, ErrorKind, Platform, Result,
    clock::{SeededRandom, TokioClock},
    context::StepContext,
    memory::{MemoryPlace, Shape, World},
    model::{Goal, Instance, Observation, Plan, Release, Scope, Snapshot, Step, Timestamp},
    platform::PlanContext,
    state::{Key, StateStore, journal::ErrorRecord, stores::memory::MemoryStore},
};

const LEAK: &str = "cannot reach postgres://shop:hunter2@db/shop, DB_PASSWORD=hunter2";

/// A place whose instances and whose API say what they should not.
#[derive(Debug)]
struct Talkative(MemoryPlace);

#[async_trait]
impl Platform for Talkative {
    async fn inspect(&self) -> Result<Snapshot> {
        self.0.inspect().await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.0.plan(goal, now, cx).await
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        if cx.attempt() == 1 {
            let leaking = |_| async { Err::<Value, _>(Error::new(ErrorKind::Throttled, LEAK)) };
            cx.effect("first", "try").idempotent(leaking).await?;
        }
        self.0.execute(step, cx).await
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let mut seen = self.0.observe(scope).await?;
        for signal in &mut seen.signals {
            (signal.text, signal.log) = (LEAK.to_owned(), vec![format!("02:12:41  {LEAK}")]);
            signal.instances.iter_mut().for_each(leak);
        }
        seen.instances.iter_mut().for_each(leak);
        Ok(seen)
    }

    fn scope(
        &self,
        plan: &Plan,
        step: &crate::model::StepId,
        outputs: &crate::platform::Outputs,
    ) -> Result<Scope> {
        self.0.scope(plan, step, outputs)
    }
}

fn leak(instance: &mut Instance) {
    instance.reason = Some(LEAK.to_owned());
}

#[tokio::test(start_paused = true)]
async fn nothing_secret_that_others_wrote_is_stored() {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let place = Talkative(MemoryPlace::new(World::new(Shape::Ecs, Arc::new(clock.clone()))));
    let store = MemoryStore::new();
    let target = Deployer::new(store.clone())
        .clock(clock)
        .random(SeededRandom::new(1))
        .target("shop", "production", place)
        .bake(Duration::from_secs(30));
    let release = Release::of_what_runs().image("app", "repo/app:crash-1");
    let outcome = target.deploy(release).start().await.unwrap().outcome().await.unwrap();
    assert_eq!(outcome.exit(), 4, "it went back, because of what was said: {outcome:?}");

    let (mut all, mut told) = (String::new(), format!("{outcome:?}"));
    for key in store.list(&Key::new(["v1"]), None, 100).await.unwrap() {
        all += &String::from_utf8_lossy(&store.read(&key).await.unwrap().unwrap().body);
    }
    told += &all;
    assert!(!told.contains("hunter2"), "{told}");
    assert!(all.matches("cannot reach postgres://").count() >= 4, "the rest of it is kept: {all}");
}

#[test]
fn an_error_is_recorded_in_one_line_without_secrets() {
    let record = ErrorRecord::from(&Error::new(ErrorKind::Refused, format!("{LEAK}\n{}", "x ".repeat(600))));
    assert!(!record.text.contains("hunter2") && !record.text.contains('\n'), "{}", record.text);
    assert!(record.text.starts_with("cannot reach") && record.text.chars().count() <= 500, "{}", record.text);
}
