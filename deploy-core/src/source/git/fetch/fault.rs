//! What a failed fetch means: libgit2 tells little more than a text.

use git2::{ErrorClass, ErrorCode};

use super::GivenUp;
use crate::{
    error::{EffectState, Error, ErrorKind, Retry},
    model::Secret,
    report::scrub_line,
    source::git::{
        address::{Address, Scheme},
        login::Login,
    },
};

pub(super) fn fault(
    error: &git2::Error,
    remote: &str,
    address: &Address,
    login: &Login,
    token: Option<&Secret>,
    given_up: &GivenUp,
) -> Error {
    let shown = &address.shown;
    let place = format!("{remote} ({shown})");
    // A server may well say what it was given.
    let said = match token.map(Secret::expose).filter(|token| !token.is_empty()) {
        Some(token) => error.message().replace(token, "***"),
        None => error.message().to_owned(),
    };
    let said = scrub_line(&said);
    if given_up.is_set() {
        return Error::new(ErrorKind::Interrupted, format!("fetching from {place} was given up"));
    }
    let kind = kind(error, address, login);
    let found = match kind {
        ErrorKind::Unauthenticated => {
            let then = if broke_off(error, address) {
                "; then the connection broke, as it does after too many keys"
            } else {
                ""
            };
            let text = format!("{place} cannot be logged in to: {}{then}", login.told());
            let next = match address.scheme {
                Scheme::Ssh => "ssh-add -l tells the agent's keys; add the one that the server knows",
                _ => "give a token, or log in once with `git fetch` and a credential helper",
            };
            Error::new(kind, text).next(next)
        }
        ErrorKind::PermissionDenied => Error::new(kind, format!("{place} does not allow it: {said}"))
            .next("use credentials that may read the repository"),
        ErrorKind::NotFound if address.scheme == Scheme::Local => {
            Error::new(kind, format!("there is no repository at {place}"))
                .next(format!("check `git remote get-url {remote}`"))
        }
        ErrorKind::NotFound => Error::new(kind, format!("there is no repository at {place}: {said}"))
            .next(format!("check `git remote get-url {remote}`, and whether these credentials may see it")),
        ErrorKind::Invalid if address.scheme == Scheme::Ssh => {
            let key = login.host_key.as_deref().unwrap_or("of no known kind");
            let host = &address.host;
            let text =
                format!("the key of {host} ({key}) is not the one in ~/.ssh/known_hosts, or none is there");
            Error::new(kind, text).next(format!(
                "compare it with what {host} publishes, then connect once with ssh to accept it"
            ))
        }
        ErrorKind::Invalid => {
            Error::new(kind, format!("{place} shows a certificate that is not trusted: {said}"))
                .next("add its authority to the system's certificates")
        }
        ErrorKind::Throttled => Error::new(kind, format!("{place} says too many requests")),
        ErrorKind::Unavailable => Error::new(kind, format!("{place} cannot be reached: {said}"))
            .retry_as(Retry::Always)
            .effect_as(EffectState::NotApplied),
        ErrorKind::Unsupported => Error::new(kind, format!("{place} is of a kind that is not known: {said}"))
            .next(format!("git fetch {remote}")),
        ErrorKind::Conflict => {
            Error::new(kind, format!("somebody else writes here while {place} is fetched: {said}"))
        }
        _ => Error::new(kind, format!("fetching from {place} failed: {said}"))
            .next(format!("`git fetch {remote}` may tell more")),
    };
    // The text is all that there is, and unlike it the error itself is not scrubbed.
    found.because(format!("libgit2: {said} ({:?}, {:?})", error.class(), error.code()))
}

/// The connection broke while it was logged in, which libgit2 calls a login that was refused: the server did not even say what
/// it accepts (libssh2's `userauth_list`), or was not there any more to hear of a key.
fn broke_off(error: &git2::Error, address: &Address) -> bool {
    let text = error.message().to_ascii_lowercase();
    let words = ["remote rejected authentication", "unable to send userauth", "failed getting response"];
    address.scheme == Scheme::Ssh && words.iter().any(|words| text.contains(words))
}

