//! What a clean-up leaves for a target's way back.

use std::time::Duration;

use super::{fake_registry::MANIFEST, *};
use crate::{
    Deployer,
    clock::SeededRandom,
    image::{KeepReason, Retention},
    memory::{MemoryPlace, Shape, World, WorldOptions},
    model::{Ended, Release},
    state::stores::memory::MemoryStore,
};

#[tokio::test(start_paused = true)]
async fn what_a_target_may_go_back_to_stays() {
    let bench = Bench::new();
    let commits: Vec<String> = (0..5).map(|n| format!("{n}f2c1ab0").repeat(5)).collect();
    let digests: Vec<String> = (0..)
        .zip(&commits)
        .map(|(day, commit)| {
            let created = format!("2026-01-0{}T00:00:00Z", day + 1);
            let digest = bench.fake_registry.image(commit, "linux/amd64", Some(commit), &created);
            // A tag that says how the memory platform's image behaves.
            let text = bench.fake_registry.manifest_text(&digest);
            bench.fake_registry.put(&format!("ok-{day}"), MANIFEST, text);
            digest
        })
        .collect();
    let clock = bench.clock.clone();
    let mut options = WorldOptions::new(Shape::Ecs);
    options.initial.images = [("app".to_owned(), format!("{}:ok-0", repository()))].into();
    let world = World::with(Shape::Ecs, options, Arc::new(clock.clone()));
    let deployer = Deployer::new(MemoryStore::new()).clock(clock).random(SeededRandom::new(1));
    let target = deployer.target("shop", "production", MemoryPlace::new(world)).bake(Duration::from_secs(30));
    // What ran first, one by its tag, one by its digest that went wrong; one that was never deployed, and the newest.
    for image in [format!("{}:ok-1", repository()), format!("{}:crash@{}", repository(), digests[2])] {
        let release = Release::of_what_runs().image("app", image);
        let outcome = target.deploy(release).start().await.unwrap().outcome().await.unwrap();
        assert_ne!(outcome.ended, Ended::Refused, "{outcome:?}");
    }
    let needed = bench.registry.needed_by(&repository(), &target).await.unwrap();
    assert_eq!(needed.iter().collect::<Vec<_>>(), {
        let mut wanted = vec![&digests[0], &digests[1], &digests[2]];
        wanted.sort();
        wanted
    });
    let retention = Retention { newest: 1, younger_than: Duration::ZERO };
    let plan = bench.registry.plan_cleanup(&repository(), retention, &needed).await.unwrap();
    let gone: Vec<&String> = plan.delete.iter().map(|old| &old.digest).collect();
    assert_eq!(gone, [&digests[3]]);
    let kept = plan.keep.iter().filter(|kept| kept.reason == KeepReason::Needed).count();
    assert_eq!(kept, 3, "{plan:?}");
}
