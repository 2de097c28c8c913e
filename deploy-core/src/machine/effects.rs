//! Asking, granting, settling and closing: "One mutation" and rules N1 to N6 of docs/protocol.md.

use serde_json::Value;

use super::{
    Action, Activity, EffectEnd, Machine, Phase, StepNote,
    state::{Sent, Why},
};
use crate::{
    context::{Ask, Grant},
    error::{Error, ErrorKind, Retry},
    model::{Cause, Component, Fingerprint, StepId, Timestamp, WriteGuard},
    platform::Settled,
    state::journal::{ClosedBy, Direction, DriverHow, ErrorRecord, Fact, Intent, Sending, StepState},
};

/// How long a call stays open where only settling tells, and settling does not.
const UNTOLD_MS: u64 = 900_000;

/// How often an intent is settled in a row before something else is tried.
pub(super) const SETTLES: u32 = 20;

impl Machine {
    /// A running step (or a barrier write) asks for an effect.
    pub(super) fn asked(&mut self, ask: Ask) {
        let direction = match self.direction_of(&ask.step) {
            Ok(direction) => direction,
            Err(error) => return self.deny(ask.id, &error),
        };
        if direction != Direction::Barrier && !self.is_running(&ask) {
            let text = format!("step {} is not running any more; nothing was sent", ask.step);
            return self.deny(ask.id, &Error::new(ErrorKind::Interrupted, text));
        }
        if direction == Direction::Forward && !matches!(self.state.phase, Phase::Forward) {
            return self.deny(
                ask.id,
                &Error::new(ErrorKind::Interrupted, "the rollout no longer goes forward; nothing was sent"),
            );
        }
        // A barrier write changes nothing that anyone reads, so it may still settle what is open.
        let silent = matches!(self.state.phase, Phase::GivingWay | Phase::Abandoned);
        if silent && direction != Direction::Barrier {
            return self.deny(ask.id, &Error::new(ErrorKind::Interrupted, "this rollout writes no more"));
        }
        if direction == Direction::Forward {
            if let Some(answer) = self.answer_from_journal(&ask) {
                return match answer {
                    Ok(value) => self.out.push(Action::Recorded { ask: ask.id, value }),
                    Err(error) => self.deny(ask.id, &error),
                };
            }
            if let Some(other) = self.open_with_another_value(&ask) {
                let wait = self.late_bound(other).since(self.live.now);
                let text = format!("an unanswered call of step {} may still set another value", other.step);
                return self
                    .deny(ask.id, &Error::new(ErrorKind::Conflict, text).retry_as(Retry::After(wait)));
            }
        }
        self.grant_when_durable(ask, direction);
    }

    fn is_running(&self, ask: &Ask) -> bool {
        matches!(&self.live.activity, Activity::Running { step, attempt, .. }
            if *step == ask.step && *attempt == ask.attempt)
    }

    fn direction_of(&self, step: &StepId) -> Result<Direction, Error> {
        if step.as_str() == "seal" || step.as_str() == "settle" {
            return Ok(Direction::Barrier);
        }
        if self.plan.is_undo(step) {
            return Ok(Direction::Back);
        }
        match self.plan.step(step) {
            // A remedy goes the way that the rollout goes.
            Some(_) if self.plan.remedies.iter().any(|remedy| remedy.id == *step) => {
                Ok(match self.state.phase {
                    Phase::Forward | Phase::Baking => Direction::Forward,
                    _ => Direction::Back,
                })
            }
            Some(_) => Ok(Direction::Forward),
            None => Err(Error::new(ErrorKind::Unexpected, format!("the plan has no step {step}"))),
        }
    }

