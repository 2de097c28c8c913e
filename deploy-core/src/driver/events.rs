//! Events: those of entries appear when the entries are stored, live ones behind them.

use super::Driver;
use crate::{
    context::StepLine,
    event::{Event, EventKind},
    machine::Input,
    model::{Motion, Observation},
    report::{LINE_LIMIT, scrub_line},
    state::{journal::Entry, session::ToKeeper},
};

impl Driver {
    pub(super) fn append(&mut self, entries: Vec<Entry>, token: Option<u64>) {
        for entry in &entries {
            self.appended += 1;
            self.phase = self.phase.after(&entry.fact);
            self.unstored.push_back((Event::of(entry, &self.set.plan.target, self.phase), self.appended));
        }
        let _ = self.keeper.send(ToKeeper::Append { entries, token });
    }

    pub(super) fn saw(&mut self, input: Input) {
        if let Input::Observed { seen, .. } = &input {
            self.progress((**seen).clone());
        }
        self.inputs.push_back(input);
    }

    pub(super) fn progress(&mut self, mut seen: Observation) {
        if matches!(seen.motion, Motion::Foreign { .. })
            && self.machine.going_back()
            && self.machine.is_expected(&seen.component, &seen.declared)
        {
            // The platform calls it foreign because it is not the old revision; it is our own new one.
            seen.motion = Motion::Progressing;
        }
        let scope = self.stages.get(&seen.component);
        let revision = scope.map_or_else(String::new, |scope| scope.revision().name.clone());
        let kind = EventKind::Progress {
            seen: Box::new(seen),
            revision,
            deadline: self.machine.deadline(),
            step: None,
        };
        self.live_event(kind);
    }

    /// A line of what a step runs: what others wrote is shown without what looks like a secret.
    pub(super) fn log_line(&mut self, said: StepLine) {
        let cut = said.cut || said.line.chars().nth(LINE_LIMIT).is_some();
        self.live_event(EventKind::Log {
            instance: said.writer,
            source: None,
            stream: Some(said.stream.to_owned()),
            line: scrub_line(&said.line),
            cut,
        });
    }

    fn live_event(&mut self, kind: EventKind) {
        if self.finished.is_some() {
            return; // Nothing comes after the end.
        }
        let event = Event {
            seq: None,
            at: self.now(),
            deploy: self.set.rollout.clone(),
            target: self.set.plan.target.clone(),
            phase: self.phase,
            kind,
        };
        // Behind the journaled events that came first: those wait until they are stored.
        if self.unstored.is_empty() {
            self.set.log.push(event);
        } else {
            self.unstored.push_back((event, self.appended));
        }
    }

    pub(super) fn acknowledged(&mut self, event: &Event) {
        let EventKind::Fact(fact) = &event.kind else { return };
        if let crate::state::journal::Fact::Command { id: Some(id), accepted, .. } = &**fact
            && let Some(at) = self.acknowledge.iter().position(|(waiting, _)| waiting == id)
        {
            let (_, answer) = self.acknowledge.swap_remove(at);
            let _ = answer.send(*accepted);
        }
    }
}
