//! Whether a commit's CI is green.

use std::sync::Arc;

use super::{COMMIT, REPOSITORY, Stage, stage};
use crate::{
    context::scripted::OneToken,
    forge::{
        CommitState,
        emulator::{Config, Fault, FaultRule},
    },
    model::SecretRef,
};

fn names(which: &[&str]) -> Vec<String> {
    which.iter().map(|name| (*name).to_owned()).collect()
}

async fn github(stage: &Stage) -> CommitState {
    stage.github.checks(REPOSITORY).unwrap().of(COMMIT).await
}

async fn bitbucket(stage: &Stage) -> CommitState {
    let token = SecretRef::Resolver("token".into());
    let bitbucket = stage.emulator.bitbucket(token, Arc::clone(&stage.driver.clock)).unwrap();
    let bitbucket = bitbucket.secrets(Arc::new(OneToken(Config::default().token)));
    bitbucket.checks(REPOSITORY).unwrap().of(COMMIT).await
}

fn cannot_know(state: &CommitState, word: &str) -> bool {
    matches!(state, CommitState::CannotKnow { why } if why.contains(word))
}

#[tokio::test(start_paused = true)]
async fn check_runs_and_statuses_of_github_are_one_answer() {
    let stage = stage();
    assert!(cannot_know(&github(&stage).await, "No commit found"), "{:?}", github(&stage).await);
    // (It is asked with two check runs, of which the first is of the other kind.)
    for (checks, statuses, expected) in [
        (vec![("build", "completed", Some("success"))], vec![("ci/x", "success")], CommitState::Green),
        (
            vec![("build", "completed", Some("skipped")), ("lint", "completed", Some("neutral"))],
            vec![],
            CommitState::Green,
        ),
        (vec![], vec![("ci/x", "success")], CommitState::Green),
        (vec![("build", "in_progress", None)], vec![], CommitState::Pending { which: names(&["build"]) }),
        (
            vec![("build", "completed", Some("success"))],
            vec![("ci/x", "pending")],
            CommitState::Pending { which: names(&["ci/x"]) },
        ),
        (
            vec![("b", "completed", Some("cancelled")), ("a", "completed", Some("timed_out"))],
            vec![("ci/x", "pending")],
            CommitState::Red { which: names(&["a", "b"]) },
        ),
        (
            vec![("build", "queued", None)],
            vec![("ci/x", "error")],
            CommitState::Red { which: names(&["ci/x"]) },
        ),
    ] {
        let stage = super::stage();
        stage.emulator.with(|world, _| {
            for (name, status, conclusion) in &checks {
                world.check_run(REPOSITORY, COMMIT, name, status, *conclusion);
            }
            for (context, state) in &statuses {
                world.commit_status(REPOSITORY, COMMIT, context, state);
            }
        });
        assert_eq!(github(&stage).await, expected, "{checks:?} {statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_check_and_an_unknown_word_are_not_green() {
    let stage = stage();
    stage.emulator.with(|world, _| world.build_status(REPOSITORY, COMMIT, "x", "SUCCESSFUL"));
    assert!(cannot_know(&github(&stage).await, "no check"));
    stage.emulator.with(|world, _| world.check_run(REPOSITORY, COMMIT, "odd", "completed", Some("superb")));
    assert!(cannot_know(&github(&stage).await, "superb"));
    assert_eq!(bitbucket(&stage).await, CommitState::Green);
    stage.emulator.with(|world, _| world.build_status(REPOSITORY, COMMIT, "y", "PAUSED"));
    assert!(cannot_know(&bitbucket(&stage).await, "PAUSED"));
}

/// The one that failed is on the last page.
#[tokio::test(start_paused = true)]
async fn every_page_is_read() {
    let stage = stage();
    stage.emulator.with(|world, _| {
        for number in 0..250 {
            world.check_run(REPOSITORY, COMMIT, &format!("c{number}"), "completed", Some("success"));
            world.commit_status(REPOSITORY, COMMIT, &format!("s{number}"), "success");
            world.build_status(REPOSITORY, COMMIT, &format!("b{number}"), "SUCCESSFUL");
        }
    });
    assert_eq!(github(&stage).await, CommitState::Green);
    assert_eq!(bitbucket(&stage).await, CommitState::Green);
    assert_eq!(stage.emulator.counts().of("check-runs"), 3);
    stage.emulator.with(|world, _| {
        world.commit_status(REPOSITORY, COMMIT, "last", "failure");
        world.build_status(REPOSITORY, COMMIT, "last", "STOPPED");
    });
    assert_eq!(github(&stage).await, CommitState::Red { which: names(&["last"]) });
    assert_eq!(bitbucket(&stage).await, CommitState::Red { which: names(&["last"]) });
    stage.emulator.with(|world, _| {
        (0..2_000).for_each(|number| {
            world.build_status(REPOSITORY, COMMIT, &format!("more{number}"), "SUCCESSFUL")
        });
    });
    assert!(
        cannot_know(&bitbucket(&stage).await, "too many"),
        "a list that does not end is not green, nor red"
    );
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_a_reason_and_names_no_secret() {
    for fault in
        [Fault::ServerError, Fault::Malformed, Fault::BadCredentials, Fault::NotFound, Fault::PrimaryLimit]
    {
        for call in ["check-runs", "status", "build-statuses"] {
            let stage = stage();
            stage.emulator.with(|world, _| {
                world.check_run(REPOSITORY, COMMIT, "ci", "completed", Some("success"));
                world.build_status(REPOSITORY, COMMIT, "ci", "SUCCESSFUL");
            });
            stage.emulator.fault(FaultRule::new(fault).call(call).always());
            let state = if call == "build-statuses" { bitbucket(&stage).await } else { github(&stage).await };
            let CommitState::CannotKnow { why } = state else { panic!("{call} {fault:?} {state:?}") };
            assert!(why.contains(COMMIT) && !why.contains("ghs_"), "{why}");
        }
    }
    let stage = stage();
    assert!(cannot_know(&stage.github.checks(REPOSITORY).unwrap().of("main").await, "full id"));
    assert_eq!(stage.emulator.calls().len(), 0);
}
