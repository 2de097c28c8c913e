//! Whether an image is what it says it is. Never by an exit code: by what the registry holds.

use super::{
    name::{ImagePlatform, Repository, check_commit, is_digest, short},
    registry::{Config, Entry, Manifest, Registry, Stored},
};
use crate::error::{Error, ErrorKind, Result};

/// The labels that tell where an image comes from.
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
pub const REVISION: &str = "org.opencontainers.image.revision";
pub(super) const SOURCE: &str = "org.opencontainers.image.source";
pub(super) const CREATED: &str = "org.opencontainers.image.created";
pub(super) const VERSION: &str = "org.opencontainers.image.version";

/// The most images of an index that are looked at.
const INDEX_IMAGES_MAX: usize = 32;

/// An image that is in a registry, for the platforms that run it, built from its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedImage {
    /// Where it is.
    pub repository: Repository,
    /// What is deployed: the digest of its manifest, or of the index of its manifests.
    pub digest: String,
    /// The commit that it was built from, by its label.
    pub commit: String,
    /// What it was looked at for: the platforms that were asked for; if none were, all that it has.
    pub platforms: Vec<ImagePlatform>,
}

impl VerifiedImage {
    /// The reference that always means this image: `repository@sha256:...`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

impl Registry {
    /// Checks that the digest exists in the repository, for all of these platforms, and that each of its images was built
    /// from this commit by its label `org.opencontainers.image.revision`. Without platforms, all images of it are checked.
    /// Everything that is read is checked against its digest. Two calls an image, and one for an index.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such manifest; [`ErrorKind::Refused`] if it is for another platform or was
    /// built from another commit, in a sentence that names both; [`ErrorKind::Malformed`] if something is not what its
    /// digest promises; else what the registry says.
    pub async fn verify(
        &self,
        repository: &Repository,
        digest: &str,
        commit: &str,
        platforms: &[ImagePlatform],
    ) -> Result<VerifiedImage> {
        check_commit(commit)?;
        if !is_digest(digest) {
            let text = format!("`{}` is not a digest", digest.escape_debug());
            return Err(Error::new(ErrorKind::Invalid, text).next("resolve the tag first"));
        }
        let Some(stored) = self.manifest(repository, digest).await? else {
            let text = format!("there is no image {repository}@{digest}");
            return Err(Error::new(ErrorKind::NotFound, text).next("push it first"));
        };
        self.check(repository, stored, &format!("{repository}@{digest}"), commit, platforms).await
    }

    /// The verified image of a commit, found by the tag that is the commit; `None` if there is no such tag. Calls as for
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// As [`verify`](Self::verify): a tag that names another commit's image is [`ErrorKind::Refused`], and nothing to build
    /// over.
    pub async fn find(
        &self,
        repository: &Repository,
        commit: &str,
        platforms: &[ImagePlatform],
    ) -> Result<Option<VerifiedImage>> {
        check_commit(commit)?;
        match self.manifest(repository, commit).await? {
            Some(stored) => {
                let shown = format!("{repository}:{commit}");
                Ok(Some(self.check(repository, stored, &shown, commit, platforms).await?))
            }
            None => Ok(None),
        }
    }

    async fn check(
        &self,
        repository: &Repository,
        stored: Stored,
        shown: &str,
        commit: &str,
        platforms: &[ImagePlatform],
    ) -> Result<VerifiedImage> {
        let Stored { digest, manifest, .. } = stored;
        let mut found = Vec::new();
        for image in self.images(repository, &manifest, platforms, shown).await? {
            let config = self.config(repository, &image).await?;
            let platform = config.platform();
            if !platforms.is_empty() && !platforms.contains(&platform) {
                return Err(other_platform(shown, &[platform], platforms));
            }
            check_revision(shown, &config, commit)?;
            found.push(platform);
        }
        // One image may be all there is, and be for one of several platforms.
        if let Some(missing) = platforms.iter().find(|wanted| !found.contains(wanted)) {
            return Err(other_platform(shown, &found, std::slice::from_ref(missing)));
        }
        found.sort();
        Ok(VerifiedImage {
            repository: repository.clone(),
            digest,
            commit: commit.to_owned(),
            platforms: found,
        })
    }

    /// The manifests that have to be looked at.
    async fn images(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        platforms: &[ImagePlatform],
        shown: &str,
    ) -> Result<Vec<Manifest>> {
        let Some(entries) = manifest.images() else { return Ok(vec![manifest.clone()]) };
        let listed: Vec<ImagePlatform> = entries.iter().filter_map(|entry| entry.platform()).collect();
        let wanted = |entry: &&&Entry| {
            platforms.is_empty() || entry.platform().is_some_and(|platform| platforms.contains(&platform))
        };
        let entries: Vec<&Entry> = entries.iter().filter(wanted).copied().collect();
        if entries.is_empty() {
            return Err(other_platform(shown, &listed, platforms));
        }
        if entries.len() > INDEX_IMAGES_MAX {
            let text = format!("{shown} lists more than {INDEX_IMAGES_MAX} images");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut manifests = Vec::new();
        for entry in entries {
            let stored = self.manifest(repository, &entry.digest).await?;
            let image = stored.map(|stored| stored.manifest).filter(|image| image.manifests.is_none());
            manifests.push(image.ok_or_else(|| {
                let text = format!("{shown} lists {}, which is no image of the repository", entry.digest);
                Error::new(ErrorKind::Malformed, text).next("push it again")
            })?);
        }
        Ok(manifests)
    }
}

fn check_revision(shown: &str, config: &Config, commit: &str) -> Result<()> {
    let refused = |text: String| {
        Err(Error::new(ErrorKind::Refused, text).next("delete that tag, or deploy its commit"))
    };
    match config.label(REVISION) {
        Some(label) if label == commit => Ok(()),
        Some(label) => refused(format!(
            "{shown} was built from {}, not from {}",
            short(&crate::report::scrub_line(label)),
            short(commit)
        )),
        None => refused(format!(
            "{shown} does not say that it was built from {}: it has no label {REVISION}",
            short(commit)
        )),
    }
}

fn other_platform(shown: &str, has: &[ImagePlatform], wanted: &[ImagePlatform]) -> Error {
    let words = |platforms: &[ImagePlatform]| {
        let names: Vec<String> =
            platforms.iter().map(|platform| crate::report::scrub_line(&platform.to_string())).collect();
        if names.is_empty() { "no platform".to_owned() } else { names.join(" and ") }
    };
    let wanted = if wanted.is_empty() { "an image".to_owned() } else { words(wanted) };
    let text = format!("{shown} is for {}; {wanted} is needed", words(has));
    Error::new(ErrorKind::Refused, text).next("build it for the platform that runs it")
}
