//! Looking and planning: nothing is written by either.

use super::{
    TrialResult, Word, ensure,
    run::Cx,
    stage::{intents, plan},
};
use crate::model::{Ended, Plan, Release, Snapshot};

pub(super) async fn inspecting_twice_is_the_same(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let place = stage.subject.place();
    let first = place.inspect().await?;
    stage.sleep(30).await;
    let again = place.inspect().await?;
    let other = stage.subject.place().inspect().await?;
    for (second, whose) in [(again, "the same place"), (other, "another view")] {
        let same = Snapshot { at: first.at, counts: first.counts, ..second.clone() };
        ensure!(same == first, "{whose} is another when it is looked at again: {first:?}, then {second:?}");
    }
    ensure!(first.steady, "the first release does not run steadily: {first:?}");
    ensure!(first.declared == first.serving.declared, "what is declared is not what serves: {first:?}");
    let truth = stage.truth().await?;
    ensure!(first.serving.name == truth.revision, "{} serves, not {}", truth.revision, first.serving.name);
    ensure!(stage.writes().await? == 0, "looking wrote something");
    place.startable(&first.serving).await?;
    let revisions = place.revisions(100).await?;
    ensure!(
        revisions.iter().any(|revision| revision.declared == first.serving.declared),
        "what serves is not among the revisions: {revisions:?}"
    );
    Ok(())
}

pub(super) async fn planning_twice_is_the_same_and_writes_nothing(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let (first, second) = (stage.party("first"), stage.party("second"));
    let release = stage.release(Word::Ok, 1)?;
    let one = plan(&first.target, release.clone()).await?;
    stage.sleep(30).await;
    let two = plan(&second.target, release).await?;
    ensure!(one.approval_hash() == two.approval_hash(), "two plans: {one:?}, {two:?}");
    ensure!(one.base_hash() == two.base_hash(), "two bases: {one:?}, {two:?}");
    ensure!(one.changes_something() && !one.diff.is_empty(), "a new release changes nothing: {one:?}");
    ensure!(one.way_back.to.is_some(), "there is no way back from the first deploy: {one:?}");
    ensure!(!one.way_back.proven, "what only runs counts as proven: {one:?}");
    one.check()?;
    let other = plan(&first.target, stage.release(Word::Ok, 2)?).await?;
    ensure!(other.approval_hash() != one.approval_hash(), "two releases have one approval hash");
    ensure!(other.base_hash() == one.base_hash(), "the base depends on the release");
    ensure!(stage.writes().await? == 0, "planning wrote to the platform");
    let records = stage.records().await?;
    ensure!(records == 0, "planning stored {records} records");
    Ok(())
}

pub(super) async fn a_plan_survives_being_stored(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let made = plan(&party.target, stage.release(Word::Ok, 1)?).await?;
    let read: Plan = serde_json::to_string(&made)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| error.to_string())?;
    ensure!(read == made, "read back it is another: {made:?}, {read:?}");
    let rollout = party.target.apply(read).start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.succeeded(&finished, true).await?;
    ensure!(!intents(&finished.journal).is_empty(), "a deploy without intents");
    Ok(())
}

pub(super) async fn an_unknown_container_is_refused(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let releases = [
        Release::of_what_runs().env("no-such-container", "LEVEL", "debug"),
        Release::of_what_runs().image("no-such-container", "repo/other:ok-1"),
    ];
    for release in releases {
        let outcome = party.target.deploy(release).start().await?.outcome().await?;
        ensure!(outcome.ended == Ended::Refused, "not refused: {outcome:?}");
        let text = outcome.cause.map(|cause| cause.text).unwrap_or_default();
        ensure!(text.contains("no-such-container"), "it does not name the container: {text}");
    }
    ensure!(stage.writes().await? == 0, "something was written");
    ensure!(stage.records().await? == 0, "something was stored");
    Ok(())
}
