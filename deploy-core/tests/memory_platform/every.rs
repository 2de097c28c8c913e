//! What every shape has to do.

use deploy_core::{
    EffectState, ErrorKind, Platform,
    context::Outputs,
    memory::{Fault, Shape, WriteKind},
    model::{Fingerprint, Goal, Motion, Release, StepKind, WriteGuard},
    platform::Settled,
};

use crate::support::{bench, context, release};

/// The step that puts the first component somewhere, and its component.
fn first_set(shape: Shape) -> (&'static str, &'static str) {
    match shape {
        Shape::Ecs => ("update", "service"),
        Shape::Kubernetes => ("apply", "service"),
        Shape::Vapor => ("move-http", "http"),
        Shape::Terraform => ("push", "branch"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_deployed_once_and_watched_until_done() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let before = bench.world.serving();
        let (plan, outputs) = bench.deploy("ok-1").await.unwrap();
        let watches = || plan.steps.iter().filter(|step| step.kind == StepKind::Await);
        for watch in watches() {
            let look = bench.look(&plan, watch.id.as_str(), &outputs).await;
            assert_eq!(look.motion, Motion::Progressing, "{shape:?} {}", watch.id);
        }
        bench.wait(60_000).await;
        for watch in watches() {
            let look = bench.look(&plan, watch.id.as_str(), &outputs).await;
            assert_eq!(look.motion, Motion::Done, "{shape:?} {}", watch.id);
            assert!(look.signals.is_empty(), "{shape:?}");
            assert_eq!(look.counts.is_some(), plan.capabilities.counts);
            if let Some(counts) = look.counts {
                assert_eq!((counts.updated, counts.healthy, counts.old), (2, 2, 0), "{shape:?}");
            }
            let scope = bench.place.scope(&plan, &watch.id, &outputs).unwrap();
            assert_eq!(scope.revision().declared, bench.world.serving().declared, "{shape:?}");
        }
        assert_ne!(before.declared, bench.world.serving().declared);
        assert_eq!(bench.world.serving().images["app"], "repo/app:ok-1");
        for component in shape.components() {
            let changes = |kind: WriteKind| {
                bench
                    .world
                    .writes()
                    .iter()
                    .filter(|w| {
                        w.changed
                            && w.kind == kind
                            && w.component.as_ref().is_some_and(|c| c.as_str() == *component)
                    })
                    .count()
            };
            let kind = if *component == "workspace" { WriteKind::Apply } else { WriteKind::Set };
            assert_eq!(changes(kind), 1, "{shape:?} {component}");
        }
        let again = bench.plan(&release("ok-1")).await.unwrap();
        assert!(!again.changes_something(), "{shape:?}");
        let adopt = bench.plan(&Goal::Adopt).await.unwrap();
        assert!(!adopt.changes_something() && adopt.to == bench.world.serving(), "{shape:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_puts_back_exactly_what_was_declared() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let before = bench.world.serving();
        bench.deploy("ok-1").await.unwrap();
        bench.wait(60_000).await;
        let plan = bench.plan(&Goal::Restore(before.clone())).await.unwrap();
        assert!(plan.changes_something() && plan.to == before, "{shape:?}");
        bench.steps(&plan, &plan.steps, &mut Outputs::new()).await.unwrap();
        bench.wait(60_000).await;
        assert_eq!(bench.world.serving(), before, "{shape:?}");
        let again = bench.plan(&Goal::Restore(before)).await.unwrap();
        assert!(!again.changes_something(), "{shape:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_back_of_a_crashing_release_leads_to_what_ran() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let before = bench.world.serving();
        let (plan, mut outputs) = bench.deploy("crash-1").await.unwrap();
        bench.wait(30_000).await;
        let watch = plan.steps.iter().find(|step| step.kind == StepKind::Await).unwrap();
        let look = bench.look(&plan, watch.id.as_str(), &outputs).await;
        assert!(look.signals.iter().any(deploy_core::model::Signal::decides), "{shape:?} {look:?}");
        assert!(!plan.way_back.proven);
        for step in &plan.way_back.steps {
            bench.steps(&plan, [step], &mut outputs).await.unwrap();
            bench.wait(6_000).await;
        }
        if shape == Shape::Kubernetes {
            bench.steps(&plan, &plan.remedies, &mut outputs).await.unwrap();
        }
        bench.wait(60_000).await;
        assert_eq!(bench.world.serving(), before, "{shape:?}");
        for step in &plan.way_back.steps {
            let look = bench.look(&plan, step.id.as_str(), &outputs).await;
            assert_eq!(look.motion, Motion::Done, "{shape:?} {}", step.id);
            assert!(look.signals.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn plans_are_the_same_again_and_refuse_what_does_not_fit() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let (one, two) = (bench.plan(&release("ok-1")).await, bench.plan(&release("ok-1")).await);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        assert_eq!((one.approval_hash(), one.base_hash()), (two.approval_hash(), two.base_hash()));
        assert_eq!(one.claims.len(), if shape == Shape::Terraform { 2 } else { 1 });
        let bad = [
            Release::default().image("sidecar", "repo/app:ok-1"),
            Release::default().image("app", "elsewhere/app:ok-1"),
            Release::of_what_runs().env("sidecar", "LEVEL", "debug"),
        ];
        for release in bad {
            let error = bench.plan(&Goal::Deploy(release)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{shape:?}");
        }
        let mut gone = bench.world.serving();
        gone.handle = serde_json::json!({ "at": { shape.components()[0]: "never:9" } });
        gone.declared.insert(shape.components()[0].into(), Fingerprint::from("?"));
        let error = bench.plan(&Goal::Restore(gone)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(bench.world.writes().is_empty(), "planning changed something");
    }
}

#[tokio::test(start_paused = true)]
async fn configuration_alone_can_be_deployed() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let goal = Goal::Deploy(Release::of_what_runs().env("app", "LEVEL", "debug"));
        let plan = bench.plan(&goal).await.unwrap();
        assert!(!format!("{:?}", plan.diff).contains("debug"));
        bench.steps(&plan, &plan.steps, &mut Outputs::new()).await.unwrap();
        bench.wait(60_000).await;
        assert!(!bench.plan(&goal).await.unwrap().changes_something(), "{shape:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_good_revision_is_the_way_back_while_it_exists() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let good = bench.world.serving();
        bench.deploy("ok-1").await.unwrap();
        bench.wait(60_000).await;
        let plan = bench.plan_with(&release("ok-2"), Some(good.clone())).await.unwrap();
        assert!(plan.way_back.proven && plan.way_back.to.as_ref() == Some(&good), "{shape:?}");
        bench.place.startable(&good).await.unwrap();
        assert_eq!(bench.place.revisions(1).await.unwrap(), [bench.world.serving()]);
        assert!(bench.world.retire(&good.name));
        assert_eq!(bench.place.startable(&good).await.unwrap_err().kind(), ErrorKind::NotFound);
        let plan = bench.plan_with(&release("ok-2"), Some(good)).await.unwrap();
        assert!(!plan.way_back.proven && plan.way_back.to == Some(bench.world.serving()), "{shape:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_leaves_what_it_says() {
    let faults = [
        (Fault::None, None, true, true),
        (Fault::Slow(3_000), None, true, true),
        (Fault::Slow(30_000), Some(EffectState::Unknown), true, true),
        (Fault::Refused, Some(EffectState::NotApplied), false, false),
        (Fault::Throttled, Some(EffectState::NotApplied), false, false),
        (Fault::ResetBefore, Some(EffectState::Unknown), false, false),
        (Fault::ServerError, Some(EffectState::Unknown), false, false),
        (Fault::ResetAfter, Some(EffectState::Unknown), true, true),
        (Fault::Late(20_000), Some(EffectState::Unknown), false, true),
    ];
    for shape in Shape::ALL {
        let (set, component) = first_set(shape);
        for (fault, told, landed, lands) in faults {
            let bench = bench(shape);
            let before = bench.world.declared(component);
            let plan = bench.plan(&release("ok-1")).await.unwrap();
            let mut outputs = Outputs::new();
            let earlier = plan.steps.iter().take_while(|step| step.id.as_str() != set);
            bench.steps(&plan, earlier, &mut outputs).await.unwrap();
            bench.next("set", fault);
            let run = bench.step(&plan, set, &outputs).await;
            assert_eq!(run.failed_effect(), told, "{shape:?} {fault:?}");
            assert_eq!(run.result.is_err(), told.is_some(), "{shape:?} {fault:?}");
            assert_eq!(bench.world.declared(component) != before, landed, "{shape:?} {fault:?}");
            bench.wait(25_000).await;
            assert_eq!(bench.world.declared(component) != before, lands, "{shape:?} {fault:?}");
            let look = bench.look(&plan, set, &outputs).await;
            let there = bench.world.serving().declared[&component.into()].clone();
            assert_eq!(look.declared, there);
            assert!(!matches!(look.motion, Motion::Foreign { .. }), "{shape:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_that_fail_have_changed_nothing() {
    for shape in Shape::ALL {
        for fault in [Fault::Refused, Fault::Throttled, Fault::ResetAfter, Fault::Late(1), Fault::ServerError]
        {
            let bench = bench(shape);
            bench.next("inspect", fault);
            let error = bench.place.inspect().await.unwrap_err();
            assert_eq!(error.effect(), EffectState::NotApplied, "{shape:?} {fault:?}");
            bench.place.inspect().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settling_is_definitive_where_writes_are_compared() {
    for shape in [Shape::Kubernetes, Shape::Vapor, Shape::Terraform] {
        let (set, component) = first_set(shape);
        for (fault, landed) in [
            (Fault::ResetBefore, false),
            (Fault::ResetAfter, true),
            (Fault::Late(20_000), false),
            (Fault::Late(5_000), true),
        ] {
            let bench = bench(shape);
            let plan = bench.plan(&release("ok-1")).await.unwrap();
            let mut outputs = Outputs::new();
            let earlier = plan.steps.iter().take_while(|step| step.id.as_str() != set);
            bench.steps(&plan, earlier, &mut outputs).await.unwrap();
            bench.next("set", fault);
            let run = bench.step(&plan, set, &outputs).await;
            bench.wait(6_000).await;
            let settled = bench.settle(&plan, &bench.intent(&run.asked[0], 1)).await.unwrap();
            let before = bench.world.declared(component);
            assert_eq!(matches!(settled, Settled::Applied(_)), landed, "{shape:?} {fault:?} {settled:?}");
            assert_eq!(settled == Settled::NotApplied, !landed, "{shape:?} {fault:?} {settled:?}");
            bench.wait(60_000).await;
            assert_eq!(bench.world.declared(component), before, "{shape:?}: it landed after it was settled");
            assert_eq!(bench.world.under_way(), 0);
            // Sent again, it lands, once.
            if !landed {
                bench
                    .steps(&plan, plan.steps.iter().filter(|s| s.id.as_str() == set), &mut outputs)
                    .await
                    .unwrap();
            }
            assert_eq!(
                bench.world.audit(|writes, _| {
                    let of = |w: &&deploy_core::memory::Write| w.kind == WriteKind::Set && w.changed;
                    writes.iter().filter(of).count()
                }),
                1
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_takeover_keeps_the_predecessor_out_where_writes_are_compared() {
    for shape in [Shape::Kubernetes, Shape::Vapor, Shape::Terraform] {
        let (set, component) = first_set(shape);
        let old = bench(shape);
        let plan = old.plan(&release("ok-1")).await.unwrap();
        let mut outputs = Outputs::new();
        let earlier = plan.steps.iter().take_while(|step| step.id.as_str() != set);
        old.steps(&plan, earlier, &mut outputs).await.unwrap();
        old.next("set", Fault::Late(8_000));
        assert!(old.step(&plan, set, &outputs).await.result.is_err());
        old.world.no_faults();

        let new = old.successor();
        let versions = new.place.versions(&plan).await.unwrap();
        assert_ne!(versions.0, serde_json::Value::Null);
        new.seal(&plan, &versions).await.unwrap();
        let before = new.world.declared(component);
        new.wait(20_000).await;
        assert_eq!(new.world.declared(component), before, "{shape:?}");
        assert_eq!(new.world.rejected().len(), 1, "{shape:?}");
        // The same versions again: something has moved.
        let error = new.seal(&plan, &versions).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Conflict, EffectState::NotApplied));

        // The old one wakes up and wants to seal with what it reads now: only a fence can tell it.
        let versions = old.place.versions(&plan).await.unwrap();
        let sealed = old.seal(&plan, &versions).await;
        if shape.write_guard() == WriteGuard::Fence {
            assert_eq!(sealed.unwrap_err().kind(), ErrorKind::LeaseLost);
            let error = old.step(&plan, set, &outputs).await.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LeaseLost);
        } else {
            sealed.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_before_the_barrier_makes_it_conflict() {
    for shape in [Shape::Kubernetes, Shape::Vapor, Shape::Terraform] {
        let (set, component) = first_set(shape);
        let old = bench(shape);
        let before = old.world.declared(component);
        let plan = old.plan(&release("ok-1")).await.unwrap();
        let mut outputs = Outputs::new();
        let earlier = plan.steps.iter().take_while(|step| step.id.as_str() != set);
        old.steps(&plan, earlier, &mut outputs).await.unwrap();
        old.next("set", Fault::Late(2_000));
        assert!(old.step(&plan, set, &outputs).await.result.is_err());
        let new = old.successor();
        let versions = new.place.versions(&plan).await.unwrap();
        new.wait(3_000).await;
        assert_eq!(new.seal(&plan, &versions).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_ne!(new.world.declared(component), before, "{shape:?}");
        let versions = new.place.versions(&plan).await.unwrap();
        new.seal(&plan, &versions).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn someone_elses_change_is_seen_and_not_written_over() {
    for shape in Shape::ALL {
        let (set, component) = first_set(shape);
        let bench = bench(shape);
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        let mut outputs = Outputs::new();
        let earlier = plan.steps.iter().take_while(|step| step.id.as_str() != set);
        bench.steps(&plan, earlier, &mut outputs).await.unwrap();
        let theirs = bench.world.foreign_write(component, "ok-theirs");
        let look = bench.hold(component, &plan.base).await;
        let Motion::Foreign { revision, by } = look.motion else { panic!("{shape:?} {:?}", look.motion) };
        assert_eq!(revision.map(|revision| revision.name).is_some(), theirs.is_some());
        assert_eq!(by.unwrap().0, "someone");
        let run = bench.step(&plan, set, &outputs).await;
        if shape.write_guard() == WriteGuard::None {
            // Nothing can be compared: the driver has to look before it writes.
            run.result.unwrap();
        } else {
            assert_eq!(run.result.unwrap_err().kind(), ErrorKind::Conflict, "{shape:?}");
            assert!(run.asked.is_empty() && bench.world.declared(component) == theirs, "{shape:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_changed_is_seen() {
    for shape in Shape::ALL {
        let bench = bench(shape);
        let plan = bench.plan(&release("ok-1")).await.unwrap();
        bench.world.set_identity("account", "222222222222");
        let now = bench.place.inspect().await.unwrap();
        let differences = plan.identity.differences(&now.identity);
        assert_eq!(differences, [("account", Some("111111111111"), Some("222222222222"))]);
        let other = bench.place.plan(&release("ok-1"), &now, &context(None)).await.unwrap();
        assert_ne!(other.base_hash(), plan.base_hash());
        assert_ne!(other.claims, plan.claims);
    }
}
