//! The calls of GitHub's REST API that are used, and as much of the answers as is used. What is not known is skipped: a new
//! field, a new word for a status.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{
    answer::{self, Sent},
    api::{Page, Reader, part},
};
use crate::{
    context::Permit,
    error::{Error, ErrorKind, Result},
    model::Timestamp,
};

/// The most jobs of a run that are looked at: a matrix has at most 256.
const JOB_PAGES: usize = 5;
/// How many pages of runs, of a hundred each, are searched.
const RUN_PAGES: usize = 10;
/// How far the clocks of this machine and of GitHub may be apart for a run to be found.
const SKEW_MS: i64 = 600_000;

/// A repository, `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryName(String);

impl RepositoryName {
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let allowed = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part != "." && part != ".." && part.chars().all(plain)
        };
        match name.split_once('/') {
            Some((owner, repository)) if allowed(owner) && allowed(repository) => Ok(Self(name.to_owned())),
            _ => {
                let text = format!("`{name}` is not a repository of GitHub");
                Err(Error::new(ErrorKind::Invalid, text).next("write owner/name"))
            }
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run of a workflow.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: u64,
    /// `queued`, `in_progress`, `completed`, and some more that mean "not yet".
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) conclusion: Option<String>,
    #[serde(default)]
    pub(crate) event: String,
    /// What `run-name` gave.
    #[serde(default)]
    display_title: Option<String>,
    /// The same on servers that have no `display_title` yet.
    #[serde(default)]
    name: Option<String>,
    /// From 1; a re-run is the next.
    #[serde(default = "first")]
    pub(crate) run_attempt: u64,
    #[serde(default)]
    pub(crate) html_url: String,
    #[serde(default)]
    pub(crate) head_sha: String,
    #[serde(default)]
    created_at: Option<Timestamp>,
}

fn first() -> u64 {
    1
}

impl Run {
    pub(crate) fn is_completed(&self) -> bool {
        self.status.as_deref() == Some("completed")
    }

    /// Whether its name has the marker, as a word of its own.
    pub(crate) fn shows(&self, marker: &str) -> bool {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let names = self.display_title.iter().chain(&self.name);
        names.flat_map(|name| name.split(|c| !part(c))).any(|word| word == marker)
    }
}

/// A job of a run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) conclusion: Option<String>,
    #[serde(default)]
    pub(crate) runner_name: Option<String>,
    #[serde(default)]
    pub(crate) steps: Option<Vec<JobStep>>,
    /// Its last part is the id of the check run that has its annotations.
    #[serde(default)]
    check_run_url: Option<String>,
}

impl Job {
    /// The check run that has its annotations.
    pub(crate) fn check_run(&self) -> Option<u64> {
        self.check_run_url.as_deref()?.rsplit('/').next()?.parse().ok()
    }
}

/// A step of a job.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobStep {
    #[serde(default)]
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) conclusion: Option<String>,
}

/// What GitHub or a runner says about a job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Annotation {
    pub(crate) annotation_level: Option<String>,
    pub(crate) message: Option<String>,
}

/// A request to run a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch<'a> {
    pub(crate) repository: &'a RepositoryName,
    /// The file's name, or the workflow's number.
    pub(crate) workflow: &'a str,
    pub(crate) git_ref: &'a str,
    pub(crate) inputs: &'a BTreeMap<String, String>,
    /// Asks which run it makes.
    pub(crate) details: bool,
}

/// What GitHub answers to a dispatch, if it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dispatched {
    #[serde(rename = "workflow_run_id")]
    pub(crate) run: u64,
}

