//! What a running step gets: the only way to mutate ([`StepContext::effect`]), earlier outputs, secrets.

mod effect;

pub use effect::Effect;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, Retry},
    hash::StoreKey,
    model::{
        Component, Fence, Fingerprint, Observation, Plan, RolloutId, Secret, SecretRef, Step, StepId,
        Timestamp,
    },
    state::journal::Sending,
};

/// What earlier steps returned, by step.
pub type Outputs = BTreeMap<StepId, Value>;

/// Resolves references to secrets at the moment of use.
#[async_trait]
pub trait Secrets: fmt::Debug + Send + Sync + 'static {
    /// The value behind a reference.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the reference, never the value.
    async fn resolve(&self, which: &SecretRef) -> Result<Secret>;
}

/// Environment variables and files of this process; nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalSecrets;

#[async_trait]
impl Secrets for LocalSecrets {
    async fn resolve(&self, which: &SecretRef) -> Result<Secret> {
        let missing = |what: String| Error::new(ErrorKind::NotFound, what);
        match which {
            SecretRef::FromEnv(name) => std::env::var(name)
                .map(Secret::new)
                .map_err(|_| missing(format!("the environment variable {name} is not set"))),
            SecretRef::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    missing(format!("the secret file {path} cannot be read")).because(error)
                })?;
                Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text)))
            }
            SecretRef::Resolver(name) => {
                Err(missing(format!("no resolver for the secret {name}")).next("give the deployer one"))
            }
        }
    }
}

/// An effect as a step asks for it; the machine answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The driver's number for the question; the answer carries it.
    pub id: u64,
    /// The step.
    pub step: StepId,
    /// The attempt that asks: answers to an older attempt are refused.
    pub attempt: u32,
    /// The step's name for the effect.
    pub key: String,
    /// What a second sending means.
    pub sending: Sending,
    /// Keyed hash of what will be sent.
    pub hash: String,
    /// The component whose declared state it writes.
    pub component: Option<Component>,
    /// What that will be.
    pub to: Option<Fingerprint>,
    /// Nobody else can write that value.
    pub exclusive: bool,
    /// It ends what the step itself began: it may be sent while the rollout goes back, too.
    pub ends: bool,
    /// How long after its sending it may land, in milliseconds, where that is longer than on the platform.
    pub lands_ms: u64,
    /// The author's words on base and change.
    pub change: Value,
    /// How long one attempt may take, in milliseconds, where that is longer than a request.
    pub attempt_ms: Option<u64>,
}

/// The machine's answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// Send it, once, before [`Clock::elapsed`] shows this. It is a moment and no duration: who is paused before it hears of
    /// its permit must not begin to count then.
    Grant(Grant, Duration),
    /// It was sent earlier; this is what it returned.
    Recorded(Value),
    /// Do not send it.
    Deny(Error),
}

/// What a permit consists of, as the machine grants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The intent's id.
    pub intent: u64,
    /// The fencing token.
    pub fence: Fence,
    /// The signing time.
    pub signed_at: Timestamp,
    /// How long from the granting it may still be sent, in milliseconds.
    pub window_ms: u64,
    /// How long one attempt on the wire may take, in milliseconds.
    pub attempt_ms: u64,
}

/// How an effect ended, as the driver is told.
#[derive(Debug)]
pub enum Effected {
    /// It happened.
    Applied(Value),
    /// It failed; the error tells what is known.
    Failed(Error),
}

/// What a running step says to its driver.
#[derive(Debug)]
pub enum FromStep {
    /// May I?
    Ask(Ask, oneshot::Sender<Answer>),
    /// The effect of this intent ended.
    Effected(u64, Effected),
    /// A look that was made in passing.
    Report(Box<Observation>),
    /// A line that something wrote which the step runs.
    Log(StepLine),
}

/// A line of what a step runs, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// What wrote it: the step, and the machine where it is another one.
    pub writer: String,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The line.
    pub line: String,
    /// Whether it was longer.
    pub cut: bool,
}

/// The right to send one request, once, for a short time.
#[derive(Clone)]
pub struct Permit {
    grant: Grant,
    rollout: RolloutId,
    send_by: Duration,
    clock: Arc<dyn Clock>,
    check_clock: bool,
}

impl Permit {
    /// The fencing token: part of the object where the platform compares it.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.grant.fence
    }

    /// The time to sign with: fixed when the intent became durable.
    #[must_use]
    pub fn signed_at(&self) -> Timestamp {
        self.grant.signed_at
    }

    /// A token for platforms that recognise a repeated call: unique for the intent, at most 36 characters.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}-{}", self.rollout, self.grant.intent)
    }

    /// Has to be called right before the request leaves.
    ///
    /// # Errors
    /// [`ErrorKind::LeaseLost`], not applied, if the permit's time is over.
    pub fn check(&self) -> Result<()> {
        if self.check_clock && self.clock.elapsed() >= self.send_by {
            let text = "the permit is over: this process was paused for too long, nothing was sent";
            return Err(Error::new(ErrorKind::LeaseLost, text).retry_as(Retry::Always));
        }
        Ok(())
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({}, fence {})", self.token(), self.grant.fence)
    }
}

