//! The driver: owns the machine, runs what it says, and tells it what happened. One task per rollout.

mod children;
mod events;
mod watching;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use litemap::LiteMap;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    clock::Clock,
    context::{Answer, FromStep, Secrets},
    error::{Error, ErrorKind, Result},
    event::{Event, PhaseName},
    guards::Guard,
    hash::StoreKey,
    machine::{Action, EffectEnd, Input, Inspected, Machine},
    model::{Component, Outcome, Plan, RolloutId, Scope, StepId, Timestamp},
    platform::{Platform, Settled, Versions},
    prepare::Planner,
    rollout::{Ending, EventLog},
    source::Source,
    state::{
        head::{Head, Pin},
        journal::{CommandRecord, Entry, ErrorRecord},
        keeper::KeeperAction,
        session::ToKeeper,
    },
    task,
};

/// What a driver needs.
#[derive(Debug)]
pub(crate) struct DriverSetting {
    pub(crate) place: Arc<dyn Platform>,
    pub(crate) planner: Planner,
    pub(crate) plan: Arc<Plan>,
    pub(crate) rollout: RolloutId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) guards: Vec<Arc<dyn Guard>>,
    pub(crate) overrides: Arc<BTreeMap<String, String>>,
    pub(crate) source: Option<Arc<dyn Source>>,
    pub(crate) pin: Option<Pin>,
    pub(crate) head: Arc<Head>,
    pub(crate) key: StoreKey,
    pub(crate) log: EventLog,
    pub(crate) versions: Versions,
    /// How many appended entries the store has already.
    pub(crate) stored: Vec<Entry>,
    pub(crate) check_clock: bool,
}

/// What a handle says to its driver.
#[derive(Debug)]
pub(crate) enum ToDriver {
    Command(CommandRecord, oneshot::Sender<bool>),
    Leave,
}

/// What a child task ends with.
#[derive(Debug)]
enum Child {
    Step { step: StepId, attempt: u32, result: Result<Value, ErrorRecord> },
    Planned(Result<Box<(Plan, String)>, ErrorRecord>),
    Inspected(Result<Box<Inspected>, ErrorRecord>),
    Sealed(Result<(), ErrorRecord>),
    Settled { intent: u64, found: Result<Settled, ErrorRecord> },
}

pub(crate) struct Driver {
    set: DriverSetting,
    machine: Machine,
    keeper: mpsc::UnboundedSender<ToKeeper>,
    children: JoinSet<Child>,
    watching: JoinSet<()>,
    from_step: mpsc::UnboundedReceiver<FromStep>,
    step_sender: mpsc::UnboundedSender<FromStep>,
    from_watch: mpsc::UnboundedReceiver<Input>,
    watch_sender: mpsc::UnboundedSender<Input>,
    inputs: VecDeque<Input>,
    asks: LiteMap<u64, oneshot::Sender<Answer>>,
    next_ask: u64,
    interrupt: watch::Sender<bool>,
    wake: Option<Timestamp>,
    /// Entries that are appended but not known to be stored: their events wait.
    unstored: VecDeque<(Event, u64)>,
    appended: u64,
    phase: PhaseName,
    first_look: bool,
    sealed_once: bool,
    finished: Option<Box<Outcome>>,
    /// Why this process leaves, where it is not asked to.
    left_because: Option<Error>,
    /// Until when the lease is ours, on the clock's `elapsed`.
    window_until: Duration,
    leaving: bool,
    start: (Timestamp, Duration),
    acknowledge: Vec<(String, oneshot::Sender<bool>)>,
    stages: LiteMap<Component, Scope>,
}

