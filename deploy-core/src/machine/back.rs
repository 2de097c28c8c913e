//! Going back, following the platform's own revert, giving way to somebody else: rules N3 to N6 of docs/protocol.md.

use serde_json::Value;

use super::{Activity, Look, Machine, Phase, state::Why};
use crate::{
    model::{
        Cause, Component, Ended, Fingerprint, Motion, Observation, Revision, RolledBackBy, Scope, Step,
        StepId, Timestamp,
    },
    state::journal::{ClosedBy, Decision, Direction, ErrorRecord, Fact, StepState},
};

/// How often going back takes "no, never" for an answer before it gives up.
const REFUSALS: u32 = 3;
/// The least time between the end of an undo and its next beginning.
const UNDO_AGAIN_MS: u64 = 1_000;
/// How long a look may take to be had after everything of ours is closed.
const LAST_LOOK_MS: u64 = 300_000;

impl Machine {
    /// Decides to go back. What runs now is let end; nothing new goes forward.
    pub(super) fn go_back(&mut self, cause: Cause, why: Why, because: Vec<u64>) {
        if !matches!(self.state.phase, Phase::Guarding | Phase::Forward | Phase::Baking | Phase::Following) {
            return;
        }
        let to = self.plan.way_back.to.as_ref().map(|revision| revision.name.clone());
        if self.state.why == Why::Failed {
            self.state.why = why;
        }
        self.out.push(super::Action::Judge(false));
        self.decide(Decision::GoBack, to, because, Some(cause));
        self.turn();
    }

    /// After a change of phase: a running step is asked to end, everything else is let go.
    fn turn(&mut self) {
        self.unwatch();
        match self.live.activity {
            Activity::Running { .. } => self.out.push(super::Action::Interrupt),
            Activity::Asleep | Activity::Over | Activity::Sealing { .. } => {}
            _ => self.live.activity = Activity::Free,
        }
    }

    /// What the component declares when it is back.
    pub(super) fn old_of(&self, component: &Component) -> Option<&Fingerprint> {
        let back = self.plan.way_back.to.as_ref().and_then(|to| to.declared.get(component));
        back.or_else(|| self.plan.base.declared.get(component))
    }

    fn undo_of(&self, component: &Component) -> Option<&Step> {
        self.plan.way_back.steps.iter().find(|step| step.component == *component)
    }

    pub(super) fn next_back(&mut self) {
        let limit = self.live.now.plus_ms(self.plan.back_deadline_ms);
        let until = *self.live.back_until.get_or_insert(limit);
        let looks = self.components().into_iter().map(Look::AtOld).collect();
        self.watch(looks, until);
    }

    pub(super) fn observed_back(&mut self, scope: &Scope, seen: &Observation) {
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        let component = scope.component().clone();
        if self.plan.way_back.to.is_none() && self.state.declared_changed() {
            return; // Stranded: only what serves is of interest.
        }
        let expected = self.is_expected(&component, &seen.declared);
        if let (Motion::Foreign { revision, .. }, false) = (&seen.motion, expected) {
            // The platform only sees that it is not the old revision; whose it is, we know better.
            let what = revision.as_ref().map_or("something else", |revision| revision.short());
            return self.give_way(format!("{component} was set to {what} by somebody else"));
        }
        if self.old_of(&component) == Some(&seen.declared) {
            if seen.motion == Motion::Done {
                // While the platform is still at work on what it has accepted, what it declares is not the last word.
                self.live_track_old(&component);
            }
            if let Some(remedy) = self.remedy_for(seen) {
                self.unwatch();
                self.run(&remedy);
            }
            return;
        }
        let ours = self.state.tracks.get(&component).is_some_and(|track| track.ours.contains(&seen.declared));
        if !expected {
            return self.give_way(format!("{component} declares something that this deploy did not write"));
        }
        let Some(undo) = self.undo_of(&component).map(|step| step.id.clone()) else { return };
        if !self.is_its_turn(&undo) {
            return;
        }
        if self.undone_a_moment_ago(&component) {
            return;
        }
        if self.old_known(&component) {
            // What passes a gate is accepted long before it is declared.
            let at_work = self.plan.capabilities.gates && seen.motion == Motion::Progressing;
            if self.lately_answered(&component) || at_work {
                return; // Readers may not see our own write yet: look again.
            }
            if ours {
                if !self.may_be_our_late_call(&component) {
                    return self
                        .give_way(format!("{component} was set to the new revision again, and not by us"));
                }
                self.live.old_seen.remove(&component);
                self.decide(Decision::SetBackAgain, Some(component.to_string()), Vec::new(), None);
            }
        }
        self.unwatch();
        // Whatever is closed by now cannot land after this write.
        self.live.unlooked.remove(&component);
        self.run(&undo);
    }

