//! The numbers and the rules that the machine and the keeper go by.

use crate::error::{Error, ErrorKind, Result};

/// The times of the protocol, in milliseconds. All are configuration; [`check`](Timing::check) holds them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Timing {
    /// H: the holder writes at least this often.
    pub heartbeat_ms: u64,
    /// The deadline of one store call.
    pub store_call_ms: u64,
    /// T: how long a renewal lasts for its holder, from its sending.
    pub window_ms: u64,
    /// D: the deadline of one platform request.
    pub request_ms: u64,
    /// G: a pause that the holder may not notice between its clock check and the request.
    pub pause_ms: u64,
    /// r: how wrong the rate of a clock may be, in parts per thousand.
    pub rate_permille: u64,
    /// W: how long an observer watches a silent beat before it takes over.
    pub patience_ms: u64,
    /// How long decisions and evidence may stay unwritten.
    pub flush_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 10_000,
            store_call_ms: 5_000,
            window_ms: 30_000,
            request_ms: 10_000,
            pause_ms: 0,
            rate_permille: 10,
            patience_ms: 45_000,
            flush_ms: 200,
        }
    }
}

impl Timing {
    /// W must be at least (1 + r) * (T / (1 - r) + G + D), and a heartbeat must fit into the window.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the value and what it needs.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.rate_permille >= 1000 {
            return invalid(format!("a clock rate error of {} permille is no clock", self.rate_permille));
        }
        let window = self.window_ms.saturating_mul(1000) / (1000 - self.rate_permille);
        let need =
            (window + self.pause_ms + self.request_ms).saturating_mul(1000 + self.rate_permille) / 1000;
        if self.patience_ms < need {
            return invalid(format!("a patience of {} ms needs at least {need} ms", self.patience_ms));
        }
        if self.heartbeat_ms + self.store_call_ms >= self.window_ms {
            return invalid(format!("a window of {} ms is too short for its heartbeat", self.window_ms));
        }
        Ok(())
    }

    /// Q for calls that may arrive this late: (1 + r) * bound.
    #[must_use]
    pub fn quiet_ms(&self, bound_ms: u64) -> u64 {
        bound_ms.saturating_mul(1000 + self.rate_permille).div_ceil(1000)
    }
}

/// The rules of the protocol (docs/protocol.md). All of them hold, always: switching one off is for the tests that show what
/// then happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Takeovers make barrier writes.
    pub(crate) barrier: bool,
    /// Platform versions are read before the head is taken.
    pub(crate) versions_first: bool,
    /// Inherited calls stay open for the quiet time.
    pub(crate) quiet_time: bool,
    /// A lost answer of the store is read back by `write_id`.
    pub(crate) read_back: bool,
    /// The permit is checked by the clock right before sending.
    pub(crate) permit_clock: bool,
    /// Nothing finishes while an intent is open.
    pub(crate) open_empty: bool,
    /// The standing undo may be run while the store is gone.
    pub(crate) standing_undo: bool,
    /// What cannot be observed nor repeated is never repeated.
    pub(crate) at_most_once: bool,
    /// N1: on sight only what nobody else can have written, and only once.
    pub(crate) sight_only_if_sole: bool,
    /// N4: appearances of the new value are counted.
    pub(crate) count_appearances: bool,
    /// N5: superseded is concluded only after a look at a time when all of ours is closed.
    pub(crate) look_after_closed: bool,
    /// N6: rolled back is final only on a look after every forward call is closed.
    pub(crate) final_after_closed: bool,
    /// Lease and journal are one record: entries go under the fence that was read.
    pub(crate) one_record: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            barrier: true,
            versions_first: true,
            quiet_time: true,
            read_back: true,
            permit_clock: true,
            open_empty: true,
            standing_undo: true,
            at_most_once: true,
            sight_only_if_sole: true,
            count_appearances: true,
            look_after_closed: true,
            final_after_closed: true,
            one_record: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        Timing::default().check().unwrap();
        assert_eq!(Timing::default().quiet_ms(315_000), 318_150);
        let hasty = Timing { patience_ms: 40_000, ..Timing::default() };
        assert!(hasty.check().unwrap_err().to_string().contains("40000"));
    }
}
