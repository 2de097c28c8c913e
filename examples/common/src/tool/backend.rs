//! What a tool adds to the grammar: its platform.

use std::{fmt, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use deploy_kit::{
    Platform, Result,
    config::{Builders, Config, TargetConfig},
    model::Snapshot,
};

/// The place of a target.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The place.
    pub place: Arc<dyn Platform>,
    /// Where the state is kept apart: for an emulator or another endpoint.
    pub namespace: Option<String>,
    /// What builds its images.
    pub builders: Builders,
}

/// A target whose configuration is that of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// What is crossed, in one line that names both.
    pub text: String,
    /// The screen above the one line.
    pub screen: String,
    /// Commands worth running.
    pub next: Vec<String>,
}

/// A tool's platform.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// The place of a target. Makes no call of the platform.
    ///
    /// # Errors
    /// If the configuration or the environment is not enough.
    async fn connect(&self, config: &Config, target: &TargetConfig) -> Result<Connected>;

    /// Where it is, in the platform's words.
    fn place(&self, now: &Snapshot) -> String;

    /// Whether the configuration is that of another place than this one. Pure.
    fn crossing(&self, config: &Config, target: &TargetConfig, now: &Snapshot) -> Option<Crossing>;

    /// Serves the emulator until a signal comes.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    async fn serve_emulator(&self, listen: SocketAddr, speed: u32) -> Result<()>;

    /// Before the process ends: an emulator inside the tool is kept.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn close(&self) -> Result<()>;
}
