//! Asking and granting: "One mutation" and rules N1 to N6 of docs/protocol.md.

use serde_json::Value;

use super::{Action, Activity, EffectEnd, Machine, Phase, StepNote, state::Sent};
use crate::{
    context::{Ask, Grant},
    error::{Error, ErrorKind, Retry},
    model::{StepId, WriteGuard},
    state::journal::{ClosedBy, Direction, ErrorRecord, Fact, Intent, Sending, StepState},
};

/// How long it may take to be told of a long attempt whose end was not seen.
const SETTLED_MS: u64 = 30_000;

impl Machine {
    /// A running step (or a barrier write) asks for an effect.
    pub(super) fn asked(&mut self, ask: Ask) {
        let direction = match self.direction_of(&ask.step) {
            // The rollout has turned round while the step runs: ending its work goes the same way.
            Ok(Direction::Forward)
                if ask.ends && matches!(self.state.phase, Phase::Back | Phase::Following) =>
            {
                Direction::Back
            }
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
            Some(_) if self.plan.is_prepare(step) => {
                let text =
                    format!("step {step} prepares: it changes nothing of the place, and asks for nothing");
                Err(Error::new(ErrorKind::Unexpected, text))
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
        let attempt_ms = ask.attempt_ms.filter(|attempt| *attempt > self.timing.request_ms);
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
            late_bound: now.plus_ms(
                attempt_ms.unwrap_or(0) + self.plan.capabilities.lateness.bound_ms().max(ask.lands_ms),
            ),
            attempt_ms,
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
            attempt_ms: intent.attempt_ms.unwrap_or(self.timing.request_ms),
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
            EffectEnd::Failed(error) => {
                // What was asked to end is not asked about: the deploy goes back, whether it worked or not.
                if intent.attempt_ms.is_some() && !error.is_kind(ErrorKind::Interrupted) {
                    self.live.cut_off.insert(id, self.live.now.plus_ms(SETTLED_MS));
                }
                self.answer(&intent, StepState::Unknown, None, None, Some(error));
            }
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

    pub(super) fn compares(&self) -> bool {
        self.plan.capabilities.write_guard != WriteGuard::None
    }
}
