//! What people ask of a running deploy.

use super::{
    Fault, Stop, TrialResult, Word, ensure,
    lost::deploy_with,
    run::Cx,
    stage::{Finished, decided, intents, is_decision, is_step, unknown_for_ever},
};
use crate::{
    error::ErrorKind,
    event::Event,
    model::{Ended, RolledBackBy},
    state::journal::{CommandKind, Decision, Direction, Fact, StepState},
};

/// Whether an event is the one that is waited for.
type IsIt = fn(&Event) -> bool;

fn commanded(finished: &Finished, wanted: &CommandKind, obeyed: bool) -> bool {
    finished.journal.iter().any(|entry| {
        matches!(&entry.fact, Fact::Command { command, accepted, .. }
            if command == wanted && *accepted == obeyed)
    })
}

/// Aborts when this event comes: the old revision serves again.
async fn abort_at(cx: &Cx<'_>, slow_ms: u64, what: &str, at: IsIt) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let before = stage.truth().await?;
    party.slow(slow_ms);
    let rollout = party.target.deploy(stage.release(Word::Ok, 2)?).start().await?;
    stage.until(&rollout, what, at).await?;
    rollout.abort("wrong branch").await?;
    let finished = stage.end(&party, &rollout).await?;
    let outcome = &finished.outcome;
    ensure!(outcome.ended == Ended::Aborted && outcome.exit() == 6, "not aborted: {outcome:?}");
    stage.is_back(&finished, &before).await?;
    let said = outcome.cause.as_ref().is_some_and(|cause| cause.text.contains("wrong branch"));
    ensure!(said, "the reason is not told: {outcome:?}");
    ensure!(commanded(&finished, &CommandKind::Abort, true), "the journal has no abort");
    // An acknowledged abort precedes every later intent toward the goal.
    let after = finished
        .journal
        .iter()
        .skip_while(|e| !matches!(e.fact, Fact::Command { command: CommandKind::Abort, .. }));
    let forward = after.filter(|entry| {
        matches!(&entry.fact, Fact::Step { intent: Some(intent), .. }
            if intent.direction == Direction::Forward)
    });
    ensure!(forward.count() == 0, "it went forward after the abort: {:?}", finished.journal);
    party.slow(0);
    stage.succeeded(&stage.deploy(&party, Word::Ok, 3).await?, true).await
}

pub(super) async fn abort_during_apply(cx: &Cx<'_>) -> TrialResult {
    // With a slow store an intent is told long before its effect is.
    abort_at(cx, 150, "the first intent", |event| is_step(event, "effect", StepState::Asked)).await
}

pub(super) async fn abort_during_watch(cx: &Cx<'_>) -> TrialResult {
    abort_at(cx, 0, "the watch", |event| is_step(event, "await", StepState::Began)).await
}

pub(super) async fn abort_during_bake(cx: &Cx<'_>) -> TrialResult {
    abort_at(cx, 0, "the bake", |event| is_decision(event, Decision::Bake)).await
}

/// How many calls a deploy of a crashing release makes before it goes back.
async fn calls_forward(cx: &Cx<'_>) -> TrialResult<usize> {
    let (_, calm, ..) = deploy_with(cx, Word::Crash, None).await?;
    Ok(intents(&calm.journal).iter().filter(|intent| intent.direction == Direction::Forward).count())
}

pub(super) async fn abort_while_going_back_is_refused(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    // Going back takes a moment: its first call has to be made again.
    stage.fault(calls_forward(cx).await? + 1, Fault::Throttle)?;
    let before = stage.truth().await?;
    let rollout = party.target.deploy(stage.release(Word::Crash, 2)?).start().await?;
    stage.until(&rollout, "going back", |event| is_decision(event, Decision::GoBack)).await?;
    for refused in [rollout.abort("too late").await, rollout.pause("too late").await, rollout.promote().await]
    {
        let kind = refused.as_ref().err().map(crate::Error::kind);
        ensure!(kind == Some(ErrorKind::Conflict), "while going back: {refused:?}");
    }
    let finished = stage.end(&party, &rollout).await?;
    stage.undone(&finished, RolledBackBy::Us, &before).await?;
    ensure!(commanded(&finished, &CommandKind::Abort, false), "the refused abort is not journaled");
    let over = rollout.abort("much too late").await;
    ensure!(over.is_err_and(|error| error.kind() == ErrorKind::Conflict), "it can be aborted after its end");
    Ok(())
}

pub(super) async fn pause_and_go_on(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let rollout = party.target.deploy(stage.release(Word::Ok, 1)?).start().await?;
    stage.until(&rollout, "the watch", |event| is_step(event, "await", StepState::Began)).await?;
    rollout.pause("looking").await?;
    let twice = rollout.pause("looking").await;
    ensure!(twice.is_err(), "it can be paused twice");
    let waited = tokio::select! {
        biased;
        ended = stage.follow(&rollout, |event| is_decision(event, Decision::Bake)) => ended.map(|_| false),
        () = stage.sleep(3_600) => Ok(true),
    };
    ensure!(waited?, "it went on while it was paused");
    let active = party.target.active().await?;
    ensure!(active.is_some_and(|active| active.id() == rollout.id()), "a paused deploy is not active");
    rollout.go_on().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, true).await?;
    ensure!(decided(&finished.journal, Decision::Pause).is_some(), "the journal has no pause");
    ensure!(decided(&finished.journal, Decision::GoOn).is_some(), "the journal has no going on");
    Ok(())
}

