//! Bitbucket Cloud: the build statuses of a commit.
//!
//! <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>. Bitbucket Data Center has another API.

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use http::HeaderValue;
use serde::Deserialize;

use super::{
    api::{Api, Reader, bearer, part},
    commit::{CommitState, Tally, Verdict, is_full_id, no_full_id},
    http::{Socket, Transport},
};
use crate::{
    clock::{Clock, SystemClock},
    context::{LocalSecrets, Secrets},
    error::{Error, ErrorKind, Result},
    model::SecretRef,
};

const URL: &str = "https://api.bitbucket.org/2.0";
/// How many pages of statuses are read, of a hundred each.
const PAGES: usize = 20;

/// Bitbucket Cloud. Clones share its rate budget.
#[derive(Clone)]
pub struct Bitbucket {
    api: Arc<Api>,
    token: SecretRef,
    user: Option<String>,
    secrets: Arc<dyn Secrets>,
}

impl fmt::Debug for Bitbucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bitbucket")
            .field("api", &self.api)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Statuses {
    values: Vec<Status>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    key: Option<String>,
    name: Option<String>,
    state: String,
}

impl Bitbucket {
    /// With an access token of the repository, the project or the workspace. It needs `read:repository`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the certificates that this system trusts cannot be read.
    pub fn new(token: SecretRef) -> Result<Self> {
        Self::over(URL, token, Arc::new(Socket::new()?), SystemClock::shared())
    }

    pub(crate) fn over(
        url: &str,
        token: SecretRef,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let api = Api::new("Bitbucket", url, &[("accept", "application/json")], transport, clock)?;
        Ok(Self { api: Arc::new(api), token, user: None, secrets: Arc::new(LocalSecrets) })
    }

    /// With an API token of this person instead: tokens of that kind go with the account's mail address.
    #[must_use]
    pub fn user(mut self, mail: impl Into<String>) -> Self {
        self.user = Some(mail.into());
        self
    }

    /// With another resolver of secrets than this process's environment and files.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The checks of a repository, `workspace/name`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if that is not the form of the name.
    pub fn checks(&self, repository: &str) -> Result<BitbucketChecks> {
        let parts = repository
            .split_once('/')
            .filter(|(workspace, name)| !workspace.is_empty() && !name.is_empty() && !name.contains('/'));
        let Some((workspace, name)) = parts else {
            let text = format!("`{repository}` is not a repository of Bitbucket");
            return Err(Error::new(ErrorKind::Invalid, text).next("write workspace/name"));
        };
        let path = format!("/repositories/{}/{}", part(workspace), part(name));
        Ok(BitbucketChecks { bitbucket: self.clone(), repository: repository.to_owned(), path })
    }

    async fn auth(&self) -> Result<HeaderValue> {
        let token = self.secrets.resolve(&self.token).await?;
        match &self.user {
            None => bearer("Bearer", token.expose()),
            Some(user) => bearer("Basic", &BASE64.encode(format!("{user}:{}", token.expose()))),
        }
    }
}

/// Whether a commit's CI is green, by Bitbucket's build statuses.
#[derive(Debug, Clone)]
pub struct BitbucketChecks {
    bitbucket: Bitbucket,
    repository: String,
    path: String,
}

impl BitbucketChecks {
    /// What the build statuses of a commit say, by its full id. One call for each hundred of them. It cannot fail: what goes
    /// wrong is [`CommitState::CannotKnow`] with its reason.
    pub async fn of(&self, commit: &str) -> CommitState {
        if !is_full_id(commit) {
            return no_full_id(commit);
        }
        match self.tally(commit).await {
            Ok(tally) => tally.state(),
            Err(error) => CommitState::CannotKnow { why: error.to_string() },
        }
    }

    /// # Errors
    /// As the call.
    pub(crate) async fn tally(&self, commit: &str) -> Result<Tally> {
        let doing = format!("Bitbucket: the build statuses of {commit} in {}", self.repository);
        let reader = Reader { api: &self.bitbucket.api, auth: self.bitbucket.auth().await? };
        let mut tally = Tally::default();
        let mut next = Some(format!("{}/commit/{commit}/statuses?pagelen=100", self.path));
        for _ in 0..PAGES {
            let Some(path) = next else { return Ok(tally) };
            let page: Statuses = reader.get(&doing, &path).await?;
            for status in &page.values {
                let name = status.name.as_deref().or(status.key.as_deref()).unwrap_or("a build");
                tally.add(name, verdict(&status.state), &status.state);
            }
            next = page.next;
        }
        match next {
            None => Ok(tally),
            Some(_) => Err(Error::new(ErrorKind::Malformed, format!("{doing}: there are too many"))),
        }
    }
}

fn verdict(state: &str) -> Option<Verdict> {
    match state {
        "SUCCESSFUL" => Some(Verdict::Passed),
        "FAILED" | "STOPPED" => Some(Verdict::Failed),
        "INPROGRESS" => Some(Verdict::Runs),
        _ => None,
    }
}
