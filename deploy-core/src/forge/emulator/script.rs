//! What workflows are, and what their runs do.

use std::collections::BTreeMap;

/// A workflow's file, as far as the API looks at it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkflowFile {
    /// The file's name.
    pub file: String,
    /// Whether it has the trigger `workflow_dispatch`.
    pub dispatchable: bool,
    /// Its inputs, and whether each is required.
    pub inputs: BTreeMap<String, bool>,
    /// `run-name`, with `${{ inputs.NAME }}` filled in.
    pub run_name: String,
}

impl WorkflowFile {
    /// A workflow that can be dispatched, has the marker's input, and shows it in its runs' names.
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            dispatchable: true,
            inputs: BTreeMap::from([("deploy_kit_marker".to_owned(), false)]),
            run_name: "run ${{ inputs.deploy_kit_marker }}".into(),
        }
    }

    /// With an input.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, required: bool) -> Self {
        self.inputs.insert(name.into(), required);
        self
    }

    /// Without an input.
    #[must_use]
    pub fn without_input(mut self, name: &str) -> Self {
        self.inputs.remove(name);
        self
    }

    /// With another name for its runs.
    #[must_use]
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.run_name = name.into();
        self
    }

    /// Without the trigger `workflow_dispatch`.
    #[must_use]
    pub fn not_dispatchable(mut self) -> Self {
        self.dispatchable = false;
        self
    }

    pub(super) fn title(&self, inputs: &BTreeMap<String, String>) -> String {
        let mut title = self.run_name.clone();
        for name in self.inputs.keys() {
            let value = inputs.get(name).map_or("", String::as_str);
            title = title.replace(&format!("${{{{ inputs.{name} }}}}"), value);
        }
        title
    }
}

/// What a run does when it is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It ends so many milliseconds later.
    After(i64),
    /// It runs on; only being forced ends it.
    Never,
}

/// What a run does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunScript {
    /// How many milliseconds after the dispatch it is in lists.
    pub listed_after_ms: i64,
    /// How many milliseconds after the dispatch it can be asked for by its number.
    pub readable_after_ms: i64,
    /// Its jobs, which run beside each other.
    pub jobs: Vec<JobScript>,
    /// What it does when it is cancelled.
    pub cancel: Cancel,
    /// How long a re-run is not shown yet.
    pub rerun_shown_after_ms: i64,
    /// Whether GitHub lets it be run again.
    pub can_rerun: bool,
    /// Its conclusion, where its jobs do not tell.
    pub conclusion: Option<String>,
}

impl RunScript {
    /// A run with these jobs, which is there at once.
    #[must_use]
    pub fn new(jobs: Vec<JobScript>) -> Self {
        Self {
            listed_after_ms: 0,
            readable_after_ms: 0,
            jobs,
            cancel: Cancel::After(3_000),
            rerun_shown_after_ms: 0,
            can_rerun: true,
            conclusion: None,
        }
    }

    /// It is in lists, and can be asked for, only so many milliseconds after the dispatch.
    #[must_use]
    pub fn appears_after_ms(mut self, ms: i64) -> Self {
        (self.listed_after_ms, self.readable_after_ms) = (ms, ms);
        self
    }

    /// What it does when it is cancelled.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// What a job does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobScript {
    /// Its name.
    pub name: String,
    /// How long it waits for a runner.
    pub queued_ms: i64,
    /// How long it runs then.
    pub takes_ms: i64,
    /// `success`, `failure`, `skipped`, `timed_out`, ...
    pub conclusion: String,
    /// The names of its steps; the last one fails with the job.
    pub steps: Vec<String>,
    /// What is said about it, at the level `failure`.
    pub annotations: Vec<String>,
    /// Its log.
    pub log: String,
    /// What it does when it is run once more, if not the same.
    pub again: Option<Box<JobScript>>,
}

impl JobScript {
    /// A job that succeeds after so long.
    pub fn succeeds(name: impl Into<String>, takes_ms: i64) -> Self {
        Self {
            name: name.into(),
            queued_ms: 1_000,
            takes_ms,
            conclusion: "success".into(),
            steps: vec!["Set up job".into(), "Work".into()],
            annotations: Vec::new(),
            log: "2026-11-21T02:13:07.4020000Z done\n".into(),
            again: None,
        }
    }

    /// A job that fails after so long, and says why.
    pub fn fails(name: impl Into<String>, takes_ms: i64, annotation: impl Into<String>) -> Self {
        let mut job = Self::succeeds(name, takes_ms);
        job.conclusion = "failure".into();
        job.annotations = vec![annotation.into()];
        job.log = "##[error]Process completed with exit code 1.\n".into();
        job
    }

    /// With another log.
    #[must_use]
    pub fn log(mut self, log: impl Into<String>) -> Self {
        self.log = log.into();
        self
    }

    /// Run once more, it does this.
    #[must_use]
    pub fn then(mut self, again: Self) -> Self {
        self.again = Some(Box::new(again));
        self
    }
}
