//! How a run ends: by itself, run once more, cancelled, forced.

use super::*;
use crate::{
    EffectState,
    forge::emulator::{Cancel, Fault, FaultRule},
};

const LOST: &str =
    "The hosted runner lost communication with the server. Anything in your workflow that terminates it.";

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_work_is_told_with_its_log_and_not_run_again() {
    let stage = stage();
    let log =
        "compiling\npassword=hunter2\n\u{1b}[31mtest failed\n##[error]Process completed with exit code 1.\n";
    let job = JobScript::fails("build", 20_000, "Process completed with exit code 1.").log(log);
    stage.next_run(RunScript::new(vec![JobScript::succeeds("lint", 5_000), job]));
    let error = stage.run().await.unwrap_err();
    assert_eq!((error.retry(), error.effect()), (Retry::Never, EffectState::Applied), "{error:?}");
    assert!(error.message().contains("ended as failure: build at step Work"), "{error}");
    assert!(error.what_next().is_some_and(|next| next.contains("actions/runs/")), "{error}");
    let lines = stage.driver.lines().join("\n");
    assert!(
        lines.contains("build: test failed") && !lines.contains("hunter2") && !lines.contains('\u{1b}'),
        "{lines}"
    );
    assert!(lines.contains("build: step 2 Work: failure") && lines.contains("lint: success"), "{lines}");
    assert_eq!(stage.emulator.counts().of("rerun"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_cut_to_its_end() {
    let stage = stage();
    let log: String = (0..100_000).map(|number| format!("line {number} {}\n", "y".repeat(900))).collect();
    stage.next_run(RunScript::new(vec![JobScript::fails("build", 1_000, "it broke").log(log)]));
    stage.run().await.unwrap_err();
    let lines = stage.driver.lines();
    assert!(lines.len() < 100, "{}", lines.len());
    assert!(lines.iter().all(|line| line.chars().count() < 520));
    assert!(lines.iter().any(|line| line.starts_with("build: line 99999 ")));
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_run_once_more_and_only_once() {
    for shown_late in [0, 8_000] {
        let stage = stage();
        let well = JobScript::succeeds("build", 10_000);
        let mut script = RunScript::new(vec![
            JobScript::succeeds("lint", 1_000),
            JobScript::fails("build", 5_000, LOST).then(well),
        ]);
        script.rerun_shown_after_ms = shown_late;
        stage.next_run(script);
        let output = stage.run().await.unwrap();
        assert_eq!((output["attempt"].as_u64(), &output["jobs"]["build"]), (Some(2), &"success".into()));
        assert_eq!((stage.emulator.counts().of("rerun"), stage.dispatches()), (1, 1), "{shown_late}");
    }
    let stage = stage();
    let again = JobScript::fails("build", 5_000, LOST);
    stage.next_run(RunScript::new(vec![JobScript::fails("build", 5_000, LOST).then(again)]));
    let error = stage.run().await.unwrap_err();
    assert!(error.message().starts_with("its runner was lost"), "{error}");
    assert_eq!(stage.emulator.counts().of("rerun"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_work_failed_beside_a_lost_runner_is_not_run_again() {
    let stage = stage();
    let jobs = vec![JobScript::fails("one", 5_000, LOST), JobScript::fails("two", 5_000, "3 tests failed")];
    stage.next_run(RunScript::new(jobs));
    stage.run().await.unwrap_err();
    assert_eq!(stage.emulator.counts().of("rerun"), 0);
}

/// Why it failed cannot be read: in doubt it was the work.
#[tokio::test(start_paused = true)]
async fn without_annotations_nothing_is_run_again_and_the_failure_is_still_told() {
    for call in ["annotations", "job-log", "download"] {
        let stage = stage();
        stage.next_run(RunScript::new(vec![JobScript::fails("build", 5_000, "3 tests failed")]));
        stage.emulator.fault(FaultRule::new(Fault::Forbidden).call(call).always());
        let error = stage.run().await.unwrap_err();
        assert!(error.message().contains("ended as failure"), "{call}: {error}");
        assert_eq!(stage.emulator.counts().of("rerun"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rerun_whose_answer_was_lost_is_not_sent_twice() {
    for fault in [Fault::ResetAfter, Fault::Slow(60_000)] {
        let stage = stage();
        let well = JobScript::succeeds("build", 30_000);
        stage.next_run(RunScript::new(vec![JobScript::fails("build", 5_000, LOST).then(well)]));
        stage.emulator.fault(FaultRule::new(fault).call("rerun"));
        let output = stage.run().await.unwrap();
        assert_eq!(
            (output["attempt"].as_u64(), stage.emulator.counts().of("rerun")),
            (Some(2), 1),
            "{fault:?}"
        );
    }
    let stage = stage();
    stage.next_run(RunScript::new(vec![JobScript::fails("build", 5_000, LOST)]));
    stage.emulator.fault(FaultRule::new(Fault::ResetBefore).call("rerun"));
    stage.run().await.unwrap_err();
    assert_eq!((stage.runs()[0].attempt, stage.emulator.counts().of("rerun")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_run_is_cancelled_with_the_deploy() {
    let stage = stage();
    stage.next_run(succeeds(600));
    stage.interrupt_in(20);
    let began = stage.driver.clock.elapsed();
    let result = stage.execute(1).await;
    assert_eq!(kind(&result), ErrorKind::Interrupted);
    assert_eq!(stage.runs()[0].conclusion.as_deref(), Some("cancelled"));
    let cancelled = stage.emulator.calls().into_iter().find(|call| call.name == "cancel").expect("a cancel");
    assert!((20_000..22_000).contains(&(cancelled.at_ms - 1_795_000_000_000)), "asked within two seconds");
    assert!(stage.driver.clock.elapsed() - began < Duration::from_secs(30));
    assert_eq!(stage.emulator.counts().of("force-cancel"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_obey_is_forced_and_one_that_takes_too_long_is_ended() {
    let stage = stage();
    stage.next_run(succeeds(36_000).cancel(Cancel::Never));
    let began = stage.driver.clock.elapsed();
    let result = stage.execute(1).await;
    assert_eq!(kind(&result), ErrorKind::TimedOut);
    assert!(result.unwrap_err().message().contains("was not completed within 600 s, and ended as cancelled"));
    assert_eq!(stage.emulator.counts().of("force-cancel"), 1);
    assert_eq!(stage.runs()[0].conclusion.as_deref(), Some("cancelled"));
    let limit = Duration::from_millis(stage.step.deadline_ms);
    assert!(stage.driver.clock.elapsed() - began < limit, "before the driver gives the step up");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_that_never_ends_is_given_up_in_bounded_time() {
    let stage = stage();
    stage.next_run(succeeds(36_000).cancel(Cancel::Never));
    stage.emulator.fault(FaultRule::new(Fault::ServerError).call("force-cancel").always());
    stage.interrupt_in(5);
    let began = stage.driver.clock.elapsed();
    let error = stage.execute(1).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, EffectState::Unknown), "{error}");
    assert!(error.message().contains("has not ended") && error.message().contains("500"), "{error}");
    assert!(stage.driver.clock.elapsed() - began < Duration::from_secs(300));
}

/// It may still be looked for when the step is to end: then it is found first, and cancelled.
#[tokio::test(start_paused = true)]
async fn a_run_that_has_not_appeared_yet_is_cancelled_too() {
    let stage = stage_with(Config { tells_run: false, ..Config::default() }, workflow());
    stage.next_run(succeeds(600).appears_after_ms(30_000));
    stage.interrupt_in(10);
    let result = stage.execute(1).await;
    assert_eq!(kind(&result), ErrorKind::Interrupted);
    assert_eq!(stage.runs()[0].conclusion.as_deref(), Some("cancelled"));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_before_it_can_be_cancelled_is_done() {
    let stage = stage();
    stage.next_run(succeeds(20).cancel(Cancel::After(60_000)));
    stage.interrupt_in(15);
    assert_eq!(stage.execute(1).await.unwrap()["jobs"]["build"], "success");
    let stage = super::stage();
    stage.driver.interrupt.send_replace(true);
    assert_eq!(kind(&stage.execute(1).await), ErrorKind::Interrupted);
    assert_eq!(stage.dispatches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_somebody_else_cancels_is_not_run_again_nor_a_success() {
    for (conclusion, annotation) in
        [("cancelled", "The run was canceled by @dev."), ("skipped", ""), ("timed_out", "")]
    {
        let stage = stage();
        let mut job = JobScript::fails("build", 5_000, annotation);
        job.conclusion = conclusion.into();
        stage.next_run(RunScript::new(vec![job]));
        let error = stage.run().await.unwrap_err();
        assert!(error.message().contains(&format!("ended as {conclusion}")), "{error}");
        assert_eq!(stage.emulator.counts().of("rerun"), 0);
    }
    let stage = stage();
    let mut script = RunScript::new(Vec::new());
    script.conclusion = Some("startup_failure".into());
    stage.next_run(script);
    assert!(stage.run().await.unwrap_err().message().contains("startup_failure"));
}
