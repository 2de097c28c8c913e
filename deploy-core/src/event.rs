//! Events: projected from the journal (gapless per deploy), plus live ones that are never stored.

use serde::Serialize;
use serde_json::Value;

use crate::{
    model::{Instance, Observation, RolloutId, StepId, TargetName, Timestamp},
    state::journal::{Decision, Entry, Fact, StepState},
};

/// The version of the JSON lines.
pub const EVENT_VERSION: u32 = 1;

/// What a deploy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PhaseName {
    /// What the plan waits for is made.
    Prepare,
    /// Guards are asked.
    Guard,
    /// Steps are run.
    Apply,
    /// A component is watched.
    Watch,
    /// Waiting at a gate or paused.
    Gate,
    /// Everything is in place and is being watched for a while.
    Bake,
    /// Going back.
    Back,
    /// Waiting until nothing of ours can arrive any more.
    Close,
    /// Ended.
    Done,
}

impl PhaseName {
    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Guard => "guard",
            Self::Apply => "apply",
            Self::Watch => "watch",
            Self::Gate => "gate",
            Self::Bake => "bake",
            Self::Back => "back",
            Self::Close => "close",
            Self::Done => "done",
        }
    }

    /// What the deploy is doing from this fact on: the fold that gives every journaled event its phase, live and on
    /// replay alike.
    #[must_use]
    pub fn after(self, fact: &Fact) -> Self {
        match fact {
            Fact::Step { kind, state: StepState::Began, .. } if kind == "prepare" => Self::Prepare,
            Fact::Planned { .. } => Self::Guard,
            Fact::Step { kind, state: StepState::Began, .. }
                if self == Self::Guard || self.goes_forward() =>
            {
                match kind.as_str() {
                    "await" => Self::Watch,
                    "gate" => Self::Gate,
                    _ => Self::Apply,
                }
            }
            Fact::Decision { decision, .. } => match decision {
                Decision::Bake => Self::Bake,
                Decision::GoBack | Decision::FollowRevert | Decision::SetBackAgain => Self::Back,
                Decision::GiveWay | Decision::Abandon => Self::Close,
                Decision::Pause => Self::Gate,
                _ => self,
            },
            Fact::Restored { .. } => Self::Close,
            Fact::Ended { .. } => Self::Done,
            _ => self,
        }
    }

    fn goes_forward(self) -> bool {
        matches!(self, Self::Apply | Self::Watch | Self::Gate)
    }
}

/// What happened. Every kind but the four live ones is journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A journaled fact.
    Fact(Box<Fact>),
    /// A look: numbers (live).
    Progress {
        /// The look.
        seen: Box<Observation>,
        /// The revision that is wanted.
        revision: String,
        /// When the wait is over.
        deadline: Option<Timestamp>,
        /// The step that waits.
        step: Option<StepId>,
    },
    /// An instance changed (live).
    Instance(Instance),
    /// A log line (live).
    Log {
        /// The instance.
        instance: String,
        /// Where in the instance: a container, a function.
        source: Option<String>,
        /// `stdout`, `stderr`, or the platform's name of the stream.
        stream: Option<String>,
        /// The line, scrubbed.
        line: String,
        /// Whether the line was longer.
        cut: bool,
    },
    /// A judgement that nothing rests on (live); one that a decision rests on is a [`Fact::Check`].
    Check {
        /// The check.
        check: String,
        /// `pass`, `fail`, `inconclusive`, `error`.
        verdict: String,
        /// Numbers, as the check gives them.
        data: Value,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Gapless per deploy for journaled events; live ones have none.
    pub seq: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// The deploy.
    pub deploy: RolloutId,
    /// The target.
    pub target: TargetName,
    /// What the deploy was doing.
    pub phase: PhaseName,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The event of a journaled entry.
    #[must_use]
    pub fn of(entry: &Entry, target: &TargetName, phase: PhaseName) -> Self {
        Self {
            seq: Some(entry.seq),
            at: entry.at,
            deploy: entry.rollout.clone(),
            target: target.clone(),
            phase,
            kind: EventKind::Fact(Box::new(entry.fact.clone())),
        }
    }

    /// A live event: it is never stored and has no number.
    #[must_use]
    pub fn live(
        at: Timestamp,
        deploy: &RolloutId,
        target: &TargetName,
        phase: PhaseName,
        kind: EventKind,
    ) -> Self {
        Self { seq: None, at, deploy: deploy.clone(), target: target.clone(), phase, kind }
    }

    /// The stable type word.
    #[must_use]
    pub fn type_word(&self) -> &'static str {
        match &self.kind {
            EventKind::Progress { .. } => "progress",
            EventKind::Instance(_) => "instance",
            EventKind::Log { .. } => "log",
            EventKind::Check { .. } => "check",
            EventKind::Fact(fact) => match **fact {
                Fact::Started { .. } => "started",
                Fact::Guard(_) => "guard",
                Fact::Step { .. } => "step",
                Fact::Fault { .. } => "fault",
                Fact::Check { .. } => "check",
                Fact::Decision { .. } => "decision",
                Fact::Restored { .. } => "restored",
                Fact::Planned { .. } => "planned",
                Fact::Command { .. } => "command",
                Fact::Migration { .. } => "migration",
                Fact::Hold { .. } => "hold",
                Fact::Driver { .. } => "driver",
                Fact::Notice { .. } => "notice",
                Fact::Ended { .. } => "ended",
            },
        }
    }
}
