//! One request that changes the place: an intent before it, a permit for it, its end after it.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Answer, Ask, Effected, FromStep, Permit, StepContext};
use crate::{
    error::{EffectState, Error, ErrorKind, Result},
    model::{Component, Fingerprint},
    state::journal::Sending,
};

/// An effect about to be made. The author must choose what a second sending means.
#[derive(Debug)]
#[must_use = "an effect does nothing until one of idempotent, once and at_most_once is awaited"]
pub struct Effect<'a> {
    cx: &'a StepContext,
    key: String,
    change: Value,
    sealed: Value,
    component: Option<Component>,
    to: Option<Fingerprint>,
    exclusive: bool,
    attempt_ms: Option<u64>,
    ends: bool,
    lands_ms: u64,
}

impl<'a> Effect<'a> {
    pub(super) fn new(cx: &'a StepContext, key: String, change: Value) -> Self {
        Self {
            cx,
            key,
            change,
            sealed: Value::Null,
            component: None,
            to: None,
            exclusive: false,
            attempt_ms: None,
            ends: false,
            lands_ms: 0,
        }
    }

    /// The effect writes this component's declared state, which will then have this fingerprint.
    pub fn declares(mut self, component: Component, to: Fingerprint) -> Self {
        self.component = Some(component);
        self.to = Some(to);
        self
    }

    /// Nobody else can write that value (a task-definition revision of our own making): seeing it proves that this
    /// effect landed.
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// It ends what this step began elsewhere (a run, a build), and nothing else: it may be sent although the rollout
    /// no longer goes forward, as long as the step runs.
    pub fn ending(mut self) -> Self {
        self.ends = true;
        self
    }

    /// It may land this long after its sending, where that is longer than on the deploy's own platform: until then what became
    /// of it without an answer stays open, and is settled.
    pub fn lands_within(mut self, lateness: Duration) -> Self {
        self.lands_ms = crate::model::millis(lateness);
        self
    }

    /// More of what is sent, for the hash alone: not journaled.
    pub fn sealing(mut self, content: impl Serialize) -> Self {
        self.sealed = serde_json::to_value(content).unwrap_or(Value::Null);
        self
    }

    /// One attempt may take this long, which is longer than a request: a command that is run. Whoever asks for that makes
    /// sure that nothing of it is left when the call has returned, or 20 s after its process has ended or stopped: a
    /// successor goes by it. Has no effect where a request may take longer anyway.
    pub fn within(mut self, attempt: Duration) -> Self {
        self.attempt_ms = Some(crate::model::millis(attempt));
        self
    }

    /// The same call again is harmless, even late.
    ///
    /// # Errors
    /// The call's, or [`ErrorKind::LeaseLost`], [`ErrorKind::Interrupted`], [`ErrorKind::JournalMismatch`] if it may
    /// not be made.
    pub async fn idempotent<T, C, F>(self, call: C) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send,
        C: FnOnce(Permit) -> F + Send,
        F: Future<Output = Result<T>> + Send,
    {
        self.send(Sending::Idempotent, call).await
    }

    /// A token, marker, version or fence makes sure that it lands once: `settle` tells whether it did.
    ///
    /// # Errors
    /// As [`idempotent`](Self::idempotent).
    pub async fn once<T, C, F>(self, call: C) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send,
        C: FnOnce(Permit) -> F + Send,
        F: Future<Output = Result<T>> + Send,
    {
        self.send(Sending::Once, call).await
    }

    /// Never sent again: unknown is settled by a probe or a person.
    ///
    /// # Errors
    /// As [`idempotent`](Self::idempotent).
    pub async fn at_most_once<T, C, F>(self, call: C) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send,
        C: FnOnce(Permit) -> F + Send,
        F: Future<Output = Result<T>> + Send,
    {
        self.send(Sending::AtMostOnce, call).await
    }

    async fn send<T, C, F>(self, sending: Sending, call: C) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send,
        C: FnOnce(Permit) -> F + Send,
        F: Future<Output = Result<T>> + Send,
    {
        let inner = &*self.cx.0;
        let hash = inner.key.of(&(&self.key, sending, &self.change, &self.sealed, &self.to));
        let ask = Ask {
            id: 0,
            step: inner.step.clone(),
            attempt: inner.attempt,
            key: self.key,
            sending,
            hash,
            component: self.component,
            to: self.to,
            exclusive: self.exclusive,
            ends: self.ends,
            lands_ms: self.lands_ms,
            change: self.change,
            attempt_ms: self.attempt_ms,
        };
        let gone = || Error::new(ErrorKind::Interrupted, "the driver of this step is gone; nothing was sent");
        let (answer, answered) = oneshot::channel();
        inner.to_driver.send(FromStep::Ask(ask, answer)).map_err(|_| gone())?;
        let (grant, send_by) = match answered.await.map_err(|_| gone())? {
            Answer::Grant(grant, send_by) => (grant, send_by),
            Answer::Recorded(value) => return from_journal(value),
            Answer::Deny(error) => return Err(error),
        };
        let intent = grant.intent;
        let attempt = Duration::from_millis(grant.attempt_ms);
        let permit = Permit {
            grant,
            rollout: inner.rollout.clone(),
            send_by,
            clock: Arc::clone(&inner.clock),
            check_clock: inner.check_clock,
        };
        let result = match permit.check() {
            Err(over) => Err(over),
            Ok(()) => tokio::select! {
                biased;
                result = call(permit) => result,
                () = inner.clock.sleep(attempt) => {
                    Err(Error::new(ErrorKind::TimedOut, format!("no answer within {} s", attempt.as_secs())))
                }
            },
        };
        let (effected, result) = match result {
            Ok(value) => (Effected::Applied(serde_json::to_value(&value).unwrap_or(Value::Null)), Ok(value)),
            Err(error) => {
                let copy = Error::new(error.kind(), error.message())
                    .retry_as(error.retry())
                    .effect_as(error.effect());
                (Effected::Failed(copy), Err(error))
            }
        };
        // The driver records it before it grants anything else; nobody has to wait for that here.
        inner
            .to_driver
            .send(FromStep::Effected(intent, effected))
            .map_err(|_| gone().effect_as(EffectState::Unknown))?;
        result
    }
}

fn from_journal<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("the journal's record of an effect cannot be read: {error}"))
    })
}
