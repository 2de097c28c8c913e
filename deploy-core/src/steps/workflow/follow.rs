//! Following a run to its conclusion.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    Change, Work,
    failure::{Passing, passing},
    lines::Lines,
    passes_in,
};
use crate::{
    error::{EffectState, Error, ErrorKind, Result, Retry},
    forge::{Job, Page, Run},
    report::{scrub_line, scrub_lines},
};

/// The effect's name.
pub(super) const RERUN: &str = "rerun";
/// How long after a change it is looked again, how much longer each time that nothing has changed, and at most.
const SOON: Duration = Duration::from_secs(2);
const SLOWER: (u32, u32) = (3, 2);
const SELDOM: Duration = Duration::from_secs(15);
/// How many failed jobs are looked into, and how many lines of the log of each are shown.
const JOBS: usize = 3;
const LOG_LINES: usize = 60;

#[derive(Debug)]
pub(super) struct Following<'a> {
    pub(super) work: Work<'a>,
    pub(super) run: u64,
    run_page: Page,
    job_pages: Vec<Page>,
    lines: Lines,
    status: Option<String>,
    pause: Duration,
}

/// One look.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) run: Run,
    pub(super) jobs: Vec<Job>,
}

impl<'a> Following<'a> {
    pub(super) fn new(work: Work<'a>, run: u64) -> Self {
        let (run_page, job_pages, lines) = (Page::default(), Vec::new(), Lines::default());
        Self { work, run, run_page, job_pages, lines, status: None, pause: SOON }
    }

    /// Looks until the run is completed, or too late, or the step is to end.
    pub(super) async fn until_it_ends(mut self) -> Result<Value> {
        let data = self.work.data;
        let (appears, runs) = (Duration::from_millis(data.appears_ms), Duration::from_millis(data.runs_ms));
        let (mut there_by, mut until) = (self.work.elapsed() + appears, self.work.elapsed() + runs);
        let mut attempt = 1;
        loop {
            let wait = match self.look().await {
                Ok(Some(seen)) if seen.run.run_attempt >= attempt => {
                    // From here on it may be missing for as long as it may take to appear: not all of GitHub knows the same.
                    there_by = self.work.elapsed() + appears;
                    if seen.run.is_completed() {
                        if let Some(value) = self.concluded(&seen).await? {
                            return Ok(value);
                        }
                        attempt = seen.run.run_attempt + 1;
                        until = self.work.elapsed() + runs;
                    }
                    self.pause.max(self.work.github.api().budget.spacing(self.work.elapsed()))
                }
                Ok(_) if self.work.elapsed() >= there_by => {
                    let text = format!("attempt {attempt} of {} is not there", self.name());
                    let next = "somebody has deleted the run, or the token may not see it any more";
                    return Err(self.ended(ErrorKind::NotFound, text).next(next));
                }
                Ok(_) => SOON,
                Err(error) => match passes_in(&error, self.pause) {
                    Some(wait) => wait,
                    None => return Err(self.goes_on(error)),
                },
            };
            if self.work.cx.interrupted() {
                return self.stop(ErrorKind::Interrupted).await;
            }
            let left = until.saturating_sub(self.work.elapsed());
            if left.is_zero() {
                return self.stop(ErrorKind::TimedOut).await;
            }
            self.work.rest(wait.min(left)).await;
        }
    }

    /// One look at the run and its jobs, and the lines of what has changed. `None`: it is not there. What has not changed is
    /// not sent again.
    pub(super) async fn look(&mut self) -> Result<Option<Seen>> {
        let Work { github, cx, repository, .. } = self.work;
        let reader = github.reader(cx).await?;
        let Some(run) = reader.run(repository, self.run, &mut self.run_page).await? else { return Ok(None) };
        let jobs = match reader.jobs(repository, self.run, &mut self.job_pages).await {
            // Not all of GitHub knows of a run at the same time.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            jobs => jobs?,
        };
        let news = self.lines.news(&jobs);
        let moved = self.status != run.status || !news.is_empty();
        self.status.clone_from(&run.status);
        self.pause = if moved { SOON } else { (self.pause * SLOWER.0 / SLOWER.1).min(SELDOM) };
        for (job, line) in news {
            self.work.say(&job, &line);
        }
        Ok(Some(Seen { run, jobs }))
    }

