//! Journal, lease and fence: one effective writer per claim on any store with compare-and-set.

pub mod head;
pub mod journal;
pub mod process;
mod store;
pub mod stores;

pub use store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote};
