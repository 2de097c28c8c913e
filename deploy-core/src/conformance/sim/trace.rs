//! What all parts of one simulation share: time, randomness, trace, counts, violations.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{process::Process, world::SimWorld};
use crate::{
    clock::{Clock, SeededRandom, TokioClock},
    model::millis,
};

/// How many lines of the trace are kept for the report of a failure.
const TAIL: usize = 120;

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of a task is counted elsewhere; what it left behind is only looked at.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of a run: the newest ones, and a hash over all of them.
#[derive(Debug)]
struct Trace {
    lines: VecDeque<String>,
    all: bool,
    hash: u64,
}

pub(super) struct Sim {
    pub(super) clock: TokioClock,
    pub(super) random: SeededRandom,
    pub(super) processes: Mutex<Vec<Arc<Process>>>,
    trace: Mutex<Trace>,
    counts: Mutex<BTreeMap<String, u64>>,
    violations: Mutex<Vec<String>>,
    chaos: AtomicBool,
    world: OnceLock<Arc<dyn SimWorld>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim at {} ms", self.now())
    }
}

/// For how long a kernel flushes what a dead process has left (the bound that the platforms state).
const FLUSH_MS: u64 = 20_000;

impl Sim {
    pub(super) fn happens_in(&self, world: &Arc<dyn SimWorld>) {
        let _ = self.world.set(Arc::clone(world));
    }

    /// Somebody has seen that a process of its own host is dead.
    pub(super) fn hasten(&self) {
        if let Some(world) = self.world.get() {
            world.hasten(FLUSH_MS);
        }
    }

    pub(super) fn new(clock: TokioClock, random: SeededRandom, all: bool) -> Arc<Self> {
        let trace = Trace { lines: VecDeque::new(), all, hash: 0xcbf2_9ce4_8422_2325 };
        Arc::new(Self {
            clock,
            random,
            processes: Mutex::default(),
            trace: Mutex::new(trace),
            counts: Mutex::default(),
            violations: Mutex::default(),
            world: OnceLock::new(),
            chaos: AtomicBool::new(true),
        })
    }

    /// True time: milliseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    pub(super) fn log(&self, line: fmt::Arguments<'_>) {
        let line = format!("{:>9} {line}", self.now());
        let mut trace = lock(&self.trace);
        if trace.all && std::env::var_os("SIM_LIVE").is_some() {
            eprintln!("{line}");
        }
        for byte in line.bytes().chain([b'\n']) {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if !trace.all && trace.lines.len() == TAIL {
            trace.lines.pop_front();
        }
        trace.lines.push_back(line);
    }

    pub(super) fn count(&self, what: impl Into<String>) {
        *lock(&self.counts).entry(what.into()).or_default() += 1;
    }

    /// A promise is broken.
    pub(super) fn violated(&self, text: String) {
        self.log(format_args!("VIOLATED {text}"));
        lock(&self.violations).push(text);
    }

    pub(super) fn chaos(&self) -> bool {
        self.chaos.load(Ordering::Relaxed)
    }

    pub(super) fn calm(&self) {
        self.chaos.store(false, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> (Vec<String>, u64, BTreeMap<String, u64>, Vec<String>) {
        let trace = lock(&self.trace);
        let lines = trace.lines.iter().cloned().collect();
        (lines, trace.hash, lock(&self.counts).clone(), lock(&self.violations).clone())
    }
}