    /// What a completed run means. `None`: it is run once more.
    async fn concluded(&mut self, seen: &Seen) -> Result<Option<Value>> {
        if seen.run.conclusion.as_deref() == Some("success") {
            return Ok(Some(output(seen)));
        }
        let failed: Vec<&Job> = seen.jobs.iter().filter(|job| has_failed(job)).collect();
        let mut reasons = Vec::new();
        for job in failed.iter().take(JOBS) {
            reasons.push(self.why(job).await);
        }
        let all = failed.len() <= JOBS && !failed.is_empty();
        let passes = reasons.iter().copied().reduce(|one, other| one.and(other)).flatten().filter(|_| all);
        let error = self.ended(ErrorKind::Unexpected, failure_text(&self.name(), seen, &failed));
        let error = error.next(format!("look at {}", scrub_line(&seen.run.html_url)));
        match passes {
            Some(passing) if seen.run.run_attempt == 1 && !self.work.cx.interrupted() => {
                self.rerun(passing, error).await.map(|()| None)
            }
            Some(passing) => Err(error.context(passing.words())),
            None => Err(error),
        }
    }

    /// Why a job failed, as far as it can be told; the end of its log goes to the event stream. Three calls. What cannot be read
    /// is told there: it must not hide that the job has failed.
    async fn why(&self, job: &Job) -> Option<Passing> {
        let Work { github, cx, repository, .. } = self.work;
        let reader = match github.reader(cx).await {
            Ok(reader) => reader,
            Err(error) => {
                self.work.say(&job.name, &error.to_string());
                return None;
            }
        };
        let annotations = match job.check_run() {
            Some(check_run) => reader.annotations(repository, check_run).await,
            None => Ok(Vec::new()),
        };
        let log = reader.job_log(repository, job.id).await;
        for error in [annotations.as_ref().err(), log.as_ref().err()].into_iter().flatten() {
            self.work.say(&job.name, &error.to_string());
        }
        for said in annotations.iter().flatten().filter_map(|said| said.message.as_deref()) {
            self.work.say(&job.name, said);
        }
        if let Ok(log) = &log {
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
            for line in scrub_lines(last) {
                self.work.say(&job.name, &line);
            }
        }
        // What it says besides may be what it failed for.
        passing(&annotations.ok()?, log.as_deref().unwrap_or_default())
    }

    async fn rerun(&self, why: Passing, failed: Error) -> Result<()> {
        let Work { github, cx, data, repository } = self.work;
        let run = self.run;
        let change = Change { repository: data.repository.clone(), run, attempt: 1, ..Change::default() };
        let reader = github.reader(cx).await?;
        self.work
            .say(&data.workflow, &format!("{}: the failed jobs of run {run} are run once more", why.words()));
        let sent = cx
            .effect(RERUN, change)
            .at_most_once(|permit| async move { reader.rerun_failed(repository, run, &permit).await })
            .await;
        sent.map_err(|error| {
            if error.effect() == EffectState::Unknown || error.retry() != Retry::Never {
                return error;
            }
            failed.context(format!(
                "{}, and it could not be run once more ({})",
                why.words(),
                error.message()
            ))
        })
    }

    pub(super) fn name(&self) -> String {
        format!("run {} of {} in {}", self.run, self.work.data.workflow, self.work.data.repository)
    }

    /// The error of a run that has had its effects.
    pub(super) fn ended(&self, kind: ErrorKind, text: String) -> Error {
        Error::new(kind, text).retry_as(Retry::Never).effect_as(EffectState::Applied)
    }

    /// The error of a run that cannot be followed any longer.
    pub(super) fn goes_on(&self, error: Error) -> Error {
        error.context(format!("{} goes on, unseen", self.name())).effect_as(EffectState::Applied)
    }
}

pub(super) fn output(seen: &Seen) -> Value {
    let ended = |job: &Job| (job.name.clone(), job.conclusion.clone().unwrap_or_default());
    let jobs: BTreeMap<String, String> = seen.jobs.iter().map(ended).collect();
    let run = &seen.run;
    json!({ "run": run.id, "attempt": run.run_attempt, "url": run.html_url, "head_sha": run.head_sha, "jobs": jobs })
}

fn has_failed(job: &Job) -> bool {
    !matches!(job.conclusion.as_deref(), Some("success" | "skipped" | "neutral"))
}

fn failure_text(name: &str, seen: &Seen, failed: &[&Job]) -> String {
    let ended = seen.run.conclusion.as_deref().unwrap_or("without a conclusion");
    let jobs: Vec<String> = failed
        .iter()
        .take(JOBS)
        .map(|job| {
            let step = job.steps.iter().flatten().find(|step| {
                matches!(step.conclusion.as_deref(), Some("failure" | "cancelled" | "timed_out"))
            });
            let at = step.map_or(String::new(), |step| format!(" at step {}", step.name));
            format!("{}{at}", job.name)
        })
        .collect();
    let jobs = if jobs.is_empty() { String::new() } else { format!(": {}", jobs.join(", ")) };
    scrub_line(&format!("{name} ended as {ended}{jobs}"))
}
