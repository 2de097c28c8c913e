//! What is promised, checked against what has really happened.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    EPOCH_MS,
    actors::Stage,
    ledger::{Stored, turns},
    trace::lock,
    world::SimWrite,
};
use crate::{
    machine::{Machine, Timing},
    memory::{WriteKind, Writer},
    model::{Ended, Outcome, Plan, RolloutId, Side},
    state::journal::{CommandKind, Decision, Direction, Fact, Intent, StepState},
};

/// How far a deployer's clock may be from the true one, in milliseconds.
const SKEW_MS: u64 = 6_500;
/// How long a look may take: it tells of the time after its beginning.
const SLOW_MS: u64 = 15_000;

/// All that is known after a run.
pub(super) struct Truth<'a> {
    pub(super) stage: &'a Stage,
    pub(super) writes: Vec<SimWrite>,
    pub(super) journals: BTreeMap<RolloutId, Vec<Stored>>,
    pub(super) plans: BTreeMap<RolloutId, Plan>,
    /// What each component declared at first.
    pub(super) initial: BTreeMap<String, String>,
}

impl Truth<'_> {
    fn violated(&self, promise: u8, rollout: &RolloutId, text: String) {
        self.stage.sim.violated(format!("promise {promise}, deploy {rollout}: {text}"));
    }

    pub(super) fn check(&self) {
        self.one_writer();
        self.intents_first();
        let empty = Vec::new();
        for (rollout, journal) in &self.journals {
            self.journal(rollout, journal);
            self.directions(rollout, journal);
            if let Some((at, outcome)) = outcome_of(journal) {
                self.outcome(rollout, at, outcome, journal);
            }
        }
        for (process, outcome) in lock(&self.stage.told).iter() {
            let journal = self.journals.get(&outcome.rollout).unwrap_or(&empty);
            match outcome_of(journal) {
                Some((_, stored)) if stored == outcome => {}
                Some(_) => self.violated(8, &outcome.rollout, format!("p{process} was told another outcome")),
                None if outcome.ended == Ended::Refused => {
                    if self.of(&outcome.rollout).next().is_some() {
                        self.violated(6, &outcome.rollout, "refused, and it has written".to_owned());
                    }
                }
                None => {
                    let text = format!("p{process} was told an outcome that is not stored: {outcome}");
                    self.violated(3, &outcome.rollout, text);
                }
            }
        }
    }

    /// Effective writes of one deploy.
    fn of<'b>(&'b self, rollout: &'b RolloutId) -> impl Iterator<Item = &'b SimWrite> {
        self.writes
            .iter()
            .filter(move |write| matches!(&write.by, Writer::Deploy { rollout: by, .. } if by == rollout))
    }

    /// (1) Where writes are compared, nothing lands under an older fence after a newer one was accepted.
    fn one_writer(&self) {
        if !self.stage.world.compares() {
            return;
        }
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        for write in &self.writes {
            let (Some(component), Writer::Deploy { fence, rollout, .. }) = (&write.component, &write.by)
            else {
                continue;
            };
            if !matches!(write.kind, WriteKind::Set | WriteKind::Barrier) {
                continue;
            }
            let newest = highest.entry(component).or_default();
            if fence.0 < *newest {
                let text = format!("{component} was written under fence {fence} after {newest}: {write:?}");
                self.violated(1, rollout, text);
            }
            *newest = fence.0.max(*newest);
        }
    }

    /// (2) Every effective write has a durable intent before it, and (4) none is made twice.
    fn intents_first(&self) {
        let mut seen: BTreeSet<(RolloutId, u64)> = BTreeSet::new();
        let mut hooks: BTreeMap<RolloutId, u32> = BTreeMap::new();
        for write in &self.writes {
            let Writer::Deploy { rollout, intent, .. } = &write.by else { continue };
            if write.kind == WriteKind::Apply {
                continue;
            }
            if write.kind == WriteKind::Hook {
                let count = hooks.entry(rollout.clone()).or_default();
                *count += 1;
                if *count > 1 {
                    self.violated(4, rollout, format!("the hook ran {count} times"));
                }
            }
            let Some(intent) = intent else {
                self.violated(2, rollout, format!("a write without intent: {write:?}"));
                continue;
            };
            let stored = self.intent(rollout, *intent);
            let durable = stored.is_some_and(|(at, _)| at <= write.at);
            if !durable && !self.is_standing_undo(rollout, write) {
                self.violated(2, rollout, format!("intent {intent} was not durable before {write:?}"));
            }
            if durable && !seen.insert((rollout.clone(), *intent)) {
                self.violated(2, rollout, format!("intent {intent} was carried out twice: {write:?}"));
            }
        }
    }

    fn intent(&self, rollout: &RolloutId, id: u64) -> Option<(u64, &Intent)> {
        let stored = self.journals.get(rollout)?.get(usize::try_from(id).ok()?.checked_sub(1)?)?;
        match &stored.entry.fact {
            Fact::Step { state: StepState::Asked, intent: Some(intent), .. } => Some((stored.at, intent)),
            _ => None,
        }
    }

    /// Without a store the way back may still be gone: to its destination and nowhere else.
    fn is_standing_undo(&self, rollout: &RolloutId, write: &SimWrite) -> bool {
        let back = self.plans.get(rollout).and_then(|plan| plan.way_back.to.as_ref());
        let there = back.is_some_and(|back| back.name.split('+').any(|name| name == write.value));
        there && matches!(write.kind, WriteKind::Set | WriteKind::Confirm) || write.kind == WriteKind::Delete
    }

    /// (8) Gapless, ended once and last, and it can be replayed.
    fn journal(&self, rollout: &RolloutId, journal: &[Stored]) {
        let ends = journal.iter().filter(|stored| matches!(stored.entry.fact, Fact::Ended { .. })).count();
        let last = journal.last().is_some_and(|stored| matches!(stored.entry.fact, Fact::Ended { .. }));
        if ends != 1 || !last {
            self.violated(8, rollout, format!("{ends} outcomes, the last entry is one: {last}"));
        }
        let Some(plan) = self.plans.get(rollout) else {
            return self.violated(8, rollout, "its plan cannot be read".to_owned());
        };
        let entries: Vec<_> = journal.iter().map(|stored| stored.entry.clone()).collect();
        let plan = std::sync::Arc::new(plan.clone());
        match Machine::recover(plan, rollout.clone(), Timing::default(), &entries) {
            Err(error) => self.violated(8, rollout, format!("it cannot be replayed: {error}")),
            Ok(machine) if machine.outcome() != outcome_of(journal).map(|(_, outcome)| outcome) => {
                self.violated(8, rollout, "replaying gives another outcome".to_owned());
            }
            Ok(_) => {}
        }
        let mut fence = crate::model::Fence(0);
        for stored in journal {
            if stored.fence < fence {
                self.violated(9, rollout, format!("entry {} is under an older fence", stored.entry.seq));
            }
            fence = stored.fence;
        }
    }

    /// (5) After turning round nothing goes forward; after giving way nothing is written at all.
    fn directions(&self, rollout: &RolloutId, journal: &[Stored]) {
        let (mut turned, mut gave_way) = (false, None);
        for stored in journal {
            turned |= turns(&stored.entry.fact);
            match &stored.entry.fact {
                Fact::Decision { decision: Decision::GiveWay | Decision::Abandon, .. } => {
                    gave_way = gave_way.or(Some(stored.at));
                }
                Fact::Step { state: StepState::Asked, intent: Some(intent), .. } => {
                    let forbidden = intent.direction == Direction::Forward && turned
                        || intent.direction == Direction::Back && gave_way.is_some();
                    if forbidden {
                        self.violated(5, rollout, format!("intent {} after it had turned", intent.id));
                    }
                }
                _ => {}
            }
        }
        let Some(since) = gave_way else { return };
        for write in self.of(rollout).filter(|write| write.at > since && !write.late) {
            let barrier = matches!(write.kind, WriteKind::Barrier | WriteKind::Replace | WriteKind::Apply);
            if !barrier && write.changed {
                self.violated(5, rollout, format!("it gave way at {since}, and wrote: {write:?}"));
            }
        }
    }

    fn outcome(&self, rollout: &RolloutId, at: u64, outcome: &Outcome, journal: &[Stored]) {
        for write in self.of(rollout) {
            // A repeat of something that was registered already changes nothing.
            let repeat = write.kind == WriteKind::Register && !write.changed;
            if write.at > at && !repeat {
                self.violated(3, rollout, format!("it ended at {at}, and then: {write:?}"));
            }
            let barrier = matches!(write.kind, WriteKind::Barrier | WriteKind::Replace);
            if outcome.ended == Ended::Refused && !barrier {
                self.violated(6, rollout, format!("refused, and it has written: {write:?}"));
            }
        }
        let known = matches!(outcome.serving.side, Side::Old | Side::New);
        if let (true, Some(name)) = (known, &outcome.serving.revision) {
            let seen = u64::try_from(outcome.serving.observed_at.as_millis() - EPOCH_MS).unwrap_or(0);
            let from = seen.saturating_sub(SKEW_MS + self.stage.world.stale_ms());
            if !self.served(name, from, (seen + SKEW_MS + SLOW_MS).min(at)) {
                let text = format!(
                    "{:?} says that {name} served at {seen}; in truth {} did",
                    outcome.ended,
                    self.truth(seen)
                );
                self.violated(3, rollout, text);
            }
        }
        let settled =
            matches!(outcome.ended, Ended::Succeeded { .. } | Ended::RolledBack { .. } | Ended::Aborted);
        let wrote = self.of(rollout).any(|write| write.changed && write.kind != WriteKind::Register);
        if settled && wrote && !known {
            let side = outcome.serving.side;
            self.violated(5, rollout, format!("{:?}, and {side:?} serves", outcome.ended));
        }
        if matches!(outcome.ended, Ended::Succeeded { .. }) {
            let name = outcome.serving.revision.as_deref().unwrap_or_default();
            if self.stage.world.is_bad(name) && !was_cut_short(journal) {
                self.violated(5, rollout, format!("succeeded with {name}, which cannot be healthy"));
            }
        }
        if outcome.ended == Ended::Superseded {
            self.superseded(rollout, at, outcome, journal);
        }
    }

    /// (5) Somebody else's value stays, or a person is told that it does not.
    fn superseded(&self, rollout: &RolloutId, at: u64, outcome: &Outcome, journal: &[Stored]) {
        let gave_way = journal
            .iter()
            .find(|stored| matches!(&stored.entry.fact, Fact::Decision { decision: Decision::GiveWay, .. }));
        let Some(gave_way) = gave_way else { return };
        for component in self.initial.keys() {
            let last = self.writes.iter().rfind(|write| {
                write.component.as_ref() == Some(component) && write.changed && write.at <= at
            });
            let Some(last) = last else { continue };
            let is_ours =
                |write: &SimWrite| matches!(&write.by, Writer::Deploy { rollout: by, .. } if by == rollout);
            let began = journal.first().map_or(0, |stored| stored.at);
            let theirs = self.writes.iter().any(|write| {
                write.component.as_ref() == Some(component)
                    && write.changed
                    && !is_ours(write)
                    && (began..last.at).contains(&write.at)
            });
            if is_ours(last) && theirs && last.at > gave_way.at && outcome.needed.is_none() {
                self.violated(
                    5,
                    rollout,
                    format!("it overwrote somebody's value and does not say so: {last:?}"),
                );
            }
        }
    }

    /// What was declared at a time, in the world's words.
    fn truth(&self, at: u64) -> String {
        let mut now = self.initial.clone();
        for write in self.writes.iter().filter(|write| write.at <= at && write.changed) {
            if let Some(component) = &write.component
                && now.contains_key(component)
                && write.kind != WriteKind::Delete
            {
                now.insert(component.clone(), write.value.clone());
            }
        }
        let components = self.stage.world.components();
        let mut names: Vec<String> =
            components.iter().filter_map(|component| now.get(component).cloned()).collect();
        if names.windows(2).all(|pair| pair[0] == pair[1]) {
            names.truncate(1);
        }
        names.join("+")
    }

    fn served(&self, name: &str, from: u64, to: u64) -> bool {
        let moments = self.writes.iter().map(|write| write.at).filter(|at| (from..=to).contains(at));
        self.truth(from) == name || moments.into_iter().any(|at| self.truth(at) == name)
    }
}

/// A person has ended the bake: then it is theirs to know that it is healthy.
fn was_cut_short(journal: &[Stored]) -> bool {
    let baking = journal
        .iter()
        .skip_while(|stored| !matches!(&stored.entry.fact, Fact::Decision { decision: Decision::Bake, .. }));
    baking.into_iter().any(|stored| {
        matches!(&stored.entry.fact, Fact::Command { command: CommandKind::Promote, accepted: true, .. })
    })
}

pub(super) fn outcome_of(journal: &[Stored]) -> Option<(u64, &Outcome)> {
    journal.iter().find_map(|stored| match &stored.entry.fact {
        Fact::Ended { outcome, .. } => Some((stored.at, &**outcome)),
        _ => None,
    })
}
