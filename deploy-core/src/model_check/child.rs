//! The child tasks of a deployer: a step, a seal or a settling, each with its one effect, as a step's context and a
//! platform of the class do it.

use super::{
    deployer::{Turn, component},
    world::{Class, Declared, Request, TICK, What},
};
use crate::{
    context::Ask,
    error::{EffectState, Error, ErrorKind, Retry},
    machine::{EffectEnd, Input},
    model::{StepId, Timestamp},
    platform::Settled,
    state::journal::{ErrorRecord, Fact, Intent, Sending},
};

/// What a child task is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Step { step: StepId, attempt: u32 },
    Seal,
    Settle(Box<Intent>),
}

/// How far a child task is with its one effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Asked(u64),
    /// `standing`: under the standing undo alone, without the store.
    Granted {
        intent: u64,
        fence: u64,
        signed_at: Timestamp,
        send_by: u64,
        standing: bool,
    },
    Sent {
        intent: u64,
        at: u64,
    },
    Answered {
        intent: u64,
        landed: Result<(), Refusal>,
    },
}

/// Why the platform refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    Version,
    Fence,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Child {
    pub(super) work: Work,
    pub(super) stage: Stage,
    pub(super) what: What,
    /// The version that was read before the question was asked.
    pub(super) on: Option<u64>,
    /// The newest look when the question was asked.
    pub(super) over: Option<(Declared, bool)>,
}

