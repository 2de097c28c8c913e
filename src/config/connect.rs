//! From a described target to one that can be deployed to.

use std::{path::PathBuf, sync::Arc};

use deploy_core::{Deployer, Error, ErrorKind, Result, Target};

use super::{Config, TargetConfig};

/// Whether a state URL can be used: what is wrong with it, in words that follow it.
pub(super) fn check_state(url: &str) -> Result<(), String> {
    let (scheme, path) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "sqlite" if path.is_empty() => Err("names no file".into()),
        "sqlite" => Ok(()),
        "s3" | "kubernetes" => Err(format!("is not built yet: state in {scheme}")),
        _ => Err("is no place for state".into()),
    }
}

impl Config {
    /// Another place for the state than the file says, such as a command line's: `sqlite:PATH`, relative to the working
    /// directory.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no such place, or not built yet.
    pub fn with_state(mut self, url: &str) -> Result<Self> {
        check_state(url).map_err(|what| {
            Error::new(ErrorKind::Invalid, format!("the state {url} {what}"))
                .next("write it like sqlite:PATH")
        })?;
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        self.state = format!("sqlite:{}", path.display());
        self.deployer = std::sync::OnceLock::new();
        Ok(self)
    }

    /// The deployer of all targets; opens the state the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the state cannot be opened.
    #[cfg(feature = "sqlite")]
    pub fn deployer(&self) -> Result<Deployer> {
        if let Some(deployer) = self.deployer.get() {
            return Ok(deployer.clone());
        }
        let path = self.folder().join(self.state.strip_prefix("sqlite:").unwrap_or(&self.state));
        let store = deploy_core::state::stores::sqlite::SqliteStore::open(&path)?;
        unseen_by_git(&path);
        Ok(self.deployer.get_or_init(|| Deployer::new(store)).clone())
    }

    /// The deployer of all targets.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: this build has no store.
    #[cfg(not(feature = "sqlite"))]
    pub fn deployer(&self) -> Result<Deployer> {
        let _ = &self.deployer;
        Err(Error::new(ErrorKind::Unsupported, format!("this build cannot open the state {}", self.state))
            .next("build deploy-kit with its feature `sqlite`"))
    }
}

/// State beside a `deploy.toml` in a repository is no change of the work tree.
#[cfg(feature = "sqlite")]
fn unseen_by_git(state: &std::path::Path) {
    let Some(folder) = state.parent().filter(|folder| folder.ends_with(".deploy")) else { return };
    if let Ok(mut file) = std::fs::File::create_new(folder.join(".gitignore")) {
        // Without it, a clean tree is refused, and says why.
        let _ = std::io::Write::write_all(&mut file, b"*\n");
    }
}

impl TargetConfig {
    /// The target at a place, with everything else that the file says.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if its repository cannot be opened; [`ErrorKind::Invalid`] if what builds its images is
    /// configured in no way that can be.
    pub fn on(
        &self,
        deployer: &Deployer,
        place: Arc<dyn deploy_core::Platform>,
        builders: &Builders,
    ) -> Result<Target> {
        let mut target = deployer.target_at(self.name.app(), self.name.env(), place);
        for (container, repository) in &self.images {
            target = target.image(container, repository);
        }
        if let Some(bake) = self.bake {
            target = target.bake(bake);
        }
        self.sourced(target, builders)
    }

    #[cfg(feature = "git")]
    fn sourced(&self, target: Target, builders: &Builders) -> Result<Target> {
        let Some(path) = &self.repo else { return Ok(target) };
        let repo = crate::Repo::open(path).map_err(|error| error.context(self.said("repo")))?;
        let target = match &self.migrations {
            Some(which) => target.migrations(migrations(which)?),
            None => target,
        };
        self.built(target.source(repo.clone()), repo, builders)
    }

    #[cfg(all(feature = "git", not(feature = "docker")))]
    fn built(&self, target: Target, _: crate::Repo, _: &Builders) -> Result<Target> {
        match self.builds.keys().next() {
            None => Ok(target),
            Some(container) => {
                let text =
                    format!("this build cannot build images: {}", self.said(&format!("build.{container}")));
                Err(Error::new(ErrorKind::Unsupported, text)
                    .next("build deploy-kit with its feature `docker`"))
            }
        }
    }

    #[cfg(not(feature = "git"))]
    fn sourced(&self, target: Target, _: &Builders) -> Result<Target> {
        match &self.repo {
            None => Ok(target),
            Some(_) => Err(Error::new(ErrorKind::Unsupported, "this build cannot read git repositories")
                .next("build deploy-kit with its feature `git`")),
        }
    }

    /// The key and where it stands, for an error about it.
    #[cfg(feature = "git")]
    pub(super) fn said(&self, key: &str) -> String {
        self.origin(key).map_or_else(|| key.to_owned(), |origin| format!("{origin}: {key}"))
    }
}

