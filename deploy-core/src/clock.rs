//! Time and randomness: injected everywhere, read only here.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;

use crate::model::Timestamp;

/// The clock that everything reads.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock: for signing, for records, for people. May jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start, counting suspension (`CLOCK_BOOTTIME`); never jumps.
    fn elapsed(&self) -> Duration;

    /// Waits this long on the clock of [`elapsed`](Self::elapsed).
    async fn sleep(&self, duration: Duration);
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The one that a process shares: what is kept for a clock (a rate budget) is then kept once.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        static SHARED: OnceLock<Arc<dyn Clock>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self)))
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }

    fn elapsed(&self) -> Duration {
        boot_time()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    // It fails for clocks that do not exist; Linux has had this one since 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "where there is no CLOCK_BOOTTIME, suspension is not counted")]
fn boot_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// A clock on tokio's time, which is virtual when the runtime is paused: for tests and simulation. It can be
/// given a wrong offset and jump, as real clocks do.
#[derive(Debug, Clone)]
pub struct TokioClock {
    start: tokio::time::Instant,
    epoch: Timestamp,
    offset_ms: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

impl TokioClock {
    /// Starts now, at this wall time.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { start: tokio::time::Instant::now(), epoch, offset_ms: std::sync::Arc::default() }
    }

    /// Another machine's clock: the same time, with an offset of its own.
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self { offset_ms: std::sync::Arc::default(), ..self.clone() }
    }

    /// Makes the wall clock jump by this many milliseconds. `elapsed` does not notice.
    pub fn jump(&self, millis: i64) {
        self.offset_ms.fetch_add(millis, std::sync::atomic::Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset_ms.load(std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_millis(self.epoch.plus(self.elapsed()).as_millis().saturating_add(offset))
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep_until(tokio::time::Instant::now() + duration).await;
    }
}

/// Where ids, write ids and keys come from.
pub trait Random: fmt::Debug + Send + Sync + 'static {
    /// 64 random bits.
    fn next(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| {
            // No entropy source at all: fall back to what still differs between processes and moments.
            u64::from(std::process::id()) << 32 ^ millis_of_boot()
        })
    }
}

fn millis_of_boot() -> u64 {
    crate::model::millis(boot_time())
}

/// Randomness from a seed (SplitMix64): for tests and simulation.
#[derive(Debug)]
pub struct SeededRandom(std::sync::atomic::AtomicU64);

impl SeededRandom {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(seed))
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True in `percent` of a hundred calls.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Random for SeededRandom {
    fn next(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let seed = self.0.fetch_add(step, std::sync::atomic::Ordering::Relaxed).wrapping_add(step);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
