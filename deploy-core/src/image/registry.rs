//! A client of the few calls that any registry answers: <https://github.com/opencontainers/distribution-spec>.
//!
//! Layers are the Engine's affair. What is asked here are manifests, configurations and tags; what is changed are a tag
//! of a manifest that is there already, an index, and, in clean-up, manifests that go.

mod auth;
mod error;
mod http;
mod manifest;

pub(super) use manifest::{Config, Entry, Manifest, OCI_INDEX};

use std::{fmt, sync::Arc, time::Duration};

use self::{
    auth::{Authorizations, Challenge},
    http::{Answer, Asked, Http},
};
use super::{
    logins::RegistryLogins,
    name::{Repository, is_digest},
    wire::{Dial, Tcp},
};
use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind, Result, Retry},
    hash,
};

/// How often a call is sent that may be sent again.
const TRIES: u32 = 4;
/// The pause before the second try; it doubles from try to try.
const PAUSE: Duration = Duration::from_millis(500);
/// A registry that wants a longer pause is not waited for: the caller is told.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long one call may take, its body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How many pages of tags are read: at 1000 a page.
const TAG_PAGES_MAX: usize = 100;

/// What manifests may be.
const MEDIA_TYPES: [&str; 4] =
    [manifest::OCI_INDEX, manifest::DOCKER_LIST, manifest::OCI_MANIFEST, manifest::DOCKER_MANIFEST];

/// Any registry of images that speaks the OCI distribution protocol, or many of them. Cheap to clone.
///
/// A call is sent up to four times where that is harmless (all of them are), with pauses that double or that the registry
/// names, and has 30 seconds each time. Registries on this machine (`localhost`, `127.0.0.0/8`) are asked without TLS, as
/// Docker does it; all others with the system's certificates.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    http: Http,
    logins: Arc<dyn RegistryLogins>,
    clock: Arc<dyn Clock>,
    authorizations: Authorizations,
}

/// A manifest as a registry gave it: its bytes have the digest.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) bytes: bytes::Bytes,
    pub(super) manifest: Manifest,
}

impl Registry {
    /// A client with these logins.
    #[must_use]
    pub fn new(logins: Arc<dyn RegistryLogins>) -> Self {
        Self::over(Arc::new(Tcp::new()), logins, SystemClock::shared())
    }