fn kind(error: &git2::Error, address: &Address, login: &Login) -> ErrorKind {
    let text = error.message().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if broke_off(error, address) && !login.has_tried_many() {
        return ErrorKind::Unavailable;
    }
    match (error.code(), error.class()) {
        (ErrorCode::Auth, _) => return ErrorKind::Unauthenticated,
        (ErrorCode::Certificate, _) => return ErrorKind::Invalid,
        (ErrorCode::Locked | ErrorCode::Modified | ErrorCode::Exists, _) => return ErrorKind::Conflict,
        // On its way out of libgit2 the code of a lock may get lost.
        _ if says(&["failed to lock file"])
            || says(&["failed to create locked file"]) && says(&["file exists"]) =>
        {
            return ErrorKind::Conflict;
        }
        _ if login.is_exhausted => return ErrorKind::Unauthenticated,
        // The one that libgit2 knows beside http and ssh.
        _ if address.scheme == Scheme::Other && !address.shown.starts_with("git://") => {
            return ErrorKind::Unsupported;
        }
        _ => {}
    }
    if let Some(status) = text.split_once("unexpected http status code: ").map(|(_, status)| status.trim()) {
        return match status {
            "403" => ErrorKind::PermissionDenied,
            "404" | "410" => ErrorKind::NotFound,
            "429" => ErrorKind::Throttled,
            _ if status.starts_with('5') => ErrorKind::Unavailable,
            _ => ErrorKind::Unexpected,
        };
    }
    match error.class() {
        // A path at which nothing is, libgit2 takes for an address of another kind.
        ErrorClass::Repository | ErrorClass::Os | ErrorClass::Net if address.scheme == Scheme::Local => {
            ErrorKind::NotFound
        }
        ErrorClass::Net | ErrorClass::Ssh if says(&["unsupported url protocol"]) => ErrorKind::Unsupported,
        // The words of git's own servers, of GitHub, GitLab and Bitbucket.
        ErrorClass::Net | ErrorClass::Ssh
            if says(&["not found", "does not exist", "not appear to be a git", "no such"]) =>
        {
            ErrorKind::NotFound
        }
        ErrorClass::Ssh if says(&["authenticat"]) => ErrorKind::Unauthenticated,
        ErrorClass::Net | ErrorClass::Ssh if says(&["denied", "forbidden", "not allowed"]) => {
            ErrorKind::PermissionDenied
        }
        ErrorClass::Net | ErrorClass::Ssh | ErrorClass::Os | ErrorClass::Ssl | ErrorClass::Http => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::git::ssh::SshHost;

    const SSH: &str = "ssh://git@example.com/a.git";
    const HTTPS: &str = "https://me:hunter2@example.com/a.git";

    fn of(url: &str, code: ErrorCode, class: ErrorClass, message: &str) -> Error {
        let (address, token) = (Address::of(url), Secret::new("s3cr3t-t0ken"));
        let login = Login::new(address.clone(), Some(token.clone()), &SshHost::default());
        let error = git2::Error::new(code, class, message);
        fault(&error, "origin", &address, &login, Some(&token), &GivenUp::default())
    }

    #[test]
    fn each_failure_has_its_kind_and_says_where_and_what_next() {
        use ErrorClass as Class;
        let any = ErrorCode::GenericError;
        for (url, code, class, message, kind) in [
            (HTTPS, ErrorCode::Auth, Class::Http, "x", ErrorKind::Unauthenticated),
            (SSH, ErrorCode::Auth, Class::Callback, "x", ErrorKind::Unauthenticated),
            (SSH, any, Class::Ssh, "failed to authenticate SSH session: x", ErrorKind::Unauthenticated),
            (HTTPS, any, Class::Http, "unexpected http status code: 403", ErrorKind::PermissionDenied),
            (HTTPS, any, Class::Http, "unexpected http status code: 404", ErrorKind::NotFound),
            (HTTPS, any, Class::Http, "unexpected http status code: 429", ErrorKind::Throttled),
            (HTTPS, any, Class::Http, "unexpected http status code: 503", ErrorKind::Unavailable),
            (HTTPS, any, Class::Http, "unexpected http status code: 418", ErrorKind::Unexpected),
            (HTTPS, ErrorCode::Certificate, Class::Ssl, "x", ErrorKind::Invalid),
            (
                SSH,
                ErrorCode::Certificate,
                Class::Ssh,
                "invalid or unknown remote ssh hostkey",
                ErrorKind::Invalid,
            ),
            (
                SSH,
                ErrorCode::Auth,
                Class::Ssh,
                "remote rejected authentication: Failed getting response",
                ErrorKind::Unavailable,
            ),
            (SSH, ErrorCode::Eof, Class::Ssh, "ERROR: Repository not found.", ErrorKind::NotFound),
            (
                SSH,
                ErrorCode::Eof,
                Class::Ssh,
                "fatal: '/x' does not appear to be a git repository",
                ErrorKind::NotFound,
            ),
            (SSH, any, Class::Net, "failed to resolve address for example.com", ErrorKind::Unavailable),
            (
                SSH,
                any,
                Class::Os,
                "failed to connect to example.com: Connection refused",
                ErrorKind::Unavailable,
            ),
            ("/srv/x", any, Class::Os, "failed to resolve path '/srv/x'", ErrorKind::NotFound),
            (
                "/srv/x",
                ErrorCode::NotFound,
                Class::Repository,
                "could not find repository",
                ErrorKind::NotFound,
            ),
            ("svn://h/x", any, Class::Net, "unsupported URL protocol", ErrorKind::Unsupported),
            (SSH, ErrorCode::Locked, Class::Os, "failed to lock file", ErrorKind::Conflict),
            (
                "/srv/x",
                any,
                Class::Os,
                "failed to lock file '/x/.git/refs/remotes/origin/main.lock' for writing: ",
                ErrorKind::Conflict,
            ),
            (
                "/srv/x",
                any,
                Class::Os,
                "failed to create locked file '/x/.git/refs/remotes/origin/main.lock': File exists",
                ErrorKind::Conflict,
            ),
            (SSH, any, Class::Indexer, "unexpected", ErrorKind::Unexpected),
        ] {
            let error = of(url, code, class, message);
            assert_eq!(error.kind(), kind, "{url} {class:?} {message}");
            let shown = error.to_string();
            assert!(shown.contains("example.com") || shown.contains('x'), "{shown}");
            let waits = matches!(kind, ErrorKind::Unavailable | ErrorKind::Throttled | ErrorKind::Conflict);
            assert_eq!(error.what_next().is_some(), !waits, "{shown}");
            assert_eq!(error.effect(), EffectState::NotApplied, "{shown}");
        }
    }

    #[test]
    fn an_unknown_host_key_is_shown_beside_where_it_was_looked_for() {
        let address = Address::of(SSH);
        let mut login = Login::new(address.clone(), None, &SshHost::default());
        login.host_key = Some("SHA256:abc".into());
        let error = git2::Error::new(ErrorCode::Certificate, ErrorClass::Ssh, "x");
        let text = fault(&error, "origin", &address, &login, None, &GivenUp::default()).to_string();
        for words in ["example.com", "SHA256:abc", "~/.ssh/known_hosts"] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn no_credential_is_in_any_text() {
        let message = "remote: bad token s3cr3t-t0ken for https://me:hunter2@example.com/a.git";
        for class in [ErrorClass::Http, ErrorClass::Net, ErrorClass::Ssh, ErrorClass::Indexer] {
            for code in [ErrorCode::GenericError, ErrorCode::Auth, ErrorCode::Certificate] {
                let error = of(HTTPS, code, class, message);
                let all = format!("{error} {error:?}");
                assert!(!all.contains("hunter2") && !all.contains("s3cr3t-t0ken"), "{all}");
            }
        }
    }
}
