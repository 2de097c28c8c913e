//! Faults: what may happen to a call between client and server.

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// Refused: the calls of this hour are used up. There are new ones in 30 seconds.
    PrimaryLimit,
    /// Refused: too many at once. The answer asks for 7 seconds.
    SecondaryLimit,
    /// Answered with 500; no effect.
    ServerError,
    /// The connection is refused: the request was certainly never sent.
    Refused,
    /// The connection breaks before the server has the request: no effect, but the client cannot know.
    ResetBefore,
    /// The connection breaks after the effect: the answer is lost.
    ResetAfter,
    /// The effect takes place at once, and the answer takes so many milliseconds.
    Slow(u64),
    /// The effect takes place; the answer has status 200 and is no JSON.
    Malformed,
    /// Answered with 401; no effect.
    BadCredentials,
    /// Answered with 403 for want of a permission; no effect.
    Forbidden,
    /// Answered with 404; no effect.
    NotFound,
}

impl Fault {
    /// The names of all.
    pub const NAMES: [&'static str; 11] = [
        "primary-limit",
        "secondary-limit",
        "server-error",
        "refused",
        "reset-before",
        "reset-after",
        "slow",
        "malformed",
        "bad-credentials",
        "forbidden",
        "not-found",
    ];

    /// Its name, without its parameter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrimaryLimit => "primary-limit",
            Self::SecondaryLimit => "secondary-limit",
            Self::ServerError => "server-error",
            Self::Refused => "refused",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::Slow(_) => "slow",
            Self::Malformed => "malformed",
            Self::BadCredentials => "bad-credentials",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
        }
    }
}

/// A scripted fault: which calls it meets.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    call: Option<&'static str>,
    skip: u64,
    left: u64,
}

impl FaultRule {
    /// A fault of the next call, whichever it is, once.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, call: None, skip: 0, left: 1 }
    }

    /// Only of calls of this name.
    #[must_use]
    pub fn call(mut self, name: &'static str) -> Self {
        self.call = Some(name);
        self
    }

    /// Begins with the `n`th call that it meets from now on, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Meets so many calls instead of one.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = times;
        self
    }

    /// Meets every call from its first one on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn meets(&mut self, name: &str) -> Option<Fault> {
        if self.left == 0 || self.call.is_some_and(|call| call != name) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.left -= 1;
        Some(self.fault)
    }
}

/// The fault of a call, from the first rule that meets it.
pub(super) fn decide(rules: &mut [FaultRule], name: &str) -> Option<Fault> {
    rules.iter_mut().find_map(|rule| rule.meets(name))
}
