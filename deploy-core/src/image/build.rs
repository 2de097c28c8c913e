//! Building an image from a folder, on the Engine.

mod credentials;
mod progress;
mod session;

pub use progress::FailedStep;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use bollard::{
    body_try_stream,
    models::BuildInfo,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};
use futures_util::{Stream, StreamExt, stream};

use self::{progress::Progress, session::SecretValues};
use super::{
    context::{CONTEXT_BYTES_MAX, Context, Fault},
    engine::{Engine, cannot},
    event::{BuilderKind, ImageEvent, ImageEvents},
    logins::RegistryLogins,
    name::{ImagePlatform, Repository, check_commit, check_tag},
    redact::Redactor,
    verify::{CREATED, REVISION, SOURCE, VERSION},
};
use crate::{
    clock::{Random, SystemRandom},
    context::Secrets,
    error::{Error, ErrorKind, Result},
    model::{SecretRef, Timestamp},
};

/// The Dockerfile, where no other is named.
const DOCKERFILE: &str = "Dockerfile";

/// What to build: a folder, a Dockerfile, and what becomes of them.
///
/// The image carries the labels `org.opencontainers.image.revision`, `.created` and, where they are known, `.source` and
/// `.version`. Its tag is the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub(super) repository: Repository,
    pub(super) commit: String,
    pub(super) version: Option<String>,
    pub(super) platforms: Vec<ImagePlatform>,
    context: PathBuf,
    context_limit: u64,
    committed_at: Timestamp,
    dockerfile: String,
    target: Option<String>,
    arguments: BTreeMap<String, String>,
    secrets: BTreeMap<String, SecretRef>,
    cache_from: Vec<String>,
    inline_cache: bool,
    source: Option<String>,
}

/// An image that was built, on the Engine. Nothing was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Built {
    /// Its repository.
    pub repository: Repository,
    /// Its tag there: the commit, and the platform if it is one of several.
    pub tag: String,
    /// The Engine's name for it.
    pub image_id: String,
    /// Which builder made it.
    pub builder: BuilderKind,
}

impl Build {
    /// A build of this folder at this commit. The folder has to be the commit's: nothing here looks at git.
    pub fn new(repository: Repository, context: impl Into<PathBuf>, commit: impl Into<String>) -> Self {
        Self {
            repository,
            commit: commit.into(),
            version: None,
            platforms: Vec::new(),
            context: context.into(),
            context_limit: CONTEXT_BYTES_MAX,
            committed_at: Timestamp::default(),
            dockerfile: DOCKERFILE.to_owned(),
            target: None,
            arguments: BTreeMap::new(),
            secrets: BTreeMap::new(),
            cache_from: Vec::new(),
            inline_cache: false,
            source: None,
        }
    }

    /// A build of this folder of a git repository (`.` for all of it), at whichever commit is deployed: for
    /// [`Images`](super::Images), which checks the commit out.
    pub fn in_repository(repository: Repository, folder: impl Into<PathBuf>) -> Self {
        Self::new(repository, folder, "")
    }

    /// As this, of a commit.
    pub(super) fn of(&self, commit: &str) -> Self {
        Self { commit: commit.to_owned(), ..self.clone() }
    }

    /// As this, of a commit that is checked out here.
    pub(super) fn at(&self, commit: &str, checkout: &Path) -> Self {
        let context = checkout.join(&self.context);
        Self { commit: commit.to_owned(), context, ..self.clone() }
    }

    /// Where the image goes.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The full id of the commit.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The platforms to build for; empty: the builder's own.
    #[must_use]
    pub fn platforms(&self) -> &[ImagePlatform] {
        &self.platforms
    }

    /// The version that is a second tag, if one was asked for.
    #[must_use]
    pub fn version_tag(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The folder that is built; of [`in_repository`](Self::in_repository) one relative to the commit's top.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.context
    }

    /// Which of its settings only a Docker Engine here can follow, by the names of the methods that set them: who builds
    /// elsewhere has to refuse them.
    #[must_use]
    pub fn engine_settings(&self) -> Vec<&'static str> {
        [
            ("dockerfile", self.dockerfile != DOCKERFILE),
            ("target", self.target.is_some()),
            ("argument", !self.arguments.is_empty()),
            ("secret", !self.secrets.is_empty()),
            ("cache_from", !self.cache_from.is_empty()),
            ("inline_cache", self.inline_cache),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }

    /// When it was committed: the time of every file in the context, so that the same commit gives the same bytes.
    #[must_use]
    pub fn committed_at(self, committed_at: Timestamp) -> Self {
        Self { committed_at, ..self }
    }

    /// Another Dockerfile, relative to the folder. Default: `Dockerfile`. Its own ignore file is `NAME.dockerignore`.
    #[must_use]
    pub fn dockerfile(self, path: impl Into<String>) -> Self {
        Self { dockerfile: path.into(), ..self }
    }

