//! The account's image registry: what it answers.

use serde_json::{Value, json};

use super::config::Config;
use super::ecr::{Registry, Stored, sha256};
use super::error::ApiError;
use super::params::{Params, listed, page, time};

/// Where the layers can be fetched that GetDownloadUrlForLayer names: a path of the emulator's own endpoint.
pub(super) const LAYERS: &str = "/_layers/";
/// How long an authorization token is said to be good for.
const TOKEN_MS: i64 = 12 * 3_600_000;

impl Registry {
    pub(super) fn call(
        &mut self,
        config: &Config,
        now: i64,
        action: &str,
        params: Params<'_>,
    ) -> Result<Value, ApiError> {
        if action == "GetAuthorizationToken" {
            return Ok(token(config, now));
        }
        if let Some(other) = params.str("registryId")?.filter(|id| *id != config.account) {
            return Err(ApiError::client(
                "RepositoryNotFoundException",
                format!("The repository does not exist in the registry with id '{other}'"),
            ));
        }
        match action {
            "DescribeImages" => self.describe_images(config, now, params),
            "BatchGetImage" => self.batch_get_image(config, now, params),
            "ListImages" => self.list_images(now, params),
            "PutImage" => self.put_image(config, now, params),
            "GetDownloadUrlForLayer" => {
                let name = params.need("repositoryName")?;
                let digest = params.need("layerDigest")?;
                self.config_blob(Some(name), digest).ok_or_else(|| {
                    let text =
                        format!("The layer with digest '{digest}' does not exist in the repository '{name}'");
                    ApiError::client("LayersNotFoundException", text)
                })?;
                Ok(json!({"downloadUrl": format!("{LAYERS}{digest}"), "layerDigest": digest}))
            }
            "DescribeRepositories" => {
                let mut names = params.strings("repositoryNames")?;
                if names.is_empty() {
                    names.extend(self.repositories.keys().map(String::as_str));
                }
                let views = names.iter().map(|n| repository_view(config, n)).collect();
                let (views, token) = page(views, params, 100, 1000)?;
                Ok(listed("repositories", views, token))
            }
            "CreateRepository" => {
                let name = params.need("repositoryName")?;
                let repository = self.repositories.entry(name.to_owned()).or_default();
                if std::mem::replace(&mut repository.created, true) {
                    return Err(ApiError::client(
                        "RepositoryAlreadyExistsException",
                        format!("The repository with name '{name}' already exists in the registry"),
                    ));
                }
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

    fn put_image(&mut self, config: &Config, now: i64, params: Params<'_>) -> Result<Value, ApiError> {
        let name = params.need("repositoryName")?;
        let manifest = params.need("imageManifest")?.to_owned();
        let tag = params.str("imageTag")?;
        let media_type = params.str("imageManifestMediaType")?;
        let hash = sha256(&manifest);
        if params.str("imageDigest")?.is_some_and(|promised| promised != hash) {
            return Err(ApiError::client(
                "ImageDigestDoesNotMatchException",
                "The given image digest does not match the digest of the manifest.",
            ));
        }
        let there = self.by_digest(name, &hash);
        if there.is_some_and(|stored| tag.is_none_or(|tag| stored.tags.iter().any(|t| t == tag))) {
            let text =
                format!("Image with digest '{hash}' and tag '{}' already exists", tag.unwrap_or("null"));
            return Err(ApiError::client("ImageAlreadyExistsException", text));
        }
        let digest = self.put(now, name, tag, manifest.clone(), media_type);
        let mut id = json!({ "imageDigest": digest });
        if let Some(tag) = tag {
            id["imageTag"] = tag.into();
        }
        Ok(json!({"image": {
            "registryId": config.account, "repositoryName": name, "imageId": id, "imageManifest": manifest,
        }}))
    }

    fn list_images(&mut self, now: i64, params: Params<'_>) -> Result<Value, ApiError> {
        let name = params.need("repositoryName")?;
        let status = params.get("filter").and_then(|f| f.get("tagStatus")).and_then(Value::as_str);
        self.make_usual(now, name);
        let images = self.repositories.get(name).into_iter().flat_map(|r| &r.images);
        let ids = images
            .flat_map(|(digest, stored)| {
                let tagged = stored.tags.iter().map(move |t| json!({"imageTag": t, "imageDigest": digest}));
                let bare = stored.tags.is_empty().then(|| json!({"imageDigest": digest}));
                tagged.chain(bare)
            })
            .filter(|id| match status {
                Some("TAGGED") => id.get("imageTag").is_some(),
                Some("UNTAGGED") => id.get("imageTag").is_none(),
                _ => true,
            })
            .collect();
        let (ids, token) = page(ids, params, 100, 1000)?;
        Ok(listed("imageIds", ids, token))
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
        if ids.is_empty() {
            self.make_usual(now, name);
            let all = self.repositories.get(name).into_iter().flat_map(|r| r.images.keys().cloned());
            digests.extend(all);
        }
        let view = |(digest, stored): (&String, &Stored)| {
            json!({
                "registryId": config.account,
                "repositoryName": name,
                "imageDigest": digest,
                "imageTags": stored.tags,
                "imageSizeInBytes": 2_804_429,
                "imagePushedAt": time(stored.pushed_at),
                "imageManifestMediaType": stored.media_type,
                "artifactMediaType": "application/vnd.docker.container.image.v1+json",
            })
        };
        let found = digests.iter().filter_map(|digest| Some((digest, self.by_digest(name, digest)?)));
        let details: Vec<Value> = found.map(view).collect();
        if !ids.is_empty() {
            return Ok(json!({ "imageDetails": details }));
        }
        let (details, token) = page(details, params, 100, 1000)?;
        Ok(listed("imageDetails", details, token))
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

/// `AWS:emulator`, as a client of the registry would send it.
fn token(config: &Config, now: i64) -> Value {
    json!({"authorizationData": [{
        "authorizationToken": "QVdTOmVtdWxhdG9y",
        "expiresAt": time(now.saturating_add(TOKEN_MS)),
        "proxyEndpoint": format!("https://{}", config.registry()),
    }]})
}

fn repository_view(config: &Config, name: &str) -> Value {
    json!({
        "repositoryName": name,
        "registryId": config.account,
        "repositoryArn": format!("arn:aws:ecr:{}:{}:repository/{name}", config.region, config.account),
        "repositoryUri": format!("{}/{name}", config.registry()),
        "createdAt": time(config.start_ms),
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": false},
        "encryptionConfiguration": {"encryptionType": "AES256"},
    })
}
