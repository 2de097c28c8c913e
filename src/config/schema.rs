//! The keys of a layer, what each takes, and which are not built yet.

use std::str::FromStr;

use deploy_core::{model::TargetName, source::Framework};

/// What is wrong with a value: a few words beside it, and what to write.
pub(super) struct Wrong(pub(super) &'static str, pub(super) String);

/// Checks a value whose placeholders are filled in.
pub(super) type Check = fn(&str) -> Result<(), Wrong>;

/// What a key takes.
pub(super) enum Takes {
    /// Text, with placeholders.
    Text(Check),
    /// A duration.
    Time,
    /// `true` or `false`.
    Flag,
    /// A table with these keys.
    Keys(&'static [Rule]),
    /// A table with names of the file's own, of these things, all of which take text; `false` removes one.
    Named(&'static str, Check),
    /// A table with names of the file's own, each of which takes a secret's place; `false` removes one.
    Secrets,
    /// A table with containers, each of which takes a table with these keys, or `true`; `false` removes one.
    Each(&'static [Rule]),
    /// What the key would do.
    NotBuilt(&'static str),
    /// The table of another platform.
    NoPlatform,
}

impl Takes {
    pub(super) fn is_built(&self) -> bool {
        !matches!(self, Self::NotBuilt(_) | Self::NoPlatform)
    }
}

/// A key of a layer.
pub(super) struct Rule {
    pub(super) key: &'static str,
    pub(super) takes: Takes,
}

const fn rule(key: &'static str, takes: Takes) -> Rule {
    Rule { key, takes }
}

/// The platforms that this build knows.
pub(super) const PLATFORMS: &[&str] = &["ecs"];
/// Those that are planned.
pub(super) const PLANNED: &[&str] = &["k8s", "vapor", "terraform"];

/// The keys of every layer.
pub(super) const LAYER: &[Rule] = &[
    rule("platform", Takes::Text(platform)),
    rule("repo", Takes::Text(text)),
    rule("branch", Takes::Text(word)),
    rule("bake", Takes::Time),
    rule("images", Takes::Named("a container", repository)),
    rule("ecs", Takes::Keys(ECS)),
    rule("checks", Takes::NotBuilt("checks of the bake")),
    rule("migrations", Takes::Text(migrations)),
    rule("after", Takes::NotBuilt("promotion from one environment to the next")),
    rule("strategy", Takes::NotBuilt("canary and weights")),
    rule("hooks", Takes::NotBuilt("commands run once a deploy")),
    rule("build", Takes::Each(BUILD)),
    rule("k8s", Takes::NoPlatform),
    rule("vapor", Takes::NoPlatform),
    rule("terraform", Takes::NoPlatform),
];

const ECS: &[Rule] = &[
    rule("account", Takes::Text(account)),
    rule("region", Takes::Text(region)),
    rule("profile", Takes::Text(text)),
    rule("cluster", Takes::Text(arn_or_name)),
    rule("service", Takes::Text(name)),
    rule("family", Takes::Text(name)),
    rule("watch", Takes::Time),
    rule("singleton", Takes::Flag),
    rule("container", Takes::NotBuilt("choosing a container elsewhere than by images.CONTAINER")),
];

/// How a container's image is built.
const BUILD: &[Rule] = &[
    rule("context", Takes::Text(inside)),
    rule("dockerfile", Takes::Text(inside)),
    rule("target", Takes::Text(word)),
    rule("platform", Takes::Text(image_platforms)),
    rule("cache_from", Takes::Text(word)),
    rule("args", Takes::Named("an argument", any)),
    rule("secrets", Takes::Secrets),
    rule("codebuild", Takes::Text(word)),
];

fn wrong(label: &'static str, help: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong(label, help.into()))
}

fn text(value: &str) -> Result<(), Wrong> {
    if value.trim().is_empty() {
        return wrong("is empty", "leave the key out, or give it a value");
    }
    Ok(())
}

fn word(value: &str) -> Result<(), Wrong> {
    text(value)?;
    if value.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return wrong("has a blank in it", "write it without blanks");
    }
    Ok(())
}

fn any(_: &str) -> Result<(), Wrong> {
    Ok(())
}

/// A path within the repository.
fn inside(value: &str) -> Result<(), Wrong> {
    text(value)?;
    if value.starts_with(['/', '\\']) || value.split(['/', '\\']).any(|part| part == "..") {
        return wrong(
            "leads out of the repository",
            "a path from the top of the repository: \"services/api\"",
        );
    }
    Ok(())
}

fn image_platforms(value: &str) -> Result<(), Wrong> {
    let good = |platform: &str| {
        let parts: Vec<&str> = platform.trim().split('/').collect();
        (2..=3).contains(&parts.len()) && parts.iter().all(|part| !part.is_empty() && !part.contains(' '))
    };
    if value.split(',').all(good) {
        return Ok(());
    }
    wrong("is no platform", "write \"linux/amd64\"; several with commas: \"linux/amd64, linux/arm64\"")
}

/// A framework, or patterns of paths.
fn migrations(value: &str) -> Result<(), Wrong> {
    text(value)?;
    if value.contains(['/', '*']) {
        return Ok(());
    }
    let known = Framework::from_str(value).map(drop);
    known.map_err(|error| {
        Wrong("is no framework that is known", error.what_next().unwrap_or_default().to_owned())
    })
}

fn platform(value: &str) -> Result<(), Wrong> {
    if PLATFORMS.contains(&value) {
        return Ok(());
    }
    if PLANNED.contains(&value) {
        return wrong("is not built yet", format!("this build deploys to: {}", PLATFORMS.join(", ")));
    }
    let all = PLATFORMS.iter().chain(PLANNED).copied();
    match super::similar(value, all) {
        Some(meant) => wrong("is no platform", format!("did you mean \"{meant}\"?")),
        None => wrong("is no platform", format!("this build deploys to: {}", PLATFORMS.join(", "))),
    }
}

fn repository(value: &str) -> Result<(), Wrong> {
    word(value)?;
    if let Some((before, _)) = value.split_once('@') {
        return wrong("names a digest", format!("a repository alone: \"{before}\""));
    }
    // A colon before the last slash is a port.
    if let Some((before, tag)) = value.rsplit_once(':')
        && !tag.contains('/')
    {
        return wrong("names a tag", format!("a repository alone: \"{before}\"; the tag is the commit"));
    }
    Ok(())
}

fn account(value: &str) -> Result<(), Wrong> {
    if value.len() == 12 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    wrong("is no account of AWS", "an account has twelve digits: \"123456789012\"")
}

fn region(value: &str) -> Result<(), Wrong> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if value.contains('-') && value.bytes().all(letters) {
        return Ok(());
    }
    wrong("is no region of AWS", "as AWS writes them: \"us-east-1\"")
}

fn name(value: &str) -> Result<(), Wrong> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if value.is_empty() || value.len() > 255 {
        return wrong("is not between 1 and 255 letters long", "write the name as ECS shows it");
    }
    if value.bytes().all(letters) {
        return Ok(());
    }
    if let Some((family, revision)) = value.split_once(':')
        && revision.bytes().all(|byte| byte.is_ascii_digit())
    {
        return wrong("names a revision", format!("the family alone: \"{family}\""));
    }
    wrong("is no name in ECS", "letters, digits, - and _ alone")
}

fn arn_or_name(value: &str) -> Result<(), Wrong> {
    if value.starts_with("arn:") { word(value) } else { name(value) }
}

/// A name that a file may give as a key: of a container, an argument, a secret.
pub(super) fn container(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The name of an app or an environment.
pub(super) fn part_of_a_target(name: &str) -> bool {
    TargetName::new(name, name).is_ok() && !name.contains(['*', '?', '{', '}'])
}

/// Whether a key's name says that its value is secret.
pub(super) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "token", "password", "passwd", "webhook", "slack", "login", "key", "auth"]
        .iter()
        .any(|word| key.contains(word))
}
