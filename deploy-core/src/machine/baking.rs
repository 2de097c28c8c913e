//! The bake, and deadlines of what is watched.

use super::{Action, Activity, Look, Machine, Phase, state::Why};
use crate::{
    model::{Cause, Ended, FaultClass, StepKind, Timestamp},
    state::journal::Decision,
};

/// How long the bake may be late for want of a look that shows everything in place.
const BAKE_LATE_MS: u64 = 600_000;

impl Machine {
    pub(super) fn next_bake(&mut self) {
        let until = *self.live.bake_until.get_or_insert(self.live.now.plus_ms(self.plan.bake_ms));
        let looks = self.components().into_iter().map(Look::AtGoal).collect();
        self.out.push(Action::Judge(true));
        self.watch(looks, until.plus_ms(BAKE_LATE_MS));
    }

    /// The bake is over when every component was seen in place after its end.
    fn baked(&mut self) {
        let Some(until) = self.live.bake_until else { return };
        let components = self.components();
        let good = components.iter().all(|component| {
            let seen = self.live.seen.get(component);
            seen.is_some_and(|seen| seen.done && seen.at >= until && seen.at >= self.live.closed_at)
        });
        if good && !self.state.paused && (!self.may_land() || !self.rules.open_empty) {
            self.unwatch();
            self.out.push(Action::Judge(false));
            for component in components {
                if let Some(revision) = self.live.seen.get(&component).and_then(|seen| seen.revision.clone())
                {
                    self.live.goal.insert(component, revision);
                }
            }
            let changed = self.state.changed();
            self.finish(Ended::Succeeded { changed }, None);
        }
    }

    /// Called on every input while something is watched: what the newest looks and the time decide together.
    pub(super) fn watched_long_enough(&mut self, until: Timestamp) {
        match self.state.phase {
            Phase::Baking => self.baked(),
            Phase::Back => return self.back_watched(until),
            Phase::Following => return self.following_watched(until),
            Phase::GivingWay | Phase::Abandoned => return self.closing_watched(until),
            Phase::Preparing | Phase::Forward | Phase::Guarding | Phase::Ended => {}
        }
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        if self.state.phase == Phase::Forward && self.waits_for_inherited() {
            if !self.waits_for_others() {
                self.unwatch();
                self.live.activity = Activity::Free;
            } else if self.live.now >= until {
                self.live.settles = 0;
                self.live.activity = Activity::Free;
            }
            return;
        }
        if self.live.now >= until {
            self.late();
        }
    }

    /// A call of a predecessor may still arrive.
    pub(super) fn waits_for_others(&self) -> bool {
        !self.live.inherited.is_empty() || self.live.undone_until.is_some()
    }

    /// The watch was begun for the predecessor's calls, not for a step of its own.
    fn waits_for_inherited(&self) -> bool {
        !self.live.inspected
    }

    fn late(&mut self) {
        let step = self.plan.steps.iter().find(|step| !self.state.done.contains(&step.id)).cloned();
        if let (Phase::Forward, Some(step)) = (self.state.phase, &step)
            && let StepKind::Gate { gate, late_goes_on: true } = &step.kind
        {
            if !self.live.frozen {
                self.decide(Decision::PassGate, Some(gate.to_string()), Vec::new(), None);
                self.unwatch();
                self.live.activity = Activity::Free;
            }
            return;
        }
        let limit = step.as_ref().map_or(0, |step| step.deadline_ms);
        let mut text = match (self.state.phase, &step) {
            (Phase::Forward, Some(step)) => format!("{} was not done within {} s", step.title, limit / 1000),
            _ => "the bake could not be ended: not everything was in place".to_owned(),
        };
        if let Some(blind) = &self.live.blind {
            text = format!("{text}; the last look failed: {}", blind.text);
        }
        self.go_back(Cause::fault(FaultClass::Stalled, text), Why::Failed, Vec::new());
    }
}
