//! The world by itself: what it remembers, saves, and compares.

use std::sync::Arc;

use deploy_core::{
    ErrorKind,
    clock::Clock,
    context::Outputs,
    memory::{Behaviour, Call, Fault, Op, Shape, To, World, WriteKind, Writer},
    model::{Fence, RolloutId},
};

use crate::support::{bench, release};

#[tokio::test(start_paused = true)]
async fn the_audit_log_tells_who_wrote_what() {
    let bench = bench(Shape::Kubernetes);
    bench.deploy("ok-1").await.unwrap();
    bench.world.foreign_write("service", "ok-2");
    let writes = bench.world.writes();
    let ours = Writer::Deploy { rollout: RolloutId::from("0000000000"), intent: Some(1), fence: Fence(1) };
    assert_eq!((writes[0].kind, &writes[0].by, writes[0].changed), (WriteKind::Set, &ours, true));
    assert_eq!(writes[1].by, Writer::Someone("someone".into()));
    assert_eq!(bench.world.audit(|writes, rejected| (writes.len(), rejected.len())), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_saved_world_goes_on_where_it_was() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        let mut outputs = Outputs::new();
        bench.world.faults(|call| if call.what == "set" { Fault::Late(20_000) } else { Fault::None });
        let _ = bench.steps(&plan, &plan.steps, &mut outputs).await;
        assert_eq!(bench.world.under_way(), 1);
        let before = bench.world.serving();
        let clock: Arc<dyn Clock> = Arc::new(bench.clock.elsewhere());
        let loaded = World::load(&bench.world.save(), clock).unwrap();
        assert_eq!((loaded.under_way(), loaded.serving()), (1, before.clone()));
        bench.wait(25_000).await;
        assert_eq!(loaded.under_way(), 0);
        assert_ne!(loaded.serving(), before, "{shape:?}");
        assert_eq!(loaded.serving(), bench.world.serving());
    }
    let clock: Arc<dyn Clock> = Arc::new(deploy_core::clock::TokioClock::starting_at(Default::default()));
    for broken in ["", "{}", "[1]"] {
        assert_eq!(World::load(broken, Arc::clone(&clock)).unwrap_err().kind(), ErrorKind::Malformed);
    }
}

#[tokio::test(start_paused = true)]
async fn operations_that_a_shape_does_not_know_are_errors() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let known = shape.components()[0];
        let ops = [
            Op::Set { component: "nowhere".into(), to: To::Named("x".into()), expect: Some(1) },
            Op::Set { component: known.into(), to: To::Named("never:9".into()), expect: Some(1) },
            Op::Barrier { component: known.into(), expect: 99 },
            Op::Delete { component: known.into(), instance: "x".into() },
            Op::Confirm { run: 9 },
            Op::Replace { run: 9 },
        ];
        for op in ops {
            let what = op.word();
            let call = Call::new(op, Fence(1), "DEPLOY-1", bench.clock.now());
            assert!(bench.world.call(call).await.is_err(), "{shape:?} {what}");
        }
        assert_eq!(bench.world.rejected().len(), 6);
        assert!(bench.world.writes().is_empty());
    }
}

#[test]
fn behaviours_are_read_from_tags() {
    let cases = [
        ("repo/app:ok-1", Behaviour::Ok),
        ("repo/app:crash", Behaviour::Crash),
        ("repo:5000/app:flaky-2@sha256:ab", Behaviour::Flaky),
        ("repo/app@sha256:ab", Behaviour::Ok),
        ("repo/app:platform-revert", Behaviour::PlatformRevert),
        ("", Behaviour::Ok),
    ];
    for (image, behaviour) in cases {
        assert_eq!(Behaviour::of_image(image), behaviour, "{image}");
    }
}
