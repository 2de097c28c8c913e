use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::{
    body::SdkBody,
    error::{ErrorMetadata, metadata::Builder},
};

use super::*;

#[derive(Debug)]
struct Answered(ErrorMetadata);

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("service error")
    }
}

impl StdError for Answered {}

impl ProvideErrorMetadata for Answered {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

fn response(status: u16) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
}

fn answer(status: u16, code: &str, text: &str) -> SdkError<Answered, HttpResponse> {
    let meta: Builder = ErrorMetadata::builder().code(code).message(text);
    SdkError::service_error(Answered(meta.build()), response(status))
}

fn io(kind: std::io::ErrorKind) -> Box<dyn StdError + Send + Sync> {
    Box::new(std::io::Error::new(kind, "boom"))
}

type Expected = (ErrorKind, Retry, EffectState);

const NEVER: Retry = Retry::Never;
const DONE: EffectState = EffectState::NotApplied;
const OPEN: EffectState = EffectState::Unknown;
const LATER: Retry = Retry::After(Duration::from_secs(2));

#[test]
fn every_answer_of_a_mutation() {
    use ErrorKind::*;
    let table: &[(u16, &str, &str, Expected)] = &[
        (400, "ThrottlingException", "Rate exceeded", (Throttled, LATER, DONE)),
        (503, "SlowDown", "", (Throttled, LATER, DONE)),
        (429, "", "", (Throttled, LATER, DONE)),
        (
            400,
            "ClientException",
            "Too many concurrent attempts to create a new revision of the specified family.",
            (Throttled, LATER, DONE),
        ),
        (500, "ServerException", "", (Unavailable, Retry::IfIdempotent, OPEN)),
        (503, "ServiceUnavailable", "", (Unavailable, Retry::IfIdempotent, OPEN)),
        (502, "", "", (Unavailable, Retry::IfIdempotent, OPEN)),
        (400, "ExpiredTokenException", "", (Unauthenticated, NEVER, DONE)),
        (403, "UnrecognizedClientException", "", (Unauthenticated, NEVER, DONE)),
        (403, "InvalidSignatureException", "Signature expired", (Unauthenticated, NEVER, DONE)),
        (403, "AccessDeniedException", "", (PermissionDenied, NEVER, DONE)),
        (400, "AccessDeniedException", "", (PermissionDenied, NEVER, DONE)),
        (400, "InvalidParameterException", "", (Invalid, NEVER, DONE)),
        (400, "ClientException", "", (Invalid, NEVER, DONE)),
        (400, "LimitExceededException", "", (Invalid, NEVER, DONE)),
        (
            400,
            "AccountLimitExceededException",
            "Cannot have more than 60 active builds for the account",
            (Throttled, Retry::After(Duration::from_secs(30)), DONE),
        ),
        (400, "com.amazonaws.ecs#ServiceNotFoundException", "", (NotFound, NEVER, DONE)),
        (400, "ServiceNotActiveException", "", (NotFound, NEVER, DONE)),
        (400, "ConflictException", "", (Conflict, Retry::Always, DONE)),
        (400, "UnsupportedFeatureException", "", (Unsupported, NEVER, DONE)),
        (400, "RequestTimeoutException", "", (TimedOut, Retry::IfIdempotent, OPEN)),
        (200, "Odd", "", (Malformed, Retry::IfIdempotent, OPEN)),
    ];
    for (status, code, text, expected) in table {
        let error = map("UpdateService", Sent::Maybe, answer(*status, code, text));
        assert_eq!((error.kind(), error.retry(), error.effect()), *expected, "{status} {code}");
        assert!(error.message().starts_with("UpdateService: "), "{error}");
        let read = map("DescribeServices", Sent::Read, answer(*status, code, text));
        assert_eq!(read.effect(), DONE, "a read has no effect: {status} {code}");
        assert_eq!(read.kind(), expected.0);
    }
}

#[test]
fn every_way_of_getting_no_answer() {
    use ErrorKind::*;
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
    let refused = || ConnectorError::io(io(ConnectionRefused));
    let table: Vec<(SdkError<Answered, HttpResponse>, Expected)> = vec![
        (SdkError::dispatch_failure(refused()), (Unavailable, Retry::Always, DONE)),
        (
            SdkError::dispatch_failure(ConnectorError::io("cut off".into()).never_connected()),
            (Unavailable, Retry::Always, DONE),
        ),
        (
            SdkError::dispatch_failure(ConnectorError::timeout("HTTP connect timeout occurred".into())),
            (Unavailable, Retry::Always, DONE),
        ),
        (
            SdkError::dispatch_failure(ConnectorError::io(io(ConnectionReset))),
            (Unavailable, Retry::IfIdempotent, OPEN),
        ),
        (
            SdkError::dispatch_failure(ConnectorError::timeout("HTTP read timeout occurred".into())),
            (TimedOut, Retry::IfIdempotent, OPEN),
        ),
        (SdkError::timeout_error("attempt"), (TimedOut, Retry::IfIdempotent, OPEN)),
        (SdkError::response_error("not JSON", response(200)), (Malformed, Retry::IfIdempotent, OPEN)),
        (SdkError::dispatch_failure(ConnectorError::user("bad URI".into())), (Invalid, NEVER, DONE)),
        (SdkError::construction_failure("missing field"), (Invalid, NEVER, DONE)),
        (
            SdkError::dispatch_failure(ConnectorError::other(
                Box::new(CredentialsError::not_loaded("no providers in chain")),
                None,
            )),
            (Unauthenticated, NEVER, DONE),
        ),
    ];
    for (error, expected) in table {
        let shown = format!("{error:?}");
        let error = map("UpdateService", Sent::Maybe, error);
        assert_eq!((error.kind(), error.retry(), error.effect()), expected, "{shown}");
    }
}

#[test]
fn what_never_left_did_nothing() {
    let reset = SdkError::<Answered, _>::dispatch_failure(ConnectorError::io("reset".into()));
    assert_eq!(map("x", Sent::Nothing, reset).effect(), DONE);
}
