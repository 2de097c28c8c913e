//! Every call that is made, times every fault that it can meet: kind, retry and what is known of the effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{COMMIT, REPOSITORY, Stage, stage};
use crate::{
    context::{Permit, scripted::OneToken},
    error::{
        EffectState::{self, NotApplied, Unknown},
        Error,
        ErrorKind::{
            self, Malformed, NotFound, PermissionDenied, Throttled, TimedOut, Unauthenticated, Unavailable,
        },
        Result, Retry,
    },
    forge::{
        Dispatch, Page, RepositoryName,
        emulator::{Fault, FaultRule, JobScript, RunScript},
    },
    model::{SecretRef, Timestamp},
};

/// What may be done after an error, without the seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    IfIdempotent,
    Always,
    In(u64),
}

fn again(retry: Retry) -> Again {
    match retry {
        Retry::Never => Again::Never,
        Retry::IfIdempotent => Again::IfIdempotent,
        Retry::Always => Again::Always,
        Retry::After(wait) => Again::In(wait.as_secs()),
    }
}

type Cell = (ErrorKind, Again, EffectState);

const FAULTS: [Fault; 11] = [
    Fault::PrimaryLimit,
    Fault::SecondaryLimit,
    Fault::ServerError,
    Fault::Refused,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Slow(60_000),
    Fault::Malformed,
    Fault::BadCredentials,
    Fault::Forbidden,
    Fault::NotFound,
];

/// A read has no effect, so it may always be made again; only who is not let in need not come back.
const READ: [Cell; 11] = [
    (Throttled, Again::In(30), NotApplied),
    (Throttled, Again::In(7), NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::Always, NotApplied),
    (TimedOut, Again::Always, NotApplied),
    (Malformed, Again::Always, NotApplied),
    (Unauthenticated, Again::Never, NotApplied),
    (PermissionDenied, Again::Never, NotApplied),
    (NotFound, Again::Never, NotApplied),
];

/// A mutation without an answer may have been applied, or may be yet.
const MUTATION: [Cell; 11] = [
    (Throttled, Again::In(30), NotApplied),
    (Throttled, Again::In(7), NotApplied),
    (Unavailable, Again::IfIdempotent, Unknown),
    (Unavailable, Again::Always, NotApplied),
    (Unavailable, Again::IfIdempotent, Unknown),
    (Unavailable, Again::IfIdempotent, Unknown),
    (TimedOut, Again::IfIdempotent, Unknown),
    (Malformed, Again::IfIdempotent, Unknown),
    (Unauthenticated, Again::Never, NotApplied),
    (PermissionDenied, Again::Never, NotApplied),
    (NotFound, Again::Never, NotApplied),
];

fn cells(call: &str) -> [Cell; 11] {
    match call {
        "dispatch" | "cancel" | "force-cancel" | "rerun" => MUTATION,
        _ => READ,
    }
}

const CALLS: [&str; 13] = [
    "dispatch",
    "cancel",
    "force-cancel",
    "rerun",
    "list-runs",
    "get-run",
    "list-jobs",
    "annotations",
    "job-log",
    "download",
    "check-runs",
    "status",
    "build-statuses",
];

/// Makes a mutation under a permit.
async fn mutate<F>(stage: &Stage, call: impl FnOnce(Permit) -> F + Send) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let cx = stage.driver.context("publish", 1);
    let result = cx.effect("call", "x").idempotent(call).await;
    stage.driver.hears().await;
    result
}

/// A run that fails, and its job.
async fn failed_run(stage: &Stage) -> (u64, u64) {
    let run = stage.emulator.with(|world, now| {
        let script = RunScript::new(vec![JobScript::fails("build", 1_000, "it broke")]);
        world.dispatch_by_hand(now, REPOSITORY, "publish.yml", &[], script)
    });
    stage.driver.clock.sleep(Duration::from_secs(5)).await;
    (run, run + 1)
}

