//! An undo that a predecessor sent, and could not write down because its store was gone.

use super::{
    Machine,
    state::{Sent, Why},
};
use crate::{
    model::{Cause, Component, Fingerprint},
    state::journal::{Direction, DriverHow, StepState},
};

impl Machine {
    /// The standing undo needs no entry while the store is gone, so the journal of a holder that fell silent may lack
    /// it. Where nothing is compared it may arrive until the quiet time is over, and a holder whose lease a person broke
    /// may send it until its window is.
    pub(super) fn fear_an_undo(&mut self, how: DriverHow, quiet_ms: u64) {
        let more = match how {
            DriverHow::TookOver | DriverHow::FoundDead => 0,
            DriverHow::Broken => self.timing.window_ms + self.timing.request_ms,
            _ => return,
        };
        let may_have = self.state.declared_changed() && !self.plan.way_back.steps.is_empty();
        if may_have && self.rules.quiet_time {
            self.live.maybe_undone = true;
            if !self.compares() {
                self.live.undone_until = Some(self.live.now.plus_ms(quiet_ms.saturating_add(more)));
            }
        }
    }

    /// The old value where the new one was, and a predecessor may have put it there. (If somebody else did, to the same
    /// end, nothing is written over it: it is where the way back leads.)
    pub(super) fn is_undone(&self, component: &Component, declared: &Fingerprint) -> bool {
        let writes =
            |sent: &&Sent| sent.intent.component.as_ref() == Some(component) && sent.intent.to.is_some();
        let newest = self.state.sent.values().rev().find(writes);
        // Readers may not see our own write yet.
        let shown = self.plan.capabilities.lateness.apply_ms;
        self.live.maybe_undone
            && self.old_of(component) == Some(declared)
            && newest.is_some_and(|sent| {
                sent.intent.direction == Direction::Forward
                    && sent.state == StepState::Applied
                    && sent.intent.to.as_ref() != Some(declared)
                    && self.live.now >= sent.intent.signed_at.plus_ms(shown)
            })
    }

    /// Goes back for the predecessor that did and could not write it down.
    pub(super) fn follow_undone(&mut self, component: &Component) {
        let text = format!(
            "{component} was put back by a process that could not record it: its state store was gone"
        );
        self.go_back(Cause::new("undone", text), Why::Failed, Vec::new());
    }
}
