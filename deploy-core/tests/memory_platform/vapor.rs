//! A group of pointers, and a hook that nobody can observe.

use deploy_core::{
    EffectState, ErrorKind,
    context::Outputs,
    memory::{Fault, Migration, Shape},
    model::{Motion, StepKind, Undo},
    platform::Settled,
    state::journal::Sending,
};

use crate::support::{bench, bench_with, release};

#[tokio::test(start_paused = true)]
async fn the_hook_is_sent_at_most_once_and_cannot_be_settled() {
    for (fault, ran) in [(Fault::ResetBefore, 0), (Fault::ResetAfter, 1), (Fault::Late(100_000), 1)] {
        let barrier = Migration::Barrier("0007_drop_name".into());
        let bench = bench_with(Shape::Vapor, |options| options.migration = barrier);
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        let hook = plan.step(&"hook".into()).unwrap();
        assert_eq!(hook.undo, Undo::Barrier { migration: "0007_drop_name".into() });
        let at = |id: &str| plan.steps.iter().position(|step| step.id.as_str() == id).unwrap();
        assert!(at("publish") < at("hook") && at("hook") < at("move-http"));
        bench.next("hook", fault);
        let run = bench.step(&plan, "hook", &Outputs::new()).await;
        assert_eq!(run.failed_effect(), Some(EffectState::Unknown));
        assert_eq!(run.asked[0].sending, Sending::AtMostOnce);
        let intent = bench.intent(&run.asked[0], 1);
        assert_eq!(bench.settle(&plan, &intent).await.unwrap(), Settled::Unknown);
        bench.wait(120_000).await;
        assert_eq!(bench.settle(&plan, &intent).await.unwrap(), Settled::Unknown);
        assert_eq!(bench.world.hooks_run(), ran, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_has_a_hook_only_where_there_is_one_to_run() {
    for (migration, hooks) in [(Migration::No, 0), (Migration::Harmless, 1)] {
        let bench = bench_with(Shape::Vapor, |options| options.migration = migration);
        let (plan, _) = bench.deploy("ok-1").await.unwrap();
        assert_eq!(bench.world.hooks_run(), hooks);
        let restore = bench.plan(&deploy_core::model::Goal::Restore(plan.base)).await.unwrap();
        assert!(restore.step(&"hook".into()).is_none() && restore.step(&"publish".into()).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn pointers_are_one_group_and_each_can_be_put_back() {
    let bench = bench(Shape::Vapor);
    let before = bench.world.serving();
    let plan = bench.plan(&release("ok-1")).await.unwrap();
    let grouped = plan.steps.iter().chain(&plan.way_back.steps).filter(|step| step.group.is_some());
    assert_eq!(grouped.count(), 6);
    let mut outputs = Outputs::new();
    let until_queue = plan.steps.iter().take_while(|step| step.id.as_str() != "move-queue");
    bench.steps(&plan, until_queue, &mut outputs).await.unwrap();
    assert_eq!(bench.world.serving().name, "v2+v1+v1");
    assert_eq!(bench.look(&plan, "move-queue", &outputs).await.motion, Motion::Progressing);
    bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
    bench.wait(5_000).await;
    assert_eq!(bench.world.serving(), before);
    // A place that is left mixed can be planned from, and is put together again.
    bench.world.foreign_write("cli", "ok-theirs");
    let plan = bench.plan(&release("ok-0")).await.unwrap();
    assert!(plan.changes_something());
    bench.steps(&plan, &plan.steps, &mut Outputs::new()).await.unwrap();
    bench.wait(20_000).await;
    let names = Shape::Vapor.components().iter().map(|part| bench.world.declared(part).unwrap());
    assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_counted_and_troubles_still_show() {
    let bench = bench(Shape::Vapor);
    let (plan, outputs) = bench.deploy("crash-1").await.unwrap();
    bench.wait(15_000).await;
    let watches = plan.steps.iter().filter(|step| step.kind == StepKind::Await);
    for watch in watches {
        let look = bench.look(&plan, watch.id.as_str(), &outputs).await;
        assert_eq!((look.motion, look.counts), (Motion::Done, None));
        assert!(look.signals[0].decides());
    }
    let error = bench.deploy("nopull-1").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Invalid, EffectState::NotApplied));
}
