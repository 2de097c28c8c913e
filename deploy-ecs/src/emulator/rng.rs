//! The only randomness in the emulator: small, seeded, and part of the snapshot.

use serde::{Deserialize, Serialize};

/// Splitmix64: one word of state, so that a World stays cheap and the same seed gives the same trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value in `0..bound`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True in `per_million` of a million draws.
    pub(super) fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// The 19 digits of a deployment or revision.
    pub(super) fn digits19(&mut self) -> String {
        (1_000_000_000_000_000_000 + self.below(8_999_999_999_999_999_999)).to_string()
    }

    /// 32 hex digits, as in the id of a task.
    pub(super) fn hex32(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// 21 letters and digits, as in the id of a service deployment.
    pub(super) fn letters21(&mut self) -> String {
        const SET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..21)
            .map(|_| {
                let at = usize::try_from(self.below(62)).unwrap_or(0);
                char::from(SET[at % 62])
            })
            .collect()
    }

    /// `nominal` less up to a fifth: never more, so that a promised upper bound holds.
    pub(super) fn shorten(&mut self, nominal: i64) -> i64 {
        let cut = i64::try_from(self.below(21)).unwrap_or(0);
        nominal - nominal * cut / 100
    }
}
