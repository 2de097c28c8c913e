//! How an open intent is closed: by its answer, by settling, by a write that burned it, on sight, or by time.

use super::{Action, Activity, Machine, Phase};
use crate::{
    model::{Component, Timestamp, WriteGuard},
    platform::Settled,
    state::journal::{ClosedBy, Direction, ErrorRecord, Intent, Sending, StepState},
};

/// How long a call stays open where only settling tells, and settling does not.
const UNTOLD_MS: u64 = 900_000;

/// How often an intent is settled in a row before something else is tried.
pub(super) const SETTLES: u32 = 20;

impl Machine {
    /// An answered write closes what can no longer do harm because of it.
    pub(super) fn close_what_it_burned(&mut self, answered: &Intent) {
        let compares = self.plan.capabilities.write_guard != WriteGuard::None;
        let older: Vec<(Intent, ClosedBy)> = self
            .state
            .open()
            .filter(|intent| intent.id < answered.id)
            .filter_map(|intent| {
                let same_call = intent.step == answered.step
                    && intent.key == answered.key
                    && intent.hash == answered.hash;
                if same_call && intent.to.is_none() && intent.sending == Sending::Idempotent {
                    // The same harmless call again: an early one that lands late changes nothing.
                    Some((intent.clone(), ClosedBy::Repeated))
                } else if compares && answered.component.is_some() && intent.component == answered.component {
                    // An accepted write moved the version that the older one was made for.
                    Some((intent.clone(), ClosedBy::Settled))
                } else {
                    None
                }
            })
            .collect();
        for (intent, by) in older {
            self.answer(&intent, StepState::Unknown, Some(by), None, None);
        }
    }

    /// Starts to find out whether an intent landed.
    pub(super) fn settle(&mut self, id: u64) {
        match self.state.sent.get(&id) {
            Some(sent) if sent.closed.is_none() => {
                self.live.activity = Activity::Settling { intent: id, again_at: None };
                self.out.push(Action::Settle(Box::new(sent.intent.clone())));
            }
            _ => self.live.activity = Activity::Free,
        }
    }

    pub(super) fn settled(&mut self, id: u64, found: Result<Settled, ErrorRecord>) {
        self.live.cut_off.remove(&id);
        let settling = matches!(self.live.activity, Activity::Settling { intent, .. } if intent == id);
        let open =
            self.state.sent.get(&id).filter(|sent| sent.closed.is_none()).map(|sent| sent.intent.clone());
        if let Some(intent) = open {
            match &found {
                Ok(Settled::Applied(value)) => {
                    let value = Some(value.clone());
                    self.answer(&intent, StepState::Applied, Some(ClosedBy::Settled), value, None);
                    self.close_what_it_burned(&intent);
                }
                Ok(Settled::NotApplied) => {
                    self.answer(&intent, StepState::NotApplied, Some(ClosedBy::Settled), None, None);
                }
                Ok(Settled::Unknown) | Err(_) => {}
            }
        }
        if !settling {
            return;
        }
        self.live.settles += 1;
        let open = self.state.sent.get(&id).is_some_and(|sent| sent.closed.is_none());
        let soon = self.live.now.plus_ms(1_000);
        let ends = matches!(self.state.phase, Phase::Baking | Phase::Back | Phase::Following)
            || self.live.unchanged.is_some();
        self.live.activity = if !open {
            Activity::Free
        } else if ends {
            // Looking goes on in between: it may land any time.
            Activity::Backoff { at: soon }
        } else if (self.compares() || !self.live.inherited.contains_key(&id))
            && (self.live.settles < SETTLES || self.state.phase != Phase::Forward)
        {
            Activity::Settling { intent: id, again_at: Some(soon) }
        } else {
            // Only the late bound tells, and what a predecessor left is watched until then.
            Activity::Free
        };
    }

    /// When the intent can no longer change anything, on our own clock.
    pub(super) fn late_bound(&self, intent: &Intent) -> Timestamp {
        if let Some(inherited) = self.live.inherited.get(&intent.id) {
            return *inherited;
        }
        match (intent.attempt_ms, self.long_attempt(intent)) {
            // It was cut off, and its end was seen: its time does not count any more.
            (Some(_), None) => intent.signed_at.plus_ms(self.plan.capabilities.lateness.bound_ms()),
            _ => intent.late_bound,
        }
    }