struct Inner {
    step: StepId,
    attempt: u32,
    rollout: RolloutId,
    outputs: Outputs,
    going_back: bool,
    key: StoreKey,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
    to_driver: mpsc::UnboundedSender<FromStep>,
    interrupted: watch::Receiver<bool>,
    plan: Arc<Plan>,
    check_clock: bool,
}

/// A step's secrets are those of its deployer.
#[async_trait]
impl Secrets for StepContext {
    async fn resolve(&self, which: &SecretRef) -> Result<Secret> {
        self.secret(which).await
    }
}

/// What a running step gets. Owned and cheap to clone.
#[derive(Clone)]
pub struct StepContext(Arc<Inner>);

impl fmt::Debug for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepContext({}, attempt {})", self.0.step, self.0.attempt)
    }
}

/// What a driver needs to make a [`StepContext`].
#[derive(Debug, Clone)]
pub(crate) struct StepSetting {
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) rollout: RolloutId,
    pub(crate) outputs: Outputs,
    pub(crate) going_back: bool,
    pub(crate) key: StoreKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) to_driver: mpsc::UnboundedSender<FromStep>,
    pub(crate) interrupted: watch::Receiver<bool>,
    pub(crate) plan: Arc<Plan>,
    /// Always true but in the tests that show what happens without.
    pub(crate) check_clock: bool,
}

impl StepContext {
    pub(crate) fn new(setting: StepSetting) -> Self {
        let StepSetting {
            step, attempt, rollout, outputs, going_back, key, clock, secrets, to_driver, ..
        } = setting;
        let (interrupted, plan, check_clock) = (setting.interrupted, setting.plan, setting.check_clock);
        Self(Arc::new(Inner {
            step,
            attempt,
            rollout,
            outputs,
            going_back,
            key,
            clock,
            secrets,
            to_driver,
            interrupted,
            plan,
            check_clock,
        }))
    }

    /// The step that runs.
    #[must_use]
    pub fn step(&self) -> &StepId {
        &self.0.step
    }

    /// The deploy.
    #[must_use]
    pub fn rollout(&self) -> &RolloutId {
        &self.0.rollout
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Whether the rollout is going back.
    #[must_use]
    pub fn going_back(&self) -> bool {
        self.0.going_back
    }

    /// Starts an effect: the only way to mutate. `key` names it within the step and stays the same from attempt to
    /// attempt; `intent` says in a few small words what base is changed how (it is journaled: no secrets, no whole
    /// definitions). A repeated step must ask for the same intent under the same key.
    pub fn effect(&self, key: &str, intent: impl Serialize) -> Effect<'_> {
        Effect::new(self, key.to_owned(), serde_json::to_value(intent).unwrap_or(Value::Null))
    }

    /// What an earlier step returned.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] if there is none, or of another form.
    pub fn output<T: DeserializeOwned>(&self, step: &StepId) -> Result<T> {
        let missing = || Error::new(ErrorKind::Unexpected, format!("step {step} has returned nothing yet"));
        let value = self.0.outputs.get(step).ok_or_else(missing)?;
        serde_json::from_value(value.clone())
            .map_err(|error| Error::new(ErrorKind::Malformed, format!("what step {step} returned: {error}")))
    }

    /// All that earlier steps returned.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.0.outputs
    }

    /// The value behind a reference, resolved now. Do not keep it.
    ///
    /// # Errors
    /// As [`Secrets::resolve`].
    pub async fn secret(&self, which: &SecretRef) -> Result<Secret> {
        self.0.secrets.resolve(which).await
    }

    /// Hands on a look that was made in passing, so that nobody has to look again.
    pub fn report(&self, seen: Observation) {
        let _ = self.0.to_driver.send(FromStep::Report(Box::new(seen)));
    }

    /// Tells whoever watches of a line that something wrote which the step runs. Live only: it is scrubbed, cut to
    /// [`LINE_LIMIT`](crate::report::LINE_LIMIT) and never stored. Take out first what was given as a secret.
    pub fn log(&self, line: StepLine) {
        let _ = self.0.to_driver.send(FromStep::Log(line));
    }

    /// A step of the plan, of any kind: what settles an intent finds in it what the step was to do.
    #[must_use]
    pub fn planned(&self, step: &StepId) -> Option<&Step> {
        self.0.plan.step(step)
    }

    /// What is deployed.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The clock to wait by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Whether the step should end early: between effects, return [`ErrorKind::Interrupted`].
    #[must_use]
    pub fn interrupted(&self) -> bool {
        *self.0.interrupted.borrow()
    }

    /// Waits until the step should end early; for ever, if it never should. Cancel safe.
    pub async fn until_interrupted(&self) {
        let mut interrupted = self.0.interrupted.clone();
        if interrupted.wait_for(|interrupted| *interrupted).await.is_err() {
            // Its driver is gone, and drops the step with it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, feature = "forge-emulator"))]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
