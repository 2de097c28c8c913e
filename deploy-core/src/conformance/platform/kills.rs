//! Deployers that are killed at every write of the journal, and others that go on.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Stop, TrialResult, Word, ensure,
    party::{Party, When},
    run::Cx,
    stage::{Finished, Stage, unknown_for_ever},
};
use crate::{
    Rollout,
    model::{Ended, Outcome, RolledBackBy},
    request::Request,
};

/// What is asked of the deployer that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Good,
    Bad,
    Rollback,
}

impl Case {
    async fn prepare(self, stage: &Stage) -> TrialResult {
        let before = if self == Self::Rollback { 2 } else { 1 };
        stage.deploy_good(&stage.party("before"), before).await.map(|_| ())
    }

    fn request(self, stage: &Stage, party: &Party) -> TrialResult<Request> {
        Ok(match self {
            Self::Good => party.target.deploy(stage.release(Word::Ok, 7)?),
            Self::Bad => party.target.deploy(stage.release(Word::Crash, 7)?),
            Self::Rollback => party.target.rollback(),
        })
    }
}

/// What an undisturbed run does.
struct Undisturbed {
    ended: Ended,
    writes: usize,
    head_writes: usize,
    claims: usize,
}

async fn undisturbed(cx: &Cx<'_>, case: Case) -> TrialResult<Undisturbed> {
    let stage = cx.stage().await?;
    case.prepare(&stage).await?;
    let (party, writes) = (stage.party("first"), stage.writes().await?);
    let request = case.request(&stage, &party)?;
    let claims = request.plan().await?.claims.len();
    let rollout = request.start().await?;
    let finished = stage.end(&party, &rollout).await?;
    Ok(Undisturbed {
        ended: finished.outcome.ended,
        writes: stage.writes().await? - writes,
        head_writes: party.head_writes().len(),
        claims,
    })
}

/// Runs until the deployer dies; `None`: it came to the end before.
async fn run_until_death(stage: &Stage, party: &Party, request: Request) -> TrialResult<Option<Rollout>> {
    let slot: Arc<Mutex<Option<Rollout>>> = Arc::default();
    let filling = Arc::clone(&slot);
    let get = |slot: &Mutex<Option<Rollout>>| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // As a task of its own: it is killed too, if the deployer dies while the deploy is being started.
    let mut starting = tokio::spawn(async move {
        let rollout = request.start().await?;
        *filling.lock().unwrap_or_else(PoisonError::into_inner) = Some(rollout.clone());
        Ok::<Rollout, crate::Error>(rollout)
    });
    let running = async {
        let started = (&mut starting).await.map_err(|error| error.to_string())??;
        stage.follow(&started, |_| false).await
    };
    let ended: Option<Outcome> = tokio::select! {
        biased;
        () = party.died.notified() => None,
        ended = running => ended?,
    };
    starting.abort();
    // What was on its way into a task is there now.
    tokio::task::yield_now().await;
    Ok(if ended.is_some() { None } else { get(&slot) })
}

