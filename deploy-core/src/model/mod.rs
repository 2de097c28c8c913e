//! The words of deploying, as data: target, release, revision, plan, observation, outcome.

mod ids;
mod observation;
mod outcome;
mod plan;
mod release;
mod snapshot;
mod time;

pub use ids::{Claim, Component, Fence, Fingerprint, GateId, GroupId, RolloutId, StepId, TargetName};
pub use observation::{
    Actor, Blame, Counts, FaultClass, Instance, Motion, Observation, Permanence, Scope, Signal,
};
pub use outcome::{Cause, Ended, Outcome, RolledBackBy, Serving, Side};
pub use plan::{Change, Envelope, PLAN_VERSION, Plan, Runner, Step, StepKind, Undo, WayBack};
#[cfg(all(feature = "command", unix))]
pub(crate) use release::names_a_secret;
pub use release::{ConfigChange, ConfigValue, Goal, Release, Secret, SecretRef};
pub use snapshot::{Capabilities, Identity, Lateness, Revision, Snapshot, WriteGuard};
pub use time::{Timestamp, millis};
