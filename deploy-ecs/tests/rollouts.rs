//! Whole deploys: the real driver, the real SDK, the emulator, virtual time.

mod common;

use std::time::Duration;

use common::{Place, place, place_of};
use deploy_core::{
    Deployer, Target,
    clock::SeededRandom,
    model::{Ended, Outcome, Release, RolledBackBy},
    state::stores::memory::MemoryStore,
};
use deploy_ecs::emulator::{Config, FaultKind, FaultRule};

fn target(place: &Place) -> Target {
    Deployer::new(MemoryStore::new())
        .clock((*place.clock).clone())
        .random(SeededRandom::new(7))
        .target("prod-api", "production", place.service.clone())
        .bake(Duration::from_secs(120))
}

async fn deploy(place: &Place, tag: &str) -> Outcome {
    let release = Release::of_what_runs().image("api", place.emulator.image("shop-api", tag));
    let rollout = target(place).deploy(release).start().await.expect("a start");
    rollout.outcome().await.expect("an outcome")
}

fn serves(place: &Place) -> String {
    let body = serde_json::json!({"cluster": "prod-website", "services": ["prod-api"]});
    let answer = place.ecs("DescribeServices", &body);
    let arn = answer["services"][0]["taskDefinition"].as_str().unwrap_or_default();
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_good_release_succeeds() {
    let place = place();
    let outcome = deploy(&place, "ok-2").await;
    assert_eq!(outcome.ended, Ended::Succeeded { changed: true }, "{outcome:?}");
    assert_eq!(serves(&place), "prod-api-task:2");
    assert_eq!(place.emulator.counts().mutating(), 2, "{:?}", place.emulator.counts());
}

#[tokio::test(start_paused = true)]
async fn bad_releases_are_rolled_back_by_us() {
    for tag in ["crash", "nopull", "oom", "badcmd", "nosecret", "flaky"] {
        let place = place();
        let outcome = deploy(&place, tag).await;
        assert_eq!(outcome.ended, Ended::RolledBack { by: RolledBackBy::Us }, "{tag}: {outcome:?}");
        assert_eq!(serves(&place), "prod-api-task:1", "{tag}");
        assert_eq!(place.emulator.counts().mutating(), 3, "{tag}: {:?}", place.emulator.counts());
    }
}

#[tokio::test(start_paused = true)]
async fn unhealthy_behind_a_load_balancer_is_rolled_back() {
    let place = place_of(Config::default(), |seed| seed.target_group(8080));
    let outcome = deploy(&place, "unhealthy").await;
    assert!(matches!(outcome.ended, Ended::RolledBack { .. }), "{outcome:?}");
    assert_eq!(serves(&place), "prod-api-task:1");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_and_we_do_not_fight() {
    let place = place_of(Config::default(), |seed| seed.breaker(true));
    let outcome = deploy(&place, "crash").await;
    assert!(matches!(outcome.ended, Ended::RolledBack { .. }), "{outcome:?}");
    assert_eq!(serves(&place), "prod-api-task:1");
}

#[tokio::test(start_paused = true)]
async fn lost_and_late_answers_end_in_a_truth() {
    for (action, fault) in [
        ("UpdateService", FaultKind::ResetAfter),
        ("UpdateService", FaultKind::ResetBefore),
        ("UpdateService", FaultKind::LateApply(20_000)),
        ("UpdateService", FaultKind::Throttled),
        ("UpdateService", FaultKind::ServerError500),
        ("UpdateService", FaultKind::Malformed200),
        ("RegisterTaskDefinition", FaultKind::ResetAfter),
        ("RegisterTaskDefinition", FaultKind::Malformed200),
        ("RegisterTaskDefinition", FaultKind::Throttled),
        ("DescribeServices", FaultKind::ResetBefore),
    ] {
        let place = place();
        place.emulator.fault(FaultRule::new(fault).action(action));
        let outcome = deploy(&place, "ok-2").await;
        let expected = match outcome.ended {
            Ended::Succeeded { .. } => "prod-api-task:2",
            Ended::RolledBack { .. } => "prod-api-task:1",
            _ => panic!("{action} {fault:?}: {outcome:?}"),
        };
        let runs = serves(&place);
        assert_eq!(runs, expected, "{action} {fault:?}: {outcome:?}");
        let made = place.ecs("ListTaskDefinitions", &serde_json::json!({}));
        let made = made["taskDefinitionArns"].as_array().map(Vec::len);
        assert_eq!(made, Some(2), "{action} {fault:?}: what was made is found, not made again");
    }
}
