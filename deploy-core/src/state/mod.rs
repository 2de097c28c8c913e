//! Journal, lease and fence: one effective writer per claim on any store with compare-and-set.

pub(crate) mod format;
#[cfg(test)]
mod golden;
pub mod head;
pub mod journal;
pub(crate) mod keeper;
#[cfg(test)]
mod leaks;
pub mod process;
pub(crate) mod records;
pub(crate) mod session;
mod store;
pub mod stores;

pub use store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote};
