//! The state store: what a deploy costs, and what happens when it is gone.

use super::{
    Stop, TrialResult, Word, ensure,
    party::{HeadWrite, is_effect},
    run::Cx,
    stage::{intents, is_decision},
};
use crate::{
    error::ErrorKind,
    model::{Ended, RolledBackBy, StepKind},
    state::journal::Decision,
};

pub(super) async fn mutations_cost_one_write_each_and_one_more(cx: &Cx<'_>) -> TrialResult {
    for word in [Word::Ok, Word::Crash] {
        let stage = cx.stage().await?;
        stage.deploy_good(&stage.party("before"), 1).await?;
        let party = stage.party("first");
        let request = party.target.deploy(stage.release(word, 7)?);
        let plan = request.plan().await?;
        let rollout = request.start().await?;
        let finished = stage.end(&party, &rollout).await?;
        let mutations = intents(&finished.journal).len();
        let facts = finished.journal.iter().filter(|entry| is_effect(entry)).count();
        let writes = party.head_writes();
        let seen: usize = writes.iter().map(|write| write.effects).sum();
        ensure!(seen == facts, "{facts} facts about effects in the journal, {seen} in the writes");
        let count = |of: fn(&HeadWrite) -> bool| writes.iter().filter(|write| of(write)).count();
        let effects = count(|write| write.effects > 0);
        let lease = count(|write| write.lease);
        let beats = count(|write| write.entries == 0 && !write.lease);
        // Mutations in a row share a write for the end of one and the beginning of the next; a wait between them
        // parts the row.
        let mut rows = 1;
        for pair in plan.steps.windows(2) {
            let after_wait = pair[0].kind != StepKind::Effect && pair[1].kind == StepKind::Effect;
            rows += usize::from(after_wait);
        }
        if finished.outcome.ended != (Ended::Succeeded { changed: true }) {
            rows += plan.way_back.steps.len();
        }
        let rest = count(|write| write.entries > 0 && write.effects == 0 && !write.lease);
        cx.note(format!(
            "{}: m = {mutations} in {rows} rows: {effects} writes for them, {lease} for the lease, {rest} for \
             decisions and evidence, {beats} beats",
            word.word()
        ));
        ensure!(effects <= mutations + rows, "{mutations} mutations in {rows} rows took {effects} writes");
        ensure!(effects > mutations, "{mutations} mutations in {effects} writes: not each was durable first");
    }
    Ok(())
}

/// The store goes down with the decision to go back, and stays down until it is back or too late.
pub(super) async fn going_back_without_the_store(cx: &Cx<'_>) -> TrialResult {
    for seconds_down in [15, 600] {
        let stage = cx.stage().await?;
        let (first, second) = (stage.party("first"), stage.party("second"));
        stage.deploy_good(&first, 1).await?;
        let before = stage.truth().await?;
        first.down_at("go_back");
        let rollout = first.target.deploy(stage.release(Word::Crash, 7)?).start().await?;
        let mut waited = 0;
        let going = stage.follow(&rollout, |event| is_decision(event, Decision::GoBack));
        tokio::pin!(going);
        while !first.is_down() && waited < 7_200 {
            tokio::select! {
                biased;
                ended = &mut going => ensure!(false, "it told the decision that is not stored: {ended:?}"),
                () = stage.sleep(1) => waited += 1,
            }
        }
        ensure!(first.is_down(), "the deploy never went back");
        let writes = stage.writes().await?;
        // The window of the holder: what it may still do, it does in this time.
        stage.sleep(12).await;
        let standing = stage.writes().await? > writes || stage.truth().await?.revision == before.revision;
        ensure!(standing, "the standing undo did not run while the store was down");
        stage.sleep(seconds_down - 12).await;
        first.up();
        let ended = rollout.outcome().await;
        let finished = match ended {
            Ok(_) => stage.end(&first, &rollout).await?,
            Err(error) => {
                ensure!(seconds_down > 30, "the store was down for {seconds_down} s only: {error:?}");
                ensure!(error.kind() == ErrorKind::LeaseLost, "it left with {error:?}");
                let Some(resumed) = second.target.resume().await? else {
                    return Err(Stop::Failed("there is nothing to resume".into()));
                };
                stage.end(&second, &resumed).await?
            }
        };
        stage.undone(&finished, RolledBackBy::Us, &before).await?;
    }
    Ok(())
}

pub(super) async fn answers_of_the_store_are_lost(cx: &Cx<'_>) -> TrialResult {
    let (writes, calm) = {
        let stage = cx.stage().await?;
        let party = stage.party("first");
        stage.deploy_good(&party, 1).await?;
        (party.head_writes().len(), stage.writes().await?)
    };
    for nth in 1..=writes {
        let stage = cx.stage().await?;
        let party = stage.party("first");
        party.loses(nth);
        let finished = stage.deploy(&party, Word::Ok, 1).await?;
        stage.succeeded(&finished, true).await?;
        let now = stage.writes().await?;
        ensure!(now == calm, "answer {nth} of the store lost: {now} writes, undisturbed {calm}");
    }
    cx.note(format!("{writes} answers of the store lost, one at a time"));
    Ok(())
}
