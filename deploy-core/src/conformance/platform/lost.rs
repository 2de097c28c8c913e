//! Answers of the platform that are lost: applied or not, which nobody is told.

use std::collections::BTreeMap;

use super::{
    Fault, TrialResult, Truth, Word, ensure,
    run::Cx,
    stage::{Finished, Stage, intents},
};
use crate::{
    model::{Ended, RolledBackBy},
    state::journal::{Entry, Fact, Sending, StepState},
};

/// A deploy after a good one, its mutations numbered from 1.
pub(super) async fn deploy_with(
    cx: &Cx<'_>,
    word: Word,
    fault: Option<(usize, Fault)>,
) -> TrialResult<(Stage, Finished, Truth, usize)> {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let (before, writes) = (stage.truth().await?, stage.writes().await?);
    if let Some((nth, fault)) = fault {
        stage.fault(nth, fault)?;
    }
    let finished = stage.deploy(&party, word, 7).await?;
    let wrote = stage.writes().await? - writes;
    Ok((stage, finished, before, wrote))
}

/// The intent whose call met the fault: the first that ended without an answer.
pub(super) fn unanswered(journal: &[Entry]) -> Option<Sending> {
    let of = journal.iter().find_map(|entry| match &entry.fact {
        Fact::Step { state: StepState::Unknown, of: Some(of), .. } => Some(*of),
        _ => None,
    })?;
    intents(journal).into_iter().find(|intent| intent.id == of).map(|intent| intent.sending)
}

/// What must never be sent twice was asked for at most once by each step.
pub(super) fn never_repeated(journal: &[Entry]) -> TrialResult {
    let mut asked: BTreeMap<(String, String), usize> = BTreeMap::new();
    for intent in intents(journal).into_iter().filter(|intent| intent.sending == Sending::AtMostOnce) {
        *asked.entry((intent.step.to_string(), intent.key.clone())).or_default() += 1;
    }
    let twice = asked.iter().find(|(_, count)| **count > 1);
    ensure!(twice.is_none(), "asked for again, which must not be: {twice:?}");
    Ok(())
}

async fn every_answer(cx: &Cx<'_>, word: Word) -> TrialResult {
    let (_, calm, _, wrote) = deploy_with(cx, word, None).await?;
    let mutations = intents(&calm.journal).len();
    let mut owed = 0;
    for nth in 1..=mutations {
        for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
            let at = format!("{fault:?} of mutation {nth} of {mutations}");
            let said = |stop| match stop {
                super::Stop::Failed(text) => super::Stop::Failed(format!("{at}: {text}")),
                not_run => not_run,
            };
            let (stage, finished, before, now) =
                deploy_with(cx, word, Some((nth, fault))).await.map_err(said)?;
            never_repeated(&finished.journal).map_err(said)?;
            let outcome = &finished.outcome;
            match unanswered(&finished.journal) {
                None => ensure!(false, "{at}: the journal knows of no lost answer: {outcome:?}"),
                Some(Sending::AtMostOnce) => {
                    stage.undone(&finished, RolledBackBy::Us, &before).await.map_err(said)?;
                    ensure!(!outcome.owed.is_empty(), "{at}: nothing is owed: {outcome:?}");
                    ensure!(outcome.needs_person(), "{at}: nobody is needed: {outcome:?}");
                    ensure!(now <= wrote, "{at}: {now} writes, undisturbed {wrote}");
                    owed += 1;
                }
                Some(_) => {
                    ensure!(outcome.ended == calm.outcome.ended, "{at}: it ended otherwise: {outcome:?}");
                    ensure!(outcome.owed.is_empty(), "{at}: something is owed: {outcome:?}");
                    ensure!(now == wrote, "{at}: {now} writes, undisturbed {wrote}");
                    match outcome.ended {
                        Ended::Succeeded { .. } => stage.succeeded(&finished, true).await.map_err(said)?,
                        _ => stage.is_back(&finished, &before).await.map_err(said)?,
                    }
                }
            }
        }
    }
    ensure!((owed > 0) == cx.can().at_most_once, "{owed} ended with an owed question");
    cx.note(format!("{mutations} mutations, each answer lost twice; {owed} owed"));
    Ok(())
}

pub(super) async fn answers_of_a_good_deploy(cx: &Cx<'_>) -> TrialResult {
    every_answer(cx, Word::Ok).await
}

pub(super) async fn answers_of_a_bad_deploy(cx: &Cx<'_>) -> TrialResult {
    every_answer(cx, Word::Crash).await
}