async fn killed_at_every_write(cx: &Cx<'_>, case: Case) -> TrialResult {
    let calm = undisturbed(cx, case).await?;
    let (mut resumed, mut owed, mut too_late) = (0, 0, 0);
    for nth in 1..=calm.head_writes {
        for when in [When::Before, When::After] {
            // Half of them are seen to be dead at once; for the others their silence has to be waited for.
            let seen_dead = (nth + usize::from(when == When::After)) % 2 == 0;
            let at = format!("{case:?} killed {when:?} write {nth}, seen dead: {seen_dead}");
            let stage = cx.stage().await?;
            case.prepare(&stage).await?;
            let (first, second) = (stage.party("first"), stage.party("second"));
            let (truth, writes) = (stage.truth().await?, stage.writes().await?);
            first.dies_at(nth, when);
            let request = case.request(&stage, &first)?;
            let rollout = run_until_death(&stage, &first, request).await?;
            first.is_killed(rollout.as_ref(), seen_dead);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let ending = go_on(&stage, &second, &calm, &at).await?;
            match ending {
                Ending::NothingYet => {
                    let now = stage.truth().await?;
                    ensure!(now == truth, "{at}: nothing to resume, and {now:?} serves");
                    ensure!(
                        stage.writes().await? == writes,
                        "{at}: nothing to resume, and something is written"
                    );
                    ensure!(nth == 1 && when == When::Before, "{at}: there is nothing to resume");
                }
                Ending::AsUndisturbed(finished) => {
                    let wrote = stage.writes().await? - writes;
                    ensure!(wrote == calm.writes, "{at}: {wrote} writes, undisturbed {}", calm.writes);
                    match case {
                        Case::Good | Case::Rollback => stage.succeeded(&finished, true).await?,
                        Case::Bad => stage.undone(&finished, RolledBackBy::Us, &truth).await?,
                    }
                    resumed += 1;
                }
                Ending::Owed(finished) => {
                    let wrote = stage.writes().await? - writes;
                    ensure!(wrote <= calm.writes + 1, "{at}: {wrote} writes, undisturbed {}", calm.writes);
                    stage.undone(&finished, RolledBackBy::Us, &truth).await?;
                    owed += 1;
                }
                Ending::AlreadyOver(outcome) => {
                    ensure!(outcome.ended == calm.ended, "{at}: it had ended: {outcome:?}");
                    // Claims beside the home are given back after it: who dies before leaves a stale pointer.
                    ensure!(nth + calm.claims > calm.head_writes, "{at}: it had ended before its last write");
                    stage.succeeded(&stage.deploy(&second, Word::Ok, 8).await?, true).await?;
                    too_late += 1;
                }
            }
        }
    }
    let writes = calm.head_writes;
    cx.note(format!(
        "{writes} writes, killed twice at each: {resumed} resumed, {owed} owed, {too_late} over"
    ));
    ensure!(resumed > 0, "none was resumed");
    ensure!(owed == 0 || cx.can().at_most_once, "{owed} are owed where every effect can be told or repeated");
    Ok(())
}

enum Ending {
    NothingYet,
    AsUndisturbed(Box<Finished>),
    /// An effect that must not be repeated was under way: undone, with a question that is owed.
    Owed(Box<Finished>),
    AlreadyOver(Box<Outcome>),
}

async fn go_on(stage: &Stage, second: &Party, calm: &Undisturbed, at: &str) -> TrialResult<Ending> {
    let history = second.target.history(1).await?;
    let (rollout, over) = match history.into_iter().next() {
        Some(newest) if newest.actor == "first" => (newest.rollout, newest.outcome),
        _ => return Ok(Ending::NothingYet),
    };
    let unknown = unknown_for_ever(&second.target.journal(rollout.as_str()).await?);
    let Some(resumed) = second.target.resume().await? else {
        let Some(outcome) = over else {
            return Err(Stop::Failed(format!("{at}: it has not ended, and cannot be resumed")));
        };
        return Ok(Ending::AlreadyOver(Box::new(outcome)));
    };
    ensure!(*resumed.id() == rollout, "{at}: another deploy is resumed");
    let finished = match stage.end(second, &resumed).await {
        Ok(finished) => Box::new(finished),
        Err(Stop::Failed(text)) => return Err(Stop::Failed(format!("{at}: {text}"))),
        Err(stop) => return Err(stop),
    };
    let outcome = &finished.outcome;
    if unknown {
        ensure!(!outcome.owed.is_empty() && outcome.needs_person(), "{at}: nothing is owed: {outcome:?}");
        return Ok(Ending::Owed(finished));
    }
    ensure!(outcome.ended == calm.ended, "{at}: it ended otherwise: {outcome:?}");
    Ok(Ending::AsUndisturbed(finished))
}

pub(super) async fn a_good_deploy_killed_at_every_write(cx: &Cx<'_>) -> TrialResult {
    killed_at_every_write(cx, Case::Good).await
}

pub(super) async fn a_bad_deploy_killed_at_every_write(cx: &Cx<'_>) -> TrialResult {
    killed_at_every_write(cx, Case::Bad).await
}

pub(super) async fn a_rollback_killed_at_every_write(cx: &Cx<'_>) -> TrialResult {
    killed_at_every_write(cx, Case::Rollback).await
}
