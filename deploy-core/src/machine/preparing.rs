//! Before the place is touched: making what a release needs, and closing the plan with it.
//!
//! Nothing here is an effect: a step may be run again at any time, and finds what an earlier run made. So there are no
//! intents, nothing has to be settled, and every end is an end with nothing changed.

use std::sync::Arc;

use super::{Action, Activity, AfterInspect, Inspected, Machine, Phase, StepNote, state::Why};
use crate::{
    error::ErrorKind,
    model::{Cause, Ended, Plan, StepId},
    state::journal::{ErrorRecord, Fact, GuardResult, StepState},
};

impl Machine {
    pub(super) fn next_preparing(&mut self) {
        if self.state.why != Why::Failed {
            // It was asked for by a predecessor's time, or while a step ran.
            let cause = Cause::new("aborted", "it was stopped before anything was changed");
            return self.finish_unchanged(Ended::Aborted, cause);
        }
        if self.state.paused {
            self.live.activity = Activity::Paused;
            return;
        }
        let Some(step) = self.plan.prepare.iter().find(|step| !self.state.done.contains(&step.id)) else {
            return self.plan_steps();
        };
        let (id, until) = (step.id.clone(), self.live.now.plus_ms(step.deadline_ms));
        if !self.live.commit_asked {
            // By each process: what is to be made is made from what is there now.
            self.live.commit_asked = true;
            return self.inspect(AfterInspect::Guards);
        }
        self.live.deadlines.entry(id.clone()).or_insert(until);
        self.run(&id);
    }

    /// What the guards say to the commit that something is to be made from.
    pub(super) fn commit_inspected(&mut self, found: &Inspected) {
        self.live.activity = Activity::Free;
        if self.live.unchanged.is_some() {
            return;
        }
        for finding in &found.findings {
            self.note(Fact::Guard(finding.clone()));
        }
        if let Some(finding) = found.findings.iter().find(|finding| finding.result == GuardResult::Refuse) {
            self.refuse(Self::refusal(finding), finding.next.clone());
        }
    }

    pub(super) fn plan_steps(&mut self) {
        self.live.activity = Activity::Planning { again_at: None };
        self.out.push(Action::Plan);
    }

    pub(super) fn prepare_failed(&mut self, id: &StepId, attempt: u32, error: ErrorRecord) {
        if self.state.why != Why::Failed || error.is_kind(ErrorKind::LeaseLost) {
            return;
        }
        let now = self.live.now;
        let attempts = self.plan.step(id).map_or(1, |step| step.attempts);
        let until = self.live.deadlines.get(id).copied().unwrap_or(now);
        let wait = error.after_ms.max(500 << attempt.min(5).saturating_sub(1));
        if error.again && attempt < attempts && now.plus_ms(wait) < until {
            self.live.activity = Activity::Backoff { at: now.plus_ms(wait) };
            return;
        }
        let text = format!("step {id} failed: {}", error.text);
        let log = error.log.clone();
        let more = StepNote { error: Some(error), ..StepNote::default() };
        let seq = self.note_step(id, StepState::Failed, attempt, more);
        let mut cause = Cause::new("prepare", text);
        cause.because.push(seq);
        cause.log = log;
        self.refuse(cause, Vec::new());
    }

    pub(super) fn planned(&mut self, made: Result<Box<(Plan, String)>, ErrorRecord>) {
        if !matches!(self.live.activity, Activity::Planning { .. }) || self.state.phase != Phase::Preparing {
            return;
        }
        let (plan, plan_object) = match made {
            Ok(made) => *made,
            Err(error) if error.is_kind(ErrorKind::LeaseLost) => return,
            Err(error) if error.again => {
                let wait = error.after_ms.max(2_000);
                self.live.activity = Activity::Planning { again_at: Some(self.live.now.plus_ms(wait)) };
                return;
            }
            Err(error) => return self.refuse(Cause::new("plan", error.text), Vec::new()),
        };
        if plan.open || plan.claims != self.plan.claims || plan.target != self.plan.target {
            let text = "what was planned after the preparation is for another place, or open still";
            return self.refuse(Cause::new("plan", text), vec!["plan again".into()]);
        }
        let hash = plan.approval_hash();
        self.plan = Arc::new(plan);
        let to = self.plan.to.clone();
        self.note(Fact::Planned { plan: hash, plan_object, to });
        self.live.activity = Activity::Free;
    }

    /// Stops it: at once if no step runs, else as soon as that has ended.
    pub(super) fn stop_preparing(&mut self, cause: Cause) {
        if matches!(self.live.activity, Activity::Running { .. }) {
            self.out.push(Action::Interrupt);
            return;
        }
        self.finish_unchanged(Ended::Aborted, cause);
    }
}
