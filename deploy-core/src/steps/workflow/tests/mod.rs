//! Workflow steps against the emulator, with a scripted driver: the machine itself drives them in `tests/workflow_steps.rs`.

mod ends;
mod finds;
mod looks;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{MARKER_INPUT, Workflow, WorkflowRunner};
use crate::{
    context::scripted::{Known, Scripted},
    error::{Error, ErrorKind, Result, Retry},
    forge::emulator::{Config, Emulator, JobScript, RunScript, RunView, WorkflowFile},
    model::{Component, Step, Undo},
    platform::Settled,
    steps::StepRunner,
    task,
};

const REPOSITORY: &str = "acme/shop";
const FILE: &str = "publish.yml";

struct Stage {
    emulator: Emulator,
    driver: Scripted,
    runner: WorkflowRunner,
    step: Step,
}

fn workflow() -> Workflow {
    Workflow::new(REPOSITORY, FILE, "main").input("version", "1.4.0").runs_within(Duration::from_secs(600))
}

fn stage() -> Stage {
    stage_with(Config::default(), workflow())
}

fn stage_with(config: Config, workflow: Workflow) -> Stage {
    let driver = Scripted::new(&config.token);
    let emulator = Emulator::new(config);
    emulator.with(|world, _| world.workflow(REPOSITORY, WorkflowFile::new(FILE).input("version", true)));
    let runner = WorkflowRunner::new(emulator.github(Arc::clone(&driver.clock)).unwrap());
    let undo = Undo::None { reason: "a version that was published stays".into() };
    let step = workflow.step("publish", Component::from("web"), undo).unwrap();
    Stage { emulator, driver, runner, step }
}

impl Stage {
    fn next_run(&self, script: RunScript) {
        self.emulator.with(|world, _| world.next_run(REPOSITORY, script));
    }

    async fn execute(&self, attempt: u32) -> Result<Value> {
        let result = self.runner.execute(&self.step, &self.driver.context("publish", attempt)).await;
        self.driver.hears().await;
        result
    }

    /// Settles the open intent, as the machine does between two attempts.
    async fn settle(&self, key: &str) -> Settled {
        let intent = self.driver.open_intent(key).expect("an open intent");
        let found = self.runner.settle(&intent, &self.driver.context("settle", 1)).await.unwrap();
        if let Settled::Applied(value) = &found {
            self.driver.settled(key, value.clone());
        }
        found
    }

    /// As the machine runs a step: attempts while an error may pass, and settling in between.
    async fn run(&self) -> Result<Value> {
        let mut attempt = 1;
        loop {
            let error = match self.execute(attempt).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let mut open = false;
            for key in ["dispatch", "rerun"] {
                if self.driver.open_intent(key).is_some() {
                    open = true;
                    self.settle(key).await;
                }
            }
            let unknown = open && error.effect() == crate::EffectState::Unknown;
            if attempt == 5 || error.retry() == Retry::Never && !unknown {
                return Err(error);
            }
            if let Retry::After(wait) = error.retry() {
                self.driver.clock.sleep(wait).await;
            }
            attempt += 1;
        }
    }

    /// Asks the step to end so much later.
    fn interrupt_in(&self, seconds: u64) {
        let (clock, interrupt) = (Arc::clone(&self.driver.clock), Arc::clone(&self.driver.interrupt));
        drop(task::spawn(async move {
            clock.sleep(Duration::from_secs(seconds)).await;
            interrupt.send_replace(true);
        }));
    }

    fn runs(&self) -> Vec<RunView> {
        self.emulator.with(|world, now| world.runs(now, REPOSITORY))
    }

    fn dispatches(&self) -> u64 {
        self.emulator.counts().of("dispatch")
    }
}

fn succeeds(seconds: i64) -> RunScript {
    RunScript::new(vec![JobScript::succeeds("build", seconds * 1_000)])
}

fn kind(result: &Result<Value>) -> ErrorKind {
    result.as_ref().map_or_else(Error::kind, |value| panic!("it went well: {value}"))
}
