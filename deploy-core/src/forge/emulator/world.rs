//! The server: repositories, what is in them, and who may ask how often.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::{
    checks::CommitReports,
    script::{JobScript, RunScript, WorkflowFile},
    state::{JobRun, RunState, RunView},
    wire::{Call, WireAnswer, WireRequest},
};
use crate::hash;

/// How a world is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The token that is known.
    pub token: String,
    /// How many calls an hour the token has.
    pub calls_an_hour: u64,
    /// Whether a dispatch can be asked which run it makes: GitHub, and GitHub Enterprise Server from 3.21 on.
    pub tells_run: bool,
    /// When its clock starts, in milliseconds since 1970.
    pub start_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token: "ghs_0123456789abcdefghijklmnopqrstuvwxyz".into(),
            calls_an_hour: 5_000,
            tells_run: true,
            start_ms: 1_795_000_000_000,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) refs: BTreeMap<String, String>,
    pub(super) workflows: BTreeMap<String, WorkflowFile>,
    pub(super) scripts: VecDeque<RunScript>,
    /// Oldest first.
    pub(super) runs: Vec<RunState>,
    pub(super) reports: BTreeMap<String, CommitReports>,
    moved: bool,
}

/// A server with repositories. Pure: it is told the time.
#[derive(Debug)]
pub struct World {
    pub(super) config: Config,
    pub(super) repositories: BTreeMap<String, Repository>,
    next_id: u64,
    /// The hour that is counted, and the calls in it.
    hour: (i64, u64),
}

const HOUR_MS: i64 = 3_600_000;

