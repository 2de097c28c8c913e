//! A store that fails as it is told to: for trials and simulation.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    error::{EffectState, Error, ErrorKind, Result, Retry},
    state::store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote},
};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// [`StateStore::read`].
    Read,
    /// [`StateStore::write`].
    Write,
    /// [`StateStore::remove`].
    Remove,
    /// [`StateStore::list`]; its key is the prefix.
    List,
}

impl Op {
    /// Whether the call changes records.
    #[must_use]
    pub fn mutates(self) -> bool {
        matches!(self, Self::Write | Self::Remove)
    }
}

/// One call, as the script sees it before anything is done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Its number among all calls, from 1.
    pub number: u64,
    /// Its number among the calls of this operation on this key, from 1.
    pub nth: u64,
    /// What is called.
    pub op: Op,
    /// On which key, or under which prefix.
    pub key: &'a Key,
    /// What is to be written.
    pub body: Option<&'a [u8]>,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// Nothing is done, and the error says so: kind `Store`, `NotApplied`.
    FailBefore,
    /// As a 409 of an object store that meets a write in flight: kind `Conflict`, `NotApplied`.
    Contended,
    /// As a 429: kind `Throttled`, `NotApplied`, to be tried again after this many milliseconds.
    Throttled(u64),
    /// As a 5xx: kind `Unavailable`, `Unknown`, but nothing is done.
    Unavailable,
    /// Nothing is done and nobody can know: kind `Store`, `Unknown`.
    LoseRequest,
    /// It is done, but the answer is lost: kind `Store`, `Unknown`.
    LoseAnswer,
    /// No answer: kind `TimedOut`, `Unknown`. It is done this many milliseconds later. (A read: never.)
    LandLate(u64),
    /// It is done and answered, and done once more this many milliseconds later, as it was sent. (A read: once.)
    Duplicate(u64),
}

impl Fault {
    /// The fault's name, without its numbers: for counting.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FailBefore => "fail-before",
            Self::Contended => "contended",
            Self::Throttled(_) => "throttled",
            Self::Unavailable => "unavailable",
            Self::LoseRequest => "lose-request",
            Self::LoseAnswer => "lose-answer",
            Self::LandLate(_) => "land-late",
            Self::Duplicate(_) => "duplicate",
        }
    }

    /// The fault, and how long the call takes.
    #[must_use]
    pub fn with_delays(self, before_ms: u64, after_ms: u64) -> Fate {
        Fate { fault: self, before_ms, after_ms }
    }
}

/// What becomes of one call. A caller that goes away while it waits before has not sent it; after, it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fate {
    /// What goes wrong.
    pub fault: Fault,
    /// How long the call waits before it reaches the store, in milliseconds.
    pub before_ms: u64,
    /// How long the answer takes, in milliseconds.
    pub after_ms: u64,
}

impl From<Fault> for Fate {
    fn from(fault: Fault) -> Self {
        fault.with_delays(0, 0)
    }
}

/// What was called on one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Reads asked for.
    pub reads: u64,
    /// Writes asked for.
    pub writes: u64,
    /// Removes asked for.
    pub removes: u64,
    /// Lists asked for, with this prefix.
    pub lists: u64,
    /// Writes and removes that the store took, duplicates and late ones included.
    pub stored: u64,
    /// Writes and removes that the store answered with a conflict, duplicates and late ones included.
    pub conflicts: u64,
}

type Script = dyn FnMut(&Call<'_>) -> Fate + Send;

/// A store over another one that fails as its script says. The script alone decides, call by call, so the same
/// calls meet the same faults. Clones share script, counts and records.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Box<Script>>,
    counted: Mutex<Counted>,
    in_flight: watch::Sender<u64>,
}

#[derive(Default)]
struct Counted {
    calls: u64,
    by_key: BTreeMap<Key, Counts>,
    faults: BTreeMap<&'static str, u64>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A script that panicked has failed its test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Puts a script in front of a store. Delays are waited for on this clock.
    pub fn new(
        inner: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        script: impl FnMut(&Call<'_>) -> Fate + Send + 'static,
    ) -> Self {
        let shared = Shared {
            script: Mutex::new(Box::new(script)),
            counted: Mutex::default(),
            in_flight: watch::Sender::new(0),
        };
        Self { inner, clock, shared: Arc::new(shared) }
    }

    /// From now on another script decides.
    pub fn set_script(&self, script: impl FnMut(&Call<'_>) -> Fate + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// What was called, by key.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Key, Counts> {
        lock(&self.shared.counted).by_key.clone()
    }

    /// What was called on one key.
    #[must_use]
    pub fn counts_of(&self, key: &Key) -> Counts {
        lock(&self.shared.counted).by_key.get(key).copied().unwrap_or_default()
    }

    /// How many calls met which fault, by [`Fault::name`].
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.counted).faults.clone()
    }

