//! The stores that come with the crate.

#[cfg(feature = "conformance")]
pub mod faulty;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
