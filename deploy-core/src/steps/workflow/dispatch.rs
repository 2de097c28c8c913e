//! Dispatching a workflow at most once, and knowing which run that made.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Change, MARKER_INPUT, Work, passes_in};
use crate::{
    error::{EffectState, Error, ErrorKind, Result, Retry},
    forge::{Dispatch, Page, Run},
    hash,
    model::{RolloutId, StepId, Timestamp},
};

/// The effect's name.
pub(super) const KEY: &str = "dispatch";
/// How often it is looked for a run that has not appeared.
const LOOK: Duration = Duration::from_secs(3);

/// What the dispatch returned.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Started {
    /// The run, if GitHub told it.
    #[serde(default)]
    run: Option<u64>,
    /// When it was sent.
    #[serde(default)]
    at: Option<Timestamp>,
}

/// What names the step of this deploy in the run's name.
fn marker(rollout: &RolloutId, step: &StepId) -> String {
    let step = hash::of(&step);
    format!("dk-{rollout}-{}", step.get(..8).unwrap_or_default())
}

#[derive(Debug)]
pub(super) struct Dispatching<'a> {
    work: Work<'a>,
    marker: String,
    newest: Page,
}

impl<'a> Dispatching<'a> {
    pub(super) fn new(work: Work<'a>, step: &StepId) -> Self {
        Self { work, marker: marker(work.cx.rollout(), step), newest: Page::default() }
    }

    /// Makes sure that the workflow was dispatched, and tells the run.
    pub(super) async fn run(mut self) -> Result<u64> {
        let work = self.work;
        let limit = Duration::from_millis(work.data.appears_ms);
        if work.cx.interrupted() {
            return Err(Error::new(
                ErrorKind::Interrupted,
                "the step was to end before it began; nothing was sent",
            ));
        }
        let denied = AtomicBool::new(true);
        match self.sent(&denied).await {
            Ok(Started { run: Some(run), .. }) => Ok(run),
            Ok(Started { run: None, at }) => {
                let since = at.unwrap_or_default();
                match self.appears(since, limit).await? {
                    Some(run) => Ok(run.id),
                    None => Err(self.never_appeared()),
                }
            }
            Err(error) if error.kind() == ErrorKind::Conflict && denied.load(Ordering::Relaxed) => {
                self.lost(error).await
            }
            Err(error) => Err(explained(error, &self.marker)),
        }
    }

    async fn sent(&self, denied: &AtomicBool) -> Result<Started> {
        match self.send(self.work.github.tells_run(), denied).await {
            Err(error) if is_unknown_key(&error) => {
                // Refused as a whole: nothing was dispatched.
                self.work.github.tells_no_run();
                self.send(false, denied).await
            }
            ended => ended,
        }
    }

    async fn send(&self, details: bool, denied: &AtomicBool) -> Result<Started> {
        let Work { github, cx, data, repository } = self.work;
        // A permit does not wait: what can be refused or take long comes before it is asked for.
        github.api().ready()?;
        let reader = github.reader(cx).await?;
        let mut inputs = data.inputs.clone();
        inputs.insert(MARKER_INPUT.to_owned(), self.marker.clone());
        let change = Change {
            repository: data.repository.clone(),
            workflow: data.workflow.clone(),
            marker: self.marker.clone(),
            ..Change::default()
        };
        cx.effect(KEY, change)
            .sealing((&data.git_ref, &data.inputs))
            .lands_within(Duration::from_millis(data.appears_ms))
            .at_most_once(|permit| async move {
                denied.store(false, Ordering::Relaxed);
                let git_ref = &data.git_ref;
                let what =
                    Dispatch { repository, workflow: &data.workflow, git_ref, inputs: &inputs, details };
                let told = reader.dispatch(&what, &permit).await?;
                Ok(Started { run: told.map(|told| told.run), at: Some(permit.signed_at()) })
            })
            .await
    }

