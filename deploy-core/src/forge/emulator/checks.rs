//! What is said about commits: GitHub's check runs and statuses, Bitbucket's build statuses.

use serde_json::{Value, json};

use super::{
    wire::{Call, WireAnswer, WireRequest},
    world::{World, page},
};

/// What is said about one commit.
#[derive(Debug, Clone, Default)]
pub(super) struct CommitReports {
    /// Name, status, conclusion.
    checks: Vec<(String, String, Option<String>)>,
    /// Context, state.
    statuses: Vec<(String, String)>,
    /// Key, state.
    builds: Vec<(String, String)>,
}

impl World {
    /// A check run of a commit: `queued`, `in_progress`, or `completed` with a conclusion.
    pub fn check_run(
        &mut self,
        repository: &str,
        commit: &str,
        name: &str,
        status: &str,
        conclusion: Option<&str>,
    ) {
        let check = (name.to_owned(), status.to_owned(), conclusion.map(str::to_owned));
        self.reports(repository, commit).checks.push(check);
    }

    /// A commit status: `success`, `pending`, `failure`, `error`.
    pub fn commit_status(&mut self, repository: &str, commit: &str, context: &str, state: &str) {
        self.reports(repository, commit).statuses.push((context.to_owned(), state.to_owned()));
    }

    /// A build status of Bitbucket: `SUCCESSFUL`, `INPROGRESS`, `FAILED`, `STOPPED`.
    pub fn build_status(&mut self, repository: &str, commit: &str, key: &str, state: &str) {
        self.reports(repository, commit).builds.push((key.to_owned(), state.to_owned()));
    }

    fn reports(&mut self, repository: &str, commit: &str) -> &mut CommitReports {
        self.repository(repository).reports.entry(commit.to_owned()).or_default()
    }

    pub(super) fn check_runs(&mut self, call: &Call, request: &WireRequest) -> WireAnswer {
        let repository = self.repository(&call.repository);
        let Some(found) = repository.reports.get(&call.about) else {
            return WireAnswer::error(422, &format!("No commit found for SHA: {}", call.about));
        };
        let one = |(name, status, conclusion): &(String, String, Option<String>)| json!({ "id": 1, "name": name, "status": status, "conclusion": conclusion, "head_sha": call.about });
        let checks: Vec<Value> = page(&found.checks, request).iter().map(one).collect();
        WireAnswer::json(200, &json!({ "total_count": found.checks.len(), "check_runs": checks }))
    }

    pub(super) fn combined_status(&mut self, call: &Call, request: &WireRequest) -> WireAnswer {
        let repository = self.repository(&call.repository);
        let Some(found) = repository.reports.get(&call.about) else {
            return WireAnswer::error(422, &format!("No commit found for SHA: {}", call.about));
        };
        let any = |word: &str| found.statuses.iter().any(|(_, state)| state == word);
        // Without statuses it says "pending": the list has to be looked at.
        let state = if any("failure") || any("error") {
            "failure"
        } else if any("pending") || found.statuses.is_empty() {
            "pending"
        } else {
            "success"
        };
        let one = |(context, state): &(String, String)| json!({ "context": context, "state": state });
        let statuses: Vec<Value> = page(&found.statuses, request).iter().map(one).collect();
        let body = json!({ "state": state, "sha": call.about, "total_count": found.statuses.len(), "statuses": statuses });
        WireAnswer::json(200, &body)
    }

    pub(super) fn build_statuses(&mut self, call: &Call, request: &WireRequest) -> WireAnswer {
        let missing = |what: &str| {
            WireAnswer::json(
                404,
                &json!({ "type": "error", "error": { "message": format!("{what} not found") } }),
            )
        };
        let Some(repository) = self.repositories.get(&call.repository) else {
            return missing("Repository");
        };
        let Some(found) = repository.reports.get(&call.about) else { return missing("Commit") };
        let number = |name: &str, default: usize| {
            request.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
        };
        let (size, at) = (number("pagelen", 10).min(100), number("page", 1));
        let from = ((at - 1) * size).min(found.builds.len());
        let to = (from + size).min(found.builds.len());
        let one = |(key, state): &(String, String)| json!({ "type": "build", "key": key, "name": key, "state": state });
        let values: Vec<Value> = found.builds.get(from..to).unwrap_or_default().iter().map(one).collect();
        let mut body = json!({ "size": found.builds.len(), "page": at, "pagelen": size, "values": values });
        if to < found.builds.len() {
            let next = format!("{}{}?pagelen={size}&page={}", request.base, request.path, at + 1);
            body["next"] = Value::String(next);
        }
        WireAnswer::json(200, &body)
    }
}