    /// A stage of the Dockerfile instead of its last.
    #[must_use]
    pub fn target(self, stage: impl Into<String>) -> Self {
        Self { target: Some(stage.into()), ..self }
    }

    /// A build argument. It is stored in the image's history: never a secret.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }

    /// A secret for `RUN --mount=type=secret,id=ID`: resolved when the build begins, never stored in a layer. Needs BuildKit.
    #[must_use]
    pub fn secret(mut self, id: impl Into<String>, secret: SecretRef) -> Self {
        self.secrets.insert(id.into(), secret);
        self
    }

    /// A platform to build for. Several become an index. Default: the Engine's own.
    #[must_use]
    pub fn platform(mut self, platform: ImagePlatform) -> Self {
        if !self.platforms.contains(&platform) {
            self.platforms.push(platform);
        }
        self
    }

    /// An image whose layers may be used again. For BuildKit it has to carry a cache of its own.
    #[must_use]
    pub fn cache_from(mut self, reference: impl Into<String>) -> Self {
        self.cache_from.push(reference.into());
        self
    }

    /// Stores in the image what a later build needs to use its layers again. BuildKit only; the classic builder's images
    /// always can.
    #[must_use]
    pub fn inline_cache(self) -> Self {
        Self { inline_cache: true, ..self }
    }

    /// Where the source is, for the label: an address without a login.
    #[must_use]
    pub fn source(self, address: impl Into<String>) -> Self {
        Self { source: Some(address.into()), ..self }
    }

    /// A version, for the label and as a second tag.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }

    /// The largest context, in bytes. Default: 2 GiB.
    #[must_use]
    pub fn context_limit(self, context_limit: u64) -> Self {
        Self { context_limit, ..self }
    }

    /// Whether it can be asked for at all.
    pub(super) fn check(&self) -> Result<()> {
        check_commit(&self.commit)?;
        if let Some(version) = &self.version {
            check_tag(version)?;
        }
        let login = |address: &str| {
            let rest = address.split_once("://").map_or("", |(_, rest)| rest);
            rest.split('/').next().is_some_and(|host| host.contains('@'))
        };
        if self.source.as_deref().is_some_and(login) {
            let text = "the source's address has a login in it, and would be stored in the image with it";
            return Err(Error::new(ErrorKind::Invalid, text).next("give the address without"));
        }
        Ok(())
    }

    fn tag(&self, platform: Option<&ImagePlatform>) -> String {
        match platform {
            Some(platform) if self.platforms.len() > 1 => format!("{}-{}", self.commit, platform.in_tag()),
            _ => self.commit.clone(),
        }
    }

