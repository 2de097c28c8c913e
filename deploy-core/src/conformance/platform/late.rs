//! Calls that have no answer and arrive late.

use super::{
    Fault, Stop, TrialResult, Word, ensure,
    lost::{deploy_with, never_repeated, unanswered},
    run::Cx,
    stage::{Finished, decided, intents},
};
use crate::{
    model::{Ended, RolledBackBy, WriteGuard},
    state::journal::{Decision, Direction, Fact, Sending},
};

/// Late enough to arrive when the deploy is going back, or is baked.
const LATE_MS: u64 = 60_000;

fn told_at(finished: &Finished) -> Option<(u64, crate::model::Timestamp)> {
    finished.journal.iter().find_map(|entry| match &entry.fact {
        Fact::Restored { final_after, open_calls, .. } if *open_calls > 0 => Some((entry.seq, *final_after)),
        _ => None,
    })
}

pub(super) async fn calls_of_a_bad_deploy(cx: &Cx<'_>) -> TrialResult {
    let (_, calm, ..) = deploy_with(cx, Word::Crash, None).await?;
    let forward =
        intents(&calm.journal).iter().filter(|intent| intent.direction == Direction::Forward).count();
    let compares = cx.can().write_guard != WriteGuard::None;
    let (mut told, mut set_back) = (0, 0);
    for nth in 1..=forward {
        let fault = Fault::Late(LATE_MS);
        let (stage, finished, before, _) = deploy_with(cx, Word::Crash, Some((nth, fault))).await?;
        let at = |text: String| Stop::Failed(format!("mutation {nth} late: {text}"));
        let outcome = &finished.outcome;
        stage.undone(&finished, RolledBackBy::Us, &before).await.map_err(|stop| at(format!("{stop:?}")))?;
        never_repeated(&finished.journal)?;
        let again = decided(&finished.journal, Decision::SetBackAgain);
        if let Some((seq, final_after)) = told_at(&finished) {
            told += 1;
            ensure!(outcome.ended_at >= final_after, "final before {final_after}: {outcome:?}");
            ensure!(again.is_none_or(|again| again.seq > seq), "set back again before it was restored");
        }
        if let Some(again) = again {
            ensure!(!compares, "a late call landed where writes are compared: {again:?}");
            set_back += 1;
        }
        // Long after: nothing that was sent can still change anything.
        stage.sleep(3_600).await;
        let now = stage.truth().await?;
        ensure!(now == before, "mutation {nth} late: an hour later {now:?} serves");
    }
    if compares {
        ensure!(set_back == 0, "a late call had to be set back {set_back} times");
    } else {
        ensure!(told > 0, "nobody was told that it is restored and not final");
        ensure!(set_back > 0, "no late call was set back: this was no trial");
    }
    cx.note(format!("{forward} late calls: restored told {told}, set back again {set_back}"));
    Ok(())
}

pub(super) async fn calls_of_a_good_deploy(cx: &Cx<'_>) -> TrialResult {
    let (_, calm, _, wrote) = deploy_with(cx, Word::Ok, None).await?;
    let mutations = intents(&calm.journal).len();
    for nth in 1..=mutations {
        let fault = Fault::Late(LATE_MS);
        let (stage, finished, before, now) = deploy_with(cx, Word::Ok, Some((nth, fault))).await?;
        let outcome = &finished.outcome;
        never_repeated(&finished.journal)?;
        if unanswered(&finished.journal) == Some(Sending::AtMostOnce) {
            stage.undone(&finished, RolledBackBy::Us, &before).await?;
            ensure!(!outcome.owed.is_empty(), "nothing is owed: {outcome:?}");
            continue;
        }
        ensure!(outcome.ended == Ended::Succeeded { changed: true }, "mutation {nth} late: {outcome:?}");
        stage.succeeded(&finished, true).await?;
        let truth = stage.truth().await?;
        stage.sleep(3_600).await;
        ensure!(stage.truth().await? == truth, "mutation {nth} late: an hour later something else serves");
        ensure!(now == wrote, "mutation {nth} late: {now} writes, undisturbed {wrote}");
    }
    Ok(())
}