pub(super) async fn abandoning_a_rollback(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    // Going back takes a moment: its first call has to be made again.
    stage.fault(calls_forward(cx).await? + 1, Fault::Throttle)?;
    let rollout = party.target.deploy(stage.release(Word::Crash, 2)?).start().await?;
    let early = rollout.abandon("too early").await;
    ensure!(early.is_err_and(|error| error.kind() == ErrorKind::Conflict), "going forward can be abandoned");
    stage.until(&rollout, "going back", |event| is_decision(event, Decision::GoBack)).await?;
    rollout.abandon("I do it by hand").await?;
    let finished = stage.end(&party, &rollout).await?;
    let outcome = &finished.outcome;
    ensure!(outcome.ended == Ended::RollbackFailed, "not given up: {outcome:?}");
    ensure!(outcome.exit() == 5 && outcome.needs_person(), "nobody is needed: {outcome:?}");
    ensure!(outcome.to_string().contains("YOU ARE NEEDED"), "the one line: {outcome}");
    let after = finished
        .journal
        .iter()
        .skip_while(|e| !matches!(e.fact, Fact::Decision { decision: Decision::Abandon, .. }));
    let wrote = after.filter(|e| matches!(e.fact, Fact::Step { intent: Some(_), .. })).count();
    ensure!(wrote == 0, "{wrote} intents after it was abandoned");
    stage.succeeded(&stage.deploy(&party, Word::Ok, 3).await?, true).await
}

pub(super) async fn leave_and_resume(cx: &Cx<'_>) -> TrialResult {
    let points: [(&str, IsIt); 3] = [
        ("the first effect", |event| is_step(event, "effect", StepState::Applied)),
        ("the watch", |event| is_step(event, "await", StepState::Began)),
        ("the bake", |event| is_decision(event, Decision::Bake)),
    ];
    let alone = {
        let stage = cx.stage().await?;
        stage.deploy_good(&stage.party("first"), 1).await?;
        stage.writes().await?
    };
    for (what, at) in points {
        let stage = cx.stage().await?;
        let (first, second) = (stage.party("first"), stage.party("second"));
        let before = stage.truth().await?;
        let rollout = first.target.deploy(stage.release(Word::Ok, 1)?).start().await?;
        stage.until(&rollout, what, at).await?;
        rollout.leave();
        let left = rollout.outcome().await;
        let kind = left.as_ref().err().map(crate::Error::kind);
        ensure!(kind == Some(ErrorKind::Interrupted), "left at {what}: {left:?}");
        let refused = second.target.deploy(stage.release(Word::Ok, 2)?).start().await?.outcome().await?;
        ensure!(refused.ended == Ended::Refused, "another deploy over one that was left: {refused:?}");
        let Some(resumed) = second.target.resume().await? else {
            return Err(Stop::Failed(format!("left at {what}, and there is nothing to resume")));
        };
        ensure!(resumed.id() == rollout.id(), "another deploy is resumed");
        // Leaving does not wait for an answer: an effect that must not be repeated may stay unknown.
        let unknown = unknown_for_ever(&second.target.journal(rollout.id().as_str()).await?);
        let finished = stage.end(&second, &resumed).await?;
        if unknown {
            stage.undone(&finished, RolledBackBy::Us, &before).await?;
            ensure!(!finished.outcome.owed.is_empty(), "left at {what}, and nothing is owed");
            continue;
        }
        stage.succeeded(&finished, true).await?;
        let writes = stage.writes().await?;
        ensure!(writes == alone, "left at {what}: {writes} writes, undisturbed it is {alone}");
        ensure!(second.target.resume().await?.is_none(), "there is something to resume after the end");
    }
    Ok(())
}

pub(super) async fn from_another_process(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let (first, second) = (stage.party("first"), stage.party("second"));
    stage.deploy_good(&first, 1).await?;
    let before = stage.truth().await?;
    let rollout = first.target.deploy(stage.release(Word::Ok, 2)?).start().await?;
    stage.until(&rollout, "the bake", |event| is_decision(event, Decision::Bake)).await?;
    let Some(seen) = second.target.active().await? else {
        return Err(Stop::Failed("another process sees no active deploy".into()));
    };
    seen.abort("from afar").await?;
    let finished = stage.end(&first, &rollout).await?;
    ensure!(finished.outcome.ended == Ended::Aborted, "not aborted: {:?}", finished.outcome);
    stage.is_back(&finished, &before).await?;
    let theirs = seen.outcome().await?;
    ensure!(theirs == finished.outcome, "the other process sees another end: {theirs:?}");
    let by = finished.journal.iter().any(
        |entry| matches!(&entry.fact, Fact::Command { by, via, .. } if by == "second" && via == "inbox"),
    );
    ensure!(by, "the journal does not say who aborted: {:?}", finished.journal);
    Ok(())
}
