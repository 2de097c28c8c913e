//! The emulator as its users hold it: a world, a clock, faults and counters.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;

use super::{
    fault::{Fault, FaultRule, decide},
    wire::{Call, MUTATIONS, WireAnswer, WireRequest, query},
    world::{Config, World, forbidden},
};
use crate::{
    clock::Clock,
    error::Result,
    forge::{
        Bitbucket, GitHub,
        http::{Answer, Broken, Request, Transport, end_of},
    },
    model::SecretRef,
    task,
};

/// How long a call takes, there and back.
const LATENCY: Duration = Duration::from_millis(80);

/// An emulated server. Clones are the same one.
#[derive(Clone)]
pub struct Emulator {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    world: World,
    start: Instant,
    rules: Vec<FaultRule>,
    calls: Vec<CallRecord>,
}

/// One call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallRecord {
    /// The emulator's time at which it arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its name.
    pub name: &'static str,
    /// What it was about: a file, a number, a commit.
    pub about: String,
    /// What it was answered, if it was.
    pub status: Option<u16>,
    /// Who called: the header `user-agent`.
    pub agent: String,
    /// What happened to it.
    pub fault: Option<Fault>,
}

/// How often what was called.
#[derive(Debug, Clone, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Calls of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Calls that change something.
    #[must_use]
    pub fn mutating(&self) -> u64 {
        MUTATIONS.iter().map(|name| self.of(name)).sum()
    }

    /// Every call that was made.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Emulator")
    }
}

impl Emulator {
    /// A server without repositories, whose clock starts now.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let world = World::new(config);
        let inner = Inner { world, start: Instant::now(), rules: Vec::new(), calls: Vec::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// GitHub's client for it, in process and on this clock. Its token has to be given to it.
    ///
    /// # Errors
    /// As [`GitHub::at`].
    pub fn github(&self, clock: Arc<dyn Clock>) -> Result<GitHub> {
        GitHub::over("https://api.github.test", Arc::new(InProcess(self.clone())), clock)
    }

    /// Bitbucket's client for it, in process and on this clock.
    ///
    /// # Errors
    /// As [`Bitbucket::new`].
    pub fn bitbucket(&self, token: SecretRef, clock: Arc<dyn Clock>) -> Result<Bitbucket> {
        Bitbucket::over("https://api.bitbucket.test/2.0", token, Arc::new(InProcess(self.clone())), clock)
    }

    /// Works on the world, at its present time in milliseconds since 1970.
    pub fn with<T>(&self, work: impl FnOnce(&mut World, i64) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.now();
        work(&mut inner.world, now)
    }

    /// Adds a scripted fault.
    pub fn fault(&self, rule: FaultRule) {
        self.lock().rules.push(rule);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.lock().rules.clear();
    }

    /// The calls, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().calls.clone()
    }

    /// How often what was called.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for call in &self.lock().calls {
            *counts.0.entry(call.name).or_default() += 1;
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request and its answer, with everything that may happen on the way. It goes on by itself: a client that gives up
    /// takes nothing back.
    pub(super) async fn exchange(&self, request: WireRequest) -> Result<WireAnswer, Broken> {
        let Some(call) = Call::of(&request) else { return Ok(WireAnswer::error(404, "Not Found")) };
        let (emulator, (answer, answered)) = (self.clone(), tokio::sync::oneshot::channel());
        drop(task::spawn(async move {
            let _ = answer.send(emulator.carry(&call, &request).await);
        }));
        answered.await.unwrap_or_else(|_| Err(Broken::Reset("connection reset by peer".into())))
    }

    async fn carry(&self, call: &Call, request: &WireRequest) -> Result<WireAnswer, Broken> {
        pass(LATENCY / 2).await;
        let (result, slow) = self.lock().meet(call, request);
        pass(slow.unwrap_or_default() + LATENCY / 2).await;
        result
    }
}

#[expect(clippy::disallowed_methods, reason = "an emulator's time is the runtime's")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

impl Inner {
    fn now(&self) -> i64 {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.world.config.start_ms.saturating_add(passed)
    }

    fn meet(&mut self, call: &Call, request: &WireRequest) -> (Result<WireAnswer, Broken>, Option<Duration>) {
        let now = self.now();
        let fault = decide(&mut self.rules, call.name);
        let reset = || Err(Broken::Reset("connection reset by peer".into()));
        let (result, slow) = match fault {
            None => (Ok(self.world.call(now, call, request)), None),
            Some(Fault::Slow(ms)) => {
                (Ok(self.world.call(now, call, request)), Some(Duration::from_millis(ms)))
            }
            Some(Fault::PrimaryLimit) => {
                let answer = WireAnswer::error(403, "API rate limit exceeded for user ID 7.");
                let reset = (now + 30_000) / 1000;
                let answer =
                    answer.with("x-ratelimit-remaining", "0").with("x-ratelimit-reset", reset.to_string());
                (Ok(answer), None)
            }
            Some(Fault::SecondaryLimit) => {
                let text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
                (Ok(WireAnswer::error(403, text).with("retry-after", "7")), None)
            }
            Some(Fault::ServerError) => {
                (Ok(WireAnswer::json(500, &json!({ "message": "Server Error" }))), None)
            }
            Some(Fault::Refused) => (Err(Broken::Refused("connection refused".into())), None),
            Some(Fault::ResetBefore) => (reset(), None),
            Some(Fault::ResetAfter) => {
                self.world.call(now, call, request);
                (reset(), None)
            }
            Some(Fault::Malformed) => {
                self.world.call(now, call, request);
                let body = b"<html>welcome</html>".to_vec();
                (Ok(WireAnswer { status: 200, headers: Vec::new(), body }), None)
            }
            Some(Fault::BadCredentials) => (Ok(WireAnswer::error(401, "Bad credentials")), None),
            Some(Fault::Forbidden) => (Ok(forbidden()), None),
            Some(Fault::NotFound) => (Ok(WireAnswer::error(404, "Not Found")), None),
        };
        self.calls.push(CallRecord {
            at_ms: now,
            name: call.name,
            about: call.about.clone(),
            status: result.as_ref().ok().map(|answer| answer.status),
            agent: request.agent.clone().unwrap_or_default(),
            fault,
        });
        (result, slow)
    }
}

/// The seam at which this crate's client hands over its requests.
#[derive(Debug)]
struct InProcess(Emulator);

#[async_trait]
impl Transport for InProcess {
    async fn exchange(&self, request: Request) -> Result<Answer, Broken> {
        let Request { method, url, headers, body, keep } = request;
        let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let wire = WireRequest {
            method: method.to_string(),
            base: format!("https://{}", url.host().unwrap_or_default()),
            path: url.path().to_owned(),
            query: query(url.query()),
            authorization: header("authorization"),
            if_none_match: header("if-none-match"),
            agent: header("user-agent"),
            body: body.to_vec(),
        };
        let answer = self.0.exchange(wire).await?;
        let headers = answer.header_map();
        Ok(Answer { status: answer.status, headers, body: end_of(answer.body, keep) })
    }
}
