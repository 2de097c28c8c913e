//! Deploys of good releases and of bad ones.

use super::{
    Fault, TrialResult, Word, ensure,
    run::Cx,
    stage::{Finished, Stage, decided, intents, plan},
};
use crate::{
    model::{Ended, Release, RolledBackBy, Side},
    state::journal::{Decision, Entry, Fact, StepState},
};

/// A configuration value that must not show itself.
const HIDDEN: &str = "hidden-7f3a";

pub(super) async fn a_good_release_is_deployed_and_known_good(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let before = stage.truth().await?;
    let finished = stage.deploy(&party, Word::Ok, 1).await?;
    stage.succeeded(&finished, true).await?;
    let outcome = &finished.outcome;
    ensure!(outcome.serving.side == Side::New, "what serves is called {:?}", outcome.serving.side);
    ensure!(stage.truth().await?.revision != before.revision, "the old revision still serves");
    ensure!(stage.writes().await? > 0, "a deploy that wrote nothing");
    let baked = decided(&finished.journal, Decision::Bake).map(|entry| outcome.ended_at.since(entry.at));
    ensure!(baked.is_some_and(|baked| baked >= stage.subject.bake()), "it baked for {baked:?}");
    let status = party.target.status().await?;
    let good = status.known_good.first().map(|revision| revision.name.as_str());
    ensure!(good == outcome.serving.revision.as_deref(), "known good is {good:?}");
    ensure!(status.unfinished.is_none() && status.holder.is_none(), "it is still held: {status:?}");
    let history = party.target.history(10).await?;
    ensure!(history.len() == 1 && history[0].known_good, "the history is {history:?}");
    ensure!(history[0].outcome.as_ref() == Some(outcome), "the history ends otherwise: {history:?}");
    Ok(())
}

pub(super) async fn the_same_release_again_changes_nothing(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    let release = stage.release(Word::Ok, 1)?;
    let again = plan(&party.target, release.clone()).await?;
    ensure!(!again.changes_something(), "it would be deployed again: {:?}", again.steps);
    ensure!(again.diff.is_empty(), "there is a difference: {:?}", again.diff);
    let rollout = party.target.deploy(release).start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, false).await?;
    ensure!(intents(&finished.journal).is_empty(), "there are intents: {:?}", finished.journal);
    ensure!(stage.writes().await? == writes, "something was written");
    ensure!(stage.truth().await? == truth, "something else serves: {truth:?}");
    Ok(())
}

pub(super) async fn configuration_alone_is_a_release(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let before = stage.truth().await?;
    let release = |value: &str| Release::of_what_runs().env(stage.subject.container(), "LEVEL", value);
    let made = plan(&party.target, release(HIDDEN)).await?;
    ensure!(made.diff.iter().all(|change| change.part == "env"), "the difference is {:?}", made.diff);
    let shown = format!("{made:?}");
    ensure!(!shown.contains(HIDDEN), "the value shows itself: {shown}");
    let rollout = party.target.deploy(release(HIDDEN)).start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, true).await?;
    ensure!(stage.truth().await?.revision != before.revision, "the old revision still serves");
    let journal = format!("{:?}", finished.journal);
    ensure!(!journal.contains(HIDDEN), "the journal shows the value");
    let again = plan(&party.target, release(HIDDEN)).await?;
    ensure!(!again.changes_something(), "it would be deployed again: {:?}", again.diff);
    let removed = Release::of_what_runs().unset(stage.subject.container(), "LEVEL");
    ensure!(plan(&party.target, removed).await?.changes_something(), "taking it away changes nothing");
    Ok(())
}

pub(super) async fn a_crashing_release_is_undone(cx: &Cx<'_>) -> TrialResult {
    bad(cx, Word::Crash).await
}

pub(super) async fn a_missing_image_is_undone(cx: &Cx<'_>) -> TrialResult {
    bad(cx, Word::NoPull).await
}

pub(super) async fn an_unhealthy_release_is_undone(cx: &Cx<'_>) -> TrialResult {
    bad(cx, Word::Unhealthy).await
}

pub(super) async fn a_flaky_release_is_undone_in_the_bake(cx: &Cx<'_>) -> TrialResult {
    let finished = bad_after_good(cx, Word::Flaky).await?;
    ensure!(decided(&finished.journal, Decision::Bake).is_some(), "it failed before the bake");
    Ok(())
}

async fn bad(cx: &Cx<'_>, word: Word) -> TrialResult {
    let finished = bad_after_good(cx, word).await?;
    // Where instances are not counted, that they fail may be seen in the bake only.
    let baked = decided(&finished.journal, Decision::Bake).is_some();
    ensure!(!baked || !cx.can().counts, "a release that never worked was baked");
    Ok(())
}

