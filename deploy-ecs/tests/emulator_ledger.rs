//! The emulator's ground truth: what has changed, who did it, and what arrives when nobody waits any more.

mod common;

use std::time::Duration;

use common::{Place, place, place_of};
use deploy_core::{Platform, clock::Clock, model::StepId};
use deploy_ecs::emulator::{Change, ChangeKind, Config, FaultKind, FaultRule};
use serde_json::json;

fn changes(place: &Place) -> Vec<Change> {
    place.emulator.with(|world| world.changes().to_vec())
}

fn set_to(place: &Place, task_definition: &str) {
    let body = json!({"cluster": "prod-website", "service": "prod-api", "taskDefinition": task_definition});
    place.ecs("UpdateService", &body);
}

fn declared(place: &Place) -> String {
    let answer = place.ecs("DescribeServices", &json!({"cluster": "prod-website", "services": ["prod-api"]}));
    answer["services"][0]["taskDefinition"].as_str().unwrap_or_default().to_owned()
}

async fn pass(place: &Place, seconds: u64) {
    place.clock.sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_written_down_with_who_made_them() {
    let place = place();
    let before = changes(&place).len();
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    place.forward(&plan).await;
    set_to(&place, "prod-api-task:2");
    set_to(&place, "prod-api-task:1");
    let seen = changes(&place).split_off(before);
    let what: Vec<_> = seen.iter().map(|one| (one.kind, one.task_definition.as_str(), one.changed)).collect();
    assert_eq!(
        what,
        [
            (ChangeKind::Registered, "prod-api-task:2", true),
            (ChangeKind::Updated, "prod-api-task:2", true),
            (ChangeKind::Updated, "prod-api-task:2", false),
            (ChangeKind::Updated, "prod-api-task:1", true),
        ]
    );
    // The deploy, the intent and the fence that each of our calls was made under; nothing of that in theirs.
    assert!(seen[0].agent.ends_with(" deploy-kit/0000000000-1#1"), "{}", seen[0].agent);
    assert!(seen[1].agent.ends_with(" deploy-kit/0000000000-1#1"), "{}", seen[1].agent);
    assert_eq!((seen[2].agent.as_str(), seen[2].service.as_str()), ("", "prod-website/prod-api"));
    assert!(seen.iter().all(|one| !one.late), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn what_ecs_does_by_itself_is_written_down_too() {
    // Capacity is looked for again and again without any back-off, so the breaker trips soon.
    let place = place_of(Config::default(), |seed| seed.breaker(true));
    let plan = place.plan(&place.image("nocapacity")).await.unwrap();
    place.forward(&plan).await;
    pass(&place, 8).await;
    let last = changes(&place).pop().unwrap();
    assert_eq!((last.kind, last.task_definition.as_str()), (ChangeKind::RolledBack, "prod-api-task:1"));
    assert!(last.changed && last.agent.is_empty(), "{last:?}");
    assert!(declared(&place).ends_with("prod-api-task:1"));
}

#[tokio::test(start_paused = true)]
async fn a_late_call_lands_while_its_signature_is_honoured_and_not_after() {
    for (late_s, lands) in [(250, true), (301, false)] {
        let place = place();
        let plan = place.plan(&place.image("ok-2")).await.unwrap();
        let mut outputs = deploy_core::context::Outputs::new();
        place.done(&plan, "register", &mut outputs).await;
        place.emulator.fault(FaultRule::new(FaultKind::LateApply(late_s * 1_000)).action("UpdateService"));
        place.step(&plan, "update", &outputs).await.result.unwrap_err();
        assert_eq!(place.emulator.with(|world| world.under_way()), 1);
        pass(&place, 400).await;
        assert_eq!(declared(&place).ends_with("prod-api-task:2"), lands, "{late_s} s late");
        let last = changes(&place).pop().unwrap();
        assert_eq!(last.late, lands, "{late_s} s late: {last:?}");
        assert_eq!(place.emulator.with(|world| world.under_way()), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_takes_nothing_back() {
    let place = place_of(Config { latency_ms: 1_000, ..Config::default() }, |seed| seed);
    let plan = place.plan(&place.image("ok-2")).await.unwrap();
    let mut outputs = deploy_core::context::Outputs::new();
    place.done(&plan, "register", &mut outputs).await;
    let update = StepId::from("update");
    // Its look takes a second, and half a second later the update arrives: it gives up in between.
    let given_up =
        tokio::time::timeout(Duration::from_millis(1_200), place.step(&plan, "update", &outputs)).await;
    assert!(given_up.is_err(), "{update} was answered");
    assert!(declared(&place).ends_with("prod-api-task:1"), "not yet");
    pass(&place, 2).await;
    assert!(declared(&place).ends_with("prod-api-task:2"), "it was on its way");
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_shows_what_was_before_the_updates_it_has_not_seen() {
    let place = place();
    for image in ["ok-2", "ok-3"] {
        let plan = place.plan(&place.image(image)).await.unwrap();
        place.forward(&plan).await;
        pass(&place, 5).await;
    }
    for (lag_s, expected) in [(1, "prod-api-task:3"), (7, "prod-api-task:2"), (60, "prod-api-task:1")] {
        let stale = FaultRule::new(FaultKind::StaleRead(lag_s * 1_000)).action("DescribeServices");
        place.emulator.fault(stale);
        let seen = place.service.inspect().await.unwrap();
        assert_eq!(seen.serving.name, expected, "{lag_s} s behind");
        assert_eq!(place.service.inspect().await.unwrap().serving.name, "prod-api-task:3");
    }
}
