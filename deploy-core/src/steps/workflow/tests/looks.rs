//! Looking: how often, through which troubles, and at what cost.

use super::*;
use crate::forge::emulator::{Fault, FaultRule};

#[tokio::test(start_paused = true)]
async fn looks_are_seldom_while_nothing_happens_and_free_while_nothing_changes() {
    let stage = stage();
    stage.next_run(succeeds(580));
    stage.execute(1).await.unwrap();
    let calls = stage.emulator.calls();
    let looks: Vec<_> = calls.iter().filter(|call| call.name == "get-run").collect();
    assert!((35..70).contains(&looks.len()), "{} looks in ten minutes", looks.len());
    let paid = calls.iter().filter(|call| call.status != Some(304)).count();
    assert!(paid < 15, "{paid} calls count");
}

#[tokio::test(start_paused = true)]
async fn troubles_that_pass_are_waited_out() {
    for fault in
        [Fault::ServerError, Fault::ResetBefore, Fault::Slow(30_000), Fault::Malformed, Fault::SecondaryLimit]
    {
        for call in ["get-run", "list-jobs"] {
            let stage = stage();
            stage.next_run(succeeds(200));
            stage.emulator.fault(FaultRule::new(fault).call(call).nth(3).times(10));
            let output = stage.execute(1).await;
            assert!(output.is_ok(), "{call} {fault:?}: {output:?}");
            assert_eq!(stage.dispatches(), 1);
        }
    }
}

/// The hour's calls are used up by others while the run is followed.
#[tokio::test(start_paused = true)]
async fn a_primary_limit_is_waited_for_and_not_asked_into() {
    let stage = stage();
    stage.next_run(succeeds(100));
    stage.emulator.fault(FaultRule::new(Fault::PrimaryLimit).call("get-run").nth(4));
    stage.execute(1).await.unwrap();
    let calls = stage.emulator.calls();
    let limited = calls.iter().position(|call| call.fault.is_some()).expect("it was met");
    let gap = calls[limited + 1].at_ms - calls[limited].at_ms;
    assert!((30_000..34_000).contains(&gap), "{gap} ms");
}

/// With few calls an hour the looks are so far apart that they last.
#[tokio::test(start_paused = true)]
async fn few_calls_last_as_long_as_they_have_to() {
    let config = Config { calls_an_hour: 60, ..Config::default() };
    let stage = stage_with(config, workflow().runs_within(Duration::from_secs(3_500)));
    stage.next_run(succeeds(3_000));
    stage.execute(1).await.unwrap();
    assert!(stage.emulator.calls().iter().all(|call| call.status != Some(403)), "never refused");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_ends_the_looking_and_says_that_the_run_goes_on() {
    let stage = stage();
    stage.next_run(succeeds(600));
    stage.emulator.fault(FaultRule::new(Fault::BadCredentials).call("get-run").nth(3).always());
    let error = stage.execute(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("goes on, unseen"), "{error}");
    assert!(!format!("{error:?}").contains("ghs_"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_there_yet_is_waited_for_and_one_that_is_deleted_is_not() {
    let stage = stage();
    stage.next_run(succeeds(30).appears_after_ms(20_000));
    stage.emulator.fault(FaultRule::new(Fault::NotFound).call("list-jobs").times(3));
    stage.execute(1).await.unwrap();
    let stage = super::stage();
    stage.next_run(succeeds(500));
    stage.emulator.fault(FaultRule::new(Fault::NotFound).call("get-run").nth(5).always());
    let began = stage.driver.clock.elapsed();
    assert_eq!(kind(&stage.execute(1).await), ErrorKind::NotFound);
    assert!(stage.driver.clock.elapsed() - began < Duration::from_secs(150));
}

/// No secret in the journal, the events or the errors.
#[tokio::test(start_paused = true)]
async fn the_token_is_nowhere_but_in_the_request() {
    let stage = stage();
    let token = Config::default().token;
    let log = format!("Authorization: Bearer {token}\n##[error]{token}\n");
    stage.next_run(RunScript::new(vec![JobScript::fails("build", 1_000, "it broke").log(log)]));
    let error = stage.run().await.unwrap_err();
    let all = format!("{error:?} {:?} {:?} {:?}", stage.driver.granted(), stage.driver.lines(), stage.runner);
    assert!(!all.contains(&token), "{all}");
}
