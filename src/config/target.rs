//! A target as the file describes it, after the layers are merged.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use deploy_core::model::{SecretRef, TargetName};

use super::{
    layer::{Layer, Value, bad_value, fill, not_built},
    problem::{Problem, line_of, position},
};

/// Where a value of a target comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The layer: `app.prod-api`.
    pub section: String,
    /// The line itself.
    pub source: String,
    pub(super) span: Range<usize>,
}

/// `deploy.toml:19`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Which platform a target is on, and where there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Platform {
    /// A service of Amazon ECS.
    Ecs(EcsPlace),
}

/// The keys under `ecs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EcsPlace {
    /// The account that everything must be in.
    pub account: Option<String>,
    /// The region; else as the AWS CLI finds it.
    pub region: Option<String>,
    /// The profile; else as the AWS CLI finds it.
    pub profile: Option<String>,
    /// The cluster's name or ARN.
    pub cluster: String,
    /// The service's name.
    pub service: String,
    /// The task definition family that the service runs.
    pub family: Option<String>,
    /// How long the tasks may take to be replaced.
    pub watch: Option<Duration>,
    /// Two tasks of the service must never run at the same time.
    pub singleton: bool,
}

/// How a container's image is built: the keys under `build.CONTAINER`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildConfig {
    /// The folder of the repository that is sent to the builder; all of it without.
    pub context: Option<String>,
    /// The Dockerfile, from that folder.
    pub dockerfile: Option<String>,
    /// The stage of the Dockerfile.
    pub target: Option<String>,
    /// The platforms: at least one.
    pub platforms: Vec<String>,
    /// An image whose layers may be used again.
    pub cache_from: Option<String>,
    /// The build arguments.
    pub args: BTreeMap<String, String>,
    /// The build secrets.
    pub secrets: BTreeMap<String, SecretRef>,
    /// The project of AWS CodeBuild that builds it, in the place of a Docker Engine.
    pub codebuild: Option<String>,
}

/// What is built for, if the file does not say: what ECS runs where the task definition does not say.
const PLATFORM: &str = "linux/amd64";

/// A target as the file describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TargetConfig {
    /// Its name.
    pub name: TargetName,
    /// The folder of its git repository.
    pub repo: Option<PathBuf>,
    /// What is deployed when no revision is named: the pushed tip of this branch.
    pub branch: Option<String>,
    /// The image repository of each container.
    pub images: BTreeMap<String, String>,
    /// The containers whose images are built, and how.
    pub builds: BTreeMap<String, BuildConfig>,
    /// Which files of the repository are database migrations: a framework, or patterns of paths with commas.
    pub migrations: Option<String>,
    /// How long everything must stay healthy after the last step.
    pub bake: Option<Duration>,
    /// Where it is.
    pub platform: Platform,
    pub(super) values: BTreeMap<String, (String, Origin)>,
}

impl TargetConfig {
    /// Where a value comes from, by its key: `ecs.family`, `images.api`.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.get(key).map(|(_, origin)| origin)
    }

    /// All values, merged and filled in: key, value as the file would have it, and where it comes from.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (key.as_str(), value.as_str(), origin))
    }
}

/// What a target is made from, beside its merged layer.
pub(super) struct Making<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) app: &'a str,
    pub(super) env: &'a str,
}

impl Making<'_> {
    /// The target, if nothing is missing. `missing` gets the keys that are, with the target's name.
    pub(super) fn make(
        &self,
        layer: &Layer,
        missing: &mut Vec<(&'static str, String)>,
        problems: &mut Vec<Problem>,
    ) -> Option<TargetConfig> {
        let (app, env) = (self.app, self.env);
        let name = TargetName::new(app, env).ok()?;
        let mut values = BTreeMap::new();
        let mut times = BTreeMap::new();
        let mut flags = BTreeSet::new();
        let mut secrets = BTreeMap::new();
        for (key, at) in &layer.values {
            let value = match &at.value {
                Value::Gone => continue,
                Value::Time(time) => {
                    times.insert(key.as_str(), *time);
                    self.text.get(at.span.clone()).unwrap_or_default().to_owned()
                }
                Value::Secret(secret) => {
                    secrets.insert(key.as_str(), secret.clone());
                    self.text.get(at.span.clone()).unwrap_or_default().to_owned()
                }
                Value::Flag(flag) => {
                    if *flag {
                        flags.insert(key.as_str());
                    }
                    flag.to_string()
                }
                Value::Text(text, check) => {
                    let filled = fill(text, app, env);
                    if filled != *text
                        && let Err(wrong) = check(&filled)
                    {
                        problems.push(bad_value(key, &at.span, &at.section, &filled, &wrong));
                    }
                    filled
                }
            };
            let origin = Origin {
                file: self.path.to_owned(),
                line: position(self.text, at.span.start).0,
                section: at.section.clone(),
                source: line_of(self.text, at.span.start).trim().to_owned(),
                span: at.span.clone(),
            };
            values.insert(key.clone(), (value, origin));
        }
        let get = |key: &str| values.get(key).map(|(value, _)| value.clone());
        let platform = get("platform");
        for (table, span) in &layer.foreign {
            problems.push(match &platform {
                Some(on) => Problem::new(span, format!("keys of {table} in {app}, which is on {on}"))
                    .label("take them out, or make it another app"),
                None => not_built(table, span, "deploying to this platform"),
            });
        }
        if platform.is_none() {
            missing.push(("platform", name.to_string()));
            return None;
        }
        for key in ["ecs.cluster", "ecs.service"] {
            if get(key).is_none() {
                missing.push((key, name.to_string()));
            }
        }
        let platform = Platform::Ecs(EcsPlace {
            account: get("ecs.account"),
            region: get("ecs.region"),
            profile: get("ecs.profile"),
            cluster: get("ecs.cluster")?,
            service: get("ecs.service")?,
            family: get("ecs.family"),
            watch: times.get("ecs.watch").copied(),
            singleton: flags.contains("ecs.singleton"),
        });
        let builds = builds(&values, &flags, &secrets, self.path);
        check_builds(&name, &builds, &values, problems);
        Some(TargetConfig {
            builds,
            migrations: get("migrations"),
            repo: get("repo").map(|repo| super::folder(self.path).join(repo)),
            branch: get("branch"),
            images: values
                .iter()
                .filter_map(|(key, (value, _))| {
                    Some((key.strip_prefix("images.")?.to_owned(), value.clone()))
                })
                .collect(),
            bake: times.get("bake").copied(),
            name,
            platform,
            values,
        })
    }
}

