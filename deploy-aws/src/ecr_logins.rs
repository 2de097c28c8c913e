//! Logins to private ECR registries: tokens that AWS gives out for its own credentials.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use deploy_core::{
    Error, ErrorKind, Result,
    image::{Login, RegistryLogins},
    model::{Secret, Timestamp},
};

use crate::{Aws, ecr, image_name::ecr_registry, sdk};

/// A login is not used in its last minutes: a push that begins with it has to end with it.
const MARGIN: Duration = Duration::from_secs(15 * 60);
/// How long ECR's logins are good for, and none of ours is kept for longer
/// (<https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html>).
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// Logins to private ECR registries (`ACCOUNT.dkr.ecr.REGION.amazonaws.com`), made from a connection's credentials; for
/// every other registry another source is asked, [`DockerConfig`](deploy_core::image::DockerConfig) usually.
///
/// A login is good for all registries of its region that the credentials may use, and is kept until 15 minutes before its
/// end. Whoever asks for it meanwhile waits for the same call.
///
/// Costs one `GetAuthorizationToken` for each region in twelve hours, three if the first ones are throttled or unanswered.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use deploy_aws::{Aws, EcrLogins};
/// use deploy_core::image::{DockerConfig, Registry};
///
/// # async fn registry() -> deploy_core::Result<()> {
/// let aws = Aws::from_env().await?;
/// let registry = Registry::new(Arc::new(EcrLogins::new(aws, Arc::new(DockerConfig::from_env()))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EcrLogins(Arc<Inner>);

struct Inner {
    aws: Aws,
    others: Arc<dyn RegistryLogins>,
    regions: Mutex<BTreeMap<String, Arc<Region>>>,
}

/// The login of a region.
#[derive(Default)]
struct Region {
    kept: Mutex<Kept>,
    /// Whoever holds it asks AWS.
    turn: tokio::sync::Mutex<()>,
    /// How many calls have ended.
    ended: AtomicU64,
}

#[derive(Default)]
struct Kept {
    /// The login, and until when on the clock's [`elapsed`](deploy_core::clock::Clock::elapsed).
    login: Option<(Login, Duration)>,
    /// What the last call failed with, for those who waited for it.
    failed: Option<Error>,
}

/// What AWS answered.
struct Given {
    login: Login,
    expires_at: Option<Timestamp>,
}

impl fmt::Debug for EcrLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcrLogins").field("aws", &self.0.aws).field("others", &self.0.others).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EcrLogins {
    /// Logins with these credentials, and those of other registries from there.
    #[must_use]
    pub fn new(aws: Aws, others: Arc<dyn RegistryLogins>) -> Self {
        Self(Arc::new(Inner { aws, others, regions: Mutex::default() }))
    }

    fn region(&self, region: &str) -> Arc<Region> {
        let mut regions = lock(&self.0.regions);
        Arc::clone(regions.entry(region.to_owned()).or_default())
    }

    async fn of_region(&self, name: &str) -> Result<Login> {
        let (region, clock) = (self.region(name), self.0.aws.clock());
        if let Some(login) = region.kept(clock.elapsed()) {
            return Ok(login);
        }
        let before = region.ended.load(Ordering::Acquire);
        let _turn = region.turn.lock().await;
        if let Some(login) = region.kept(clock.elapsed()) {
            return Ok(login);
        }
        // The call that was under way failed: everybody who waited for it hears so, instead of asking in a row.
        if region.ended.load(Ordering::Acquire) > before
            && let Some(failed) = &lock(&region.kept).failed
        {
            return Err(sdk::bare(failed));
        }
        let asked_at = clock.elapsed();
        let given = self.ask(name).await;
        let mut kept = lock(&region.kept);
        region.ended.fetch_add(1, Ordering::AcqRel);
        match given {
            Ok(given) => {
                let now = clock.now().as_millis();
                let left = given.expires_at.map_or(0, |at| at.as_millis().saturating_sub(now));
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST);
                // On the clock that never jumps: whoever sets the other one right must not make it last longer.
                let until = asked_at + left.saturating_sub(MARGIN);
                *kept = Kept { login: Some((given.login.clone(), until)), failed: None };
                Ok(given.login)
            }
            Err(error) => {
                *kept = Kept { login: None, failed: Some(sdk::bare(&error)) };
                Err(error)
            }
        }
    }

    async fn ask(&self, region: &str) -> Result<Given> {
        let doing = format!("GetAuthorizationToken in {region}");
        let client = ecr::client(&self.0.aws, region);
        let answer = sdk::read(&*self.0.aws.clock(), || async {
            let answer = sdk::unlogged(Box::pin(client.get_authorization_token().send())).await;
            answer.map_err(|error| sdk::map_unshown(&doing, sdk::Sent::Read, error))
        })
        .await?;
        let given = answer.authorization_data().first().and_then(|data| {
            let expires_at = data.expires_at().and_then(|at| at.to_millis().ok()).map(Timestamp::from_millis);
            Some(Given { login: decoded(data.authorization_token()?)?, expires_at })
        });
        given.ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("{doing}: the answer holds no login"))
                .next("is something between here and AWS that answers in its place?")
        })
    }
}

impl Region {
    fn kept(&self, now: Duration) -> Option<Login> {
        let kept = lock(&self.kept);
        kept.login.as_ref().filter(|(_, until)| now < *until).map(|(login, _)| login.clone())
    }
}

/// `AWS:password` in base64.
fn decoded(token: &str) -> Option<Login> {
    let bytes = STANDARD.decode(token.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    let full = !username.is_empty() && !password.is_empty();
    full.then(|| Login::Password { username: username.to_owned(), password: Secret::new(password) })
}

#[async_trait]
impl RegistryLogins for EcrLogins {
    /// # Errors
    /// What ECR says, for a registry of ECR: [`ErrorKind::Unauthenticated`] without credentials,
    /// [`ErrorKind::PermissionDenied`] without `ecr:GetAuthorizationToken`. Else what the other source says.
    async fn login(&self, registry: &str) -> Result<Option<Login>> {
        match ecr_registry(registry) {
            Some((_, region)) => self.of_region(region).await.map(Some),
            None => self.0.others.login(registry).await,
        }
    }

    fn forget(&self, registry: &str) {
        match ecr_registry(registry) {
            Some((_, region)) => lock(&self.region(region).kept).login = None,
            None => self.0.others.forget(registry),
        }
    }
}

#[cfg(test)]
#[path = "ecr_logins_tests.rs"]
mod tests;
