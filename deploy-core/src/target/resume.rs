//! Going on with what is unfinished, and commands to whoever runs it.

use std::{sync::Arc, time::Duration};

use super::Target;
use crate::{
    error::{Error, ErrorKind, Result},
    launch::{Lease, Taking},
    machine::Machine,
    model::{Claim, RolloutId},
    report::scrub_line,
    rollout::Rollout,
    state::{
        head::Head,
        journal::{CommandKind, CommandRecord, Entry, Fact},
        keeper::Want,
        process::Alive,
        session::send_command,
    },
};

impl Target {
    /// Goes on with what is unfinished, whoever stopped it: a person or a crash. With a living holder it follows it.
    /// `None`: nothing is unfinished. Waits up to the patience W (45 s) for a silent holder elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the state cannot be read, [`ErrorKind::Unsupported`] if another version wrote it.
    pub async fn resume(&self) -> Result<Option<Rollout>> {
        self.go_on(Taking::ToGoOn).await
    }

    /// Takes the lease of an unfinished rollout from whoever holds it, and goes on with it. For a person who knows that
    /// the holder is stuck: the fence keeps the old holder's writes out where the platform compares.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub async fn break_lease(&self, reason: impl Into<String>) -> Result<Option<Rollout>> {
        self.go_on(Taking::ByForce(scrub_line(&reason.into()))).await
    }

    /// The unfinished rollout, to look at and to command: its commands travel through the store, and if its holder is
    /// dead this process takes over to execute them. `None`: nothing is unfinished.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub async fn active(&self) -> Result<Option<Rollout>> {
        let Some((home, head)) = self.home().await? else { return Ok(None) };
        match head.claim {
            Some(_) => Ok(Some(self.follow(home, *head)?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn go_on(&self, taking: Taking) -> Result<Option<Rollout>> {
        loop {
            let Some((home, head)) = self.home().await? else { return Ok(None) };
            let Some(rollout) = head.claim.clone() else { return Ok(None) };
            let Some(plan_object) = head.plan.clone() else {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!("{home} has an unfinished deploy without a plan"),
                ));
            };
            let records = self.records();
            let planned = |journal: &[Entry]| {
                let object = journal.iter().rev().find_map(|entry| match &entry.fact {
                    Fact::Planned { plan_object, .. } => Some(plan_object.clone()),
                    _ => None,
                });
                object.unwrap_or_else(|| plan_object.clone())
            };
            // An open plan is closed in the journal.
            let closed = planned(&records.journal(&home, &head, &rollout).await?);
            let plan = Arc::new(records.plan(&closed).await?);
            self.check_runners(&plan)?;
            // Versions before the head: what a takeover fences off must be older than the taking.
            let versions = if self.deployer.0.rules.versions_first {
                self.place.versions(&plan).await.ok()
            } else {
                None
            };
            let Some(versions) =
                versions.or_else(|| (!self.deployer.0.rules.versions_first).then(Default::default))
            else {
                let text =
                    format!("the place of {} cannot be seen now; its deploy is left as it is", self.name()?);
                return Err(Error::new(ErrorKind::Unavailable, text).next("resume when it can be seen"));
            };
            match self.lease(&home, Want::Resume, taking.clone()).await? {
                Lease::Nothing | Lease::Overtaken(_) => {}
                Lease::Busy(head) => return Ok(Some(self.follow(home, *head)?)),
                Lease::Unfinished(_) => {
                    return Err(Error::new(ErrorKind::Unexpected, "a resumption cannot be refused so"));
                }
                Lease::Held(held) => {
                    if held.head.claim.as_ref() != Some(&rollout) {
                        // It ended, and another began, while we looked. Leave that one alone.
                        let _ =
                            held.keeper.send(crate::state::session::ToKeeper::Release { keep_claim: true });
                        let _ = held.task.await;
                        continue;
                    }
                    let journal = records.journal(&home, &held.head, &rollout).await?;
                    if planned(&journal) != closed {
                        // It was closed while we looked: the versions have to be those of its plan.
                        let _ =
                            held.keeper.send(crate::state::session::ToKeeper::Release { keep_claim: true });
                        let _ = held.task.await;
                        continue;
                    }
                    let quiet_ms = self.quiet_ms(&plan, held.how);
                    let shared = &self.deployer.0;
                    let mut machine =
                        Machine::with_rules(Arc::clone(&plan), rollout.clone(), shared.timing, shared.rules);
                    machine.replay(&journal)?;
                    let pin = records.target(self.name()?).await?.map(|(_, record)| record.pin);
                    let paused = machine.is_paused();
                    let rollout = self.drive(plan, machine, *held, journal, pin, quiet_ms, versions).await?;
                    if paused {
                        // "Go on", whoever stopped it.
                        let _ = rollout.go_on().await;
                    }
                    return Ok(Some(rollout));
                }
            }
        }
    }

    /// The home claim and its head, by the target's record.
    pub(crate) async fn home(&self) -> Result<Option<(Claim, Box<Head>)>> {
        let records = self.records();
        let Some((_, record)) = records.target(self.name()?).await? else { return Ok(None) };
        let Some((_, head)) = records.head(&record.home).await? else { return Ok(None) };
        Ok(Some((record.home, Box::new(head))))
    }

    /// Puts a command into the inbox, and takes over if nobody is there to read it.
    pub(crate) async fn command(
        &self,
        rollout: &RolloutId,
        kind: CommandKind,
        reason: Option<String>,
    ) -> Result<()> {
        let shared = &self.deployer.0;
        let Some((home, head)) = self.home().await? else {
            return Err(Error::new(ErrorKind::Conflict, format!("the deploy {rollout} is over")));
        };
        let id = format!("{:016x}", shared.random.next());
        let expires = shared.clock.now().plus(Duration::from_secs(3600));
        let mut command = CommandRecord::new(id, rollout.clone(), kind, shared.actor.clone(), expires);
        command.reason = reason;
        send_command(&self.records(), &home, &command, &*shared.random).await?;
        let dead = head.holder.as_ref().is_none_or(|holder| shared.liveness.of(holder) == Alive::Dead);
        if dead {
            self.go_on(Taking::ToGoOn).await?;
        }
        Ok(())
    }
}
