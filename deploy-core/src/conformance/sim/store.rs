//! One process's way to the store: through its gate, its traps, and the faults of the network between.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    ledger::{AuditStore, word},
    process::{Process, ProcessClock},
    scenario::{Outage, Point},
    trace::Sim,
};
use crate::{
    clock::Clock,
    context::LocalSecrets,
    deployer::Deployer,
    error::Result,
    platform::Platform,
    state::{
        Expect, Key, Limits, StateStore, Version, Versioned, Wrote,
        head::Head,
        stores::faulty::{Call, Fate, Fault, FaultyStore, Op},
    },
};

pub(super) struct SimStore {
    faulty: FaultyStore,
    process: Arc<Process>,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore of {:?}", self.process)
    }
}

/// How often calls fail, and when nobody answers.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) permille: u64,
    pub(super) outages: Vec<Outage>,
}

/// A deployer of this process.
pub(super) fn deployer(process: &Arc<Process>, store: &AuditStore, network: Network, seed: u64) -> Deployer {
    let (sim, at) = (Arc::clone(&process.sim), Arc::clone(process));
    let script = move |call: &Call<'_>| fate(&sim, &at, &network, call);
    let inner: Arc<dyn StateStore> = Arc::new(store.clone());
    let clock: Arc<dyn Clock> = Arc::new(process.sim.clock.clone());
    let store = SimStore { faulty: FaultyStore::new(inner, clock, script), process: Arc::clone(process) };
    Deployer::new(store)
        .clock(ProcessClock(Arc::clone(process)))
        .random(crate::clock::SeededRandom::new(seed))
        .liveness(super::process::SimLiveness(Arc::clone(process)))
        .secrets(LocalSecrets)
        .actor(format!("{process:?}"))
}

fn fate(sim: &Sim, process: &Process, network: &Network, call: &Call<'_>) -> Fate {
    let random = &sim.random;
    let (before, after) = (1 + random.below(15), 1 + random.below(15));
    if !sim.chaos() {
        return Fault::None.with_delays(before, after);
    }
    let now = sim.now();
    let out = network.outages.iter().any(|outage| {
        (outage.from..outage.to).contains(&now) && outage.host.is_none_or(|host| host == process.host)
    });
    if out {
        sim.count("store outage");
        let fault = [Fault::Unavailable, Fault::LoseRequest, Fault::FailBefore][process.index % 3];
        return fault.with_delays(before, random.below(6_000));
    }
    if random.below(1000) >= network.permille {
        let slow = if network.permille > 0 && random.below(100) == 0 { random.below(7_000) } else { 0 };
        if slow > 0 {
            sim.count("store slow");
        }
        let (early, late) = if random.chance(50) { (slow, 0) } else { (0, slow) };
        return Fault::None.with_delays(before + early, after + late);
    }
    let late = [200, 3_000, 20_000, 80_000][usize::try_from(random.below(4)).unwrap_or(0)];
    let fault = match random.below(9) {
        0 => Fault::FailBefore,
        1 => Fault::Contended,
        2 => Fault::Throttled(500),
        3 => Fault::Unavailable,
        4 => Fault::LoseRequest,
        5 | 6 => Fault::LoseAnswer,
        7 => Fault::LandLate(random.below(late)),
        _ => Fault::Duplicate(random.below(late)),
    };
    sim.count(format!("store {}", fault.name()));
    sim.log(format_args!("{process:?} {:?} {} meets {}", call.op, call.key, fault.name()));
    fault.with_delays(before, after)
}

impl SimStore {
    /// One call, in a task of its own: it goes on when its process is stopped.
    async fn call<T: Send + 'static>(
        &self,
        word: Option<&'static str>,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let process = &self.process;
        process.open().await;
        let number = process.next_store_call();
        let nth_is = |side: bool| {
            move |point: &Point| match point {
                Point::Store { nth, after } => *nth == number && *after == side,
                Point::Journal { word: at, after } => Some(*at) == word && *after == side,
                _ => false,
            }
        };
        process.spring(nth_is(false)).await;
        process.open().await;
        let task = tokio::spawn(call);
        let answer = process.gate(task).await;
        process.spring(nth_is(true)).await;
        answer.unwrap_or_else(|error| {
            Err(crate::Error::new(crate::ErrorKind::Store, format!("a store call failed: {error}")))
        })
    }

    /// What the write brings to a head, where a trap may ask for it.
    fn word(&self, key: &Key, body: &[u8]) -> Option<&'static str> {
        if !self.process.has_traps() || !key.as_str().ends_with("/head") {
            return None;
        }
        let head = Head::parse(body).ok()?;
        head.tail.last().map(|entry| word(&entry.fact))
    }
}

#[async_trait]
impl StateStore for SimStore {
    fn limits(&self) -> Limits {
        self.faulty.limits()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        let (store, key) = (self.faulty.clone(), key.clone());
        self.call(None, async move { store.read(&key).await }).await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        let word = self.word(key, &body);
        let (store, key, process) = (self.faulty.clone(), key.clone(), Arc::clone(&self.process));
        let size = body.len();
        let call = async move {
            let wrote = store.write(&key, expect, body).await;
            let short = key.as_str().rsplit('/').next().unwrap_or_default();
            let answer = match &wrote {
                Ok(Wrote::Stored(version)) => format!("stored as {:.8}", version.0),
                Ok(Wrote::Conflict) => "conflict".to_owned(),
                Err(error) => error.message().to_owned(),
            };
            process.sim.log(format_args!("{process:?} {} {short} {size}: {answer}", Op::Write as u8));
            wrote
        };
        self.call(word, call).await
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        let (store, key) = (self.faulty.clone(), key.clone());
        self.call(None, async move { store.remove(&key, expect).await }).await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let (store, prefix, after) = (self.faulty.clone(), prefix.clone(), after.cloned());
        self.call(None, async move { store.list(&prefix, after.as_ref(), limit).await }).await
    }
}

/// One process's view of the place: through its gate and its traps.
#[derive(Debug)]
pub(super) struct SimPlace {
    pub(super) inner: Arc<dyn Platform>,
    pub(super) process: Arc<Process>,
}

impl SimPlace {
    pub(super) async fn during<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let at = |side: bool| {
            move |point: &Point| match point {
                Point::During { what: at, after } => *at == what && *after == side,
                _ => false,
            }
        };
        self.process.open().await;
        self.process.spring(at(false)).await;
        let result = self.process.gate(call).await;
        self.process.spring(at(true)).await;
        result
    }
}
