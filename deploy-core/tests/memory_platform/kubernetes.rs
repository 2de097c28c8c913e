//! A fence in the object, and an instance that has to be deleted.

use deploy_core::{
    memory::{Fault, Shape, WriteKind},
    model::{Motion, StepId},
};

use crate::support::bench;

#[tokio::test(start_paused = true)]
async fn a_stuck_instance_needs_the_remedy_after_the_template_is_back() {
    let bench = bench(Shape::Kubernetes);
    let (plan, mut outputs) = bench.deploy("crash-1").await.unwrap();
    bench.wait(15_000).await;
    let look = bench.look(&plan, "watch-service", &outputs).await;
    let counts = look.counts.unwrap();
    assert_eq!((counts.updated, counts.healthy, counts.old, look.remedy), (1, 0, 1, None));
    bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
    bench.wait(120_000).await;
    let look = bench.look(&plan, "back-service", &outputs).await;
    assert_eq!(look.motion, Motion::Progressing);
    assert_eq!(look.remedy, Some(StepId::from("delete-stuck")));
    assert_eq!(look.remedy.as_ref(), Some(&plan.remedies[0].id));

    bench.next("delete", Fault::ResetAfter);
    assert!(bench.step(&plan, "delete-stuck", &outputs).await.result.is_err());
    // Again: it is gone, so nothing is asked for.
    let again = bench.step(&plan, "delete-stuck", &outputs).await;
    assert!(again.result.is_ok() && again.asked.is_empty());
    let look = bench.look(&plan, "back-service", &outputs).await;
    assert_eq!((look.motion, look.remedy), (Motion::Progressing, None));
    bench.wait(12_000).await;
    let look = bench.look(&plan, "back-service", &outputs).await;
    assert_eq!(look.motion, Motion::Done);
    let counts = look.counts.unwrap();
    assert_eq!((counts.updated, counts.healthy, counts.old), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_deletion_does_not_hit_the_next_instance() {
    let bench = bench(Shape::Kubernetes);
    let (plan, mut outputs) = bench.deploy("crash-1").await.unwrap();
    bench.wait(15_000).await;
    bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
    bench.next("delete", Fault::Late(50_000));
    assert!(bench.step(&plan, "delete-stuck", &outputs).await.result.is_err());
    bench.step(&plan, "delete-stuck", &outputs).await.result.unwrap();
    bench.wait(20_000).await;
    assert_eq!(bench.look(&plan, "back-service", &outputs).await.motion, Motion::Done);
    let (plan, mut outputs) = bench.deploy("crash-2").await.unwrap();
    bench.wait(15_000).await;
    bench.steps(&plan, &plan.way_back.steps, &mut outputs).await.unwrap();
    let stuck = bench.world.stuck("service");
    assert!(stuck.is_some());
    bench.wait(60_000).await;
    assert_eq!(bench.world.stuck("service"), stuck);
    let deleted = bench.world.writes().iter().filter(|write| write.kind == WriteKind::Delete).count();
    assert_eq!((deleted, bench.world.rejected().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn instances_are_replaced_one_by_one() {
    let bench = bench(Shape::Kubernetes);
    let (plan, outputs) = bench.deploy("ok-1").await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let counts = bench.look(&plan, "watch-service", &outputs).await.counts.unwrap();
        seen.push((counts.updated, counts.healthy, counts.old));
        bench.wait(10_000).await;
    }
    assert_eq!(seen, [(1, 0, 1), (2, 1, 0), (2, 2, 0), (2, 2, 0)]);
    assert_eq!(bench.look(&plan, "watch-service", &outputs).await.motion, Motion::Done);
}
