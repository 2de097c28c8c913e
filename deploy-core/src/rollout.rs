//! The handle of a rollout: its events, its commands, its outcome.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::{Clock, Random},
    driver::ToDriver,
    error::{Error, ErrorKind, Result},
    event::Event,
    model::{Outcome, RolloutId, TargetName},
    observers::Observer,
    state::journal::{CommandKind, CommandRecord},
    target::Target,
    task,
};

/// How a driver's run ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The rollout has its outcome.
    Ended(Box<Outcome>),
    /// This process left; the rollout goes on without it, or waits for `resume`.
    Left(Error),
}

/// All events of a rollout that this process has seen.
#[derive(Debug, Clone)]
pub(crate) struct EventLog(Arc<LogInner>);

#[derive(Debug)]
struct LogInner {
    events: Mutex<Vec<Arc<Event>>>,
    count: watch::Sender<(usize, bool)>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let (count, _) = watch::channel((0, false));
        Self(Arc::new(LogInner { events: Mutex::new(Vec::new()), count }))
    }

    pub(crate) fn push(&self, event: Event) {
        let mut events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(Arc::new(event));
        let count = events.len();
        drop(events);
        self.0.count.send_modify(|state| state.0 = count);
    }

    pub(crate) fn close(&self) {
        self.0.count.send_modify(|state| state.1 = true);
    }

    /// The journaled events as entries, numbered from here.
    pub(crate) fn entries_from(&self, first: u64) -> Vec<crate::state::journal::Entry> {
        let events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = events.iter().filter_map(|event| match &event.kind {
            crate::event::EventKind::Fact(fact) => Some((event, fact)),
            _ => None,
        });
        let numbered = (first..).zip(facts);
        let entries = numbered.map(|(seq, (event, fact))| {
            crate::state::journal::Entry::new(seq, event.at, event.deploy.clone(), (**fact).clone())
        });
        entries.collect()
    }

    /// The highest sequence number that was pushed.
    pub(crate) fn last_seq(&self) -> u64 {
        let events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().rev().find_map(|event| event.seq).unwrap_or(0)
    }
}

/// The events of a rollout, from the first one. Reading slowly slows nothing down.
#[derive(Debug)]
pub struct Events {
    log: EventLog,
    at: usize,
    count: watch::Receiver<(usize, bool)>,
}

impl Events {
    fn new(log: EventLog) -> Self {
        let count = log.0.count.subscribe();
        Self { log, at: 0, count }
    }

    /// The next event; `None` once the rollout has ended or was left by this process. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            {
                let events = self.log.0.events.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(event) = events.get(self.at) {
                    self.at += 1;
                    return Some(Arc::clone(event));
                }
            }
            let (count, closed) = *self.count.borrow_and_update();
            if count > self.at {
                continue;
            }
            if closed || self.count.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// Hands the events of a log on to observers, each in a task of its own, so that a slow or failing one touches nothing.
#[derive(Debug)]
pub(crate) struct Telling(Vec<tokio::task::JoinHandle<()>>);

impl Telling {
    pub(crate) fn start(log: &EventLog, observers: &[Arc<dyn Observer>]) -> Self {
        let tell = |observer: &Arc<dyn Observer>| {
            let (mut events, observer) = (Events::new(log.clone()), Arc::clone(observer));
            task::spawn(async move {
                while let Some(event) = events.next().await {
                    observer.see(&event);
                }
            })
        };
        Self(observers.iter().map(tell).collect())
    }

    /// Waits until all are told, a slow one not longer than this.
    pub(crate) async fn end(self, clock: &dyn Clock, patience: Duration) {
        tokio::select! {
            biased;
            () = async { for task in self.0 { let _ = task.await; } } => {}
            () = clock.sleep(patience) => {}
        }
    }
}

/// How a rollout's commands travel.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    /// The driver is in this process.
    Driver {
        to_driver: mpsc::UnboundedSender<ToDriver>,
        random: Arc<dyn Random>,
        /// Killed by the suites, as a process would be.
        #[cfg(any(test, feature = "conformance"))]
        task: tokio::task::AbortHandle,
    },
    /// Through the inbox of the head; if its holder is dead, this process takes over.
    Inbox(Box<Target>),
    /// It is over.
    Nothing,
}

