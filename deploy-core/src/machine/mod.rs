//! The pure machine of one rollout: no clock, no I/O, no randomness, no platform detail.
//!
//! Durable state is the fold of journal entries (`state.rs`); everything else is live and is made anew by
//! [`Machine::recover`]. One file per concern:
//!
//! | file | concern |
//! |---|---|
//! | `state` | the fold, and the table of phases |
//! | `live` | what is made anew after a crash |
//! | `preparing` | what is made before the place is touched, and closing the plan |
//! | `inspecting` | the fresh look before the first step and each effect step |
//! | `forward` | steps, waiting, gates |
//! | `baking` | the bake, and deadlines of what is watched |
//! | `back` | going back, following the platform's own revert, giving way |
//! | `effects` | asking and granting |
//! | `closing` | settling and closing intents |
//! | `compensating` | what makes up for a step, where the old revision does not |
//! | `undone` | an undo that a predecessor could not write down |
//! | `commands` | what people ask for, and leaving |
//! | `end` | outcomes |

mod back;
mod baking;
mod closing;
mod commands;
mod compensating;
mod effects;
mod end;
mod forward;
mod inspecting;
mod io;
mod live;
mod preparing;
mod rules;
mod state;
mod undone;

use std::{collections::BTreeSet, sync::Arc};

use litemap::LiteMap;

pub use io::{Action, EffectEnd, Input, Inspected, Look, Verdict};
use live::{Activity, AfterInspect, Live, Seen, StepNote, Unchanged};
pub(crate) use rules::Rules;
pub use rules::Timing;
use state::{Phase, State};

use crate::{
    error::{Error, ErrorKind, Result},
    event::PhaseName,
    model::{Cause, Component, Fence, Outcome, Plan, RolloutId, StepId, Timestamp},
    state::journal::{Decision, DriverHow, Entry, ErrorRecord, Fact, GuardFinding, Intent, StepState},
};

/// How long something of an attempt that is longer than a request may be left after its process has ended or stopped
/// ([`Effect::within`](crate::context::Effect::within)).
const LEFT_OVER_MS: u64 = 20_000;

/// The machine of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    plan: Arc<Plan>,
    rollout: RolloutId,
    timing: Timing,
    rules: Rules,
    state: State,
    live: Live,
    out: Vec<Action>,
}

impl Machine {
    /// A machine for a new rollout. The entry `started` must be the first of its journal.
    #[must_use]
    pub fn begin(plan: Arc<Plan>, rollout: RolloutId, timing: Timing) -> Self {
        Self::with_rules(plan, rollout, timing, Rules::default())
    }

    pub(crate) fn with_rules(plan: Arc<Plan>, rollout: RolloutId, timing: Timing, rules: Rules) -> Self {
        let live = Live {
            now: Timestamp::default(),
            activity: Activity::Asleep,
            fence: Fence(0),
            token: 0,
            granting: LiteMap::new(),
            watch: 0,
            looks: Vec::new(),
            seen: LiteMap::new(),
            last_seen: LiteMap::new(),
            goal: LiteMap::new(),
            inherited: LiteMap::new(),
            cut_off: LiteMap::new(),
            undone_until: None,
            unchanged: None,
            maybe_undone: false,
            deadlines: LiteMap::new(),
            bake_until: None,
            back_until: None,
            closed_at: Timestamp::default(),
            old_seen: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            undone_at: LiteMap::new(),
            refusals: 0,
            settles: 0,
            blind: None,
            inspected: false,
            commit_asked: false,
            frozen: false,
            store_lost: None,
            reported: BTreeSet::new(),
        };
        Self { plan, rollout, timing, rules, state: State::new(), live, out: Vec::new() }
    }

    /// The machine as a journal left it. Intents without outcome stay open until they are settled.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if entries are missing, or of another rollout.
    pub fn recover(plan: Arc<Plan>, rollout: RolloutId, timing: Timing, journal: &[Entry]) -> Result<Self> {
        let mut machine = Self::begin(plan, rollout, timing);
        machine.replay(journal)?;
        Ok(machine)
    }

