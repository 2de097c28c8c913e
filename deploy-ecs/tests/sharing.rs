//! What ten services of a cluster cost that are rolled at the same time, and how soon each end is told.

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::place_of;
use deploy_core::{
    Deployer, Platform,
    clock::{Clock, SeededRandom},
    event::EventKind,
    model::{Ended, Motion, Release, Scope},
    state::{
        journal::{Fact, StepState},
        stores::memory::MemoryStore,
    },
};
use deploy_ecs::emulator::{Config, FaultKind, FaultRule, Seed, Timings};
use serde_json::json;

/// A rollout that takes about five minutes: Fargate's times, behind a load balancer that drains for three.
fn five_minutes() -> Config {
    let timings = Timings { drain_ms: 110_000, ..Timings::fargate() };
    Config { timings, ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn ten_services_cost_what_one_costs() {
    let place = place_of(five_minutes(), |seed| seed.target_group(8080));
    let names: Vec<String> = (0..10).map(|number| format!("api-{number}")).collect();
    for name in &names {
        let image = place.emulator.image("shop-api", "ok-1");
        let seed = Seed::new("prod-website", name, &format!("{name}-task"), "api", &image, 2);
        place.emulator.seed(&seed.target_group(8080)).expect("a service");
    }
    place.emulator.reset_calls();
    let api = Deployer::new(MemoryStore::new()).clock((*place.clock).clone()).random(SeededRandom::new(7));
    let mut rollouts = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let target = api
            .target(name.as_str(), "production", place.ecs.service("prod-website", name))
            .bake(Duration::from_secs(1));
        let release = Release::of_what_runs().image("api", place.emulator.image("shop-api", "ok-2"));
        rollouts.push(target.deploy(release).start().await.expect("a start"));
        // People do not press ten buttons in the same instant.
        place.clock.sleep(Duration::from_millis(137 * (number as u64 % 4))).await;
    }
    let mut told = BTreeMap::new();
    for rollout in &rollouts {
        let mut events = rollout.events();
        while let Some(event) = events.next().await {
            if let EventKind::Fact(fact) = &event.kind
                && let Fact::Step { step, state: StepState::Done, .. } = &**fact
                && step.as_str() == "watch"
            {
                told.insert(rollout.target().app().to_owned(), event.at.as_millis());
            }
        }
        let outcome = rollout.outcome().await.expect("an outcome");
        assert_eq!(outcome.ended, Ended::Succeeded { changed: true }, "{outcome:?}");
    }
    let calls = place.emulator.calls();
    let updated = calls.iter().filter(|call| call.action == "UpdateService").map(|call| call.at_ms).max();
    let updated = updated.expect("updates");
    let last = *told.values().max().expect("ends");
    let watching = calls.iter().filter(|call| call.at_ms > updated && call.at_ms <= last).count();
    let minutes = (last - updated) as f64 / 60_000.0;
    let mut by: BTreeMap<(String, i64), u32> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.at_ms > updated && call.at_ms <= last) {
        *by.entry((call.action.clone(), (call.at_ms - updated) / 30_000)).or_default() += 1;
    }
    println!("{by:?}");
    println!("{watching} reads in {minutes:.1} min: {:?}", place.emulator.counts());
    assert!((4.5..6.0).contains(&minutes), "{minutes}");
    assert!(watching as f64 <= 15.0 * minutes, "at most 75 in five minutes: {watching} in {minutes:.1} min");
    for name in &names {
        let body = json!({"cluster": "prod-website", "service": name});
        let listed = place.ecs("ListServiceDeployments", &body);
        let finished = listed["serviceDeployments"][0]["finishedAt"].as_f64().expect("a time");
        let late = told[name] as f64 / 1_000.0 - finished;
        assert!((0.0..=5.0).contains(&late), "{name} is told {late:.1} s late: {listed}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_look_is_shared_and_never_told_twice_to_the_same() {
    let place = place_of(Config::default(), |seed| seed);
    let image = place.emulator.image("shop-api", "ok-1");
    place
        .emulator
        .seed(&Seed::new("prod-website", "other", "other-task", "api", &image, 1))
        .expect("a service");
    let other = place.ecs.service("prod-website", "other");
    let scope_of = async |service: &deploy_ecs::Service| {
        let revision = service.inspect().await.expect("a look").serving;
        Scope::Holding { component: "service".into(), revision }
    };
    let (here, there) = (scope_of(&place.service).await, scope_of(&other).await);
    place.emulator.reset_calls();
    let looks = || place.emulator.counts().of("DescribeServices");
    assert_eq!(place.service.observe(&here).await.expect("a look").motion, Motion::Done);
    assert_eq!(other.observe(&there).await.expect("a look").motion, Motion::Done);
    assert_eq!(looks(), 2, "nobody knew that the other would be watched");
    place.clock.sleep(Duration::from_secs(5)).await;
    let first = place.service.observe(&here).await.expect("a look");
    place.clock.sleep(Duration::from_secs(1)).await;
    let second = other.observe(&there).await.expect("a look");
    assert_eq!(looks(), 3, "one for both");
    assert_eq!(first.at, second.at, "told with its own time");
    let ahead = first.look_again_ms - second.look_again_ms;
    assert!((950..=1_050).contains(&ahead), "in step from then on, but for what the call took: {ahead}");
    other.observe(&there).await.expect("a look");
    assert_eq!(looks(), 4, "the same look again would tell nothing");
    place.clock.sleep(Duration::from_secs(70)).await;
    place.emulator.fault(FaultRule::new(FaultKind::AccessDenied403).action("DescribeServices"));
    place.service.observe(&here).await.unwrap_err();
    place.service.observe(&here).await.expect("the next one");
}

#[tokio::test(start_paused = true)]
async fn who_may_see_one_service_only_sees_that_one() {
    let place = place_of(Config::default(), |seed| seed);
    let gone = place.ecs.service("prod-website", "no-such");
    let revision = place.service.inspect().await.expect("a look").serving;
    let scope = Scope::Holding { component: "service".into(), revision };
    gone.observe(&scope).await.unwrap_err();
    place.clock.sleep(Duration::from_secs(5)).await;
    place.service.observe(&scope).await.expect("one that is not there does not hide the others");
    place.clock.sleep(Duration::from_secs(5)).await;
    // Both are asked for, and refused; then the one that is wanted alone.
    place.emulator.fault(FaultRule::new(FaultKind::AccessDenied403).action("DescribeServices"));
    place.emulator.reset_calls();
    place.service.observe(&scope).await.expect("alone");
    assert_eq!(place.emulator.counts().of("DescribeServices"), 2);
}
