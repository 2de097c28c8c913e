//! Deterministic simulation: the real machine, keeper, driver and platform in virtual time, with faults.
//!
//! A run is a function of its seed. One to three deployers, each a process with a clock and a host, act on one place
//! while requests fail, answers are lost, processes are killed and paused. Then the faults stop, somebody resumes
//! what is unfinished, and the promises of the design are checked against what has really happened.
//!
//! | file | what |
//! |---|---|
//! | `scenario` | what is to happen: drawn from the seed |
//! | `process` | processes that can be killed and paused at any point |
//! | `store`, `place` | a process's way to the store and to the platform, with faults |
//! | `ledger` | what is durable, checked head by head |
//! | `actors` | what people and processes do |
//! | `check` | the promises |
//! | `report` | many runs, counts, the line at the end |
//! | `world`, `memory` | what a platform brings; the memory platform |

mod actors;
mod check;
mod ledger;
mod memory;
mod place;
mod process;
mod report;
mod scenario;
mod store;
mod trace;
mod world;

use std::{collections::BTreeMap, sync::Arc};

pub use memory::MemorySim;
pub use report::{Report, run_many};
pub use world::{SimCall, SimHook, SimPlatform, SimWorld, SimWrite, WorldSetting};

use self::{
    actors::{Deploys, Stage},
    check::Truth,
    ledger::{AuditStore, Stored},
    scenario::Scenario,
    trace::{Sim, lock},
};
use crate::{
    clock::{Clock, SeededRandom, TokioClock},
    model::{Ended, Plan, RolloutId, Timestamp},
    state::{Limits, journal::Fact, records::Records, stores::memory::MemoryStore},
};

/// When worlds begin, in milliseconds since 1970.
pub const EPOCH_MS: i64 = 1_800_000_000_000;

/// What one run came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Broken promises; empty if all were kept.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<String, u64>,
    /// A hash over the whole trace: the same seed gives the same.
    pub hash: u64,
    /// The newest lines of the trace, or all of them.
    pub trace: Vec<String>,
    /// What was drawn.
    pub scenario: String,
    /// How much virtual time passed, in milliseconds.
    pub virtual_ms: u64,
}

/// Runs one seed, on this thread, in virtual time. `all` keeps the whole trace.
///
/// # Panics
/// If tokio cannot make a runtime.
#[must_use]
pub fn run(platform: &dyn SimPlatform, seed: u64, all: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    let panics = report::panics();
    let mut run = runtime.block_on(simulate(platform, seed, all));
    drop(runtime);
    let panicked = report::panics() - panics;
    if panicked > 0 {
        run.violations.push(format!("{panicked} tasks panicked"));
    }
    run
}

async fn simulate(platform: &dyn SimPlatform, seed: u64, all: bool) -> Run {
    // Neighbouring seeds must not draw alike.
    let random = SeededRandom::new(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0x5bd1_e995);
    let scenario = Scenario::draw(&random, platform.shapes());
    let clock = TokioClock::starting_at(Timestamp::from_millis(EPOCH_MS));
    let sim = Sim::new(clock.clone(), random, all);
    let setting = WorldSetting { shape: scenario.shape, desired: scenario.desired, hook: scenario.hook };
    let world = platform.world(&setting, Arc::new(clock.clone()));
    sim.happens_in(&world);
    let memory = if scenario.hashing { MemoryStore::hashing() } else { MemoryStore::new() };
    let poll = std::time::Duration::from_millis(scenario.poll_ms);
    let memory = memory.with_limits(Limits::new(scenario.value_bytes, poll, true));
    let store = AuditStore::new(memory, Arc::clone(&sim));
    sim.count(format!("shape {}", scenario.shape));
    world.faults(Some(place::hook(&sim, &*world, scenario.platform_permille)));
    let initial: BTreeMap<String, String> = world
        .components()
        .into_iter()
        .map(|component| (component.clone(), world.declared(&component).unwrap_or_default()))
        .collect();
    let stage = Arc::new(Stage {
        sim: Arc::clone(&sim),
        scenario,
        world,
        store,
        slots: std::sync::Mutex::default(),
        told: std::sync::Mutex::default(),
    });
    for slot in stage.scenario.slots.clone() {
        let deploys = Deploys::start(&stage, slot.host, slot.offset_ms, slot.traps);
        lock(&stage.slots).push(deploys);
    }
    for deed in stage.scenario.deeds.clone() {
        tokio::spawn(Arc::clone(&stage).perform(deed));
    }
    clock.sleep(std::time::Duration::from_millis(stage.scenario.chaos_ms)).await;
    sim.log(format_args!("---- the faults stop"));
    sim.calm();
    lock(&sim.processes).iter().for_each(|process| process.disarm());
    finish(&stage, initial).await;
    stage.world.faults(None);
    let (trace, hash, counts, violations) = sim.take();
    let virtual_ms = sim.now();
    // Processes and what they share refer to each other.
    let processes = std::mem::take(&mut *lock(&sim.processes));
    processes.iter().for_each(|process| lock(&process.rollouts).clear());
    lock(&stage.slots).clear();
    let scenario = format!("{:#?}", stage.scenario);
    Run { seed, violations, counts, hash, trace, scenario, virtual_ms }
}

