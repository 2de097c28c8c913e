//! Over a real socket, in real time: the client that is used in earnest.

use std::{collections::BTreeMap, sync::Arc};

use super::{REPOSITORY, stage};
use crate::{
    context::scripted::OneToken,
    error::{EffectState, ErrorKind},
    forge::{
        Dispatch, GitHub, Page, RepositoryName,
        emulator::{Config, Fault, FaultRule, JobScript, RunScript},
    },
};

#[tokio::test]
async fn the_client_over_a_socket() {
    let stage = stage();
    let served = stage.emulator.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
    let github = GitHub::at(&served.github_url()).unwrap();
    let github = github.secrets(Arc::new(OneToken(Config::default().token)));
    let repository = &RepositoryName::parse(REPOSITORY).unwrap();
    let reader = &github.reader(github.own_secrets()).await.unwrap();
    let inputs = BTreeMap::from([("version".to_owned(), "1 \"2\" ü".to_owned())]);
    let what =
        &Dispatch { repository, workflow: "publish.yml", git_ref: "main", inputs: &inputs, details: true };
    stage.emulator.with(|world, _| {
        let mut job = JobScript::succeeds("work", 0).log("x".repeat(200_000) + "\nthe end\n");
        job.queued_ms = 0;
        world.next_run(REPOSITORY, RunScript::new(vec![job]));
    });
    let cx = stage.driver.context("publish", 1);
    let told = cx
        .effect("dispatch", "x")
        .at_most_once(|permit| async move { reader.dispatch(what, &permit).await })
        .await
        .unwrap()
        .expect("which run it is");
    let mut page = Page::default();
    for _ in 0..3 {
        let run = reader.run(repository, told.run, &mut page).await.unwrap().expect("the run");
        assert_eq!(run.conclusion.as_deref(), Some("success"));
    }
    let runs = stage.emulator.with(|world, now| world.runs(now, REPOSITORY));
    assert_eq!(runs[0].inputs["version"], "1 \"2\" ü");
    let jobs = reader.jobs(repository, told.run, &mut Vec::new()).await.unwrap();
    let log = reader.job_log(repository, jobs[0].id).await.unwrap();
    assert!(log.len() <= 64 * 1024 && log.ends_with("the end\n"), "{}", log.len());
    // A connection that breaks after the effect: sent once, and unknown.
    stage.emulator.fault(FaultRule::new(Fault::ResetAfter).call("dispatch"));
    let lost = cx
        .effect("again", "x")
        .at_most_once(|permit| async move { reader.dispatch(what, &permit).await })
        .await;
    let lost = lost.unwrap_err();
    assert_eq!((lost.kind(), lost.effect()), (ErrorKind::Unavailable, EffectState::Unknown), "{lost:?}");
    assert_eq!(stage.emulator.counts().of("dispatch"), 2);
    // Nobody listens any more: certainly not sent.
    let gone = served.github_url();
    drop(served);
    tokio::task::yield_now().await;
    let github = GitHub::at(&gone).unwrap().secrets(Arc::new(OneToken("x".into())));
    let reader = &github.reader(github.own_secrets()).await.unwrap();
    let refused = cx
        .effect("gone", "x")
        .at_most_once(|permit| async move { reader.dispatch(what, &permit).await })
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::Unavailable, EffectState::NotApplied),
        "{refused:?}"
    );
}