    /// A step that is run again gets what it did before.
    fn answer_from_journal(&self, ask: &Ask) -> Option<Result<Value, Error>> {
        if self.plan.remedies.iter().any(|remedy| remedy.id == ask.step) {
            return None;
        }
        let mine = |sent: &&Sent| sent.intent.step == ask.step && sent.intent.key == ask.key;
        for sent in self.state.sent.values().filter(mine) {
            let same = sent.intent.hash == ask.hash;
            match (sent.closed, sent.state) {
                // It was seen to have landed, and nobody heard what it returned: the same value may be sent again.
                (Some(ClosedBy::Sight), StepState::Applied) if same && sent.output.is_none() => {}
                (Some(_), StepState::Applied) if same => {
                    return Some(Ok(sent.output.clone().unwrap_or(Value::Null)));
                }
                (Some(_), StepState::Applied) => {
                    let text = format!("step {} asks for another {} than it did before", ask.step, ask.key);
                    return Some(Err(Error::new(ErrorKind::JournalMismatch, text)));
                }
                (Some(_), StepState::NotApplied) => {}
                // Open, or closed without anybody having seen how it ended.
                _ if ask.sending == Sending::AtMostOnce && self.rules.at_most_once => {
                    let text =
                        format!("whether {} happened is not known, and it must not happen twice", ask.key);
                    return Some(Err(Error::new(ErrorKind::Conflict, text).retry_as(Retry::Never)));
                }
                (None, _) if self.must_settle_first(ask, same) => {
                    let text = format!("{} of step {} is not settled yet", ask.key, ask.step);
                    return Some(Err(Error::new(ErrorKind::Conflict, text).retry_as(Retry::Always)));
                }
                _ => {}
            }
        }
        None
    }

    /// On a platform that compares, an unanswered call is settled before the next; elsewhere the same value may be
    /// sent again earlier (N2), and so may a call that is harmless twice.
    fn must_settle_first(&self, ask: &Ask, same: bool) -> bool {
        let compares = self.plan.capabilities.write_guard != WriteGuard::None;
        let sendable_again = same && (ask.to.is_some() || ask.sending == Sending::Idempotent);
        compares && ask.component.is_some() || !sendable_again
    }

    fn open_with_another_value(&self, ask: &Ask) -> Option<&Intent> {
        let component = ask.component.as_ref()?;
        self.state.open().find(|intent| {
            intent.component.as_ref() == Some(component) && intent.to.is_some() && intent.to != ask.to
        })
    }

    fn grant_when_durable(&mut self, ask: Ask, direction: Direction) {
        let now = self.live.now;
        let was_there = match (&ask.component, &ask.to) {
            (Some(component), Some(to)) => {
                self.live.last_seen.get(component).is_none_or(|seen| seen.declared == *to)
            }
            _ => false,
        };
        let intent = Intent {
            id: self.state.seq + 1,
            rollout: self.rollout.clone(),
            step: ask.step.clone(),
            key: ask.key.clone(),
            direction,
            sending: ask.sending,
            hash: ask.hash,
            component: ask.component,
            to: ask.to,
            exclusive: ask.exclusive,
            was_there,
            change: ask.change,
            fence: self.live.fence,
            signed_at: now,
            late_bound: now.plus_ms(self.plan.capabilities.lateness.bound_ms()),
        };
        let id = intent.id;
        let kind = match self.plan.step(&ask.step) {
            Some(step) => step.kind.word().to_owned(),
            None => ask.step.as_str().to_owned(),
        };
        self.note(Fact::Step {
            step: ask.step,
            kind,
            state: StepState::Asked,
            attempt: ask.attempt,
            effect: Some(ask.key),
            intent: Some(Box::new(intent)),
            of: None,
            closed: None,
            output: None,
            error: None,
            took_ms: None,
        });
        let token = self.durable_token();
        self.live.granting.insert(token, (id, ask.id));
        if self.live.store_lost.is_some() {
            self.grant_without_store();
        }
    }

    /// The intent is stored: it may be sent, unless the rollout has turned round meanwhile.
    pub(super) fn durable(&mut self, token: u64, window_ms: u64) {
        let Some((id, ask)) = self.live.granting.remove(&token) else { return };
        let Some(sent) = self.state.sent.get(&id) else { return };
        let intent = sent.intent.clone();
        let turned = intent.direction == Direction::Forward && self.state.phase != Phase::Forward
            || intent.direction != Direction::Barrier
                && matches!(self.state.phase, Phase::GivingWay | Phase::Abandoned);
        if turned || window_ms == 0 {
            // It was never sent.
            self.answer(&intent, StepState::NotApplied, Some(ClosedBy::Answer), None, None);
            let kind = if turned { ErrorKind::Interrupted } else { ErrorKind::LeaseLost };
            let error = Error::new(kind, "nothing was sent").retry_as(Retry::Always);
            return self.deny(ask, &error);
        }
        self.grant(ask, &intent, window_ms);
    }

