//! What a world remembers of writes: what the promises are checked against.

use serde::{Deserialize, Serialize};

use crate::model::{Component, Fence, RolloutId, Timestamp};

/// Who wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// A deploy, by its id, with the intent's number where the token told it.
    Deploy {
        /// The deploy.
        rollout: RolloutId,
        /// The intent.
        intent: Option<u64>,
        /// Under which fence.
        fence: Fence,
    },
    /// The platform itself.
    Platform,
    /// Someone else.
    Someone(String),
}

/// What kind of write it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteKind {
    /// A revision was made.
    Register,
    /// A component was put somewhere.
    Set,
    /// A version moved, and nothing else.
    Barrier,
    /// A stuck instance was deleted.
    Delete,
    /// The hook ran.
    Hook,
    /// A run was confirmed.
    Confirm,
    /// A run was discarded and made again.
    Replace,
    /// The platform went back by itself.
    Revert,
    /// A run has applied: the workspace changed.
    Apply,
}

/// An effective write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Write {
    /// When it landed.
    pub at: Timestamp,
    /// What kind.
    pub kind: WriteKind,
    /// The component, if it concerns one.
    pub component: Option<Component>,
    /// The revision's name, the instance, the run, the hook.
    pub value: String,
    /// Whether what is declared changed.
    pub changed: bool,
    /// Whether its caller had been told that there was no answer, before it landed.
    pub late: bool,
    /// Who.
    pub by: Writer,
}

/// A mutation that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rejected {
    /// When it arrived.
    pub at: Timestamp,
    /// `set`, `barrier`, ...
    pub what: String,
    /// Its token.
    pub token: String,
    /// Under which fence.
    pub fence: Fence,
    /// Why.
    pub why: String,
}

pub(super) fn writer(token: &str, fence: Fence) -> Writer {
    let (rollout, intent) = match token.rsplit_once('-') {
        Some((rollout, intent)) => (rollout, intent.parse().ok()),
        None => (token, None),
    };
    Writer::Deploy { rollout: RolloutId::new(rollout), intent, fence }
}

/// The deploy in a token.
pub(super) fn maker(token: &str) -> &str {
    token.rsplit_once('-').map_or(token, |(rollout, _)| rollout)
}
