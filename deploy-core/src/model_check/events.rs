//! What actions do to the world.

use super::{
    checker::Call,
    child::{Refusal, Stage},
    deployer::{ABORT, Live, Turn, back_over_open, component},
    world::{Class, Declared, Setting, Shared, TICK, What, World, at},
};
use crate::{
    machine::{Input, Inspected},
    model::{Blame, Ended, FaultClass, Instance, Motion, Observation, Permanence, RolloutId, Signal},
    state::{
        Expect, Version,
        head::Head,
        journal::{CommandRecord, Entry, Fact},
        keeper::{KeeperAction, KeeperInput, Want},
    },
};

pub(super) fn rollout() -> RolloutId {
    RolloutId::from("R1")
}

impl Setting {
    pub(super) fn first_head(&self) -> Vec<Entry> {
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
    pub(super) fn turn<R>(&self, world: &mut World, who: usize, what: impl FnOnce(&mut Turn<'_>) -> R) -> R {
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

    pub(super) fn start(&self, world: &mut World, want: Want) {
        world.rest.runs += 1;
        let run = world.rest.runs;
        let live = Live::new(run, want, self, Some(world.rest.object.version));
        world.deployers.push(Shared::new(live));
        let who = world.deployers.len() - 1;
        self.turn(world, who, |_| ());
    }

    pub(super) fn store_call(&self, world: &mut World, who: usize, how: Call) {
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
    pub(super) fn write(&self, world: &mut World, expected: u64, head: Head) -> Option<u64> {
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
        if let Some(before) = before
            && before.fence > head.fence
        {
            rest.broke("the fence goes down");
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
    pub(super) fn land(&self, world: &mut World, index: usize) {
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

    pub(super) fn inspect(&self, turn: &mut Turn<'_>) {
        turn.live.inspecting = false;
        let object = turn.rest.object.clone();
        turn.live.see(object.declared, object.foreign);
        let found = Inspected {
            findings: Vec::new(),
            declared: vec![(component(), object.declared.fingerprint())],
            serving: self.plan.base.clone(),
            counts: None,
            at: at(turn.now),
        };
        turn.live.inputs.push_back(Input::Inspected(Ok(Box::new(found))));
    }

    pub(super) fn look(&self, turn: &mut Turn<'_>) {
        turn.live.looked = true;
        let Some(look) = turn.live.looks.first() else { return };
        let scope = turn.scope(look);
        let (declared, foreign) = (turn.rest.object.declared, turn.rest.object.foreign);
        turn.live.see(declared, foreign);
        let there = scope.declared() == Some(&declared.fingerprint());
        let motion = if there { Motion::Done } else { Motion::Progressing };
        let mut seen = Observation::new(at(turn.now), component(), declared.fingerprint(), motion);
        if declared == Declared::New && turn.rest.red {
            seen.motion = Motion::Progressing;
            let instances = vec![Instance::new("i", "new", "stopped")];
            let (blame, permanence) = (Blame::Release, Permanence::Permanent);
            seen.signals.push(Signal::new(
                FaultClass::Start,
                blame,
                permanence,
                instances,
                "it does not start",
            ));
        }
        let (watch, scope, seen) = (turn.live.watch, Box::new(scope), Box::new(seen));
        turn.live.inputs.push_back(Input::Observed { watch, scope, seen });
    }

    pub(super) fn abort(&self, world: &mut World) {
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

    pub(super) fn clock(&self, world: &mut World) {
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
}