    /// How long an attempt that is longer than a request may still run, as far as nobody has seen its end.
    pub(super) fn long_attempt(&self, intent: &Intent) -> Option<u64> {
        let over = self.state.sent.get(&intent.id).is_some_and(|sent| sent.state != StepState::Asked);
        intent.attempt_ms.filter(|_| !over)
    }

    /// Time proves nothing of this call: the platform compares, so only a write that burns it does.
    fn is_told_by_settling(&self, intent: &Intent) -> bool {
        self.compares() && intent.component.is_some() && self.plan.capabilities.lateness.bound_ms() == 0
    }

    /// An open call that a platform that compares can tell now.
    pub(super) fn untold(&self) -> Option<u64> {
        let mut open = self.state.open();
        open.find(|intent| self.compares() && intent.component.is_some()).map(|intent| intent.id)
    }

    /// When time closes the intent. `None`: it waits to be durable, and was not sent.
    fn closes_at(&self, intent: &Intent) -> Option<Timestamp> {
        if self.live.granting.values().any(|(waiting, _)| *waiting == intent.id) {
            return None;
        }
        let mut at = self.late_bound(intent);
        let cut_off = intent.attempt_ms.is_some() && self.long_attempt(intent).is_none();
        if !self.live.inherited.contains_key(&intent.id) && !cut_off {
            // Its own call may be running: a request's deadline is far below every late bound that is not zero.
            let running = intent.attempt_ms.unwrap_or(self.timing.request_ms);
            at = at.max(intent.signed_at.plus_ms(running + self.timing.window_ms));
        }
        if self.is_told_by_settling(intent) {
            at = at.max(intent.signed_at.plus_ms(UNTOLD_MS));
        }
        // Nothing of it is left, so that it cannot be late: but it may be seen to have worked.
        // Going back does not ask, and does not wait.
        let asks = self.state.phase == Phase::Forward;
        Some(self.live.cut_off.get(&intent.id).filter(|_| asks).map_or(at, |until| at.max(*until)))
    }

    /// When time next closes something.
    pub(super) fn next_close(&self) -> Option<Timestamp> {
        let open = self.state.open().filter_map(|intent| self.closes_at(intent));
        open.chain(self.live.undone_until).min()
    }

    /// Whether something of ours may still change the place.
    pub(super) fn may_land(&self) -> bool {
        self.state.has_open() || self.live.undone_until.is_some()
    }

    /// When nothing can any more.
    pub(super) fn all_landed_at(&self) -> Option<Timestamp> {
        self.state.open().map(|intent| self.late_bound(intent)).chain(self.live.undone_until).max()
    }

    /// Closes intents whose late bound has passed. What must never be repeated, and what could not be settled in all
    /// that time, becomes an obligation.
    pub(super) fn close_what_is_too_late(&mut self) {
        let now = self.live.now;
        if self.live.undone_until.is_some_and(|at| now >= at) {
            self.live.undone_until = None;
            self.live.closed_at = now;
        }
        let is_late = |intent: &&Intent| self.closes_at(intent).is_some_and(|at| now >= at);
        let late: Vec<Intent> = self.state.open().filter(is_late).cloned().collect();
        for intent in late {
            let by = match intent.sending {
                Sending::AtMostOnce => ClosedBy::Obligation,
                _ if self.is_told_by_settling(&intent) => ClosedBy::Obligation,
                Sending::Idempotent | Sending::Once => ClosedBy::LateBound,
            };
            self.answer(&intent, StepState::Unknown, Some(by), None, None);
        }
    }

    /// N1: seeing the value closes the intent only if it was absent when the intent was written, if it is the only
    /// intent ever with that value, and if nobody else can write it.
    pub(super) fn close_on_sight(&mut self, component: &Component, declared: &crate::model::Fingerprint) {
        let of_value = |intent: &Intent| {
            intent.component.as_ref() == Some(component) && intent.to.as_ref() == Some(declared)
        };
        let ever = self.state.sent.values().filter(|sent| of_value(&sent.intent)).count();
        let found = self
            .state
            .open()
            .find(|intent| of_value(intent) && intent.direction == Direction::Forward)
            .cloned();
        let Some(intent) = found else { return };
        let sole = intent.exclusive && !intent.was_there && ever == 1;
        if sole || !self.rules.sight_only_if_sole {
            self.answer(&intent, StepState::Applied, Some(ClosedBy::Sight), None, None);
        }
    }
}
