//! The stores that come with the crate.

pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