impl Driver {
    pub(crate) fn new(set: DriverSetting, machine: Machine, keeper: mpsc::UnboundedSender<ToKeeper>) -> Self {
        let (step_sender, from_step) = mpsc::unbounded_channel();
        let (watch_sender, from_watch) = mpsc::unbounded_channel();
        let start = (set.clock.now(), set.clock.elapsed());
        Self {
            set,
            machine,
            keeper,
            children: JoinSet::new(),
            watching: JoinSet::new(),
            from_step,
            step_sender,
            from_watch,
            watch_sender,
            inputs: VecDeque::new(),
            asks: LiteMap::new(),
            next_ask: 0,
            interrupt: watch::Sender::new(false),
            wake: None,
            unstored: VecDeque::new(),
            appended: 0,
            phase: PhaseName::Guard,
            first_look: true,
            sealed_once: false,
            finished: None,
            left_because: None,
            window_until: Duration::ZERO,
            leaving: false,
            start,
            acknowledge: Vec::new(),
            stages: LiteMap::new(),
        }
    }

    /// The wall time when the driver started, plus what has passed on a clock that does not jump.
    fn now(&self) -> Timestamp {
        let (wall, elapsed) = self.start;
        wall.plus(self.set.clock.elapsed().saturating_sub(elapsed))
    }

