//! One dispatch, and the run that it made.

use super::*;
use crate::{
    EffectState,
    forge::emulator::{Fault, FaultRule},
};

#[tokio::test(start_paused = true)]
async fn a_workflow_is_dispatched_and_followed_to_success() {
    let stage = stage();
    stage.next_run(succeeds(30));
    let output = stage.execute(1).await.unwrap();
    let runs = stage.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(output["run"], runs[0].id);
    assert_eq!(output["jobs"]["build"], "success");
    assert_eq!(runs[0].inputs["version"], "1.4.0");
    assert!(runs[0].inputs[MARKER_INPUT].starts_with("dk-0F3KQ8Z7VN-"), "{:?}", runs[0].inputs);
    assert_eq!(stage.emulator.counts().of("list-runs"), 0, "GitHub has told which run it is");
    assert_eq!(stage.driver.granted().len(), 1);
}

/// GitHub Enterprise Server before 3.21 refuses to be asked which run it makes.
#[tokio::test(start_paused = true)]
async fn where_the_server_does_not_tell_the_run_is_found_by_its_marker() {
    let config = Config { tells_run: false, ..Config::default() };
    let stage = stage_with(config, workflow());
    // Others dispatch the same with the same inputs, before and after; one has a marker that only begins as ours.
    let by_hand = |marker: &str| {
        stage.emulator.with(|world, now| {
            world.dispatch_by_hand(
                now,
                REPOSITORY,
                FILE,
                &[("version", "1.4.0"), (MARKER_INPUT, marker)],
                succeeds(5),
            )
        })
    };
    (0..130).for_each(|number| {
        by_hand(&format!("x{number}"));
    });
    stage.next_run(succeeds(30).appears_after_ms(40_000));
    let running = {
        let (emulator, clock) = (stage.emulator.clone(), Arc::clone(&stage.driver.clock));
        async move {
            clock.sleep(Duration::from_secs(10)).await;
            let ours = emulator.with(|world, now| world.runs(now, REPOSITORY)).pop().unwrap();
            let marker = format!("{}0", ours.inputs[MARKER_INPUT]);
            emulator.with(|world, now| {
                for marker in [&*marker, ""] {
                    let inputs = [("version", "1.4.0"), (MARKER_INPUT, marker)];
                    world.dispatch_by_hand(now, REPOSITORY, FILE, &inputs, RunScript::new(Vec::new()));
                }
            });
            ours.id
        }
    };
    let (output, ours) = tokio::join!(stage.execute(1), running);
    assert_eq!(output.unwrap()["run"], ours);
    // The refused one, and the one without the question; it is not asked again.
    assert_eq!(stage.dispatches(), 2);
    let granted: Vec<_> =
        stage.driver.granted().into_iter().map(|(_, known)| known == Known::NotApplied).collect();
    assert_eq!(granted, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_makes_no_second_dispatch() {
    for appears in [0, 15_000, 90_000] {
        for fault in [Fault::ResetAfter, Fault::Slow(60_000), Fault::Malformed] {
            let stage = stage();
            stage.next_run(succeeds(30).appears_after_ms(appears));
            stage.emulator.fault(FaultRule::new(fault).call("dispatch"));
            let output = stage.run().await.unwrap();
            assert_eq!((stage.dispatches(), stage.runs().len()), (1, 1), "{fault:?} {appears}");
            assert_eq!(output["run"], stage.runs()[0].id);
            let (_, known) = stage.driver.granted().remove(0);
            assert!(matches!(known, Known::Applied(_)), "settled, and no doubt is left: {known:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_of_which_nothing_is_known_stays_unknown() {
    for fault in [Fault::ResetBefore, Fault::ServerError] {
        let stage = stage();
        stage.emulator.fault(FaultRule::new(fault).call("dispatch"));
        let began = stage.driver.clock.elapsed();
        let error = stage.run().await.unwrap_err();
        assert_eq!((error.effect(), error.retry()), (EffectState::Unknown, Retry::Never), "{error:?}");
        assert!(
            error.what_next().is_some_and(|next| next.contains("not dispatched a second time")),
            "{error}"
        );
        assert_eq!((stage.dispatches(), stage.runs().len()), (1, 0));
        let took = stage.driver.clock.elapsed() - began;
        assert!(took < Duration::from_secs(200), "{took:?}");
        assert_eq!(stage.settle("dispatch").await, Settled::Unknown);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_sent_is_sent_again() {
    for fault in [Fault::Refused, Fault::PrimaryLimit, Fault::SecondaryLimit] {
        let stage = stage();
        stage.next_run(succeeds(30));
        stage.emulator.fault(FaultRule::new(fault).call("dispatch"));
        stage.run().await.unwrap();
        assert_eq!((stage.dispatches(), stage.runs().len()), (2, 1), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_killed_at_any_moment_leaves_one_run() {
    // Between 40 ms (the dispatch arrives) and 80 ms (its answer does) nobody hears what became of it.
    for after_ms in [10, 39, 41, 60, 79, 81, 100, 500, 5_000, 31_000] {
        let stage = stage();
        stage.next_run(succeeds(30).appears_after_ms(2_000));
        let killed = tokio::time::timeout(Duration::from_millis(after_ms), stage.execute(1)).await;
        assert!(killed.is_err(), "{after_ms}");
        stage.driver.clock.sleep(Duration::from_secs(5)).await;
        if stage.driver.open_intent("dispatch").is_some() {
            stage.settle("dispatch").await;
        }
        let output = stage.run().await.unwrap();
        assert_eq!((stage.dispatches(), stage.runs().len()), (1, 1), "{after_ms}");
        assert_eq!(output["run"], stage.runs()[0].id);
    }
}

/// The run-name does not show the marker, and the server does not tell.
#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_known_is_nobody_elses() {
    let stage = stage_with(Config { tells_run: false, ..Config::default() }, workflow());
    let file = WorkflowFile::new(FILE).input("version", true).run_name("publish");
    stage.emulator.with(|world, _| world.workflow(REPOSITORY, file));
    let error = stage.run().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::TimedOut, Retry::Never, EffectState::Applied)
    );
    assert!(error.to_string().contains("${{ inputs.deploy_kit_marker }}"), "{error}");
    assert_eq!(stage.runs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_runs_with_the_marker_are_not_guessed_between() {
    let stage = stage_with(Config { tells_run: false, ..Config::default() }, workflow());
    stage.next_run(succeeds(60).appears_after_ms(20_000));
    let copying = async {
        stage.driver.clock.sleep(Duration::from_secs(10)).await;
        let marker = stage.runs()[0].inputs[MARKER_INPUT].clone();
        stage.emulator.with(|world, now| {
            let inputs = [("version", "1.4.0"), (MARKER_INPUT, &*marker)];
            world.dispatch_by_hand(now, REPOSITORY, FILE, &inputs, succeeds(1).appears_after_ms(10_000));
        });
    };
    let (result, ()) = tokio::join!(stage.execute(1), copying);
    assert_eq!(kind(&result), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn what_github_refuses_says_what_to_do() {
    let with = |file: WorkflowFile| {
        let stage = stage();
        stage.emulator.with(|world, _| world.workflow(REPOSITORY, file));
        stage
    };
    let file = || WorkflowFile::new(FILE).input("version", true);
    let elsewhere = Workflow::new(REPOSITORY, FILE, "gone").input("version", "1");
    let nowhere = Workflow::new("acme/other", FILE, "main").input("version", "1");
    for (stage, expected, next) in [
        (with(file().not_dispatchable()), ErrorKind::Invalid, "on: workflow_dispatch"),
        (with(file().without_input(MARKER_INPUT)), ErrorKind::Invalid, "declare the input deploy_kit_marker"),
        (stage_with(Config::default(), elsewhere), ErrorKind::Invalid, "push the branch"),
        (stage_with(Config::default(), nowhere), ErrorKind::NotFound, "may not see it"),
        (with(file().input("stage", true)), ErrorKind::Invalid, "Required input 'stage'"),
    ] {
        let error = stage.run().await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (expected, EffectState::NotApplied), "{error}");
        assert!(error.to_string().contains(next), "{next}: {error}");
        assert_eq!((stage.dispatches(), stage.runs().len()), (1, 0), "{error}");
    }
}

/// Whoever takes the old name is not who was meant.
#[tokio::test(start_paused = true)]
async fn a_repository_that_has_moved_is_not_followed() {
    let stage = stage();
    stage.emulator.with(|world, _| world.moved(REPOSITORY));
    let error = stage.run().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotFound, EffectState::NotApplied), "{error:?}");
    assert!(error.to_string().contains("write its new name"), "{error}");
    assert_eq!((stage.dispatches(), stage.runs().len()), (1, 0));
}

#[test]
fn a_step_that_cannot_be_run_is_refused_when_it_is_planned() {
    let undo = || Undo::Restores;
    let web = || Component::from("web");
    for bad in [
        Workflow::new("shop", FILE, "main"),
        Workflow::new(REPOSITORY, "", "main"),
        Workflow::new(REPOSITORY, FILE, ""),
        Workflow::new(REPOSITORY, FILE, "main").input("npm_token", "hunter2"),
        Workflow::new(REPOSITORY, FILE, "main").input(MARKER_INPUT, "x"),
    ] {
        let error = bad.clone().step("publish", web(), undo()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
        assert!(!format!("{error:?} {bad:?}").contains("hunter2"));
    }
    let step = workflow().step("publish", web(), undo()).unwrap();
    assert_eq!(step.runner, crate::model::Runner::Workflow);
    assert!(step.deadline_ms >= 2 * (120_000 + 600_000 + 120_000));
}
