//! Many runs: over threads, with counts, and the line at the end.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt, panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Run, run, world::SimPlatform};

/// How many failed runs are kept with their trace.
const KEPT: usize = 5;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// How many panics this thread has seen: tokio keeps those of tasks to itself.
pub(super) fn panics() -> u64 {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.get()
}

/// What must happen at least once in a run of many seeds, whatever the platform.
const REQUIRED: &[&str] = &[
    "store fail-before",
    "store contended",
    "store throttled",
    "store unavailable",
    "store lose-request",
    "store lose-answer",
    "store land-late",
    "store duplicate",
    "store outage",
    "store slow",
    "platform throttled",
    "platform server-error",
    "platform slow",
    "platform stale-read",
    "platform reset-before",
    "platform reset-after",
    "platform refused",
    "platform late",
    "crash store-before",
    "crash store-after",
    "crash platform-before",
    "crash platform-after",
    "crash journal-started-before",
    "crash journal-started-after",
    "crash journal-asked-before",
    "crash journal-asked-after",
    "crash journal-answered-before",
    "crash journal-answered-after",
    "crash journal-ended-before",
    "crash journal-ended-after",
    "crash seal-before",
    "crash seal-after",
    "crash settle-before",
    "crash settle-after",
    "crash undo-before",
    "crash undo-after",
    "crash observe-back-before",
    "crash time",
    "pause store-before",
    "pause store-after",
    "pause platform-before",
    "pause platform-after",
    "pause journal-asked-after",
    "pause time",
    "jump ahead",
    "jump back",
    "act deploy",
    "act config",
    "act rollback",
    "act adopt",
    "act resume",
    "act restart",
    "act leave",
    "act foreign",
    "act abort",
    "act pause",
    "act go-on",
    "act promote",
    "act abandon",
    "driver Began",
    "driver Resumed",
    "driver TookOver",
    "driver FoundDead",
    "driver HandsOver",
    "command abort by inbox",
    "command abort by handle",
    "outcome succeeded",
    "outcome rolled_back",
    "outcome rollback_failed",
    "outcome failed",
    "outcome superseded",
    "outcome aborted",
    "outcome refused",
];

/// What many runs came to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Runs that kept every promise.
    pub passed: u64,
    /// Runs that did not.
    pub failed: u64,
    /// The seeds of those.
    pub seeds: Vec<u64>,
    /// The first of them, with their traces.
    pub runs: Vec<Run>,
    /// How often what happened, in all runs.
    pub counts: BTreeMap<String, u64>,
    /// How much virtual time passed, in milliseconds.
    pub virtual_ms: u64,
    platform: String,
}

impl Report {
    fn add(&mut self, run: Run) {
        for (what, count) in &run.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
        self.virtual_ms += run.virtual_ms;
        if run.violations.is_empty() {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        self.seeds.push(run.seed);
        self.runs.push(run);
        self.runs.sort_by_key(|run| run.seed);
        self.runs.truncate(KEPT);
    }

    /// Both reports as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.virtual_ms += other.virtual_ms;
        self.passed += other.passed;
        self.failed += other.failed;
        self.seeds.extend(other.seeds);
        self.runs.extend(other.runs);
        self.runs.truncate(KEPT);
        self
    }

    /// What should have happened and did not: nothing is proved of it.
    #[must_use]
    pub fn missing(&self, platform: &dyn SimPlatform) -> Vec<String> {
        let shapes = platform.shapes().iter().map(|shape| format!("shape {shape}"));
        let all = shapes.chain(REQUIRED.iter().map(|what| (*what).to_owned()));
        all.filter(|what| !self.counts.contains_key(what)).collect()
    }
}

/// Seed, scenario, the trace's end and how to see it again, for each failure that was kept; then the counts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            writeln!(f, "==== seed {} failed ====\n{}", run.seed, run.scenario)?;
            for line in &run.trace {
                writeln!(f, "{line}")?;
            }
            for text in &run.violations {
                writeln!(f, "seed {}: {text}", run.seed)?;
            }
            let (platform, seed) = (&self.platform, run.seed);
            writeln!(f, "again: cargo run -p e2e --bin sim -- {platform} {seed}")?;
        }
        for (what, count) in &self.counts {
            writeln!(f, "{count:>9}  {what}")?;
        }
        if !self.seeds.is_empty() {
            writeln!(f, "failed seeds: {:?}", self.seeds)?;
        }
        write!(f, "{} s of virtual time", self.virtual_ms / 1000)
    }
}

/// Runs `count` seeds from `from` on, on so many threads, each run in a runtime of its own.
#[must_use]
pub fn run_many(platform: &dyn SimPlatform, from: u64, count: u64, threads: usize) -> Report {
    let next = AtomicU64::new(0);
    let report = Mutex::new(Report { platform: platform.name().to_owned(), ..Report::default() });
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let run = run(platform, from + number, false);
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(run);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.seeds.sort_unstable();
    report
}