    /// The old value was seen while going back: from now on, the new value is a late call of ours, or somebody else's.
    fn live_track_old(&mut self, component: &Component) {
        self.live.old_seen.insert(component.clone());
        self.live.unlooked.remove(component);
    }

    fn old_known(&self, component: &Component) -> bool {
        let answered = self.state.tracks.get(component).is_some_and(|track| track.old_known);
        answered || self.live.old_seen.contains(component)
    }

    /// Undo steps run in order: an earlier one's component must be back first.
    fn is_its_turn(&self, undo: &StepId) -> bool {
        let before = self.plan.way_back.steps.iter().take_while(|step| step.id != *undo);
        before.filter(|step| !self.compensates(step)).all(|step| {
            let seen = self.live.seen.get(&step.component);
            seen.is_some_and(|seen| self.old_of(&step.component) == Some(&seen.declared))
        })
    }

    /// Our write back was answered a moment ago, and readers may be behind.
    fn lately_answered(&self, component: &Component) -> bool {
        let apply = self.plan.capabilities.lateness.apply_ms;
        self.state.sent.values().any(|sent| {
            let intent = &sent.intent;
            intent.direction == Direction::Back
                && intent.component.as_ref() == Some(component)
                && sent.state == StepState::Applied
                && self.live.now < intent.signed_at.plus_ms(apply)
        })
    }

    /// The undo has just said that it is done: it does not get better by being run again at once.
    fn undone_a_moment_ago(&self, component: &Component) -> bool {
        let ended = self.live.undone_at.get(component);
        ended.is_some_and(|at| self.live.now < at.plus_ms(UNDO_AGAIN_MS))
    }

    /// N4: a forward call may have landed late, once per intent: one that is open, or one whose bound has passed
    /// since the last look.
    fn may_be_our_late_call(&self, component: &Component) -> bool {
        let open = self.state.open().any(|intent| {
            intent.direction == Direction::Forward && intent.component.as_ref() == Some(component)
        });
        let track = self.state.tracks.get(component);
        let counted = track.is_some_and(|track| track.appearances < track.forward);
        let may_have = open || self.live.unlooked.contains(component);
        may_have && (counted || !self.rules.count_appearances)
    }

    pub(super) fn undo_ended(&mut self, id: &StepId, result: Result<Value, ErrorRecord>) {
        let attempt = self.state.attempts.get(id).copied().unwrap_or(1);
        match result {
            Ok(output) => {
                self.note_step(
                    id,
                    StepState::Done,
                    attempt,
                    super::StepNote { output: Some(output), ..Default::default() },
                );
                self.live.refusals = 0;
                if let Some(step) = self.plan.step(id) {
                    self.live.undone_at.insert(step.component.clone(), self.live.now);
                }
            }
            Err(error) => {
                let compensates = self.plan.step(id).is_some_and(|step| self.compensates(step));
                if !error.again && error.effect == "not_applied" && !compensates {
                    self.live.refusals += 1;
                }
                let wait = error.after_ms.max(500 << attempt.min(5).saturating_sub(1));
                let text = error.text.clone();
                if self.live.refusals >= REFUSALS && self.state.phase == Phase::Back {
                    let before =
                        self.state.cause.as_ref().map_or(String::new(), |cause| format!("{}; ", cause.text));
                    let cause = Cause::new("rollback", format!("{before}going back was refused: {text}"));
                    self.decide(Decision::Abandon, None, Vec::new(), Some(cause));
                } else {
                    self.live.activity = Activity::Backoff { at: self.live.now.plus_ms(wait) };
                }
            }
        }
    }

