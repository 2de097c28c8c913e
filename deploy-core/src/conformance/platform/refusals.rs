//! What is refused before anything is written, and giving way to somebody else.

use super::{
    TrialResult, Word, ensure,
    run::Cx,
    stage::{Finished, is_decision, is_step, plan},
};
use crate::{
    model::Ended,
    state::journal::{Decision, Fact, GuardResult, StepState},
};

pub(super) async fn a_foreign_change_between_plan_and_apply(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let made = plan(&party.target, stage.release(Word::Ok, 1)?).await?;
    stage.subject.foreign_change().await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    let rollout = party.target.apply(made).start().await?;
    let finished = stage.end(&party, &rollout).await?;
    stage.refused(&finished, "base", (&truth, writes)).await?;
    ensure!(stage.records().await? == 0, "something was stored");
    Ok(())
}

pub(super) async fn a_foreign_change_before_the_first_call(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    party.slow(1_000);
    let request = party.target.deploy(stage.release(Word::Ok, 1)?);
    // While the lease is being taken: the plan is made, and nothing is changed yet.
    let starting = tokio::spawn(async move { request.start().await });
    stage.clock.sleep(std::time::Duration::from_millis(500)).await;
    stage.subject.foreign_change().await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    let rollout = starting.await.map_err(|error| error.to_string())??;
    let finished = stage.end(&party, &rollout).await?;
    stage.refused(&finished, "base", (&truth, writes)).await?;
    ensure!(!finished.journal.is_empty(), "it was not this refusal that was to be tried");
    party.slow(0);
    let next = stage.party("second");
    stage.succeeded(&stage.deploy(&next, Word::Ok, 2).await?, true).await
}

pub(super) async fn a_foreign_change_during_the_rollout_stays(cx: &Cx<'_>) -> TrialResult {
    for in_bake in [false, true] {
        let stage = cx.stage().await?;
        let party = stage.party("first");
        let rollout = party.target.deploy(stage.release(Word::Ok, 1)?).start().await?;
        let what = if in_bake { "the bake" } else { "the watch" };
        stage
            .until(&rollout, what, |event| match in_bake {
                true => is_decision(event, Decision::Bake),
                false => is_step(event, "await", StepState::Began),
            })
            .await?;
        stage.subject.foreign_change().await?;
        let finished = stage.end(&party, &rollout).await?;
        let outcome = &finished.outcome;
        ensure!(outcome.ended == Ended::Superseded && outcome.exit() == 6, "in {what}: {outcome:?}");
        let stays = stage.subject.foreign_stays().await?;
        ensure!(stays, "in {what}: the foreign change was overwritten: {:?}", stage.truth().await?);
        let gave_way = finished.journal.iter().any(|entry| {
            matches!(&entry.fact, Fact::Decision { decision: Decision::GiveWay, cause: Some(_), .. })
        });
        ensure!(gave_way, "it never gave way: {:?}", finished.journal);
        wrote_nothing_after_giving_way(&finished)?;
    }
    Ok(())
}

fn wrote_nothing_after_giving_way(finished: &Finished) -> TrialResult {
    let after = finished
        .journal
        .iter()
        .skip_while(|e| !matches!(e.fact, Fact::Decision { decision: Decision::GiveWay, .. }));
    let wrote = after.filter(|e| matches!(e.fact, Fact::Step { intent: Some(_), .. })).count();
    ensure!(wrote == 0, "{wrote} intents after giving way");
    Ok(())
}

pub(super) async fn another_identity_is_refused(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    stage.subject.move_identity().await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    let overriding = party.target.clone().override_guard("identity", "I know better");
    for target in [&party.target, &overriding] {
        let rollout = target.deploy(stage.release(Word::Ok, 2)?).start().await?;
        let finished = stage.end(&party, &rollout).await?;
        stage.refused(&finished, "identity", (&truth, writes)).await?;
        let overridden = finished.journal.iter().any(
            |entry| matches!(&entry.fact, Fact::Guard(found) if found.result == GuardResult::Overridden),
        );
        ensure!(!overridden, "the identity guard was overridden");
        ensure!(!finished.outcome.next.is_empty(), "it does not say what to do next");
    }
    // The pin is changed by its own command alone.
    party.target.pin("the place has really moved").await?;
    stage.succeeded(&stage.deploy(&party, Word::Ok, 3).await?, true).await
}

pub(super) async fn a_claim_belongs_to_one_target(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    stage.deploy_good(&party, 1).await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    let other = party.deployer.target_at("other", "production", stage.subject.place());
    let rollout = other.deploy(stage.release(Word::Ok, 2)?).start().await?;
    let Some(outcome) = stage.follow(&rollout, |_| false).await? else { return Ok(()) };
    let text = outcome.to_string();
    ensure!(outcome.ended == Ended::Refused, "not refused: {outcome:?}");
    let names = outcome.cause.as_ref().is_some_and(|cause| cause.text.contains("shop/production"));
    ensure!(names, "it does not name the target that it belongs to: {outcome:?}");
    ensure!(text.starts_with("REFUSED"), "the one line: {text}");
    ensure!(stage.truth().await? == truth, "something else serves");
    ensure!(stage.writes().await? == writes, "something was written");
    stage.succeeded(&stage.deploy(&party, Word::Ok, 3).await?, true).await
}

pub(super) async fn another_approval_is_refused(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let party = stage.party("first");
    let approved = plan(&party.target, stage.release(Word::Ok, 1)?).await?.approval_hash();
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    for (number, hash) in [(2, approved.as_str()), (1, "0123456789"), (1, "")] {
        let request = party.target.deploy(stage.release(Word::Ok, number)?).approved(hash);
        let finished = stage.end(&party, &request.start().await?).await?;
        stage.refused(&finished, "plan", (&truth, writes)).await?;
    }
    ensure!(stage.records().await? == 0, "something was stored");
    let request = party.target.deploy(stage.release(Word::Ok, 1)?).approved(&approved[..12]);
    let finished = stage.end(&party, &request.start().await?).await?;
    stage.succeeded(&finished, true).await
}

pub(super) async fn a_second_deploy_is_refused(cx: &Cx<'_>) -> TrialResult {
    let stage = cx.stage().await?;
    let (first, second) = (stage.party("first"), stage.party("second"));
    let rollout = first.target.deploy(stage.release(Word::Ok, 1)?).start().await?;
    stage.until(&rollout, "the bake", |event| is_decision(event, Decision::Bake)).await?;
    let (truth, writes) = (stage.truth().await?, stage.writes().await?);
    for target in [&second.target, &first.target] {
        let other = target.deploy(stage.release(Word::Ok, 2)?).start().await?;
        let finished = stage.end(&second, &other).await?;
        stage.refused(&finished, "unfinished", (&truth, writes)).await?;
        let cause = finished.outcome.cause.as_ref().map_or("", |cause| &cause.text);
        ensure!(cause.contains(rollout.id().short()), "it does not name {}: {cause}", rollout.id());
    }
    let finished = stage.end(&first, &rollout).await?;
    stage.succeeded(&finished, true).await?;
    ensure!(stage.writes().await? == writes, "the second deploy wrote something");
    Ok(())
}