    pub(super) fn over(dial: Arc<dyn Dial>, logins: Arc<dyn RegistryLogins>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            http: Http::new(dial),
            logins,
            clock,
            authorizations: Authorizations::default(),
        }))
    }

    /// Another clock: virtual time in tests.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::over(self.0.http.dial(), Arc::clone(&self.0.logins), clock)
    }

    pub(super) fn logins(&self) -> &dyn RegistryLogins {
        &*self.0.logins
    }

    pub(super) fn time(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The digest that a tag, or a digest, means; `None` if the registry has no such manifest. One call, or two where the
    /// registry does not tell digests.
    ///
    /// # Errors
    /// What the registry says: [`ErrorKind::Unauthenticated`], [`ErrorKind::PermissionDenied`], [`ErrorKind::Throttled`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::TimedOut`], [`ErrorKind::Malformed`].
    pub async fn digest(&self, repository: &Repository, tag_or_digest: &str) -> Result<Option<String>> {
        let asked = self.manifest_call("HEAD", repository, tag_or_digest);
        let answer = match self.send(&asked).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match answer.header("docker-content-digest").filter(|digest| is_digest(digest)) {
            Some(digest) => Ok(Some(digest.to_owned())),
            None => Ok(self.manifest(repository, tag_or_digest).await?.map(|stored| stored.digest)),
        }
    }

    /// A manifest by tag or digest, checked against its digest.
    pub(super) async fn manifest(
        &self,
        repository: &Repository,
        tag_or_digest: &str,
    ) -> Result<Option<Stored>> {
        let asked = self.manifest_call("GET", repository, tag_or_digest);
        let answer = match self.send(&asked).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let malformed = |why: &str| {
            Error::new(ErrorKind::Malformed, format!("the manifest {repository} {tag_or_digest} {why}"))
        };
        let digest = format!("sha256:{}", hash::bytes(&answer.body));
        if is_digest(tag_or_digest) && tag_or_digest != digest {
            return Err(malformed("is not what its digest promises"));
        }
        let manifest = Manifest::parse(&answer.body).ok_or_else(|| malformed("is not understood"))?;
        let media_type = manifest.media_type(answer.header("content-type"));
        if !MEDIA_TYPES.contains(&media_type.as_str()) {
            let shown = media_type.escape_debug();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{repository} {tag_or_digest} is a {shown}, no image"),
            )
            .next("build it anew with a current Docker"));
        }
        Ok(Some(Stored { digest, media_type, bytes: answer.body, manifest }))
    }

    /// The configuration of an image, checked against its digest.
    pub(super) async fn config(&self, repository: &Repository, manifest: &Manifest) -> Result<Config> {
        let malformed =
            |why: &str| Error::new(ErrorKind::Malformed, format!("the configuration of {repository} {why}"));
        let blob = manifest.config.as_ref().filter(|blob| is_digest(&blob.digest));
        let blob = blob.ok_or_else(|| malformed("is not named by its manifest"))?;
        let asked = Asked::new("GET", repository, format!("blobs/{}", blob.digest), "pull");
        let answer = self.send(&asked).await?;
        if format!("sha256:{}", hash::bytes(&answer.body)) != blob.digest {
            return Err(malformed("is not what its digest promises"));
        }
        serde_json::from_slice(&answer.body).map_err(|_| malformed("is not understood"))
    }

    /// Stores a manifest whose parts are there, under a tag. Gives its digest.
    pub(super) async fn put(
        &self,
        repository: &Repository,
        tag: &str,
        media_type: &str,
        bytes: bytes::Bytes,
    ) -> Result<String> {
        let digest = format!("sha256:{}", hash::bytes(&bytes));
        let asked = Asked::new("PUT", repository, format!("manifests/{tag}"), "pull,push")
            .with_body(media_type, bytes);
        let answer = self.send(&asked).await?;
        match answer.header("docker-content-digest") {
            Some(stored) if stored != digest => {
                let text = format!("{repository}:{tag} was stored as {stored}, not as {digest}");
                Err(Error::new(ErrorKind::Malformed, text))
            }
            _ => Ok(digest),
        }
    }

    /// All tags of a repository; none if it does not exist. One call for a thousand.
    pub(super) async fn tags(&self, repository: &Repository) -> Result<Vec<String>> {
        let mut asked = Asked::new("GET", repository, "tags/list?n=1000".to_owned(), "pull");
        let mut tags = Vec::new();
        for _ in 0..TAG_PAGES_MAX {
            let answer = match self.send(&asked).await {
                Ok(answer) => answer,
                Err(error) if error.kind() == ErrorKind::NotFound && tags.is_empty() => return Ok(tags),
                Err(error) => return Err(error),
            };
            let malformed =
                || Error::new(ErrorKind::Malformed, format!("the tags of {repository} are not understood"));
            tags.extend(manifest::tags_of(&answer.body).ok_or_else(malformed)?);
            match answer.header("link").and_then(http::next_page) {
                Some(next) => asked = asked.at(next).ok_or_else(malformed)?,
                None => return Ok(tags),
            }
        }
        let text = format!("{repository} has more than {TAG_PAGES_MAX} pages of tags");
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Deletes a manifest, with all of its tags. `false` if it was gone.
    pub(super) async fn delete(&self, repository: &Repository, digest: &str) -> Result<bool> {
        let asked = Asked::new("DELETE", repository, format!("manifests/{digest}"), "delete");
        match self.send(&asked).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn manifest_call(&self, method: &'static str, repository: &Repository, which: &str) -> Asked {
        Asked::new(method, repository, format!("manifests/{which}"), "pull").accepting(MEDIA_TYPES.join(", "))
    }

    /// Sends a call until it is answered, with pauses.
    async fn send(&self, asked: &Asked) -> Result<Answer> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let error = match self.authorized(asked).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = match error.retry() {
                Retry::After(named) if named <= PAUSE_MAX => named,
                Retry::Always | Retry::IfIdempotent => pause,
                Retry::Never | Retry::After(_) => return Err(error),
            };
            if attempt >= TRIES {
                return Err(error);
            }
            self.0.clock.sleep(wait).await;
            pause *= 2;
        }
        Err(Error::new(ErrorKind::Unexpected, format!("{asked} was never sent")))
    }

    /// Sends a call with a token: the one of before, then a new one, then one for a new login.
    async fn authorized(&self, asked: &Asked) -> Result<Answer> {
        let inner = &*self.0;
        let mut authorization = inner.authorizations.of(asked);
        let mut refused = None;
        for round in 0..3 {
            let answer = self.once(asked, authorization.as_deref()).await?;
            let Some(challenge) = answer.challenge() else { return self.read(asked, answer) };
            inner.authorizations.drop_of(asked);
            if round == 1 {
                inner.logins.forget(asked.registry());
            }
            if round == 2 {
                break;
            }
            match self.authorize(asked, &Challenge::parse(challenge)).await {
                Ok(new) => {
                    inner.authorizations.keep(asked, &new);
                    authorization = Some(new);
                }
                Err(error) if error.kind() == ErrorKind::Unauthenticated && round == 0 => {
                    inner.logins.forget(asked.registry());
                    (authorization, refused) = (None, Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| auth::unauthenticated(asked, "refuses the login")))
    }

    async fn authorize(&self, asked: &Asked, challenge: &Challenge) -> Result<String> {
        let login = self.0.logins.login(asked.registry()).await?;
        match challenge.ask(asked, login.as_ref())? {
            auth::Next::Send(authorization) => Ok(authorization),
            auth::Next::Fetch(token_call, authorization) => {
                let answer = self.once(&token_call, authorization.as_deref()).await?;
                if matches!(answer.status, 400 | 401 | 403) {
                    return Err(auth::unauthenticated(asked, "gives no token for the login"));
                }
                let answer = self.read(&token_call, answer)?;
                auth::token_of(asked, &answer.body)
            }
        }
    }

    /// One attempt on the wire, redirections included.
    async fn once(&self, asked: &Asked, authorization: Option<&str>) -> Result<Answer> {
        tokio::select! {
            answer = self.0.http.send(asked, authorization) => answer,
            () = self.0.clock.sleep(CALL_TIMEOUT) => {
                let text = format!("{asked} has not answered within {} s", CALL_TIMEOUT.as_secs());
                Err(Error::new(ErrorKind::TimedOut, text))
            }
        }
    }

    fn read(&self, asked: &Asked, answer: Answer) -> Result<Answer> {
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(error::refused(asked, &answer, self.0.clock.now()))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({:?})", self.0.logins)
    }
}
