//! Who we are to a registry.

use std::fmt;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;

use super::redact::Redactor;
use crate::{error::Result, model::Secret};

/// A login to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// A name and a password, or what a registry gives out in its place.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that stands for a login, as `docker login` keeps it where a registry gives one out.
    IdentityToken(Secret),
}

impl Login {
    /// A login by name and password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }

    pub(super) fn redact(&self, redactor: &Redactor) {
        match self {
            Self::Password { password, .. } => redactor.add(password),
            Self::IdentityToken(token) => redactor.add(token),
        }
    }

    /// As the Engine takes it. The result shows the secret in its `Debug`: it is made right before it is sent.
    pub(super) fn for_engine(&self, server: &str) -> DockerCredentials {
        let mut credentials =
            DockerCredentials { serveraddress: Some(server.to_owned()), ..Default::default() };
        match self {
            Self::Password { username, password } => {
                credentials.username = Some(username.clone());
                credentials.password = Some(password.expose().to_owned());
            }
            Self::IdentityToken(token) => credentials.identitytoken = Some(token.expose().to_owned()),
        }
        credentials
    }
}

/// Where logins to registries come from: [`DockerConfig`](super::DockerConfig), a cloud, the embedding program.
#[async_trait]
pub trait RegistryLogins: fmt::Debug + Send + Sync + 'static {
    /// The login to a registry (`registry.example.com`, `docker.io`); `None` if there is none, and it is asked as nobody.
    /// Called before each push and whenever a registry asks for a new token; may be called from several tasks at once.
    ///
    /// # Errors
    /// Why a login that should be there cannot be had. No error, and no log line, may hold any of it.
    async fn login(&self, registry: &str) -> Result<Option<Login>>;

    /// The login of before was refused: whoever keeps logins has to get a new one for the next call. May be called again.
    fn forget(&self, _registry: &str) {}
}

/// No logins: registries are asked as nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLogins;

#[async_trait]
impl RegistryLogins for NoLogins {
    async fn login(&self, _registry: &str) -> Result<Option<Login>> {
        Ok(None)
    }
}

/// The name that Docker keeps a registry's login under.
pub(super) fn server_of(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}