#[derive(Deserialize)]
struct Runs {
    workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Jobs {
    total_count: usize,
    jobs: Vec<Job>,
}

impl Reader<'_> {
    /// Dispatches a workflow: one POST. `None`: the server does not tell which run it made.
    ///
    /// <https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event>, and for `return_run_details`
    /// <https://github.blog/changelog/2026-02-19-workflow-dispatch-api-now-returns-run-ids>.
    pub(crate) async fn dispatch(&self, what: &Dispatch<'_>, permit: &Permit) -> Result<Option<Dispatched>> {
        let Dispatch { repository, workflow, git_ref, inputs, details } = what;
        let doing = format!("dispatch of {workflow} in {repository}");
        let mut body = json!({ "ref": git_ref, "inputs": inputs });
        if *details {
            body["return_run_details"] = json!(true);
        }
        let path = format!("/repos/{repository}/actions/workflows/{}/dispatches", part(workflow));
        let body = body.to_string().into();
        let answer = self.api.mutate(&doing, &path, body, &self.auth, permit).await?;
        if answer.status != 200 {
            return Ok(None);
        }
        let told = serde_json::from_slice(&answer.body);
        told.map(Some).map_err(|error| answer::malformed(&doing, Sent::Mutation, &error.to_string()))
    }

    /// The run of a workflow whose name shows the marker, among those that were made since then. The newest page is asked for
    /// conditionally. One call for each hundred runs.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if two runs show it: then it cannot be told which is ours.
    pub(crate) async fn marked_run(
        &self,
        (repository, workflow): (&RepositoryName, &str),
        marker: &str,
        since: Timestamp,
        newest: &mut Page,
    ) -> Result<Option<Run>> {
        let doing = format!("list of the runs of {workflow} in {repository}");
        let since = Timestamp::from_millis(since.as_millis().saturating_sub(SKEW_MS));
        let mut found: Option<Run> = None;
        let mut older = Page::default();
        for number in 1..=RUN_PAGES {
            let path = format!(
                "/repos/{repository}/actions/workflows/{}/runs?per_page=100&page={number}",
                part(workflow)
            );
            let page = if number == 1 { &mut *newest } else { &mut older };
            if number > 1 {
                *page = Page::default();
            }
            self.page(&doing, &path, page).await?;
            let Runs { workflow_runs: runs } = page.read(&doing)?;
            // Newest first.
            let last = runs.len() < 100
                || runs.last().is_some_and(|run| run.created_at.is_some_and(|at| at < since));
            for run in runs {
                if run.event != "workflow_dispatch" || !run.shows(marker) {
                    continue;
                }
                // A run may move to the next page while they are read.
                if let Some(other) = found.as_ref().filter(|other| other.id != run.id) {
                    let text = format!(
                        "two runs of {workflow} show the marker {marker}: {} and {}",
                        other.id, run.id
                    );
                    return Err(Error::new(ErrorKind::Conflict, text)
                        .retry_as(crate::error::Retry::Never)
                        .next(
                            "somebody has dispatched it by hand with the same marker: look which is which",
                        ));
                }
                found = Some(run);
            }
            if last {
                break;
            }
        }
        Ok(found)
    }