/// A good deploy, then a bad one: it is undone, with cause, evidence and log lines.
async fn bad_after_good(cx: &Cx<'_>, word: Word) -> TrialResult<Finished> {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let (release, expected) = (stage.release(word, 2)?, stage.subject.failing(word));
    stage.deploy_good(&party, 1).await?;
    let (before, good) = (stage.truth().await?, party.target.status().await?.known_good);
    let rollout = party.target.deploy(release).start().await?;
    let finished = stage.end(&party, &rollout).await?;
    if expected.changes {
        stage.undone(&finished, RolledBackBy::Us, &before).await?;
        let decision = decided(&finished.journal, Decision::GoBack);
        let caused =
            decision.is_some_and(|entry| matches!(&entry.fact, Fact::Decision { cause: Some(_), .. }));
        ensure!(caused, "the decision to go back has no cause: {decision:?}");
    } else {
        ensure!(finished.outcome.ended == Ended::Failed, "not failed: {:?}", finished.outcome);
        stage.is_back(&finished, &before).await?;
    }
    explained(&stage, &finished, word, expected.class)?;
    let now = party.target.status().await?.known_good;
    ensure!(now == good, "known good was {good:?} and is {now:?}");
    Ok(finished)
}

/// The outcome has a cause of this class, which rests on journaled entries; with log lines, where there are any.
fn explained(stage: &Stage, finished: &Finished, word: Word, class: &str) -> TrialResult {
    let Finished { outcome, journal } = finished;
    let Some(cause) = &outcome.cause else {
        ensure!(false, "it has no cause: {outcome:?}");
        return Ok(());
    };
    ensure!(cause.class == class, "the cause of {} is {cause:?}, not {class}", word.word());
    ensure!(!cause.text.is_empty() && !cause.because.is_empty(), "the cause rests on nothing: {cause:?}");
    let is_evidence = |entry: &Entry| match &entry.fact {
        Fact::Fault { instances, .. } => !instances.is_empty(),
        Fact::Step { state: StepState::Failed, error: Some(_), .. } => true,
        _ => false,
    };
    for seq in &cause.because {
        let entry = journal.iter().find(|entry| entry.seq == *seq);
        ensure!(entry.is_some_and(is_evidence), "the cause rests on {entry:?}");
    }
    let runs_at_first = matches!(class, "crash" | "unhealthy");
    if runs_at_first && stage.can.logs {
        ensure!(!cause.log.is_empty(), "logs can be read, and the cause has none: {cause:?}");
        ensure!(cause.log.len() <= 50, "the cause has {} log lines", cause.log.len());
    }
    if !stage.can.logs {
        ensure!(cause.log.is_empty(), "logs cannot be read, and the cause has some: {cause:?}");
    }
    Ok(())
}

pub(super) async fn the_platforms_own_revert_is_no_success(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let before = stage.truth().await?;
    if !cx.can().reverts_itself {
        // The negative: here nobody goes back but us.
        let reverts = stage.subject.release(Word::Reverts, 2);
        ensure!(reverts.is_err(), "it says that it does not go back by itself, and has a release for it");
        let finished = stage.deploy(&party, Word::Crash, 2).await?;
        let followed = decided(&finished.journal, Decision::FollowRevert);
        ensure!(followed.is_none(), "it went back by itself: {followed:?}");
        return stage.undone(&finished, RolledBackBy::Us, &before).await;
    }
    let finished = stage.deploy(&party, Word::Reverts, 2).await?;
    stage.undone(&finished, RolledBackBy::Platform, &before).await?;
    let followed = decided(&finished.journal, Decision::FollowRevert);
    ensure!(followed.is_some(), "nobody saw that the platform went back: {:?}", finished.journal);
    let back = intents(&finished.journal)
        .iter()
        .any(|intent| intent.direction == crate::state::journal::Direction::Back);
    ensure!(!back, "it was undone by us as well");
    Ok(())
}

pub(super) async fn a_throttled_call_is_made_again(cx: &Cx<'_>) -> TrialResult {
    let mutations = {
        let stage = cx.stage().await?;
        let finished = stage.deploy(&stage.party("first"), Word::Ok, 1).await?;
        intents(&finished.journal).len()
    };
    for nth in 1..=mutations {
        let stage = cx.stage().await?;
        stage.fault(nth, Fault::Throttle)?;
        let finished = stage.deploy(&stage.party("first"), Word::Ok, 1).await?;
        stage.succeeded(&finished, true).await?;
        let refused = finished.journal.iter().any(|entry| {
            matches!(
                &entry.fact,
                Fact::Step { state: StepState::NotApplied, of: Some(_), error: Some(_), .. }
            )
        });
        ensure!(refused, "mutation {nth} was throttled, and the journal does not say so");
    }
    Ok(())
}

pub(super) async fn a_refused_first_call_changes_nothing(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let before = stage.truth().await?;
    stage.fault(1, Fault::Refuse)?;
    let finished = stage.deploy(&party, Word::Ok, 1).await?;
    let outcome = &finished.outcome;
    ensure!(outcome.ended == Ended::Failed && outcome.exit() == 5, "not failed: {outcome:?}");
    ensure!(outcome.serving.side == Side::Old, "what serves is called {:?}", outcome.serving.side);
    ensure!(stage.truth().await? == before, "something changed: {:?}", stage.truth().await?);
    ensure!(stage.writes().await? == 0, "something was written");
    stage.succeeded(&stage.deploy(&party, Word::Ok, 2).await?, true).await
}
