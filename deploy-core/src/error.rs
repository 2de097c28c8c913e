//! One error type for callers: what to decide ([`ErrorKind`]), whether to try again ([`Retry`]), and what
//! is known of the effect ([`EffectState`]).

use std::{error::Error as StdError, fmt, time::Duration};

/// A boxed error from code that is not ours: a check, a resolver, an SDK.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of nearly everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can decide by. Each kind is a decision, not a place in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration or the request is wrong. Correct it; trying again does not help.
    Invalid,
    /// Nobody is logged in, or the credentials have expired.
    Unauthenticated,
    /// Logged in, but not allowed to do this.
    PermissionDenied,
    /// The named thing does not exist.
    NotFound,
    /// Someone else changed it in between (a compare-and-set that lost, a resource in use).
    Conflict,
    /// Too many calls; try again after a while.
    Throttled,
    /// The service cannot answer now (5xx, connection refused, broken connection).
    Unavailable,
    /// No answer within the deadline.
    TimedOut,
    /// Another rollout has the target, or left one unfinished.
    Busy,
    /// A guard says no. Nothing was changed.
    Refused,
    /// The lease is gone: someone else goes on with this rollout.
    LeaseLost,
    /// The state store cannot be read or written.
    Store,
    /// The platform, or this build of it, cannot do that.
    Unsupported,
    /// A step was asked to end early.
    Interrupted,
    /// A repeated step asks for something else than its first run did.
    JournalMismatch,
    /// An answer or a stored record cannot be understood.
    Malformed,
    /// A deploy ended otherwise than asked; the error carries its outcome.
    NotSucceeded,
    /// Nothing of the above: a defect, here or there.
    Unexpected,
}

/// Whether the same call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// MUST NOT be tried again: the answer will be the same.
    Never,
    /// MAY be tried again if a second application is harmless: the first one may have landed.
    IfIdempotent,
    /// MAY be tried again: the first one certainly did nothing.
    Always,
    /// As `Always`, but SHOULD NOT be tried before this time has passed.
    After(Duration),
}

/// What is known of a mutation after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectState {
    /// It certainly did not happen, and will not.
    NotApplied,
    /// It may have happened, or may still happen.
    Unknown,
    /// It happened, although the call failed otherwise.
    Applied,
}

/// The error of this crate: eight bytes, with kind, retry and effect for programs and one line for people.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    effect: EffectState,
    message: String,
    next: Option<String>,
    outcome: Option<Box<crate::model::Outcome>>,
    source: Option<BoxError>,
    last_lines: Vec<String>,
}

impl Error {
    /// An error of this kind. Retry and effect get the kind's cautious defaults: `Unavailable` and
    /// `TimedOut` leave the effect unknown, everything else did nothing.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (retry, effect) = match kind {
            ErrorKind::Unavailable | ErrorKind::TimedOut => (Retry::IfIdempotent, EffectState::Unknown),
            ErrorKind::Throttled | ErrorKind::Conflict | ErrorKind::Store => {
                (Retry::Always, EffectState::NotApplied)
            }
            _ => (Retry::Never, EffectState::NotApplied),
        };
        Self(Box::new(Inner {
            kind,
            retry,
            effect,
            message: message.into(),
            next: None,
            outcome: None,
            source: None,
            last_lines: Vec::new(),
        }))
    }

    /// Replaces whether it may be tried again.
    #[must_use]
    pub fn retry_as(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Replaces what is known of the effect.
    #[must_use]
    pub fn effect_as(mut self, effect: EffectState) -> Self {
        self.0.effect = effect;
        self
    }

    /// Adds what a person should do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    /// Adds what caused it. The source's text is part of `{:?}` only.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the last lines that whatever failed has written, oldest first.
    #[must_use]
    pub fn with_last_lines<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.0.last_lines = lines.into_iter().map(Into::into).collect();
        self
    }

    /// The last lines that whatever failed has written, oldest first; empty if it wrote none, or nobody kept them.
    #[must_use]
    pub fn last_lines(&self) -> &[String] {
        &self.0.last_lines
    }

    /// Adds what was being done, in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The error of a deploy that ended otherwise than asked.
    #[must_use]
    pub fn not_succeeded(outcome: crate::model::Outcome) -> Self {
        let mut error = Self::new(ErrorKind::NotSucceeded, outcome.to_string());
        error.0.outcome = Some(Box::new(outcome));
        error
    }

    /// What a caller can decide by.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may be made again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// What is known of the effect.
    #[must_use]
    pub fn effect(&self) -> EffectState {
        self.0.effect
    }

    /// The message alone, without what to do next.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What a person should do next, where it is known.
    #[must_use]
    pub fn what_next(&self) -> Option<&str> {
        self.0.next.as_deref()
    }

    /// How the deploy ended, for [`ErrorKind::NotSucceeded`] and [`ErrorKind::Refused`] of a request.
    #[must_use]
    pub fn outcome(&self) -> Option<&crate::model::Outcome> {
        self.0.outcome.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(next) = &self.0.next {
            write!(f, " ({next})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (retry {:?}, effect {:?}): {self}", self.0.kind, self.0.retry, self.0.effect)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn defaults_are_cautious() {
        assert_eq!(Error::new(ErrorKind::TimedOut, "x").effect(), EffectState::Unknown);
        assert_eq!(Error::new(ErrorKind::TimedOut, "x").retry(), Retry::IfIdempotent);
        assert_eq!(Error::new(ErrorKind::Throttled, "x").effect(), EffectState::NotApplied);
        assert_eq!(Error::new(ErrorKind::Invalid, "x").retry(), Retry::Never);
    }

    #[test]
    fn display_is_one_line_and_debug_tells_the_chain() {
        let error = Error::new(ErrorKind::Store, "cannot write the head")
            .because(std::io::Error::other("disk full"))
            .next("free some space");
        assert_eq!(error.to_string(), "cannot write the head (free some space)");
        assert!(format!("{error:?}").contains("caused by: disk full"));
    }
}
