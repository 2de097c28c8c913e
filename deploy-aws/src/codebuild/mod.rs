//! AWS CodeBuild as a builder of images.

mod calls;
mod follow;
mod progress;
mod wanted;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use deploy_core::{
    EffectState, Error, ErrorKind, Result, Retry,
    context::StepContext,
    image::{BuildOrder, ImageBuilder},
};

use self::{
    calls::{Calls, Seen, State},
    follow::Follow,
    wanted::{Found, Wanted},
};
use crate::{Aws, sdk};

/// How long an unanswered or throttled start is tried. Its token is good for five minutes
/// (<https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html>), counted from the first sending.
const START_WITHIN: Duration = Duration::from_secs(120);
/// The pause after the first failed start; doubles with each.
const START_PAUSE: Duration = Duration::from_secs(1);
/// How often a stop is asked for.
const STOP_TRIES: u32 = 3;
/// How long a build that was asked to stop may take to do so.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const STOP_LOOK: Duration = Duration::from_secs(2);

/// Builds images in a project of AWS CodeBuild: a build is started at the commit, followed with its log, and stopped with
/// the deploy. For [`Images`](deploy_core::image::Images), which verifies what it pushed.
///
/// # The project
/// Its source is a git repository that has the commit (CodeCommit, GitHub, GitLab, Bitbucket), it may run Docker
/// (privileged), and its role may push to the repository. Everything else about the build is in its buildspec, which finds
/// these variables:
///
/// | variable | value |
/// |---|---|
/// | `DEPLOY_COMMIT` | the full id of the commit |
/// | `DEPLOY_IMAGE` | what has to be pushed: `REPOSITORY:COMMIT`. The tag has to be the full commit |
/// | `DEPLOY_REVISION_LABEL` | the label that the image has to carry: `org.opencontainers.image.revision=COMMIT` |
/// | `DEPLOY_REGISTRY` | the registry of the repository, to log in to |
/// | `DEPLOY_FOLDER` | the folder of [`Build::in_repository`](deploy_core::image::Build::in_repository) |
/// | `DEPLOY_PLATFORMS` | the platforms that were asked for: `linux/amd64,linux/arm64`. Not set: any |
/// | `DEPLOY_VERSION_IMAGE` | a second name to push it under, `REPOSITORY:VERSION`, if a version was asked for |
/// | `DEPLOY_STARTED_BY` | the deploy and its step, `ROLLOUT/STEP` |
///
/// A buildspec that works with ECR:
///
/// ```yaml
/// version: 0.2
/// phases:
///   pre_build:
///     commands:
///       - aws ecr get-login-password | docker login --username AWS --password-stdin "$DEPLOY_REGISTRY"
///   build:
///     commands:
///       - docker build --label "$DEPLOY_REVISION_LABEL" --tag "$DEPLOY_IMAGE" "$DEPLOY_FOLDER"
///       - docker push "$DEPLOY_IMAGE"
/// ```
///
/// The push is in the phase `build`, because `post_build` runs after a failed `build`, too. Settings of
/// [`Build`](deploy_core::image::Build) that only a Docker Engine here can follow (arguments, secrets, another
/// Dockerfile) are refused.
///
/// # Which build
/// A running build of the same project, commit and image is followed, whoever began it; so a killed deploy that is resumed
/// goes on with the build that it had begun. An unanswered start is looked for before it is repeated, with a token that
/// makes CodeBuild start no second one. A build that another deploy began is not stopped.
///
/// # Costs
/// To begin: one call to STS, two to look and one to start. Then one look each 2 to 10 seconds, and one or two reads of
/// its log. CloudWatch keeps the log only if the project says so; without it, or without `logs:GetLogEvents`, there are
/// phases and no lines.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use deploy_aws::{Aws, CodeBuild, EcrLogins};
/// use deploy_core::{
///     image::{Build, DockerConfig, Images, Registry, Repository},
///     source::Source,
/// };
///
/// # async fn images(source: Arc<dyn Source>) -> deploy_core::Result<Images> {
/// let aws = Aws::from_env().await?;
/// let logins = EcrLogins::new(aws.clone(), Arc::new(DockerConfig::from_env()));
/// let repository = Repository::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api")?;
/// let build = Build::in_repository(repository, ".");
/// Ok(Images::new(Registry::new(Arc::new(logins)), source)
///     .image("api", build, Arc::new(CodeBuild::new(aws, "shop-api"))))
/// # }
/// ```
#[derive(Clone)]
pub struct CodeBuild {
    calls: Calls,
    project: String,
}

impl fmt::Debug for CodeBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeBuild({}, {:?})", self.project, self.calls)
    }
}

impl CodeBuild {
    /// A project of the connection's account and region.
    pub fn new(aws: Aws, project: impl Into<String>) -> Self {
        Self { calls: Calls::new(aws), project: project.into() }
    }

    /// The build to follow, one that is there or a new one; and whether this step of this deploy began it.
    async fn begin(&self, wanted: &Wanted, cx: &StepContext) -> Result<(Seen, bool)> {
        let looking = async {
            // Checks the account, where one is configured.
            self.calls.aws().caller().await?;
            self.calls.newest(&self.project).await
        };
        let builds = tokio::select! {
            builds = looking => builds?,
            () = cx.until_interrupted() => return Err(interrupted("nothing was started")),
        };
        match wanted.find(builds) {
            Found::There(seen) => {
                let ours = wanted.began(&seen);
                Ok((*seen, ours))
            }
            Found::Missing(_) if cx.interrupted() => Err(interrupted("nothing was started")),
            Found::Missing(ended) => Ok((self.start(wanted, &ended, cx).await?, true)),
        }
    }

