//! What AWS and the way to it answer with, as errors of deploy-core. One place, table-tested.

use std::{error::Error as StdError, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use deploy_core::{EffectState, Error, ErrorKind, Retry};

/// What was tried, and how far it got: decides what is known of the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A read: it has no effect.
    Read,
    /// A mutation that did not leave this process.
    Nothing,
    /// A mutation whose bytes may have left.
    Maybe,
}

impl Sent {
    fn unknown(self) -> EffectState {
        match self {
            Self::Read | Self::Nothing => EffectState::NotApplied,
            Self::Maybe => EffectState::Unknown,
        }
    }

    /// Whether the same call may be made again after an answer that tells nothing.
    fn again(self) -> Retry {
        match self {
            Self::Read | Self::Nothing => Retry::Always,
            Self::Maybe => Retry::IfIdempotent,
        }
    }
}

/// Maps the error of one call. `doing` is what a person reads first (`UpdateService prod-api`).
pub fn map<E>(doing: &str, sent: Sent, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let SdkError::ServiceError(answer) = &error {
        let (code, text) = (error.code().unwrap_or(""), error.message().unwrap_or(""));
        return of_answer(doing, sent, answer.raw().status(), code, text).because(error);
    }
    // Credentials are looked for before anything is sent, and the SDK has no variant of its own for it.
    if chain(&error).any(|cause| cause.downcast_ref::<CredentialsError>().is_some()) {
        return Error::new(ErrorKind::Unauthenticated, format!("{doing}: no AWS credentials"))
            .next(LOG_IN)
            .because(error);
    }
    let (unknown, again) = (sent.unknown(), sent.again());
    match &error {
        SdkError::ConstructionFailure(_) => Error::new(
            ErrorKind::Invalid,
            format!("{doing}: the request cannot be made: {}", innermost(&error)),
        ),
        SdkError::ResponseError(_) => {
            let text = format!("{doing}: the answer cannot be understood: {}", innermost(&error));
            Error::new(ErrorKind::Malformed, text).retry_as(again).effect_as(unknown)
        }
        _ if never_connected(&error) => {
            Error::new(ErrorKind::Unavailable, format!("{doing}: cannot connect: {}", innermost(&error)))
                .retry_as(Retry::Always)
                .effect_as(EffectState::NotApplied)
                .next("check the network, the region and AWS_ENDPOINT_URL")
        }
        SdkError::TimeoutError(_) => Error::new(ErrorKind::TimedOut, format!("{doing}: no answer in time"))
            .retry_as(again)
            .effect_as(unknown),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            Error::new(ErrorKind::TimedOut, format!("{doing}: no answer in time"))
                .retry_as(again)
                .effect_as(unknown)
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => Error::new(
            ErrorKind::Invalid,
            format!("{doing}: the request cannot be sent: {}", innermost(&error)),
        ),
        _ => Error::new(
            ErrorKind::Unavailable,
            format!("{doing}: the connection broke: {}", innermost(&error)),
        )
        .retry_as(again)
        .effect_as(unknown),
    }
    .because(error)
}

const LOG_IN: &str = "log in again (`aws sso login`, or new AWS_* variables), then repeat the command";

/// Maps an answer that AWS gave. Codes come first: throttling has come with 400, 429 and 503.
fn of_answer(doing: &str, sent: Sent, status: StatusCode, code: &str, text: &str) -> Error {
    // Some protocols prefix the code with its namespace and suffix it with a URL.
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    let shown = if code.is_empty() { format!("HTTP {}", status.as_u16()) } else { code.to_owned() };
    let says = |kind: ErrorKind| {
        let colon = if text.is_empty() { "" } else { ": " };
        Error::new(kind, format!("{doing}: {shown}{colon}{text}"))
    };
    let did_nothing = |kind: ErrorKind| says(kind).retry_as(Retry::Never).effect_as(EffectState::NotApplied);
    if is_throttling(status, code, text) {
        return did_nothing(ErrorKind::Throttled).retry_as(Retry::After(Duration::from_secs(2)));
    }
    match code {
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => did_nothing(ErrorKind::Unauthenticated).next(LOG_IN),
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestTimeTooSkewed" => did_nothing(ErrorKind::Unauthenticated)
            .next("check this machine's clock and the secret access key"),
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "OptInRequired"
        | "NotAuthorized" => did_nothing(ErrorKind::PermissionDenied)
            .next("let the IAM policy of this identity allow it, or use another identity"),
        "ConflictException"
        | "UpdateInProgressException"
        | "ResourceInUseException"
        | "OperationAbortedException" => did_nothing(ErrorKind::Conflict).retry_as(Retry::Always),
        "LimitExceededException" => {
            did_nothing(ErrorKind::Invalid).next("a quota of the account is reached: raise it")
        }
        // What is used up for now, and not for good: builds that run, calls that are under way.
        "AccountLimitExceededException" => did_nothing(ErrorKind::Throttled)
            .retry_as(Retry::After(Duration::from_secs(30)))
            .next("wait until less of it runs, or raise the account's quota"),
        "UnsupportedFeatureException" | "UnknownOperationException" => did_nothing(ErrorKind::Unsupported),
        "ServiceNotActiveException" => {
            did_nothing(ErrorKind::NotFound).next("the service was deleted: create it first")
        }
        "RequestTimeout" | "RequestTimeoutException" => {
            says(ErrorKind::TimedOut).retry_as(sent.again()).effect_as(sent.unknown())
        }
        _ if is_server_fault(status, code) => {
            says(ErrorKind::Unavailable).retry_as(sent.again()).effect_as(sent.unknown())
        }
        _ if code.ends_with("NotFoundException") || code.ends_with("NotFound") => {
            did_nothing(ErrorKind::NotFound)
                .next("check account, region and the name; `doctor` shows what is there")
        }
        _ if status.is_client_error() => did_nothing(ErrorKind::Invalid),
        // An error with a status that says success or redirection: nothing can be concluded from it.
        _ => says(ErrorKind::Malformed).retry_as(sent.again()).effect_as(sent.unknown()),
    }
}

fn is_throttling(status: StatusCode, code: &str, text: &str) -> bool {
    let by_code = matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "SlowDown"
            | "EC2ThrottledException"
    );
    // ECS answers a second RegisterTaskDefinition of one family at the same moment with a ClientException.
    by_code
        || status.as_u16() == 429
        || text.starts_with("Too many concurrent attempts")
        || text == "Rate exceeded"
}

fn is_server_fault(status: StatusCode, code: &str) -> bool {
    let by_code = matches!(
        code,
        "ServerException"
            | "ServiceException"
            | "InternalFailure"
            | "InternalError"
            | "InternalServerError"
            | "InternalServerException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
    );
    by_code || status.is_server_error()
}

/// Whether not even a connection came about. The SDK keeps its own mark for that to itself, so the causes are read.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        let refused = cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        let text = cause.to_string();
        refused
            || text.starts_with("HTTP connect timeout")
            || text.starts_with("client error (Connect)")
            || text.starts_with("dns error")
            || format!("{cause:?}").contains("NeverConnected")
    })
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| (*cause).source())
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
