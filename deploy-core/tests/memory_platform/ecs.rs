//! Nothing can be compared, reads can be stale, the platform goes back by itself.

use deploy_core::{
    Platform,
    context::Outputs,
    error::ErrorKind,
    memory::{Fault, Shape, WriteKind, Writer},
    model::{Counts, FaultClass, Motion, Scope},
    platform::{Settled, Versions},
};

use crate::support::{bench, bench_with, release};

#[tokio::test(start_paused = true)]
async fn a_late_call_lands_over_whatever_is_there() {
    let bench = bench(Shape::Ecs);
    let plan = bench.plan(&release("ok-1")).await.unwrap();
    let mut outputs = Outputs::new();
    bench.steps(&plan, &plan.steps[..1], &mut outputs).await.unwrap();
    bench.next("set", Fault::Late(200_000));
    let run = bench.step(&plan, "update", &outputs).await;
    let intent = bench.intent(&run.asked[0], 1);
    assert!(intent.exclusive && intent.to.is_some());
    assert_eq!(bench.settle(&plan, &intent).await.unwrap(), Settled::Unknown);
    assert_eq!(bench.place.versions(&plan).await.unwrap(), Versions::default());
    bench.seal(&plan, &Versions::default()).await.unwrap();

    bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
    bench.wait(100_000).await;
    assert_eq!(bench.look(&plan, "back-service", &outputs).await.motion, Motion::Done);
    bench.wait(110_000).await;
    let look = bench.look(&plan, "back-service", &outputs).await;
    // Ours, although it is not what was wanted: no foreign writer to give way to.
    assert_eq!((look.motion, Some(&look.declared)), (Motion::Progressing, intent.to.as_ref()));
    assert!(bench.world.writes().last().unwrap().late);
    let Settled::Applied(_) = bench.settle(&plan, &intent).await.unwrap() else {
        panic!("an exclusive value that is there was written by us");
    };
}

#[tokio::test(start_paused = true)]
async fn no_call_lands_after_its_late_bound() {
    for (late, lands) in [(309_000, true), (310_001, false), (400_000, false)] {
        let bench = bench(Shape::Ecs);
        let before = bench.world.declared("service");
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        let mut outputs = Outputs::new();
        bench.steps(&plan, &plan.steps[..1], &mut outputs).await.unwrap();
        bench.next("set", Fault::Late(late));
        assert!(bench.step(&plan, "update", &outputs).await.result.is_err());
        bench.wait(late + 1_000).await;
        assert_eq!(bench.world.declared("service") != before, lands, "{late}");
        assert_eq!(bench.world.rejected().len(), usize::from(!lands), "{late}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_from_a_wrong_clock_is_refused() {
    for jump in [-400_000, 400_000] {
        let bench = bench(Shape::Ecs);
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        bench.clock.jump(jump);
        let run = bench.step(&plan, "register", &Outputs::new()).await;
        assert_eq!(run.result.unwrap_err().kind(), deploy_core::ErrorKind::Unauthenticated);
        assert!(bench.world.writes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_are_seen_through() {
    let bench = bench(Shape::Ecs);
    let (plan, outputs) = bench.deploy("ok-1").await.unwrap();
    let want = bench.world.serving();
    bench.world.faults(|call| if call.read { Fault::StaleRead(5_000) } else { Fault::None });
    // This deployer knows better than what it is shown: it neither believes it nor plans from it.
    let toward = bench.place.scope(&plan, &"watch-service".into(), &outputs).unwrap();
    let holding = Scope::Holding { component: "service".into(), revision: want.clone() };
    for scope in [&toward, &holding] {
        let error = bench.place.observe(scope).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{scope:?}");
    }
    assert!(bench.place.inspect().await.is_err());
    // One that has seen nothing yet cannot know, but for what a step has told it, until what is shown is new enough.
    let other = bench.successor();
    assert_ne!(other.place.inspect().await.unwrap().serving, want);
    assert!(other.place.observe(&toward).await.is_err());
    bench.wait(30_000).await;
    assert_eq!(bench.look(&plan, "watch-service", &outputs).await.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn the_platform_goes_back_by_itself() {
    let bench = bench(Shape::Ecs);
    let before = bench.world.serving();
    let (plan, outputs) = bench.deploy("platform-revert-1").await.unwrap();
    bench.wait(20_000).await;
    let look = bench.look(&plan, "watch-service", &outputs).await;
    assert_eq!(look.motion, Motion::Progressing);
    assert_eq!(look.counts, Some(Counts::new(2, 2, 0, 2)));
    assert_eq!(look.signals[0].class, FaultClass::Crash);
    bench.wait(15_500).await;
    let look = bench.look(&plan, "watch-service", &outputs).await;
    let to = Some(before.clone());
    assert_eq!(look.motion, Motion::PlatformRevert { to: to.clone(), ended: false });
    bench.wait(10_000).await;
    let look = bench.look(&plan, "watch-service", &outputs).await;
    assert_eq!(look.motion, Motion::PlatformRevert { to, ended: true });
    assert_eq!(bench.world.serving(), before);
    let last = bench.world.writes().pop().unwrap();
    assert_eq!((last.kind, last.by), (WriteKind::Revert, Writer::Platform));
    // With our own way back there is nothing left to revert, and it is ours to watch.
    assert_eq!(bench.hold("service", &before).await.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn behaviours_show_as_the_words_say() {
    let cases = [
        ("crash-1", 25_000, Some(FaultClass::Crash), true),
        ("nopull-1", 1_000, Some(FaultClass::Image), true),
        ("unhealthy-1", 25_000, Some(FaultClass::Unhealthy), true),
        ("slow-1", 60_000, None, false),
        ("flaky-1", 20_000, None, false),
        ("flaky-1", 45_000, Some(FaultClass::Crash), true),
    ];
    for (tag, after, class, decides) in cases {
        let bench = bench(Shape::Ecs);
        let (plan, outputs) = bench.deploy(tag).await.unwrap();
        bench.wait(after).await;
        let look = bench.look(&plan, "watch-service", &outputs).await;
        assert_eq!(look.signals.first().map(|signal| signal.class), class, "{tag}");
        assert_eq!(look.signals.iter().any(deploy_core::model::Signal::decides), decides, "{tag}");
        if let Some(instance) = look.instances.first() {
            let lines = bench.place.logs().unwrap().tail(&instance.id, 2).await.unwrap();
            assert_eq!(lines.is_empty(), tag.starts_with("nopull"), "{tag} {}", instance.id);
        }
        let done = look.motion == Motion::Done;
        assert_eq!(done, tag.starts_with("flaky") && after < 40_000, "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn registering_again_gives_the_same_revision() {
    let bench = bench_with(Shape::Ecs, |options| options.desired = 3);
    let plan = bench.plan(&release("ok-1")).await.unwrap();
    bench.next("register", Fault::ResetAfter);
    let lost = bench.step(&plan, "register", &Outputs::new()).await;
    assert!(lost.result.is_err());
    let settled = bench.settle(&plan, &bench.intent(&lost.asked[0], 1)).await.unwrap();
    let again = bench.step(&plan, "register", &Outputs::new()).await.result.unwrap();
    assert_eq!(settled, Settled::Applied(again));
    let made = bench.world.writes().iter().filter(|write| write.changed).count();
    assert_eq!(made, 1);
}
