//! What people ask for, from this process or another, and leaving.

use super::{Action, Activity, Machine, Phase, state::Why};
use crate::{
    model::{Cause, StepKind},
    state::journal::{CommandKind, CommandRecord, Decision, DriverHow, Fact},
};

impl Machine {
    pub(super) fn command(&mut self, command: CommandRecord, via: &'static str) {
        if self.state.met.contains(&command.id) {
            return;
        }
        let accepted =
            command.rollout == self.rollout && self.live.now <= command.expires && self.fits(&command);
        self.note(Fact::Command {
            command: command.command.clone(),
            id: Some(command.id.clone()),
            by: command.by.clone(),
            reason: command.reason.clone(),
            via: via.to_owned(),
            accepted,
        });
        if accepted {
            self.obey(command);
        }
        // A command is acknowledged when it is durable.
        self.durable_token();
    }

    /// Whether the command makes sense where the rollout is.
    fn fits(&self, command: &CommandRecord) -> bool {
        let forward =
            matches!(self.state.phase, Phase::Preparing | Phase::Guarding | Phase::Forward | Phase::Baking);
        match command.command {
            CommandKind::Pause => forward && !self.state.paused,
            CommandKind::Resume => self.state.paused,
            CommandKind::Promote | CommandKind::Approve => {
                forward
                    && !self.live.frozen
                    && (self.gate_now().is_some() || self.state.phase == Phase::Baking)
            }
            CommandKind::Abort | CommandKind::Rollback => forward,
            CommandKind::Abandon => matches!(self.state.phase, Phase::Back | Phase::Following),
        }
    }

    fn obey(&mut self, command: CommandRecord) {
        let said = command.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        match command.command {
            CommandKind::Pause => {
                self.decide(Decision::Pause, None, Vec::new(), None);
            }
            CommandKind::Resume => {
                self.decide(Decision::GoOn, None, Vec::new(), None);
                if self.live.activity == Activity::Paused {
                    self.live.activity = Activity::Free;
                }
            }
            CommandKind::Promote | CommandKind::Approve => {
                if let Some(gate) = self.gate_now() {
                    if command.gate.as_ref().is_none_or(|named| *named == gate) {
                        self.pass(gate);
                    }
                } else if self.state.phase == Phase::Baking {
                    self.live.bake_until = Some(self.live.now);
                }
            }
            CommandKind::Abort => {
                let cause = Cause::new("aborted", format!("{} stopped it{said}", command.by));
                self.stop(cause, Why::Abort);
            }
            CommandKind::Rollback => {
                let cause = Cause::new("requested", format!("{} took it back{said}", command.by));
                self.stop(cause, Why::Person);
            }
            CommandKind::Abandon => {
                let cause = Cause::new("abandoned", format!("{} ended the rollback{said}", command.by));
                self.decide(Decision::Abandon, None, Vec::new(), Some(cause));
                if matches!(self.live.activity, Activity::Running { .. }) {
                    self.out.push(Action::Interrupt);
                } else {
                    self.unwatch();
                    self.live.activity = Activity::Free;
                }
            }
        }
    }

    fn stop(&mut self, cause: Cause, why: Why) {
        if self.state.phase == Phase::Preparing {
            return self.stop_preparing(cause);
        }
        if self.state.phase == Phase::Guarding
            && !self.state.changed()
            && !self.state.has_open()
            && !matches!(self.live.activity, Activity::Running { .. } | Activity::Sealing { .. })
        {
            return self.finish_unchanged(crate::model::Ended::Aborted, cause);
        }
        self.go_back(cause, why, Vec::new());
    }

    /// The gate at which the rollout waits.
    fn gate_now(&self) -> Option<String> {
        if self.state.phase != Phase::Forward
            || !matches!(self.live.activity, Activity::Watching { .. } | Activity::Paused)
        {
            return None;
        }
        let step = self.plan.steps.iter().find(|step| !self.state.done.contains(&step.id))?;
        match &step.kind {
            StepKind::Gate { gate, .. } => Some(gate.to_string()),
            StepKind::Effect | StepKind::Await => None,
        }
    }

    fn pass(&mut self, gate: String) {
        self.decide(Decision::PassGate, Some(gate), Vec::new(), None);
        self.unwatch();
        self.live.activity = Activity::Free;
    }

    pub(super) fn approved(&mut self, gate: &str, _by: &str) {
        if self.gate_now().as_deref() == Some(gate) && !self.live.frozen {
            self.pass(gate.to_owned());
        }
    }

    /// This process has to leave: at a gate or paused the rollout is parked, elsewhere it is left for `resume`.
    pub(super) fn leave(&mut self) {
        let parks = self.live.activity == Activity::Paused || self.gate_now().is_some();
        let how = if parks { DriverHow::Parks } else { DriverHow::HandsOver };
        let fence = self.live.fence;
        self.out.push(Action::Interrupt);
        self.note(Fact::Driver { owner: String::new(), previous: None, fence, how, reason: None });
        self.live.activity = Activity::Over;
        self.out.push(if parks { Action::Park } else { Action::HandOver });
    }

    /// Once it is over, steps that still ask are sent away; effects that still end are not this process's any more.
    pub(super) fn after_the_end(&mut self, input: super::Input) -> Vec<Action> {
        match input {
            super::Input::Asked(ask) => {
                let error = crate::Error::new(
                    crate::ErrorKind::Interrupted,
                    "this driver has ended; nothing was sent",
                );
                vec![Action::Deny { ask: ask.id, error: (&error).into() }]
            }
            _ => Vec::new(),
        }
    }
}
