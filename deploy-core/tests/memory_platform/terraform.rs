//! A plan that exists only after the push, and that someone has to confirm.

use deploy_core::{
    EffectState, ErrorKind, Retry,
    context::Outputs,
    memory::{Fault, RunState, Shape, Writer},
    model::{Motion, StepKind},
    platform::Settled,
};

use crate::support::{Bench, bench, release};

async fn pushed(tag: &str) -> (Bench, deploy_core::model::Plan, Outputs) {
    let bench = bench(Shape::Terraform);
    let plan = bench.plan(&release(tag)).await.unwrap();
    let mut outputs = Outputs::new();
    assert!(bench.world.runs().is_empty());
    bench.steps(&plan, &plan.steps[..1], &mut outputs).await.unwrap();
    (bench, plan, outputs)
}

fn states(bench: &Bench) -> Vec<RunState> {
    bench.world.runs().iter().map(|run| run.state).collect()
}

#[tokio::test(start_paused = true)]
async fn the_run_waits_at_the_gate_and_is_confirmed_once() {
    let (bench, plan, mut outputs) = pushed("ok-1").await;
    assert!(matches!(plan.steps[1].kind, StepKind::Gate { .. }));
    assert_eq!(bench.look(&plan, "gate", &outputs).await.motion, Motion::Progressing);
    let early = bench.step(&plan, "confirm", &outputs).await;
    assert!(early.asked.is_empty());
    let error = early.result.unwrap_err();
    assert!(matches!(error.retry(), Retry::After(_)) && error.effect() == EffectState::NotApplied);
    bench.wait(5_000).await;
    let look = bench.look(&plan, "gate", &outputs).await;
    assert_eq!(look.motion, Motion::Waiting("confirm".into()));
    assert_eq!((look.notes["fits"].as_str(), look.notes["changes"].as_str()), ("yes", "image.app"));
    bench.steps(&plan, &plan.steps[2..3], &mut outputs).await.unwrap();
    assert_eq!(bench.look(&plan, "gate", &outputs).await.motion, Motion::Done);
    assert_eq!(bench.look(&plan, "watch-workspace", &outputs).await.motion, Motion::Progressing);
    let again = bench.step(&plan, "confirm", &outputs).await;
    assert!(again.result.is_ok() && again.asked.is_empty());
    bench.wait(10_000).await;
    assert_eq!(bench.look(&plan, "watch-workspace", &outputs).await.motion, Motion::Done);
    assert_eq!(states(&bench), [RunState::Applied]);
}

#[tokio::test(start_paused = true)]
async fn a_run_outside_the_envelope_is_not_confirmed() {
    let (bench, plan, outputs) = pushed("ok-1").await;
    bench.world.drift("database.main");
    bench.wait(5_000).await;
    assert_eq!(bench.look(&plan, "gate", &outputs).await.notes["fits"], "no");
    let run = bench.step(&plan, "confirm", &outputs).await;
    let error = run.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("database.main") && run.asked.is_empty());
    assert_eq!(states(&bench), [RunState::Planned]);
}

#[tokio::test(start_paused = true)]
async fn people_confirm_and_discard_outside() {
    let (bench, plan, outputs) = pushed("ok-1").await;
    bench.wait(5_000).await;
    assert!(bench.world.confirm_outside("ann"));
    assert_eq!(bench.look(&plan, "gate", &outputs).await.motion, Motion::Done);
    bench.wait(10_000).await;
    assert_eq!(bench.look(&plan, "watch-workspace", &outputs).await.motion, Motion::Done);
    assert_eq!(bench.world.writes().pop().unwrap().by, Writer::Someone("ann".into()));

    let (bench, plan, outputs) = pushed("ok-1").await;
    bench.wait(5_000).await;
    assert!(bench.world.discard_outside("ann"));
    let look = bench.look(&plan, "gate", &outputs).await;
    assert!(look.signals[0].decides());
    let error = bench.step(&plan, "confirm", &outputs).await.result.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Never));
}