    /// How many duplicates and late calls are still on their way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        *self.shared.in_flight.borrow()
    }

    /// Waits until no duplicate and no late call is on its way.
    pub async fn settled(&self) {
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = self.shared.in_flight.subscribe().wait_for(|count| *count == 0).await;
    }

    fn decide(&self, op: Op, key: &Key, body: Option<&[u8]>) -> Fate {
        let (number, nth) = {
            let mut counted = lock(&self.shared.counted);
            counted.calls += 1;
            let number = counted.calls;
            let of_key = counted.by_key.entry(key.clone()).or_default();
            let nth = match op {
                Op::Read => &mut of_key.reads,
                Op::Write => &mut of_key.writes,
                Op::Remove => &mut of_key.removes,
                Op::List => &mut of_key.lists,
            };
            *nth += 1;
            (number, *nth)
        };
        let fate = lock(&self.shared.script)(&Call { number, nth, op, key, body });
        *lock(&self.shared.counted).faults.entry(fate.fault.name()).or_default() += 1;
        fate
    }

    async fn wait(&self, millis: u64) {
        if millis > 0 {
            self.clock.sleep(Duration::from_millis(millis)).await;
        }
    }

    async fn change(&self, key: &Key, change: Change) -> Result<Wrote> {
        let (op, body) = match &change {
            Change::Write(_, body) => (Op::Write, Some(body.as_slice())),
            Change::Remove(_) => (Op::Remove, None),
        };
        let fate = self.decide(op, key, body);
        self.wait(fate.before_ms).await;
        let result = match fate.fault {
            Fault::None => self.apply(key, change).await,
            Fault::LoseAnswer => {
                // What the store itself refuses, it refuses with an answer that is lost as well.
                let _ = self.apply(key, change).await;
                Err(lost())
            }
            Fault::LandLate(after_ms) => {
                self.apply_later(key, change, after_ms);
                Err(Error::new(ErrorKind::TimedOut, "no answer from the store"))
            }
            Fault::Duplicate(after_ms) => {
                let result = self.apply(key, change.clone()).await;
                self.apply_later(key, change, after_ms);
                result
            }
            refused => Err(refusal(refused)),
        };
        self.wait(fate.after_ms).await;
        result
    }

    async fn look<T>(&self, op: Op, key: &Key, look: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fate = self.decide(op, key, None);
        self.wait(fate.before_ms).await;
        let result = match fate.fault {
            Fault::None | Fault::Duplicate(_) => look.await,
            // Looking changes nothing, whatever became of the answer.
            fault => Err(refusal(fault).effect_as(EffectState::NotApplied).retry_as(Retry::Always)),
        };
        self.wait(fate.after_ms).await;
        result
    }

    async fn apply(&self, key: &Key, change: Change) -> Result<Wrote> {
        let result = match change {
            Change::Write(expect, body) => self.inner.write(key, expect, body).await,
            Change::Remove(expect) => self.inner.remove(key, expect).await,
        };
        let mut counted = lock(&self.shared.counted);
        let of_key = counted.by_key.entry(key.clone()).or_default();
        match result {
            Ok(Wrote::Stored(_)) => of_key.stored += 1,
            Ok(Wrote::Conflict) => of_key.conflicts += 1,
            Err(_) => {}
        }
        drop(counted);
        result
    }

    fn apply_later(&self, key: &Key, change: Change, after_ms: u64) {
        // Due from now, not from when the task first runs.
        let due = self.clock.elapsed().saturating_add(Duration::from_millis(after_ms));
        let landing = Landing::new(&self.shared);
        let (this, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            let _landing = landing;
            this.clock.sleep(due.saturating_sub(this.clock.elapsed())).await;
            // Nobody waits for this answer.
            let _ = this.apply(&key, change).await;
        });
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(Expect, Vec<u8>),
    Remove(Version),
}

/// Counts a call that is on its way, until it is dropped: a runtime that ends takes the call with it.
struct Landing(Arc<Shared>);

impl Landing {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.in_flight.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|count| *count = count.saturating_sub(1));
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Store, "the store's answer was lost")
        .effect_as(EffectState::Unknown)
        .retry_as(Retry::IfIdempotent)
}

fn refusal(fault: Fault) -> Error {
    match fault {
        Fault::Contended => Error::new(ErrorKind::Conflict, "409: another write of this record is in flight"),
        Fault::Throttled(after_ms) => Error::new(ErrorKind::Throttled, "429: slow down")
            .retry_as(Retry::After(Duration::from_millis(after_ms))),
        Fault::Unavailable => Error::new(ErrorKind::Unavailable, "503: the store cannot answer"),
        Fault::LoseRequest | Fault::LoseAnswer => lost(),
        Fault::LandLate(_) => Error::new(ErrorKind::TimedOut, "no answer from the store"),
        Fault::None | Fault::FailBefore | Fault::Duplicate(_) => {
            Error::new(ErrorKind::Store, "the store could not be reached")
        }
    }
}

#[async_trait]
impl StateStore for FaultyStore {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        self.look(Op::Read, key, self.inner.read(key)).await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        self.change(key, Change::Write(expect, body)).await
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        self.change(key, Change::Remove(expect)).await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.look(Op::List, prefix, self.inner.list(prefix, after, limit)).await
    }
}
