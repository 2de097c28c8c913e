//! The model: which actions a world offers, and what they do to it.

use stateright::{Model, Property};

use super::{
    child::Stage,
    deployer::Live,
    events::rollout,
    world::{Class, Declared, Ghost, Object, Request, Rest, Setting, Shared, Store, TICK, World},
};
use crate::{
    machine::Input,
    model::Ended,
    state::keeper::{KeeperAction, KeeperInput, Want},
};

/// What can happen next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// The next store call of a deployer is made: answered, or not.
    Store(usize, Call),
    /// A write without answer arrives after all.
    LateWrite(usize),
    Inspect(usize),
    Look(usize),
    /// A look that finds the new revision bad.
    LookRed(usize),
    Send(usize),
    /// A request lands, and is answered if somebody waits.
    Land(usize),
    /// A request takes longer than anybody waits.
    Delay(usize),
    /// A late request never lands.
    Vanish(usize),
    Crash(usize),
    Pause(usize),
    Wake(usize),
    Leave(usize),
    CutOff(usize),
    /// The holder polls the head.
    Poll(usize),
    Resume {
        broken: bool,
    },
    Foreign(Declared),
    Abort,
    /// The clock moves on, and everybody who is awake does what is due.
    Clock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Answered,
    /// No answer, no effect.
    LostBefore,
    /// The effect, but no answer.
    LostAfter,
    /// No answer; the write arrives later.
    Late,
}

impl Setting {
    /// Whether somebody who is awake has something to do first.
    fn is_busy(&self, world: &World) -> bool {
        let busy = |live: &Live| {
            let granted = matches!(&live.child, Some(child) if matches!(child.stage, Stage::Granted { .. }));
            let looks = !live.looks.is_empty() && !live.looked;
            !live.paused && (!live.calls.is_empty() || live.inspecting || granted || looks)
        };
        world.deployers.iter().any(|live| busy(live.get()))
            || world.rest.requests.iter().any(|request: &Request| !request.late)
    }

    fn acts_of(&self, world: &World, who: usize, live: &Live, acts: &mut Vec<Act>) {
        let left = &world.rest.left;
        if left.crashes > 0 {
            acts.push(Act::Crash(who));
        }
        let granted = matches!(&live.child, Some(child) if matches!(child.stage, Stage::Granted { .. }));
        if granted {
            acts.push(Act::Send(who));
        }
        if live.paused {
            acts.push(Act::Wake(who));
            return;
        }
        // Standing still matters where something is about to leave the process.
        if left.pauses > 0 && (granted || !live.calls.is_empty()) {
            acts.push(Act::Pause(who));
        }
        if left.leaves > 0 && live.machine.is_some() {
            acts.push(Act::Leave(who));
        }
        if left.partitions > 0 && live.machine.is_some() && !live.cut_off {
            acts.push(Act::CutOff(who));
        }
        if let Some(call) = live.calls.front() {
            acts.push(Act::Store(who, Call::Answered));
            if left.store > 0 && !live.cut_off {
                acts.push(Act::Store(who, Call::LostBefore));
                if matches!(call, KeeperAction::Write { .. }) {
                    acts.push(Act::Store(who, Call::LostAfter));
                    acts.push(Act::Store(who, Call::Late));
                }
            }
        } else if live.machine.is_some() {
            let known = live.keeper.head().map(|head| head.write_id);
            if world.store.get().head.as_ref().map(|head| head.write_id) != known {
                acts.push(Act::Poll(who));
            }
        }
        if live.inspecting {
            acts.push(Act::Inspect(who));
        }
        if !live.looks.is_empty() {
            acts.push(Act::Look(who));
            if left.red > 0 && world.rest.object.declared == Declared::New {
                acts.push(Act::LookRed(who));
            }
        }
    }
}

