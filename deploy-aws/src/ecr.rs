//! What ECR knows of an image: whether it exists, its digest, and the platforms that it is for.

use std::{collections::BTreeSet, fmt};

use aws_sdk_ecr::types::ImageIdentifier;
use deploy_core::{Error, ErrorKind, Result, hash};
use serde::Deserialize;

use crate::{Aws, ImageName, sdk};

/// What ECR is asked for: an image may be stored as any of these.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The largest configuration that is fetched: it is JSON of some kilobytes.
const LONGEST_CONFIG: u64 = 4 * 1024 * 1024;

/// An operating system and an architecture, as images name them: `linux/arm64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[non_exhaustive]
pub struct ImagePlatform {
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
}

impl ImagePlatform {
    /// The platform of this operating system and architecture.
    #[must_use]
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into() }
    }
}

impl fmt::Display for ImagePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// An image of a private ECR registry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EcrImage {
    /// What its name means now.
    pub digest: String,
    manifest: Option<Manifest>,
}

/// An index or the manifest of one image, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Entry>,
    config: Option<Blob>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    platform: Option<ImagePlatform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Blob {
    digest: String,
    #[serde(default)]
    size: u64,
}

impl Aws {
    /// Looks an image up. One ECR call. `None` if it is not in a private registry of ECR, so that ECR cannot tell.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if repository or image does not exist, else what ECR says.
    pub async fn image(&self, image: &ImageName) -> Result<Option<EcrImage>> {
        let Some((account, region, repository)) = image.in_ecr() else { return Ok(None) };
        let client = client(self, region);
        let id = match (&image.digest, &image.tag) {
            (Some(digest), _) => ImageIdentifier::builder().image_digest(digest),
            (None, tag) => ImageIdentifier::builder().image_tag(tag.as_deref().unwrap_or("latest")),
        };
        let (clock, id) = (self.clock(), id.build());
        let answer = sdk::read(&*clock, || async {
            let call = client.batch_get_image().registry_id(account).repository_name(repository);
            let call = call.image_ids(id.clone());
            let call =
                MEDIA_TYPES.iter().fold(call, |call, media_type| call.accepted_media_types(*media_type));
            let answer = Box::pin(call.send()).await;
            answer.map_err(|error| sdk::map(&format!("BatchGetImage {image}"), sdk::Sent::Read, error))
        })
        .await?;
        let found = answer
            .images()
            .iter()
            .find_map(|found| Some((found.image_id()?.image_digest()?, found.image_manifest())));
        let Some((digest, manifest)) = found else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no image {image}"))
                .next("build and push it first, or name an existing one"));
        };
        let manifest = manifest.and_then(|text| serde_json::from_str(text).ok());
        Ok(Some(EcrImage { digest: digest.to_owned(), manifest }))
    }

    /// The platforms that an image is for; none if its manifest does not tell. No call for an index of images, else one
    /// ECR call and one GET of the image's configuration.
    ///
    /// # Errors
    /// What ECR says; [`ErrorKind::Malformed`] if the configuration is not what its digest promises.
    pub async fn image_platforms(
        &self,
        image: &ImageName,
        found: &EcrImage,
    ) -> Result<BTreeSet<ImagePlatform>> {
        let Some(manifest) = &found.manifest else { return Ok(BTreeSet::new()) };
        if !manifest.manifests.is_empty() {
            // Attestations are listed too, as for an unknown platform.
            let platforms = manifest.manifests.iter().filter_map(|entry| entry.platform.clone());
            return Ok(platforms.filter(|platform| platform.os != "unknown").collect());
        }
        let (Some(config), Some((account, region, repository))) = (&manifest.config, image.in_ecr()) else {
            return Ok(BTreeSet::new());
        };
        let doing = format!("the configuration of {image}");
        if config.size > LONGEST_CONFIG {
            let text = format!("{doing} has {} bytes: it is no configuration", config.size);
            return Err(Error::new(ErrorKind::Malformed, text));
        }
        let (client, clock) = (client(self, region), self.clock());
        let url = sdk::read(&*clock, || async {
            let call = client.get_download_url_for_layer().registry_id(account).repository_name(repository);
            let answer = Box::pin(call.layer_digest(&config.digest).send()).await;
            answer
                .map_err(|error| sdk::map(&format!("GetDownloadUrlForLayer {image}"), sdk::Sent::Read, error))
        })
        .await?;
        let url = url.download_url().unwrap_or_default();
        let bytes = sdk::read(&*clock, || self.get(&doing, url)).await?;
        if config.digest != format!("sha256:{}", hash::bytes(&bytes)) {
            return Err(Error::new(ErrorKind::Malformed, format!("{doing} is not what its digest promises")));
        }
        let platform: Option<ImagePlatform> = serde_json::from_slice(&bytes).ok();
        Ok(platform.into_iter().filter(|platform| !platform.architecture.is_empty()).collect())
    }
}

/// A client for a region, which need not be the connection's.
pub(crate) fn client(aws: &Aws, region: &str) -> aws_sdk_ecr::Client {
    let config = aws_sdk_ecr::config::Builder::from(aws.sdk_config())
        .region(aws_sdk_ecr::config::Region::new(region.to_owned()))
        .build();
    aws_sdk_ecr::Client::from_conf(config)
}
