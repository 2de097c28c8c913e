//! GitHub Actions: dispatches, runs, jobs, logs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    script::{Cancel, JobScript, RunScript},
    state::RunState,
    wire::{Call, WireAnswer, WireRequest},
    world::{World, page},
};

fn not_found() -> WireAnswer {
    WireAnswer::error(404, "Not Found")
}

impl World {
    pub(super) fn dispatch(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        let tells_run = self.config.tells_run;
        let repository = self.repository(&call.repository);
        let Some(file) = repository.workflows.get(&call.about) else { return not_found() };
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&request.body) else {
            return WireAnswer::error(400, "Problems parsing JSON");
        };
        for key in body.keys() {
            let known = matches!(key.as_str(), "ref" | "inputs") || tells_run && key == "return_run_details";
            if !known {
                return WireAnswer::error(
                    422,
                    &format!("Invalid request.\n\n\"{key}\" is not a permitted key."),
                );
            }
        }
        let Some(git_ref) = body.get("ref").and_then(Value::as_str) else {
            return WireAnswer::error(422, "Invalid request.\n\n\"ref\" wasn't supplied.");
        };
        if !repository.refs.contains_key(git_ref) {
            return WireAnswer::error(422, &format!("No ref found for: {git_ref}"));
        }
        if !file.dispatchable {
            return WireAnswer::error(422, "Workflow does not have 'workflow_dispatch' trigger");
        }
        let given = body.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default();
        let unexpected: Vec<&String> = given.keys().filter(|name| !file.inputs.contains_key(*name)).collect();
        if !unexpected.is_empty() {
            return WireAnswer::error(422, &format!("Unexpected inputs provided: {unexpected:?}"));
        }
        if let Some((name, _)) =
            file.inputs.iter().find(|(name, required)| **required && !given.contains_key(*name))
        {
            return WireAnswer::error(422, &format!("Required input '{name}' not provided"));
        }
        let inputs: BTreeMap<String, String> = given
            .into_iter()
            .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let script = repository.scripts.pop_front();
        let script = script.unwrap_or_else(|| RunScript::new(vec![JobScript::succeeds("work", 60_000)]));
        let git_ref = git_ref.to_owned();
        let id = self.begin(now, &call.repository, &call.about, &git_ref, inputs, script);
        if body.get("return_run_details") != Some(&Value::Bool(true)) {
            return WireAnswer::empty(204);
        }
        let (base, name) = (&request.base, &call.repository);
        WireAnswer::json(
            200,
            &json!({ "workflow_run_id": id, "run_url": format!("{base}/repos/{name}/actions/runs/{id}"),
                "html_url": format!("https://github.test/{name}/actions/runs/{id}") }),
        )
    }

    pub(super) fn list_runs(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        let repository = self.repository(&call.repository);
        if !repository.workflows.contains_key(&call.about) {
            return not_found();
        }
        let listed =
            |run: &&RunState| run.file == call.about && now >= run.created_ms + run.script.listed_after_ms;
        let mut runs: Vec<&RunState> = repository.runs.iter().filter(listed).collect();
        runs.reverse();
        let views: Vec<Value> = page(&runs, request)
            .iter()
            .map(|run| run.shown(now).view(&call.repository, &request.base, now))
            .collect();
        WireAnswer::json(200, &json!({ "total_count": runs.len(), "workflow_runs": views }))
    }

    fn readable(&mut self, now: i64, call: &Call) -> Option<&mut RunState> {
        let id = call.number();
        let run = self.repository(&call.repository).runs.iter_mut().find(|run| run.id == id)?;
        (now >= run.created_ms + run.script.readable_after_ms).then_some(run)
    }

    pub(super) fn get_run(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        match self.readable(now, call) {
            Some(run) => WireAnswer::json(200, &run.shown(now).view(&call.repository, &request.base, now)),
            None => not_found(),
        }
    }

    pub(super) fn list_jobs(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        let Some(run) = self.readable(now, call) else { return not_found() };
        let jobs = run.shown(now).jobs_view(&call.repository, &request.base, now);
        WireAnswer::json(200, &json!({ "total_count": jobs.len(), "jobs": page(&jobs, request) }))
    }

    /// Where GitHub lets the log of a job be fetched: another server, for which the address itself is the permission.
    pub(super) fn job_log(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        let id = call.number();
        let runs = &self.repository(&call.repository).runs;
        let ended = runs.iter().any(|run| {
            run.jobs.iter().any(|job| job.id == id && job.status(now, run.ends_ms).0 == "completed")
        });
        if !ended {
            return not_found();
        }
        let logs = request.base.replace("//api.github.test", "//logs.github.test");
        WireAnswer::empty(302).with("location", format!("{logs}/_logs/{id}?sig=permission"))
    }

    pub(super) fn download(&mut self, now: i64, call: &Call, request: &WireRequest) -> WireAnswer {
        if request.authorization.is_some() {
            // As a blob store does, which takes the header for its own.
            return WireAnswer::error(400, "InvalidAuthenticationInfo");
        }
        if request.query.get("sig").is_none_or(|sig| sig != "permission") {
            return WireAnswer::error(403, "AuthenticationFailed");
        }
        let id = call.number();
        let jobs = self.repositories.values().flat_map(|one| &one.runs).flat_map(|run| &run.jobs);
        match jobs.into_iter().find(|job| job.id == id && now >= job.from_ms) {
            Some(job) => {
                WireAnswer { status: 200, headers: Vec::new(), body: job.script.log.clone().into_bytes() }
            }
            None => not_found(),
        }
    }

    pub(super) fn annotations(&mut self, call: &Call) -> WireAnswer {
        let id = call.number();
        let mut jobs = self.repository(&call.repository).runs.iter().flat_map(|run| &run.jobs);
        let Some(job) = jobs.find(|job| job.id == id) else { return not_found() };
        let one = |message: &String| json!({ "path": ".github", "annotation_level": "failure", "message": message });
        WireAnswer::json(200, &Value::Array(job.script.annotations.iter().map(one).collect()))
    }

    pub(super) fn cancel(&mut self, now: i64, call: &Call, force: bool) -> WireAnswer {
        let Some(run) = self.readable(now, call) else { return not_found() };
        if run.status(now).0 == "completed" {
            return WireAnswer::error(409, "Cannot cancel a workflow run that is completed.");
        }
        let ends = match (force, run.script.cancel) {
            (true, _) => Some(now + 1_000),
            (false, Cancel::After(ms)) => Some(now + ms),
            (false, Cancel::Never) => None,
        };
        run.ends_ms = run.ends_ms.into_iter().chain(ends).min();
        WireAnswer::json(202, &json!({}))
    }

    pub(super) fn rerun(&mut self, now: i64, call: &Call) -> WireAnswer {
        let fresh = self.id();
        let Some(run) = self.readable(now, call) else { return not_found() };
        let ends_ms = run.ends_ms;
        if run.status(now).0 != "completed" {
            return WireAnswer::error(403, "This workflow is already running");
        }
        if !run.script.can_rerun || !run.jobs.iter().any(|job| job.has_failed(now, ends_ms)) {
            return WireAnswer::error(403, "This workflow run cannot be retried");
        }
        let mut before = run.clone();
        before.before = None;
        run.before = Some((now + run.script.rerun_shown_after_ms, Box::new(before)));
        run.attempt += 1;
        let attempt = run.attempt;
        for job in &mut run.jobs {
            if job.has_failed(now, ends_ms) {
                // Every attempt of a job has a number of its own.
                (job.id, job.from_ms, job.attempt) = (job.id + fresh * 1_000, now, attempt);
                if let Some(again) = job.script.again.take() {
                    job.script = *again;
                }
            }
        }
        run.ends_ms = None;
        WireAnswer::json(201, &json!({}))
    }
}
