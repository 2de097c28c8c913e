//! The keeper's task: runs the pure [`Keeper`] against a store, a clock and the processes of this host.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Expect, Version, Wrote,
    head::Head,
    journal::Entry,
    keeper::{Keeper, KeeperAction, KeeperInput, Moment},
    process::{Alive, Liveness},
    records::{Records, to_bytes},
};
use crate::{
    clock::{Clock, Random},
    error::Error,
    model::{Claim, millis},
};

/// What the driver asks of its keeper.
#[derive(Debug)]
pub(crate) enum ToKeeper {
    Append { entries: Vec<Entry>, token: Option<u64> },
    Release { keep_claim: bool },
    Break,
}

/// What a keeper's task needs.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) records: Records,
    pub(crate) claim: Claim,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) liveness: Arc<dyn Liveness>,
    pub(crate) store_call: Duration,
    /// A process that exists counts as alive at once. Off after its beat has stood still for W: it may be stuck.
    pub(crate) believe_alive: bool,
}

impl Session {
    /// Runs until the keeper is gone, or nobody listens any more.
    pub(crate) async fn run(
        self,
        mut keeper: Keeper,
        mut from_driver: mpsc::UnboundedReceiver<ToKeeper>,
        to_driver: mpsc::UnboundedSender<KeeperAction>,
    ) {
        let poll = self.records.store().limits().poll;
        let mut calls: std::collections::VecDeque<KeeperAction> = std::collections::VecDeque::new();
        let mut input = Some(KeeperInput::Start);
        let mut wake: Option<Moment> = None;
        loop {
            if let Some(happened) = input.take() {
                wake = None;
                for action in keeper.handle(self.now(), happened, self.random.next()) {
                    match action {
                        KeeperAction::WakeAt(at) => wake = Some(wake.map_or(at, |other| other.min(at))),
                        KeeperAction::Read | KeeperAction::Write { .. } => calls.push_back(action),
                        KeeperAction::Probe(holder) => {
                            input = match self.liveness.of(&holder) {
                                Alive::Dead => Some(KeeperInput::HolderDead(holder.id)),
                                Alive::Here if self.believe_alive => {
                                    Some(KeeperInput::HolderAlive(holder.id))
                                }
                                Alive::Here | Alive::CannotTell => None,
                            };
                        }
                        told => {
                            if to_driver.send(told).is_err() {
                                return;
                            }
                        }
                    }
                }
                if keeper.is_gone() {
                    return;
                }
                if input.is_some() {
                    continue;
                }
            }
            if let Some(call) = calls.pop_front() {
                input = Some(self.call(call).await);
                continue;
            }
            let at_wake = wake.map_or(poll, |at| Duration::from_millis(at.saturating_sub(self.now())));
            let said = tokio::select! {
                biased;
                said = from_driver.recv() => Some(said),
                () = self.clock.sleep(at_wake.min(poll)) => None,
            };
            input = Some(match said {
                None => KeeperInput::Tick,
                Some(None) => return,
                Some(Some(ToKeeper::Append { entries, token })) => KeeperInput::Append { entries, token },
                Some(Some(ToKeeper::Release { keep_claim })) => KeeperInput::Release { keep_claim },
                Some(Some(ToKeeper::Break)) => KeeperInput::Break,
            });
        }
    }

    fn now(&self) -> Moment {
        millis(self.clock.elapsed())
    }

    /// One call of the store, under its deadline.
    async fn call(&self, call: KeeperAction) -> KeeperInput {
        let no_answer = match call {
            KeeperAction::Read => KeeperInput::ReadFailed,
            _ => KeeperInput::NoAnswer,
        };
        tokio::select! {
            biased;
            answer = self.send(call) => answer.unwrap_or(no_answer),
            () = self.clock.sleep(self.store_call) => no_answer,
        }
    }

    async fn send(&self, call: KeeperAction) -> Result<KeeperInput, Error> {
        match call {
            KeeperAction::Write { expect, head, segment } => {
                if let Some((name, segment)) = segment {
                    // Created if absent; the name carries the hash, so "already there" is the same content.
                    let key = self.records.segment_key(&self.claim, &name);
                    self.records.store().write(&key, Expect::Absent, to_bytes(&segment)?).await?;
                }
                let key = self.records.head_key(&self.claim);
                Ok(match self.records.store().write(&key, expect, head.to_bytes()).await? {
                    Wrote::Stored(version) => KeeperInput::Stored(version),
                    Wrote::Conflict => KeeperInput::Conflict,
                })
            }
            _ => {
                let found: Option<(Version, Head)> = self.records.head(&self.claim).await?;
                Ok(KeeperInput::Read(found.map(|(version, head)| (version, Box::new(head)))))
            }
        }
    }
}

/// Puts a command into the inbox of a claim's head.
///
/// # Errors
/// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the inbox is full, or the rollout is over.
pub(crate) async fn send_command(
    records: &Records,
    claim: &Claim,
    command: &super::journal::CommandRecord,
    random: &dyn Random,
) -> crate::Result<()> {
    use crate::error::ErrorKind;
    let over = || Error::new(ErrorKind::Conflict, format!("the deploy {} is over", command.rollout));
    for _ in 0..20 {
        let (version, mut head) = records.head(claim).await?.ok_or_else(over)?;
        if head.claim.as_ref() != Some(&command.rollout) {
            return Err(over());
        }
        if head.commands.iter().any(|other| other.id == command.id) {
            return Ok(());
        }
        if head.commands.len() >= super::head::INBOX {
            return Err(Error::new(ErrorKind::Conflict, "sixteen commands wait already; nobody reads them"));
        }
        head.commands.push(command.clone());
        head.write_id = random.next();
        match records.store().write(&records.head_key(claim), Expect::Is(version), head.to_bytes()).await {
            Ok(Wrote::Stored(_)) => return Ok(()),
            // Lost the race, or lost the answer: the next read tells which.
            Ok(Wrote::Conflict) => {}
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(_) => {}
        }
    }
    Err(Error::new(ErrorKind::Store, "the command cannot be stored: the head changes all the time"))
}
