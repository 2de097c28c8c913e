//! The suites that every platform and every store has to pass, and what backends need to test their parts alone.

pub mod platform;
pub mod sim;
mod step;
pub mod stores;

pub use step::{StepRun, preparing, run_step};
