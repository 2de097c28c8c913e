//! Looks that may be older than our own update, and looks that are not.

mod common;

use std::time::Duration;

use common::{Place, place, place_of};
use deploy_core::{
    Platform,
    clock::Clock,
    context::Outputs,
    model::{Component, Fingerprint, Motion, Plan, Scope},
};
use deploy_ecs::emulator::{Config, FaultKind, FaultRule};
use serde_json::json;

/// Our update, and somebody else's so many seconds later; then fifteen more have passed, not a minute in all.
async fn overtaken(place: &Place, after_s: u64) -> (Plan, Outputs, Fingerprint) {
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let outputs = place.forward(&plan).await;
    place.clock.sleep(Duration::from_secs(after_s)).await;
    let scope = place.scope(&plan, "update", &outputs);
    let seen = place.service.observe(&scope).await.unwrap();
    assert!(matches!(seen.motion, Motion::Progressing | Motion::Done), "{seen:?}");
    let container = json!({"name": "api", "image": place.emulator.image("shop-api", "ok-9")});
    place.ecs(
        "RegisterTaskDefinition",
        &json!({"family": "prod-api-task", "containerDefinitions": [container]}),
    );
    place.ecs(
        "UpdateService",
        &json!({"cluster": "prod-website", "service": "prod-api", "taskDefinition": "prod-api-task:3"}),
    );
    place.clock.sleep(Duration::from_secs(15)).await;
    let now = place.service.inspect().await.unwrap();
    assert_eq!(now.serving.name, "prod-api-task:3");
    (plan, outputs, now.declared[&Component::from("service")].clone())
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_our_deployment_does_not_hide_what_is_declared() {
    // With a load balancer's checks the old tasks are gone soon, and their deployment with them.
    let place = place_of(Config::default(), |seed| seed.target_group(8080));
    let (plan, _, theirs) = overtaken(&place, 35).await;
    let holding = Scope::Holding { component: Component::from("service"), revision: plan.base.clone() };
    let seen = place.service.observe(&holding).await.unwrap();
    assert_eq!(seen.declared, theirs, "where the base should be, somebody else's is: {seen:?}");
    assert_ne!(seen.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn who_comes_right_after_us_is_not_taken_for_an_old_look() {
    let place = place();
    let (plan, outputs, theirs) = overtaken(&place, 0).await;
    let seen = place.service.observe(&place.scope(&plan, "update", &outputs)).await.unwrap();
    assert_eq!(seen.declared, theirs, "{seen:?}");
    assert!(matches!(seen.motion, Motion::Foreign { .. }), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_older_than_our_update_still_says_nothing() {
    let place = place();
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let outputs = place.forward(&plan).await;
    let scope = place.scope(&plan, "update", &outputs);
    place.clock.sleep(Duration::from_secs(3)).await;
    place.emulator.fault(FaultRule::new(FaultKind::StaleRead(10_000)).action("DescribeServices"));
    let seen = place.service.observe(&scope).await.unwrap();
    assert_eq!(seen.motion, Motion::Progressing, "{seen:?}");
    assert_eq!(Some(&seen.declared), scope.declared(), "{seen:?}");
}