    fn grant(&mut self, ask: u64, intent: &Intent, window_ms: u64) {
        let grant = Grant {
            intent: intent.id,
            fence: intent.fence,
            signed_at: intent.signed_at,
            window_ms,
            attempt_ms: self.timing.request_ms,
        };
        self.out.push(Action::Grant { ask, grant });
    }

    /// The store does not answer. The standing undo was durable before the first step, so going back may go on
    /// while the holder's window lasts; nothing else may begin.
    pub(super) fn store_lost(&mut self, window_ms: u64) {
        self.live.store_lost = Some(self.live.now.plus_ms(window_ms));
        self.grant_without_store();
    }

    fn grant_without_store(&mut self) {
        let Some(until) = self.live.store_lost else { return };
        let window_ms = crate::model::millis(until.since(self.live.now));
        // When the window is over somebody else may hold the lease.
        if self.state.phase != Phase::Back || !self.rules.standing_undo || window_ms == 0 {
            return;
        }
        let waiting = std::mem::take(&mut self.live.granting);
        for (token, (id, ask)) in waiting {
            let Some(sent) = self.state.sent.get(&id) else { continue };
            if sent.intent.direction == Direction::Back {
                let intent = sent.intent.clone();
                self.grant(ask, &intent, window_ms);
            } else {
                // Only the undo stands: a forward call that waited when the rollout turned round does not.
                self.live.granting.insert(token, (id, ask));
            }
        }
    }

    fn deny(&mut self, ask: u64, error: &Error) {
        self.out.push(Action::Deny { ask, error: error.into() });
    }

    /// A granted effect ended.
    pub(super) fn effected(&mut self, id: u64, ended: EffectEnd) {
        let Some(sent) = self.state.sent.get(&id) else { return };
        if sent.closed.is_some() {
            return;
        }
        let intent = sent.intent.clone();
        match ended {
            EffectEnd::Applied(value) => {
                self.answer(&intent, StepState::Applied, Some(ClosedBy::Answer), Some(value), None);
                self.close_what_it_burned(&intent);
            }
            EffectEnd::Failed(error) if error.effect == "applied" => {
                self.answer(&intent, StepState::Applied, Some(ClosedBy::Answer), None, Some(error));
                self.close_what_it_burned(&intent);
            }
            EffectEnd::Failed(error) if error.effect == "not_applied" => {
                self.answer(&intent, StepState::NotApplied, Some(ClosedBy::Answer), None, Some(error));
            }
            EffectEnd::Failed(error) => self.answer(&intent, StepState::Unknown, None, None, Some(error)),
        }
    }

    pub(super) fn answer(
        &mut self,
        intent: &Intent,
        state: StepState,
        closed: Option<ClosedBy>,
        output: Option<Value>,
        error: Option<ErrorRecord>,
    ) {
        if closed.is_some() {
            self.live.closed_at = self.live.now;
            self.live.inherited.remove(&intent.id);
            if let (Direction::Forward, Some(by), Some(component)) =
                (intent.direction, closed, &intent.component)
                && matches!(by, ClosedBy::LateBound | ClosedBy::Obligation | ClosedBy::Sight)
            {
                self.live.unlooked.insert(component.clone());
            }
        }
        let attempt = self.state.attempts.get(&intent.step).copied().unwrap_or(1);
        let took_ms = u64::try_from(self.live.now.since(intent.signed_at).as_millis()).ok();
        let note = StepNote {
            effect: Some(intent.key.clone()),
            of: Some(intent.id),
            closed,
            output,
            error,
            took_ms,
        };
        self.note_step(&intent.step.clone(), state, attempt, note);
    }

    /// An answered write closes what can no longer do harm because of it.
    fn close_what_it_burned(&mut self, answered: &Intent) {
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
        self.live.inherited.get(&intent.id).copied().unwrap_or(intent.late_bound)
    }

    fn compares(&self) -> bool {
        self.plan.capabilities.write_guard != WriteGuard::None
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
        if !self.live.inherited.contains_key(&intent.id) {
            // Its own call may be running: the attempt's deadline is far below every late bound that is not zero.
            at = at.max(intent.signed_at.plus_ms(self.timing.request_ms + self.timing.window_ms));
        }
        if self.is_told_by_settling(intent) {
            at = at.max(intent.signed_at.plus_ms(UNTOLD_MS));
        }
        Some(at)
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
