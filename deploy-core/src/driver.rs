//! The driver: owns the machine, runs what it says, and tells it what happened. One task per rollout.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    clock::Clock,
    context::{Answer, Effected, FromStep, Outputs, Secrets, StepContext, StepSetting},
    error::{Error, ErrorKind, Result},
    event::{Event, EventKind, PhaseName},
    guards::{self, Guard, GuardContext},
    hash::StoreKey,
    machine::{Action, EffectEnd, Input, Inspected, Look, Machine},
    model::{
        Component, FaultClass, Motion, Observation, Outcome, Plan, Revision, RolloutId, Scope, StepId,
        Timestamp,
    },
    platform::{Platform, Settled, Versions},
    rollout::{Ending, EventLog},
    source::Source,
    state::{
        head::{Head, Pin},
        journal::{CommandRecord, DriverHow, Entry, ErrorRecord},
        keeper::KeeperAction,
        session::ToKeeper,
    },
};

/// How many log lines of an instance are kept as evidence, how long each, and how long reading them may take.
const LOG_LINES: usize = 20;
const LOG_CHARS: usize = 300;
const LOG_TIME: Duration = Duration::from_secs(5);

/// What a driver needs.
#[derive(Debug)]
pub(crate) struct DriverSetting {
    pub(crate) place: Arc<dyn Platform>,
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
    asks: BTreeMap<u64, oneshot::Sender<Answer>>,
    next_ask: u64,
    interrupted: Arc<AtomicBool>,
    wake: Option<Timestamp>,
    /// Entries that are appended but not known to be stored: their events wait.
    unstored: VecDeque<(Event, u64)>,
    appended: u64,
    phase: PhaseName,
    first_look: bool,
    sealed_once: bool,
    finished: Option<Box<Outcome>>,
    leaving: bool,
    start: (Timestamp, Duration),
    acknowledge: Vec<(String, oneshot::Sender<bool>)>,
    stages: BTreeMap<Component, Scope>,
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
            asks: BTreeMap::new(),
            next_ask: 0,
            interrupted: Arc::new(AtomicBool::new(false)),
            wake: None,
            unstored: VecDeque::new(),
            appended: 0,
            phase: PhaseName::Guard,
            first_look: true,
            sealed_once: false,
            finished: None,
            leaving: false,
            start,
            acknowledge: Vec::new(),
            stages: BTreeMap::new(),
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
                    Some(answer) => answer.send(Answer::Grant(grant)).is_err(),
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
                self.children.spawn(async move {
                    let found = place.settle(&intent, &cx).await.map_err(|error| ErrorRecord::from(&error));
                    Child::Settled { intent: intent.id, found }
                });
            }
            Action::Seal => {
                let (place, cx) = (Arc::clone(&self.set.place), self.context(&StepId::from("seal"), 1));
                let (versions, plan) = (self.set.versions.clone(), Arc::clone(&self.set.plan));
                let again = std::mem::replace(&mut self.sealed_once, true);
                self.children.spawn(async move {
                    let sealing = async {
                        // A version has moved meanwhile, maybe by a barrier of our own whose answer was lost. What is
                        // read now is older than the head that holds the barrier's intent, as it has to be.
                        let versions = if again { place.versions(&plan).await? } else { versions };
                        place.seal(&versions, &cx).await
                    };
                    Child::Sealed(sealing.await.map_err(|error| ErrorRecord::from(&error)))
                });
            }
            Action::Inspect => self.inspect(),
            Action::Execute { step, attempt } => self.execute(step, attempt),
            Action::Interrupt => self.interrupted.store(true, Ordering::Relaxed),
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

    fn append(&mut self, entries: Vec<Entry>, token: Option<u64>) {
        for entry in &entries {
            self.appended += 1;
            self.phase = self.phase.after(&entry.fact);
            self.unstored.push_back((Event::of(entry, &self.set.plan.target, self.phase), self.appended));
        }
        let _ = self.keeper.send(ToKeeper::Append { entries, token });
    }

    fn context(&self, step: &StepId, attempt: u32) -> StepContext {
        StepContext::new(StepSetting {
            step: step.clone(),
            attempt,
            rollout: self.set.rollout.clone(),
            outputs: self.machine.outputs().clone(),
            going_back: self.machine.going_back(),
            key: self.set.key.clone(),
            clock: Arc::clone(&self.set.clock),
            secrets: Arc::clone(&self.set.secrets),
            to_driver: self.step_sender.clone(),
            interrupted: Arc::clone(&self.interrupted),
            check_clock: self.set.check_clock,
        })
    }

    fn execute(&mut self, id: StepId, attempt: u32) {
        self.interrupted = Arc::new(AtomicBool::new(false));
        let cx = self.context(&id, attempt);
        let Some(step) = self.set.plan.step(&id).cloned() else { return };
        let (place, clock) = (Arc::clone(&self.set.place), Arc::clone(&self.set.clock));
        self.children.spawn(async move {
            let limit = Duration::from_millis(step.deadline_ms);
            let result = tokio::select! {
                biased;
                result = place.execute(&step, &cx) => result,
                () = clock.sleep(limit) => {
                    let text = format!("step {} was not done within {} s", step.id, limit.as_secs());
                    Err(Error::new(ErrorKind::TimedOut, text))
                }
            };
            Child::Step { step: id, attempt, result: result.map_err(|error| ErrorRecord::from(&error)) }
        });
    }

    fn inspect(&mut self) {
        let first = std::mem::take(&mut self.first_look);
        let place = Arc::clone(&self.set.place);
        let guards = self.set.guards.clone();
        let (plan, pin, head) =
            (Arc::clone(&self.set.plan), self.set.pin.clone(), Arc::clone(&self.set.head));
        let (source, overrides) = (self.set.source.clone(), Arc::clone(&self.set.overrides));
        let clock = Arc::clone(&self.set.clock);
        let began = self.now();
        self.children.spawn(async move {
            let inspecting = async {
                let now = place.inspect().await?;
                let (declared, serving, counts) = (now.declared.clone(), now.serving.clone(), now.counts);
                let cx = GuardContext { plan, now, pin, head: Some(head), place, source, first, overrides };
                let findings = guards::ask(&guards, &cx).await;
                let declared = declared.into_iter().collect();
                Ok(Box::new(Inspected { findings, declared, serving, counts, at: began }))
            };
            let found: Result<Box<Inspected>> = tokio::select! {
                biased;
                found = inspecting => found,
                () = clock.sleep(Duration::from_secs(60)) => {
                    Err(Error::new(ErrorKind::TimedOut, "looking at the place took longer than 60 s"))
                }
            };
            Child::Inspected(found.map_err(|error| ErrorRecord::from(&error)))
        });
    }

    /// Replaces what is watched: each component is looked at in turn, as often as the platform advises.
    fn watch(&mut self, watch: u64, looks: Vec<Look>) {
        self.watching.abort_all();
        while self.watching.try_join_next().is_some() {}
        let outputs = self.machine.outputs().clone();
        for look in looks {
            let scope = match self.scope(&look, &outputs) {
                Ok(scope) => scope,
                Err(error) => {
                    self.inputs.push_back(Input::Blind { watch, error: (&error).into() });
                    continue;
                }
            };
            self.stages.insert(scope.component().clone(), scope.clone());
            let (place, clock) = (Arc::clone(&self.set.place), Arc::clone(&self.set.clock));
            let say = self.watch_sender.clone();
            self.watching.spawn(observe_again_and_again(place, clock, watch, scope, say));
        }
    }

    fn scope(&self, look: &Look, outputs: &Outputs) -> Result<Scope> {
        let plan = &self.set.plan;
        match look {
            Look::Toward(step) => self.set.place.scope(plan, step, outputs),
            Look::AtOld(component) => {
                let back = plan.way_back.to.as_ref().filter(|to| to.declared.contains_key(component));
                let revision = back.unwrap_or(&plan.base).clone();
                Ok(Scope::Holding { component: component.clone(), revision })
            }
            Look::AtGoal(component) => {
                let step = plan.steps.iter().rev().find(|step| step.component == *component);
                let revision: Revision = match step {
                    Some(step) => self.set.place.scope(plan, &step.id, outputs)?.revision().clone(),
                    None => plan.base.clone(),
                };
                Ok(Scope::Holding { component: component.clone(), revision })
            }
        }
    }

    fn step_said(&mut self, said: FromStep) {
        match said {
            FromStep::Ask(mut ask, answer) => {
                self.next_ask += 1;
                ask.id = self.next_ask;
                self.asks.insert(ask.id, answer);
                self.inputs.push_back(Input::Asked(ask));
            }
            FromStep::Effected(intent, ended) => {
                let ended = match ended {
                    Effected::Applied(value) => EffectEnd::Applied(value),
                    Effected::Failed(error) => EffectEnd::Failed((&error).into()),
                };
                self.inputs.push_back(Input::Effected { intent, ended });
            }
            FromStep::Report(seen) => self.progress(*seen),
        }
    }

    fn child_ended(&mut self, ended: Result<Child, tokio::task::JoinError>) {
        // What a step said before it ended comes first.
        while let Ok(said) = self.from_step.try_recv() {
            self.step_said(said);
        }
        match ended {
            Ok(Child::Step { step, attempt, result }) => {
                self.inputs.push_back(Input::StepEnded { step, attempt, result });
            }
            Ok(Child::Inspected(found)) => self.inputs.push_back(Input::Inspected(found)),
            Ok(Child::Sealed(result)) => self.inputs.push_back(Input::Sealed(result)),
            Ok(Child::Settled { intent, found }) => self.inputs.push_back(Input::Settled { intent, found }),
            Err(error) if error.is_panic() => {
                // A backend's defect must not look like a silent wait: leave, and let a successor look.
                tracing::error!("a step panicked; this driver leaves the rollout for `resume`");
                self.inputs.push_back(Input::Leave);
            }
            Err(_) => {}
        }
    }

    fn saw(&mut self, input: Input) {
        if let Input::Observed { seen, .. } = &input {
            self.progress((**seen).clone());
        }
        self.inputs.push_back(input);
    }

    fn progress(&mut self, mut seen: Observation) {
        if matches!(seen.motion, Motion::Foreign { .. })
            && self.machine.going_back()
            && self.machine.is_expected(&seen.component, &seen.declared)
        {
            // The platform calls it foreign because it is not the old revision; it is our own new one.
            seen.motion = Motion::Progressing;
        }
        let scope = self.stages.get(&seen.component);
        let revision = scope.map_or_else(String::new, |scope| scope.revision().name.clone());
        let kind = EventKind::Progress {
            seen: Box::new(seen),
            revision,
            deadline: self.machine.deadline(),
            step: None,
        };
        self.live_event(kind);
    }

    fn live_event(&mut self, kind: EventKind) {
        if self.finished.is_some() {
            return; // Nothing comes after the end.
        }
        let event = Event {
            seq: None,
            at: self.now(),
            deploy: self.set.rollout.clone(),
            target: self.set.plan.target.clone(),
            phase: self.phase,
            kind,
        };
        // Behind the journaled events that came first: those wait until they are stored.
        if self.unstored.is_empty() {
            self.set.log.push(event);
        } else {
            self.unstored.push_back((event, self.appended));
        }
    }

    fn keeper_told(&mut self, told: KeeperAction) -> Option<Ending> {
        match told {
            KeeperAction::Durable { token, window_until } => {
                let now = crate::model::millis(self.set.clock.elapsed());
                let window_ms = window_until.saturating_sub(now);
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
                let now = crate::model::millis(self.set.clock.elapsed());
                let window_ms = window_until.saturating_sub(now);
                self.inputs.push_back(Input::StoreLost { window_ms });
            }
            KeeperAction::StoreBack => self.inputs.push_back(Input::StoreBack),
            KeeperAction::Released | KeeperAction::Lost => {
                return Some(match self.finished.take() {
                    Some(outcome) => Ending::Ended(outcome),
                    None => Ending::Left(
                        Error::new(ErrorKind::Interrupted, "this process left; the deploy has not ended")
                            .next("resume"),
                    ),
                });
            }
            KeeperAction::ReleaseRefused => {
                tracing::error!("the claim cannot be given back: an intent is open");
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

    fn acknowledged(&mut self, event: &Event) {
        let EventKind::Fact(fact) = &event.kind else { return };
        if let crate::state::journal::Fact::Command { id: Some(id), accepted, .. } = &**fact
            && let Some(at) = self.acknowledge.iter().position(|(waiting, _)| waiting == id)
        {
            let (_, answer) = self.acknowledge.swap_remove(at);
            let _ = answer.send(*accepted);
        }
    }
}

/// Looks at one component until the watch is replaced.
async fn observe_again_and_again(
    place: Arc<dyn Platform>,
    clock: Arc<dyn Clock>,
    watch: u64,
    scope: Scope,
    say: mpsc::UnboundedSender<Input>,
) {
    let mut failures = 0_u32;
    let mut lines = BTreeMap::new();
    loop {
        let look = tokio::select! {
            biased;
            look = place.observe(&scope) => look,
            () = clock.sleep(Duration::from_secs(30)) => {
                Err(Error::new(ErrorKind::TimedOut, "a look took longer than 30 s"))
            }
        };
        let (input, wait_ms) = match look {
            Ok(mut seen) => {
                failures = 0;
                add_log_lines(&*place, &*clock, &mut lines, &mut seen).await;
                // What others wrote goes into the journal from here.
                seen.scrub();
                let wait = seen.look_again_ms.max(10);
                (Input::Observed { watch, scope: Box::new(scope.clone()), seen: Box::new(seen) }, wait)
            }
            Err(error) => {
                failures += 1;
                let record = ErrorRecord::from(&error);
                let wait = record.after_ms.max(1_000 << failures.min(4).saturating_sub(1));
                (Input::Blind { watch, error: record }, wait)
            }
        };
        if say.send(input).is_err() {
            return;
        }
        clock.sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// The last log lines of the first instance that shows a trouble, where the platform has them and did not send them
/// along. Read once for each class of trouble; that they cannot be read decides nothing.
async fn add_log_lines(
    place: &dyn Platform,
    clock: &dyn Clock,
    known: &mut BTreeMap<FaultClass, Vec<String>>,
    seen: &mut Observation,
) {
    for signal in &mut seen.signals {
        let Some(first) = signal.instances.first().filter(|_| signal.log.is_empty()) else { continue };
        if let btree_map::Entry::Vacant(unread) = known.entry(signal.class) {
            let Some(logs) = place.logs() else { return };
            let mut tail = tokio::select! {
                biased;
                tail = logs.tail(&first.id, LOG_LINES) => tail.unwrap_or_default(),
                () = clock.sleep(LOG_TIME) => Vec::new(),
            };
            if tail.is_empty() {
                continue;
            }
            tail.truncate(LOG_LINES);
            for line in &mut tail {
                if let Some((end, _)) = line.char_indices().nth(LOG_CHARS) {
                    line.truncate(end);
                }
            }
            unread.insert(tail);
        }
        signal.log = known.get(&signal.class).cloned().unwrap_or_default();
    }
}

/// How a lease that was taken is told to the machine.
pub(crate) fn begun(
    fence: crate::model::Fence,
    owner: String,
    previous: Option<String>,
    how: DriverHow,
    quiet_ms: u64,
) -> Input {
    Input::Begun { fence, owner, previous, how, quiet_ms }
}
