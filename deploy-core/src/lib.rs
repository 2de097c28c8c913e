#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod context;
mod deployer;
mod driver;
pub mod error;
pub mod event;
mod follow;
#[cfg(feature = "forge")]
pub mod forge;
pub mod guards;
pub mod hash;
#[cfg(feature = "docker")]
pub mod image;
mod launch;
pub mod machine;
#[cfg(feature = "memory")]
pub mod memory;
pub mod model;
#[cfg(test)]
mod model_check;
pub mod observers;
pub mod platform;
pub mod prepare;
pub mod report;
mod request;
mod rollout;
pub mod source;
pub mod state;
pub mod steps;
mod target;
mod task;

pub use deployer::Deployer;
pub use error::{BoxError, EffectState, Error, ErrorKind, Result, Retry};
pub use platform::Platform;
pub use request::{Look, Request};
pub use rollout::{Events, Rollout};
pub use target::{Deploy, Status, Target};
