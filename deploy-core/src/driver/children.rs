//! What runs beside the driver: steps, looks at the place.

use std::{any::Any, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Child, Driver};
use crate::{
    context::{Effected, FromStep, StepContext, StepSetting},
    error::{Error, ErrorKind, Result},
    guards::{self, GuardContext},
    machine::{EffectEnd, Input, Inspected},
    model::StepId,
    report::scrub_line,
    state::journal::ErrorRecord,
    task,
};

impl Driver {
    pub(super) fn execute(&mut self, id: StepId, attempt: u32) {
        self.interrupt = watch::Sender::new(false);
        let cx = self.context(&id, attempt);
        let Some(step) = self.set.plan.step(&id).cloned() else { return };
        let (place, clock) = (Arc::clone(&self.set.place), Arc::clone(&self.set.clock));
        let prepares = self.set.plan.is_prepare(&id).then(|| self.set.planner.clone());
        task::spawn_on(&mut self.children, async move {
            let limit = Duration::from_millis(step.deadline_ms);
            let running = async {
                match prepares {
                    Some(planner) => planner.make(&step, &cx).await,
                    None => place.execute(&step, &cx).await,
                }
            };
            let result = tokio::select! {
                biased;
                result = running => result,
                () = clock.sleep(limit) => {
                    let text = format!("step {} was not done within {} s", step.id, limit.as_secs());
                    Err(Error::new(ErrorKind::TimedOut, text))
                }
            };
            Child::Step { step: id, attempt, result: result.map_err(|error| ErrorRecord::from(&error)) }
        });
    }

    pub(super) fn plan_steps(&mut self) {
        let (planner, plan) = (self.set.planner.clone(), Arc::clone(&self.set.plan));
        task::spawn_on(&mut self.children, async move {
            let made = planner.close(&plan).await;
            Child::Planned(made.map(Box::new).map_err(|error| ErrorRecord::from(&error)))
        });
    }

    pub(super) fn inspect(&mut self) {
        // What is asked of an open plan is not yet what is asked of its steps.
        let first = self.set.plan.open || std::mem::take(&mut self.first_look);
        let place = Arc::clone(&self.set.place);
        let guards = self.set.guards.clone();
        let (plan, pin, head) =
            (Arc::clone(&self.set.plan), self.set.pin.clone(), Arc::clone(&self.set.head));
        let (source, overrides) = (self.set.source.clone(), Arc::clone(&self.set.overrides));
        let clock = Arc::clone(&self.set.clock);
        let began = self.now();
        task::spawn_on(&mut self.children, async move {
            let inspecting = async {
                let now = place.inspect().await?;
                let (declared, serving, counts) = (now.declared.clone(), now.serving.clone(), now.counts);
                let cx = GuardContext { plan, now, pin, head: Some(head), place, source, first, overrides };
                let findings = guards::ask_now(&guards, &cx).await;
                let declared = declared.into_iter().collect();
                Ok(Box::new(Inspected { findings, declared, serving, counts, at: began }))
            };
            let found: Result<Box<Inspected>> = tokio::select! {
                biased;
                found = inspecting => found,
                () = clock.sleep(Duration::from_secs(60)) => {
                    Err(Error::new(ErrorKind::TimedOut, "looking at the place took longer than 60 s"))
                }
            };
            Child::Inspected(found.map_err(|error| ErrorRecord::from(&error)))
        });
    }

    pub(super) fn child_ended(&mut self, ended: Result<Child, tokio::task::JoinError>) {
        // What a step said before it ended comes first.
        while let Ok(said) = self.from_step.try_recv() {
            self.step_said(said);
        }
        match ended {
            Ok(Child::Step { step, attempt, result }) => {
                self.inputs.push_back(Input::StepEnded { step, attempt, result });
            }
            Ok(Child::Planned(made)) => {
                if let Ok(made) = &made {
                    self.set.plan = Arc::new(made.0.clone());
                }
                self.inputs.push_back(Input::Planned(made));
            }
            Ok(Child::Inspected(found)) => self.inputs.push_back(Input::Inspected(found)),
            Ok(Child::Sealed(result)) => self.inputs.push_back(Input::Sealed(result)),
            Ok(Child::Settled { intent, found }) => self.inputs.push_back(Input::Settled { intent, found }),
            // A backend's defect must not look like a silent wait: leave, and let a successor look.
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    self.left_because = Some(panicked(&*panic));
                    self.inputs.push_back(Input::Leave);
                }
            }
        }
    }

    pub(super) fn step_said(&mut self, said: FromStep) {
        match said {
            FromStep::Ask(mut ask, answer) => {
                self.next_ask += 1;
                ask.id = self.next_ask;
                self.asks.insert(ask.id, answer);
                self.inputs.push_back(Input::Asked(ask));
            }
            FromStep::Effected(intent, ended) => {
                let ended = match ended {
                    Effected::Applied(value) => EffectEnd::Applied(value),
                    Effected::Failed(error) => EffectEnd::Failed((&error).into()),
                };
                self.inputs.push_back(Input::Effected { intent, ended });
            }
            FromStep::Report(seen) => self.progress(*seen),
            FromStep::Log(line) => self.log_line(line),
        }
    }

    pub(super) fn context(&self, step: &StepId, attempt: u32) -> StepContext {
        StepContext::new(StepSetting {
            step: step.clone(),
            attempt,
            rollout: self.set.rollout.clone(),
            outputs: self.machine.outputs().clone(),
            going_back: self.machine.going_back(),
            key: self.set.key.clone(),
            clock: Arc::clone(&self.set.clock),
            secrets: Arc::clone(&self.set.secrets),
            to_driver: self.step_sender.clone(),
            interrupted: self.interrupt.subscribe(),
            plan: Arc::clone(&self.set.plan),
            check_clock: self.set.check_clock,
        })
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason");
    let text = format!("the platform's code panicked ({}); the deploy has not ended", scrub_line(text));
    Error::new(ErrorKind::Unexpected, text).next("resume")
}
