//! What makes up for a step that the old revision does not undo: it declares nothing, so it cannot be looked at, and is run
//! once, after everything that can be looked at is back.

use super::Machine;
use crate::{
    model::{Step, StepId, Undo},
    state::journal::{Direction, StepState},
};

/// How often a compensation is tried.
const TRIES: u32 = 3;

impl Machine {
    /// Whether this step of the way back makes up for a step, and restores nothing.
    pub(super) fn compensates(&self, undo: &Step) -> bool {
        let forward = self.plan.steps.iter().filter(|step| step.component == undo.component);
        forward.into_iter().any(|step| step.undo == Undo::Compensates)
    }

    /// Those that have something to make up for and have not done it, in order.
    fn owed_compensations(&self) -> impl Iterator<Item = &Step> {
        self.plan.way_back.steps.iter().filter(|undo| {
            self.compensates(undo) && !self.state.done.contains(&undo.id) && self.may_have_happened(undo)
        })
    }

    /// Whether anything of what it makes up for was sent, and not certainly for nothing.
    fn may_have_happened(&self, undo: &Step) -> bool {
        self.state.sent.values().any(|sent| {
            let of = self.plan.step(&sent.intent.step);
            sent.intent.direction == Direction::Forward
                && of.is_some_and(|step| step.component == undo.component)
                && (sent.closed.is_none() || sent.state != StepState::NotApplied)
        })
    }

    /// The next one to run. `None` as well while what it makes up for may still happen: it is run once, and not again
    /// because of a late call.
    pub(super) fn due_compensation(&self) -> Option<StepId> {
        let tries = |undo: &Step| self.state.attempts.get(&undo.id).copied().unwrap_or(0);
        let undo = self.owed_compensations().find(|undo| tries(undo) < TRIES)?;
        let mut open = self.state.open();
        let may_happen = open.any(|intent| {
            let of = self.plan.step(&intent.step);
            intent.direction == Direction::Forward && of.is_some_and(|step| step.component == undo.component)
        });
        (!may_happen).then(|| undo.id.clone())
    }

    /// What nobody has made up for, at the end.
    pub(super) fn not_made_up_for(&self) -> Vec<String> {
        let words =
            |undo: &Step| format!("what step {} did was not made up for: {}", undo.component, undo.title);
        self.owed_compensations().map(words).collect()
    }
}
