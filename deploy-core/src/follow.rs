//! Following a rollout that another process runs: its journal is read, and its holder's beat is watched.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    error::{Error, ErrorKind, Result},
    event::{Event, PhaseName},
    model::{Claim, RolloutId, millis},
    rollout::{Ending, EventLog, Rollout, Telling, Via},
    state::{head::Head, journal::Fact, process::Alive},
    target::Target,
    task,
};

impl Target {
    /// A handle on the rollout that has the claim, fed from the store.
    pub(crate) fn follow(&self, home: Claim, head: Head) -> Result<Rollout> {
        let over = || Error::new(ErrorKind::Conflict, "the deploy is over");
        let id = head.claim.clone().ok_or_else(over)?;
        self.follow_rollout(home, head, id)
    }

    /// A handle on a rollout of the claim that may be over.
    pub(crate) fn follow_rollout(&self, home: Claim, head: Head, id: RolloutId) -> Result<Rollout> {
        let log = EventLog::new();
        let (tell, ending) = watch::channel(None);
        let follower = Follower { target: self.clone(), home, id: id.clone(), log: log.clone() };
        let telling = Telling::start(&log, &self.observers);
        let clock = Arc::clone(&self.deployer.0.clock);
        task::spawn(async move {
            let ended = follower.run(head).await;
            telling.end(&*clock, Duration::from_secs(2)).await;
            let _ = tell.send(Some(Arc::new(ended)));
        });
        Ok(Rollout {
            id,
            target: self.name()?.clone(),
            log,
            via: Via::Inbox(Box::new(self.clone())),
            ending,
            actor: self.deployer.0.actor.clone(),
        })
    }
}

struct Follower {
    target: Target,
    home: Claim,
    id: RolloutId,
    log: EventLog,
}

impl Follower {
    async fn run(self, mut head: Head) -> Ending {
        let shared = Arc::clone(&self.target.deployer.0);
        let records = self.target.records();
        let poll = records.store().limits().poll;
        let mut beat = (head.beat, millis(shared.clock.elapsed()));
        let mut failures = 0_u32;
        loop {
            match self.read(&head).await {
                Ok(Some(ended)) => {
                    self.log.close();
                    return ended;
                }
                Ok(None) => failures = 0,
                Err(_) => failures += 1,
            }
            let now = millis(shared.clock.elapsed());
            if head.beat != beat.0 {
                beat = (head.beat, now);
            }
            let dead = head.holder.as_ref().is_some_and(|holder| shared.liveness.of(holder) == Alive::Dead);
            let silent = now >= beat.1 + shared.timing.patience_ms;
            if head.claim.as_ref() != Some(&self.id)
                || dead
                || head.holder.is_none()
                || silent
                || failures > 30
            {
                self.log.close();
                let text = format!("nobody runs the deploy {} any more; it has not ended", self.id);
                return Ending::Left(Error::new(ErrorKind::Interrupted, text).next("resume"));
            }
            shared.clock.sleep(poll.max(Duration::from_millis(50))).await;
            if let Ok(Some((_, newer))) = records.head(&self.home).await {
                head = newer;
            }
        }
    }

    async fn read(&self, head: &Head) -> Result<Option<Ending>> {
        let from = self.log.last_seq();
        let newest =
            head.tail.iter().rev().find(|entry| entry.rollout == self.id).map_or(0, |entry| entry.seq);
        if newest <= from && head.claim.as_ref() == Some(&self.id) {
            return Ok(None);
        }
        let mut ended = None;
        let mut phase = PhaseName::Guard;
        for entry in self.target.records().journal(&self.home, head, &self.id).await? {
            if let Fact::Ended { outcome, .. } = &entry.fact {
                ended = Some(Ending::Ended(outcome.clone()));
            }
            phase = phase.after(&entry.fact);
            if entry.seq > from {
                self.log.push(Event::of(&entry, self.target.name()?, phase));
            }
        }
        Ok(ended)
    }
}
