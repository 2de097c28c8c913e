//! What the place says it can do is what it does; and what it does not say, it does not do.

use super::{
    TrialResult, Word, ensure,
    run::Cx,
    stage::{intents, plan},
};
use crate::{
    model::{StepKind, WriteGuard},
    state::journal::Sending,
};

pub(super) async fn what_the_place_says_of_itself(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let (place, can) = (stage.subject.place(), cx.can());
    let now = place.inspect().await?;
    ensure!(now.capabilities == can, "it says {:?} of itself, not {can:?}", now.capabilities);
    ensure!(now.counts.is_some() == can.counts, "counts are {:?}", now.counts);
    ensure!(place.logs().is_some() == can.logs, "logs: {:?}", place.logs());
    let party = stage.party("first");
    let made = plan(&party.target, stage.release(Word::Ok, 1)?).await?;
    let versions = place.versions(&made).await?;
    let compares = can.write_guard != WriteGuard::None;
    ensure!(versions.0.is_null() != compares, "what a takeover fences off: {versions:?}");
    let finished = stage.deploy(&party, Word::Ok, 1).await?;
    stage.succeeded(&finished, true).await?;
    let counts = finished.outcome.serving.counts;
    ensure!(counts.is_some() == can.counts, "the outcome counts {counts:?}");
    if let Some(counts) = counts {
        let all = counts.healthy >= counts.desired && counts.updated >= counts.desired && counts.old == 0;
        ensure!(all, "a success with {counts:?}");
    }
    Ok(())
}

pub(super) async fn steps_groups_gates_and_remedies(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let can = cx.can();
    let made = plan(&stage.party("first").target, stage.release(Word::Ok, 1)?).await?;
    let grouped = made.steps.iter().any(|step| step.group.is_some());
    ensure!(grouped == can.groups, "groups: {:?}", made.steps);
    let gated = made.steps.iter().any(|step| matches!(step.kind, StepKind::Gate { .. }));
    ensure!(gated == can.gates, "gates: {:?}", made.steps);
    ensure!(made.remedies.is_empty() != can.remedies, "remedies: {:?}", made.remedies);
    ensure!(made.envelope.is_some() == can.envelope, "the envelope: {:?}", made.envelope);
    ensure!(made.capabilities == can, "the plan says of the place: {:?}", made.capabilities);
    let watched = made.steps.iter().any(|step| step.kind == StepKind::Await);
    ensure!(watched, "nothing is awaited: {:?}", made.steps);
    let last = made.steps.last().is_some_and(|step| step.kind == StepKind::Await);
    ensure!(last, "the last step is not awaited: {:?}", made.steps);
    Ok(())
}

pub(super) async fn what_cannot_be_repeated_is_marked(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let finished = stage.deploy(&stage.party("first"), Word::Ok, 1).await?;
    stage.succeeded(&finished, true).await?;
    let marked = intents(&finished.journal).iter().any(|intent| intent.sending == Sending::AtMostOnce);
    ensure!(marked == cx.can().at_most_once, "an effect that must not be repeated: {marked}");
    Ok(())
}
