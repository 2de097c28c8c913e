//! GitHub, and GitHub Enterprise: the connection, and whether a commit's CI is green.

mod calls;
mod checks;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) use calls::{Annotation, Dispatch, Job, RepositoryName, Run};
pub use checks::GitHubChecks;

use super::{
    api::{Api, Reader, bearer},
    http::{Socket, Transport},
};
use crate::{
    clock::{Clock, SystemClock},
    context::{LocalSecrets, Secrets},
    error::{Error, ErrorKind, Result},
    model::SecretRef,
};

/// Where GitHub's API is, if `GITHUB_API_URL` does not say otherwise.
const URL: &str = "https://api.github.com";
/// The version of the API that all servers in use know: <https://docs.github.com/en/rest/about-the-rest-api/api-versions>.
const VERSION: &str = "2022-11-28";

/// GitHub. Clones share its rate budget.
///
/// The token is a reference, and is resolved for each call: one that is renewed on the way is used as it is then.
#[derive(Clone)]
pub struct GitHub {
    shared: Arc<Shared>,
    token: SecretRef,
    secrets: Arc<dyn Secrets>,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    /// The server does not know `return_run_details`: GitHub Enterprise Server before 3.21.
    tells_no_run: AtomicBool,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub")
            .field("shared", &self.shared)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl GitHub {
    /// As GitHub's own tools find it: the API at `GITHUB_API_URL` (else `https://api.github.com`), the token in
    /// `GITHUB_TOKEN`. No call is made.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if `GITHUB_API_URL` is no address, or one that a token would be sent to in the clear.
    pub fn from_env() -> Result<Self> {
        match std::env::var("GITHUB_API_URL") {
            Ok(url) if !url.is_empty() => Self::at(&url),
            _ => Self::at(URL),
        }
    }

    /// The API at this address: `https://HOST/api/v3` for GitHub Enterprise Server. The token is in `GITHUB_TOKEN`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no address, or one that a token would be sent to in the clear.
    pub fn at(url: &str) -> Result<Self> {
        Self::over(url, Arc::new(Socket::new()?), SystemClock::shared())
    }

    pub(crate) fn over(url: &str, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Self> {
        let headers = [("accept", "application/vnd.github+json"), ("x-github-api-version", VERSION)];
        let api = Api::new("GitHub", url, &headers, transport, clock);
        let api = api
            .map_err(|error| error.next("GITHUB_API_URL is https://HOST/api/v3 or https://api.github.com"))?;
        Ok(Self {
            shared: Arc::new(Shared { api, tells_no_run: AtomicBool::new(false) }),
            token: SecretRef::FromEnv("GITHUB_TOKEN".into()),
            secrets: Arc::new(LocalSecrets),
        })
    }

    /// With another token. For workflows it needs the repository permission *Actions: write*, for the CI of a commit
    /// *Checks: read* and *Commit statuses: read*.
    #[must_use]
    pub fn token(mut self, token: SecretRef) -> Self {
        self.token = token;
        self
    }

    /// With another resolver of secrets than this process's environment and files, for what is asked outside of a step.
    /// (Within one the deployer's is used.)
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The checks of a repository, `owner/name`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if that is not the form of the name.
    pub fn checks(&self, repository: &str) -> Result<GitHubChecks> {
        Ok(GitHubChecks::new(self.clone(), RepositoryName::parse(repository)?))
    }

    pub(crate) fn api(&self) -> &Api {
        &self.shared.api
    }

    /// Whether the server is believed to tell which run a dispatch made.
    pub(crate) fn tells_run(&self) -> bool {
        !self.shared.tells_no_run.load(Ordering::Relaxed)
    }

    pub(crate) fn tells_no_run(&self) {
        self.shared.tells_no_run.store(true, Ordering::Relaxed);
    }

    /// Resolves the token, now.
    pub(crate) async fn reader<'a>(&'a self, secrets: &dyn Secrets) -> Result<Reader<'a>> {
        let token = secrets.resolve(&self.token).await?;
        let auth = bearer("Bearer", token.expose()).map_err(|error| {
            Error::new(ErrorKind::Unauthenticated, error.message()).next("set GITHUB_TOKEN anew")
        })?;
        Ok(Reader { api: self.api(), auth })
    }

    pub(crate) fn own_secrets(&self) -> &dyn Secrets {
        &*self.secrets
    }
}