impl World {
    /// A server without repositories.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let hour = (config.start_ms, 0);
        Self { config, repositories: BTreeMap::new(), next_id: 1_000, hour }
    }

    /// Adds a repository with the branch `main`, or a workflow to it.
    pub fn workflow(&mut self, repository: &str, file: WorkflowFile) {
        let repository = self.repository(repository);
        repository.refs.insert("main".into(), hash::of(&"main").chars().take(40).collect());
        repository.workflows.insert(file.file.clone(), file);
    }

    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// The repository has another name from now on, and the old one leads there.
    pub fn moved(&mut self, repository: &str) {
        self.repository(repository).moved = true;
    }

    /// What the next run of the repository does; those without a script succeed after a minute.
    pub fn next_run(&mut self, repository: &str, script: RunScript) {
        self.repository(repository).scripts.push_back(script);
    }

    /// Somebody else dispatches a workflow. Returns the run.
    pub fn dispatch_by_hand(
        &mut self,
        now_ms: i64,
        repository: &str,
        file: &str,
        inputs: &[(&str, &str)],
        script: RunScript,
    ) -> u64 {
        let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.begin(now_ms, repository, file, "main", inputs, script)
    }

    /// The runs of a repository, oldest first.
    #[must_use]
    pub fn runs(&self, now_ms: i64, repository: &str) -> Vec<RunView> {
        let repository = self.repositories.get(repository);
        repository.into_iter().flat_map(|found| &found.runs).map(|run| run.summary(now_ms)).collect()
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn begin(
        &mut self,
        now: i64,
        repository: &str,
        file: &str,
        git_ref: &str,
        inputs: BTreeMap<String, String>,
        script: RunScript,
    ) -> u64 {
        let id = self.id();
        let scripts: Vec<JobScript> = script.jobs.clone();
        let jobs = scripts
            .into_iter()
            .map(|script| JobRun { id: self.id(), script, from_ms: now, attempt: 1 })
            .collect();
        let repository = self.repository(repository);
        let title =
            repository.workflows.get(file).map_or_else(|| file.to_owned(), |found| found.title(&inputs));
        let sha = repository.refs.get(git_ref).cloned().unwrap_or_default();
        repository.runs.push(RunState {
            id,
            file: file.to_owned(),
            title,
            inputs,
            git_ref: git_ref.to_owned(),
            sha,
            created_ms: now,
            script,
            attempt: 1,
            jobs,
            ends_ms: None,
            before: None,
        });
        id
    }

    /// Asks it, at this time.
    pub(super) fn call(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        if call.name == "download" {
            return self.download(now, call, request);
        }
        let known = |scheme: &str| Some(format!("{scheme} {}", self.config.token)) == request.authorization;
        if call.name == "build-statuses" {
            let ok = known("Bearer")
                || request.authorization.as_ref().is_some_and(|given| given.starts_with("Basic "));
            return if ok { self.build_statuses(call, request) } else { WireAnswer::empty(401) };
        }
        if request.agent.as_deref().is_none_or(str::is_empty) {
            let text = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
            return WireAnswer::error(403, text);
        }
        if !known("Bearer") {
            return WireAnswer::error(401, "Bad credentials");
        }
        if now - self.hour.0 >= HOUR_MS {
            self.hour = (now, 0);
        }
        if self.hour.1 >= self.config.calls_an_hour {
            let text = "API rate limit exceeded for user ID 7. If you reach out to GitHub Support for help, please include the request ID.";
            return self.counted(WireAnswer::error(403, text));
        }
        let answer = self.answer(now, call, request);
        let answer = if request.method == "GET" && answer.status == 200 {
            conditional(answer, request)
        } else {
            answer
        };
        // What has not changed is free: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
        if answer.status != 304 {
            self.hour.1 += 1;
        }
        self.counted(answer)
    }

    fn counted(&self, answer: WireAnswer) -> WireAnswer {
        let (limit, used) = (self.config.calls_an_hour, self.hour.1);
        answer
            .with("x-ratelimit-limit", limit.to_string())
            .with("x-ratelimit-remaining", limit.saturating_sub(used).to_string())
            .with("x-ratelimit-used", used.to_string())
            .with("x-ratelimit-reset", ((self.hour.0 + HOUR_MS) / 1000).to_string())
            .with("x-ratelimit-resource", "core")
    }

    fn answer(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        match self.repositories.get(&call.repository) {
            None => return WireAnswer::error(404, "Not Found"),
            Some(found) if found.moved => {
                let to = format!("{}/repositories/1", request.base);
                let status = if request.method == "GET" { 301 } else { 307 };
                return WireAnswer::error(status, "Moved Permanently").with("location", to);
            }
            Some(_) => {}
        }
        match call.name {
            "dispatch" => self.dispatch(now, call, request),
            "list-runs" => self.list_runs(now, call, request),
            "get-run" => self.get_run(now, call, request),
            "list-jobs" => self.list_jobs(now, call, request),
            "annotations" => self.annotations(call),
            "job-log" => self.job_log(now, call, request),
            "cancel" => self.cancel(now, call, false),
            "force-cancel" => self.cancel(now, call, true),
            "rerun" => self.rerun(now, call),
            "check-runs" => self.check_runs(call, request),
            "status" => self.combined_status(call, request),
            _ => WireAnswer::error(404, "Not Found"),
        }
    }
}

/// With its tag, or nothing if the client has it.
fn conditional(answer: WireAnswer, request: &WireRequest) -> WireAnswer {
    let tag = format!("W/\"{}\"", hash::bytes(&answer.body));
    if request.if_none_match.as_ref() == Some(&tag) {
        return WireAnswer::empty(304).with("etag", tag);
    }
    answer.with("etag", tag)
}

/// One page of a list, and how many there are.
pub(super) fn page<'a, T>(all: &'a [T], request: &WireRequest) -> &'a [T] {
    let number = |name: &str, default: usize| {
        request.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
    };
    let size = number("per_page", 30).min(100);
    let from = (number("page", 1) - 1).saturating_mul(size).min(all.len());
    all.get(from..from.saturating_add(size).min(all.len())).unwrap_or_default()
}

/// What is said to whom may not do something.
pub(super) fn forbidden() -> WireAnswer {
    WireAnswer::json(403, &json!({ "message": "Resource not accessible by integration", "status": "403" }))
}
