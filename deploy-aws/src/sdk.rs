//! The plumbing between our own crates and the SDK. Not a public API: it names SDK types and moves with them.

use std::{
    error::Error as StdError,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
                BeforeTransmitInterceptorContextRef,
            },
        },
        orchestrator::HttpResponse,
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag, error::metadata::ProvideErrorMetadata};
use deploy_core::{Error, ErrorKind, Result, Retry, clock::Clock, context::Permit};
use serde_json::Value;

pub use aws_smithy_types::error::metadata::ProvideErrorMetadata as Metadata;

pub use crate::error::{Sent, map};

/// How a call of the SDK fails.
pub type Failed<E> = SdkError<E, HttpResponse>;

/// How often a read is made before its error is passed on.
const READ_TRIES: u32 = 3;
/// The pause after the first failed read; doubles with each.
const READ_PAUSE_MS: u64 = 250;

/// What the user agent of a mutation names its deploy, intent and fence after: `deploy-kit/ROLLOUT-INTENT#FENCE`.
pub const AGENT: &str = "deploy-kit/";

/// What the interceptor and the caller of one attempt both see.
#[derive(Debug, Default)]
struct Seen {
    left: AtomicBool,
    denied: Mutex<Option<Error>>,
    body: Mutex<Option<Vec<u8>>>,
}

/// One call of a mutation under its permit, or one read: signing time, last check, and the answer as it came.
#[derive(Debug, Clone)]
pub struct Attempt {
    permit: Option<Permit>,
    send: Option<Value>,
    seen: Arc<Seen>,
}

impl Attempt {
    /// A mutation under this permit.
    #[must_use]
    pub fn mutation(permit: &Permit) -> Self {
        Self { permit: Some(permit.clone()), send: None, seen: Arc::default() }
    }

    /// A read whose raw answer is wanted.
    #[must_use]
    pub fn read() -> Self {
        Self { permit: None, send: None, seen: Arc::default() }
    }

    /// Sends this JSON in place of what the SDK made of its typed input: fields that the SDK does not know are kept.
    #[must_use]
    pub fn sending(mut self, body: Value) -> Self {
        self.send = Some(body);
        self
    }

    /// The time to sign with, for a mutation: fixed when the intent became durable.
    #[must_use]
    pub fn signing_time(&self) -> Option<StaticTimeSource> {
        self.permit.as_ref().map(|permit| StaticTimeSource::new(permit.signed_at().into()))
    }

    /// To be given to the operation.
    #[must_use]
    pub fn interceptor(&self) -> impl Intercept + 'static {
        Hook(self.clone())
    }

    /// The result of the call, with what is known of its effect.
    ///
    /// # Errors
    /// The permit's if it was over, else as mapped.
    pub fn ended<T, E>(&self, doing: &str, result: Result<T, SdkError<E, HttpResponse>>) -> Result<T>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        if let Some(denied) = lock(&self.seen.denied).take() {
            return Err(denied);
        }
        let sent = match (&self.permit, self.seen.left.load(Ordering::Acquire)) {
            (None, _) => Sent::Read,
            (Some(_), false) => Sent::Nothing,
            (Some(_), true) => Sent::Maybe,
        };
        result.map_err(|error| map(doing, sent, error))
    }

    /// The answer's body as JSON, as it came over the wire.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if there is none or it is not JSON; the effect is that of a mutation that was answered.
    pub fn answer(&self, doing: &str) -> Result<Value> {
        let body = lock(&self.seen.body).take().unwrap_or_default();
        serde_json::from_slice(&body).map_err(|error| {
            let text = format!("{doing}: the answer is not JSON");
            let error = Error::new(ErrorKind::Malformed, text).because(error);
            match self.permit {
                Some(_) => error.effect_as(deploy_core::EffectState::Unknown).retry_as(Retry::IfIdempotent),
                None => error,
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Hook(Attempt);

impl Intercept for Hook {
    fn name(&self) -> &'static str {
        "deploy-kit: one attempt under a permit"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(body) = &self.0.send {
            let bytes = serde_json::to_vec(body)?;
            let request = context.request_mut();
            // It was set from the typed input's length.
            request.headers_mut().insert("content-length", bytes.len().to_string());
            *request.body_mut() = SdkBody::from(bytes);
        }
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Not part of the signature, and kept in CloudTrail: which deploy made a call, and by which of its intents.
        if let Some(permit) = &self.0.permit {
            let headers = context.request_mut().headers_mut();
            let agent = headers.get("user-agent").unwrap_or_default();
            let agent = format!("{agent} {AGENT}{}#{}", permit.token(), permit.fence());
            headers.try_insert("user-agent", agent.trim_start().to_owned())?;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The last hook of all: credentials were fetched and the request was signed before, which may have taken long.
        if let Some(permit) = &self.0.permit {
            let over = match permit.check() {
                Err(over) => over,
                // A second sending under one permit: the SDK must not do that, whatever its configuration says.
                Ok(()) if self.0.seen.left.swap(true, Ordering::AcqRel) => {
                    return Err("the permit of this request was used".into());
                }
                Ok(()) => return Ok(()),
            };
            let text = over.to_string();
            *lock(&self.0.seen.denied) = Some(over);
            return Err(text.into());
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *lock(&self.0.seen.body) = context.response().body().bytes().map(<[u8]>::to_vec);
        Ok(())
    }
}

/// A call whose answer holds secrets, without the SDK's own log lines: the finest of them show whole answers.
#[cfg(any(feature = "docker", feature = "codebuild"))]
pub(crate) fn unlogged<F: Future>(call: F) -> impl Future<Output = F::Output> {
    use std::sync::LazyLock;
    use tracing::{Dispatch, instrument::WithSubscriber, subscriber::NoSubscriber};
    // A real one and not `Dispatch::none`, which tracing does not count: a place in the code that is first met under it
    // would be held for one that nobody ever listens to.
    static DEAF: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));
    call.with_subscriber(DEAF.clone())
}

/// As [`map`], for a call whose answer holds secrets: nothing of the answer is in the error, nor in what caused it.
#[cfg(any(feature = "docker", feature = "codebuild"))]
pub(crate) fn map_unshown<E>(doing: &str, sent: Sent, error: Failed<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let unread = matches!(error, SdkError::ResponseError(_));
    let error = bare(&map(doing, sent, error));
    if !unread {
        return error;
    }
    Error::new(ErrorKind::Malformed, format!("{doing}: the answer cannot be understood"))
        .retry_as(error.retry())
        .effect_as(error.effect())
}

/// The same error, without what caused it.
#[cfg(any(feature = "docker", feature = "codebuild"))]
pub(crate) fn bare(error: &Error) -> Error {
    let bare = Error::new(error.kind(), error.message()).retry_as(error.retry()).effect_as(error.effect());
    match error.what_next() {
        Some(next) => bare.next(next),
        None => bare,
    }
}

/// Makes a read up to three times: throttled, unavailable and timed out ones are repeated after a pause of the clock.
///
/// # Errors
/// The last one's.
pub async fn read<T, F, C>(clock: &dyn Clock, mut call: C) -> Result<T>
where
    C: FnMut() -> F + Send,
    F: Future<Output = Result<T>> + Send,
    T: Send,
{
    let mut pause = READ_PAUSE_MS;
    for _ in 1..READ_TRIES {
        match call().await {
            Err(error) if passes(error.kind()) => {
                tracing::debug!(%error, "a read is repeated");
                clock.sleep(Duration::from_millis(pause)).await;
                pause *= 2;
            }
            ended => return ended,
        }
    }
    call().await
}

/// Whether it may be over soon.
pub(crate) fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::TimedOut)
}