    fn labels(&self, now: Timestamp) -> HashMap<String, String> {
        let given = [
            (REVISION, Some(self.commit.clone())),
            (CREATED, Some(now.to_string())),
            (SOURCE, self.source.clone()),
            (VERSION, self.version.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// What a build may ask for while it runs.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// Logins to the registries of base images.
    pub logins: Arc<dyn RegistryLogins>,
    /// What resolves the build's secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Where progress goes.
    pub events: ImageEvents,
}

impl Engine {
    /// Builds an image for one platform (`None`: the Engine's own), and leaves it on the Engine. With BuildKit where the
    /// Engine has it, else with the classic builder. May be called again: the Engine uses again what it has made.
    ///
    /// Costs the reading of the folder, and one request that lasts as long as the build. To cancel, drop the future: its
    /// connections end, and the Engine stops the step that runs. There is no deadline of its own.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a step fails, and for a Dockerfile or a context that cannot be; the error's source is then
    /// the [`FailedStep`] with its log. [`ErrorKind::Unsupported`] for secrets without BuildKit, [`ErrorKind::Unavailable`]
    /// if the Engine is gone, its disk is full, or the step was killed; [`ErrorKind::Unauthenticated`],
    /// [`ErrorKind::PermissionDenied`] and [`ErrorKind::NotFound`] for base images.
    pub async fn build(
        &self,
        build: &Build,
        platform: Option<&ImagePlatform>,
        cx: &BuildContext,
    ) -> Result<Built> {
        build.check()?;
        let builder = self.builder().await?;
        if builder == BuilderKind::Classic && !build.secrets.is_empty() {
            let text = "the build needs secrets, and this Docker Engine has no BuildKit to give them to";
            return Err(
                Error::new(ErrorKind::Unsupported, text).next("use Docker 18.09 or newer, for Linux images")
            );
        }
        let redactor = Redactor::default();
        let values = SecretValues::resolve(&build.secrets, &*cx.secrets, &redactor).await?;
        let context = scan(build).await?;
        let (entries, bytes) = (context.entries(), context.bytes());
        cx.events.send(ImageEvent::Started { builder, entries, bytes });
        let tag = build.tag(platform);
        let options = self.options(build, platform, &tag, context.dockerfile());
        let (client, lifeline) = self.client().await?;
        let (options, credentials) = match builder {
            BuilderKind::BuildKit => {
                let name = format!("{:016x}{:016x}", SystemRandom.next(), SystemRandom.next());
                let logins = Arc::clone(&cx.logins);
                session::open(self, &lifeline, &name, values, logins, redactor.clone()).await?;
                (options.version(BuilderVersion::BuilderBuildKit).session(&name), None)
            }
            BuilderKind::Classic => {
                let arguments = build.arguments.values();
                let hosts = credentials::hosts(&context.dockerfile_text(), arguments, &build.cache_from);
                let credentials = credentials::of_hosts(hosts, &*cx.logins, &redactor).await?;
                (options.version(BuilderVersion::BuilderV1), Some(credentials))
            }
        };
        let (pieces, fault) = context.send(build.committed_at);
        let body = body_try_stream(stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((piece, pieces))
        }));
        let answers = client.build_image(options.build(), credentials, Some(body)).boxed();
        let progress = Progress::new(builder, redactor.clone(), cx.events.clone());
        let image_id = follow(answers, progress, &fault, &redactor).await?;
        Ok(Built { repository: build.repository.clone(), tag, image_id, builder })
    }

    fn options(
        &self,
        build: &Build,
        platform: Option<&ImagePlatform>,
        tag: &str,
        dockerfile: &str,
    ) -> BuildImageOptionsBuilder {
        let mut arguments: HashMap<String, String> = build.arguments.clone().into_iter().collect();
        if build.inline_cache {
            arguments.insert("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned());
        }
        let name = format!("{}:{tag}", build.repository);
        let options = BuildImageOptionsBuilder::default()
            .dockerfile(dockerfile)
            .t(&name)
            .buildargs(&arguments)
            .labels(&build.labels(self.time().now()))
            .target(build.target.as_deref().unwrap_or_default())
            .platform(&platform.map(ToString::to_string).unwrap_or_default())
            // What is left of a failed step is of no use to anybody.
            .rm(true)
            .forcerm(true);
        if build.cache_from.is_empty() { options } else { options.cachefrom(&build.cache_from) }
    }
}

async fn scan(build: &Build) -> Result<Context> {
    let (folder, dockerfile, limit) = (build.context.clone(), build.dockerfile.clone(), build.context_limit);
    let scanning = tokio::task::spawn_blocking(move || Context::scan(&folder, &dockerfile, limit));
    scanning.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Unexpected, "reading the build context was broken off").because(error))
    })
}

type Answers<'a> = Pin<Box<dyn Stream<Item = Result<BuildInfo, bollard::errors::Error>> + Send + 'a>>;

/// Reads what the Engine says until the end. Gives the image's id.
async fn follow(
    mut answers: Answers<'_>,
    mut progress: Progress,
    fault: &Fault,
    redactor: &Redactor,
) -> Result<String> {
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(info) => progress.heard(info),
            Err(error) => {
                // The Engine only sees an archive that ends; why it ended is known here.
                if let Some(fault) = fault.take() {
                    return Err(fault);
                }
                return Err(progress.failed(error, |error| cannot("build the image", error, redactor)));
            }
        }
    }
    match progress.image_id() {
        Some(id) => Ok(id),
        None => Err(fault.take().unwrap_or_else(|| progress.broken_off())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build() -> Build {
        Build::new(Repository::parse("r.example.com/a").unwrap(), "/nowhere", "9f2c1ab0".repeat(5))
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_read() {
        assert!(build().version("v1.2").source("https://git.example.com/a").check().is_ok());
        assert!(build().source("git@git.example.com:a/b.git").check().is_ok());
        let short = Build { commit: "9f2c1ab".into(), ..build() };
        for bad in [short, build().version("v 1"), build().source("https://canary:x@git.example.com/a")] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn tags_and_labels_say_where_it_comes_from() {
        let [amd, arm] = ["linux/amd64", "linux/arm/v7"].map(|text| ImagePlatform::parse(text).unwrap());
        let one = build().platform(amd.clone()).platform(amd.clone());
        assert_eq!(one.tag(Some(&amd)), one.commit);
        let two = one.platform(arm.clone());
        assert_eq!(two.tag(Some(&arm)), format!("{}-linux-arm-v7", two.commit));
        let labels = build().source("https://x").labels(Timestamp::from_millis(1_795_227_187_402));
        assert_eq!(labels[REVISION], build().commit);
        assert_eq!(labels[CREATED], "2026-11-21T02:13:07.402Z");
        assert_eq!((labels[SOURCE].as_str(), labels.len()), ("https://x", 3));
    }
}