#[tokio::test(start_paused = true)]
async fn someone_elses_push_supersedes_the_run() {
    let (bench, plan, outputs) = pushed("ok-1").await;
    bench.wait(5_000).await;
    bench.world.foreign_write("branch", "ok-theirs");
    assert_eq!(states(&bench), [RunState::Superseded, RunState::Planning]);
    assert!(matches!(bench.look(&plan, "gate", &outputs).await.motion, Motion::Foreign { .. }));
    assert!(bench.step(&plan, "confirm", &outputs).await.result.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_confirmation_is_settled_by_making_the_run_again() {
    for (fault, landed) in
        [(Fault::ResetAfter, true), (Fault::ResetBefore, false), (Fault::Late(20_000), false)]
    {
        let (bench, plan, mut outputs) = pushed("ok-1").await;
        bench.wait(5_000).await;
        bench.next("confirm", fault);
        let run = bench.step(&plan, "confirm", &outputs).await;
        let intent = bench.intent(&run.asked[0], 1);
        let settled = bench.settle(&plan, &intent).await.unwrap();
        assert_eq!(matches!(settled, Settled::Applied(_)), landed, "{fault:?}");
        if !landed {
            assert_eq!(settled, Settled::NotApplied);
            assert_eq!(states(&bench), [RunState::Discarded, RunState::Planning]);
            bench.wait(30_000).await;
            assert_eq!(states(&bench), [RunState::Discarded, RunState::Planned], "a burned call landed");
            bench.steps(&plan, &plan.steps[2..3], &mut outputs).await.unwrap();
        }
        bench.wait(10_000).await;
        assert_eq!(bench.world.serving().images["app"], "repo/app:ok-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_replaces_the_run_so_that_old_confirmations_miss() {
    let (old, plan, outputs) = pushed("ok-1").await;
    old.wait(5_000).await;
    old.next("confirm", Fault::Late(4_000));
    assert!(old.step(&plan, "confirm", &outputs).await.result.is_err());
    let new = old.successor();
    let versions = deploy_core::Platform::versions(&*new.place, &plan).await.unwrap();
    new.seal(&plan, &versions).await.unwrap();
    new.wait(10_000).await;
    assert_eq!(states(&new), [RunState::Discarded, RunState::Planned]);
    let look = new.look(&plan, "gate", &outputs).await;
    assert_eq!(look.motion, Motion::Waiting("confirm".into()));
    let mut outputs = outputs;
    new.steps(&plan, &plan.steps[2..3], &mut outputs).await.unwrap();
    new.wait(10_000).await;
    assert_eq!(new.look(&plan, "watch-workspace", &outputs).await.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn going_back_waits_for_the_run_that_applies() {
    let (bench, plan, mut outputs) = pushed("slow-1").await;
    bench.wait(5_000).await;
    bench.steps(&plan, &plan.steps[2..3], &mut outputs).await.unwrap();
    bench.steps(&plan, &plan.way_back.steps[..1], &mut outputs).await.unwrap();
    assert_eq!(states(&bench), [RunState::Applying, RunState::Pending]);
    let error = bench.step(&plan, "back-workspace", &outputs).await.result.unwrap_err();
    assert!(matches!(error.retry(), Retry::After(_)));
    bench.wait(85_000).await;
    assert_eq!(states(&bench), [RunState::Applied, RunState::Planned]);
    bench.steps(&plan, &plan.way_back.steps[1..], &mut outputs).await.unwrap();
    bench.wait(10_000).await;
    assert_eq!(bench.world.serving(), plan.base);
    assert_eq!(bench.look(&plan, "back-workspace", &outputs).await.motion, Motion::Done);
}

#[tokio::test(start_paused = true)]
async fn failed_plans_and_applies_are_the_releases_fault() {
    for tag in ["nopull-1", "crash-1"] {
        let (bench, plan, mut outputs) = pushed(tag).await;
        bench.wait(5_000).await;
        let _ = bench.steps(&plan, &plan.steps[2..3], &mut outputs).await;
        bench.wait(10_000).await;
        assert_eq!(states(&bench), [RunState::Errored], "{tag}");
        let look = bench.look(&plan, "watch-workspace", &outputs).await;
        assert!(look.signals[0].decides(), "{tag}");
        bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
        bench.wait(10_000).await;
        assert_eq!(bench.world.serving(), plan.base);
    }
}
