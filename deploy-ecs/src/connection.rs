//! The connection to ECS in one account and region; hands out places.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use deploy_aws::Aws;
use deploy_core::{Error, ErrorKind, Result, clock::Clock, model::millis};

use crate::{client::Client, config::EcsConfig, health::Memory, looks::Looks};

/// ECS in one account and region. Cheap to clone.
///
/// All places of a process share their looks, if their connections have the same credentials, region and endpoint: ten
/// services of a cluster that are watched at the same time cost one DescribeServices a look.
#[derive(Debug, Clone)]
pub struct Ecs {
    aws: Aws,
    looks: Arc<Looks>,
}

impl Ecs {
    /// Credentials and region as the AWS CLI finds them. Makes no API call.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no region is configured.
    pub async fn from_env() -> Result<Self> {
        Ok(Self::on(Aws::from_env().await?))
    }

    /// As the configuration says, on this clock. Makes no API call.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no region is configured.
    pub async fn load(config: &EcsConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self::on(Aws::load(&config.aws(), clock).await?))
    }

    /// On a connection that exists.
    #[must_use]
    pub fn on(aws: Aws) -> Self {
        let looks = aws.shared();
        Self { aws, looks }
    }

    /// To an emulator in this process, in its region, on this clock.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the emulator has no region.
    #[cfg(feature = "emulator")]
    pub fn emulated(emulator: &crate::emulator::Emulator, clock: Arc<dyn Clock>) -> Result<Self> {
        let region = emulator.with(|world| world.config().region.clone());
        // Nothing is looked up: the HTTP client ends in the emulator.
        Ok(Self::on(Aws::in_process(emulator.http_client(), "http://emulator.invalid", &region, clock)?))
    }

    /// The connection that is shared with other AWS platforms.
    #[must_use]
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// A service of a cluster. Makes no API call.
    pub fn service(&self, cluster: impl Into<String>, service: impl Into<String>) -> Service {
        Service {
            client: Client::new(self.aws.clone(), Arc::clone(&self.looks), cluster.into(), service.into()),
            settings: Settings::default(),
            memory: Arc::default(),
            last_look: Arc::default(),
        }
    }

    /// The service that the configuration names, with the family it must run.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the key that is missing.
    pub fn configured(&self, config: &EcsConfig) -> Result<Service> {
        let need = |key: &str, value: &Option<String>| {
            value.clone().ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("the key ecs.{key} is missing"))
                    .next("set it in deploy.toml, under [defaults.ecs] or the application")
            })
        };
        let service = self.service(need("cluster", &config.cluster)?, need("service", &config.service)?);
        let service = if config.singleton { service.singleton() } else { service };
        Ok(match &config.family {
            Some(family) => service.family(family),
            None => service,
        })
    }
}

/// What the owner of a service says about it, beyond where it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) family: Option<String>,
    pub(crate) repositories: BTreeMap<String, String>,
    pub(crate) watch_ms: Option<u64>,
    pub(crate) singleton: bool,
}

/// One service: a place that can be deployed to. Its component is called `service`.
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) memory: Arc<Mutex<Memory>>,
    /// When the last look that was told began.
    pub(crate) last_look: Arc<Mutex<Option<Duration>>>,
}

impl Service {
    /// The task definition family that the service must run: planning refuses if it runs another.
    #[must_use]
    pub fn family(mut self, family: impl Into<String>) -> Self {
        self.settings.family = Some(family.into());
        self
    }

    /// The repository that a container's images come from, where it is not the one that the container has now.
    #[must_use]
    pub fn image(mut self, container: impl Into<String>, repository: impl Into<String>) -> Self {
        self.settings.repositories.insert(container.into(), repository.into());
        self
    }

    /// Two tasks must never run at the same time, not even while one replaces the other: planning refuses a service that
    /// is configured otherwise.
    #[must_use]
    pub fn singleton(mut self) -> Self {
        self.settings.singleton = true;
        self
    }

    /// How long the tasks may take to be replaced; else ten minutes and the health check grace period.
    #[must_use]
    pub fn watch_limit(mut self, limit: Duration) -> Self {
        self.settings.watch_ms = Some(millis(limit));
        self
    }
}