    /// Starts it. Not to be dropped midway without need: then nobody knows what it started, until it is looked for.
    async fn start(&self, wanted: &Wanted, ended: &[String], cx: &StepContext) -> Result<Seen> {
        let (clock, token) = (self.calls.aws().clock(), wanted.token(ended));
        let (began, mut pause) = (clock.elapsed(), START_PAUSE);
        loop {
            let error = match self.calls.start(wanted, &token).await {
                Ok(seen) => return Ok(seen),
                Err(error) => error,
            };
            let unknown = error.effect() == EffectState::Unknown;
            if unknown && let Some(seen) = self.started(wanted, ended).await {
                return Ok(seen);
            }
            let wait = match error.retry() {
                Retry::After(least) => pause.max(least),
                _ => pause,
            };
            let over = clock.elapsed() + wait > began + START_WITHIN;
            if over || !unknown && !sdk::passes(error.kind()) {
                return Err(error);
            }
            tracing::debug!(%error, "a start is repeated");
            tokio::select! {
                () = clock.sleep(wait) => {}
                () = cx.until_interrupted() => {
                    let known = if unknown { "whether it was started is not known" } else { "nothing was started" };
                    return Err(interrupted(known).because(error));
                }
            }
            pause *= 2;
        }
    }

    /// What an unanswered start started.
    async fn started(&self, wanted: &Wanted, ended: &[String]) -> Option<Seen> {
        let builds = self.calls.newest(&self.project).await.ok()?;
        builds
            .into_iter()
            .filter(|seen| wanted.began(seen) && !ended.contains(&seen.id))
            .max_by_key(|seen| seen.age)
    }

    /// Stops it, sees it stopped, and says so.
    async fn stop(&self, id: &str) -> Error {
        let clock = self.calls.aws().clock();
        let by_hand = format!("see whether it still runs: aws codebuild stop-build --id {id}");
        if let Err(error) = stop(&self.calls, id).await {
            let text = format!("{id} could not be stopped: {}", error.message());
            return interrupted(&text).next(by_hand).because(error);
        }
        let until = clock.elapsed() + STOP_WITHIN;
        while clock.elapsed() < until {
            match self.calls.build(id).await {
                Ok(Some(seen)) if seen.state != State::Running => {
                    return interrupted(&format!("{id} has ended"));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a look at a build that stops"),
            }
            clock.sleep(STOP_LOOK).await;
        }
        let text = format!("{id} was asked to stop and has not within {} s", STOP_WITHIN.as_secs());
        interrupted(&text).next(by_hand)
    }
}

/// Asks for it up to three times: it is harmless twice.
async fn stop(calls: &Calls, id: &str) -> Result<()> {
    let (clock, mut pause) = (calls.aws().clock(), START_PAUSE);
    for _ in 1..STOP_TRIES {
        match calls.stop(id).await {
            Err(error) if sdk::passes(error.kind()) || error.kind() == ErrorKind::Malformed => {
                tracing::debug!(%error, "a stop is repeated");
                clock.sleep(pause).await;
                pause *= 2;
            }
            ended => return ended,
        }
    }
    calls.stop(id).await
}

fn interrupted(known: &str) -> Error {
    Error::new(ErrorKind::Interrupted, format!("the build was stopped: {known}"))
}

/// A build of ours that runs: dropped before its end, it is stopped as far as somebody is left to do that.
struct Begun<'a> {
    calls: &'a Calls,
    id: Option<String>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let calls = self.calls.clone();
        drop(runtime.spawn(async move {
            if let Err(error) = stop(&calls, &id).await {
                tracing::warn!(%error, id, "a build that nobody follows any more could not be stopped");
            }
        }));
    }
}

#[async_trait]
impl ImageBuilder for CodeBuild {
    fn name(&self) -> String {
        format!("CodeBuild {}", self.project)
    }

    /// # Errors
    /// As the trait says. Also [`ErrorKind::Unavailable`] if the build faulted or timed out, [`ErrorKind::Conflict`] if
    /// somebody else stopped it, [`ErrorKind::NotFound`] if there is no such project, [`ErrorKind::Refused`] if the
    /// credentials are of another account than the configured one.
    async fn make(&self, order: BuildOrder<'_>) -> Result<()> {
        let wanted = Wanted::of(&self.project, &order)?;
        let (seen, ours) = self.begin(&wanted, order.cx).await?;
        let id = seen.id.clone();
        let by = seen.started_by().map(str::to_owned);
        let running = ours && seen.state == State::Running;
        let mut begun = Begun { calls: &self.calls, id: running.then(|| id.clone()) };
        let mut follow = Follow::new(&self.calls, order.events, ours);
        let result = tokio::select! {
            biased;
            () = order.cx.until_interrupted() => Err(match by {
                Some(by) if !ours => interrupted(&format!("{id} goes on, {by} began it")),
                None if !ours => interrupted(&format!("{id} goes on, somebody else began it")),
                _ => self.stop(&id).await,
            }),
            result = follow.until_end(seen) => result,
        };
        // It has ended, or the next attempt finds it.
        begun.id = None;
        result
    }
}

#[cfg(test)]
mod tests;
