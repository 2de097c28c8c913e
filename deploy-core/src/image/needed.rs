//! Which images of a repository a target may still go back to.

use std::collections::BTreeSet;

use super::{name::Repository, registry::Registry};
use crate::{error::Result, model::Revision, target::Target};

/// How many revisions, and how many deploys, are looked back at.
const LOOKED_BACK: usize = 100;

impl Registry {
    /// The digests in a repository that must stay for a target: those of what runs, of all that is known good, of the newest
    /// hundred revisions that its platform has, and of the newest hundred deploys, an unfinished one included. For
    /// [`plan_cleanup`](Self::plan_cleanup), together with those of every other target that uses the repository.
    ///
    /// Costs what [`Target::status`], [`Target::history`] and the platform's list of revisions cost, and one call for each
    /// revision that names a tag in the place of a digest.
    ///
    /// # Errors
    /// As those: what is needed cannot be told from half of an answer.
    pub async fn needed_by(&self, repository: &Repository, target: &Target) -> Result<BTreeSet<String>> {
        let status = target.status().await?;
        let mut revisions = vec![status.now.serving];
        revisions.extend(status.known_good);
        revisions.extend(target.place.revisions(LOOKED_BACK).await?);
        for deploy in target.history(LOOKED_BACK).await? {
            revisions.extend([deploy.from, deploy.to]);
        }
        let mut needed = BTreeSet::new();
        let mut tags = BTreeSet::new();
        for image in revisions.iter().flat_map(images) {
            match named(image, repository) {
                Some(Named::Digest(digest)) => drop(needed.insert(digest.to_owned())),
                Some(Named::Tag(tag)) => drop(tags.insert(tag.to_owned())),
                None => {}
            }
        }
        for tag in tags {
            needed.extend(self.digest(repository, &tag).await?);
        }
        Ok(needed)
    }
}

fn images(revision: &Revision) -> impl Iterator<Item = &str> {
    revision.images.values().map(String::as_str)
}

#[derive(Debug, PartialEq, Eq)]
enum Named<'i> {
    Digest(&'i str),
    Tag(&'i str),
}

/// What an image's reference names in a repository; `None` if it is of another one.
fn named<'i>(image: &'i str, repository: &Repository) -> Option<Named<'i>> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash is a port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, tag),
        _ => (name, "latest"),
    };
    let same = Repository::parse(name).is_ok_and(|named| named == *repository);
    same.then_some(match digest {
        Some(digest) => Named::Digest(digest),
        None => Named::Tag(tag),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let repository = Repository::parse("r.example.com:5000/shop/api").unwrap();
        for (image, expected) in [
            ("r.example.com:5000/shop/api@sha256:ab", Some(Named::Digest("sha256:ab"))),
            ("r.example.com:5000/shop/api:v1@sha256:ab", Some(Named::Digest("sha256:ab"))),
            ("r.example.com:5000/shop/api:v1", Some(Named::Tag("v1"))),
            ("r.example.com:5000/shop/api", Some(Named::Tag("latest"))),
            ("r.example.com:5000/shop/web:v1", None),
            ("shop/api:v1", None),
            ("", None),
        ] {
            assert_eq!(named(image, &repository), expected, "{image}");
        }
    }
}
