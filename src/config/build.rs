//! What builds a target's images.

use std::sync::Arc;

use deploy_core::{
    Error, ErrorKind, Result, Target,
    context::LocalSecrets,
    guards::{CleanGuard, PushedGuard},
    image::{
        Build, DockerConfig, Engine, EngineBuilder, ImageBuilder, ImagePlatform, Images, Registry,
        RegistryLogins, Repository,
    },
};

use super::{BuildConfig, TargetConfig, connect::Builders};
use crate::Repo;

impl TargetConfig {
    /// The target, with what makes its images, and with what has to hold before anything is made from a commit.
    pub(super) fn built(&self, target: Target, repo: Repo, builders: &Builders) -> Result<Target> {
        if self.builds.is_empty() {
            return Ok(target);
        }
        let logins = builders.of_registries();
        let registry = Registry::new(Arc::clone(&logins));
        let mut images = Images::new(registry.clone(), Arc::new(repo));
        for (container, build) in &self.builds {
            let said = |error: Error| error.context(self.said(&format!("build.{container}")));
            let Some(repository) = self.images.get(container) else {
                let text = format!("{} has no images.{container}", self.name);
                return Err(Error::new(ErrorKind::Invalid, text));
            };
            let repository = Repository::parse(repository).map_err(said)?;
            let builder: Arc<dyn ImageBuilder> = match &build.codebuild {
                Some(project) => builders.codebuild(project).map_err(said)?,
                None => {
                    let engine = Engine::from_env().map_err(said)?;
                    let (registry, logins) = (registry.clone(), Arc::clone(&logins));
                    Arc::new(EngineBuilder::new(engine, registry, logins, Arc::new(LocalSecrets)))
                }
            };
            images = images.image(container, build.of(repository).map_err(said)?, builder);
        }
        let pushed = self.branch.as_ref().map_or_else(PushedGuard::anywhere, PushedGuard::branch);
        Ok(target.prepare(images).guard(CleanGuard::if_checked_out()).guard(pushed))
    }
}

impl Builders {
    fn of_registries(&self) -> Arc<dyn RegistryLogins> {
        if let Some(logins) = &self.logins {
            return Arc::clone(logins);
        }
        let local: Arc<dyn RegistryLogins> = Arc::new(DockerConfig::from_env());
        #[cfg(feature = "ecs")]
        if let Some(aws) = &self.aws {
            return Arc::new(deploy_aws::EcrLogins::new(aws.clone(), local));
        }
        local
    }

    fn codebuild(&self, project: &str) -> Result<Arc<dyn ImageBuilder>> {
        #[cfg(feature = "ecs")]
        if let Some(aws) = &self.aws {
            return Ok(Arc::new(deploy_aws::CodeBuild::new(aws.clone(), project)));
        }
        let text = format!("the CodeBuild project {project} cannot be reached from here");
        Err(Error::new(ErrorKind::Unsupported, text).next("deploy with an account of AWS"))
    }
}

impl BuildConfig {
    fn of(&self, repository: Repository) -> Result<Build> {
        let mut build = Build::in_repository(repository, self.context.as_deref().unwrap_or("."));
        for platform in &self.platforms {
            build = build.platform(ImagePlatform::parse(platform)?);
        }
        if let Some(dockerfile) = &self.dockerfile {
            build = build.dockerfile(dockerfile);
        }
        if let Some(target) = &self.target {
            build = build.target(target);
        }
        if let Some(cache) = &self.cache_from {
            build = build.cache_from(cache);
        }
        for (name, value) in &self.args {
            build = build.argument(name, value);
        }
        for (id, secret) in &self.secrets {
            build = build.secret(id, secret.clone());
        }
        Ok(build)
    }
}
