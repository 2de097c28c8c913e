//! A deployer of the suite: with a store that obeys a script, a name of its own, and a way to be killed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{
    Deployer, Rollout, Target,
    clock::{Clock, SeededRandom},
    model::Timestamp,
    platform::Platform,
    state::{
        StateStore,
        head::{Head, Holder},
        journal::{Entry, Fact},
        process::{Alive, Liveness},
        stores::faulty::{Call, Fate, Fault, FaultyStore, Op},
    },
};

/// Longer than any trial: what waits so long never happens.
const FOR_EVER_MS: u64 = 10 * 365 * 86_400_000;

/// A clock that is shared already.
#[derive(Debug, Clone)]
pub(super) struct SharedClock(pub(super) Arc<dyn Clock>);

#[async_trait]
impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// Who is known to be dead. Nobody is known to be alive: their beat has to be watched.
#[derive(Debug, Clone, Default)]
pub(super) struct Graveyard(Arc<Mutex<BTreeSet<String>>>);

impl Liveness for Graveyard {
    fn of(&self, holder: &Holder) -> Alive {
        if lock(&self.0).contains(&holder.id) { Alive::Dead } else { Alive::CannotTell }
    }
}

/// When a deployer dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// As this write of the head leaves: it is never stored.
    Before,
    /// As it is stored: its answer is never seen.
    After,
}

/// What a write of the head brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadWrite {
    /// The beginning or the end of an effect.
    pub(super) effects: usize,
    /// Any entry.
    pub(super) entries: usize,
    /// The lease was taken, or given back.
    pub(super) lease: bool,
}

#[derive(Debug, Default)]
struct Script {
    writes: Vec<HeadWrite>,
    last_seq: u64,
    fence: u64,
    die: Option<(usize, When)>,
    dead: bool,
    /// The store goes down with the head write whose text has this in it.
    down_at: Option<&'static str>,
    down: bool,
    lose: Option<usize>,
    slow_ms: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    fn decide(&mut self, call: &Call<'_>, died: &Notify) -> Fate {
        if self.dead {
            return Fault::FailBefore.with_delays(FOR_EVER_MS, 0);
        }
        let head = call.op == Op::Write && call.key.as_str().ends_with("/head");
        if !head {
            return if self.down { Fault::FailBefore } else { Fault::None }.with_delays(0, 0);
        }
        let body = call.body.unwrap_or_default();
        if self.down_at.is_some_and(|text| contains(body, text.as_bytes())) {
            (self.down_at, self.down) = (None, true);
        }
        if self.down {
            return Fault::FailBefore.with_delays(0, 0);
        }
        self.keep(body);
        let number = self.writes.len();
        if let Some((_, when)) = self.die.filter(|(at, _)| *at == number) {
            self.dead = true;
            died.notify_one();
            return match when {
                When::Before => Fault::FailBefore.with_delays(FOR_EVER_MS, 0),
                When::After => Fault::None.with_delays(0, FOR_EVER_MS),
            };
        }
        let fault = if self.lose == Some(number) { Fault::LoseAnswer } else { Fault::None };
        fault.with_delays(self.slow_ms, 0)
    }

    fn keep(&mut self, body: &[u8]) {
        let Ok(head) = Head::parse(body) else { return };
        // Entries are numbered by deploy; the head counts them all. What older deploys wrote is none of ours.
        let fresh = usize::try_from(head.seq.saturating_sub(self.last_seq)).unwrap_or(0);
        let ours = head.tail.last().map(|entry| entry.rollout.clone());
        let new = || head.tail.iter().rev().take(fresh).filter(|entry| Some(&entry.rollout) == ours.as_ref());
        let effects = new().filter(|entry| is_effect(entry)).count();
        let entries = new().count();
        let lease = head.holder.is_none() || head.fence.0 != self.fence;
        (self.last_seq, self.fence) = (head.seq, head.fence.0);
        self.writes.push(HeadWrite { effects, entries, lease });
    }
}

/// Whether an entry is an intent or the end of one.
pub(super) fn is_effect(entry: &Entry) -> bool {
    matches!(&entry.fact, Fact::Step { intent, of, .. } if intent.is_some() || of.is_some())
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len().max(1)).any(|window| window == text)
}

/// A deployer.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) deployer: Deployer,
    pub(super) died: Arc<Notify>,
    script: Arc<Mutex<Script>>,
    graveyard: Graveyard,
}

impl Party {
    pub(super) fn new(
        name: &str,
        seed: u64,
        store: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        graveyard: Graveyard,
        place: Arc<dyn Platform>,
        bake: Duration,
    ) -> Self {
        let (script, died) = (Arc::new(Mutex::new(Script::default())), Arc::new(Notify::new()));
        let (deciding, telling) = (Arc::clone(&script), Arc::clone(&died));
        let store =
            FaultyStore::new(store, Arc::clone(&clock), move |call| lock(&deciding).decide(call, &telling));
        let deployer = Deployer::new(store)
            .clock(SharedClock(clock))
            .random(SeededRandom::new(seed))
            .liveness(graveyard.clone())
            .actor(name)
            .named_holder(name);
        let target = deployer.target_at("shop", "production", place).bake(bake);
        Self { name: name.to_owned(), target, deployer, died, script, graveyard }
    }

    /// Dies at its `nth` write of a head from now.
    pub(super) fn dies_at(&self, nth: usize, when: When) {
        let mut script = lock(&self.script);
        script.die = Some((script.writes.len() + nth, when));
    }

    /// Is no more: nothing of it calls anything, from this moment on. `known`: anyone can see that it is dead.
    pub(super) fn is_killed(&self, rollout: Option<&Rollout>, known: bool) {
        lock(&self.script).dead = true;
        if let Some(rollout) = rollout {
            rollout.kill();
        }
        if known {
            lock(&self.graveyard.0).insert(self.name.clone());
        }
    }

    /// Every write of a head takes so long from now on.
    pub(super) fn slow(&self, millis: u64) {
        lock(&self.script).slow_ms = millis;
    }

    /// The answer of the `nth` write of a head from now is lost.
    pub(super) fn loses(&self, nth: usize) {
        let mut script = lock(&self.script);
        script.lose = Some(script.writes.len() + nth);
    }

    /// Its store goes down with the write of the head that has this text.
    pub(super) fn down_at(&self, text: &'static str) {
        lock(&self.script).down_at = Some(text);
    }

    pub(super) fn is_down(&self) -> bool {
        lock(&self.script).down
    }

    /// Its store is back.
    pub(super) fn up(&self) {
        let mut script = lock(&self.script);
        (script.down, script.down_at) = (false, None);
    }

    /// What each of its writes of a head brought.
    pub(super) fn head_writes(&self) -> Vec<HeadWrite> {
        lock(&self.script).writes.clone()
    }
}