/// A framework's name, or patterns.
#[cfg(feature = "git")]
fn migrations(which: &str) -> Result<deploy_core::source::Migrations> {
    use deploy_core::source::{Framework, Migrations};
    if which.contains(['/', '*']) {
        return Ok(Migrations::matching(which.split(',').map(str::trim)));
    }
    Ok(Migrations::of(which.parse::<Framework>()?))
}

/// What builds images, and who it is to registries.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Builders {
    #[cfg(feature = "docker")]
    pub(super) logins: Option<Arc<dyn deploy_core::image::RegistryLogins>>,
    #[cfg(all(feature = "ecs", feature = "docker"))]
    pub(super) aws: Option<deploy_aws::Aws>,
}

impl Builders {
    /// A Docker Engine as the docker command finds it, with the logins that it has.
    #[must_use]
    pub fn local() -> Self {
        Self::default()
    }

    /// That, with this account's logins to ECR and its projects of CodeBuild.
    #[cfg(feature = "ecs")]
    #[must_use]
    pub fn aws(ecs: &deploy_ecs::Ecs) -> Self {
        #[cfg(feature = "docker")]
        return Self { aws: Some(ecs.aws().clone()), ..Self::default() };
        #[cfg(not(feature = "docker"))]
        {
            let _ = ecs;
            Self::default()
        }
    }

    /// With these logins instead.
    #[cfg(feature = "docker")]
    #[must_use]
    pub fn logins(mut self, logins: Arc<dyn deploy_core::image::RegistryLogins>) -> Self {
        self.logins = Some(logins);
        self
    }
}

/// A region, a profile and an account.
#[cfg(feature = "ecs")]
type Where = (Option<String>, Option<String>, Option<String>);

/// One connection for all targets of an account and region: what it costs is shared, and its limits are.
#[derive(Debug, Default)]
pub(super) struct Connections {
    #[cfg(feature = "ecs")]
    ecs: std::collections::BTreeMap<Where, deploy_ecs::Ecs>,
}

impl Config {
    /// A target that can be deployed to, with credentials and endpoints as the platform's own tools find them. With
    /// an endpoint of one's own its state is kept apart. Makes no call of the platform.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no such target or no region, [`ErrorKind::Store`] if the state cannot be
    /// opened, [`ErrorKind::NotFound`] if its repository cannot be.
    #[cfg(feature = "ecs")]
    pub async fn target(&self, name: &str) -> Result<Target> {
        let target = self.find(name)?;
        let (ecs, place) = self.ecs(target).await?;
        let deployer = match ecs.aws().endpoint() {
            Some(endpoint) => self.deployer()?.namespace(endpoint),
            None => self.deployer()?,
        };
        target.on(&deployer, Arc::new(place), &Builders::aws(&ecs))
    }

    /// A target that can be deployed to.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: this build has no platform.
    #[cfg(not(feature = "ecs"))]
    #[expect(clippy::unused_async, reason = "as with a platform")]
    pub async fn target(&self, name: &str) -> Result<Target> {
        let _ = (self.find(name)?, &self.connections);
        Err(Error::new(ErrorKind::Unsupported, "this build has no platform")
            .next("build deploy-kit with its feature `ecs`"))
    }

    /// The connection that a target is reached by, and its place there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no region is configured.
    #[cfg(feature = "ecs")]
    pub async fn ecs(&self, target: &TargetConfig) -> Result<(deploy_ecs::Ecs, deploy_ecs::Service)> {
        let super::Platform::Ecs(place) = &target.platform;
        let key = (place.region.clone(), place.profile.clone(), place.account.clone());
        let connections = || self.connections.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = connections().ecs.get(&key).cloned();
        let ecs = match known {
            Some(ecs) => ecs,
            None => {
                let clock = deploy_core::clock::SystemClock::shared();
                let made = deploy_ecs::Ecs::load(&place.ecs_config(), clock).await?;
                connections().ecs.entry(key).or_insert(made).clone()
            }
        };
        let service = place.of(&ecs)?;
        Ok((ecs, service))
    }
}

#[cfg(feature = "ecs")]
impl super::EcsPlace {
    fn ecs_config(&self) -> deploy_ecs::EcsConfig {
        deploy_ecs::EcsConfig {
            account: self.account.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            cluster: Some(self.cluster.clone()),
            service: Some(self.service.clone()),
            family: self.family.clone(),
            singleton: self.singleton,
        }
    }

    /// The service, on a connection that exists.
    ///
    /// # Errors
    /// None today.
    pub fn of(&self, ecs: &deploy_ecs::Ecs) -> Result<deploy_ecs::Service> {
        let service = ecs.configured(&self.ecs_config())?;
        Ok(match self.watch {
            Some(limit) => service.watch_limit(limit),
            None => service,
        })
    }
}
