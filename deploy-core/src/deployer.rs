//! The front door: a deployer, and what all of its targets share.

use std::sync::Arc;

use crate::{
    clock::{Clock, Random, SystemClock, SystemRandom},
    context::{LocalSecrets, Secrets},
    error::Result,
    machine::{Rules, Timing},
    model::TargetName,
    platform::Platform,
    state::{
        StateStore,
        head::Holder,
        process::{Liveness, ProcLiveness},
        records::Records,
    },
    target::Target,
};

/// What all targets of a deployer share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) namespace: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) liveness: Arc<dyn Liveness>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) timing: Timing,
    pub(crate) rules: Rules,
    pub(crate) actor: String,
    pub(crate) holder: Option<Holder>,
}

/// Deploys to targets, with its state in one store. Cheap to clone.
///
/// Needs a running tokio runtime with time; a rollout's driver is a task of it, and lives in this process.
#[derive(Debug, Clone)]
pub struct Deployer(pub(crate) Arc<Shared>);

impl Deployer {
    /// A deployer with its state in this store, the system's clock and randomness, and secrets from the environment
    /// and files.
    pub fn new(store: impl StateStore) -> Self {
        Self(Arc::new(Shared {
            store: Arc::new(store),
            namespace: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            liveness: Arc::new(ProcLiveness),
            secrets: Arc::new(LocalSecrets),
            timing: Timing::default(),
            rules: Rules::default(),
            actor: std::env::var("USER")
                .or_else(|_| std::env::var("LOGNAME"))
                .unwrap_or_else(|_| "unknown".into()),
            holder: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Another clock: virtual time in tests.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.with(|shared| shared.clock = Arc::new(clock))
    }

    /// Another source of randomness.
    #[must_use]
    pub fn random(self, random: impl Random) -> Self {
        self.with(|shared| shared.random = Arc::new(random))
    }

    /// Another way to tell whether a holder's process exists.
    #[must_use]
    pub fn liveness(self, liveness: impl Liveness) -> Self {
        self.with(|shared| shared.liveness = Arc::new(liveness))
    }

    /// Another resolver of secrets.
    #[must_use]
    pub fn secrets(self, secrets: impl Secrets) -> Self {
        self.with(|shared| shared.secrets = Arc::new(secrets))
    }

    /// Other timing of lease and requests.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if the inequality of [`Timing::check`] does not hold.
    pub fn timing(self, timing: Timing) -> Result<Self> {
        timing.check()?;
        Ok(self.with(|shared| shared.timing = timing))
    }

    /// Who deploys, for journal and events. Default: the user's name.
    #[must_use]
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.with(|shared| shared.actor = actor.into())
    }

    /// Keeps this deployer's state apart: for an emulator or another endpoint, where the same name is another thing.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.with(|shared| shared.namespace = Some(namespace.into()))
    }

    #[cfg(any(test, feature = "conformance"))]
    #[doc(hidden)]
    #[must_use]
    pub fn named_holder(self, id: impl Into<String>) -> Self {
        self.with(|shared| shared.holder = Some(Holder::named(id)))
    }

    /// A target: the name `app/env`, and the place that it is. A bad name is an error of the first request.
    pub fn target(&self, app: impl Into<String>, env: impl Into<String>, place: impl Platform) -> Target {
        self.target_at(app, env, Arc::new(place))
    }

    /// As [`target`](Self::target), for a place that is shared already.
    pub fn target_at(
        &self,
        app: impl Into<String>,
        env: impl Into<String>,
        place: Arc<dyn Platform>,
    ) -> Target {
        Target::new(self.clone(), app.into(), env.into(), place)
    }

    /// The names of all targets that the store knows. One list and one read a target.
    ///
    /// # Errors
    /// [`Store`](crate::ErrorKind::Store) if it cannot be read.
    pub async fn targets(&self) -> Result<Vec<TargetName>> {
        let records = Records::new(Arc::clone(&self.0.store), self.0.namespace.clone());
        Ok(records.targets().await?.into_iter().map(|record| record.target).collect())
    }
}
