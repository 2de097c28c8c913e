//! What the Engine says when it cannot, as errors of ours.

use std::{error::Error as StdError, io};

use bollard::errors::Error as BollardError;

use crate::{
    error::{Error, ErrorKind, Retry},
    image::redact::Redactor,
};

/// What an Engine or its registry says, and what that means. The Engine tells most failures by a sentence alone, so the
/// words are all there is. The first row that fits decides.
const SENTENCES: [(&str, ErrorKind); 33] = [
    ("no space left on device", ErrorKind::Unavailable),
    ("disk quota exceeded", ErrorKind::Unavailable),
    // Of the Dockerfile: what it copies, and the stage that is asked for.
    ("dockerfile parse error", ErrorKind::Invalid),
    ("failed to read dockerfile", ErrorKind::Invalid),
    ("\" not found", ErrorKind::Invalid),
    ("\": not found", ErrorKind::Invalid),
    ("target stage ", ErrorKind::Invalid),
    ("toomanyrequests", ErrorKind::Throttled),
    ("too many requests", ErrorKind::Throttled),
    ("rate exceeded", ErrorKind::Throttled),
    ("unauthorized", ErrorKind::Unauthenticated),
    ("authentication required", ErrorKind::Unauthenticated),
    ("no basic auth credentials", ErrorKind::Unauthenticated),
    ("authorization token has expired", ErrorKind::Unauthenticated),
    ("authorization status: 401", ErrorKind::Unauthenticated),
    ("denied", ErrorKind::PermissionDenied),
    ("403 forbidden", ErrorKind::PermissionDenied),
    ("manifest unknown", ErrorKind::NotFound),
    ("name unknown", ErrorKind::NotFound),
    ("repository does not exist", ErrorKind::NotFound),
    (": not found", ErrorKind::NotFound),
    ("i/o timeout", ErrorKind::TimedOut),
    ("deadline exceeded", ErrorKind::TimedOut),
    ("handshake timeout", ErrorKind::TimedOut),
    ("connection refused", ErrorKind::Unavailable),
    ("connection reset", ErrorKind::Unavailable),
    ("broken pipe", ErrorKind::Unavailable),
    ("no such host", ErrorKind::Unavailable),
    ("unexpected http status: 5", ErrorKind::Unavailable),
    ("unexpected status code", ErrorKind::Unavailable),
    ("server error", ErrorKind::Unavailable),
    ("context canceled", ErrorKind::Unavailable),
    ("eof", ErrorKind::Unavailable),
];

/// An error of bollard's, while this was done ("push x").
pub(in crate::image) fn cannot(doing: &str, error: BollardError, redactor: &Redactor) -> Error {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => {
            let by_text = of_text(doing, &message, redactor);
            let kind = match status_code {
                400 | 413 => ErrorKind::Invalid,
                401 => ErrorKind::Unauthenticated,
                403 => ErrorKind::PermissionDenied,
                404 => ErrorKind::NotFound,
                409 => ErrorKind::Conflict,
                429 => ErrorKind::Throttled,
                _ if by_text.kind() == ErrorKind::Unexpected && status_code >= 500 => ErrorKind::Unavailable,
                _ => by_text.kind(),
            };
            said(doing, &message, kind, redactor)
        }
        BollardError::DockerStreamError { error } => of_text(doing, &error, redactor),
        BollardError::RequestTimeoutError => {
            Error::new(ErrorKind::TimedOut, format!("cannot {doing}: the Docker Engine does not answer"))
        }
        BollardError::JsonDataError { .. } | BollardError::JsonSerdeError { .. } => Error::new(
            ErrorKind::Malformed,
            format!("cannot {doing}: what the Docker Engine answers is not understood"),
        )
        .next("is it a Docker Engine that listens there?"),
        error => broken(doing, &error, redactor),
    }
}

/// What the Engine said in words, while this was done.
pub(in crate::image) fn of_text(doing: &str, text: &str, redactor: &Redactor) -> Error {
    let lower = text.to_lowercase();
    let known = SENTENCES.iter().find(|(words, _)| lower.contains(words));
    said(doing, text, known.map_or(ErrorKind::Unexpected, |(_, kind)| *kind), redactor)
}

fn said(doing: &str, text: &str, kind: ErrorKind, redactor: &Redactor) -> Error {
    let error = Error::new(kind, format!("cannot {doing}: {}", redactor.line(text)));
    match kind {
        // Building and pushing again gives the same again.
        ErrorKind::Unavailable if is_disk_full(text) => error
            .retry_as(Retry::Always)
            .next("free some space on the Engine's machine: docker system df, docker builder prune"),
        ErrorKind::Unavailable | ErrorKind::TimedOut => error.retry_as(Retry::Always),
        ErrorKind::Unauthenticated => error.next("docker login, or check the registry's credentials"),
        ErrorKind::PermissionDenied => error.next("the login may lack the right to this repository"),
        _ => error,
    }
}

