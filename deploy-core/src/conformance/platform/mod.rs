//! The suite that every platform has to pass.
//!
//! A backend implements [`Factory`] and [`Subject`] over its emulator (or what is real), and runs [`tests`]. Trials
//! are chosen by capability, and where a capability is missing its absence is asserted. Each trial looks at the
//! ground truth, at the journal and at the outcome. Not part of the stable API.

mod capable;
mod commands;
mod deploys;
mod events;
mod kills;
mod late;
mod look;
mod lost;
mod memory;
mod party;
mod races;
mod refusals;
mod rollbacks;
mod run;
mod stage;
mod store;
mod subject;

pub use memory::{MemoryFactory, MemorySubject};
pub use run::{PlatformTrial, tests, trials};
pub use subject::{Factory, Failing, Fault, Subject, Truth, Unsupported, Word};

use crate::error::Error;

/// How a trial ended that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It cannot be tried here: it needs this.
    NotRun(String),
    /// The platform or the core did something wrong.
    Failed(String),
}

impl From<Unsupported> for Stop {
    fn from(what: Unsupported) -> Self {
        Self::NotRun(what.0)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{error:?}"))
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// What a trial returns.
pub type TrialResult<T = ()> = std::result::Result<T, Stop>;

/// Fails a trial.
macro_rules! ensure {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err($crate::conformance::platform::Stop::Failed(format!($($said)+)));
        }
    };
}
use ensure;
