//! What is wanted: from the words of a command line to a release.

use deploy_kit::{
    Error, ErrorKind, Fetch, Repo, Result, config::TargetConfig, model::Release, source::Source,
};

use super::{grammar::Wished, session::Session};

/// A release, its target, and the words that ask for it again.
pub(super) struct Wish<'s> {
    pub(super) config: &'s TargetConfig,
    pub(super) release: Release,
    pub(super) words: String,
    /// The release can only be refused: why.
    pub(super) refused: Option<String>,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

impl<'s> Wish<'s> {
    pub(super) async fn of(session: &'s Session<'_>, given: &Wished) -> Result<Self> {
        let (config, rev) = target_and_rev(session, given)?;
        Self::make(config, rev, given).await
    }

    /// As [`of`](Self::of), for one of several targets.
    pub(super) async fn for_target(config: &'s TargetConfig, given: &Wished) -> Result<Self> {
        Self::make(config, given.rev.as_deref(), given).await
    }

    async fn make(config: &'s TargetConfig, rev: Option<&str>, given: &Wished) -> Result<Self> {
        let mut words = config.name.to_string();
        for (option, values) in [("--image", &given.image), ("--set", &given.set), ("--unset", &given.unset)]
        {
            for value in values {
                words += &format!(" {option} {}", quoted(value));
            }
        }
        let mut refused = None;
        let mut release = if given.image.is_empty() {
            match rev {
                Some(rev) => {
                    words += &format!(" {}", quoted(rev));
                    Release::commit(rev)
                }
                // Configuration alone: what runs, with other variables.
                None if !given.set.is_empty() || !given.unset.is_empty() => Release::of_what_runs(),
                None => Release::commit(tip(config).await?),
            }
        } else {
            if let Some(rev) = rev {
                let text = format!("either the revision {rev} or --image, not both");
                return Err(invalid(text).next("an image that exists is deployed without a commit"));
            }
            let mut release = Release::of_what_runs();
            for given in &given.image {
                let (container, reference, wrong) = image(config, given)?;
                refused = refused.or(wrong);
                release = release.image(container, reference);
            }
            release
        };
        for given in &given.set {
            let (container, key, value) = variable(given)?;
            let value = value.ok_or_else(|| invalid(format!("--set {given}: write CONTAINER:KEY=VALUE")))?;
            release = release.env(container, key, value);
        }
        for given in &given.unset {
            let (container, key, value) = variable(given)?;
            if value.is_some() {
                return Err(invalid(format!("--unset {given}: write CONTAINER:KEY, without a value")));
            }
            release = release.unset(container, key);
        }
        Ok(Self { config, release, words, refused })
    }
}

/// With one target in the file, a single word that does not name it is the revision.
fn target_and_rev<'s, 'g>(
    session: &'s Session<'_>,
    given: &'g Wished,
) -> Result<(&'s TargetConfig, Option<&'g str>)> {
    let (first, rev) = (given.target.as_deref(), given.rev.as_deref());
    if let (Some(word), None, [only]) = (first, rev, session.config.targets()) {
        let app = word.split_once('/').map_or(word, |(app, _)| app);
        if app != only.name.app() {
            return Ok((only, first));
        }
    }
    if first.is_some_and(|first| first.contains('*')) {
        return Err(super::not_built("deploying several targets at once")
            .next("name one; status, plan and doctor take patterns"));
    }
    Ok((session.one(first)?, rev))
}

/// The tip of the target's branch at its remote, as it is now; where there is no remote, here; without a branch, HEAD.
async fn tip(config: &TargetConfig) -> Result<String> {
    let Some(repo) = &config.repo else {
        let text = format!("{} has no `repo`, so that no commit can be found", config.name);
        return Err(invalid(text).next("name a full commit, or an image with --image CONTAINER=REF"));
    };
    let Some(branch) = &config.branch else { return Ok("HEAD".into()) };
    let repo = Repo::open(repo)?;
    if repo.has_remote().await? {
        return Ok(repo.fetch(&Fetch::branch(branch)).await?.tip.id);
    }
    Ok(repo.tip(branch).await?.id)
}