    /// What the looks and the time decide while going back.
    pub(super) fn back_watched(&mut self, until: Timestamp) {
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        if self.plan.way_back.to.is_none() && self.state.declared_changed() {
            return self.stranded(until);
        }
        let components = self.components();
        let back = components.iter().all(|component| {
            let seen = self.live.seen.get(component);
            seen.is_some_and(|seen| seen.done && self.old_of(component) == Some(&seen.declared))
        });
        if let (true, Some(compensation)) = (back, self.due_compensation()) {
            self.unwatch();
            return self.run(&compensation);
        }
        if back && (!self.may_land() || !self.rules.final_after_closed) {
            let fresh = components.iter().all(|component| {
                self.live.seen.get(component).is_some_and(|seen| seen.at >= self.live.closed_at)
            });
            if fresh || !self.rules.final_after_closed {
                self.unwatch();
                let ended = match self.state.why {
                    Why::Abort => Ended::Aborted,
                    Why::Failed | Why::Person => Ended::RolledBack { by: self.taken_back_by() },
                };
                self.finish(ended, None);
            }
            return;
        }
        if back && !self.state.restored_told {
            let open_calls = self.state.open().count();
            let (serving, _) = self.serving();
            let final_after = self.all_landed_at().unwrap_or(self.live.now);
            self.note(Fact::Restored { serving, final_after, open_calls });
        }
        if !back && self.live.now >= until {
            let before = self.state.cause.as_ref().map_or(String::new(), |cause| format!("{}; ", cause.text));
            let blind = self.live.blind.as_ref().map_or(String::new(), |error| format!(": {}", error.text));
            let text = format!("{before}the old revision was not back and healthy in time{blind}");
            self.decide(Decision::Abandon, None, Vec::new(), Some(Cause::new("rollback", text)));
            self.unwatch();
            self.live.activity = Activity::Free;
        } else if back && self.live.now >= until {
            // It is back; only the late bound of an unanswered call is waited for.
            let until = self.all_landed_at();
            let until = until.unwrap_or(self.live.now).max(self.live.now).plus_ms(LAST_LOOK_MS);
            self.live.back_until = Some(until);
            self.live.activity = Activity::Watching { until };
        }
    }

    fn stranded(&mut self, until: Timestamp) {
        let looked = self.components().iter().all(|component| {
            self.live.seen.get(component).is_some_and(|seen| seen.at >= self.live.closed_at)
        });
        if !self.may_land() && (looked || self.live.now >= until) {
            self.unwatch();
            let ended = if self.plan.goal.is_rollback() { Ended::RollbackFailed } else { Ended::Stranded };
            self.finish(ended, Some(self.plan.way_back.words.clone()));
        }
    }

    /// The platform goes back by itself. It is followed if its destination is ours.
    pub(super) fn platform_reverts(&mut self, component: &Component, to: Option<&Revision>) {
        let ours = self.old_of(component);
        let theirs = to.and_then(|to| to.declared.get(component));
        if theirs.is_some() && theirs != ours {
            let name = to.map_or("elsewhere", |to| &to.name);
            let cause = Cause::new("platform_revert", format!("the platform goes back to {name} by itself"));
            return self.go_back(cause, Why::Failed, Vec::new());
        }
        let because: Vec<u64> = self.state.faults.last().copied().into_iter().collect();
        let cause = self.state.cause.clone().unwrap_or_else(|| {
            let mut cause = Cause::new("platform_revert", "the platform went back by itself");
            cause.because.clone_from(&because);
            cause
        });
        self.out.push(super::Action::Judge(false));
        self.decide(Decision::FollowRevert, to.map(|to| to.name.clone()), because, Some(cause));
        self.turn();
    }

    pub(super) fn next_following(&mut self) {
        let limit = self.live.now.plus_ms(self.plan.back_deadline_ms);
        let until = *self.live.back_until.get_or_insert(limit);
        let looks = self.components().into_iter().map(Look::AtOld).collect();
        self.watch(looks, until);
    }

