//! Workflow steps: a GitHub Actions workflow is dispatched on a ref, found, followed to its end, and cancelled with the deploy.
//!
//! # What the workflow has to have
//!
//! ```yaml
//! run-name: publish ${{ inputs.version }} ${{ inputs.deploy_kit_marker }}
//! on:
//!   workflow_dispatch:
//!     inputs:
//!       version: { required: true }
//!       deploy_kit_marker: { required: false }
//! ```
//!
//! The marker names the deploy and the step. It is how a run is known as ours where GitHub does not say which one it made
//! (GitHub Enterprise Server before 3.21, and an answer that was lost): somebody else's run never has it.
//!
//! # What may happen
//!
//! - The dispatch is sent at most once. After an answer that was lost, the run is looked for by its marker; if none
//!   appears, the step fails with that doubt, and a person looks. It is never dispatched again by itself.
//! - If its failed jobs failed because GitHub's own rate limit was met or a runner was lost, they are run once more. A failure of
//!   the work itself never is.
//! - Each wait has an end: until the run appears, until it is completed, until it is cancelled. A run that takes too long
//!   is cancelled, and forced to end if that does not help.
//! - The lines of its progress and the ends of the logs of failed jobs are live events, scrubbed.

mod cancel;
mod dispatch;
mod failure;
mod follow;
mod lines;
#[cfg(all(test, feature = "forge-emulator"))]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{dispatch::Dispatching, follow::Following};
use super::StepRunner;
use crate::{
    context::{StepContext, StepLine},
    error::{Error, ErrorKind, Result},
    forge::{GitHub, Page, RepositoryName},
    model::{Component, Release, Runner, Step, StepKind, Undo, millis},
    platform::Settled,
    report::scrub_line,
    state::journal::Intent,
};

/// The input that carries the marker.
pub const MARKER_INPUT: &str = "deploy_kit_marker";

/// A workflow to be run as a step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a workflow is run as a step of a plan"]
pub struct Workflow {
    data: Data,
}

/// What the runner is told, as the plan stores it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Data {
    repository: String,
    workflow: String,
    #[serde(rename = "ref")]
    git_ref: String,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    appears_ms: u64,
    runs_ms: u64,
    cancels_ms: u64,
}

impl std::fmt::Debug for Data {
    /// Without the inputs' values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} on {} with {:?}",
            self.workflow,
            self.repository,
            self.git_ref,
            self.inputs.keys()
        )
    }
}

impl Workflow {
    /// A workflow by its file's name (`publish.yml`), of a repository (`owner/name`), on a branch or tag. Its run may take two
    /// minutes to appear, half an hour to be completed, and two minutes to be cancelled.
    pub fn new(
        repository: impl Into<String>,
        workflow: impl Into<String>,
        git_ref: impl Into<String>,
    ) -> Self {
        Self {
            data: Data {
                repository: repository.into(),
                workflow: workflow.into(),
                git_ref: git_ref.into(),
                inputs: BTreeMap::new(),
                appears_ms: 120_000,
                runs_ms: 1_800_000,
                cancels_ms: 120_000,
            },
        }
    }

    /// With an input. Whoever may read the repository's runs may read it: no secrets.
    pub fn input(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.data.inputs.insert(name.into(), value.into());
        self
    }

    /// With another limit for its run to appear after the dispatch.
    pub fn appears_within(mut self, limit: Duration) -> Self {
        self.data.appears_ms = millis(limit);
        self
    }

    /// With another limit for its run to be completed.
    pub fn runs_within(mut self, limit: Duration) -> Self {
        self.data.runs_ms = millis(limit);
        self
    }

    /// With another limit for its run to end once it is cancelled; and again as long once it is forced to.
    pub fn cancels_within(mut self, limit: Duration) -> Self {
        self.data.cancels_ms = millis(limit);
        self
    }

