//! What a person asked of a running rollout.

use serde::{Deserialize, Serialize};

use crate::model::{RolloutId, Timestamp};

/// A command from a person or another process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommandKind {
    /// Stop before the next step.
    Pause,
    /// Go on.
    Resume,
    /// Pass the gate or end the bake now.
    Promote,
    /// Approve a gate.
    Approve,
    /// Stop and go back.
    Abort,
    /// Go back because a person says so.
    Rollback,
    /// Stop going back and leave it to a person.
    Abandon,
}

impl CommandKind {
    /// The stable word in events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Approve => "approve",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Abandon => "abandon",
        }
    }
}

/// A command in the inbox of a head.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CommandRecord {
    /// Unique.
    pub id: String,
    /// For which deploy.
    pub rollout: RolloutId,
    /// What.
    pub command: CommandKind,
    /// For which gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// By whom.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Not obeyed after this time.
    pub expires: Timestamp,
}

impl CommandRecord {
    /// A command of this kind; expires at the given time.
    pub fn new(
        id: impl Into<String>,
        rollout: RolloutId,
        command: CommandKind,
        by: impl Into<String>,
        expires: Timestamp,
    ) -> Self {
        Self { id: id.into(), rollout, command, gate: None, by: by.into(), reason: None, expires }
    }
}
