//! What is sent to a world, and what can happen to it on the way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shape::Spec;
use crate::{
    context::Permit,
    model::{Component, Fence, Timestamp},
};

/// Where a component is to be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// To a revision that exists.
    Named(String),
    /// To this content.
    Spec(Spec),
}

/// A mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// Makes a numbered revision (ECS, Vapor). The same content from the same deploy gives the same revision.
    Register {
        /// What is in it.
        spec: Spec,
    },
    /// Puts a component somewhere. On a Terraform branch this is a push, and makes a run.
    Set {
        /// The component.
        component: Component,
        /// Where to.
        to: To,
        /// The version that this was made for. Ignored by the shape that compares nothing.
        expect: Option<u64>,
    },
    /// Changes nothing but the version, and the fence where there is one.
    Barrier {
        /// The component.
        component: Component,
        /// The version that this was made for.
        expect: u64,
    },
    /// Deletes a stuck instance (Kubernetes).
    Delete {
        /// The component.
        component: Component,
        /// The instance's unique id: another instance is never hit.
        instance: String,
    },
    /// Runs the hook (Vapor). It carries nothing that could be recognised.
    Hook {
        /// Its name.
        name: String,
    },
    /// Confirms a waiting run (Terraform).
    Confirm {
        /// The run.
        run: u64,
    },
    /// Discards a run that nobody has confirmed, and starts another one of the same content (Terraform).
    Replace {
        /// The run.
        run: u64,
    },
}

impl Op {
    /// The stable word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Set { .. } => "set",
            Self::Barrier { .. } => "barrier",
            Self::Delete { .. } => "delete",
            Self::Hook { .. } => "hook",
            Self::Confirm { .. } => "confirm",
            Self::Replace { .. } => "replace",
        }
    }

    /// The component that it concerns, if it is one alone.
    #[must_use]
    pub fn component(&self) -> Option<&Component> {
        match self {
            Self::Set { component, .. }
            | Self::Barrier { component, .. }
            | Self::Delete { component, .. } => Some(component),
            Self::Register { .. } | Self::Hook { .. } | Self::Confirm { .. } | Self::Replace { .. } => None,
        }
    }
}

/// A mutation as it travels: with fence, token and signing time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Call {
    /// What.
    pub op: Op,
    /// Under which fence.
    pub fence: Fence,
    /// Unique for the intent: `<deploy>-<intent>`.
    pub token: String,
    /// The signing time.
    pub signed_at: Timestamp,
}

impl Call {
    /// A call by hand, for tests that play a deployer.
    pub fn new(op: Op, fence: Fence, token: impl Into<String>, signed_at: Timestamp) -> Self {
        Self { op, fence, token: token.into(), signed_at }
    }

    /// A call under a permit.
    #[must_use]
    pub fn permitted(op: Op, permit: &Permit) -> Self {
        Self::new(op, permit.fence(), permit.token(), permit.signed_at())
    }
}

/// What a call returns. It is journaled, and `settle` returns the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The revision, instance or run that it was about.
    pub name: String,
    /// The number of the component's deployment from then on: it grows with every change of what is declared.
    pub deployment: u64,
}

/// What a fault hook is told of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallInfo {
    /// The how-manieth request it is, reads included, from 1.
    pub number: u64,
    /// `register`, `set`, `barrier`, `delete`, `hook`, `confirm`, `replace`, or for reads `inspect`, `look`, `fetch`.
    pub what: &'static str,
    /// Whether it changes nothing.
    pub read: bool,
    /// The component, if it is about one.
    pub component: Option<Component>,
    /// When.
    pub at: Timestamp,
    /// The fence, for mutations.
    pub fence: Option<Fence>,
    /// The token, for mutations.
    pub token: Option<String>,
}

/// What happens to a request. For reads, everything that loses an answer is a plain error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Refused for good: not applied.
    Refused,
    /// Refused for now: not applied.
    Throttled,
    /// The connection broke before it arrived: not applied in truth, unknown to the caller.
    ResetBefore,
    /// The connection broke before the answer: applied in truth, unknown to the caller.
    ResetAfter,
    /// No answer now, and applied so many milliseconds later, if the platform still takes it then.
    Late(u64),
    /// Applied at once, answered so many milliseconds later.
    Slow(u64),
    /// A read shows what was there so many milliseconds ago (only where reads can be stale: ECS).
    StaleRead(u64),
    /// The server failed: not applied in truth, unknown to the caller.
    ServerError,
}

/// Decides what happens to a request. Called without any lock held: it may use the world.
pub type FaultHook = Arc<dyn Fn(&CallInfo) -> Fault + Send + Sync>;
