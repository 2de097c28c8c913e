//! A first look at the whole: deploys on the memory platform in all shapes.
use std::{sync::Arc, time::Duration};

use deploy_core::{
    Deployer,
    clock::{Clock, SeededRandom, TokioClock},
    memory::{MemoryPlace, Shape, Spec, World},
    model::{Release, Timestamp},
    state::stores::memory::MemoryStore,
};

fn setup(shape: Shape) -> (World, deploy_core::Target) {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let world = World::new(shape, Arc::new(clock.clone()));
    let deployer = Deployer::new(MemoryStore::new()).clock(clock).random(SeededRandom::new(1)).actor("test");
    let target =
        deployer.target("shop", "production", MemoryPlace::new(world.clone())).bake(Duration::from_secs(60));
    (world, target)
}

fn release(tag: &str) -> Release {
    let _ = Spec::tag(tag);
    Release::of_what_runs().image("app", format!("repo/app:{tag}"))
}

async fn deploy(target: &deploy_core::Target, tag: &str) -> deploy_core::model::Outcome {
    let rollout = target.deploy(release(tag)).start().await.unwrap();
    if let Ok(gate) = std::env::var("X") {
        let _ = gate;
    }
    let mut events = rollout.events();
    let r2 = rollout.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            println!("{:?} {} {:?} {:?}", event.seq, event.at, event.phase, event.kind);
            if let deploy_core::event::EventKind::Progress { seen, .. } = &event.kind {
                if matches!(seen.motion, deploy_core::model::Motion::Waiting(_)) {}
            }
        }
        let _ = r2;
    });
    let r3 = rollout.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if r3.promote().await.is_ok() {}
        }
    });
    let outcome = tokio::time::timeout(Duration::from_secs(3000), rollout.outcome())
        .await
        .expect("never ended")
        .unwrap();
    println!("{outcome}");
    outcome
}

async fn both(shape: Shape) {
    let (_world, target) = setup(shape);
    let good = deploy(&target, "ok-1").await;
    assert!(good.is_success(), "{good:?}");
    println!("----");
    let bad = deploy(&target, "crash-2").await;
    println!("{bad:?}");
    for d in target.history(10).await.unwrap() {
        println!("{d}");
    }
}

#[tokio::test(start_paused = true)]
async fn ecs() {
    both(Shape::Ecs).await
}
#[tokio::test(start_paused = true)]
async fn kubernetes() {
    both(Shape::Kubernetes).await
}
#[tokio::test(start_paused = true)]
async fn vapor() {
    both(Shape::Vapor).await
}
#[tokio::test(start_paused = true)]
async fn terraform() {
    both(Shape::Terraform).await
}
