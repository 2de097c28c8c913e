//! Events: projected from the journal, the same for everyone who reads them.

use std::sync::Arc;

use super::{
    Stop, TrialResult, Word, ensure,
    run::Cx,
    stage::{Finished, fact_of, is_step},
};
use crate::{
    Rollout,
    event::{Event, PhaseName},
    state::journal::{Fact, StepState},
};

async fn all(rollout: &Rollout) -> Vec<Arc<Event>> {
    let (mut events, mut all) = (rollout.events(), Vec::new());
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

fn journaled(events: &[Arc<Event>]) -> Vec<&Event> {
    events.iter().map(|event| &**event).filter(|event| event.seq.is_some()).collect()
}

/// The journaled ones are the journal, and the last of all is `ended`.
fn agree(events: &[Arc<Event>], finished: &Finished) -> TrialResult {
    let told = journaled(events);
    let journal = &finished.journal;
    ensure!(told.len() == journal.len(), "{} events of {} entries", told.len(), journal.len());
    for (event, entry) in told.iter().zip(journal) {
        let same =
            event.seq == Some(entry.seq) && fact_of(event) == Some(&entry.fact) && event.at == entry.at;
        ensure!(same, "event {event:?} of entry {entry:?}");
    }
    let last = events.last();
    let ended = last.is_some_and(|last| matches!(fact_of(last), Some(Fact::Ended { .. })));
    ensure!(ended, "the last event is {last:?}");
    ensure!(last.is_some_and(|last| last.phase == PhaseName::Done), "the last phase is {last:?}");
    Ok(())
}

pub(super) async fn gapless_and_replayed(cx: &Cx<'_>) -> TrialResult {
    for word in [Word::Ok, Word::Crash] {
        let stage = cx.stage().await?;
        let party = stage.party("first");
        let rollout = party.target.deploy(stage.release(word, 1)?).start().await?;
        let reader = rollout.clone();
        let reading = tokio::spawn(async move { all(&reader).await });
        let finished = stage.end(&party, &rollout).await?;
        let live = reading.await.map_err(|error| error.to_string())?;
        agree(&live, &finished)?;
        let replayed = all(&rollout).await;
        ensure!(live == replayed, "a second reader sees other events");
        let phases: Vec<PhaseName> = live.iter().map(|event| event.phase).collect();
        ensure!(phases.first() == Some(&PhaseName::Guard), "it begins with {:?}", phases.first());
        ensure!(phases.contains(&PhaseName::Watch), "it never watched: {phases:?}");
        let gated = phases.contains(&PhaseName::Gate);
        ensure!(gated == cx.can().gates, "it was at a gate: {gated}");
        let progress = live.iter().any(|event| event.seq.is_none());
        ensure!(progress, "nobody was told of any progress");
    }
    Ok(())
}

pub(super) async fn followed_by_another_process(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let (first, second) = (stage.party("first"), stage.party("second"));
    let rollout = first.target.deploy(stage.release(Word::Crash, 1)?).start().await?;
    stage.until(&rollout, "the watch", |event| is_step(event, "await", StepState::Began)).await?;
    let Some(followed) = second.target.active().await? else {
        return Err(Stop::Failed("another process sees no active deploy".into()));
    };
    let reader = followed.clone();
    let reading = tokio::spawn(async move { all(&reader).await });
    let finished = stage.end(&first, &rollout).await?;
    let outcome = followed.outcome().await?;
    ensure!(outcome == finished.outcome, "the follower sees another end: {outcome:?}");
    let theirs = reading.await.map_err(|error| error.to_string())?;
    agree(&theirs, &finished)?;
    let ours = all(&rollout).await;
    ensure!(journaled(&ours) == journaled(&theirs), "the follower sees other events, or other phases");
    Ok(())
}
