//! The emulator as its users hold it: a World, a clock, faults and counters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::Value;
use tokio::time::Instant;

use super::calls::{self, CallCounts, CallOutcome, CallRecord, Calls};
use super::config::Config;
use super::ecr_calls::LAYERS;
use super::error::ApiError;
use super::fault::{CallInfo, FaultKind, FaultRule, FaultSource, Faults};
use super::transport::InProcess;
use super::wire::{self, Call, WireAnswer, WireRequest};
use super::world::{Api, World};

/// An emulated account. Clones are the same one.
#[derive(Clone)]
pub struct Emulator {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    world: World,
    /// The runtime's instant at which the emulator's clock showed `epoch_ms`.
    epoch: Instant,
    epoch_ms: i64,
    speed: u32,
    faults: Faults,
    calls: Calls,
}

/// A call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Refused,
    Reset,
}

impl Emulator {
    /// An empty account whose clock starts now.
    pub fn new(config: Config) -> Self {
        Self::with_world(World::new(config))
    }

    /// Goes on with a World, such as one of an earlier run: its time goes on where it stopped.
    pub fn with_world(world: World) -> Self {
        let (speed, seed) = (world.config().speed.max(1), world.config().seed);
        let inner = Inner {
            epoch: Instant::now(),
            epoch_ms: world.now_ms(),
            speed,
            faults: Faults::new(seed),
            calls: Calls::default(),
            world,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// An HTTP client for the AWS SDK that ends here, without a socket.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(InProcess::new(self.clone()))
    }

    /// The emulator's time.
    pub fn now_ms(&self) -> i64 {
        self.lock().now_ms()
    }

    /// Lets so many milliseconds of the emulator's time pass at once.
    pub fn skip_ms(&self, ms: i64) {
        let mut inner = self.lock();
        inner.epoch_ms = inner.epoch_ms.saturating_add(ms.max(0));
        let now = inner.now_ms();
        inner.world.advance(now);
    }

    /// Changes how fast the emulator's time passes, from now on.
    pub fn set_speed(&self, speed: u32) {
        let mut inner = self.lock();
        inner.epoch_ms = inner.now_ms();
        inner.epoch = Instant::now();
        inner.speed = speed.max(1);
    }

    /// Works on the World as it is now.
    pub fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.now_ms();
        inner.world.advance(now);
        work(&mut inner.world)
    }

    /// A call as another client would make it, now: without fault and delay, and counted nowhere.
    ///
    /// # Errors
    /// As the service answers.
    pub fn call(&self, api: Api, action: &str, body: &Value) -> Result<Value, ApiError> {
        self.with(|world| {
            let now = world.now_ms();
            world.call(now, api, action, body)
        })
    }

    /// Adds a scripted fault.
    pub fn fault(&self, rule: FaultRule) {
        self.lock().faults.add(rule);
    }

    /// Lets somebody decide about the faults of each call; scripted faults stay, and come second.
    pub fn fault_source(&self, source: impl FaultSource + 'static) {
        self.lock().faults.set_source(Some(Box::new(source)));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How often what was called.
    pub fn counts(&self) -> CallCounts {
        self.lock().calls.counts.clone()
    }

    /// The latest calls, oldest first.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().calls.log.iter().cloned().collect()
    }

    /// Forgets which calls were made.
    pub fn reset_calls(&self) {
        self.lock().calls = Calls::default();
    }

    /// The World as JSON, as it is now.
    pub fn snapshot(&self) -> Value {
        self.with(|world| world.snapshot())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere is a failed test already; the World itself is always whole between two calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so many milliseconds of the emulator's time.
    async fn wait(&self, ms: i64) {
        let Ok(ms) = u64::try_from(ms) else { return };
        if ms > 0 {
            let speed = self.lock().speed;
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(ms) / speed).await;
        }
    }

    /// A request and its answer, with everything that may happen on the way.
    ///
    /// From its sending on it goes on by itself: a client that gives up, stops or dies takes nothing back.
    pub(super) async fn exchange(&self, request: WireRequest) -> Result<WireAnswer, Broken> {
        if let Some(digest) = request.path.strip_prefix(LAYERS) {
            return Ok(wire::layer(self.with(|world| world.layer(digest))));
        }
        let call = match wire::parse(&request) {
            Ok(call) => call,
            Err(answer) => return Ok(answer),
        };
        // Before the first wait: whoever decides about faults may want to know whose call it is.
        let (fault, latency, at_ms) = self.lock().meet(&call);
        let emulator = self.clone();
        let travelling = tokio::spawn(async move { emulator.carry(&call, fault, latency, at_ms).await });
        travelling.await.unwrap_or(Err(Broken::Reset))
    }

