//! `deploy.toml`: targets from a file.
//!
//! ```no_run
//! # async fn example() -> deploy_kit::Result<()> {
//! use deploy_kit::{config::Config, prelude::*};
//!
//! let api = Config::load("deploy.toml")?.target("prod-api/production").await?;
//! api.deploy(Release::commit("HEAD")).run().await?;
//! # Ok(()) }
//! ```
//!
//! A target is `app/env`. Four layers have the same keys, and the later wins: `[defaults]`, `[env.E]`, `[app.A]`,
//! `[app.A.env.E]`. Tables merge by key, everything else is replaced whole, and `false` removes an entry of a table. The
//! environments are those of `[env.E]`: an app is in all of them unless it says `envs = [...]`.
//!
//! | key | takes |
//! |---|---|
//! | `version` | 1 |
//! | `state` | `"sqlite:PATH"`; without it `"sqlite:.deploy/state.db"` |
//! | `platform` | `"ecs"` |
//! | `repo` | the folder of the git repository |
//! | `branch` | what is deployed when no revision is named: its pushed tip |
//! | `images.CONTAINER` | the repository of a container's images, without tag |
//! | `build.CONTAINER` | the image of a commit is built and pushed where it is not there yet: a table, or `true` |
//! | `build.CONTAINER.context`, `.dockerfile`, `.target` | the folder of the repository, its Dockerfile, the stage; else `.`, `Dockerfile`, the last |
//! | `build.CONTAINER.platform` | what it is built for, `"linux/amd64"` without; several with commas |
//! | `build.CONTAINER.args.NAME` | a build argument: stored in the image |
//! | `build.CONTAINER.secrets.ID` | a build secret: `{ from_env = "NAME" }` or `{ file = "PATH" }` |
//! | `build.CONTAINER.cache_from` | an image whose layers may be used again |
//! | `build.CONTAINER.codebuild` | the project of AWS CodeBuild that builds it, instead of a Docker Engine |
//! | `migrations` | `"laravel"` and others, or patterns of paths with commas: shown in the plan |
//! | `bake` | how long everything must stay healthy: `"90s"`, `"10m"` |
//! | `envs` | in `[app.A]`: the environments that it is in |
//! | `ecs.account` | the account that everything must be in |
//! | `ecs.region`, `ecs.profile` | else as the AWS CLI finds them |
//! | `ecs.cluster`, `ecs.service` | where it is |
//! | `ecs.family` | the task definition family that the service runs |
//! | `ecs.singleton` | `true`: two tasks must never run at the same time |
//! | `ecs.watch` | how long the tasks may take to be replaced |
//!
//! Paths are relative to the file. `{app}` and `{env}` stand for the target's names.
//!
//! A file with errors gives all of them at once, each with its line. A key whose part is not built yet is refused by
//! name, never ignored.

#[cfg(all(feature = "docker", feature = "git"))]
mod build;
mod connect;
mod file;
mod layer;
mod problem;
mod schema;
mod similar;
mod target;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
};

use deploy_core::{Deployer, Error, ErrorKind, Result};

pub use connect::Builders;
pub use problem::Problems;
pub use similar::similar;
pub use target::{BuildConfig, EcsPlace, Origin, Platform, TargetConfig};

use file::File;
use problem::Problem;

/// Where the state is if neither the file nor the caller says it.
const STATE: &str = "sqlite:.deploy/state.db";

/// A `deploy.toml` without errors.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    state: String,
    targets: Vec<TargetConfig>,
    envs: BTreeMap<String, Vec<String>>,
    deployer: OnceLock<Deployer>,
    connections: Mutex<connect::Connections>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) => Err(Problems::unread(path, &error)),
        }
    }

    /// Takes the text of a file that is, or would be, at this path: others are relative to it.
    ///
    /// # Errors
    /// All problems of the text.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        let mut problems: Vec<Problem> = Vec::new();
        let file = File::read(text, &mut problems);
        let targets = file.targets(path, text, &mut problems);
        if !problems.is_empty() {
            return Err(Problems::of(path, text, problems));
        }
        let envs = file.apps.iter().map(|app| (app.name.clone(), file.envs_of(app))).collect();
        Ok(Self {
            path: path.to_owned(),
            state: file.state.unwrap_or_else(|| STATE.into()),
            targets,
            envs,
            deployer: OnceLock::new(),
            connections: Mutex::default(),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that paths are relative to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        folder(&self.path)
    }

    /// All targets, in the order of the file.
    #[must_use]
    pub fn targets(&self) -> &[TargetConfig] {
        &self.targets
    }

    /// The target of this name, `app/env`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is none, with the one that was probably meant.
    pub fn find(&self, name: &str) -> Result<&TargetConfig> {
        self.targets.iter().find(|target| target.name.to_string() == name).ok_or_else(|| self.missing(name))
    }

    /// The targets that a name or a pattern (`*/staging`) means, at least one. A `*` stands for any part of a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is none.
    pub fn select(&self, pattern: &str) -> Result<Vec<&TargetConfig>> {
        if !pattern.contains(['*', '?']) {
            return Ok(vec![self.find(pattern)?]);
        }
        let fits = |target: &&TargetConfig| similar::fits(pattern, &target.name.to_string());
        let found: Vec<_> = self.targets.iter().filter(fits).collect();
        if found.is_empty() {
            let names: Vec<String> = self.targets.iter().map(|target| target.name.to_string()).collect();
            let text = format!("no target fits `{pattern}`\n  the file has: {}", names.join(", "));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(found)
    }

    fn missing(&self, name: &str) -> Error {
        let (app, env) = name.split_once('/').unwrap_or((name, ""));
        let invalid = |text: String| Error::new(ErrorKind::Invalid, text);
        let suggest = |app: &str, env: Option<&str>| {
            env.map_or_else(String::new, |env| format!("\n  did you mean {app}/{env}?"))
        };
        if let Some(envs) = self.envs.get(app) {
            let meant = similar(env, envs.iter().map(String::as_str)).or(match &envs[..] {
                [only] => Some(only.as_str()),
                _ => None,
            });
            let what = if env.is_empty() {
                format!("`{name}` is no target: a target is app/env")
            } else {
                format!("no environment `{env}` for {app}")
            };
            return invalid(format!("{what}\n  {app} has: {}{}", envs.join(", "), suggest(app, meant)));
        }
        let apps: Vec<&str> = self.envs.keys().map(String::as_str).collect();
        let mut text = format!("no app `{app}`\n  the file has: {}", apps.join(", "));
        if let Some(app) = similar(app, apps.iter().copied()) {
            let envs = &self.envs[app];
            let meant = envs.iter().find(|known| *known == env).or(envs.first());
            text += &suggest(app, meant.map(String::as_str));
        }
        invalid(text)
    }
}

/// The folder of a file; the present one for a bare name.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
