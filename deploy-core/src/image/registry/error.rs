//! What a registry says when it will not, as errors of ours.

use std::time::Duration;

use serde::Deserialize;

use super::http::{Answer, Asked};
use crate::{
    error::{EffectState, Error, ErrorKind, Retry},
    model::Timestamp,
    report::scrub_line,
};

/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

pub(super) fn refused(asked: &Asked, answer: &Answer, now: Timestamp) -> Error {
    let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
    let first = said.and_then(|said| said.errors.into_iter().next());
    let why = match &first {
        Some(One { code, message }) => format!("{code} {message}"),
        None => String::new(),
    };
    let text = format!("{asked}: {} answers {} {}", asked.registry(), answer.status, scrub_line(&why));
    let of = |kind| Error::new(kind, text.trim_end());
    match answer.status {
        401 => of(ErrorKind::Unauthenticated),
        403 => of(ErrorKind::PermissionDenied).next("the login may lack the right to this repository"),
        404 => of(ErrorKind::NotFound),
        405 => unsupported(of(ErrorKind::Unsupported)),
        400 if first.is_some_and(|first| first.code == "UNSUPPORTED") => {
            unsupported(of(ErrorKind::Unsupported))
        }
        429 => {
            let after = answer.header("retry-after").and_then(|text| pause(text, now));
            of(ErrorKind::Throttled).retry_as(after.map_or(Retry::Always, Retry::After))
        }
        408 | 504 => of(ErrorKind::TimedOut),
        500.. => {
            let after = answer.header("retry-after").and_then(|text| pause(text, now));
            let error = of(ErrorKind::Unavailable);
            match after {
                Some(after) => error.retry_as(Retry::After(after)).effect_as(EffectState::Unknown),
                None => error,
            }
        }
        400 | 409 | 413 => of(ErrorKind::Invalid),
        _ => of(ErrorKind::Unexpected),
    }
}

fn unsupported(error: Error) -> Error {
    error.next("a registry may be set up not to delete: distribution has storage.delete.enabled")
}

/// `Retry-After`, in seconds or as a date.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: Timestamp = httpdate::parse_http_date(text.trim()).ok()?.into();
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::image::name::Repository;

    fn error(status: u16, body: &'static str, retry_after: Option<&'static str>) -> Error {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert("retry-after", text.parse().unwrap());
        }
        let asked =
            Asked::new("GET", &Repository::parse("r.example.com/a").unwrap(), "manifests/x".into(), "pull");
        let now = Timestamp::from_millis(1_000_000);
        refused(&asked, &Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }, now)
    }

    #[test]
    fn each_status_is_a_decision() {
        for (status, kind) in [
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (405, ErrorKind::Unsupported),
            (408, ErrorKind::TimedOut),
            (400, ErrorKind::Invalid),
            (429, ErrorKind::Throttled),
            (500, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (418, ErrorKind::Unexpected),
        ] {
            assert_eq!(error(status, "<html>", None).kind(), kind, "{status}");
        }
        let code =
            r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported.","detail":null}]}"#;
        assert_eq!(error(400, code, None).kind(), ErrorKind::Unsupported);
        let said =
            error(403, r#"{"errors":[{"code":"DENIED","message":"token=hunter2 no"}]}"#, None).to_string();
        assert!(said.contains("answers 403 DENIED") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn the_pause_is_the_registrys() {
        assert_eq!(error(429, "", Some("7")).retry(), Retry::After(Duration::from_secs(7)));
        let date = error(429, "", Some("Thu, 01 Jan 1970 00:17:00 GMT"));
        assert_eq!(date.retry(), Retry::After(Duration::from_secs(20)));
        assert_eq!(error(429, "", Some("soon")).retry(), Retry::Always);
        assert_eq!(error(503, "", Some("2")).retry(), Retry::After(Duration::from_secs(2)));
        assert_eq!(error(503, "", None).retry(), Retry::IfIdempotent);
    }
}