    /// Looks for the run by its marker until it has appeared, or should have.
    async fn appears(&mut self, since: Timestamp, limit: Duration) -> Result<Option<Run>> {
        let Work { github, cx, data, repository } = self.work;
        let until = self.work.elapsed() + limit;
        loop {
            let reader = github.reader(cx).await?;
            let place = (repository, &*data.workflow);
            let wait = match reader.marked_run(place, &self.marker, since, &mut self.newest).await {
                Ok(Some(run)) => return Ok(Some(run)),
                Ok(None) => LOOK,
                Err(error) => match passes_in(&error, LOOK) {
                    Some(wait) if self.work.elapsed() + wait < until => wait,
                    _ => {
                        return Err(
                            error.context("the workflow was dispatched, and its run cannot be looked for")
                        );
                    }
                },
            };
            let left = until.saturating_sub(self.work.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            // Not ended early: what was dispatched has to be found to be cancelled.
            self.work.sleep(wait.min(left)).await;
        }
    }

    /// The answer of an earlier attempt was lost, and it was not settled yet.
    async fn lost(&mut self, denied: Error) -> Result<u64> {
        // The first attempt after it has waited for long enough already.
        let limit = if self.work.cx.attempt() > 2 { 0 } else { self.work.data.appears_ms };
        let limit = Duration::from_millis(limit);
        let Some(run) = self.appears(Timestamp::default(), limit).await? else {
            let text = format!(
                "whether {} of {} was dispatched is not known: the answer was lost, and no run shows {}",
                self.work.data.workflow, self.work.data.repository, self.marker
            );
            return Err(Error::new(denied.kind(), text)
                .retry_as(Retry::Never)
                .effect_as(EffectState::Unknown)
                .next("it is not dispatched a second time by itself: look at the repository's Actions"));
        };
        if self.work.cx.attempt() > 2 {
            return Ok(run.id);
        }
        // As an answer it belongs into the journal, and it gets there by being settled.
        let text = format!("run {} has appeared, which an earlier attempt dispatched", run.id);
        Err(Error::new(ErrorKind::Conflict, text).retry_as(Retry::Always).effect_as(EffectState::Unknown))
    }

    fn never_appeared(&self) -> Error {
        let data = self.work.data;
        let text = format!(
            "{} of {} was dispatched, and no run with {} in its name appeared within {} s",
            data.workflow,
            data.repository,
            self.marker,
            data.appears_ms / 1000
        );
        Error::new(ErrorKind::TimedOut, text)
            .retry_as(Retry::Never)
            .effect_as(EffectState::Applied)
            .next(format!("show the input in the workflow's run-name: ${{{{ inputs.{MARKER_INPUT} }}}}"))
    }
}

/// The server does not know that it can be asked which run it makes:
/// <https://github.com/benc-uk/workflow-dispatch/issues/86>.
fn is_unknown_key(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid && error.message().contains("return_run_details")
}

/// With what to do about it, where GitHub's words tell.
fn explained(error: Error, marker: &str) -> Error {
    if error.kind() != ErrorKind::Invalid {
        return error;
    }
    let said = error.message().to_owned();
    if said.contains("'workflow_dispatch' trigger") {
        error.next("give the workflow `on: workflow_dispatch`, on that ref and on the default branch")
    } else if said.contains("Unexpected inputs") && said.contains(MARKER_INPUT) {
        error.next(format!(
            "declare the input {MARKER_INPUT}, and show it in run-name: the run is known by {marker}"
        ))
    } else if said.contains("No ref found") {
        error.next("push the branch or tag first")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deploy_and_each_step_has_a_marker_of_its_own() {
        let (one, other) = (RolloutId::from("0F3KQ8Z7VN"), RolloutId::from("0F3KQ8Z7VM"));
        let of = |rollout, step: &str| marker(rollout, &StepId::from(step));
        assert_eq!(of(&one, "publish"), of(&one, "publish"));
        assert_ne!(of(&one, "publish"), of(&other, "publish"));
        assert_ne!(of(&one, "publish"), of(&one, "announce"));
        assert!(of(&one, "a b/ü").chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    }
}