    /// One look at a run. `None`: it does not exist (yet). One call.
    pub(crate) async fn run(
        &self,
        repository: &RepositoryName,
        run: u64,
        page: &mut Page,
    ) -> Result<Option<Run>> {
        let doing = format!("look at run {run} of {repository}");
        match self.page(&doing, &format!("/repos/{repository}/actions/runs/{run}"), page).await {
            Ok(_) => page.read(&doing).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The jobs of a run's newest attempt. One call for each hundred.
    pub(crate) async fn jobs(
        &self,
        repository: &RepositoryName,
        run: u64,
        pages: &mut Vec<Page>,
    ) -> Result<Vec<Job>> {
        let doing = format!("list of the jobs of run {run} of {repository}");
        let mut all: Vec<Job> = Vec::new();
        for number in 0..JOB_PAGES {
            if pages.len() == number {
                pages.push(Page::default());
            }
            let Some(page) = pages.get_mut(number) else { break };
            let path = format!(
                "/repos/{repository}/actions/runs/{run}/jobs?filter=latest&per_page=100&page={}",
                number + 1
            );
            self.page(&doing, &path, page).await?;
            let Jobs { total_count, jobs } = page.read(&doing)?;
            let ended = jobs.is_empty();
            all.extend(jobs);
            if ended || all.len() >= total_count {
                break;
            }
        }
        Ok(all)
    }

    /// What GitHub and the runner say about a job, the first hundred. One call.
    pub(crate) async fn annotations(
        &self,
        repository: &RepositoryName,
        check_run: u64,
    ) -> Result<Vec<Annotation>> {
        let doing = format!("annotations of check run {check_run} of {repository}");
        self.get(&doing, &format!("/repos/{repository}/check-runs/{check_run}/annotations?per_page=100"))
            .await
    }

    /// The end of a job's log. Two calls: GitHub redirects to where logs are kept.
    pub(crate) async fn job_log(&self, repository: &RepositoryName, job: u64) -> Result<String> {
        let doing = format!("log of job {job} of {repository}");
        self.download(&doing, &format!("/repos/{repository}/actions/jobs/{job}/logs")).await
    }

    /// Asks GitHub to end a run. Harmless twice; [`ErrorKind::Conflict`] if it has ended already.
    pub(crate) async fn cancel(
        &self,
        repository: &RepositoryName,
        run: u64,
        force: bool,
        permit: &Permit,
    ) -> Result<()> {
        let how = if force { "force-cancel" } else { "cancel" };
        self.of_run(how, repository, run, permit).await
    }

    /// Asks GitHub to run the failed jobs of a run once more.
    pub(crate) async fn rerun_failed(
        &self,
        repository: &RepositoryName,
        run: u64,
        permit: &Permit,
    ) -> Result<()> {
        self.of_run("rerun-failed-jobs", repository, run, permit).await
    }

    async fn of_run(&self, how: &str, repository: &RepositoryName, run: u64, permit: &Permit) -> Result<()> {
        let doing = format!("{how} of run {run} of {repository}");
        let path = format!("/repos/{repository}/actions/runs/{run}/{how}");
        let answer = self.api.mutate(&doing, &path, "{}".into(), &self.auth, permit).await?;
        match answer.status {
            // A page instead of an API's answer: whoever sent it, it need not be GitHub.
            200 if !answer.body.is_empty() => serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body)
                .map(|_| ())
                .map_err(|error| answer::malformed(&doing, Sent::Mutation, &error.to_string())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_as_a_word_of_its_own() {
        let run = |title: &str| -> Run {
            serde_json::from_value(json!({ "id": 1, "name": "publish", "display_title": title })).unwrap()
        };
        for with in ["publish dk-0F3K-1a2b", "dk-0F3K-1a2b", "1.2 (dk-0F3K-1a2b)"] {
            assert!(run(with).shows("dk-0F3K-1a2b"), "{with}");
        }
        for without in ["publish", "dk-0F3K-1a2b3", "x-dk-0F3K-1a2b", "dk-0F3K-1a2b-2", ""] {
            assert!(!run(without).shows("dk-0F3K-1a2b"), "{without}");
        }
    }

    #[test]
    fn unknown_words_and_missing_fields_are_no_error_and_a_missing_id_is() {
        let run: Run = serde_json::from_value(json!({ "id": 7, "status": "brand_new", "more": [] })).unwrap();
        assert!(!run.is_completed() && run.run_attempt == 1);
        assert!(serde_json::from_value::<Run>(json!({ "status": "queued" })).is_err());
        let job: Job =
            serde_json::from_value(json!({ "id": 1, "steps": null, "runner_id": 9_999_999_999_u64,
            "check_run_url": "https://api.github.com/repos/a/b/check-runs/44" }))
            .unwrap();
        assert_eq!(job.check_run(), Some(44));
    }

    #[test]
    fn names_of_repositories() {
        assert!(RepositoryName::parse("acme/shop.js").is_ok());
        for bad in ["acme", "acme/", "/shop", "a/b/c", "a/..", "a b/c", "a/b?x=1"] {
            assert_eq!(RepositoryName::parse(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }
}
