//! Faults: what may happen to a call between client and service.

use super::rng::Rng;
use super::world::Api;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FaultKind {
    /// Answered with `ThrottlingException`; no effect.
    Throttled,
    /// Answered with HTTP 500; no effect.
    ServerError500,
    /// The connection is refused: the request was certainly never sent.
    Refused,
    /// The connection breaks before the service has the request: no effect, but the client cannot know.
    ResetBefore,
    /// The connection breaks after the effect: the answer is lost.
    ResetAfter,
    /// The effect takes place at once, and the answer takes so many milliseconds more.
    Slow(i64),
    /// The connection breaks, and the request arrives at the service so many milliseconds later all the same.
    LateApply(i64),
    /// The effect takes place; the answer has status 200 and is no JSON or XML.
    Malformed200,
    /// What DescribeServices answers is so many milliseconds old, as far as updates go. Other calls do not mind.
    StaleRead(i64),
    /// Answered with `ExpiredTokenException`; no effect.
    ExpiredToken,
    /// Answered with `AccessDeniedException`; no effect.
    AccessDenied403,
}

impl FaultKind {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 11] = [
        "throttled",
        "server-error",
        "refused",
        "reset-before",
        "reset-after",
        "slow",
        "late-apply",
        "malformed",
        "stale-read",
        "expired-token",
        "access-denied",
    ];

    /// The kind's name, without its parameter: for counting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ServerError500 => "server-error",
            Self::Refused => "refused",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::Slow(_) => "slow",
            Self::LateApply(_) => "late-apply",
            Self::Malformed200 => "malformed",
            Self::StaleRead(_) => "stale-read",
            Self::ExpiredToken => "expired-token",
            Self::AccessDenied403 => "access-denied",
        }
    }
}

/// A call that is about to be made, for whoever decides about faults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallInfo {
    /// The service.
    pub api: Api,
    /// The action.
    pub action: String,
    /// Whether it changes anything.
    pub mutating: bool,
    /// The emulator's time.
    pub at_ms: i64,
    /// Which call of this service and action it is, from 1.
    pub number: u64,
}

/// Decides per call whether a fault happens. Closures are sources.
pub trait FaultSource: Send {
    /// The fault of this call, if it has one. Asked exactly once for each call, in their order.
    fn decide(&mut self, call: &CallInfo) -> Option<FaultKind>;
}

impl<F: FnMut(&CallInfo) -> Option<FaultKind> + Send> FaultSource for F {
    fn decide(&mut self, call: &CallInfo) -> Option<FaultKind> {
        self(call)
    }
}

/// A scripted fault: which calls it meets, and what happens to them.
#[derive(Clone, Debug)]
pub struct FaultRule {
    action: Option<String>,
    kind: FaultKind,
    skip: u64,
    left: u64,
    per_million: u64,
}

impl FaultRule {
    /// A fault of the next call of any action, once.
    pub fn new(kind: FaultKind) -> Self {
        Self { action: None, kind, skip: 0, left: 1, per_million: 1_000_000 }
    }

    /// Only calls of this action.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
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

    /// Meets calls with this probability in a million, decided by the emulator's seed, for ever.
    #[must_use]
    pub fn per_million(mut self, per_million: u64) -> Self {
        self.per_million = per_million;
        self.always()
    }

    fn meets(&mut self, call: &CallInfo, rng: &mut Rng) -> Option<FaultKind> {
        if self.left == 0 || self.action.as_ref().is_some_and(|a| *a != call.action) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        // No draw without need: a certain rule must not move the dice of the others.
        if self.per_million < 1_000_000 && !rng.chance(self.per_million) {
            return None;
        }
        if self.left != u64::MAX {
            self.left -= 1;
        }
        Some(self.kind)
    }
}

/// All rules and the source; the first that wants a call gets it.
pub(super) struct Faults {
    rules: Vec<FaultRule>,
    source: Option<Box<dyn FaultSource>>,
    rng: Rng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        // Not the World's own stream: faults must not change what the World does.
        Self { rules: Vec::new(), source: None, rng: Rng::new(seed ^ 0xfa17) }
    }

    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn set_source(&mut self, source: Option<Box<dyn FaultSource>>) {
        self.source = source;
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.source = None;
    }

    pub(super) fn decide(&mut self, call: &CallInfo) -> Option<FaultKind> {
        let asked = self.source.as_mut().and_then(|s| s.decide(call));
        let rng = &mut self.rng;
        let ruled = self.rules.iter_mut().find_map(|r| r.meets(call, rng));
        self.rules.retain(|r| r.left > 0);
        asked.or(ruled)
    }
}
