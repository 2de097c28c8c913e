//! Images: from a folder at a commit to a digest in a registry that is what it says it is (feature `docker`).
//!
//! [`Build::publish`] does it all: it looks whether the registry has the verified image of the commit, and only if not
//! builds it on a Docker [`Engine`], pushes it, and verifies what arrived. Its parts can be had alone: [`Engine::build`],
//! [`Engine::push`], [`Registry::find`], [`Registry::verify`]. [`Registry::plan_cleanup`] finds what is old.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use deploy_core::{
//!     context::LocalSecrets,
//!     image::{Build, BuildContext, DockerConfig, Engine, ImageEvents, ImagePlatform, Registry, Repository},
//! };
//!
//! # async fn publish(commit: &str) -> deploy_core::Result<()> {
//! let engine = Engine::from_env()?;
//! let logins = Arc::new(DockerConfig::from_env());
//! let registry = Registry::new(logins.clone());
//! let build = Build::new(Repository::parse("registry.example.com/shop/api")?, ".", commit)
//!     .platform(ImagePlatform::parse("linux/amd64")?);
//! let (events, mut stream) = ImageEvents::channel();
//! let cx = BuildContext { logins, secrets: Arc::new(LocalSecrets), events };
//! let published = build.publish(&engine, &registry, &cx).await?;
//! println!("{} built now: {}", published.image.reference(), published.built);
//! # drop(cx);
//! # while let Some(event) = stream.next().await { println!("{event:?}"); }
//! # Ok(())
//! # }
//! ```
//!
//! [`Images`] does it as a part of deploys: before the plan is closed, whatever of a commit's images is missing is made by
//! an [`ImageBuilder`], and all of them are verified.
//!
//! Nothing here touches what is deployed, and everything may be called again. A future that is dropped stops what it asked
//! the Engine for. Passwords, tokens and build secrets are in no error, event or `Debug` text.

mod build;
mod builder;
mod cleanup;
mod context;
mod docker_config;
mod engine;
mod event;
mod ignore;
mod images;
mod logins;
mod name;
mod needed;
mod publish;
mod push;
mod redact;
mod registry;
#[cfg(test)]
mod tests;
mod verify;
mod wire;

pub use build::{Build, BuildContext, Built, FailedStep};
pub use builder::{BuildOrder, EngineBuilder, ImageBuilder};
pub use cleanup::{CleanupPlan, KeepReason, KeptImage, OldImage, Retention};
pub use context::CONTEXT_BYTES_MAX;
pub use docker_config::DockerConfig;
pub use engine::Engine;
pub use event::{BuilderKind, ImageEvent, ImageEventStream, ImageEvents, StepState};
pub use images::Images;
pub use logins::{Login, NoLogins, RegistryLogins};
pub use name::{ImagePlatform, Repository};
pub use publish::Published;
pub use registry::Registry;
pub use verify::{REVISION, VerifiedImage};
