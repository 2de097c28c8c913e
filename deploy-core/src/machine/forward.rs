//! Forward: effect steps, waiting, gates.

use serde_json::Value;

use super::{
    Action, Activity, AfterInspect, Look, Machine, Phase, Seen, StepNote, Verdict, closing::SETTLES,
    state::Why,
};
use crate::{
    model::{
        Cause, Component, Ended, FaultClass, Motion, Observation, RolledBackBy, Scope, StepId, StepKind,
    },
    state::journal::{Decision, ErrorRecord, Fact, Sending, StepState},
};

/// How often a remedy may be run.
const REMEDIES: u32 = 3;

impl Machine {
    pub(super) fn next_forward(&mut self) {
        if self.close_inherited_first() {
            return;
        }
        if !self.live.inspected {
            return self.inspect(AfterInspect::Guards);
        }
        let next = self.plan.steps.iter().find(|step| !self.state.done.contains(&step.id)).cloned();
        let Some(step) = next else {
            if self.state.paused {
                self.live.activity = Activity::Paused;
                return;
            }
            self.decide(Decision::Bake, None, Vec::new(), None);
            return;
        };
        if self.state.paused && step.kind != StepKind::Await {
            self.live.activity = Activity::Paused;
            return;
        }
        let now = self.live.now;
        let until = *self.live.deadlines.entry(step.id.clone()).or_insert(now.plus_ms(step.deadline_ms));
        match step.kind {
            StepKind::Effect => {
                if let Some(open) = self.unsettled_of(&step.id) {
                    return self.settle(open);
                }
                self.inspect(AfterInspect::Step(step.id));
            }
            StepKind::Await => {
                if !self.state.attempts.contains_key(&step.id) {
                    self.note_step(&step.id, StepState::Began, 1, StepNote::default());
                }
                self.watch(vec![Look::Toward(step.id)], until);
            }
            StepKind::Gate { gate, .. } => {
                if self.state.passed.contains(&gate) && !self.live.frozen {
                    self.finish_step(&step.id, None);
                } else {
                    if !self.state.attempts.contains_key(&step.id) {
                        self.note_step(&step.id, StepState::Began, 1, StepNote::default());
                    }
                    self.watch(self.looks_at_gate(&step.id), until);
                }
            }
        }
    }

    /// While it waits at a gate, what was awaited last is looked at; before the first await, the platform's own gate is
    /// (a run that fails, or that somebody else confirms or replaces).
    fn looks_at_gate(&self, gate: &StepId) -> Vec<Look> {
        let before = self.plan.steps.iter().take_while(|other| other.id != *gate);
        let last_await = before.filter(|other| other.kind == StepKind::Await).last();
        let its_own = self.plan.capabilities.gates && self.state.changed();
        let step = last_await.map(|step| step.id.clone()).or_else(|| its_own.then(|| gate.clone()));
        step.map(Look::Toward).into_iter().collect()
    }

    /// Going forward waits until no call of a predecessor can arrive any more, unless each can be told now.
    fn close_inherited_first(&mut self) -> bool {
        let inherited: Vec<u64> = self.live.inherited.keys().copied().collect();
        let Some(&first) = inherited.first() else {
            let Some(until) = self.live.undone_until else { return false };
            let declares = |sent: &&super::state::Sent| sent.intent.to.is_some();
            let last = self.state.sent.values().rev().find(declares);
            let looks = last.map(|sent| Look::Toward(sent.intent.step.clone())).into_iter().collect();
            self.watch(looks, until);
            return true;
        };
        let tries = u64::from(self.live.settles);
        // In turn, so that one that cannot be told does not keep the others open.
        let index = usize::try_from(tries).unwrap_or(0) % inherited.len();
        let id = inherited.get(index).copied().unwrap_or(first);
        if self.live.settles < u32::try_from(inherited.len()).unwrap_or(u32::MAX) {
            self.settle(id);
            return true;
        }
        let intent = self.state.sent.get(&id).map(|sent| sent.intent.clone());
        let bound = intent.as_ref().map_or(self.live.now, |intent| self.late_bound(intent));
        let looks = intent.filter(|intent| intent.to.is_some()).map(|intent| Look::Toward(intent.step));
        self.watch(looks.into_iter().collect(), bound);
        true
    }

    fn unsettled_of(&self, step: &StepId) -> Option<u64> {
        if self.live.settles >= SETTLES {
            // It cannot be told: the step runs again, and is told what it may still send.
            return None;
        }
        let compares = self.plan.capabilities.write_guard != crate::model::WriteGuard::None;
        let mut open = self.state.open().filter(|intent| intent.step == *step);
        // What is harmless twice and moves no version is sent again instead: settling it may never tell.
        open.find(|intent| match intent.sending {
            Sending::Idempotent => compares && intent.component.is_some(),
            Sending::Once => compares || intent.to.is_none(),
            Sending::AtMostOnce => true,
        })
        .map(|intent| intent.id)
    }

