//! Outcomes: how it ended, what serves, what is owed.

use super::{Action, Activity, AfterInspect, Machine, Phase, Seen, Unchanged};
use crate::{
    model::{Cause, Component, Counts, Ended, Goal, Outcome, Revision, Serving, Side, Timestamp},
    state::journal::Fact,
};

impl Machine {
    /// A guard says no before anything was changed.
    pub(super) fn refuse(&mut self, cause: Cause, next: Vec<String>) {
        self.end_unchanged(Unchanged { ended: Ended::Refused, cause, next });
    }

    /// It ended before anything was changed.
    pub(super) fn finish_unchanged(&mut self, ended: Ended, cause: Cause) {
        self.end_unchanged(Unchanged { ended, cause, next: Vec::new() });
    }

    /// Nothing was changed, but a barrier write may have no answer yet: the end waits for it.
    fn end_unchanged(&mut self, unchanged: Unchanged) {
        self.unwatch();
        self.live.unchanged = Some(unchanged);
        self.live.activity = Activity::Free;
        self.next_unchanged();
    }

    /// Ends once nothing of ours can arrive any more.
    pub(super) fn next_unchanged(&mut self) {
        if self.state.phase == Phase::Preparing && !self.live.inspected {
            // Nobody has looked yet, and the end says what serves.
            self.live.inspected = true;
            return self.inspect(AfterInspect::Guards);
        }
        if let (Some(open), true) = (self.untold(), self.rules.open_empty) {
            return self.settle(open);
        }
        if let (Some(until), true) = (self.all_landed_at(), self.rules.open_empty) {
            self.live.activity = Activity::Backoff { at: until.max(self.live.now.plus_ms(1)) };
            return;
        }
        if let Some(Unchanged { ended, cause, next }) = self.live.unchanged.take() {
            self.end(ended, Some(cause), None, next);
        }
    }

    /// It ended after something was, or may have been, changed.
    pub(super) fn finish(&mut self, ended: Ended, needed: Option<String>) {
        let cause = self.state.cause.clone();
        self.end(ended, cause, needed, Vec::new());
    }

    fn end(&mut self, ended: Ended, cause: Option<Cause>, needed: Option<String>, next: Vec<String>) {
        let (serving, revision) = self.serving();
        let mut outcome = Outcome::new(
            self.plan.target.clone(),
            self.rollout.clone(),
            ended,
            serving,
            self.state.started_at,
        );
        outcome.ended_at = self.live.now;
        outcome.cause = cause;
        outcome.needed = needed;
        outcome.next = next;
        outcome.owed.clone_from(&self.state.obligations);
        if !outcome.is_success() {
            outcome.owed.extend(self.not_made_up_for());
        }
        if outcome.needed.is_none() {
            outcome.needed = outcome.owed.first().cloned();
        }
        let known_good = revision.filter(|_| outcome.is_success()).map(Box::new);
        self.note(Fact::Ended { outcome: Box::new(outcome.clone()), known_good });
        debug_assert_eq!(self.state.phase, Phase::Ended);
        self.live.activity = Activity::Over;
        self.out.push(Action::Finish(Box::new(outcome)));
    }

    /// What serves, from the newest look at each component after the last effect; and its revision, if it is one.
    pub(super) fn serving(&self) -> (Serving, Option<Revision>) {
        let components = self.components();
        let seen: Vec<(&Component, &Seen)> = components
            .iter()
            .filter_map(|component| Some((component, self.live.last_seen.get(component)?)))
            .filter(|(_, seen)| seen.at >= self.last_effect())
            .collect();
        let oldest = seen.iter().map(|(_, seen)| seen.at).min().unwrap_or(self.live.now);
        if seen.len() < components.len() || seen.is_empty() {
            return (Serving::new(Side::Unknown, self.live.now), None);
        }
        let declares = |revision: &Revision, (component, seen): &(&Component, &Seen)| {
            revision.declared.get(*component) == Some(&seen.declared)
        };
        let is_base = |part: &(&Component, &Seen)| declares(&self.plan.base, part);
        let is_back =
            |part: &(&Component, &Seen)| self.plan.way_back.to.as_ref().is_some_and(|to| declares(to, part));
        let is_new = |part: &(&Component, &Seen)| {
            let track = self.state.tracks.get(part.0);
            track.is_some_and(|track| track.ours.contains(&part.1.declared)) || declares(&self.plan.to, part)
        };
        let (base, back) = (seen.iter().all(is_base), seen.iter().all(is_back));
        let (new, going_back) = (seen.iter().all(is_new), self.going_back());
        let known = |part: &(&Component, &Seen)| is_base(part) || is_back(part) || is_new(part);
        let (side, revision) = if going_back && back {
            (Side::Old, self.plan.way_back.to.clone())
        } else if base {
            (Side::Old, Some(self.plan.base.clone()))
        } else if new {
            (Side::New, self.goal_revision())
        } else if back {
            (Side::Old, self.plan.way_back.to.clone())
        } else if seen.iter().any(known) {
            (Side::Mixed, None)
        } else {
            (Side::Other, None)
        };
        let mut serving = Serving::new(side, oldest);
        serving.counts = seen.iter().filter_map(|(_, seen)| seen.counts).reduce(|a, b| {
            Counts::new(a.desired + b.desired, a.updated + b.updated, a.healthy + b.healthy, a.old + b.old)
        });
        let revision = if self.plan.changes_something() || side != Side::Old {
            revision
        } else {
            self.goal_revision().or(revision)
        };
        if let Some(revision) = &revision {
            serving.commit.clone_from(&revision.commit);
            serving.revision = Some(revision.name.clone());
        }
        (serving, revision)
    }

    /// The goal as it really is: what the scopes of its steps said, all components together.
    fn goal_revision(&self) -> Option<Revision> {
        let mut revisions = self.live.goal.values();
        let mut whole = revisions.next().cloned().or_else(|| match &self.plan.goal {
            Goal::Restore(revision) => Some(revision.clone()),
            _ => None,
        })?;
        for other in revisions {
            whole.declared.extend(other.declared.clone());
        }
        Some(whole)
    }

    /// When the last effect was sent: what was seen before says nothing of what serves after it.
    fn last_effect(&self) -> Timestamp {
        let writes = self.state.sent.values().filter(|sent| sent.intent.to.is_some());
        writes.map(|sent| sent.intent.signed_at).max().unwrap_or_default()
    }
}
