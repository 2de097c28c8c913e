//! How a deploy ended, what serves now, and what is owed.

use std::{fmt, process::ExitCode};

use serde::{Deserialize, Serialize};

use super::{Counts, FaultClass, RolloutId, TargetName, Timestamp};

/// Who took the place back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolledBackBy {
    /// We did, because the release failed.
    Us,
    /// The platform did by itself.
    Platform,
    /// We did, because a person asked.
    Person,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// As asked. A requested rollback that worked is a success too.
    Succeeded {
        /// Whether anything had to be changed.
        changed: bool,
    },
    /// The release failed and the old revision serves again.
    RolledBack {
        /// Who did it.
        by: RolledBackBy,
    },
    /// Going back did not work.
    RollbackFailed,
    /// It failed, and what serves is known.
    Failed,
    /// Going back is forbidden or impossible.
    Stranded,
    /// Someone else changed the place; we left it to them.
    Superseded,
    /// A person stopped it, and the old revision serves.
    Aborted,
    /// A guard said no. Nothing was changed.
    Refused,
}

impl Ended {
    /// The stable word in events (`rolled_back`).
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::RolledBack { .. } => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Failed => "failed",
            Self::Stranded => "stranded",
            Self::Superseded => "superseded",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Succeeded { .. } => 0,
            Self::Refused => 3,
            Self::RolledBack { .. } => 4,
            Self::Failed | Self::Stranded | Self::RollbackFailed => 5,
            Self::Superseded | Self::Aborted => 6,
        }
    }
}

/// Which side of the deploy serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Side {
    /// What ran before.
    Old,
    /// What ran before, with a migration already started.
    OldPastBarrier,
    /// What was deployed.
    New,
    /// Some of each.
    Mixed,
    /// Something of someone else's.
    Other,
    /// It could not be seen.
    Unknown,
}

/// What serves, as it was seen after the last effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Serving {
    /// Which side.
    pub side: Side,
    /// The commit, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The platform's name of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Healthy and desired instances, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// When it was seen.
    pub observed_at: Timestamp,
}

impl Serving {
    /// A side, seen at a time.
    #[must_use]
    pub fn new(side: Side, observed_at: Timestamp) -> Self {
        Self { side, commit: None, revision: None, counts: None, observed_at }
    }

    /// `4be81d0`, or the revision's name, or `?`.
    #[must_use]
    pub fn short(&self) -> &str {
        match (&self.commit, &self.revision) {
            (Some(commit), _) => commit.get(..7).unwrap_or(commit),
            (None, Some(revision)) => revision,
            (None, None) => "?",
        }
    }
}

/// Why it ended so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// The class of fault, or a word like `superseded`, `aborted`, `guard`.
    pub class: String,
    /// In one line, for people.
    pub text: String,
    /// The journal entries of this deploy that it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<u64>,
    /// The last log lines of the instance that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Cause {
    /// A cause in a class of one's own.
    pub fn new(class: impl Into<String>, text: impl Into<String>) -> Self {
        Self { class: class.into(), text: text.into(), because: Vec::new(), log: Vec::new() }
    }

    /// A cause of a known fault class.
    pub fn fault(class: FaultClass, text: impl Into<String>) -> Self {
        Self::new(class.word(), text)
    }
}

/// How a deploy ended, what serves now and what is owed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The target.
    pub target: TargetName,
    /// The deploy.
    pub rollout: RolloutId,
    /// How it ended.
    pub ended: Ended,
    /// What serves.
    pub serving: Serving,
    /// Why, unless it simply worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What a person must do, if anyone is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<String>,
    /// Commands worth running next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// Durable open questions, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Outcome {
    /// An outcome without cause.
    #[must_use]
    pub fn new(
        target: TargetName,
        rollout: RolloutId,
        ended: Ended,
        serving: Serving,
        started_at: Timestamp,
    ) -> Self {
        let ended_at = serving.observed_at;
        Self {
            target,
            rollout,
            ended,
            serving,
            cause: None,
            needed: None,
            next: Vec::new(),
            owed: Vec::new(),
            started_at,
            ended_at,
        }
    }

    /// Whether the deploy ended as asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.ended, Ended::Succeeded { .. })
    }

    /// Whether a person has to act now.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.needed.is_some() || self.ended.exit() == 5 || self.serving.side == Side::Unknown
    }

    /// The process's exit code: 0 done, 3 refused, 4 went back, 5 a person is needed, 6 aborted or superseded.
    #[must_use]
    pub fn exit(&self) -> u8 {
        if self.serving.side == Side::Unknown && !matches!(self.ended, Ended::Refused) {
            return 5;
        }
        self.ended.exit()
    }

    /// The first word of the one line.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        if self.serving.side == Side::Unknown && !matches!(self.ended, Ended::Refused) {
            return "UNKNOWN";
        }
        match self.ended {
            Ended::Succeeded { .. } => "DONE",
            Ended::RolledBack { .. } => "ROLLED BACK",
            Ended::RollbackFailed => "ROLLBACK FAILED",
            Ended::Failed => "FAILED",
            Ended::Stranded => "STRANDED",
            Ended::Superseded => "SUPERSEDED",
            Ended::Aborted => "ABORTED",
            Ended::Refused => "REFUSED",
        }
    }

    fn what_to_do(&self) -> String {
        match (&self.needed, &self.ended) {
            (Some(needed), _) => format!("YOU ARE NEEDED: {needed}"),
            (None, Ended::Succeeded { .. }) => "Nothing to do.".into(),
            (None, Ended::RolledBack { .. } | Ended::Aborted) => "Nothing to do tonight.".into(),
            (None, Ended::Refused) => "Nothing was changed.".into(),
            (None, Ended::Superseded) => "Someone else deployed; their change was left alone.".into(),
            (None, _) => match &self.cause {
                Some(cause) => format!("YOU ARE NEEDED: {}", cause.text),
                None => "YOU ARE NEEDED.".into(),
            },
        }
    }
}

/// The one line: last of every deploy, first of `status`, subject of every alert.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = self.verdict();
        write!(f, "{verdict}  {}", self.target)?;
        if self.serving.side == Side::Unknown {
            write!(f, ": cannot see it.")?;
        } else {
            write!(f, " serves {}", self.serving.short())?;
            if matches!(self.ended, Ended::RolledBack { .. } | Ended::Aborted)
                && self.serving.side == Side::Old
            {
                f.write_str(" again")?;
            }
            if let Some(counts) = self.serving.counts {
                write!(f, ", {}/{} healthy", counts.healthy, counts.desired)?;
            }
            f.write_str(".")?;
        }
        write!(f, " {}", self.what_to_do())
    }
}

impl std::process::Termination for Outcome {
    fn report(self) -> ExitCode {
        ExitCode::from(self.exit())
    }
}
