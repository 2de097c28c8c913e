//! From an answer, or the lack of one, to an error: kind, retry, and what is known of the effect.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::http::{Answer, Broken};
use crate::{
    error::{EffectState, Error, ErrorKind, Retry},
    report::scrub_line,
};

/// What kind of call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It changes nothing, so it may always be made again.
    Read,
    /// Without an answer it may have been done, or may be yet.
    Mutation,
}

/// The body of GitHub's and Bitbucket's errors.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    message: Option<String>,
    /// GitHub: a list of texts or objects. Bitbucket: see `error`.
    errors: Vec<Value>,
    error: Option<BitbucketError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BitbucketError {
    message: Option<String>,
}

/// The server's own words, in one line.
fn said(answer: &Answer) -> String {
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let first = said.message.or_else(|| said.error.and_then(|error| error.message));
    let more = said.errors.into_iter().filter_map(|error| match error {
        Value::String(text) => Some(text),
        Value::Object(mut fields) => match fields.remove("message") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    });
    let texts: Vec<String> = first.into_iter().chain(more.take(3)).collect();
    scrub_line(&texts.join("; "))
}

/// The error of an answer that is not a success. `throttled`: how long the server wants to be left alone.
pub(crate) fn refused(doing: &str, sent: Sent, answer: &Answer, throttled: Option<Duration>) -> Error {
    let words = said(answer);
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    let text = format!("{doing}: {}{words}", answer.status);
    if let Some(wait) = throttled {
        let text = format!("{text} (too many calls)");
        return Error::new(ErrorKind::Throttled, text).retry_as(Retry::After(wait));
    }
    match answer.status {
        401 => Error::new(ErrorKind::Unauthenticated, text).next("the token is wrong or has expired"),
        403 => Error::new(ErrorKind::PermissionDenied, text)
            .next("the token needs the repository permission Actions: read and write; for CI results, Checks and Commit statuses: read"),
        404 | 410 => Error::new(ErrorKind::NotFound, text).next("it does not exist, or the token may not see it"),
        // Not followed: what was meant was not reached, and whoever has the old name may be somebody else tomorrow.
        301 | 302 | 307 | 308 => Error::new(ErrorKind::NotFound, text).next("it has been moved or renamed: write its new name"),
        409 => Error::new(ErrorKind::Conflict, text).retry_as(Retry::Never),
        400 | 422 => Error::new(ErrorKind::Invalid, text),
        500..=599 => unanswered(ErrorKind::Unavailable, sent, text),
        _ => unanswered(ErrorKind::Malformed, sent, text),
    }
}

/// The error of a request without an answer.
pub(crate) fn broken(doing: &str, sent: Sent, broken: Broken) -> Error {
    match broken {
        Broken::Refused(why) => {
            let text = format!("{doing}: no connection: {}", scrub_line(&why));
            Error::new(ErrorKind::Unavailable, text)
                .retry_as(Retry::Always)
                .effect_as(EffectState::NotApplied)
        }
        Broken::Reset(why) => unanswered(
            ErrorKind::Unavailable,
            sent,
            format!("{doing}: the connection broke: {}", scrub_line(&why)),
        ),
        Broken::TooLong => unanswered(ErrorKind::Malformed, sent, format!("{doing}: the answer is too long")),
    }
}

/// The error of a read that took too long. (A mutation's time is its effect's.)
pub(crate) fn late(doing: &str, limit: Duration) -> Error {
    unanswered(ErrorKind::TimedOut, Sent::Read, format!("{doing}: no answer within {} s", limit.as_secs()))
}

/// The error of a success that cannot be understood. Whoever answers so may not be the server at all.
pub(crate) fn malformed(doing: &str, sent: Sent, why: &str) -> Error {
    unanswered(ErrorKind::Malformed, sent, format!("{doing}: the answer cannot be read: {why}"))
}

fn unanswered(kind: ErrorKind, sent: Sent, text: String) -> Error {
    let error = Error::new(kind, text);
    match sent {
        Sent::Read => error.retry_as(Retry::Always).effect_as(EffectState::NotApplied),
        Sent::Mutation => error.retry_as(Retry::IfIdempotent).effect_as(EffectState::Unknown),
    }
}
