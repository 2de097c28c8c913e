//! Going back because somebody asks for it, and what counts as known good.

use super::{TrialResult, Word, ensure, run::Cx, stage::plan};
use crate::{error::ErrorKind, model::RolledBackBy, state::journal::Fact};

pub(super) async fn to_the_last_known_good(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let names = stage.deploy_good(&party, 2).await?;
    let made = party.target.rollback().plan().await?;
    ensure!(made.goal.is_rollback(), "not a rollback: {:?}", made.goal);
    let rollout = party.target.rollback().reason("checkout errors").start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, true).await?;
    let truth = stage.truth().await?;
    ensure!(truth.revision == names[0], "{} serves, not {}", truth.revision, names[0]);
    let started = finished.journal.first().map(|entry| &entry.fact);
    let told = matches!(started, Some(Fact::Started { rollback: true, reason: Some(reason), .. })
        if reason == "checkout errors");
    ensure!(told, "the journal begins with {started:?}");
    Ok(())
}

pub(super) async fn to_a_named_revision(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let first = stage.truth().await?.revision;
    let names = stage.deploy_good(&party, 3).await?;
    for name in [&names[0], &first] {
        let rollout = party.target.rollback().to(name).start().await?;
        let finished = stage.end(&party, &rollout).await?;
        stage.succeeded(&finished, true).await?;
        let truth = stage.truth().await?;
        ensure!(truth.revision == *name, "{} serves, not {name}", truth.revision);
    }
    let writes = stage.writes().await?;
    match party.target.rollback().to("no-such-revision").start().await {
        Err(error) => ensure!(error.kind() == ErrorKind::NotFound, "not NotFound: {error:?}"),
        Ok(rollout) => ensure!(false, "it was started: {:?}", rollout.outcome().await),
    }
    ensure!(stage.writes().await? == writes, "something was written");
    Ok(())
}

pub(super) async fn without_known_good_it_is_an_error(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    for again in [false, true] {
        match party.target.rollback().start().await {
            Err(error) => {
                ensure!(error.kind() == ErrorKind::NotFound, "not NotFound: {error:?}");
                ensure!(error.to_string().contains("known good"), "it does not say why: {error}");
                ensure!(error.what_next().is_some(), "it does not say what to do: {error}");
            }
            Ok(rollout) => ensure!(false, "it was started: {:?}", rollout.outcome().await),
        }
        if !again {
            // What alone is known good runs already: there still is nothing to go back to.
            stage.deploy_good(&party, 1).await?;
        }
    }
    Ok(())
}

pub(super) async fn adopting_makes_known_good(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let before = stage.truth().await?;
    let rollout = party.target.adopt().start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, false).await?;
    ensure!(stage.writes().await? == 0, "something was written");
    let took = finished.outcome.ended_at.since(finished.outcome.started_at);
    ensure!(took >= stage.subject.bake(), "it was watched for {took:?} only");
    let good = party.target.status().await?.known_good;
    ensure!(good.len() == 1 && good[0].name == before.revision, "known good is {good:?}");
    stage.succeeded(&stage.deploy(&party, Word::Ok, 1).await?, true).await?;
    let rollout = party.target.rollback().start().await?;
    stage.succeeded(&stage.end(&party, &rollout).await?, true).await?;
    ensure!(stage.truth().await? == before, "{:?} serves, not {before:?}", stage.truth().await?);
    Ok(())
}

pub(super) async fn a_known_good_is_the_proven_way_back(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let before = stage.truth().await?;
    let made = plan(&party.target, stage.release(Word::Crash, 2)?).await?;
    let to = made.way_back.to.as_ref().map(|revision| revision.name.clone());
    ensure!(to.as_ref() == Some(&before.revision), "the way back leads to {to:?}");
    ensure!(made.way_back.proven, "what is known good does not count as proven");
    ensure!(!made.way_back.words.is_empty(), "the way back has no words");
    let finished = stage.deploy(&party, Word::Crash, 2).await?;
    stage.undone(&finished, RolledBackBy::Us, &before).await?;
    // A deploy that failed leaves nothing behind that keeps the next one out.
    stage.succeeded(&stage.deploy(&party, Word::Ok, 3).await?, true).await
}
