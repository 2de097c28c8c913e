//! What has happened to the jobs of a run since the last look: lines for the event stream.

use std::collections::BTreeMap;

use crate::forge::Job;

/// The most lines of one look.
const LINES: usize = 100;

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Lines {
    jobs: BTreeMap<u64, String>,
    steps: BTreeMap<(u64, u64), String>,
}

impl Lines {
    /// What is new, each with the job that it is about.
    pub(super) fn news(&mut self, jobs: &[Job]) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for job in jobs {
            for step in job.steps.iter().flatten().filter(|step| step.status == "completed") {
                let ended = step.conclusion.clone().unwrap_or_default();
                let told = self.steps.insert((job.id, step.number), ended.clone());
                if told.as_ref() != Some(&ended) && ended != "skipped" {
                    news.push((job.name.clone(), format!("step {} {}: {ended}", step.number, step.name)));
                }
            }
            let now = match &job.conclusion {
                Some(ended) if job.status == "completed" => ended.clone(),
                _ => job.status.clone(),
            };
            let told = self.jobs.insert(job.id, now.clone());
            if told.as_ref() != Some(&now) {
                let runner =
                    job.runner_name.as_deref().filter(|name| !name.is_empty() && now == "in_progress");
                let on = runner.map_or(String::new(), |name| format!(" on {name}"));
                news.push((job.name.clone(), format!("{now}{on}")));
            }
        }
        news.truncate(LINES);
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn jobs(value: Value) -> Vec<Job> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_change_is_told_once() {
        let mut lines = Lines::default();
        let queued = jobs(json!([{ "id": 1, "name": "build", "status": "queued" }]));
        assert_eq!(lines.news(&queued), [("build".into(), "queued".into())]);
        assert!(lines.news(&queued).is_empty());
        let runs =
            jobs(json!([{ "id": 1, "name": "build", "status": "in_progress", "runner_name": "r1", "steps": [
            { "number": 1, "name": "Set up", "status": "completed", "conclusion": "success" },
            { "number": 2, "name": "Test", "status": "in_progress" },
            { "number": 3, "name": "Cache", "status": "completed", "conclusion": "skipped" }] }]));
        let news: Vec<_> = lines.news(&runs).into_iter().map(|(_, line)| line).collect();
        assert_eq!(news, ["step 1 Set up: success", "in_progress on r1"]);
        let ended = jobs(
            json!([{ "id": 1, "name": "build", "status": "completed", "conclusion": "failure", "steps": [
            { "number": 1, "name": "Set up", "status": "completed", "conclusion": "success" },
            { "number": 2, "name": "Test", "status": "completed", "conclusion": "failure" }] }]),
        );
        let news: Vec<_> = lines.news(&ended).into_iter().map(|(_, line)| line).collect();
        assert_eq!(news, ["step 2 Test: failure", "failure"]);
    }
}