    pub(super) fn observed_following(&mut self, scope: &Scope, seen: &Observation) {
        let component = scope.component();
        match &seen.motion {
            Motion::Foreign { .. } if !self.is_expected(component, &seen.declared) => {
                self.give_way(format!("{component} was changed by somebody else"));
            }
            Motion::PlatformRevert { to: Some(to), .. }
                if to.declared.get(component).is_some_and(|to| Some(to) != self.old_of(component)) =>
            {
                self.platform_reverts(&component.clone(), Some(to));
            }
            _ if !self.is_expected(component, &seen.declared) => {
                self.give_way(format!("{component} declares something that this deploy did not write"));
            }
            _ => {}
        }
    }

    pub(super) fn following_watched(&mut self, until: Timestamp) {
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        let components = self.components();
        let back = components.iter().all(|component| {
            let seen = self.live.seen.get(component);
            seen.is_some_and(|seen| {
                seen.done && self.old_of(component) == Some(&seen.declared) && seen.at >= self.live.closed_at
            })
        });
        if let (true, Some(compensation)) = (back, self.due_compensation()) {
            self.unwatch();
            return self.run(&compensation);
        }
        if back && (!self.may_land() || !self.rules.final_after_closed) {
            self.unwatch();
            self.finish(Ended::RolledBack { by: RolledBackBy::Platform }, None);
        } else if !back && self.live.now >= until {
            self.live.back_until = None;
            let cause = Cause::new("platform_revert", "the platform's own rollback did not end in time");
            self.go_back(cause, Why::Failed, Vec::new());
        }
    }

    /// Somebody else has changed it. The decision comes before everything else, and after it nothing is written.
    pub(super) fn give_way(&mut self, text: String) {
        if matches!(self.state.phase, Phase::GivingWay | Phase::Ended) {
            return;
        }
        self.out.push(super::Action::Judge(false));
        self.decide(Decision::GiveWay, None, Vec::new(), Some(Cause::new("superseded", text)));
        self.turn();
    }

    /// Nothing more is written: wait until nothing of ours can arrive, look once more, end.
    pub(super) fn next_closing(&mut self) {
        let now = self.live.now;
        if let (Some(open), true) = (self.untold(), self.rules.look_after_closed) {
            return self.settle(open);
        }
        if self.may_land() && self.rules.look_after_closed {
            let until = self.all_landed_at().unwrap_or(now);
            return self.watch(Vec::new(), until.max(now.plus_ms(1)));
        }
        let looks = self.components().into_iter().map(Look::AtOld).collect();
        self.watch(looks, now.plus_ms(LAST_LOOK_MS));
    }

    pub(super) fn observed_closing(&mut self) {}

    pub(super) fn closing_watched(&mut self, until: Timestamp) {
        if !matches!(self.live.activity, Activity::Watching { .. }) {
            return;
        }
        if self.may_land() && self.rules.look_after_closed {
            if self.live.now >= until {
                self.live.activity = Activity::Free;
            }
            return;
        }
        if self.live.looks.is_empty() {
            self.live.activity = Activity::Free;
            return;
        }
        let components = self.components();
        // What has passed a gate is accepted, and still changes the place while the platform is at work on it.
        let accepts_first = self.plan.capabilities.gates;
        let looked = components.iter().all(|component| {
            let seen = self.live.seen.get(component);
            seen.is_some_and(|seen| seen.at >= self.live.closed_at && !(accepts_first && seen.at_work))
        });
        if !looked && self.live.now < until {
            return;
        }
        self.unwatch();
        if self.state.phase == Phase::Abandoned {
            return self.finish(Ended::RollbackFailed, None);
        }
        let overwrote = components.iter().any(|component| {
            let seen = self.live.seen.get(component);
            seen.is_some_and(|seen| self.came_late(component, &seen.declared))
        });
        let needed = "a late call of this deploy overwrote somebody else's change: set it again";
        self.finish(Ended::Superseded, overwrote.then(|| needed.to_owned()));
    }

    /// Whether a call of ours that ended without an answer was to declare this: one that was settled or seen, too, because
    /// what was seen may have been another sending of the same value.
    fn came_late(&self, component: &Component, declared: &Fingerprint) -> bool {
        self.state.sent.values().any(|sent| {
            sent.intent.component.as_ref() == Some(component)
                && sent.intent.to.as_ref() == Some(declared)
                && (sent.state == StepState::Unknown
                    || matches!(sent.closed, Some(ClosedBy::Settled | ClosedBy::Sight)))
        })
    }
}