/// Puts everything in order, and checks it.
async fn finish(stage: &Arc<Stage>, initial: BTreeMap<String, String>) {
    let sim = &stage.sim;
    if stage.sweep().await && all_awake(stage).await && stage.sweep().await {
        claims_are_free(stage);
        let late = stage.world.under_way();
        sim.log(format_args!("---- all has ended, {late} calls under way"));
        match stage.last_deploy().await {
            Ok(Some(outcome)) if outcome.is_success() => {}
            // What went wrong before may have left something that nobody can go back to.
            Ok(Some(outcome)) if outcome.ended == Ended::Refused && is_about_way_back(&outcome) => {
                sim.count("last deploy refused");
            }
            Ok(Some(outcome)) => {
                sim.violated(format!("promise 7: the last deploy did not succeed: {outcome:?}"))
            }
            Ok(None) => sim.violated("promise 7: the last deploy does not end".to_owned()),
            Err(error) => sim.violated(format!("promise 7: the last deploy cannot begin: {error}")),
        }
        // Whatever is still on its way may land now.
        clock_of(stage).sleep(std::time::Duration::from_secs(700)).await;
    } else {
        sim.violated("promise 7: the deploy does not end after the faults have stopped".to_owned());
    }
    claims_are_free(stage);
    let journals = std::mem::take(&mut lock(&stage.store.ledger).journals);
    let plans = plans(stage, &journals).await;
    Truth { stage, writes: stage.world.writes(), journals, plans, initial }.check();
}

/// Whoever is paused, or has a slow answer to wait for, does what it was about to do once it goes on.
async fn all_awake(stage: &Stage) -> bool {
    for _ in 0..1_000 {
        if !lock(&stage.sim.processes).iter().any(|process| process.is_busy()) {
            clock_of(stage).sleep(std::time::Duration::from_secs(10)).await;
            return true;
        }
        clock_of(stage).sleep(std::time::Duration::from_secs(1)).await;
    }
    false
}

fn clock_of(stage: &Stage) -> &TokioClock {
    &stage.sim.clock
}

fn is_about_way_back(outcome: &crate::model::Outcome) -> bool {
    outcome.cause.as_ref().is_some_and(|cause| cause.text.starts_with("way_back"))
}

/// (7) Nothing stays claimed. A pointer may be left behind, if its home no longer has that deploy.
fn claims_are_free(stage: &Stage) {
    let ledger = lock(&stage.store.ledger);
    for head in ledger.heads() {
        let Some(claim) = &head.claim else { continue };
        let stale = head.home.as_ref().is_some_and(|home| {
            ledger.heads().any(|other| other.claim_name == *home && other.claim.as_ref() != Some(claim))
        });
        if !stale {
            stage.sim.violated(format!("promise 7: {} is still claimed by {claim}", head.claim_name));
        }
    }
}

async fn plans(stage: &Stage, journals: &BTreeMap<RolloutId, Vec<Stored>>) -> BTreeMap<RolloutId, Plan> {
    let records = Records::new(Arc::new(stage.store.clone()), None);
    let mut plans = BTreeMap::new();
    for (rollout, journal) in journals {
        if let Some(Fact::Started { plan_object, .. }) = journal.first().map(|stored| &stored.entry.fact)
            && let Ok(plan) = records.plan(plan_object).await
        {
            plans.insert(rollout.clone(), plan);
        }
    }
    plans
}
