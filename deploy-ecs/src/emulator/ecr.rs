//! The account's image registry.
//!
//! Every repository of the account has an image under each tag that begins with a behaviour's word, without
//! anybody having pushed it; other tags exist once somebody put them.

use std::collections::BTreeMap;

use deploy_core::hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::config::Config;
use super::error::ApiError;
use super::params::{Params, time};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Registry {
    repositories: BTreeMap<String, Repository>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Repository {
    /// By digest.
    images: BTreeMap<String, Stored>,
    tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    behaviour: Behaviour,
    manifest: String,
    media_type: String,
    tags: Vec<String>,
    pushed_at: i64,
}

/// What a reference to an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) digest: Option<String>,
    pub(super) behaviour: Behaviour,
}

const MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn sha256(text: &str) -> String {
    format!("sha256:{}", hash::bytes(text.as_bytes()))
}

/// The manifest of an image that nobody pushed: made from its name, so that every run has the same digests.
fn made_manifest(repository: &str, tag: &str) -> String {
    let config = sha256(&format!("config of {repository}:{tag}"));
    let layer = sha256(&format!("layer of {repository}:{tag}"));
    json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1472, "digest": config},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 2_802_957, "digest": layer}],
    })
    .to_string()
}

impl Registry {
    /// What the container agent finds under `image`. Images of other registries behave as `ok`.
    pub(super) fn resolve(&mut self, config: &Config, now: i64, image: &str) -> Resolved {
        let own = format!("{}/", config.registry());
        let Some(name) = image.strip_prefix(&own) else {
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
        let digest = self.put(now, repository, Some(tag), made_manifest(repository, tag), None);
        Some((digest, behaviour))
    }

    fn by_digest(&self, repository: &str, digest: &str) -> Option<&Stored> {
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
        let digest = self.put(now, repository, Some(tag), made_manifest(repository, tag), None);
        if let Some(stored) = self.repositories.get_mut(repository).and_then(|r| r.images.get_mut(&digest)) {
            stored.behaviour = behaviour;
        }
        digest
    }

    pub(super) fn call(
        &mut self,
        config: &Config,
        now: i64,
        action: &str,
        params: Params<'_>,
    ) -> Result<Value, ApiError> {
        let other = params.str("registryId")?.filter(|id| *id != config.account);
        if let (Some(other), true) = (other, action != "GetAuthorizationToken") {
            return Err(ApiError::client(
                "RepositoryNotFoundException",
                format!("The repository does not exist in the registry with id '{other}'"),
            ));
        }
        match action {
            "DescribeImages" => self.describe_images(config, now, params),
            "BatchGetImage" => self.batch_get_image(config, now, params),
            "ListImages" => {
                let name = params.need("repositoryName")?;
                let ids: Vec<Value> = self
                    .repositories
                    .get(name)
                    .into_iter()
                    .flat_map(|r| &r.tags)
                    .map(|(tag, digest)| json!({"imageTag": tag, "imageDigest": digest}))
                    .collect();
                Ok(json!({ "imageIds": ids }))
            }
            "PutImage" => {
                let name = params.need("repositoryName")?;
                let manifest = params.need("imageManifest")?.to_owned();
                let tag = params.str("imageTag")?;
                let media_type = params.str("imageManifestMediaType")?;
                let digest = self.put(now, name, tag, manifest.clone(), media_type);
                let mut id = json!({ "imageDigest": digest });
                if let Some(tag) = tag {
                    id["imageTag"] = tag.into();
                }
                Ok(json!({"image": {
                    "registryId": config.account, "repositoryName": name, "imageId": id, "imageManifest": manifest,
                }}))
            }
            "DescribeRepositories" => {
                let asked = params.strings("repositoryNames")?;
                let names: Vec<&str> = if asked.is_empty() {
                    self.repositories.keys().map(String::as_str).collect()
                } else {
                    asked
                };
                Ok(
                    json!({"repositories": names.iter().map(|n| repository_view(config, n)).collect::<Vec<_>>()}),
                )
            }
            "CreateRepository" => {
                let name = params.need("repositoryName")?;
                self.repositories.entry(name.to_owned()).or_default();
                Ok(json!({"repository": repository_view(config, name)}))
            }
            _ => Err(ApiError::unknown_operation(action)),
        }
    }

    /// The digest that an image id of a request means.
    fn find(&mut self, now: i64, repository: &str, id: &Value) -> Option<String> {
        let tag = id.get("imageTag").and_then(Value::as_str);
        let digest = id.get("imageDigest").and_then(Value::as_str);
        match (tag, digest) {
            (_, Some(digest)) => self.by_digest(repository, digest).map(|_| digest.to_owned()),
            (Some(tag), None) => self.by_tag(now, repository, tag).map(|(digest, _)| digest),
            (None, None) => None,
        }
    }

    fn describe_images(&mut self, config: &Config, now: i64, params: Params<'_>) -> Result<Value, ApiError> {
        let name = params.need("repositoryName")?;
        let ids = params.list("imageIds")?;
        let mut digests = Vec::new();
        for id in ids {
            digests.push(self.find(now, name, id).ok_or_else(|| {
                ApiError::client(
                    "ImageNotFoundException",
                    format!(
                        "The image with imageId {id} does not exist within the repository with name '{name}'"
                    ),
                )
            })?);
        }
        let repo = self.repositories.get(name);
        if ids.is_empty() {
            digests.extend(repo.into_iter().flat_map(|r| r.images.keys().cloned()));
        }
        let details: Vec<Value> = digests
            .iter()
            .filter_map(|digest| Some((digest, repo?.images.get(digest)?)))
            .map(|(digest, stored)| {
                json!({
                    "registryId": config.account,
                    "repositoryName": name,
                    "imageDigest": digest,
                    "imageTags": stored.tags,
                    "imageSizeInBytes": 2_804_429,
                    "imagePushedAt": time(stored.pushed_at),
                    "imageManifestMediaType": stored.media_type,
                })
            })
            .collect();
        Ok(json!({ "imageDetails": details }))
    }

    fn batch_get_image(&mut self, config: &Config, now: i64, params: Params<'_>) -> Result<Value, ApiError> {
        let name = params.need("repositoryName")?;
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in params.list("imageIds")? {
            let found = self.find(now, name, id).and_then(|d| Some((self.by_digest(name, &d)?, d)));
            match found {
                Some((stored, digest)) => {
                    let mut image_id = json!({ "imageDigest": digest });
                    if let Some(tag) = id.get("imageTag") {
                        image_id["imageTag"] = tag.clone();
                    }
                    images.push(json!({
                        "registryId": config.account,
                        "repositoryName": name,
                        "imageId": image_id,
                        "imageManifest": stored.manifest,
                        "imageManifestMediaType": stored.media_type,
                    }));
                }
                None => failures.push(json!({
                    "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
                })),
            }
        }
        Ok(json!({"images": images, "failures": failures}))
    }
}

fn repository_view(config: &Config, name: &str) -> Value {
    json!({
        "repositoryName": name,
        "registryId": config.account,
        "repositoryArn": format!("arn:aws:ecr:{}:{}:repository/{name}", config.region, config.account),
        "repositoryUri": format!("{}/{name}", config.registry()),
        "imageTagMutability": "MUTABLE",
    })
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
        registry.put(0, "chat", Some("v1"), "{}".to_owned(), None);
        registry.put(0, "chat", Some("oom"), "{}".to_owned(), None);
        let moved = registry.resolve(&config, 0, &format!("{own}/chat:oom"));
        assert_eq!(moved.behaviour, Behaviour::Ok, "the digest was first tagged v1");
    }
}
