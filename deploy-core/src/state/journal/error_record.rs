//! An error as it is stored.

use serde::{Deserialize, Serialize};

use crate::error::{EffectState, Error, ErrorKind};

/// An error as it is kept: kind, what is known of the effect, one scrubbed line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorRecord {
    /// The kind's name.
    pub kind: String,
    /// `not_applied`, `unknown`, `applied`.
    pub effect: String,
    /// Whether another attempt may help.
    pub again: bool,
    /// Not before this many milliseconds.
    #[serde(default)]
    pub after_ms: u64,
    /// One line.
    pub text: String,
    /// The last lines that whatever failed has written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// How many lines are kept.
const LINES_KEPT: usize = 10;

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        let effect = match error.effect() {
            EffectState::NotApplied => "not_applied",
            EffectState::Unknown => "unknown",
            EffectState::Applied => "applied",
        };
        let (again, after_ms) = match error.retry() {
            crate::error::Retry::Never => (false, 0),
            crate::error::Retry::IfIdempotent | crate::error::Retry::Always => (true, 0),
            crate::error::Retry::After(wait) => (true, crate::model::millis(wait)),
        };
        // An error quotes what a platform said.
        let text = crate::report::scrub_line(&error.to_string());
        let lines = error.last_lines();
        let kept = lines.iter().skip(lines.len().saturating_sub(LINES_KEPT));
        let log = kept.map(|line| crate::report::scrub_line(line)).collect();
        Self { kind: format!("{:?}", error.kind()), effect: effect.into(), again, after_ms, text, log }
    }
}

impl ErrorRecord {
    /// The error again, as far as it is kept.
    #[must_use]
    pub fn to_error(&self) -> Error {
        use crate::error::Retry;
        let kinds = [
            ErrorKind::Interrupted,
            ErrorKind::LeaseLost,
            ErrorKind::Conflict,
            ErrorKind::JournalMismatch,
            ErrorKind::Busy,
        ];
        let kind = kinds.into_iter().find(|kind| self.is_kind(*kind)).unwrap_or(ErrorKind::Unexpected);
        let retry = match (self.again, self.after_ms) {
            (false, _) => Retry::Never,
            (true, 0) => Retry::Always,
            (true, wait) => Retry::After(std::time::Duration::from_millis(wait)),
        };
        Error::new(kind, &self.text).retry_as(retry).effect_as(EffectState::NotApplied)
    }

    /// Whether the error was of this kind.
    #[must_use]
    pub fn is_kind(&self, kind: ErrorKind) -> bool {
        self.kind == format!("{kind:?}")
    }
}
