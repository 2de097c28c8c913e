//! One deployer: the real keeper and the real machine, and what `session.rs`, `driver.rs` and a step's context do
//! between them. Messages inside one process are handed on at once; what leaves it waits for an action.

use std::collections::VecDeque;

use super::{
    child::{Child, Stage},
    world::{Class, Declared, Rest, Setting, at},
};
use crate::{
    error::{Error, ErrorKind},
    machine::{Action, EffectEnd, Input, Look, Machine},
    model::{Component, Ended, Scope, Timestamp},
    state::{
        head::{Head, Holder},
        journal::{CommandKind, Direction, DriverHow, Fact},
        keeper::{Keeper, KeeperAction, KeeperInput, Want},
    },
};

/// A running deployer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Live {
    pub(super) run: u8,
    pub(super) me: Holder,
    pub(super) keeper: Keeper,
    pub(super) machine: Option<Machine>,
    /// Calls of the store that wait to be made, in order.
    pub(super) calls: VecDeque<KeeperAction>,
    to_keeper: VecDeque<KeeperInput>,
    pub(super) inputs: VecDeque<Input>,
    pub(super) keeper_wake: Option<u64>,
    pub(super) machine_wake: Option<Timestamp>,
    pub(super) watch: u64,
    pub(super) looks: Vec<Look>,
    /// It has looked since the clock moved.
    pub(super) looked: bool,
    pub(super) inspecting: bool,
    pub(super) child: Option<Child>,
    /// The platform's version, read before the head was taken.
    pub(super) versions: Option<u64>,
    pub(super) fence: u64,
    pub(super) paused: bool,
    pub(super) cut_off: bool,
    pub(super) store_lost: bool,
    pub(super) next_ask: u64,
    /// The newest look, and whether somebody else had put that over the old value that was known to be back.
    pub(super) saw: Option<(Declared, bool)>,
    /// Our write of the old value was answered, or the old value seen after it.
    pub(super) knows_old: bool,
    leaving: bool,
    pub(super) gone: bool,
}

impl Live {
    pub(super) fn new(run: u8, want: Want, setting: &Setting, versions: Option<u64>) -> Self {
        let me = Holder::named(format!("d{run}"));
        let plan = &setting.plan;
        let keeper = Keeper::new(
            me.clone(),
            plan.claims[0].clone(),
            plan.target.clone(),
            want,
            setting.timing,
            setting.rules,
        );
        Self {
            run,
            me,
            keeper,
            machine: None,
            calls: VecDeque::new(),
            to_keeper: VecDeque::from([KeeperInput::Start]),
            inputs: VecDeque::new(),
            keeper_wake: None,
            machine_wake: None,
            watch: 0,
            looks: Vec::new(),
            looked: false,
            inspecting: false,
            child: None,
            versions,
            fence: 0,
            paused: false,
            cut_off: false,
            store_lost: false,
            next_ask: 0,
            saw: None,
            knows_old: false,
            leaving: false,
            gone: false,
        }
    }
}

impl Live {
    pub(super) fn see(&mut self, declared: Declared, foreign: bool) {
        self.knows_old |= declared == Declared::Old;
        self.saw = Some((declared, foreign && self.knows_old));
    }
}

/// A deployer at work on the world.
pub(super) struct Turn<'a> {
    pub(super) set: &'a Setting,
    pub(super) now: u64,
    pub(super) live: &'a mut Live,
    pub(super) rest: &'a mut Rest,
    /// The head as it is stored.
    pub(super) head: Option<&'a Head>,
}