impl Model for Setting {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let object = Object { declared: Declared::Old, version: 1, fence: 0, foreign: false, runs: 0 };
        let rest = Rest {
            object,
            requests: Vec::new(),
            left: self.budget,
            runs: 0,
            fresh: 0,
            red: false,
            ghost: Ghost::default(),
        };
        let store = Shared::new(Store { version: 0, head: None, late: Vec::new() });
        let mut world = World { now: 0, deployers: Vec::new(), store, rest };
        let want = Want::Begin {
            rollout: rollout(),
            plan: String::new(),
            entries: self.first_head(),
            fence_above: crate::model::Fence(0),
        };
        self.start(&mut world, want);
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if !world.rest.ghost.broken.0.is_empty() {
            return;
        }
        let left = &world.rest.left;
        for (who, live) in world.deployers.iter().enumerate() {
            self.acts_of(world, who, live.get(), acts);
        }
        for (index, request) in world.rest.requests.iter().enumerate() {
            acts.push(Act::Land(index));
            if request.late {
                if request.until == u64::MAX {
                    acts.push(Act::Vanish(index));
                }
            } else if left.delays > 0 {
                acts.push(Act::Delay(index));
            }
        }
        for index in 0..world.store.get().late.len() {
            acts.push(Act::LateWrite(index));
        }
        let head = world.store.get().head.as_ref();
        let claimed = head.is_some_and(|head| head.claim.is_some());
        if left.resumes > 0 && claimed {
            acts.push(Act::Resume { broken: false });
            if left.breaks > 0 && head.is_some_and(|head| head.holder.is_some()) {
                acts.push(Act::Resume { broken: true });
            }
        }
        if left.foreign > 0 && world.rest.object.declared != Declared::Other {
            acts.push(Act::Foreign(Declared::Other));
        }
        if left.foreign_new > 0 {
            acts.push(Act::Foreign(Declared::New));
        }
        if left.aborts > 0 && claimed {
            acts.push(Act::Abort);
        }
        if world.now < self.ticks * TICK && !self.is_busy(world) {
            acts.push(Act::Clock);
        }
    }

    fn next_state(&self, last: &World, act: Act) -> Option<World> {
        let mut world = last.clone();
        let left = &mut world.rest.left;
        match act {
            Act::Store(who, how) => {
                left.store -= u8::from(how != Call::Answered);
                self.store_call(&mut world, who, how);
            }
            Act::LateWrite(index) => {
                let (expected, head) = world.store.change(|store| store.late.remove(index));
                self.write(&mut world, expected, head);
            }
            Act::Inspect(who) => self.turn(&mut world, who, |turn| self.inspect(turn)),
            Act::Look(who) => self.turn(&mut world, who, |turn| self.look(turn)),
            Act::LookRed(who) => {
                left.red -= 1;
                world.rest.red = true;
                self.turn(&mut world, who, |turn| self.look(turn));
            }
            Act::Send(who) => self.turn(&mut world, who, |turn| turn.send()),
            Act::Land(index) => self.land(&mut world, index),
            Act::Delay(index) => {
                left.delays -= 1;
                world.rest.requests[index].late = true;
            }
            Act::Vanish(index) => {
                world.rest.requests.remove(index);
            }
            Act::Crash(who) => {
                left.crashes -= 1;
                self.turn(&mut world, who, |turn| turn.end());
            }
            Act::Pause(who) => {
                left.pauses -= 1;
                world.deployers[who].change(|live| live.paused = true);
            }
            Act::Wake(who) => self.turn(&mut world, who, |turn| {
                turn.live.paused = false;
                turn.wake();
            }),
            Act::Leave(who) => {
                left.leaves -= 1;
                self.turn(&mut world, who, |turn| turn.live.inputs.push_back(Input::Leave));
            }
            Act::CutOff(who) => {
                left.partitions -= 1;
                world.deployers[who].change(|live| live.cut_off = true);
            }
            Act::Poll(who) => self.turn(&mut world, who, |turn| turn.keep(KeeperInput::Tick)),
            Act::Resume { broken } => {
                left.resumes -= 1;
                left.breaks -= u8::from(broken);
                self.start(&mut world, Want::Resume);
                if broken {
                    let who = world.deployers.len() - 1;
                    self.turn(&mut world, who, |turn| turn.keep(KeeperInput::Break));
                }
            }
            Act::Foreign(declared) => {
                let by = if declared == Declared::New { &mut left.foreign_new } else { &mut left.foreign };
                *by -= 1;
                world.rest.ghost.foreign = true;
                let object = &mut world.rest.object;
                // The new value over the new value is nothing that anyone could tell.
                object.foreign |= object.declared != declared;
                object.declared = declared;
                object.version += u64::from(self.class != Class::P0);
            }
            Act::Abort => {
                left.aborts -= 1;
                self.abort(&mut world);
            }
            Act::Clock => self.clock(&mut world),
        }
        world.rest.requests.sort_by_key(|request| (request.run, request.intent));
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties::all()
    }
}

/// How the rollout ended, by the stored journal.
pub(super) fn ended(world: &World) -> Option<&Ended> {
    world.rest.ghost.ended.as_ref()
}