    /// Runs a step (forward, remedy or undo) as its next attempt.
    pub(super) fn run(&mut self, id: &StepId) {
        let attempt = self.state.attempts.get(id).copied().unwrap_or(0) + 1;
        self.note_step(id, StepState::Began, attempt, StepNote::default());
        self.live.activity = Activity::Running { step: id.clone(), attempt, began: self.live.now };
        self.out.push(Action::Execute { step: id.clone(), attempt });
    }

    fn finish_step(&mut self, id: &StepId, output: Option<Value>) {
        let attempt = self.state.attempts.get(id).copied().unwrap_or(1);
        self.note_step(id, StepState::Done, attempt, StepNote { output, ..StepNote::default() });
        self.live.activity = Activity::Free;
    }

    pub(super) fn step_ended(&mut self, id: &StepId, attempt: u32, result: Result<Value, ErrorRecord>) {
        match &self.live.activity {
            Activity::Running { step, attempt: running, .. } if step == id && *running == attempt => {}
            _ => return,
        }
        self.live.activity = Activity::Free;
        self.live.settles = 0;
        if self.plan.is_undo(id) {
            return self.undo_ended(id, result);
        }
        let remedy = self.plan.remedies.iter().any(|remedy| remedy.id == *id);
        match result {
            Ok(_) if remedy => {}
            Ok(output) => self.finish_step(id, Some(output)),
            Err(_) if remedy => self.live.activity = Activity::Backoff { at: self.live.now.plus_ms(2_000) },
            Err(error) if self.state.phase == Phase::Preparing => self.prepare_failed(id, attempt, error),
            Err(_) if self.state.phase != Phase::Forward => {}
            Err(error) => self.step_failed(id, attempt, error),
        }
    }

    fn step_failed(&mut self, id: &StepId, attempt: u32, error: ErrorRecord) {
        let now = self.live.now;
        let attempts = self.plan.step(id).map_or(1, |step| step.attempts);
        let until = self.live.deadlines.get(id).copied().unwrap_or(now);
        let wait = error.after_ms.max(500 << attempt.min(5).saturating_sub(1));
        let unknown = self.state.open().any(|intent| intent.step == *id);
        let again = error.again || unknown && error.effect == "unknown";
        if again && attempt < attempts && now.plus_ms(wait) < until {
            self.live.activity = Activity::Backoff { at: now.plus_ms(wait) };
            return;
        }
        let text = match self.state.unseen(id) {
            true => format!("how step {id} ended is not known: {}", error.text),
            false => format!("step {id} failed: {}", error.text),
        };
        let seq = self.note_step(
            id,
            StepState::Failed,
            attempt,
            StepNote { error: Some(error), ..StepNote::default() },
        );
        let mut cause = Cause::fault(FaultClass::Rejected, text);
        cause.because.push(seq);
        if self.state.changed() {
            self.go_back(cause, Why::Failed, vec![seq]);
        } else {
            self.finish_unchanged(Ended::Failed, cause);
        }
    }

    /// A look of the current watch.
    pub(super) fn observed(&mut self, watch: u64, scope: &Scope, seen: &Observation) {
        if watch != self.live.watch {
            return;
        }
        self.live.blind = None;
        let component = scope.component().clone();
        let here = scope.declared() == Some(&seen.declared);
        let look = Seen {
            at: seen.at,
            declared: seen.declared.clone(),
            done: here && seen.motion == Motion::Done,
            at_work: seen.motion == Motion::Progressing,
            counts: seen.counts,
            revision: here.then(|| scope.revision().clone()),
        };
        if here && matches!(self.state.phase, Phase::Forward | Phase::Baking) {
            // Known by name from the first look on: it may have to be said of a deploy that never got further.
            self.live.goal.insert(component.clone(), scope.revision().clone());
        }
        self.live.seen.insert(component.clone(), look.clone());
        self.live.last_seen.insert(component.clone(), look);
        self.close_on_sight(&component, &seen.declared);
        let settled = self.live.undone_until.is_none() && seen.at >= self.live.closed_at;
        if here && settled && self.state.phase < Phase::Back {
            self.live.maybe_undone = false;
        }
        self.report_signals(&component, seen);
        match self.state.phase {
            Phase::Forward | Phase::Baking => self.observed_forward(scope, seen),
            Phase::Back => self.observed_back(scope, seen),
            Phase::Following => self.observed_following(scope, seen),
            Phase::GivingWay | Phase::Abandoned => self.observed_closing(),
            Phase::Preparing | Phase::Guarding | Phase::Ended => {}
        }
        self.settle_after_a_look();
    }

    /// Where writes are compared, what is open can be told, and has to be before anything is final: time proves
    /// nothing there.
    fn settle_after_a_look(&mut self) {
        let watching = matches!(self.live.activity, Activity::Watching { .. });
        let ends = matches!(self.state.phase, Phase::Baking | Phase::Back | Phase::Following);
        if let (true, true, Some(open)) = (watching, ends, self.untold()) {
            self.unwatch();
            self.settle(open);
        }
    }