    /// Runs until the rollout has ended, is lost or is left.
    pub(crate) async fn run(
        mut self,
        begun: Input,
        mut from_keeper: mpsc::UnboundedReceiver<KeeperAction>,
        mut from_handle: mpsc::UnboundedReceiver<ToDriver>,
    ) -> Ending {
        for entry in std::mem::take(&mut self.set.stored) {
            self.phase = self.phase.after(&entry.fact);
            self.set.log.push(Event::of(&entry, &self.set.plan.target, self.phase));
        }
        self.inputs.push_back(begun);
        loop {
            while let Some(input) = self.inputs.pop_front() {
                let actions = self.machine.handle(self.now(), input);
                for action in actions {
                    self.perform(action);
                }
            }
            let clock = Arc::clone(&self.set.clock);
            let wait = self.wake.map_or(Duration::from_secs(3600), |at| at.since(self.now()));
            tokio::select! {
                biased;
                told = from_keeper.recv() => match told {
                    Some(told) => {
                        if let Some(ending) = self.keeper_told(told) {
                            return ending;
                        }
                    }
                    None => return Ending::Left(Error::new(ErrorKind::LeaseLost, "the keeper of this rollout has ended")),
                },
                Some(said) = self.from_step.recv() => self.step_said(said),
                Some(ended) = self.children.join_next() => self.child_ended(ended),
                Some(input) = self.from_watch.recv() => self.saw(input),
                Some(said) = from_handle.recv() => match said {
                    ToDriver::Command(command, answer) => {
                        self.acknowledge.push((command.id.clone(), answer));
                        self.inputs.push_back(Input::Command { command, via: "handle" });
                    }
                    ToDriver::Leave => self.inputs.push_back(Input::Leave),
                },
                () = clock.sleep(wait) => {
                    self.wake = None;
                    self.inputs.push_back(Input::Tick);
                }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Append { entries, token } => self.append(entries, token),
            Action::Grant { ask, grant } => {
                let intent = grant.intent;
                let undelivered = match self.asks.remove(&ask) {
                    Some(answer) => answer.send(Answer::Grant(grant, self.window_until)).is_err(),
                    None => true,
                };
                if undelivered {
                    // Whoever asked is gone: it was never sent.
                    let error = Error::new(ErrorKind::Interrupted, "nobody waits for the permit any more");
                    let ended = EffectEnd::Failed((&error).into());
                    self.inputs.push_back(Input::Effected { intent, ended });
                }
            }
            Action::Recorded { ask, value } => self.answer(ask, Answer::Recorded(value)),
            Action::Deny { ask, error } => self.answer(ask, Answer::Deny(error.to_error())),
            Action::Settle(intent) => {
                let (place, cx) = (Arc::clone(&self.set.place), self.context(&StepId::from("settle"), 1));
                task::spawn_on(&mut self.children, async move {
                    let found = place.settle(&intent, &cx).await.map_err(|error| ErrorRecord::from(&error));
                    Child::Settled { intent: intent.id, found }
                });
            }
            Action::Seal => {
                let (place, cx) = (Arc::clone(&self.set.place), self.context(&StepId::from("seal"), 1));
                let (versions, plan) = (self.set.versions.clone(), Arc::clone(&self.set.plan));
                let again = std::mem::replace(&mut self.sealed_once, true);
                task::spawn_on(&mut self.children, async move {
                    let sealing = async {
                        // A version has moved meanwhile, maybe by a barrier of our own whose answer was lost. What is
                        // read now is older than the head that holds the barrier's intent, as it has to be.
                        let versions = if again { place.versions(&plan).await? } else { versions };
                        place.seal(&versions, &cx).await
                    };
                    Child::Sealed(sealing.await.map_err(|error| ErrorRecord::from(&error)))
                });
            }
            Action::Plan => self.plan_steps(),
            Action::Inspect => self.inspect(),
            Action::Execute { step, attempt } => self.execute(step, attempt),
            Action::Interrupt => {
                self.interrupt.send_replace(true);
            }
            Action::Watch { watch, looks } => self.watch(watch, looks),
            Action::Judge(_) => {}
            Action::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |other| other.min(at))),
            Action::Finish(outcome) => {
                self.finished = Some(outcome);
                let _ = self.keeper.send(ToKeeper::Release { keep_claim: false });
            }
            Action::Park | Action::HandOver => {
                self.leaving = true;
                self.children.abort_all();
                self.watching.abort_all();
                let _ = self.keeper.send(ToKeeper::Release { keep_claim: true });
            }
        }
    }

    fn answer(&mut self, ask: u64, answer: Answer) {
        if let Some(waiting) = self.asks.remove(&ask) {
            let _ = waiting.send(answer);
        }
    }

    /// Keeps until when the lease is ours; returns how many milliseconds that are from now.
    fn holds_until(&mut self, window_until: u64) -> u64 {
        self.window_until = Duration::from_millis(window_until);
        window_until.saturating_sub(crate::model::millis(self.set.clock.elapsed()))
    }

    fn keeper_told(&mut self, told: KeeperAction) -> Option<Ending> {
        match told {
            KeeperAction::Durable { token, window_until } => {
                let window_ms = self.holds_until(window_until);
                self.inputs.push_back(Input::Durable { token, window_ms });
            }
            KeeperAction::Written(count) => {
                while self.unstored.front().is_some_and(|(_, number)| *number <= count) {
                    if let Some((event, _)) = self.unstored.pop_front() {
                        self.acknowledged(&event);
                        self.set.log.push(event);
                    }
                }
            }
            KeeperAction::Commands(commands) => {
                for command in commands {
                    self.inputs.push_back(Input::Command { command, via: "inbox" });
                }
            }
            KeeperAction::Lost if !self.leaving => {
                // Whatever still runs is not ours any more. The machine's last words are not stored.
                let text =
                    "the lease is lost: another process goes on with this deploy, or the store is gone";
                return Some(Ending::Left(Error::new(ErrorKind::LeaseLost, text).next("resume")));
            }
            KeeperAction::StoreLost { window_until } => {
                let window_ms = self.holds_until(window_until);
                self.inputs.push_back(Input::StoreLost { window_ms });
            }
            KeeperAction::StoreBack => self.inputs.push_back(Input::StoreBack),
            KeeperAction::Released | KeeperAction::Lost => {
                return Some(match self.finished.take() {
                    Some(outcome) => Ending::Ended(outcome),
                    None => Ending::Left(self.left_because.take().unwrap_or_else(|| {
                        Error::new(ErrorKind::Interrupted, "this process left; the deploy has not ended")
                            .next("resume")
                    })),
                });
            }
            KeeperAction::ReleaseRefused => {
                return Some(Ending::Left(Error::new(ErrorKind::Unexpected, "an intent is open at the end")));
            }
            KeeperAction::Taken { .. }
            | KeeperAction::Busy(_)
            | KeeperAction::Unfinished(_)
            | KeeperAction::Overtaken(_)
            | KeeperAction::Nothing
            | KeeperAction::Probe(_)
            | KeeperAction::Read
            | KeeperAction::Write { .. }
            | KeeperAction::WakeAt(_) => {}
        }
        None
    }
}