    /// The effect step that runs it, to be run by a [`WorkflowRunner`]. `undo` says what makes up for what the workflow does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is no repository, an empty workflow or ref, and an input whose name says that it is
    /// a secret or that is the marker's.
    pub fn step(self, id: impl Into<String>, component: Component, undo: Undo) -> Result<Step> {
        let data = self.data;
        RepositoryName::parse(&data.repository)?;
        let invalid = |text: String| Error::new(ErrorKind::Invalid, text);
        if data.workflow.is_empty() || data.git_ref.is_empty() {
            return Err(invalid(format!("a workflow of {} needs a file and a ref", data.repository)));
        }
        if data.inputs.contains_key(MARKER_INPUT) {
            return Err(invalid(format!("the input {MARKER_INPUT} is set by the step itself")));
        }
        let values = data.inputs.iter();
        let values = values.fold(Release::of_what_runs(), |all, (key, value)| all.env("inputs", key, value));
        if let Some(secret) = values.plain_secret() {
            let text = format!(
                "the input {} of {} would be a secret that others can read",
                secret.key, data.workflow
            );
            return Err(
                invalid(text).next("keep it as a secret of the repository, where the workflow can use it")
            );
        }
        let title = format!("run workflow {} of {} on {}", data.workflow, data.repository, data.git_ref);
        // What one execution takes at most: appear and run, twice, and be cancelled and forced to end.
        let deadline = (data.appears_ms.saturating_add(data.runs_ms).saturating_add(data.cancels_ms))
            .saturating_mul(2)
            .saturating_add(120_000);
        let data = serde_json::to_value(data).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the data of a workflow step").because(error)
        })?;
        let mut step =
            Step::new(id, component, StepKind::Effect, title).with(data).within_ms(deadline).undone_by(undo);
        step.runner = Runner::Workflow;
        Ok(step)
    }
}

/// Runs workflow steps. Clones are the same.
#[derive(Debug, Clone)]
pub struct WorkflowRunner {
    github: GitHub,
}

impl WorkflowRunner {
    /// Over this connection. The token is resolved by the deployer's secrets, for each call.
    #[must_use]
    pub fn new(github: GitHub) -> Self {
        Self { github }
    }
}

/// What a step's effects say of themselves in the journal: enough to look for them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Change {
    repository: String,
    workflow: String,
    marker: String,
    run: u64,
    attempt: u64,
}

/// What runs, and for which step: shared by the parts of one execution.
#[derive(Debug, Clone, Copy)]
struct Work<'a> {
    github: &'a GitHub,
    cx: &'a StepContext,
    data: &'a Data,
    repository: &'a RepositoryName,
}

impl Work<'_> {
    fn elapsed(&self) -> Duration {
        self.github.api().clock.elapsed()
    }

    /// Tells whoever watches what a job says.
    fn say(&self, job: &str, line: &str) {
        self.cx.log(StepLine {
            writer: scrub_line(job),
            stream: "stdout",
            line: line.to_owned(),
            cut: false,
        });
    }

    async fn sleep(&self, wait: Duration) {
        self.github.api().clock.sleep(wait).await;
    }

    /// Sleeps, and not much longer once the step is to end.
    async fn rest(&self, wait: Duration) {
        const GLANCE: Duration = Duration::from_millis(500);
        let until = self.elapsed() + wait;
        while !self.cx.interrupted() {
            let left = until.saturating_sub(self.elapsed());
            if left.is_zero() {
                return;
            }
            self.sleep(left.min(GLANCE)).await;
        }
    }
}

/// How long a look that failed is not repeated; `None`: it is not worth repeating.
fn passes_in(error: &Error, pause: Duration) -> Option<Duration> {
    match (error.kind(), error.retry()) {
        (ErrorKind::Throttled, crate::error::Retry::After(wait)) => Some(wait),
        (ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Malformed, _) => {
            Some(pause)
        }
        _ => None,
    }
}

#[async_trait]
impl StepRunner for WorkflowRunner {
    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let data: Data = serde_json::from_value(step.data.clone()).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("the data of workflow step {}", step.id)).because(error)
        })?;
        let repository = RepositoryName::parse(&data.repository)?;
        let work = Work { github: &self.github, cx, data: &data, repository: &repository };
        let run = Dispatching::new(work, &step.id).run().await?;
        Following::new(work, run).until_it_ends().await
    }

    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        let change: Change = serde_json::from_value(intent.change.clone()).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("the intent {} of a workflow step", intent.key))
                .because(error)
        })?;
        let repository = RepositoryName::parse(&change.repository)?;
        let reader = self.github.reader(cx).await?;
        if intent.key == dispatch::KEY {
            let place = (&repository, &*change.workflow);
            let run =
                reader.marked_run(place, &change.marker, intent.signed_at, &mut Page::default()).await?;
            // That there is none yet says nothing: it may be on its way for as long as it likes.
            return Ok(run.map_or(Settled::Unknown, |run| Settled::Applied(json!({ "run": run.id }))));
        }
        let run = reader.run(&repository, change.run, &mut Page::default()).await?;
        let landed = run.is_some_and(|run| match &*intent.key {
            follow::RERUN => run.run_attempt > change.attempt,
            // Whatever ended it, asking for its end changes nothing any more.
            cancel::CANCEL | cancel::FORCE => run.is_completed(),
            _ => false,
        });
        Ok(if landed { Settled::Applied(Value::Null) } else { Settled::Unknown })
    }
}