    fn report_signals(&mut self, component: &Component, seen: &Observation) {
        for signal in &seen.signals {
            let known = (component.clone(), signal.class, signal.instances.len());
            if signal.instances.is_empty() || !self.live.reported.insert(known) {
                continue;
            }
            self.note(Fact::Fault {
                class: signal.class,
                blame: signal.blame,
                permanent: signal.permanence == crate::model::Permanence::Permanent,
                instances: signal.instances.clone(),
                text: signal.text.clone(),
                log: signal.log.clone(),
                evidence: Vec::new(),
            });
        }
    }

    fn observed_forward(&mut self, scope: &Scope, seen: &Observation) {
        let component = scope.component().clone();
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        if let Some(signal) = seen.signals.iter().find(|signal| signal.decides()) {
            let mut cause = Cause::fault(signal.class, signal.text.clone());
            cause.log.clone_from(&signal.log);
            cause.because.extend(self.state.faults.last());
            let because = cause.because.clone();
            return self.go_back(cause, Why::Failed, because);
        }
        let on_its_way = matches!(seen.motion, Motion::Progressing | Motion::PlatformRevert { .. });
        if !on_its_way && self.is_undone(&component, &seen.declared) {
            return self.follow_undone(&component);
        }
        match &seen.motion {
            Motion::Foreign { revision, by } => {
                let what = revision.as_ref().map_or("something else", |revision| revision.short());
                let who = by.as_ref().map_or(String::new(), |by| format!(" by {}", by.0));
                return self.give_way(format!("{component} was set to {what}{who}"));
            }
            Motion::PlatformRevert { to, .. } => return self.platform_reverts(&component, to.as_ref()),
            Motion::Progressing | Motion::Done | Motion::Waiting(_) => {}
        }
        if scope.declared() != Some(&seen.declared) && !self.still_on_its_way(&component, seen) {
            return self.give_way(format!("{component} declares something that this deploy did not write"));
        }
        if let Some(remedy) = self.remedy_for(seen) {
            self.unwatch();
            return self.run(&remedy);
        }
        if self.waits_for_others() || self.state.phase == Phase::Baking {
            return;
        }
        let looked_for = self.live.looks.iter().find_map(|look| match look {
            Look::Toward(step) => Some(step.clone()),
            Look::AtGoal(_) | Look::AtOld(_) => None,
        });
        let Some(step) = looked_for else { return };
        if self.state.done.contains(&step) {
            return; // A gate looks at the step before it.
        }
        let at_gate = matches!(seen.motion, Motion::Waiting(_)) && self.gate_follows(&step);
        let here = scope.declared() == Some(&seen.declared);
        if at_gate || here && seen.motion == Motion::Done && Self::all_there(seen) {
            self.live.goal.insert(component, scope.revision().clone());
            self.unwatch();
            self.finish_step(&step, None);
        }
    }

    /// The base is still declared while our write is not answered, or while the platform is at work on it.
    fn still_on_its_way(&self, component: &Component, seen: &Observation) -> bool {
        let declared = &seen.declared;
        let at_work = matches!(seen.motion, Motion::Progressing | Motion::Waiting(_));
        let ours = self.state.tracks.get(component).is_some_and(|track| track.ours.contains(declared));
        let base = self.plan.base.declared.get(component) == Some(declared);
        let answered = self.state.sent.values().any(|sent| {
            sent.intent.component.as_ref() == Some(component) && sent.state == StepState::Applied
        });
        ours || base && (at_work || !answered)
    }

    fn all_there(seen: &Observation) -> bool {
        seen.counts.is_none_or(|counts| counts.updated >= counts.desired && counts.healthy >= counts.desired)
    }

    fn gate_follows(&self, step: &StepId) -> bool {
        let mut after = self.plan.steps.iter().skip_while(|other| other.id != *step).skip(1);
        after.next().is_some_and(|next| matches!(next.kind, StepKind::Gate { .. }))
    }

    /// A remedy that the look calls for, if the plan has it and it was not tried too often.
    pub(super) fn remedy_for(&self, seen: &Observation) -> Option<StepId> {
        let remedy = seen.remedy.as_ref()?;
        let listed = self.plan.remedies.iter().any(|step| step.id == *remedy);
        let tried = self.state.attempts.get(remedy).copied().unwrap_or(0);
        (listed && tried < REMEDIES).then(|| remedy.clone())
    }

    pub(super) fn judged(&mut self, check: String, verdict: Verdict, text: &str, data: Value) {
        let word = match verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Error => "error",
        };
        if verdict != Verdict::Fail || !matches!(self.state.phase, Phase::Forward | Phase::Baking) {
            return;
        }
        let text = format!("check {check}: {text}");
        let seq = self.note(Fact::Check { check, verdict: word.into(), data });
        let mut cause = Cause::fault(FaultClass::Check, text);
        cause.because.push(seq);
        self.go_back(cause, Why::Failed, vec![seq]);
    }

    /// Who took it back, for the outcome.
    pub(super) fn taken_back_by(&self) -> RolledBackBy {
        match self.state.why {
            Why::Person => RolledBackBy::Person,
            Why::Failed | Why::Abort => RolledBackBy::Us,
        }
    }
}
