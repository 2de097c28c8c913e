//! Rows, clocks and percentiles.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Prints the names of the columns.
pub fn heading() {
    println!("{:<62} | {:>12} | {:>12} | ratio", "measure", "ours", "peer");
}

/// Prints a row: what was measured, ours, the peer's, and the ratio of the two.
pub fn row(measure: &str, ours: &str, peer: &str, ratio: Option<f64>) {
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("{measure:<62} | {ours:>12} | {peer:>12} | {ratio:>5}");
}

/// Prints a row of two durations.
pub fn times(measure: &str, ours: Duration, peer: Duration) {
    let ratio = ours.as_secs_f64() / peer.as_secs_f64();
    row(measure, &micros(ours), &micros(peer), Some(ratio));
}

/// A duration in microseconds.
#[must_use]
pub fn micros(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

/// The CPU time of this thread.
#[must_use]
pub fn cpu() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Time that passes, on a clock that does not jump.
#[must_use]
pub fn wall() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// The value below which so many of a hundred lie.
#[must_use]
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