impl Turn<'_> {
    pub(super) fn begin_child(&mut self, work: Work, what: What, step: &str, attempt: u32, on: Option<u64>) {
        self.live.next_ask += 1;
        let id = self.live.next_ask;
        let declares = match what {
            What::Declare(declared) => Some(declared),
            What::Barrier | What::Run => None,
        };
        let sending = match (what, self.set.class) {
            (What::Run, _) => Sending::AtMostOnce,
            (What::Declare(_), Class::P0) => Sending::Idempotent,
            _ => Sending::Once,
        };
        let ask = Ask {
            id,
            step: StepId::from(step),
            attempt,
            key: "call".into(),
            sending,
            hash: format!("{what:?}"),
            component: (what != What::Run).then(component),
            to: declares.map(Declared::fingerprint),
            ends: false,
            lands_ms: 0,
            // Only where nobody else writes it.
            exclusive: declares == Some(Declared::New) && self.set.budget.foreign_new == 0,
            change: on.map_or(serde_json::Value::Null, Into::into),
            attempt_ms: None,
        };
        let over = self.live.saw;
        self.live.child = Some(Child { work, stage: Stage::Asked(id), what, on, over });
        self.live.inputs.push_back(Input::Asked(ask));
    }

    /// What the platform compares with, read now.
    pub(super) fn version(&self) -> Option<u64> {
        (self.set.class != Class::P0).then_some(self.rest.object.version)
    }

    pub(super) fn execute(&mut self, step: StepId, attempt: u32) {
        let what = match step.as_str() {
            "run" => What::Run,
            "back" => What::Declare(Declared::Old),
            _ => What::Declare(Declared::New),
        };
        // An undo ensures: it writes nothing where the old value is declared, and it looks before it asks.
        let on = self.version().filter(|_| what != What::Run);
        let name = step.as_str().to_owned();
        self.begin_child(Work::Step { step, attempt }, what, &name, attempt, on);
    }

    pub(super) fn seal(&mut self) {
        if self.set.class == Class::P0 {
            self.live.inputs.push_back(Input::Sealed(Ok(())));
            return;
        }
        let on = if self.set.rules.versions_first { self.live.versions } else { None };
        self.begin_child(Work::Seal, What::Barrier, "seal", 1, on);
    }

    pub(super) fn settle(&mut self, intent: Box<Intent>) {
        let id = intent.id;
        if self.set.class == Class::P0 || intent.component.is_none() {
            self.live.inputs.push_back(Input::Settled { intent: id, found: Ok(Settled::Unknown) });
            return;
        }
        if intent.change.as_u64() != Some(self.rest.object.version) {
            // The version that it was made for is gone: it has landed, or never will.
            let there = intent.to == Some(self.rest.object.declared.fingerprint());
            let found = if there { Settled::Applied(serde_json::Value::Null) } else { Settled::NotApplied };
            self.live.inputs.push_back(Input::Settled { intent: id, found: Ok(found) });
            return;
        }
        let on = self.version();
        self.begin_child(Work::Settle(intent), What::Barrier, "settle", 1, on);
    }

    /// The child's work is over.
    pub(super) fn child_ended(&mut self, result: Result<serde_json::Value, Error>) {
        let Some(child) = self.live.child.take() else { return };
        let record = result.map_err(|error| ErrorRecord::from(&error));
        self.live.inputs.push_back(match child.work {
            Work::Step { step, attempt } => Input::StepEnded { step, attempt, result: record },
            Work::Seal => {
                if record.is_ok() {
                    self.rest.ghost.sealed = self.rest.ghost.sealed.max(self.live.fence);
                } else {
                    // A conflict: read again, take the head again (the next intent is such a write), retry.
                    self.live.versions = self.version();
                }
                Input::Sealed(record.map(|_| ()))
            }
            Work::Settle(intent) => {
                Input::Settled { intent: intent.id, found: record.map(|_| Settled::NotApplied) }
            }
        });
    }

    /// Sends what was granted, unless the clock says that the permit is over.
    pub(super) fn send(&mut self) {
        let Some(child) = self.live.child.clone() else { return };
        let Stage::Granted { intent, fence, signed_at, send_by, standing } = child.stage else { return };
        if self.set.rules.permit_clock && self.now >= send_by {
            let error = Error::new(ErrorKind::LeaseLost, "the permit is over").retry_as(Retry::Always);
            self.effected(intent, Err(error));
            return;
        }
        self.check_sending(intent, &child, standing);
        let signed = u64::try_from(signed_at.as_millis()).unwrap_or(0);
        let bound = self.set.plan.capabilities.lateness.bound_ms();
        let until = match (self.set.class, self.set.signed) {
            (Class::P0, true) => signed + bound,
            (Class::P0, false) => self.now + TICK + self.set.plan.capabilities.lateness.apply_ms,
            // Nothing bounds it.
            _ => u64::MAX,
        };
        let on = if child.work == Work::Seal && child.on.is_none() { self.version() } else { child.on };
        let run = self.live.run;
        if until > self.now {
            self.rest.requests.push(Request { run, intent, fence, what: child.what, on, until, late: false });
        }
        if let Some(child) = &mut self.live.child {
            child.stage = Stage::Sent { intent, at: self.now };
        }
    }

    fn check_sending(&mut self, intent: u64, child: &Child, standing: bool) {
        let what = child.what;
        let stored = self.head.is_some_and(|head| {
            head.tail.iter().any(|entry| {
                matches!(&entry.fact, Fact::Step { intent: Some(other), .. } if other.id == intent
                    && other.fence.0 == self.live.fence)
            })
        });
        if !stored {
            if what == What::Declare(Declared::Old) && standing {
                self.rest.ghost.undone_without_store = true;
            } else {
                self.rest.broke("something is sent without a durable intent");
            }
        }
        match (what, child.over) {
            (What::Declare(_), Some((Declared::Other, _))) => {
                self.rest.broke("a foreign change that was seen is overwritten");
            }
            (What::Declare(Declared::Old), Some((Declared::New, true))) => self.rest.ghost.fights += 1,
            (What::Declare(Declared::New), _) => self.rest.ghost.forward += 1,
            _ => {}
        }
        if matches!(what, What::Declare(_)) {
            self.live.knows_old = false;
        }
        if self.rest.ghost.fights > self.rest.ghost.forward {
            self.rest.broke("a foreign writer is fought");
        }
        let forward = matches!(what, What::Declare(Declared::New) | What::Run);
        if forward && self.set.class == Class::P0 {
            self.rest.ghost.sealed = self.rest.ghost.sealed.max(self.live.fence);
        }
    }

    /// The effect of the child ended: the driver is told first, then the step ends.
    pub(super) fn effected(&mut self, intent: u64, result: Result<(), Error>) {
        let back = |child: &Child| child.what == What::Declare(Declared::Old);
        self.live.knows_old |= result.is_ok() && self.live.child.as_ref().is_some_and(back);
        let ended = match &result {
            Ok(()) => EffectEnd::Applied(serde_json::Value::Null),
            Err(error) => EffectEnd::Failed(error.into()),
        };
        self.live.inputs.push_back(Input::Effected { intent, ended });
        self.child_ended(result.map(|()| serde_json::Value::Null));
    }

    /// An answer that has come, or the deadline that has passed.
    pub(super) fn hear(&mut self) {
        let Some(child) = &self.live.child else { return };
        match child.stage {
            Stage::Answered { intent, landed: Ok(()) } => self.effected(intent, Ok(())),
            Stage::Answered { intent, landed: Err(Refusal::Version) } => {
                let error = Error::new(ErrorKind::Conflict, "the version moved").retry_as(Retry::Always);
                self.effected(intent, Err(error.effect_as(EffectState::NotApplied)));
            }
            Stage::Answered { intent, landed: Err(Refusal::Fence) } => {
                let error = Error::new(ErrorKind::LeaseLost, "a higher fence").retry_as(Retry::Never);
                self.effected(intent, Err(error.effect_as(EffectState::NotApplied)));
            }
            Stage::Sent { intent, at } if self.now >= at + TICK => {
                for request in &mut self.rest.requests {
                    request.late |= request.run == self.live.run && request.intent == intent;
                }
                let error = Error::new(ErrorKind::TimedOut, "no answer").retry_as(Retry::IfIdempotent);
                self.effected(intent, Err(error.effect_as(EffectState::Unknown)));
            }
            Stage::Asked(_) | Stage::Granted { .. } | Stage::Sent { .. } => {}
        }
    }
}
