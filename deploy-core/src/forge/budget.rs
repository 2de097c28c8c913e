//! What a server says about its rate limits.
//!
//! GitHub: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>. Bitbucket answers 429 alone.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::http::Answer;
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    model::Timestamp,
};

/// How long nothing is sent after a refusal that names no time: GitHub asks for a minute at least.
const UNSAID: Duration = Duration::from_secs(60);
/// What is believed at most: a primary limit is refilled within an hour.
const MOST: Duration = Duration::from_secs(65 * 60);
/// Calls of one look at a run.
const CALLS: u64 = 2;
/// No look is farther from the next than this because of what is left.
const FARTHEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    /// Nothing is sent before this, on the clock's `elapsed`.
    closed_until: Duration,
    /// Refusals in a row that named no time.
    unsaid: u32,
    /// How many calls are left, and when there are new ones.
    left: Option<(u64, Duration)>,
}

/// What is left of the rate limit, for all that share it.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<State>);

impl Budget {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything may be sent now.
    pub(crate) fn ready(&self, server: &str, elapsed: Duration) -> Result<()> {
        let wait = self.lock().closed_until.saturating_sub(elapsed);
        if wait.is_zero() {
            return Ok(());
        }
        let text = format!("{server} allows no more calls for {} s; nothing was sent", wait.as_secs().max(1));
        Err(Error::new(ErrorKind::Throttled, text).retry_as(Retry::After(wait)))
    }

    /// Takes in what an answer says. `Some`: the call was refused because there were too many.
    pub(crate) fn note(&self, elapsed: Duration, now: Timestamp, answer: &Answer) -> Option<Duration> {
        let until_reset = answer.number("x-ratelimit-reset").map(|at| {
            let at = Timestamp::from_millis(i64::try_from(at.saturating_mul(1000)).unwrap_or(i64::MAX));
            // A second more: clocks differ, and the server counts whole ones.
            (at.since(now) + Duration::from_secs(1)).min(MOST)
        });
        let remaining = answer.number("x-ratelimit-remaining");
        let mut state = self.lock();
        if let (Some(remaining), Some(wait)) = (remaining, until_reset) {
            state.left = Some((remaining, elapsed + wait));
        }
        let refused = is_throttled(answer);
        let asked = answer.number("retry-after").map(Duration::from_secs);
        let wait = match (refused, asked, remaining, until_reset) {
            (true, Some(asked), ..) => asked.min(MOST),
            (_, _, Some(0), Some(wait)) => wait,
            (true, ..) => {
                let wait = UNSAID * 2_u32.saturating_pow(state.unsaid.min(5));
                state.unsaid += 1;
                wait.min(MOST)
            }
            (false, ..) => {
                state.unsaid = 0;
                return None;
            }
        };
        state.closed_until = state.closed_until.max(elapsed + wait);
        refused.then_some(wait)
    }

    /// How far apart looks at a run should be, so that half of what is left lasts until there is more.
    pub(crate) fn spacing(&self, elapsed: Duration) -> Duration {
        let Some((left, until)) = self.lock().left else { return Duration::ZERO };
        let looks = u32::try_from((left / 2 / CALLS).max(1)).unwrap_or(u32::MAX);
        (until.saturating_sub(elapsed) / looks).min(FARTHEST)
    }
}

/// GitHub says 403 or 429 for both of its limits; a plain "forbidden" names none.
fn is_throttled(answer: &Answer) -> bool {
    match answer.status {
        429 => true,
        403 => {
            let said = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
            answer.headers.contains_key("retry-after")
                || answer.number("x-ratelimit-remaining") == Some(0)
                || said.contains("rate limit")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(pair).collect();
        Answer { status, headers, body: body.into() }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_server_says_for_how_long() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let secondary = "{\"message\":\"You have exceeded a secondary rate limit.\"}";
        for (given, wait) in [
            (answer(429, &[("retry-after", "7")], ""), Some(7)),
            (answer(403, &[("retry-after", "7")], ""), Some(7)),
            (
                answer(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000100")], ""),
                Some(101),
            ),
            (answer(403, &[], secondary), Some(60)),
            (answer(429, &[("retry-after", "99999999999")], ""), Some(65 * 60)),
            (
                answer(
                    403,
                    &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "18446744073709551615")],
                    "",
                ),
                Some(65 * 60),
            ),
            (answer(403, &[], "{\"message\":\"Resource not accessible by integration\"}"), None),
            (answer(403, &[("x-ratelimit-remaining", "12")], ""), None),
            (answer(500, &[("retry-after", "7")], ""), None),
        ] {
            let budget = Budget::default();
            let found = budget.note(seconds(5), now, &given);
            assert_eq!(found, wait.map(seconds), "{} {:?}", given.status, given.headers);
            assert_eq!(budget.ready("it", seconds(5)).is_err(), wait.is_some());
            if let Some(wait) = wait {
                let error = budget.ready("it", seconds(6)).unwrap_err();
                assert_eq!(error.retry(), Retry::After(seconds(wait - 1)));
                assert!(budget.ready("it", seconds(5 + wait)).is_ok());
            }
        }
    }

    #[test]
    fn refusals_without_a_time_are_waited_for_twice_as_long_each() {
        let (budget, now) = (Budget::default(), Timestamp::from_millis(0));
        let waits: Vec<_> =
            (0..3).filter_map(|_| budget.note(seconds(0), now, &answer(429, &[], ""))).collect();
        assert_eq!(waits, [seconds(60), seconds(120), seconds(240)]);
        assert_eq!(budget.note(seconds(0), now, &answer(200, &[], "")), None);
        assert_eq!(budget.note(seconds(0), now, &answer(429, &[], "")), Some(seconds(60)));
    }

    #[test]
    fn the_last_call_that_is_allowed_closes_the_budget() {
        let (budget, now) = (Budget::default(), Timestamp::from_millis(1_000_000));
        let last = answer(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")], "");
        assert_eq!(budget.note(seconds(0), now, &last), None);
        assert_eq!(budget.ready("it", seconds(0)).unwrap_err().retry(), Retry::After(seconds(31)));
    }

    #[test]
    fn looks_are_farther_apart_when_little_is_left() {
        let now = Timestamp::from_millis(0);
        for (left, apart) in [("5000", 2), ("400", 36), ("10", 60), ("1", 60)] {
            let budget = Budget::default();
            budget.note(
                seconds(0),
                now,
                &answer(200, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", "3600")], ""),
            );
            assert_eq!(budget.spacing(seconds(0)).as_secs(), apart, "{left}");
        }
        assert_eq!(Budget::default().spacing(seconds(0)), Duration::ZERO);
    }
}
