//! Steps of the user's own around a platform's: their order, their undo, and what becomes of them when something fails.

mod support;

use std::time::Duration;

use deploy_core::{
    ErrorKind,
    clock::Clock,
    memory::Shape,
    model::{Ended, Outcome, RolledBackBy, StepKind},
};

use support::{Bench, Does, Extra, asked, release};

const SHAPES: [Shape; 2] = [Shape::Ecs, Shape::Kubernetes];

/// `before`, the platform's own, `first` and `second`, all compensated.
fn three(bench: &Bench) -> deploy_core::Target {
    let place = bench.place().before(Extra::compensated("before")).after(Extra::compensated("first"));
    bench.target("one", place.after(Extra::compensated("second")))
}

async fn deploy(target: &deploy_core::Target, tag: &str) -> Outcome {
    target.deploy(release(tag)).start().await.unwrap().outcome().await.unwrap()
}

fn back() -> Ended {
    Ended::RolledBack { by: RolledBackBy::Us }
}

#[tokio::test(start_paused = true)]
async fn they_are_run_around_what_the_platform_does() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let (old, target) = (bench.world.declared("service"), three(&bench));
        let plan = target.deploy(release("ok-1")).plan().await.unwrap();
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!((ids.first(), ids.last()), (Some(&"before"), Some(&"second")), "{ids:?}");
        assert!(ids.len() > 3 && plan.steps[ids.len() - 3].kind == StepKind::Await, "{ids:?}");
        assert!(deploy(&target, "ok-1").await.is_success());
        let ran = bench.runner.ran.lock().unwrap().clone();
        let names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["before", "first", "second"]);
        assert_eq!(ran[0].1, old, "the first one came after a mutation");
        assert_ne!(ran[1].1, old, "the second one came before it");
        // What runs already is not done again.
        assert!(deploy(&target, "ok-1").await.is_success());
        assert_eq!(bench.runner.names().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_made_up_for_after_the_place_is_back() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let (old, target) = (bench.world.declared("service"), three(&bench));
        bench.runner.then("second", [Does::Fails]);
        let outcome = deploy(&target, "ok-1").await;
        assert_eq!(outcome.ended, back(), "{outcome:?}");
        assert!(outcome.owed.is_empty() && !outcome.needs_person(), "{outcome:?}");
        let cause = outcome.cause.unwrap();
        assert!(cause.text.contains("second says that it failed"), "{cause:?}");
        let ran = bench.runner.ran.lock().unwrap().clone();
        let names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["before", "first", "second", "undo-second", "undo-first", "undo-before"]);
        assert!(ran[3..].iter().all(|(_, declared)| *declared == old), "{ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_nothing_has_nothing_to_be_made_up_for() {
    let bench = Bench::new(Shape::Kubernetes);
    let target = three(&bench);
    bench.runner.then("before", [Does::Refused]);
    let outcome = deploy(&target, "ok-1").await;
    assert_eq!(outcome.ended, Ended::Failed, "{outcome:?}");
    assert_eq!(bench.runner.names(), ["before"]);
    assert!(bench.world.writes().is_empty() && outcome.owed.is_empty());
    bench.runner.then("first", [Does::Refused]);
    assert_eq!(deploy(&target, "ok-2").await.ended, back());
    assert_eq!(bench.runner.names()[1..], ["before", "first", "undo-before"]);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_by_itself_is_made_up_for_too() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let outcome = deploy(&three(&bench), "crash-1").await;
        assert_eq!(outcome.ended, back(), "{outcome:?}");
        assert_eq!(bench.runner.names(), ["before", "undo-before"]);
    }
    // And where the platform itself goes back.
    let bench = Bench::new(Shape::Ecs);
    let outcome = deploy(&three(&bench), "platform-revert-1").await;
    assert!(matches!(outcome.ended, Ended::RolledBack { .. }), "{outcome:?}");
    assert_eq!(bench.runner.names(), ["before", "undo-before"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_make_up_for_is_owed() {
    let bench = Bench::new(Shape::Kubernetes);
    let (old, target) = (bench.revision(), three(&bench));
    bench.runner.then("second", [Does::Fails]);
    bench.runner.then("undo-second", [Does::Fails; 9]);
    let outcome = deploy(&target, "ok-1").await;
    assert_eq!(outcome.ended, back(), "{outcome:?}");
    assert_eq!(bench.revision(), old);
    assert!(outcome.owed.len() == 1 && outcome.owed[0].contains("second"), "{outcome:?}");
    assert!(outcome.needs_person(), "{outcome:?}");
    let names = bench.runner.names();
    assert_eq!(names[3..], ["undo-second", "undo-second", "undo-second", "undo-first", "undo-before"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_run_is_no_late_request() {
    for shape in [Shape::Ecs, Shape::Kubernetes, Shape::Vapor] {
        let bench = Bench::new(shape);
        let place = bench.place().before(Extra::compensated("long").once());
        bench.runner.then("long", [Does::Works(500_000)]);
        let target = bench.target("one", place);
        let outcome = deploy(&target, "ok-1").await;
        assert!(outcome.is_success() && outcome.owed.is_empty(), "{shape:?}: {outcome:?}");
        assert_eq!(bench.runner.names(), ["long"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_not_happen_twice_does_not_and_is_owed() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let old = bench.revision();
        let place = bench.place().after(Extra::compensated("publish").once());
        bench.runner.then("publish", [Does::NoAnswer]);
        let target = bench.target("one", place);
        let rollout = target.deploy(release("ok-1")).start().await.unwrap();
        let outcome = rollout.outcome().await.unwrap();
        assert_eq!(outcome.ended, back(), "{outcome:?}");
        assert_eq!(bench.revision(), old);
        assert_eq!(bench.runner.names(), ["publish", "undo-publish"]);
        assert_eq!(asked(&target.journal(rollout.id().as_str()).await.unwrap(), "publish"), 1);
        assert!(outcome.owed.iter().any(|owed| owed.contains("publish")), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_be_seen_to_have_worked_is_settled() {
    let bench = Bench::new(Shape::Kubernetes);
    let place = bench.place().after(Extra::compensated("publish").once());
    bench.runner.then("publish", [Does::NoAnswer]);
    *bench.runner.settles.lock().unwrap() = Some(true);
    let outcome = deploy(&bench.target("one", place), "ok-1").await;
    assert!(outcome.is_success() && outcome.owed.is_empty(), "{outcome:?}");
    assert_eq!(bench.runner.names(), ["publish"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let place = bench.place().after(Extra::compensated("push"));
        bench.runner.then("push", [Does::NoAnswer, Does::NoAnswer]);
        let outcome = deploy(&bench.target("one", place), "ok-1").await;
        assert!(outcome.is_success() && outcome.owed.is_empty(), "{outcome:?}");
        assert_eq!(bench.runner.names(), ["push", "push", "push"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_cuts_a_run_off_and_does_not_wait_for_its_time() {
    for shape in SHAPES {
        let bench = Bench::new(shape);
        let place = bench.place().before(Extra::compensated("long").once());
        bench.runner.then("long", [Does::Hangs]);
        let target = bench.target("one", place);
        let rollout = target.deploy(release("ok-1")).start().await.unwrap();
        bench.sleep(120).await;
        assert_eq!(bench.runner.names(), ["long"]);
        let aborted = bench.clock.elapsed();
        rollout.abort("wrong branch").await.unwrap();
        let outcome = rollout.outcome().await.unwrap();
        assert_eq!(outcome.ended, Ended::Aborted, "{outcome:?}");
        let took = bench.clock.elapsed() - aborted;
        // On ECS a call that was signed at its beginning is waited for; the ten minutes of the run are not.
        assert!(took < Duration::from_secs(300), "{shape:?}: {took:?}");
        assert_eq!(bench.runner.names(), ["long", "undo-long"]);
        assert!(outcome.owed.iter().any(|owed| owed.contains("long")), "{outcome:?}");
        assert!(bench.world.writes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_what_may_be_left_and_not_for_its_time() {
    for once in [true, false] {
        let bench = Bench::new(Shape::Kubernetes);
        let extra = || if once { Extra::compensated("long").once() } else { Extra::compensated("long") };
        bench.runner.then("long", [Does::Hangs]);
        let first = bench.target("one", bench.place().before(extra()));
        let rollout = first.deploy(release("ok-1")).start().await.unwrap();
        bench.sleep(30).await;
        rollout.leave();
        rollout.outcome().await.unwrap_err();
        let second = bench.target("second", bench.place().before(extra()));
        let (left, ran) = (bench.clock.elapsed(), bench.runner.ran.clone());
        let resumed = second.resume().await.unwrap().unwrap();
        let clock = bench.clock.clone();
        let next = async move {
            while ran.lock().unwrap().len() < 2 {
                clock.sleep(Duration::from_millis(100)).await;
            }
            clock.elapsed() - left
        };
        let (waited, outcome) = tokio::join!(next, resumed.outcome());
        let outcome = outcome.unwrap();
        assert!(waited >= Duration::from_secs(20) && waited < Duration::from_secs(60), "{once}: {waited:?}");
        if once {
            assert_eq!(bench.runner.names(), ["long", "undo-long"]);
            assert!(outcome.owed.iter().any(|owed| owed.contains("long")), "{outcome:?}");
        } else {
            assert_eq!(bench.runner.names(), ["long", "long"]);
            assert!(outcome.is_success(), "{outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_runner_says_so_before_it_takes_the_lease() {
    let bench = Bench::new(Shape::Kubernetes);
    let without = bench.bare().before(Extra::compensated("long"));
    let error = bench.target("none", without).deploy(release("ok-1")).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    bench.runner.then("long", [Does::Hangs]);
    let target = bench.target("one", bench.place().before(Extra::compensated("long")));
    let rollout = target.deploy(release("ok-1")).start().await.unwrap();
    bench.sleep(5).await;
    rollout.leave();
    rollout.outcome().await.unwrap_err();
    let error = bench.target("none", bench.bare()).resume().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("long"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stored_plan_makes_nobody_run_what_he_would_not_plan_himself() {
    let without = |bench: &Bench| bench.place();
    let other = |bench: &Bench| bench.place().before(Extra::compensated("long").once());
    for place in [&without as &dyn Fn(&Bench) -> _, &other] {
        let bench = Bench::new(Shape::Kubernetes);
        bench.runner.then("long", [Does::Hangs]);
        let target = bench.target("one", bench.place().before(Extra::compensated("long")));
        let rollout = target.deploy(release("ok-1")).start().await.unwrap();
        bench.sleep(5).await;
        rollout.leave();
        rollout.outcome().await.unwrap_err();
        let resumed = bench.target("second", place(&bench)).resume().await.unwrap().unwrap();
        let outcome = resumed.outcome().await.unwrap();
        assert_eq!(outcome.ended, back(), "{outcome:?}");
        assert!(outcome.cause.unwrap().text.contains("not what this process is set up to run"));
        let undone = bench.runner.names();
        // The other one has the same compensation.
        let owed = undone == ["long"] && outcome.owed.iter().any(|owed| owed.contains("long"));
        assert!(owed || undone == ["long", "undo-long"], "{undone:?}, {:?}", outcome.owed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hold_refuses_it() {
    let bench = Bench::new(Shape::Kubernetes);
    let extra = Extra::compensated("publish");
    let target = bench.target("one", bench.place().after(extra.clone()));
    extra.holds.lock().unwrap().push_back(false);
    let outcome = deploy(&target, "ok-1").await;
    assert_eq!(outcome.ended, Ended::Refused, "{outcome:?}");
    let text = outcome.cause.as_ref().unwrap().text.clone();
    assert!(text.contains("publish") && text.contains("not clean"), "{text}");
    assert!(outcome.next.contains(&"commit it".to_owned()), "{outcome:?}");
    // It held when the plan was made, and does not right before the step.
    extra.holds.lock().unwrap().extend([true, false]);
    let outcome = deploy(&target, "ok-1").await;
    assert_eq!(outcome.ended, back(), "{outcome:?}");
    assert!(bench.runner.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let bench = Bench::new(Shape::Kubernetes);
    for name in ["service", "twice"] {
        let place = bench.place().before(Extra::compensated("twice")).after(Extra::compensated(name));
        let error = bench.target("one", place).deploy(release("ok-1")).plan().await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_runs_none_and_says_so() {
    let bench = Bench::new(Shape::Kubernetes);
    let target = three(&bench);
    for tag in ["ok-1", "ok-2"] {
        assert!(deploy(&target, tag).await.is_success());
    }
    let ran = bench.runner.names().len();
    let plan = target.rollback().plan().await.unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("before, first, second")), "{:?}", plan.notes);
    assert!(target.rollback().run().await.is_ok());
    assert_eq!(bench.runner.names().len(), ran);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_restored_is_said_and_what_is_run_is_approved() {
    let bench = Bench::new(Shape::Kubernetes);
    let with = |extra: Extra| {
        let target = bench.target("one", bench.place().after(extra));
        async move { target.deploy(release("ok-1")).plan().await.unwrap() }
    };
    let plan = with(Extra::final_because("publish", "a version is published once")).await;
    assert!(plan.way_back.not_restored.iter().any(|words| words.contains("published once")));
    assert!(!plan.capabilities.at_most_once);
    let once = with(Extra::final_because("publish", "a version is published once").once()).await;
    assert!(once.capabilities.at_most_once);
    assert_ne!(plan.approval_hash(), once.approval_hash(), "what is told to the runner is not approved");
}
