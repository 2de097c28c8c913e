//! What is known of a mutation after each fault of the emulator; permits; settling.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Place, START_MS, place};
use deploy_core::{
    EffectState, ErrorKind, Platform, Result,
    clock::Clock,
    conformance::run_step,
    context::{Effected, Outputs, StepContext},
    model::{Fence, Goal, Motion, Observation, Plan, Scope, Snapshot, Step, StepId, Timestamp},
    platform::{PlanContext, Settled},
    state::journal::{Direction, Intent, Sending},
};
use deploy_ecs::emulator::{CallOutcome, FaultKind, FaultRule};
use serde_json::{Value, json};

/// A place whose new revision is registered.
async fn registered(place: &Place) -> (Plan, Outputs) {
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let mut outputs = Outputs::new();
    place.done(&plan, "register", &mut outputs).await;
    (plan, outputs)
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_mutation_is_told_apart_and_none_is_sent_twice() {
    use EffectState::{NotApplied, Unknown};
    let table = [
        (FaultKind::Throttled, ErrorKind::Throttled, NotApplied, false),
        (FaultKind::ServerError500, ErrorKind::Unavailable, Unknown, false),
        (FaultKind::Refused, ErrorKind::Unavailable, NotApplied, false),
        (FaultKind::ResetBefore, ErrorKind::Unavailable, Unknown, false),
        (FaultKind::ResetAfter, ErrorKind::Unavailable, Unknown, true),
        (FaultKind::Slow(20_000), ErrorKind::TimedOut, Unknown, true),
        (FaultKind::LateApply(15_000), ErrorKind::Unavailable, Unknown, false),
        (FaultKind::Malformed200, ErrorKind::Malformed, Unknown, true),
        (FaultKind::ExpiredToken, ErrorKind::Unauthenticated, NotApplied, false),
        (FaultKind::AccessDenied403, ErrorKind::PermissionDenied, NotApplied, false),
    ];
    for (step, action) in [("register", "RegisterTaskDefinition"), ("update", "UpdateService")] {
        for (fault, kind, effect, landed) in table {
            let place = place();
            let (plan, outputs) = if step == "update" {
                registered(&place).await
            } else {
                (place.plan(&place.image("ok-2")).await.unwrap(), Outputs::new())
            };
            let revisions = || {
                place.ecs("ListTaskDefinitions", &json!({}))["taskDefinitionArns"].as_array().map(Vec::len)
            };
            let (before, called) = (revisions(), place.emulator.counts().of(action));
            place.emulator.fault(FaultRule::new(fault).action(action));
            let run = place.step(&plan, step, &outputs).await;
            let error = run.result.as_ref().expect_err(action);
            assert_eq!(error.kind(), kind, "{action} {fault:?}: {error:?}");
            assert_eq!(run.failed_effect(), Some(effect), "{action} {fault:?}");
            assert_eq!(
                place.emulator.counts().of(action) - called,
                1,
                "{action} {fault:?}: one attempt per permit"
            );
            if step == "update" {
                let now = place.service.inspect().await.unwrap();
                assert_eq!(now.serving.name == "prod-api-task:2", landed, "{fault:?}");
            } else {
                assert_eq!(revisions() > before, landed, "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_a_few_times_and_looks_are_not() {
    let place = place();
    place.emulator.fault(FaultRule::new(FaultKind::Throttled).action("DescribeServices").times(2));
    place.service.inspect().await.unwrap();
    assert_eq!(place.emulator.counts().of("DescribeServices"), 3);
    let (plan, outputs) = registered(&place).await;
    let scope = place.scope(&plan, "update", &outputs);
    let before = place.emulator.counts().of("DescribeServices");
    for (fault, kind) in [
        (FaultKind::Throttled, ErrorKind::Throttled),
        (FaultKind::ServerError500, ErrorKind::Unavailable),
        (FaultKind::ResetBefore, ErrorKind::Unavailable),
        (FaultKind::Malformed200, ErrorKind::Malformed),
        (FaultKind::ExpiredToken, ErrorKind::Unauthenticated),
    ] {
        place.emulator.fault(FaultRule::new(fault).action("DescribeServices"));
        let error = place.service.observe(&scope).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, EffectState::NotApplied), "{fault:?}");
    }
    assert_eq!(place.emulator.counts().of("DescribeServices") - before, 5);
    place.emulator.fault(FaultRule::new(FaultKind::Throttled).action("DescribeServices").always());
    assert_eq!(place.service.inspect().await.unwrap_err().kind(), ErrorKind::Throttled, "bounded");
}

#[tokio::test(start_paused = true)]
async fn what_stopped_tasks_say_is_not_needed_for_a_look() {
    let place = place();
    let plan = place.plan(&place.image("crash")).await.unwrap();
    let outputs = place.forward(&plan).await;
    place.emulator.fault(FaultRule::new(FaultKind::AccessDenied403).action("ListTasks").always());
    let scope = place.scope(&plan, "watch", &outputs);
    let watched = place.watch(&scope, 60).await;
    assert_eq!(watched.seen.motion, Motion::Progressing);
    assert!(watched.seen.notes["stopped tasks"].contains("AccessDenied"), "{:?}", watched.seen.notes);
}

/// A clock that stops for a while when it is asked for the time to sign with: a paused process.
#[derive(Debug)]
struct Paused {
    inner: Arc<dyn Clock>,
    late_by: Mutex<Duration>,
}

#[async_trait::async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn elapsed(&self) -> Duration {
        // The first reading grants the permit; later ones come after the pause.
        let mut late = self.late_by.lock().unwrap();
        let now = self.inner.elapsed() + *late;
        *late += Duration::from_secs(20);
        now
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_over_sends_nothing() {
    let place = place();
    let (plan, outputs) = registered(&place).await;
    let clock = Arc::new(Paused { inner: place.clock.clone(), late_by: Mutex::default() });
    let step = StepId::from("update");
    // Granted at 0 s, first check at 20 s, the last hook before sending at 40 s: the window is 30 s.
    let run = run_step(&place.service, &plan, &step, outputs, Fence(1), Default::default(), clock).await;
    assert_eq!(run.result.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(matches!(&run.effects[0], Effected::Failed(error) if error.effect() == EffectState::NotApplied));
    assert_eq!(place.emulator.counts().of("UpdateService"), 0, "nothing left this process");
}

fn intent(key: &str, change: Value, to: Option<deploy_core::model::Fingerprint>, exclusive: bool) -> Intent {
    let text = json!({"id": 1, "rollout": "0000000000", "step": key, "key": key, "direction": Direction::Forward,
        "sending": Sending::Idempotent, "hash": "", "component": "service", "to": to, "exclusive": exclusive,
        "change": change, "fence": 1, "signed_at": Timestamp::from_millis(START_MS),
        "late_bound": Timestamp::from_millis(START_MS + 315_000)});
    serde_json::from_value(text).unwrap()
}

/// A platform whose every step settles one intent: that is how a test comes by a step context.
#[derive(Debug)]
struct Settling(deploy_ecs::Service, Intent);

#[async_trait::async_trait]
impl Platform for Settling {
    async fn inspect(&self) -> Result<Snapshot> {
        self.0.inspect().await
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.0.plan(goal, now, cx).await
    }

    async fn execute(&self, _: &Step, cx: &StepContext) -> Result<Value> {
        Ok(serde_json::to_value(self.0.settle(&self.1, cx).await?).unwrap())
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        self.0.observe(scope).await
    }
}

async fn settle(place: &Place, intent: &Intent) -> Settled {
    let plan = place.plan(&Goal::Adopt).await.unwrap();
    let settling = Settling(place.service.clone(), intent.clone());
    let (step, clock) = (StepId::from("watch"), place.clock.clone());
    let run = run_step(&settling, &plan, &step, Outputs::new(), Fence(1), Default::default(), clock).await;
    assert!(run.asked.is_empty());
    serde_json::from_value(run.result.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn unknown_effects_are_settled_by_what_only_we_can_have_written() {
    let place = place();
    let base = "arn:aws:ecs:us-east-1:123456789012:task-definition/prod-api-task:1";
    let register = intent("register", json!({ "base": base }), None, false);
    assert_eq!(settle(&place, &register).await, Settled::Unknown, "it may still come");
    let (plan, outputs) = registered(&place).await;
    match settle(&place, &register).await {
        Settled::Applied(value) => assert_eq!(value, outputs[&StepId::from("register")]),
        other => panic!("{other:?}"),
    }
    let to = place.scope(&plan, "update", &outputs).declared().cloned();
    let update = intent("update", json!({}), to.clone(), true);
    let shared = intent("update", json!({}), to, false);
    assert_eq!(settle(&place, &update).await, Settled::Unknown);
    place.emulator.fault(FaultRule::new(FaultKind::ResetAfter).action("UpdateService"));
    place.step(&plan, "update", &outputs).await.result.unwrap_err();
    assert!(matches!(settle(&place, &update).await, Settled::Applied(_)));
    assert_eq!(settle(&place, &shared).await, Settled::Unknown, "anybody can have written that");
    place.clock.sleep(Duration::from_secs(320)).await;
    assert_eq!(settle(&place, &shared).await, Settled::Unknown, "nor does time tell whose it is");
    let mut unmarked = register;
    unmarked.id = 9;
    assert_eq!(settle(&place, &unmarked).await, Settled::NotApplied, "that sending made none");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_not_there_may_have_been_written_over() {
    let place = place();
    let (plan, outputs) = registered(&place).await;
    place.clock.sleep(Duration::from_secs(10)).await;
    let signed = |mut intent: Intent| {
        intent.signed_at = place.clock.now();
        intent.late_bound = intent.signed_at.plus_ms(315_000);
        intent
    };
    let lost = signed(intent("update", json!({}), Some("elsewhere".into()), true));
    assert_eq!(settle(&place, &lost).await, Settled::Unknown, "it may still come");
    place.clock.sleep(Duration::from_secs(320)).await;
    assert_eq!(settle(&place, &lost).await, Settled::NotApplied, "its late bound has passed");
    let written_over = signed(intent("update", json!({}), Some("elsewhere".into()), true));
    place.step(&plan, "update", &outputs).await.result.unwrap();
    place.clock.sleep(Duration::from_secs(320)).await;
    assert_eq!(settle(&place, &written_over).await, Settled::Unknown, "another deployment came after it");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_lands_late_is_seen_after_going_back() {
    let place = place();
    let (plan, mut outputs) = registered(&place).await;
    place.emulator.fault(FaultRule::new(FaultKind::LateApply(60_000)).action("UpdateService"));
    place.step(&plan, "update", &outputs).await.result.unwrap_err();
    place.done(&plan, "back", &mut outputs).await;
    let scope = place.scope(&plan, "back", &outputs);
    assert_eq!(place.watch(&scope, 30).await.seen.motion, Motion::Done);
    place.clock.sleep(Duration::from_secs(70)).await;
    let seen = place.service.observe(&scope).await.unwrap();
    let new = place.scope(&plan, "update", &outputs);
    assert_eq!(Some(&seen.declared), new.declared(), "the machine counts it as ours: {seen:?}");
    assert_ne!(seen.motion, Motion::Done, "and what it says is not where this scope should be");
    let late = place.emulator.calls().iter().filter(|call| call.outcome == CallOutcome::Done).count();
    assert!(late > 0);
}
