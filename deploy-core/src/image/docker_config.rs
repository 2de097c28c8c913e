//! Logins as the `docker` command keeps them: `config.json`, credential stores and helpers.

mod helper;

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::logins::{Login, RegistryLogins, server_of};
use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind, Result},
    model::Secret,
};

/// Docker's own logins: `config.json` in the folder of `DOCKER_CONFIG`, else in `~/.docker`. The file is read at each
/// call, so a `docker login` meanwhile is seen.
///
/// Precedence is Docker's: the registry's helper of `credHelpers`, else `credsStore`, else `auths`. A helper is a program
/// `docker-credential-NAME`; it has 30 seconds, and nothing that it says is shown but that it failed.
/// <https://docs.docker.com/reference/cli/docker/login/#credential-stores>
#[derive(Debug, Clone)]
pub struct DockerConfig {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl DockerConfig {
    /// The configuration of this user. Reads nothing yet.
    #[must_use]
    pub fn from_env() -> Self {
        Self::in_folder(folder())
    }

    /// The configuration in this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), clock: SystemClock::shared() }
    }

    /// Another clock: virtual time in tests.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn read(&self) -> Result<File> {
        let path = self.folder.join("config.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(File::default()),
            Err(error) => {
                let text = format!("Docker's configuration {} cannot be read", path.display());
                return Err(Error::new(ErrorKind::PermissionDenied, text).because(error));
            }
        };
        // The parser's words may quote the file.
        serde_json::from_slice(&bytes).map_err(|error| {
            let text = format!(
                "Docker's configuration {} is not understood, at line {}",
                path.display(),
                error.line()
            );
            Error::new(ErrorKind::Malformed, text).next("docker login writes it anew")
        })
    }
}

#[async_trait]
impl RegistryLogins for DockerConfig {
    async fn login(&self, registry: &str) -> Result<Option<Login>> {
        let file = self.read()?;
        let server = server_of(registry);
        if let Some(program) = file.helper(registry)
            && let Some(login) = helper::ask(program, server, &*self.clock).await?
        {
            return Ok(Some(login));
        }
        match file.entry(registry) {
            Some(entry) => entry.login().map_err(|why| {
                let text = format!("Docker's configuration holds a login to {registry} that is {why}");
                Error::new(ErrorKind::Malformed, text).next(format!("docker login {registry}"))
            }),
            None => Ok(None),
        }
    }
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl File {
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.helpers.iter().find(|(name, _)| host_of(name) == registry);
        own.map(|(_, program)| program.as_str())
            .or(self.store.as_deref())
            .filter(|program| !program.is_empty())
    }

    fn entry(&self, registry: &str) -> Option<&Auth> {
        let exact = self.auths.get(server_of(registry));
        exact.or_else(|| self.auths.iter().find(|(name, _)| host_of(name) == registry).map(|(_, auth)| auth))
    }
}

/// Docker has written hosts and addresses as names, through the years.
fn host_of(name: &str) -> &str {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

impl Auth {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if !self.identity_token.is_empty() {
            return Ok(Some(Login::IdentityToken(Secret::new(self.identity_token.clone()))));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let text = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or("not base64")?;
        let (username, password) = text.split_once(':').ok_or("without a password")?;
        Ok(Some(Login::password(username, password.trim_end_matches('\0'))))
    }
}

/// The folder of Docker's configuration.
pub(super) fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    std::env::home_dir().unwrap_or_default().join(".docker")
}

/// The context that `docker context use` chose.
pub(super) fn current_context() -> Option<String> {
    let file = DockerConfig::from_env().read().ok()?;
    file.current_context.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
