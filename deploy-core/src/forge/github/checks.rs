//! Whether a commit's CI is green: check runs and commit statuses.
//!
//! <https://docs.github.com/en/rest/checks/runs#list-check-runs-for-a-git-reference>,
//! <https://docs.github.com/en/rest/commits/statuses#get-the-combined-status-for-a-specific-reference>.

use serde::Deserialize;

use super::{
    super::{
        api::Reader,
        commit::{CommitState, Tally, Verdict, is_full_id, no_full_id},
    },
    GitHub, RepositoryName,
};
use crate::error::{Error, ErrorKind, Result};

/// How many pages of each are read, of a hundred each.
const PAGES: usize = 20;

#[derive(Deserialize)]
struct CheckRuns {
    total_count: usize,
    check_runs: Vec<CheckRun>,
}

#[derive(Deserialize)]
struct CheckRun {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    conclusion: Option<String>,
}

#[derive(Deserialize)]
struct Combined {
    total_count: usize,
    statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    context: String,
    #[serde(default)]
    state: String,
}

/// Whether a commit's CI is green, by GitHub's check runs and commit statuses.
#[derive(Debug, Clone)]
pub struct GitHubChecks {
    github: GitHub,
    repository: RepositoryName,
}

impl GitHubChecks {
    pub(super) fn new(github: GitHub, repository: RepositoryName) -> Self {
        Self { github, repository }
    }

    /// What the check runs (the newest of each) and the statuses (the newest of each context) of a commit say, by its full id.
    /// Skipped and neutral ones have passed, as on GitHub's own pages. One call of each for each hundred. It cannot fail:
    /// what goes wrong is [`CommitState::CannotKnow`] with its reason.
    pub async fn of(&self, commit: &str) -> CommitState {
        if !is_full_id(commit) {
            return no_full_id(commit);
        }
        match self.tally(commit).await {
            Ok(tally) => tally.state(),
            Err(error) => CommitState::CannotKnow { why: error.to_string() },
        }
    }

    /// # Errors
    /// As the calls.
    pub(crate) async fn tally(&self, commit: &str) -> Result<Tally> {
        let reader = self.github.reader(self.github.own_secrets()).await?;
        let mut tally = Tally::default();
        self.check_runs(&reader, commit, &mut tally).await?;
        self.statuses(&reader, commit, &mut tally).await?;
        Ok(tally)
    }

    async fn check_runs(&self, reader: &Reader<'_>, commit: &str, tally: &mut Tally) -> Result<()> {
        let doing = format!("check runs of {commit} in {}", self.repository);
        let mut read = 0;
        for number in 1..=PAGES {
            let repository = &self.repository;
            let path = format!(
                "/repos/{repository}/commits/{commit}/check-runs?filter=latest&per_page=100&page={number}"
            );
            let page: CheckRuns = reader.get(&doing, &path).await?;
            read += page.check_runs.len();
            for run in &page.check_runs {
                let word = run.conclusion.as_deref().unwrap_or_default();
                tally.add(&run.name, of_run(&run.status, word), word);
            }
            if read >= page.total_count {
                return Ok(());
            }
            if page.check_runs.is_empty() {
                break;
            }
        }
        Err(incomplete(&doing))
    }

    async fn statuses(&self, reader: &Reader<'_>, commit: &str, tally: &mut Tally) -> Result<()> {
        let doing = format!("commit statuses of {commit} in {}", self.repository);
        let mut read = 0;
        for number in 1..=PAGES {
            let path =
                format!("/repos/{}/commits/{commit}/status?per_page=100&page={number}", self.repository);
            let page: Combined = reader.get(&doing, &path).await?;
            read += page.statuses.len();
            for status in &page.statuses {
                tally.add(&status.context, of_status(&status.state), &status.state);
            }
            if read >= page.total_count {
                return Ok(());
            }
            if page.statuses.is_empty() {
                break;
            }
        }
        Err(incomplete(&doing))
    }
}

fn incomplete(doing: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("{doing}: not all of them could be read"))
}

fn of_run(status: &str, conclusion: &str) -> Option<Verdict> {
    match (status, conclusion) {
        ("completed", "success" | "neutral" | "skipped") => Some(Verdict::Passed),
        (
            "completed",
            "failure" | "cancelled" | "timed_out" | "action_required" | "stale" | "startup_failure",
        ) => Some(Verdict::Failed),
        ("completed", _) => None,
        _ => Some(Verdict::Runs),
    }
}

fn of_status(state: &str) -> Option<Verdict> {
    match state {
        "success" => Some(Verdict::Passed),
        "failure" | "error" => Some(Verdict::Failed),
        "pending" => Some(Verdict::Runs),
        _ => None,
    }
}
