//! The account's image registry: what it has.
//!
//! Every repository of the account has an image under each tag that begins with a behaviour's word, without
//! anybody having pushed it; other tags exist once somebody put them.

use std::collections::BTreeMap;

use deploy_core::hash;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::behaviour::Behaviour;
use super::config::Config;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Registry {
    pub(super) repositories: BTreeMap<String, Repository>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Repository {
    /// Somebody has created it; all others are there as well, without anybody having done so.
    pub(super) created: bool,
    /// By digest.
    pub(super) images: BTreeMap<String, Stored>,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) behaviour: Behaviour,
    pub(super) manifest: String,
    pub(super) media_type: String,
    pub(super) tags: Vec<String>,
    pub(super) pushed_at: i64,
    /// The image's configuration, if it was made here.
    pub(super) config: Option<String>,
}

/// What a reference to an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) digest: Option<String>,
    pub(super) behaviour: Behaviour,
}

const MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(super) fn sha256(text: &str) -> String {
    format!("sha256:{}", hash::bytes(text.as_bytes()))
}

/// An image that nobody pushed: manifest and configuration, made from its name, so that every run has the same
/// digests. It is for `arm64` if its tag has that word (`ok-arm64`), else for `amd64`.
fn made(repository: &str, tag: &str) -> (String, String) {
    let words = tag.split(|c: char| !c.is_ascii_alphanumeric());
    let architecture = if words.clone().any(|word| word == "arm64") { "arm64" } else { "amd64" };
    let layer = sha256(&format!("layer of {repository}:{tag}"));
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/app/srv"]},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": sha256(&config),
        },
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 2_802_957, "digest": layer}],
    });
    (manifest.to_string(), config)
}

/// Repository, tag and digest, if the image is in a registry of this account, in whatever region.
fn own_name<'a>(config: &Config, image: &'a str) -> Option<&'a str> {
    let (host, name) = image.split_once('/')?;
    let rest = host.strip_prefix(config.account.as_str())?.strip_prefix(".dkr.ecr")?;
    (rest.starts_with(['.', '-']) && rest.contains(".amazonaws.")).then_some(name)
}

impl Registry {
    /// What the container agent finds under `image`. Images of other registries behave as `ok`.
    pub(super) fn resolve(&mut self, config: &Config, now: i64, image: &str) -> Resolved {
        let Some(name) = own_name(config, image) else {
            let digest = image.split_once('@').map_or_else(|| sha256(image), |(_, digest)| digest.to_owned());
            return Resolved { digest: Some(digest), behaviour: Behaviour::Ok };
        };
        let found = match name.split_once('@') {
            Some((repository, digest)) => {
                let repository = repository.split(':').next().unwrap_or(repository);
                self.by_digest(repository, digest).map(|s| (digest.to_owned(), s.behaviour))
            }
            None => {
                let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
                self.by_tag(now, repository, tag)
            }
        };
        match found {
            Some((digest, behaviour)) => Resolved { digest: Some(digest), behaviour },
            None => Resolved { digest: None, behaviour: Behaviour::NoPull },
        }
    }

    /// The digest of a tag, and its behaviour; a made image comes into being when it is first looked at.
    pub(super) fn by_tag(&mut self, now: i64, repository: &str, tag: &str) -> Option<(String, Behaviour)> {
        if let Some(repo) = self.repositories.get(repository)
            && let Some(digest) = repo.tags.get(tag)
            && let Some(stored) = repo.images.get(digest)
        {
            return Some((digest.clone(), stored.behaviour));
        }
        let behaviour = Behaviour::of_tag(tag)?;
        Some((self.make(now, repository, tag), behaviour))
    }

    fn make(&mut self, now: i64, repository: &str, tag: &str) -> String {
        let (manifest, config) = made(repository, tag);
        let digest = self.put(now, repository, Some(tag), manifest, None);
        if let Some(stored) = self.repositories.get_mut(repository).and_then(|r| r.images.get_mut(&digest)) {
            stored.config = Some(config);
        }
        digest
    }