    async fn carry(
        &self,
        call: &Call,
        fault: Option<FaultKind>,
        latency: i64,
        at_ms: i64,
    ) -> Result<WireAnswer, Broken> {
        self.wait(latency / 2).await;
        let answer = match fault {
            None => self.apply(call, at_ms, None),
            Some(kind) => self.apply_faulty(call, at_ms, kind)?,
        };
        if let Some(FaultKind::Slow(ms)) = fault {
            self.wait(ms).await;
        }
        self.wait(latency - latency / 2).await;
        Ok(answer)
    }

    fn apply(&self, call: &Call, at_ms: i64, fault: Option<FaultKind>) -> WireAnswer {
        let mut inner = self.lock();
        let now = inner.now_ms();
        let lag_ms = if let Some(FaultKind::StaleRead(ms)) = fault { ms } else { 0 };
        let mut answer = inner.world.call_as(now, call, lag_ms);
        if let Ok(Some(url)) = answer.as_mut().map(|answer| answer.get_mut("downloadUrl")) {
            *url = format!("{}{}", call.endpoint, url.as_str().unwrap_or_default()).into();
        }
        let outcome = match (fault, &answer) {
            (Some(kind), _) => CallOutcome::Fault(kind),
            (None, Ok(_)) => CallOutcome::Done,
            (None, Err(error)) => CallOutcome::Refused(error.code.clone()),
        };
        inner.calls.record(CallRecord { at_ms, api: call.api, action: call.action.clone(), outcome });
        wire::write(call.api, &call.action, answer)
    }

    fn apply_faulty(&self, call: &Call, at_ms: i64, kind: FaultKind) -> Result<WireAnswer, Broken> {
        let refuse = |error: ApiError| Ok(wire::write(call.api, &call.action, Err(error)));
        let answer = match kind {
            FaultKind::Slow(_) | FaultKind::StaleRead(_) => return Ok(self.apply(call, at_ms, Some(kind))),
            FaultKind::ResetAfter => {
                self.apply(call, at_ms, Some(kind));
                return Err(Broken::Reset);
            }
            FaultKind::Malformed200 => {
                let whole = self.apply(call, at_ms, Some(kind));
                let cut: String = whole.body.chars().take(16).collect();
                return Ok(WireAnswer { status: 200, error_code: None, body: format!("{cut}<"), ..whole });
            }
            FaultKind::LateApply(ms) => {
                let mut inner = self.lock();
                let now = inner.now_ms();
                inner.world.call_late(now, ms, call);
                Err(Broken::Reset)
            }
            FaultKind::Refused => Err(Broken::Refused),
            FaultKind::ResetBefore => Err(Broken::Reset),
            FaultKind::Throttled => refuse(ApiError::throttled()),
            FaultKind::ServerError500 => refuse(ApiError::server()),
            FaultKind::ExpiredToken => refuse(ApiError::expired_token()),
            FaultKind::AccessDenied403 => {
                let user = self.lock().world.config().caller_arn();
                refuse(ApiError::denied(&user, &call.action))
            }
        };
        let outcome = CallOutcome::Fault(kind);
        self.lock().calls.record(CallRecord { at_ms, api: call.api, action: call.action.clone(), outcome });
        answer
    }
}

impl Inner {
    fn now_ms(&self) -> i64 {
        let passed = self.epoch.elapsed().saturating_mul(self.speed).as_millis();
        self.epoch_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Counts a call and decides its fate: its fault, its latency, and when it was made.
    fn meet(&mut self, call: &Call) -> (Option<FaultKind>, i64, i64) {
        let at_ms = self.now_ms();
        let number = self.calls.count(call.api, &call.action);
        let info = CallInfo {
            api: call.api,
            action: call.action.clone(),
            mutating: calls::mutates(&call.action),
            at_ms,
            number,
        };
        (self.faults.decide(&info), self.world.config().latency_ms.max(0), at_ms)
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        f.debug_struct("Emulator").field("now_ms", &inner.now_ms()).finish_non_exhaustive()
    }
}
