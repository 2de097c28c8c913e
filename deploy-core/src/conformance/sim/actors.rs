//! What people and processes do in a run, and the one who puts everything in order after the chaos.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use super::{
    ledger::AuditStore,
    process::{Process, ProcessClock},
    scenario::{Act, Deed, Point, Scenario, Trap},
    store::{Network, SimPlace, deployer},
    trace::{Sim, lock},
    world::SimWorld,
};
use crate::{
    clock::{Clock, Random},
    deployer::Deployer,
    error::Error,
    model::{Outcome, Release},
    platform::Platform,
    rollout::Rollout,
    target::Target,
};

/// The target of every run.
pub(super) const TARGET: (&str, &str) = ("shop", "production");
/// How often the sweeper looks whether what it resumed has ended.
const SWEEP_S: u64 = 30;
/// How long everything may take to end after the faults have stopped, in virtual time.
const BOUND_MS: u64 = 4 * 3_600_000;

/// One simulated deployer: a process with a place and a store.
#[derive(Debug)]
pub(super) struct Deploys {
    pub(super) process: Arc<Process>,
    deployer: Deployer,
    place: Arc<dyn Platform>,
}

/// Everything that the actors share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sim: Arc<Sim>,
    pub(super) scenario: Scenario,
    pub(super) world: Arc<dyn SimWorld>,
    pub(super) store: AuditStore,
    /// Who deploys in which slot now.
    pub(super) slots: Mutex<Vec<Arc<Deploys>>>,
    /// What callers were told.
    pub(super) told: Mutex<Vec<(usize, Outcome)>>,
}

impl Deploys {
    pub(super) fn start(stage: &Stage, host: u64, offset_ms: i64, traps: Vec<Trap>) -> Arc<Self> {
        let sim = &stage.sim;
        let timed: Vec<Trap> =
            traps.iter().filter(|trap| matches!(trap.point, Point::Time { .. })).cloned().collect();
        let process = Process::start(sim, host, offset_ms, traps);
        for trap in timed {
            let Point::Time { at } = trap.point else { continue };
            let (process, now) = (Arc::clone(&process), sim.now());
            tokio::spawn(async move {
                process.sim.clock.sleep(Duration::from_millis(at.saturating_sub(now))).await;
                if process.sim.chaos() && !process.is_dead() {
                    process.suffer(&trap);
                }
            });
        }
        let network =
            Network { permille: stage.scenario.store_permille, outages: stage.scenario.outages.clone() };
        let deployer = deployer(&process, &stage.store, network, sim.random.next());
        let clock = Arc::new(ProcessClock(Arc::clone(&process)));
        let inner = stage.world.place(clock);
        let place = Arc::new(SimPlace { inner, process: Arc::clone(&process) });
        Arc::new(Self { process, deployer, place })
    }

    /// The target, as a driver of its own would have it.
    pub(super) fn target(&self, bake_s: u64) -> Target {
        let deployer = self.deployer.clone().named_holder(self.process.holder());
        deployer.target_at(TARGET.0, TARGET.1, Arc::clone(&self.place)).bake(Duration::from_secs(bake_s))
    }
}

impl Stage {
    fn at(&self, slot: usize) -> Option<Arc<Deploys>> {
        lock(&self.slots).get(slot).cloned()
    }

    /// Keeps a handle, and writes down what its owner is told.
    fn keep(self: &Arc<Self>, deploys: &Deploys, rollout: &Rollout) {
        lock(&deploys.process.rollouts).push(rollout.clone());
        let (stage, process, rollout) = (Arc::clone(self), Arc::clone(&deploys.process), rollout.clone());
        tokio::spawn(async move {
            let ended = rollout.outcome().await;
            process.open().await;
            match ended {
                Ok(outcome) => {
                    stage.sim.log(format_args!("{process:?} is told {:?}: {outcome}", outcome.ended));
                    lock(&stage.told).push((process.index, outcome));
                }
                Err(error) => stage.sim.log(format_args!("{process:?} is told: {error}")),
            }
        });
    }

    /// Does what is to be done at its time; in a process that dies, it never ends.
    pub(super) async fn perform(self: Arc<Self>, deed: Deed) {
        self.sim.clock.sleep(Duration::from_millis(deed.at.saturating_sub(self.sim.now()))).await;
        if !self.sim.chaos() {
            return;
        }
        let Some(deploys) = self.at(deed.slot) else { return };
        let dead = deploys.process.is_dead();
        let word = deed.act.word();
        match &deed.act {
            Act::Foreign | Act::Outside => {
                let random = self.sim.random.next();
                let foreign = deed.act == Act::Foreign;
                let done =
                    if foreign { self.world.foreign_write(random) } else { self.world.outside(random) };
                if let Some(done) = done {
                    self.sim.log(format_args!("somebody else: {done}"));
                    self.sim.count(format!("act {word}"));
                }
            }
            Act::Restart if dead => {
                self.sim.count("act restart");
                let slot = &self.scenario.slots[deed.slot];
                let again = Deploys::start(&self, slot.host, slot.offset_ms, slot.again.clone());
                lock(&self.slots)[deed.slot] = Arc::clone(&again);
                self.go(&again, &Act::Resume).await;
            }
            Act::Restart => {}
            _ if dead => {}
            Act::Jump(millis) => deploys.process.jump(*millis),
            act => {
                deploys.process.open().await;
                self.sim.count(format!("act {word}"));
                self.sim.log(format_args!("{:?} does {act:?}", deploys.process));
                self.go(&deploys, act).await;
            }
        }
    }

