//! Amazon ECS for deploy-kit.

#[cfg(feature = "emulator")]
pub mod emulator;
