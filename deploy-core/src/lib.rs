#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod context;
pub mod error;
pub mod event;
pub mod hash;
#[cfg(feature = "memory")]
pub mod memory;
pub mod model;
pub mod observers;
pub mod platform;
pub mod report;
pub mod source;
pub mod state;

pub use error::{BoxError, EffectState, Error, ErrorKind, Result, Retry};
pub use platform::Platform;