/// `CONTAINER=REF`: container, whole reference, and why it is refused if it is of another repository.
fn image(config: &TargetConfig, given: &str) -> Result<(String, String, Option<String>)> {
    let form = || invalid(format!("--image {given}: write CONTAINER=REF, a tag or a digest"));
    let (container, reference) = given.split_once('=').ok_or_else(form)?;
    if reference.is_empty() {
        return Err(form());
    }
    let Some(repository) = config.images.get(container) else {
        let known: Vec<&str> = config.images.keys().map(String::as_str).collect();
        let text = format!("{} has no images.{container} in the file", config.name);
        return Err(invalid(text).next(match &known[..] {
            [] => format!("add images.{container} = \"REPOSITORY\""),
            known => format!("it has: {}", known.join(", ")),
        }));
    };
    if reference.starts_with("sha256:") {
        return Ok((container.into(), format!("{repository}@{reference}"), None));
    }
    if !reference.contains(['/', '@']) && !reference.contains(':') {
        return Ok((container.into(), format!("{repository}:{reference}"), None));
    }
    let name = reference.split('@').next().unwrap_or(reference);
    let named = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    };
    if named != repository {
        let text = format!(
            "wrong image: container {container} of {} takes {repository}; --image gives it {named}",
            config.name
        );
        return Ok((container.into(), reference.into(), Some(text)));
    }
    if reference == named {
        return Err(form());
    }
    Ok((container.into(), reference.into(), None))
}

/// `CONTAINER:KEY=VALUE` or `CONTAINER:KEY`.
fn variable(given: &str) -> Result<(&str, &str, Option<&str>)> {
    let (name, value) = match given.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (given, None),
    };
    let (container, key) = name.split_once(':').unwrap_or(("", name));
    if container.is_empty() || key.is_empty() {
        // The value is not repeated: it may be one that nobody should see.
        return Err(invalid(format!("`{name}` names no variable")).next("write CONTAINER:KEY"));
    }
    Ok((container, key, value))
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "_-./:=@%+,~^".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploy_kit::config::Config;

    const FILE: &str = r#"
version = 1
[defaults]
platform = "ecs"
ecs.cluster = "c"
images.api = "registry.example.com:5000/shop"
[env.production]
[app.shop]
ecs.service = "shop"
"#;

    #[test]
    fn an_image_is_one_of_the_targets_own_repository() {
        let config = Config::parse(FILE, "deploy.toml").unwrap();
        let target = &config.targets()[0];
        let whole =
            |given: &str| image(target, given).map(|(_, reference, wrong)| (reference, wrong.is_some()));
        let repository = "registry.example.com:5000/shop";
        for (given, reference) in [
            ("api=ok-2", format!("{repository}:ok-2")),
            ("api=sha256:abc", format!("{repository}@sha256:abc")),
            ("api=registry.example.com:5000/shop:ok-2", format!("{repository}:ok-2")),
            ("api=registry.example.com:5000/shop@sha256:abc", format!("{repository}@sha256:abc")),
        ] {
            assert_eq!(whole(given).unwrap(), (reference, false), "{given}");
        }
        for given in
            ["api=elsewhere/shop:ok-2", "api=shop:ok-2", "api=registry.example.com:5000/chat@sha256:a"]
        {
            assert!(whole(given).unwrap().1, "{given}");
        }
        for given in ["api", "api=", "web=ok-2", "api=registry.example.com:5000/shop"] {
            assert_eq!(whole(given).unwrap_err().kind(), ErrorKind::Invalid, "{given}");
        }
    }

    #[test]
    fn a_variable_has_a_container_and_its_value_is_not_repeated() {
        assert_eq!(variable("api:LEVEL=a=b").unwrap(), ("api", "LEVEL", Some("a=b")));
        assert_eq!(variable("api:LEVEL").unwrap(), ("api", "LEVEL", None));
        for given in ["LEVEL=hunter2", ":LEVEL=hunter2", "api:=hunter2"] {
            assert!(!variable(given).unwrap_err().to_string().contains("hunter2"), "{given}");
        }
    }

    #[test]
    fn shown_commands_can_be_pasted() {
        assert_eq!(quoted("api:A=it's"), "'api:A=it'\\''s'");
        assert_eq!(quoted("HEAD~2"), "HEAD~2");
    }
}