type Values = BTreeMap<String, (String, Origin)>;

/// A container is built if its table is there and was not removed: what an earlier layer has under it counts then.
fn builds(
    values: &Values,
    flags: &BTreeSet<&str>,
    secrets: &BTreeMap<&str, SecretRef>,
    path: &Path,
) -> BTreeMap<String, BuildConfig> {
    let containers = flags.iter().filter_map(|key| key.strip_prefix("build."));
    containers.map(|container| (container.to_owned(), build(container, values, secrets, path))).collect()
}

fn build(container: &str, values: &Values, secrets: &BTreeMap<&str, SecretRef>, path: &Path) -> BuildConfig {
    let prefix = format!("build.{container}.");
    let get = |key: &str| values.get(&format!("{prefix}{key}")).map(|(value, _)| value.clone());
    let under = |table: &str| {
        let table = format!("{prefix}{table}.");
        let found = values.iter().filter_map(move |(key, (value, _))| {
            Some((key.strip_prefix(&table)?.to_owned(), key.as_str(), value.clone()))
        });
        found.collect::<Vec<_>>()
    };
    let platforms = get("platform").unwrap_or_else(|| PLATFORM.to_owned());
    let secret = |(name, key, _): (String, &str, String)| {
        let secret = secrets.get(key)?.clone();
        Some((
            name,
            match secret {
                // Paths are relative to the file.
                SecretRef::File(file) => {
                    SecretRef::File(super::folder(path).join(file).display().to_string())
                }
                other => other,
            },
        ))
    };
    BuildConfig {
        context: get("context"),
        dockerfile: get("dockerfile"),
        target: get("target"),
        platforms: platforms.split(',').map(|platform| platform.trim().to_owned()).collect(),
        cache_from: get("cache_from"),
        args: under("args").into_iter().map(|(name, _, value)| (name, value)).collect(),
        secrets: under("secrets").into_iter().filter_map(secret).collect(),
        codebuild: get("codebuild"),
    }
}

/// A build has a repository on both sides, and one builder.
fn check_builds(
    name: &TargetName,
    builds: &BTreeMap<String, BuildConfig>,
    values: &Values,
    problems: &mut Vec<Problem>,
) {
    for (container, build) in builds {
        let Some((_, origin)) = values.get(&format!("build.{container}")) else { continue };
        let mut wrong = |title: String, help: String| {
            problems.push(Problem::new(&origin.span, title).label(help));
        };
        if !values.contains_key(&format!("images.{container}")) {
            wrong(
                format!("{name} builds {container} and says not for which repository"),
                format!("add images.{container} = \"REPOSITORY\""),
            );
        }
        if !values.contains_key("repo") {
            wrong(format!("{name} builds {container} and has no `repo`"), "add repo = \"FOLDER\"".into());
        }
        let here = ["context", "dockerfile", "target", "cache_from", "args", "secrets"];
        let under = |key: &&str| {
            let key = format!("build.{container}.{key}");
            values.keys().any(|known| {
                known.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if let (Some(project), Some(key)) = (&build.codebuild, here.iter().find(|key| under(key))) {
            wrong(
                format!("build.{container} has both codebuild and {key}"),
                format!("take {key} out: it belongs in the buildspec of {project}"),
            );
        }
    }
}

/// Two targets at one place would undo each other.
pub(super) fn two_of_a_place(targets: &[TargetConfig], problems: &mut Vec<Problem>) {
    for (at, target) in targets.iter().enumerate() {
        let Some(first) = targets[..at].iter().find(|other| same_place(other, target)) else { continue };
        let Some(origin) = target.origin("ecs.service") else { continue };
        let title = format!("{} and {} are one service", first.name, target.name);
        let mut problem = Problem::new(&origin.span, title).label("a place belongs to one target");
        problem = match first.origin("ecs.service") {
            Some(other) if other.line != origin.line => {
                problem.note(format!("{} has it from line {}", first.name, other.line))
            }
            _ => problem.note("let cluster or service hold {app} or {env}, or give each its own"),
        };
        problems.push(problem);
    }
}

fn same_place(one: &TargetConfig, other: &TargetConfig) -> bool {
    let (Platform::Ecs(one), Platform::Ecs(other)) = (&one.platform, &other.platform);
    let place = |it: &EcsPlace| {
        (it.account.clone(), it.region.clone(), it.profile.clone(), it.cluster.clone(), it.service.clone())
    };
    place(one) == place(other)
}