    pub(crate) fn replay(&mut self, journal: &[Entry]) -> Result<()> {
        for entry in journal {
            if entry.rollout != self.rollout || entry.seq != self.state.seq + 1 {
                let text = format!(
                    "the journal of {} has entry {} of {} where {} is due",
                    self.rollout,
                    entry.seq,
                    entry.rollout,
                    self.state.seq + 1
                );
                return Err(Error::new(ErrorKind::Malformed, text));
            }
            self.state.apply(entry, &self.plan);
        }
        Ok(())
    }

    /// Takes in what happened and says what to do, in order. Never fails and never panics: an input that is not
    /// expected in this state changes nothing.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        self.live.now = self.live.now.max(now);
        if self.live.activity == Activity::Over {
            return self.after_the_end(input);
        }
        if self.live.activity != Activity::Asleep {
            // What is inherited is closed by our own clock, from the taking on: never by the times of another's.
            self.close_what_is_too_late();
        }
        match input {
            Input::Begun { fence, owner, previous, how, reason, quiet_ms } => {
                self.begun(Fact::Driver { owner, previous, fence, how, reason }, fence, how, quiet_ms);
            }
            Input::Asked(ask) => self.asked(ask),
            Input::Durable { token, window_ms } => self.durable(token, window_ms),
            Input::Effected { intent, ended } => self.effected(intent, ended),
            Input::Settled { intent, found } => self.settled(intent, found),
            Input::StepEnded { step, attempt, result } => self.step_ended(&step, attempt, result),
            Input::Planned(made) => self.planned(made),
            Input::Inspected(found) => self.inspected(found),
            Input::Sealed(result) => self.sealed(result),
            Input::Observed { watch, scope, seen } => self.observed(watch, &scope, &seen),
            Input::Blind { watch, error } => {
                if watch == self.live.watch {
                    self.live.blind = Some(error);
                }
            }
            Input::Judged { check, verdict, text, data } => self.judged(check, verdict, &text, data),
            Input::Command { command, via } => self.command(command, via),
            Input::Approved { gate, by } => self.approved(&gate, &by),
            Input::GateMoved { gate } => self.approved(&gate, "the platform"),
            Input::BlockChanged { frozen, .. } => self.live.frozen = frozen,
            Input::LeaseLost => {
                self.out.push(Action::Interrupt);
                self.live.activity = Activity::Over;
                self.out.push(Action::HandOver);
            }
            Input::StoreLost { window_ms } => self.store_lost(window_ms),
            Input::StoreBack => self.live.store_lost = None,
            Input::Leave => self.leave(),
            Input::Tick => {}
        }
        self.tick();
        while self.live.activity == Activity::Free {
            self.next();
        }
        self.wake();
        std::mem::take(&mut self.out)
    }

    /// What the deploy is doing, in the word of the events.
    #[must_use]
    pub fn phase(&self) -> PhaseName {
        match self.state.phase {
            Phase::Preparing => PhaseName::Prepare,
            Phase::Guarding => PhaseName::Guard,
            Phase::Forward => match &self.live.activity {
                Activity::Watching { .. } => PhaseName::Watch,
                Activity::Paused => PhaseName::Gate,
                _ => PhaseName::Apply,
            },
            Phase::Baking => PhaseName::Bake,
            Phase::Back | Phase::Following if self.state.restored_told => PhaseName::Close,
            Phase::Back | Phase::Following => PhaseName::Back,
            Phase::GivingWay | Phase::Abandoned => PhaseName::Close,
            Phase::Ended => PhaseName::Done,
        }
    }

    /// The outcome, once there is one.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.state.ended.as_deref()
    }

    /// What earlier steps returned.
    #[must_use]
    pub fn outputs(&self) -> &crate::context::Outputs {
        &self.state.outputs
    }

    /// Whether the rollout is going back, or has to.
    #[must_use]
    pub fn going_back(&self) -> bool {
        matches!(self.state.phase, Phase::Back | Phase::Following | Phase::Abandoned)
    }

    /// Whether a person has paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state.paused
    }

    /// What the journal alone tells, in a line: for the replay of old journals.
    #[cfg(test)]
    pub(crate) fn durable_words(&self) -> String {
        let state = &self.state;
        let open: Vec<u64> = state.open().map(|intent| intent.id).collect();
        format!("{:?}, {} steps done, open {open:?}", state.phase, state.done.len())
    }

    /// When the present wait is over, if one has a deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.live.activity {
            Activity::Watching { until } => Some(until),
            _ => None,
        }
    }

    /// Journals a fact.
    fn note(&mut self, fact: Fact) -> u64 {
        let entry = Entry::new(self.state.seq + 1, self.live.now, self.rollout.clone(), fact);
        self.state.apply(&entry, &self.plan);
        let seq = entry.seq;
        match self.out.last_mut() {
            Some(Action::Append { entries, token: None }) => entries.push(entry),
            _ => self.out.push(Action::Append { entries: vec![entry], token: None }),
        }
        seq
    }

    /// Makes the entries noted so far durable, and is told by the token.
    fn durable_token(&mut self) -> u64 {
        self.live.token += 1;
        let number = self.live.token;
        match self.out.last_mut() {
            Some(Action::Append { token: token @ None, .. }) => *token = Some(number),
            _ => self.out.push(Action::Append { entries: Vec::new(), token: Some(number) }),
        }
        number
    }

    fn note_step(&mut self, step: &StepId, state: StepState, attempt: u32, more: StepNote) -> u64 {
        let kind = match self.plan.step(step) {
            Some(step) if self.plan.is_prepare(&step.id) => "prepare".to_owned(),
            Some(step) => step.kind.word().to_owned(),
            None => step.as_str().split('-').next().unwrap_or_default().to_owned(),
        };
        self.note(Fact::Step {
            step: step.clone(),
            kind,
            state,
            attempt,
            effect: more.effect,
            intent: None,
            of: more.of,
            closed: more.closed,
            output: more.output,
            error: more.error,
            took_ms: more.took_ms,
        })
    }

    fn decide(
        &mut self,
        decision: Decision,
        to: Option<String>,
        because: Vec<u64>,
        cause: Option<Cause>,
    ) -> u64 {
        self.note(Fact::Decision { decision, because, to, cause })
    }

    fn watch(&mut self, looks: Vec<Look>, until: Timestamp) {
        self.live.watch += 1;
        self.live.looks.clone_from(&looks);
        self.live.seen.clear();
        self.live.blind = None;
        self.live.activity = Activity::Watching { until };
        self.out.push(Action::Watch { watch: self.live.watch, looks });
    }

    fn unwatch(&mut self) {
        if !self.live.looks.is_empty() {
            self.live.watch += 1;
            self.live.looks.clear();
            self.out.push(Action::Watch { watch: self.live.watch, looks: Vec::new() });
        }
    }

    /// How long a predecessor's call may still change something.
    fn left_for(&self, intent: &Intent, quiet_ms: u64) -> u64 {
        // What ran longer than a request, and was not seen to end, is ended by its supervisor, however late requests land.
        if self.long_attempt(intent).is_some() {
            return LEFT_OVER_MS;
        }
        let told = crate::model::millis(intent.late_bound.since(intent.signed_at));
        let lands = told.saturating_sub(intent.attempt_ms.unwrap_or(0));
        if lands > self.plan.capabilities.lateness.bound_ms() { quiet_ms.max(lands) } else { quiet_ms }
    }

    fn begun(&mut self, driver: Fact, fence: Fence, how: DriverHow, quiet_ms: u64) {
        if self.live.activity != Activity::Asleep {
            return;
        }
        self.live.fence = fence;
        if let Some(outcome) = self.state.ended.clone() {
            // The end was stored, and the claim was not given back: nothing else is left to do.
            self.live.activity = Activity::Over;
            self.out.push(Action::Finish(outcome));
            return;
        }
        self.live.closed_at = self.live.now;
        // Every open intent was a predecessor's: it is too late when the quiet time from now is over.
        let bound_of = |intent: &Intent| match self.rules.quiet_time {
            true => self.live.now.plus_ms(self.left_for(intent, quiet_ms)),
            false => self.live.now,
        };
        self.live.inherited = self.state.open().map(|intent| (intent.id, bound_of(intent))).collect();
        self.live.unlooked = self.state.closed_by_time();
        self.fear_an_undo(how, quiet_ms);
        self.note(driver);
        if how == DriverHow::Began {
            self.live.activity = Activity::Free;
        } else {
            self.decide(Decision::Resume, None, Vec::new(), None);
            // Who has given way wrote nothing after that, and neither does its successor, unasked.
            // Before the plan is closed nobody has written anything.
            let silent = matches!(self.state.phase, Phase::GivingWay | Phase::Preparing);
            if self.rules.barrier && !silent {
                self.live.activity = Activity::Sealing { again_at: None };
                self.out.push(Action::Seal);
            } else {
                self.live.activity = Activity::Free;
            }
        }
    }

    fn sealed(&mut self, result: std::result::Result<(), ErrorRecord>) {
        if !matches!(self.live.activity, Activity::Sealing { .. }) {
            return;
        }
        match result {
            Ok(()) => self.live.activity = Activity::Free,
            Err(error) if error.is_kind(ErrorKind::LeaseLost) => {
                self.live.activity = Activity::Over;
                self.out.push(Action::HandOver);
            }
            Err(error) => {
                let wait = error.after_ms.max(1_000);
                self.live.activity = Activity::Sealing { again_at: Some(self.live.now.plus_ms(wait)) };
            }
        }
    }

    /// What the passing of time alone brings.
    fn tick(&mut self) {
        let now = self.live.now;
        match self.live.activity.clone() {
            Activity::Sealing { again_at: Some(at) } if now >= at => {
                self.live.activity = Activity::Sealing { again_at: None };
                self.out.push(Action::Seal);
            }
            Activity::Planning { again_at: Some(at) } if now >= at => self.plan_steps(),
            Activity::Inspecting { then, until, again_at: Some(at) } if now >= at => {
                self.live.activity = Activity::Inspecting { then, until, again_at: None };
                self.out.push(Action::Inspect);
            }
            Activity::Settling { intent, again_at: Some(at) } if now >= at => self.settle(intent),
            Activity::Backoff { at } if now >= at => self.live.activity = Activity::Free,
            Activity::Watching { until } => self.watched_long_enough(until),
            _ => {}
        }
    }

    /// Chooses what to do next, when nothing is going on.
    fn next(&mut self) {
        match self.state.phase {
            Phase::Preparing | Phase::Guarding | Phase::Forward if self.live.unchanged.is_some() => {
                self.next_unchanged()
            }
            Phase::Preparing => self.next_preparing(),
            Phase::Guarding => self.inspect(AfterInspect::Guards),
            Phase::Forward => self.next_forward(),
            Phase::Baking => self.next_bake(),
            Phase::Back => self.next_back(),
            Phase::Following => self.next_following(),
            Phase::GivingWay | Phase::Abandoned => self.next_closing(),
            Phase::Ended => self.live.activity = Activity::Over,
        }
    }

    fn inspect(&mut self, then: AfterInspect) {
        let until = self.live.now.plus_ms(120_000);
        self.live.activity = Activity::Inspecting { then, until, again_at: None };
        self.out.push(Action::Inspect);
    }

    /// Asks for a tick at the earliest time that matters.
    fn wake(&mut self) {
        let activity = match &self.live.activity {
            Activity::Sealing { again_at }
            | Activity::Settling { again_at, .. }
            | Activity::Planning { again_at }
            | Activity::Inspecting { again_at, .. } => *again_at,
            Activity::Backoff { at } => Some(*at),
            Activity::Watching { until } => Some(*until),
            _ => None,
        };
        if let Some(at) = activity.into_iter().chain(self.next_close()).min() {
            self.out.push(Action::WakeAt(at));
        }
    }

    fn components(&self) -> Vec<Component> {
        let mut components: Vec<Component> = self.plan.base.declared.keys().cloned().collect();
        for step in self.plan.steps.iter().chain(&self.plan.way_back.steps) {
            if !components.contains(&step.component) && self.plan.to.declared.contains_key(&step.component) {
                components.push(step.component.clone());
            }
        }
        components
    }

    fn refusal(finding: &GuardFinding) -> Cause {
        Cause::new("guard", format!("{}: {}", finding.guard, finding.text))
    }
}
