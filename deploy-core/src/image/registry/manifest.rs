//! Manifests, indices and configurations, as far as they are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::name::{ImagePlatform, is_digest};

pub(in crate::image) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An index, or the manifest of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(in crate::image) struct Manifest {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    /// What an index lists. `None` if it is the manifest of one image.
    pub(in crate::image) manifests: Option<Vec<Entry>>,
    pub(in crate::image) config: Option<Blob>,
}

/// An image of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::image) struct Entry {
    #[serde(default, rename = "mediaType")]
    pub(in crate::image) media_type: String,
    pub(in crate::image) digest: String,
    #[serde(default)]
    pub(in crate::image) size: u64,
    #[serde(default)]
    platform: Option<PlatformParts>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PlatformParts {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl PlatformParts {
    fn platform(&self) -> ImagePlatform {
        ImagePlatform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::image) struct Blob {
    pub(in crate::image) digest: String,
}

/// The configuration of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(in crate::image) struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    /// When it was built, in RFC 3339.
    pub(in crate::image) created: Option<String>,
    config: Option<Container>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Container {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        let digests = manifest.manifests.iter().flatten().all(|entry| is_digest(&entry.digest));
        digests.then_some(manifest)
    }

    /// What it says it is; where it does not, what the answer's header says.
    pub(super) fn media_type(&self, header: Option<&str>) -> String {
        let header = header.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        if self.media_type.is_empty() { header.to_owned() } else { self.media_type.clone() }
    }

    /// The images of an index: without attestations, which are listed as for an unknown platform.
    pub(in crate::image) fn images(&self) -> Option<Vec<&Entry>> {
        let images = |entry: &&Entry| {
            entry.platform().is_none_or(|platform| platform.os != "unknown")
                && !entry.annotations.contains_key("vnd.docker.reference.type")
        };
        self.manifests.as_ref().map(|entries| entries.iter().filter(images).collect())
    }
}

impl Entry {
    pub(in crate::image) fn new(media_type: &str, digest: &str, size: u64, platform: &ImagePlatform) -> Self {
        let platform = PlatformParts {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
        };
        Self {
            media_type: media_type.to_owned(),
            digest: digest.to_owned(),
            size,
            platform: Some(platform),
            annotations: BTreeMap::new(),
        }
    }

    pub(in crate::image) fn platform(&self) -> Option<ImagePlatform> {
        self.platform.as_ref().map(PlatformParts::platform)
    }
}

impl Config {
    pub(in crate::image) fn platform(&self) -> ImagePlatform {
        ImagePlatform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    pub(in crate::image) fn label(&self, name: &str) -> Option<&str> {
        Some(self.config.as_ref()?.labels.as_ref()?.get(name)?.as_str())
    }
}

/// The tags of a page.
pub(super) fn tags_of(bytes: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Page {
        // Null where the last tag was deleted.
        tags: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(bytes).ok()?;
    Some(page.tags.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_are_no_images() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            r#"{{"manifests": [
                {{"digest": "{digest}", "platform": {{"os": "linux", "architecture": "arm64", "variant": "v8"}}}},
                {{"digest": "{digest}", "platform": {{"os": "unknown", "architecture": "unknown"}}}},
                {{"digest": "{digest}", "annotations": {{"vnd.docker.reference.type": "attestation-manifest"}}}}
            ]}}"#
        );
        let index = Manifest::parse(text.as_bytes()).unwrap();
        let platforms: Vec<_> = index.images().unwrap().iter().filter_map(|entry| entry.platform()).collect();
        assert_eq!(platforms, [ImagePlatform::new("linux", "arm64", None)]);
        assert_eq!(index.media_type(Some("a/b; charset=utf-8")), "a/b");
    }

    #[test]
    fn what_is_no_manifest_is_none() {
        for bad in ["", "[]", "<html>", r#"{"manifests": [{"digest": "sha256:x"}]}"#, r#"{"manifests": 3}"#] {
            assert_eq!(Manifest::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(tags_of(br#"{"name":"x","tags":null}"#), Some(Vec::new()));
        assert_eq!(tags_of(b"{"), None);
    }
}