impl Turn<'_> {
    /// Hands on messages until everything waits for something outside.
    pub(super) fn run(&mut self) {
        loop {
            if self.live.gone {
                return;
            }
            if let Some(input) = self.live.inputs.pop_front() {
                let Some(machine) = &mut self.live.machine else { continue };
                for action in machine.handle(at(self.now), input) {
                    self.perform(action);
                }
            } else if self.live.calls.is_empty() && !self.live.to_keeper.is_empty() {
                if let Some(input) = self.live.to_keeper.pop_front() {
                    self.keep(input);
                }
            } else {
                return;
            }
        }
    }

    /// One input of the keeper, as its session gives it.
    pub(super) fn keep(&mut self, input: KeeperInput) {
        self.live.keeper_wake = None;
        let by_time = input == KeeperInput::Tick;
        let fresh = self.rest.fresh + 1;
        for action in self.live.keeper.handle(self.now, input, fresh) {
            self.kept(action, fresh, by_time);
        }
    }

    fn kept(&mut self, action: KeeperAction, fresh: u64, by_time: bool) {
        match action {
            KeeperAction::WakeAt(at) => {
                self.live.keeper_wake = Some(self.live.keeper_wake.map_or(at, |other| other.min(at)));
            }
            KeeperAction::Read => self.live.calls.push_back(KeeperAction::Read),
            KeeperAction::Write { .. } => {
                // The number counts as given out only if it was used: the next write needs another.
                self.rest.fresh = fresh;
                self.live.calls.push_back(action);
            }
            KeeperAction::Taken { fence, previous, how, head } => {
                self.taken(fence.0, previous.as_ref(), how, &head);
            }
            KeeperAction::Durable { token, window_until } => {
                let window_ms = window_until.saturating_sub(self.now);
                self.live.inputs.push_back(Input::Durable { token, window_ms });
            }
            KeeperAction::Commands(commands) => {
                for command in commands {
                    self.live.inputs.push_back(Input::Command { command, via: "inbox" });
                }
            }
            KeeperAction::StoreLost { window_until } => {
                self.live.store_lost = true;
                let window_ms = window_until.saturating_sub(self.now);
                self.live.inputs.push_back(Input::StoreLost { window_ms });
            }
            KeeperAction::StoreBack => {
                self.live.store_lost = false;
                self.live.inputs.push_back(Input::StoreBack);
            }
            KeeperAction::Busy(_)
            | KeeperAction::Unfinished(_)
            | KeeperAction::Overtaken(_)
            | KeeperAction::Lost => {
                let named = self.head.is_some_and(|head| head.holder.as_ref() == Some(&self.live.me));
                if named && !by_time && !self.live.leaving {
                    self.rest.broke("the winner is told that it lost");
                }
                self.end();
            }
            KeeperAction::ReleaseRefused => {
                self.rest.broke("the end is refused: an intent is open");
                self.end();
            }
            KeeperAction::Nothing | KeeperAction::Released => self.end(),
            KeeperAction::Probe(_) | KeeperAction::Written(_) => {}
        }
    }

    /// The process ends, or is not a holder any more: what it sent is on its own now.
    pub(super) fn end(&mut self) {
        self.live.gone = true;
        self.abandon_child();
    }

    fn abandon_child(&mut self) {
        self.live.child = None;
        for request in &mut self.rest.requests {
            request.late |= request.run == self.live.run;
        }
    }

    fn taken(&mut self, fence: u64, previous: Option<&Holder>, how: DriverHow, head: &Head) {
        self.live.fence = fence;
        let Some(rollout) = head.claim.clone() else { return self.end() };
        let mut machine =
            Machine::with_rules(self.set.plan.clone(), rollout, self.set.timing, self.set.rules);
        if machine.replay(&head.tail).is_err() {
            self.rest.broke("the journal has gaps");
            return self.end();
        }
        self.live.machine = Some(machine);
        self.rest.ghost.resumed |= how != DriverHow::Began;
        let quiet_ms = match how {
            DriverHow::Began => 0,
            _ => self.set.timing.quiet_ms(self.set.plan.capabilities.lateness.bound_ms()),
        };
        self.live.inputs.push_back(Input::Begun {
            fence: crate::model::Fence(fence),
            owner: self.live.me.id.clone(),
            previous: previous.map(|holder| holder.id.clone()),
            how,
            reason: None,
            quiet_ms,
        });
        if how != DriverHow::Began && !self.set.rules.barrier && self.set.class != Class::P0 {
            self.rest.ghost.sealed = self.rest.ghost.sealed.max(fence);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Append { entries, token } => {
                self.live.to_keeper.push_back(KeeperInput::Append { entries, token });
            }
            Action::Grant { ask, grant } => {
                let send_by = self.now.saturating_add(grant.window_ms);
                match &mut self.live.child {
                    Some(child) if child.stage == Stage::Asked(ask) => {
                        child.stage = Stage::Granted {
                            intent: grant.intent,
                            fence: grant.fence.0,
                            signed_at: grant.signed_at,
                            send_by,
                            standing: self.live.store_lost,
                        };
                    }
                    _ => {
                        let error = Error::new(ErrorKind::Interrupted, "nobody waits for the permit");
                        let ended = EffectEnd::Failed((&error).into());
                        self.live.inputs.push_back(Input::Effected { intent: grant.intent, ended });
                    }
                }
            }
            Action::Recorded { ask, value } if self.asked(ask) => self.child_ended(Ok(value)),
            Action::Deny { ask, error } if self.asked(ask) => self.child_ended(Err(error.to_error())),
            Action::Recorded { .. } | Action::Deny { .. } => {}
            Action::Settle(intent) => self.settle(intent),
            Action::Seal => self.seal(),
            Action::Inspect => self.live.inspecting = true,
            // The plans of the model are closed.
            Action::Plan => {}
            Action::Execute { step, attempt } => self.execute(step, attempt),
            Action::Watch { watch, looks } => {
                self.live.watch = watch;
                self.live.looks = looks;
                self.live.looked = false;
            }
            Action::WakeAt(at) => {
                self.live.machine_wake = Some(self.live.machine_wake.map_or(at, |other| other.min(at)));
            }
            Action::Finish(outcome) => {
                self.check_outcome(&outcome.ended);
                self.live.looks.clear();
                self.live.to_keeper.push_back(KeeperInput::Release { keep_claim: false });
            }
            Action::Park | Action::HandOver => {
                self.live.leaving = true;
                self.live.looks.clear();
                self.live.inspecting = false;
                self.abandon_child();
                self.live.to_keeper.push_back(KeeperInput::Release { keep_claim: true });
            }
            Action::Interrupt | Action::Judge(_) => {}
        }
    }

    fn asked(&self, ask: u64) -> bool {
        self.live.child.as_ref().is_some_and(|child| child.stage == Stage::Asked(ask))
    }

    /// Success is said only of what the newest look saw.
    fn check_outcome(&mut self, ended: &Ended) {
        let saw = self.live.saw.map(|(declared, _)| declared);
        let right = match ended {
            Ended::Succeeded { .. } => saw == Some(Declared::New),
            Ended::RolledBack { .. } | Ended::Aborted => saw.is_none_or(|saw| saw == Declared::Old),
            _ => true,
        };
        if !right {
            self.rest.broke("an outcome is said that was not seen");
        }
    }

    /// What the passing of time brings to this process.
    pub(super) fn wake(&mut self) {
        self.hear();
        self.run();
        if !self.live.gone
            && self.live.keeper_wake.is_some_and(|at| at <= self.now)
            && self.live.calls.is_empty()
        {
            self.keep(KeeperInput::Tick);
            self.run();
        }
        if !self.live.gone && self.live.machine_wake.is_some_and(|wake| wake <= at(self.now)) {
            self.live.machine_wake = None;
            self.live.inputs.push_back(Input::Tick);
            self.run();
        }
    }

    /// The scope of a look, as the driver makes it.
    pub(super) fn scope(&self, look: &Look) -> Scope {
        let plan = &self.set.plan;
        let component = component();
        match look {
            Look::Toward(_) => {
                Scope::Toward { component, revision: plan.to.clone(), handle: serde_json::Value::Null }
            }
            Look::AtOld(_) => Scope::Holding { component, revision: plan.base.clone() },
            Look::AtGoal(_) => Scope::Holding { component, revision: plan.to.clone() },
        }
    }
}

pub(super) fn component() -> Component {
    Component::from("web")
}

/// Whether the stored journal says that going back was asked for while a forward call had no answer.
pub(super) fn back_over_open(head: &Head) -> bool {
    let going_back = head.tail.iter().any(|entry| {
        matches!(&entry.fact, Fact::Decision { decision: crate::state::journal::Decision::GoBack, .. })
    });
    going_back && head.open.iter().any(|intent| intent.direction == Direction::Forward)
}

/// The command of a person who wants it back.
pub(super) const ABORT: CommandKind = CommandKind::Abort;
