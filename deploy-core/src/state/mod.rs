//! Journal, lease and fence: one effective writer per claim on any store with compare-and-set.

pub mod head;
pub mod journal;
#[allow(dead_code)]
pub(crate) mod keeper;
mod store;
pub mod stores;

pub use store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote};