/// Whether a line tells of a full disk.
pub(in crate::image) fn is_disk_full(text: &str) -> bool {
    let lower = text.to_lowercase();
    lower.contains("no space left on device") || lower.contains("disk quota exceeded")
}

fn broken(doing: &str, error: &BollardError, redactor: &Redactor) -> Error {
    let text = redactor.line(&chain(error));
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => {
            Error::new(ErrorKind::PermissionDenied, format!("cannot {doing}: its socket may not be used"))
                .next("add the user to the group docker, or set DOCKER_HOST")
        }
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Error::new(ErrorKind::Unavailable, format!("cannot {doing}: nothing listens there"))
                .retry_as(Retry::Always)
                .next("start Docker, or set DOCKER_HOST")
        }
        _ => Error::new(ErrorKind::Unavailable, format!("cannot {doing}: the connection broke: {text}"))
            .retry_as(Retry::Always)
            .next("did the Docker Engine stop? Trying again does no harm"),
    }
}

fn io_kind(error: &BollardError) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(this) = cause {
        // A transparent error shows its cause's causes only.
        let io = match this.downcast_ref::<BollardError>() {
            Some(BollardError::IOError { err }) => Some(err),
            _ => this.downcast_ref::<io::Error>(),
        };
        // What a connector wraps has a kind of its own further in.
        if let Some(kind) = io.map(io::Error::kind).filter(|kind| *kind != io::ErrorKind::Other) {
            return Some(kind);
        }
        cause = this.source();
    }
    None
}

fn chain(error: &BollardError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(this) = cause {
        text = format!("{text}: {this}");
        cause = this.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_have_kinds() {
        for (text, kind) in [
            ("write /var/lib/docker/tmp/x: no space left on device", ErrorKind::Unavailable),
            ("toomanyrequests: You have reached your pull rate limit", ErrorKind::Throttled),
            ("unauthorized: authentication required", ErrorKind::Unauthenticated),
            ("no basic auth credentials", ErrorKind::Unauthenticated),
            ("denied: requested access to the resource is denied", ErrorKind::PermissionDenied),
            ("manifest for x:y not found: manifest unknown: manifest unknown", ErrorKind::NotFound),
            ("docker.io/library/nothing:latest: not found", ErrorKind::NotFound),
            (
                "Put \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                ErrorKind::Unavailable,
            ),
            ("received unexpected HTTP status: 500 Internal Server Error", ErrorKind::Unavailable),
            ("Patch \"http://x\": EOF", ErrorKind::Unavailable),
            ("dial tcp: i/o timeout", ErrorKind::TimedOut),
            ("failed to compute cache key: \"/nothing\" not found: not found", ErrorKind::Invalid),
            ("failed to calculate checksum of ref x::y: \"/nothing\": not found", ErrorKind::Invalid),
            ("failed to solve: dockerfile parse error line 1: unknown instruction: FORM", ErrorKind::Invalid),
            ("failed to create LLB definition: target stage nope could not be found", ErrorKind::Invalid),
            ("failed to create LLB definition: 127.0.0.1:5055/none/x:y: not found", ErrorKind::NotFound),
            ("something else", ErrorKind::Unexpected),
        ] {
            assert_eq!(of_text("push x", text, &Redactor::default()).kind(), kind, "{text}");
        }
    }

    #[test]
    fn what_breaks_on_the_way_says_what_to_do() {
        let io = |kind: io::ErrorKind| BollardError::IOError { err: kind.into() };
        for (error, kind, next) in [
            (io(io::ErrorKind::NotFound), ErrorKind::Unavailable, "start Docker"),
            (io(io::ErrorKind::PermissionDenied), ErrorKind::PermissionDenied, "group docker"),
            (io(io::ErrorKind::ConnectionReset), ErrorKind::Unavailable, "Trying again"),
        ] {
            let error = cannot("build x", error, &Redactor::default());
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains(next), "{error}");
        }
        let refused = |status_code| {
            let error = BollardError::DockerResponseServerError { status_code, message: "odd".into() };
            cannot("build x", error, &Redactor::default()).kind()
        };
        assert_eq!(refused(400), ErrorKind::Invalid);
        assert_eq!(refused(500), ErrorKind::Unavailable);
        assert_eq!(refused(418), ErrorKind::Unexpected);
    }
}