async fn make(stage: &Stage, call: &str, fault: Option<Fault>) -> Result<()> {
    let repository = RepositoryName::parse(REPOSITORY).unwrap();
    let repository = &repository;
    let (run, job) = failed_run(stage).await;
    let open = stage.emulator.with(|world, now| {
        let script = RunScript::new(vec![JobScript::succeeds("build", 600_000)]);
        world.check_run(REPOSITORY, COMMIT, "ci", "completed", Some("success"));
        world.build_status(REPOSITORY, COMMIT, "ci", "SUCCESSFUL");
        world.dispatch_by_hand(now, REPOSITORY, "publish.yml", &[], script)
    });
    if let Some(fault) = fault {
        let name = CALLS.into_iter().find(|name| *name == call).expect("a call");
        stage.emulator.fault(FaultRule::new(fault).call(name).always());
    }
    let secrets = stage.github.own_secrets();
    let reader = &stage.github.reader(secrets).await?;
    let inputs = BTreeMap::new();
    let what =
        Dispatch { repository, workflow: "publish.yml", git_ref: "main", inputs: &inputs, details: true };
    let what = &what;
    match call {
        "dispatch" => {
            mutate(stage, |permit| async move { reader.dispatch(what, &permit).await.map(|_| ()) }).await
        }
        "cancel" => {
            mutate(stage, |permit| async move { reader.cancel(repository, open, false, &permit).await }).await
        }
        "force-cancel" => {
            mutate(stage, |permit| async move { reader.cancel(repository, open, true, &permit).await }).await
        }
        "rerun" => {
            mutate(stage, |permit| async move { reader.rerun_failed(repository, run, &permit).await }).await
        }
        "list-runs" => {
            let place = (repository, "publish.yml");
            reader.marked_run(place, "x", Timestamp::default(), &mut Page::default()).await.map(|_| ())
        }
        "get-run" => match reader.run(repository, run, &mut Page::default()).await? {
            Some(_) => Ok(()),
            // Not there is an answer, and not an error, of this call.
            None => Err(Error::new(NotFound, "get-run")),
        },
        "list-jobs" => reader.jobs(repository, run, &mut Vec::new()).await.map(|_| ()),
        "annotations" => reader.annotations(repository, job).await.map(|_| ()),
        "job-log" | "download" => {
            let log = reader.job_log(repository, job).await?;
            if log.contains("<html>") {
                Err(Error::new(Malformed, "").retry_as(Retry::Always))
            } else {
                Ok(())
            }
        }
        "check-runs" | "status" => stage.github.checks(REPOSITORY)?.tally(COMMIT).await.map(|_| ()),
        "build-statuses" => {
            let token = SecretRef::Resolver("token".into());
            let bitbucket = stage.emulator.bitbucket(token, Arc::clone(&stage.driver.clock))?;
            let bitbucket = bitbucket.secrets(Arc::new(OneToken(super::Config::default().token)));
            bitbucket.checks(REPOSITORY)?.tally(COMMIT).await.map(|_| ())
        }
        other => panic!("what is {other}?"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_and_every_fault_have_their_cell() {
    for call in CALLS {
        for (fault, (kind, retry, effect)) in FAULTS.into_iter().zip(cells(call)) {
            let stage = stage();
            let error = make(&stage, call, Some(fault)).await.expect_err(call);
            let (mut seen_kind, mut seen_retry, seen_effect) =
                (error.kind(), again(error.retry()), error.effect());
            if call == "download" && matches!(fault, Fault::PrimaryLimit | Fault::SecondaryLimit) {
                // Another server: its limits are not GitHub's.
                assert_eq!((seen_kind, seen_retry), (PermissionDenied, Again::Never), "{fault:?}");
                (seen_kind, seen_retry) = (kind, retry);
            }
            assert_eq!(
                (seen_kind, seen_retry, seen_effect),
                (kind, retry, effect),
                "{call} {fault:?}: {error}"
            );
            assert!(!format!("{error:?}").contains("ghs_"), "{call} {fault:?}: {error:?}");
            if effect == Unknown || cells(call) == MUTATION {
                let (kind, retry, effect, _) = stage.driver.error().expect("it was journaled");
                assert_eq!(
                    (kind, again(retry), effect),
                    (error.kind(), again(error.retry()), error.effect())
                );
                assert_eq!(stage.emulator.counts().of(call), 1, "{call} {fault:?}: a mutation is sent once");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_and_no_fault_are_missing_in_the_table() {
    let listed: BTreeSet<&str> = CALLS.into_iter().collect();
    let mut made = BTreeSet::new();
    for call in CALLS {
        // Of a deploy of its own: a journal that has the call's answer sends it no more.
        let stage = stage();
        make(&stage, call, None).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let counts = stage.emulator.counts();
        assert!(counts.names().any(|name| name == call), "{call} was not made");
        made.extend(counts.names().map(str::to_owned));
    }
    assert_eq!(made.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    let known: BTreeSet<&str> = super::super::emulator::call_names().collect();
    assert_eq!(known, listed, "what the emulator knows and what is tried");
    let tried: BTreeSet<&str> = FAULTS.into_iter().map(Fault::name).collect();
    assert_eq!(tried, Fault::NAMES.into_iter().collect());
}

#[tokio::test(start_paused = true)]
async fn a_broken_read_is_made_three_times_and_the_third_may_succeed() {
    let stage = stage();
    stage.emulator.fault(FaultRule::new(Fault::ResetBefore).call("get-run").times(2));
    make(&stage, "get-run", None).await.unwrap();
    assert_eq!(stage.emulator.counts().of("get-run"), 3);
    stage.emulator.fault(FaultRule::new(Fault::ServerError).call("get-run").always());
    make(&stage, "get-run", None).await.unwrap_err();
    assert_eq!(stage.emulator.counts().of("get-run"), 6);
}

#[tokio::test(start_paused = true)]
async fn while_the_server_wants_to_be_left_alone_nothing_is_sent() {
    let stage = stage();
    let repository = RepositoryName::parse(REPOSITORY).unwrap();
    let repository = &repository;
    make(&stage, "get-run", Some(Fault::SecondaryLimit)).await.unwrap_err();
    stage.emulator.clear_faults();
    let calls = stage.emulator.calls().len();
    let reader = &stage.github.reader(stage.github.own_secrets()).await.unwrap();
    // All that share the connection, reads and mutations.
    let read = reader.jobs(repository, 1, &mut Vec::new()).await.unwrap_err();
    let sent =
        mutate(&stage, |permit| async move { reader.cancel(repository, 1, false, &permit).await }).await;
    for error in [read, sent.unwrap_err()] {
        assert_eq!((error.kind(), error.effect()), (Throttled, NotApplied), "{error}");
        assert!(matches!(error.retry(), Retry::After(wait) if wait <= Duration::from_secs(7)), "{error:?}");
    }
    assert_eq!(stage.emulator.calls().len(), calls);
    stage.driver.clock.sleep(Duration::from_secs(7)).await;
    assert_eq!(reader.jobs(repository, 1, &mut Vec::new()).await.unwrap_err().kind(), NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_costs_nothing_of_the_limit() {
    let stage = stage();
    let repository = RepositoryName::parse(REPOSITORY).unwrap();
    let (run, _) = failed_run(&stage).await;
    let reader = stage.github.reader(stage.github.own_secrets()).await.unwrap();
    let mut page = Page::default();
    for _ in 0..50 {
        assert_eq!(reader.run(&repository, run, &mut page).await.unwrap().expect("a run").id, run);
    }
    let calls = stage.emulator.calls();
    assert_eq!(calls.iter().filter(|call| call.status == Some(200)).count(), 1);
    assert_eq!(calls.iter().filter(|call| call.status == Some(304)).count(), 49);
}

#[tokio::test(start_paused = true)]
async fn a_mutation_says_which_intent_it_is_and_is_not_sent_under_an_old_permit() {
    let stage = stage();
    make(&stage, "cancel", None).await.unwrap();
    let call = stage.emulator.calls().pop().expect("a call");
    assert_eq!(call.agent, "deploy-kit/0F3KQ8Z7VN-1#3");
    let mut stage = super::stage();
    stage.driver.window = Duration::ZERO;
    let error = make(&stage, "cancel", None).await.unwrap_err();
    assert_eq!((error.kind(), stage.emulator.counts().mutating()), (ErrorKind::LeaseLost, 0));
}
