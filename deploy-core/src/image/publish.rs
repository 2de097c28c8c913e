//! From a build to a verified image in its registry, once for each commit.

use bytes::Bytes;
use serde::Serialize;

use super::{
    build::{Build, BuildContext},
    engine::Engine,
    name::ImagePlatform,
    registry::{Entry, OCI_INDEX, Registry},
    verify::VerifiedImage,
};
use crate::error::{Error, ErrorKind, Result};

/// An image that a deploy can use, and whether it had to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The image.
    pub image: VerifiedImage,
    /// It was built and pushed now. `false`: the registry had it, and nothing was built.
    pub built: bool,
}

#[derive(Serialize)]
struct Index<'a> {
    #[serde(rename = "schemaVersion")]
    schema_version: u8,
    #[serde(rename = "mediaType")]
    media_type: &'a str,
    manifests: &'a [Entry],
}

impl Build {
    /// Gives the verified image of the build's commit: the one that its repository has, else one that is built, pushed and
    /// verified now. Several platforms are built one after the other and become an index. A version is a second tag.
    ///
    /// Costs what [`Registry::find`] costs where the image exists; else also [`Engine::build`] and [`Engine::push`] for each
    /// platform. May be called again after any error. Dropping the future stops what runs.
    ///
    /// # Errors
    /// As those three; [`ErrorKind::Refused`] if the tag of the commit or of the version means another image.
    pub async fn publish(
        &self,
        engine: &Engine,
        registry: &Registry,
        cx: &BuildContext,
    ) -> Result<Published> {
        self.check()?;
        if let Some(image) = registry.find(&self.repository, &self.commit, &self.platforms).await? {
            self.tag_version(registry, &image.digest).await?;
            return Ok(Published { image, built: false });
        }
        // Before anything is built: a version that is taken stays taken.
        if let Some(version) = &self.version
            && let Some(other) = registry.digest(&self.repository, version).await?
        {
            return Err(self.version_taken(version, &other));
        }
        let digest = match self.platforms.as_slice() {
            [] => self.make(engine, registry, None, cx).await?,
            [platform] => self.make(engine, registry, Some(platform), cx).await?,
            platforms => self.make_index(engine, registry, platforms, cx).await?,
        };
        let image = registry.verify(&self.repository, &digest, &self.commit, &self.platforms).await?;
        self.tag_version(registry, &digest).await?;
        Ok(Published { image, built: true })
    }

    async fn make(
        &self,
        engine: &Engine,
        registry: &Registry,
        platform: Option<&ImagePlatform>,
        cx: &BuildContext,
    ) -> Result<String> {
        let built = engine.build(self, platform, cx).await?;
        engine.push(&built, registry, &cx.events).await
    }

    async fn make_index(
        &self,
        engine: &Engine,
        registry: &Registry,
        platforms: &[ImagePlatform],
        cx: &BuildContext,
    ) -> Result<String> {
        let mut entries = Vec::new();
        for platform in platforms {
            let digest = self.make(engine, registry, Some(platform), cx).await?;
            let wanted = std::slice::from_ref(platform);
            // The index would hide what is wrong with one of them.
            registry.verify(&self.repository, &digest, &self.commit, wanted).await?;
            entries.push(self.entry(registry, &digest, platform).await?);
        }
        let index = Index { schema_version: 2, media_type: OCI_INDEX, manifests: &entries };
        let bytes = serde_json::to_vec(&index).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the index of the images cannot be written").because(error)
        })?;
        registry.put(&self.repository, &self.commit, OCI_INDEX, Bytes::from(bytes)).await
    }

    /// What an index says of an image. One that is itself an index, as Docker's newer image store makes them, is taken
    /// apart: not every platform runs an index of indices.
    async fn entry(&self, registry: &Registry, digest: &str, platform: &ImagePlatform) -> Result<Entry> {
        let gone = || Error::new(ErrorKind::NotFound, format!("{}@{digest} is gone again", self.repository));
        let stored = registry.manifest(&self.repository, digest).await?.ok_or_else(gone)?;
        let inner = stored.manifest.images().and_then(|entries| {
            entries.into_iter().find(|entry| entry.platform().as_ref() == Some(platform)).cloned()
        });
        Ok(match inner {
            Some(entry) => Entry::new(&entry.media_type, &entry.digest, entry.size, platform),
            None => Entry::new(&stored.media_type, &stored.digest, stored.bytes.len() as u64, platform),
        })
    }

    /// A second name for the same manifest: nothing is pushed again.
    async fn tag_version(&self, registry: &Registry, digest: &str) -> Result<()> {
        let Some(version) = &self.version else { return Ok(()) };
        match registry.digest(&self.repository, version).await? {
            Some(other) if other == digest => return Ok(()),
            Some(other) => return Err(self.version_taken(version, &other)),
            None => {}
        }
        let gone = || Error::new(ErrorKind::NotFound, format!("{}@{digest} is gone again", self.repository));
        let stored = registry.manifest(&self.repository, digest).await?.ok_or_else(gone)?;
        registry.put(&self.repository, version, &stored.media_type, stored.bytes).await?;
        Ok(())
    }

    fn version_taken(&self, version: &str, other: &str) -> Error {
        let text = format!(
            "{}:{version} is {other} already, which is not the image of {}",
            self.repository, self.commit
        );
        Error::new(ErrorKind::Refused, text).next("give another version, or delete that tag")
    }
}