    /// Looks at every behaviour's bare word, so that a list of the repository has them.
    pub(super) fn make_usual(&mut self, now: i64, repository: &str) {
        for behaviour in Behaviour::ALL {
            self.by_tag(now, repository, behaviour.word());
        }
    }

    /// The configuration that was made under this digest.
    pub(super) fn config_blob(&self, repository: Option<&str>, digest: &str) -> Option<&str> {
        let within = self.repositories.iter().filter(|(name, _)| repository.is_none_or(|r| r == *name));
        let configs = within.flat_map(|(_, r)| r.images.values()).filter_map(|i| i.config.as_deref());
        configs.into_iter().find(|config| sha256(config) == digest)
    }

    pub(super) fn by_digest(&self, repository: &str, digest: &str) -> Option<&Stored> {
        self.repositories.get(repository)?.images.get(digest)
    }

    /// Puts an image. A digest keeps the behaviour that its first tag gave it.
    pub(super) fn put(
        &mut self,
        now: i64,
        repository: &str,
        tag: Option<&str>,
        manifest: String,
        media_type: Option<&str>,
    ) -> String {
        let digest = sha256(&manifest);
        let repo = self.repositories.entry(repository.to_owned()).or_default();
        let behaviour = tag.and_then(Behaviour::of_tag).unwrap_or(Behaviour::Ok);
        let media_type = media_type.unwrap_or(MEDIA_TYPE).to_owned();
        repo.images.entry(digest.clone()).or_insert(Stored {
            behaviour,
            manifest,
            media_type,
            tags: Vec::new(),
            pushed_at: now,
            config: None,
        });
        if let Some(tag) = tag {
            for stored in repo.images.values_mut() {
                stored.tags.retain(|t| t != tag);
            }
            if let Some(stored) = repo.images.get_mut(&digest) {
                stored.tags.push(tag.to_owned());
            }
            repo.tags.insert(tag.to_owned(), digest.clone());
        }
        digest
    }

    /// Gives a tag to an image that behaves as told, whatever its name says.
    pub(super) fn put_behaving(
        &mut self,
        now: i64,
        repository: &str,
        tag: &str,
        behaviour: Behaviour,
    ) -> String {
        let digest = self.make(now, repository, tag);
        if let Some(stored) = self.repositories.get_mut(repository).and_then(|r| r.images.get_mut(&digest)) {
            stored.behaviour = behaviour;
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_the_registry_promises() {
        let (config, mut registry) = (Config::default(), Registry::default());
        let own = config.registry();
        let crash = registry.resolve(&config, 0, &format!("{own}/chat:crash-2"));
        assert_eq!(crash.behaviour, Behaviour::Crash);
        let digest = crash.digest.unwrap_or_default();
        let pinned = registry.resolve(&config, 0, &format!("{own}/chat@{digest}"));
        assert_eq!(pinned.behaviour, Behaviour::Crash, "a digest keeps its tag's behaviour");
        assert_eq!(registry.resolve(&config, 0, &format!("{own}/chat:v1")).behaviour, Behaviour::NoPull);
        assert_eq!(registry.resolve(&config, 0, "nginx:crash").behaviour, Behaviour::Ok);
        let elsewhere = own.replace("us-east-1", "eu-west-1");
        assert_eq!(
            registry.resolve(&config, 0, &format!("{elsewhere}/chat:oom-1")).behaviour,
            Behaviour::Oom
        );
        let other = own.replace("123456789012", "999999999999");
        assert_eq!(registry.resolve(&config, 0, &format!("{other}/chat:oom-1")).behaviour, Behaviour::Ok);
        registry.put(0, "chat", Some("v1"), "{}".to_owned(), None);
        registry.put(0, "chat", Some("oom"), "{}".to_owned(), None);
        let moved = registry.resolve(&config, 0, &format!("{own}/chat:oom"));
        assert_eq!(moved.behaviour, Behaviour::Ok, "the digest was first tagged v1");
    }
}