/// A rollout. Cheap to clone; dropping it detaches: the driver task goes on as long as its process lives.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub(crate) id: RolloutId,
    pub(crate) target: TargetName,
    pub(crate) log: EventLog,
    pub(crate) via: Via,
    pub(crate) ending: watch::Receiver<Option<Arc<Ending>>>,
    pub(crate) actor: String,
}

impl Rollout {
    /// The deploy's id.
    #[must_use]
    pub fn id(&self) -> &RolloutId {
        &self.id
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &TargetName {
        &self.target
    }

    /// Whether this process runs it; otherwise it is followed, and commands travel through the store.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self.via, Via::Driver { .. })
    }

    /// Its events from the first one: journaled ones in gapless order, live ones between them.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.log.clone())
    }

    /// Waits for the end. Every ending is `Ok`, refused and failed too.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`] or [`ErrorKind::Interrupted`] if this process left and the deploy has not ended:
    /// `resume` goes on with it. May be called again, with the same answer.
    pub async fn outcome(&self) -> Result<Outcome> {
        let mut ending = self.ending.clone();
        let gone = || {
            Error::new(ErrorKind::Interrupted, "the driver's task is gone; the deploy has not ended")
                .next("resume")
        };
        let ended = ending.wait_for(Option::is_some).await.map_err(|_| gone())?;
        match ended.as_deref() {
            Some(Ending::Ended(outcome)) => Ok((**outcome).clone()),
            Some(Ending::Left(error)) => {
                let copy = Error::new(error.kind(), error.message()).retry_as(error.retry());
                Err(match error.what_next() {
                    Some(next) => copy.next(next),
                    None => copy,
                })
            }
            None => Err(gone()),
        }
    }

    /// Stops before the next step. What runs now is let end; health is watched on.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub async fn pause(&self, reason: impl Into<String>) -> Result<()> {
        self.command(CommandKind::Pause, Some(reason.into())).await
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub async fn go_on(&self) -> Result<()> {
        self.command(CommandKind::Resume, None).await
    }

    /// Passes the gate at which it waits, or ends the bake now.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub async fn promote(&self) -> Result<()> {
        self.command(CommandKind::Promote, None).await
    }

    /// Stops it and goes back. The effect that is running is let end first.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is over or going back already; [`ErrorKind::Store`] if the command cannot be stored.
    pub async fn abort(&self, reason: impl Into<String>) -> Result<()> {
        self.command(CommandKind::Abort, Some(reason.into())).await
    }

    /// Ends a rollback that cannot succeed: the outcome is `RollbackFailed`, and a person takes over.
    ///
    /// # Errors
    /// As [`abort`](Self::abort).
    pub async fn abandon(&self, reason: impl Into<String>) -> Result<()> {
        self.command(CommandKind::Abandon, Some(reason.into())).await
    }

    /// This process leaves: the lease is given back, the claim stays, `resume` goes on.
    pub fn leave(&self) {
        if let Via::Driver { to_driver, .. } = &self.via {
            let _ = to_driver.send(ToDriver::Leave);
        }
    }

    /// Kills the driver, as if its process were killed: nothing more is written, sent or told.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn kill(&self) {
        if let Via::Driver { task, .. } = &self.via {
            task.abort();
        }
    }

    async fn command(&self, kind: CommandKind, reason: Option<String>) -> Result<()> {
        let over = || Error::new(ErrorKind::Conflict, format!("the deploy {} is over", self.id));
        match &self.via {
            Via::Nothing => Err(over()),
            // Boxed: taking over makes a rollout, which has commands again.
            Via::Inbox(target) => Box::pin(target.command(&self.id, kind, reason)).await,
            Via::Driver { to_driver, random, .. } => {
                let word = kind.word();
                let id = format!("{:016x}", random.next());
                let never = crate::model::Timestamp::from_millis(i64::MAX);
                let mut command = CommandRecord::new(id, self.id.clone(), kind, self.actor.clone(), never);
                command.reason = reason;
                let (answer, answered) = oneshot::channel();
                to_driver.send(ToDriver::Command(command, answer)).map_err(|_| over())?;
                match answered.await {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        let text = format!("the deploy {} cannot {word} where it is", self.id);
                        Err(Error::new(ErrorKind::Conflict, text))
                    }
                    Err(_) => Err(over()),
                }
            }
        }
    }
}
