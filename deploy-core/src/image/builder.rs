//! Who builds images: a Docker Engine, or somebody else's service.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{Build, BuildContext, Engine, ImageEvents, Registry, RegistryLogins};
use crate::{
    context::{Secrets, StepContext},
    error::{Error, ErrorKind, Result},
    source::Source,
};

/// An image that is to be made.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BuildOrder<'a> {
    /// What is built: repository, commit and the rest. Its folder is relative to the commit's top.
    pub build: &'a Build,
    /// Where the commit comes from.
    pub source: &'a dyn Source,
    /// The step that it is made in: its clock, its rollout, and whether it should end.
    pub cx: &'a StepContext,
    /// Where progress goes.
    pub events: &'a ImageEvents,
}

impl<'a> BuildOrder<'a> {
    /// An order of all its parts.
    #[must_use]
    pub fn new(
        build: &'a Build,
        source: &'a dyn Source,
        cx: &'a StepContext,
        events: &'a ImageEvents,
    ) -> Self {
        Self { build, source, cx, events }
    }
}

/// Builds and pushes images. Nobody believes it: what arrived in the registry is verified afterwards.
#[async_trait]
pub trait ImageBuilder: fmt::Debug + Send + Sync + 'static {
    /// What it is, for a plan: `Docker Engine`.
    fn name(&self) -> String;

    /// Sees to it that the image of the order's commit is in its repository, under the tag that is the commit and with the
    /// revision label. May be called again, also by another process while an earlier build still runs. Stops what it
    /// began soon after [`StepContext::interrupted`], and when it is dropped, as far as that is possible.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a step of the build fails, with its log as the source; [`ErrorKind::Interrupted`] if it
    /// was stopped; else why it cannot be had now.
    async fn make(&self, order: BuildOrder<'_>) -> Result<()>;
}

/// Builds on a Docker [`Engine`], from a checkout of the commit that lasts as long as the build.
#[derive(Debug, Clone)]
pub struct EngineBuilder {
    engine: Engine,
    registry: Registry,
    logins: Arc<dyn RegistryLogins>,
    secrets: Arc<dyn Secrets>,
}

impl EngineBuilder {
    /// A builder with the registry that it pushes to; the logins are for base images, the secrets for builds.
    #[must_use]
    pub fn new(
        engine: Engine,
        registry: Registry,
        logins: Arc<dyn RegistryLogins>,
        secrets: Arc<dyn Secrets>,
    ) -> Self {
        Self { engine, registry, logins, secrets }
    }

    async fn publish(&self, order: BuildOrder<'_>) -> Result<()> {
        let (commit, folder) = (order.build.commit(), checkout_folder()?);
        let at = order.source.resolve(commit).await?.at;
        order.source.checkout(commit, folder.path()).await?;
        let build = order.build.at(commit, folder.path()).committed_at(at);
        let (logins, secrets) = (Arc::clone(&self.logins), Arc::clone(&self.secrets));
        let cx = BuildContext { logins, secrets, events: order.events.clone() };
        build.publish(&self.engine, &self.registry, &cx).await.map(drop)
    }
}

fn checkout_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("deploy-kit-").tempdir().map_err(|error| {
        let text = format!("there is no place to check the commit out: {error}");
        Error::new(ErrorKind::Unavailable, text).next("make room, or set TMPDIR").because(error)
    })
}

#[async_trait]
impl ImageBuilder for EngineBuilder {
    fn name(&self) -> String {
        "Docker Engine".into()
    }

    /// Whoever drops it, or interrupts the step, cuts the Engine's connections: it stops the step that runs.
    async fn make(&self, order: BuildOrder<'_>) -> Result<()> {
        tokio::select! {
            made = self.publish(order) => made,
            () = order.cx.until_interrupted() => {
                Err(Error::new(ErrorKind::Interrupted, "the build was stopped"))
            }
        }
    }
}
