//! Going on after trouble: each of these was found by simulation.

use std::{sync::Arc, time::Duration};

use deploy_core::{
    Deployer, Target,
    clock::{Clock, SeededRandom, TokioClock},
    memory::{Fault, MemoryPlace, Shape, World},
    model::{Ended, Outcome, Release, RolledBackBy, Timestamp},
    state::{
        head::Holder,
        journal::{DriverHow, Fact, StepState},
        process::{Alive, Liveness},
        stores::{
            faulty::{self, FaultyStore},
            memory::MemoryStore,
        },
    },
};

#[derive(Debug)]
struct AllAreHere;

impl Liveness for AllAreHere {
    fn of(&self, _holder: &Holder) -> Alive {
        Alive::Here
    }
}

fn release(tag: &str) -> Release {
    Release::of_what_runs().image("app", format!("repo/app:{tag}"))
}

fn setup(shape: Shape) -> (TokioClock, World, FaultyStore, Target) {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let world = World::new(shape, Arc::new(clock.clone()));
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), Arc::new(clock.clone()), |_| {
        faulty::Fault::None.with_delays(0, 5)
    });
    let deployer =
        Deployer::new(store.clone()).clock(clock.clone()).random(SeededRandom::new(1)).liveness(AllAreHere);
    let place = MemoryPlace::new(world.clone());
    let target = deployer.target("shop", "production", place).bake(Duration::from_secs(30));
    (clock, world, store, target)
}

/// A process that lives but whose driver has lost the lease must not be believed for ever.
#[tokio::test(start_paused = true)]
async fn a_living_process_without_a_driver_does_not_block_resume() {
    let (clock, _world, store, target) = setup(Shape::Kubernetes);
    let rollout = target.deploy(release("ok-1")).start().await.unwrap();
    clock.sleep(Duration::from_secs(3)).await;
    store.set_script(|_| faulty::Fault::Unavailable.with_delays(0, 5));
    rollout.outcome().await.unwrap_err();
    store.set_script(|_| faulty::Fault::None.with_delays(0, 5));
    let resumed = target.resume().await.unwrap().unwrap();
    assert!(resumed.outcome().await.unwrap().is_success());
}

/// An unanswered call that is harmless twice is sent again; settling it would never tell, and spin.
#[tokio::test(start_paused = true)]
async fn an_unanswered_registration_is_sent_again() {
    let (_clock, world, _store, target) = setup(Shape::Vapor);
    let lost = std::sync::atomic::AtomicBool::new(false);
    world.faults(move |call| {
        let first = call.what == "register" && !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
        if first { Fault::ResetBefore } else { Fault::None }
    });
    let counted = world.clone();
    let requests = move || counted.requests();
    let rollout = target.deploy(release("ok-1")).start().await.unwrap();
    assert!(rollout.outcome().await.unwrap().is_success());
    assert!(requests() < 200, "{}", requests());
}

/// Deploys, and confirms at the gate as a person would.
async fn deploy_and_confirm(clock: &TokioClock, target: &Target, tag: &str) -> (String, Outcome) {
    let rollout = target.deploy(release(tag)).start().await.unwrap();
    let confirming = async {
        loop {
            clock.sleep(Duration::from_secs(8)).await;
            let _ = rollout.promote().await;
        }
    };
    let outcome = tokio::select! {
        outcome = rollout.outcome() => outcome.unwrap(),
        () = confirming => unreachable!("it has no end"),
    };
    (rollout.id().to_string(), outcome)
}

/// Back to what is known good, where something else was the base: a run that was accepted is not declared yet, and is
/// waited for, not confirmed again and again in no time.
#[tokio::test(start_paused = true)]
async fn a_way_back_past_the_base_is_confirmed_once() {
    let (clock, world, _store, target) = setup(Shape::Terraform);
    let (_, good) = deploy_and_confirm(&clock, &target, "ok-1").await;
    assert!(good.is_success(), "{good:?}");
    world.foreign_write("branch", "ok-9").expect("somebody else's revision");
    clock.sleep(Duration::from_secs(20)).await;
    assert!(world.confirm_outside("ann"));
    clock.sleep(Duration::from_secs(60)).await;
    let (id, outcome) = deploy_and_confirm(&clock, &target, "nopull-1").await;
    assert_eq!(outcome.ended, Ended::RolledBack { by: RolledBackBy::Us }, "{outcome:?}");
    let journal = target.journal(&id).await.unwrap();
    let begun = journal.iter().filter(|entry| {
        matches!(&entry.fact, Fact::Step { step, state: StepState::Began, .. } if step.as_str() == "back-workspace")
    });
    let begun = begun.count();
    assert!((1..=4).contains(&begun), "begun {begun} times");
}

/// A person may break a lease; why is written down, without what must not be.
#[tokio::test(start_paused = true)]
async fn a_broken_lease_is_written_down_with_its_reason() {
    let (clock, world, store, target) = setup(Shape::Kubernetes);
    let rollout = target.deploy(release("ok-1")).start().await.unwrap();
    clock.sleep(Duration::from_secs(3)).await;
    let other = Deployer::new(store).clock(clock.clone()).random(SeededRandom::new(2)).liveness(AllAreHere);
    let other = other.target("shop", "production", MemoryPlace::new(world)).bake(Duration::from_secs(30));
    let reason = "its machine is gone, password=hunter2";
    let broken = other.break_lease(reason).await.unwrap().expect("it is unfinished");
    assert!(broken.outcome().await.unwrap().is_success());
    let journal = other.journal(&rollout.id().to_string()).await.unwrap();
    let reasons: Vec<_> = journal
        .iter()
        .filter_map(|entry| match &entry.fact {
            Fact::Driver { how: DriverHow::Broken, reason, .. } => reason.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 1, "{journal:?}");
    assert!(reasons[0].starts_with("its machine is gone") && !reasons[0].contains("hunter2"), "{reasons:?}");
}

/// A backend with a defect: the driver says what happened and leaves, and whoever comes next goes on.
#[tokio::test(start_paused = true)]
async fn a_platform_that_panics_ends_the_driver_and_not_the_deploy() {
    let (_clock, world, _store, target) = setup(Shape::Kubernetes);
    world.faults(|call| {
        assert_ne!(call.what, "set", "index out of bounds");
        Fault::None
    });
    let rollout = target.deploy(release("ok-1")).start().await.unwrap();
    let error = rollout.outcome().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("panicked") && text.contains("index out of bounds"), "{text}");
    world.faults(|_| Fault::None);
    let resumed = target.resume().await.unwrap().expect("it has not ended");
    assert!(resumed.outcome().await.unwrap().is_success());
}
