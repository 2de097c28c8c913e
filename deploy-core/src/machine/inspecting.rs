//! A fresh look at the place: before anything is changed, and right before each effect step.

use super::{Activity, AfterInspect, Inspected, Machine, Phase, Seen, StepNote, state::Why};
use crate::{
    error::ErrorKind,
    model::{Cause, Component, Ended, StepKind, Timestamp},
    state::journal::{Decision, ErrorRecord, Fact, GuardResult, StepState},
};

impl Machine {
    pub(super) fn inspected(&mut self, found: Result<Box<Inspected>, ErrorRecord>) {
        let Activity::Inspecting { then, until, .. } = self.live.activity.clone() else { return };
        let found = match found {
            Ok(found) => found,
            Err(error) if error.is_kind(ErrorKind::LeaseLost) => return,
            Err(error) => return self.cannot_inspect(then, until, &error),
        };
        for (component, declared) in &found.declared {
            let revision = self.plan.base.declared.get(component).filter(|base| *base == declared);
            let seen = Seen {
                at: found.at,
                declared: declared.clone(),
                done: false,
                at_work: false,
                counts: found.counts,
                revision: revision.map(|_| self.plan.base.clone()),
            };
            self.live.last_seen.insert(component.clone(), seen);
            self.close_on_sight(component, declared);
        }
        if self.state.phase == Phase::Preparing {
            return self.commit_inspected(&found);
        }
        let first = self.state.phase == Phase::Guarding;
        for finding in &found.findings {
            if first || finding.result != GuardResult::Pass {
                self.note(Fact::Guard(finding.clone()));
            }
        }
        if self.state.phase != Phase::Forward && !first {
            self.live.activity = Activity::Free;
            return;
        }
        let moved =
            found.declared.iter().find(|(component, declared)| !self.is_expected(component, declared));
        let refusal = found.findings.iter().find(|finding| finding.result == GuardResult::Refuse);
        self.live.activity = Activity::Free;
        if moved.is_none() && !self.plan.capabilities.reverts_itself {
            let mut back = found.declared.iter();
            if let Some((component, _)) = back.find(|(component, now)| self.is_undone(component, now)) {
                let component = component.clone();
                return self.follow_undone(&component);
            }
        }
        match (moved, refusal) {
            (Some((component, _)), _) => {
                let text = format!(
                    "{component} declares {} now: changed since the plan was made",
                    found.serving.name
                );
                self.moved_underneath(text);
            }
            (None, Some(finding)) if !self.state.changed() => {
                let cause = Self::refusal(finding);
                let next = finding.next.clone();
                self.refuse(cause, next);
            }
            (None, Some(finding)) if finding.guard == "identity" => {
                let text = finding.text.clone();
                self.give_way(text);
            }
            (None, Some(finding)) => {
                let cause = Self::refusal(finding);
                self.go_back(cause, Why::Failed, Vec::new());
            }
            (None, None) => {
                self.live.inspected = true;
                match then {
                    AfterInspect::Guards if first && self.plan.steps.is_empty() => {
                        self.decide(Decision::Bake, None, Vec::new(), None);
                    }
                    AfterInspect::Guards if first => self.begin_first_step(),
                    AfterInspect::Guards => {}
                    AfterInspect::Step(step) => self.run(&step),
                }
            }
        }
    }

    fn begin_first_step(&mut self) {
        let Some(first) = self.plan.steps.first().cloned() else { return };
        match first.kind {
            // The inspection just made is the look right before the first mutation.
            StepKind::Effect if !self.state.paused => {
                let until = self.live.now.plus_ms(first.deadline_ms);
                self.live.deadlines.insert(first.id.clone(), until);
                self.run(&first.id);
            }
            _ => {
                self.note_step(&first.id, StepState::Began, 1, StepNote::default());
            }
        }
    }

    fn moved_underneath(&mut self, text: String) {
        if self.state.changed() {
            self.give_way(text);
        } else {
            self.refuse(Cause::new("base", text), vec!["plan again".into()]);
        }
    }

    fn cannot_inspect(&mut self, then: AfterInspect, until: Timestamp, error: &ErrorRecord) {
        let now = self.live.now;
        if error.again && now < until {
            let again_at = Some(now.plus_ms(error.after_ms.max(2_000)));
            self.live.activity = Activity::Inspecting { then, until, again_at };
            return;
        }
        self.live.activity = Activity::Free;
        if self.live.unchanged.is_some() {
            return;
        }
        let cause = Cause::new("blind", format!("the place cannot be inspected: {}", error.text));
        if self.state.changed() {
            self.go_back(cause, Why::Failed, Vec::new());
        } else {
            self.finish_unchanged(Ended::Failed, cause);
        }
    }

    /// The plan's base, or what we wrote, or what we are going back to.
    pub(crate) fn is_expected(&self, component: &Component, declared: &crate::model::Fingerprint) -> bool {
        let track = self.state.tracks.get(component);
        self.plan.base.declared.get(component) == Some(declared)
            || track.is_some_and(|track| track.ours.contains(declared))
            || self.going_back() && self.old_of(component) == Some(declared)
            // A component that did not exist when the plan was made has no base.
            || !self.plan.base.declared.contains_key(component)
    }
}
