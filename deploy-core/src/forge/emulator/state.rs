//! Runs and jobs: what they are at a time follows from their scripts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::script::{JobScript, RunScript};
use crate::model::Timestamp;

/// A time as GitHub writes it: whole seconds.
pub(super) fn written(ms: i64) -> String {
    let text = Timestamp::from_millis(ms).to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

#[derive(Debug, Clone)]
pub(super) struct JobRun {
    pub(super) id: u64,
    pub(super) script: JobScript,
    /// When its attempt began.
    pub(super) from_ms: i64,
    pub(super) attempt: u64,
}

#[derive(Debug, Clone)]
pub(super) struct RunState {
    pub(super) id: u64,
    pub(super) file: String,
    pub(super) title: String,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) git_ref: String,
    pub(super) sha: String,
    pub(super) created_ms: i64,
    pub(super) script: RunScript,
    pub(super) attempt: u64,
    pub(super) jobs: Vec<JobRun>,
    /// When what does not end before is ended.
    pub(super) ends_ms: Option<i64>,
    /// What is shown until then instead.
    pub(super) before: Option<(i64, Box<RunState>)>,
}

/// A run, for those who look at the emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunView {
    /// Its number.
    pub id: u64,
    /// Its inputs.
    pub inputs: BTreeMap<String, String>,
    /// Its attempt, from 1.
    pub attempt: u64,
    /// Its conclusion, if it is completed.
    pub conclusion: Option<String>,
}

impl JobRun {
    /// When it ends, and how.
    fn end(&self, ends_ms: Option<i64>) -> (i64, &str) {
        let start = self.from_ms.saturating_add(self.script.queued_ms);
        let end = start.saturating_add(self.script.takes_ms);
        match ends_ms {
            Some(at) if at < end => (at, "cancelled"),
            _ => (end, &self.script.conclusion),
        }
    }

    /// `queued`, `in_progress`, `completed` with a conclusion.
    pub(super) fn status(&self, now: i64, ends_ms: Option<i64>) -> (&'static str, Option<&str>) {
        let (end, conclusion) = self.end(ends_ms);
        if now >= end {
            ("completed", Some(conclusion))
        } else if now >= self.from_ms.saturating_add(self.script.queued_ms) {
            ("in_progress", None)
        } else {
            ("queued", None)
        }
    }

    pub(super) fn has_failed(&self, now: i64, ends_ms: Option<i64>) -> bool {
        !matches!(self.status(now, ends_ms), (_, None | Some("success" | "skipped" | "neutral")))
    }

    fn view(&self, run: &RunState, repository: &str, base: &str, now: i64) -> Value {
        let (status, conclusion) = self.status(now, run.ends_ms);
        let last = self.script.steps.len();
        let steps: Vec<Value> = (1..=last)
            .filter_map(|number| Some((number, self.script.steps.get(number - 1)?)))
            .filter(|_| status != "queued")
            .map(|(number, name)| {
                let (status, conclusion) = match (status, number == last) {
                    ("completed", true) => ("completed", conclusion),
                    ("in_progress", true) => ("in_progress", None),
                    _ => ("completed", Some("success")),
                };
                json!({ "number": number, "name": name, "status": status, "conclusion": conclusion,
                    "started_at": null, "completed_at": null })
            })
            .collect();
        json!({
            "id": self.id, "run_id": run.id, "run_attempt": self.attempt, "name": self.script.name,
            "head_sha": run.sha, "head_branch": run.git_ref, "workflow_name": run.file,
            "status": status, "conclusion": conclusion, "steps": steps,
            "started_at": written(self.from_ms), "completed_at": null,
            "check_run_url": format!("{base}/repos/{repository}/check-runs/{}", self.id),
            "html_url": format!("https://github.test/{repository}/actions/runs/{}/job/{}", run.id, self.id),
            "labels": ["ubuntu-latest"],
            "runner_id": 21_000_000_000_u64,
            "runner_name": (status != "queued").then_some("GitHub Actions 7"),
        })
    }
}

impl RunState {
    /// What is shown at that time.
    pub(super) fn shown(&self, now: i64) -> &Self {
        match &self.before {
            Some((until, before)) if now < *until => before,
            _ => self,
        }
    }

    pub(super) fn status(&self, now: i64) -> (&'static str, Option<String>) {
        let all: Vec<_> = self.jobs.iter().map(|job| job.status(now, self.ends_ms)).collect();
        if all.iter().all(|(status, _)| *status == "completed") {
            let any = |word: &str| all.iter().any(|(_, ended)| *ended == Some(word));
            let conclusion = match &self.script.conclusion {
                Some(word) => word,
                None if any("cancelled") => "cancelled",
                None if any("failure") => "failure",
                None if any("timed_out") => "timed_out",
                None if any("success") => "success",
                None => "skipped",
            };
            return ("completed", Some(conclusion.to_owned()));
        }
        let begun = all.iter().any(|(status, _)| *status != "queued");
        (if begun { "in_progress" } else { "queued" }, None)
    }

    pub(super) fn view(&self, repository: &str, base: &str, now: i64) -> Value {
        let (status, conclusion) = self.status(now);
        json!({
            "id": self.id, "name": self.title, "display_title": self.title, "event": "workflow_dispatch",
            "status": status, "conclusion": conclusion, "run_attempt": self.attempt, "run_number": self.id,
            "head_branch": self.git_ref, "head_sha": self.sha, "path": format!(".github/workflows/{}", self.file),
            "created_at": written(self.created_ms), "updated_at": written(self.created_ms),
            "url": format!("{base}/repos/{repository}/actions/runs/{}", self.id),
            "html_url": format!("https://github.test/{repository}/actions/runs/{}", self.id),
        })
    }

    pub(super) fn jobs_view(&self, repository: &str, base: &str, now: i64) -> Vec<Value> {
        self.jobs.iter().map(|job| job.view(self, repository, base, now)).collect()
    }

    pub(super) fn summary(&self, now: i64) -> RunView {
        let (id, attempt, inputs) = (self.id, self.attempt, self.inputs.clone());
        RunView { id, inputs, attempt, conclusion: self.status(now).1 }
    }
}
