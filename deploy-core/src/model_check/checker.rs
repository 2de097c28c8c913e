//! The model: which actions a world offers, and what they do to it.

use stateright::{Model, Property};

use super::{
    deployer::{ABORT, Live, Refusal, Stage, Turn, back_over_open, component},
    world::{Class, Declared, Ghost, Object, Request, Rest, Setting, Shared, Store, TICK, What, World, at},
};
use crate::{
    machine::{Input, Inspected},
    model::{
        Blame, Ended, FaultClass, Instance, Motion, Observation, Permanence, RolloutId, Signal,
    },
    state::{
        Expect, Version,
        head::Head,
        journal::{CommandRecord, Entry, Fact},
        keeper::{KeeperAction, KeeperInput, Want},
    },
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
    Resume { broken: bool },
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

pub(super) fn rollout() -> RolloutId {
    RolloutId::from("R1")
}

impl Setting {
    fn first_head(&self) -> Vec<Entry> {
        let started = Fact::Started {
            from: self.plan.base.clone(),
            to: self.plan.to.clone(),
            plan: String::new(),
            plan_object: String::new(),
            actor: String::new(),
            reason: None,
            platform: String::new(),
            rollback: false,
        };
        vec![Entry::new(1, at(0), rollout(), started)]
    }

    /// Lets a deployer do something, and what follows from it inside of its process.
    fn turn<R>(&self, world: &mut World, who: usize, what: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let World { now, deployers, store, rest } = world;
        let (now, head) = (*now, store.get().head.as_ref());
        let result = deployers[who].change(|live| {
            let mut turn = Turn { set: self, now, live, rest, head };
            let result = what(&mut turn);
            turn.run();
            result
        });
        if deployers[who].get().gone {
            deployers.remove(who);
        }
        result
    }

    fn start(&self, world: &mut World, want: Want) {
        world.rest.runs += 1;
        let run = world.rest.runs;
        let live = Live::new(run, want, self, Some(world.rest.object.version));
        world.deployers.push(Shared::new(live));
        let who = world.deployers.len() - 1;
        self.turn(world, who, |_| ());
    }

    fn store_call(&self, world: &mut World, who: usize, how: Call) {
        let call = world.deployers[who].change(|live| live.calls.pop_front());
        let cut_off = world.deployers[who].get().cut_off;
        let answer = match call {
            Some(KeeperAction::Read) if how != Call::Answered || cut_off => KeeperInput::ReadFailed,
            Some(KeeperAction::Read) => {
                let store = world.store.get();
                let version = Version(store.version.to_string());
                KeeperInput::Read(store.head.clone().map(|head| (version, Box::new(head))))
            }
            Some(KeeperAction::Write { .. }) if cut_off || how == Call::LostBefore => KeeperInput::NoAnswer,
            Some(KeeperAction::Write { expect, head, .. }) => {
                let expected = match expect {
                    Expect::Absent => 0,
                    Expect::Is(version) => version.0.parse().unwrap_or(u64::MAX),
                };
                if how == Call::Late {
                    world.store.change(|store| store.late.push((expected, *head)));
                    KeeperInput::NoAnswer
                } else {
                    let stored = self.write(world, expected, *head);
                    match (how, stored) {
                        (Call::LostAfter, _) => KeeperInput::NoAnswer,
                        (_, Some(version)) => KeeperInput::Stored(Version(version.to_string())),
                        (_, None) => KeeperInput::Conflict,
                    }
                }
            }
            _ => return,
        };
        self.turn(world, who, |turn| turn.keep(answer));
    }

    /// The store's compare-and-set, and what must hold of everything that is stored.
    fn write(&self, world: &mut World, expected: u64, head: Head) -> Option<u64> {
        let (stored, before, version) = world.store.change(|store| {
            if store.version != expected {
                return (false, None, store.version);
            }
            store.version += 1;
            (true, store.head.replace(head), store.version)
        });
        if !stored {
            return None;
        }
        let head = world.store.get().head.clone()?;
        let rest = &mut world.rest;
        if head.tail.iter().zip(1..).any(|(entry, seq)| entry.seq != seq) {
            rest.broke("the journal has gaps");
        }
        if head.claim.is_none() && !head.open.is_empty() {
            rest.broke("the claim is released while an intent is open");
        }
        if let Some(before) = before {
            if before.fence > head.fence {
                rest.broke("the fence goes down");
            }
        }
        if let Some(Fact::Ended { outcome, .. }) = head.tail.last().map(|entry| &entry.fact) {
            if outcome.ended == Ended::Superseded && !rest.ghost.foreign {
                rest.broke("it gives way to itself");
            }
            rest.ghost.ended.get_or_insert_with(|| outcome.ended.clone());
        }
        rest.ghost.back_over_open |= back_over_open(&head);
        Some(version)
    }

    /// A request reaches the platform.
    fn land(&self, world: &mut World, index: usize) {
        let request = world.rest.requests.remove(index);
        let rest = &mut world.rest;
        let landed = if self.class == Class::P2 && request.fence < rest.object.fence {
            Err(Refusal::Fence)
        } else if request.on.is_some_and(|on| on != rest.object.version) {
            Err(Refusal::Version)
        } else {
            Ok(())
        };
        if landed.is_ok() {
            rest.object.version += u64::from(self.class != Class::P0 && request.what != What::Run);
            rest.object.fence = rest.object.fence.max(request.fence);
            match request.what {
                What::Declare(declared) => {
                    rest.object.declared = declared;
                    rest.object.foreign = false;
                }
                What::Run => rest.object.runs += 1,
                What::Barrier => {}
            }
            if rest.object.runs > 1 {
                rest.broke("what must not happen twice happens twice");
            }
            if request.fence < rest.ghost.sealed {
                rest.broke("a write of an older fence lands after a newer holder has sealed");
            }
            if rest.ghost.ended.is_some() && request.what != What::Run {
                rest.broke("something lands after the end was said");
            }
        }
        let waits = |live: &Live| live.run == request.run && !request.late;
        let Some(who) = world.deployers.iter().position(|live| waits(live.get())) else { return };
        self.turn(world, who, |turn| {
            if let Some(child) = &mut turn.live.child {
                child.stage = Stage::Answered { intent: request.intent, landed };
            }
            if !turn.live.paused {
                turn.hear();
            }
        });
    }

    fn inspect(&self, turn: &mut Turn<'_>) {
        turn.live.inspecting = false;
        let object = &turn.rest.object;
        turn.live.saw = Some((object.declared, object.foreign));
        let found = Inspected {
            findings: Vec::new(),
            declared: vec![(component(), object.declared.fingerprint())],
            serving: self.plan.base.clone(),
            counts: None,
            at: at(turn.now),
        };
        turn.live.inputs.push_back(Input::Inspected(Ok(Box::new(found))));
    }

    fn look(&self, turn: &mut Turn<'_>) {
        turn.live.looked = true;
        let Some(look) = turn.live.looks.first() else { return };
        let scope = turn.scope(look);
        let (declared, foreign) = (turn.rest.object.declared, turn.rest.object.foreign);
        turn.live.saw = Some((declared, foreign));
        let there = scope.declared() == Some(&declared.fingerprint());
        let motion = if there { Motion::Done } else { Motion::Progressing };
        let mut seen = Observation::new(at(turn.now), component(), declared.fingerprint(), motion);
        if declared == Declared::New && turn.rest.red {
            seen.motion = Motion::Progressing;
            let instances = vec![Instance::new("i", "new", "stopped")];
            let (blame, permanence) = (Blame::Release, Permanence::Permanent);
            seen.signals.push(Signal::new(FaultClass::Start, blame, permanence, instances, "it does not start"));
        }
        let (watch, scope, seen) = (turn.live.watch, Box::new(scope), Box::new(seen));
        turn.live.inputs.push_back(Input::Observed { watch, scope, seen });
    }

    fn abort(&self, world: &mut World) {
        world.rest.fresh += 1;
        let fresh = world.rest.fresh;
        world.store.change(|store| {
            let Some(head) = &mut store.head else { return };
            let command =
                CommandRecord::new(format!("c{fresh}"), rollout(), ABORT, "p", at(self.ticks * 2 * TICK));
            head.commands.push(command);
            head.write_id = fresh;
            store.version += 1;
        });
    }

    fn clock(&self, world: &mut World) {
        world.now += TICK;
        let now = world.now;
        world.rest.requests.retain(|request| request.until > now);
        for run in world.deployers.iter().map(|live| live.get().run).collect::<Vec<_>>() {
            let awake = |live: &Live| live.run == run && !live.paused;
            if let Some(who) = world.deployers.iter().position(|live| awake(live.get())) {
                self.turn(world, who, |turn| {
                    turn.live.looked = false;
                    turn.wake();
                });
            }
        }
    }

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
        let object =
            Object { declared: Declared::Old, version: 1, fence: 0, foreign: false, runs: 0 };
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
                object.declared = declared;
                object.foreign = true;
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
