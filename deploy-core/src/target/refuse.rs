//! Refusals before there is a journal: endings all the same, with events and an outcome.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::Target;
use crate::{
    error::Result,
    event::{Event, PhaseName},
    model::{Cause, Ended, Outcome, RolloutId, Serving, Side, Snapshot, TargetName},
    rollout::{Ending, EventLog, Rollout, Telling, Via},
    state::journal::{Entry, Fact, GuardFinding},
};

impl Target {
    /// A rollout that ends refused at once: for what a program checks by itself before it asks for a deploy, so that
    /// whoever watches hears of it as of every other refusal. Looks at the place; changes and stores nothing.
    ///
    /// # Errors
    /// As inspecting.
    pub async fn refuse(&self, guard: &str, text: impl Into<String>, next: &[String]) -> Result<Rollout> {
        let now = self.place.inspect().await?;
        self.refused_now(guard, text.into(), &now, next)
    }

    pub(crate) fn refused_now(
        &self,
        guard: &str,
        text: String,
        now: &Snapshot,
        next: &[String],
    ) -> Result<Rollout> {
        let shared = &self.deployer.0;
        let rollout = RolloutId::make(shared.clock.now(), shared.random.next());
        Ok(self.refused(self.name()?, rollout, guard, text, now, next))
    }

    /// A rollout that was refused before it had a journal.
    pub(crate) fn refused(
        &self,
        target: &TargetName,
        rollout: RolloutId,
        guard: &str,
        text: String,
        now: &Snapshot,
        next: &[String],
    ) -> Rollout {
        let shared = &self.deployer.0;
        let at = shared.clock.now();
        let mut serving = Serving::new(Side::Old, now.at);
        serving.commit.clone_from(&now.serving.commit);
        serving.revision = Some(now.serving.name.clone());
        serving.counts = now.counts;
        let mut outcome = Outcome::new(target.clone(), rollout.clone(), Ended::Refused, serving, at);
        outcome.cause = Some(Cause::new("guard", format!("{guard}: {text}")));
        outcome.next = next.to_vec();
        outcome.ended_at = at;
        let mut finding = GuardFinding::refuse(guard, text);
        finding.next = next.to_vec();
        let facts =
            [Fact::Guard(finding), Fact::Ended { outcome: Box::new(outcome.clone()), known_good: None }];
        let log = EventLog::new();
        let mut phase = PhaseName::Guard;
        for (seq, fact) in (1..).zip(facts) {
            let entry = Entry::new(seq, at, rollout.clone(), fact);
            phase = phase.after(&entry.fact);
            log.push(Event::of(&entry, target, phase));
        }
        log.close();
        let telling = Telling::start(&log, &self.observers);
        let (tell, ending) = watch::channel(None);
        let clock = Arc::clone(&shared.clock);
        tokio::spawn(async move {
            // Whoever awaits the outcome has seen the last event before.
            telling.end(&*clock, Duration::from_secs(2)).await;
            let _ = tell.send(Some(Arc::new(Ending::Ended(Box::new(outcome)))));
        });
        Rollout {
            id: rollout,
            target: target.clone(),
            log,
            via: Via::Nothing,
            ending,
            actor: shared.actor.clone(),
        }
    }
}
