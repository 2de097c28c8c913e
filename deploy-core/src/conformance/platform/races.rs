//! Two deployers at once.

use super::{TrialResult, Word, ensure, run::Cx, stage::intents};
use crate::model::Ended;

/// How often two deployers race.
const RACES: u64 = 20;

pub(super) async fn two_deployers_twenty_times(cx: &Cx<'_>) -> TrialResult {
    let alone = {
        let stage = cx.stage().await?;
        stage.deploy_good(&stage.party("first"), 1).await?;
        stage.writes().await?
    };
    let mut won = [0_u32; 2];
    for race in 0..RACES {
        let stage = cx.stage().await?;
        let parties = [stage.party("first"), stage.party("second")];
        // Every race is another one, and all of them are the same in every run.
        parties[0].slow(race * 37 % 190);
        parties[1].slow(race * 53 % 170);
        let one = async {
            let rollout = parties[0].target.deploy(stage.release(Word::Ok, 1)?).start().await?;
            stage.end(&parties[0], &rollout).await
        };
        let two = async {
            let rollout = parties[1].target.deploy(stage.release(Word::Ok, 2)?).start().await?;
            stage.end(&parties[1], &rollout).await
        };
        let (one, two) = tokio::join!(one, two);
        let ended = [one?, two?];
        let winners: Vec<usize> =
            (0..2).filter(|at| ended[*at].outcome.ended == Ended::Succeeded { changed: true }).collect();
        let &[winner] = winners.as_slice() else {
            ensure!(
                false,
                "race {race}: {} winners: {} / {}",
                winners.len(),
                ended[0].outcome,
                ended[1].outcome
            );
            continue;
        };
        won[winner] += 1;
        let loser = &ended[1 - winner];
        ensure!(loser.outcome.ended == Ended::Refused, "race {race}: the loser {:?}", loser.outcome);
        ensure!(intents(&loser.journal).is_empty(), "race {race}: the loser has intents");
        let writes = stage.writes().await?;
        ensure!(writes == alone, "race {race}: {writes} writes, alone it is {alone}");
        let (serving, truth) = (&ended[winner].outcome.serving.revision, stage.truth().await?);
        ensure!(serving.as_ref() == Some(&truth.revision), "race {race}: {truth:?} serves, not {serving:?}");
    }
    ensure!(won[0] > 0 && won[1] > 0, "one of them always wins: {won:?}: these were no races");
    cx.note(format!("{RACES} races, won {} to {}", won[0], won[1]));
    Ok(())
}