    async fn go(self: &Arc<Self>, deploys: &Deploys, act: &Act) {
        deploys.process.acts.fetch_add(1, Ordering::Relaxed);
        self.act(deploys, act).await;
        deploys.process.acts.fetch_sub(1, Ordering::Relaxed);
    }

    async fn act(self: &Arc<Self>, deploys: &Deploys, act: &Act) {
        let target = deploys.target(self.scenario.bake_s);
        let number = self.sim.random.below(1000);
        let result = match act {
            Act::Deploy(behaviour) => {
                let release = self.world.release(behaviour, number);
                target.deploy(release).start().await.map(Some)
            }
            Act::Config => {
                let release = Release::of_what_runs().env("app", "LEVEL", format!("{}", number % 3));
                target.deploy(release).start().await.map(Some)
            }
            Act::Rollback => target.rollback().start().await.map(Some),
            Act::Adopt => target.adopt().start().await.map(Some),
            Act::Resume => target.resume().await,
            Act::Leave => {
                let rollouts = lock(&deploys.process.rollouts).clone();
                rollouts.iter().for_each(Rollout::leave);
                Ok(None)
            }
            Act::Command(word) => {
                let own = lock(&deploys.process.rollouts).last().cloned();
                let rollout = match own.filter(|_| number.is_multiple_of(2)) {
                    Some(own) => Ok(Some(own)),
                    None => target.active().await,
                };
                if let Ok(Some(rollout)) = rollout {
                    let said = command(&rollout, word).await;
                    self.sim.log(format_args!("{:?} commanded {word}: {said:?}", deploys.process));
                }
                Ok(None)
            }
            _ => Ok(None),
        };
        deploys.process.open().await;
        match result {
            Ok(Some(rollout)) => {
                self.keep(deploys, &rollout);
                if self.world.needs_promotion() && !number.is_multiple_of(5) {
                    self.promote(&deploys.process, rollout);
                }
            }
            Ok(None) => {}
            Err(error) => self.sim.log(format_args!("{:?} {}: {error}", deploys.process, act.word())),
        }
    }

    /// Somebody who passes the gate when it is reached.
    fn promote(self: &Arc<Self>, process: &Arc<Process>, rollout: Rollout) {
        let process = Arc::clone(process);
        tokio::spawn(async move {
            let clock = ProcessClock(process);
            for _ in 0..60 {
                clock.sleep(Duration::from_secs(7)).await;
                if rollout.promote().await.is_ok() {
                    break;
                }
            }
        });
    }

    /// After the faults: some process resumes until nothing is unfinished. False if it never ends.
    pub(super) async fn sweep(self: &Arc<Self>) -> bool {
        let began = self.sim.now();
        let sweeper = Deploys::start(self, self.scenario.sweeper_host, 0, Vec::new());
        let mut aborted = !self.scenario.sweeper_aborts;
        while self.sim.now() < began + BOUND_MS {
            let target = sweeper.target(self.scenario.bake_s);
            match target.resume().await {
                Ok(None) => return true,
                Err(error) => {
                    self.sim.log(format_args!("the sweeper cannot resume: {error}"));
                    self.sim.clock.sleep(Duration::from_secs(5)).await;
                }
                Ok(Some(rollout)) => {
                    self.keep(&sweeper, &rollout);
                    self.attend(&rollout, &mut aborted, began + BOUND_MS).await;
                }
            }
        }
        false
    }

    /// Waits for an end, and does what a person at the screen does: goes on, promotes, or aborts.
    async fn attend(&self, rollout: &Rollout, aborted: &mut bool, until: u64) {
        while self.sim.now() < until {
            let waited = tokio::select! {
                biased;
                ended = rollout.outcome() => Some(ended),
                () = self.sim.clock.sleep(Duration::from_secs(SWEEP_S)) => None,
            };
            match waited {
                Some(Ok(_)) => return,
                Some(Err(error)) => {
                    self.sim.log(format_args!("the sweeper is told: {error}"));
                    // What is lost at once must not be asked for in a circle in which no time passes.
                    self.sim.clock.sleep(Duration::from_millis(500)).await;
                    return;
                }
                None => {
                    let person = async {
                        if !std::mem::replace(aborted, true) {
                            let _ = rollout.abort("the sweeper does not wait").await;
                        }
                        let _ = rollout.go_on().await;
                        if self.world.needs_promotion() {
                            let _ = rollout.promote().await;
                        }
                    };
                    tokio::select! {
                        () = person => {}
                        () = self.sim.clock.sleep(Duration::from_secs(SWEEP_S)) => {}
                    }
                }
            }
        }
    }

    /// In the end a good release can be deployed: nothing stands in its way.
    pub(super) async fn last_deploy(self: &Arc<Self>) -> Result<Option<Outcome>, Error> {
        let last = Deploys::start(self, 99, 0, Vec::new());
        let target = last.target(10);
        let rollout = target.deploy(self.world.release("ok", 5_000)).start().await?;
        self.keep(&last, &rollout);
        let mut aborted = true;
        self.attend(&rollout, &mut aborted, self.sim.now() + BOUND_MS).await;
        tokio::select! {
            biased;
            ended = rollout.outcome() => ended.map(Some),
            () = self.sim.clock.sleep(Duration::from_secs(1)) => Ok(None),
        }
    }
}

async fn command(rollout: &Rollout, word: &str) -> Result<(), String> {
    let done = match word {
        "abort" => rollout.abort("changed my mind").await,
        "pause" => rollout.pause("wait").await,
        "go-on" => rollout.go_on().await,
        "promote" => rollout.promote().await,
        _ => rollout.abandon("leave it").await,
    };
    done.map_err(|error| error.message().to_owned())
}
