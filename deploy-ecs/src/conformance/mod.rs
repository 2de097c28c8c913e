//! ECS over its emulator for the shared suites: conformance and simulation. Not part of the stable API.

mod factory;
mod sim;
mod world;

pub use factory::{EcsFactory, EcsSubject};
pub use sim::EcsSim;
