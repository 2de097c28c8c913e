//! Clean-up on request: which old images of a repository may go, and their deletion, one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::{
    name::{ImagePlatform, Repository},
    registry::{Config, Registry, Stored},
    verify::{CREATED, REVISION},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Timestamp,
};

/// What is old enough to go. Both have to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest images stay, whatever their age.
    pub newest: usize,
    /// Images younger than this stay, however many they are.
    pub younger_than: Duration,
}

/// What a clean-up would do. Nothing is deleted by making one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupPlan {
    /// The repository.
    pub repository: Repository,
    /// What would go, in this order: an index before what it lists.
    pub delete: Vec<OldImage>,
    /// What stays, and why.
    pub keep: Vec<KeptImage>,
}

/// An image that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldImage {
    /// Its digest.
    pub digest: String,
    /// Its tags, which go with it.
    pub tags: Vec<String>,
    /// The commit that it was built from.
    pub commit: String,
    /// When it was built.
    pub created: Timestamp,
}

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptImage {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Why.
    pub reason: KeepReason,
}

/// Why an image stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeepReason {
    /// It was asked for: a rollback may need it.
    Needed,
    /// It is a part of, or holds, one that stays.
    PartOfKept,
    /// It is one of the newest.
    Newest,
    /// It is not old enough.
    Young,
    /// When it was built cannot be told.
    AgeUnknown,
    /// It was not built from a commit under that commit's tag: it is somebody else's.
    NotOurs,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Needed => "a rollback may need it",
            Self::PartOfKept => "it belongs to one that stays",
            Self::Newest => "one of the newest",
            Self::Young => "not old enough",
            Self::AgeUnknown => "its age is not known",
            Self::NotOurs => "not built from a commit under its tag",
        })
    }
}

/// One image, with all that decides about it.
#[derive(Debug)]
struct Seen {
    digest: String,
    tags: Vec<String>,
    /// What an index lists, attestations included.
    lists: Vec<String>,
    commit: Option<String>,
    created: Option<Timestamp>,
}

impl Registry {
    /// Looks which images of a repository may go: those that are older than the retention says, and neither in `needed`
    /// (digests that a rollback may need), nor listed by an index there, nor an index that lists one of them. Images that
    /// carry no revision label, or none that is one of their tags, stay: they are somebody else's. Three calls a tag, and one a
    /// thousand tags.
    ///
    /// # Errors
    /// What the registry says; nothing is planned from half of an answer.
    pub async fn plan_cleanup(
        &self,
        repository: &Repository,
        retention: Retention,
        needed: &BTreeSet<String>,
    ) -> Result<CleanupPlan> {
        let mut by_digest: BTreeMap<String, Seen> = BTreeMap::new();
        for tag in self.tags(repository).await? {
            // Deleted meanwhile: somebody else cleans up, too.
            let Some(digest) = self.digest(repository, &tag).await? else { continue };
            if let Some(seen) = by_digest.get_mut(&digest) {
                seen.tags.push(tag);
                continue;
            }
            let Some(stored) = self.manifest(repository, &digest).await? else { continue };
            let mut seen = self.look(repository, &stored).await?;
            seen.tags.push(tag);
            by_digest.insert(digest, seen);
        }
        let mut linked = BTreeMap::new();
        for digest in needed.iter().filter(|digest| !by_digest.contains_key(*digest)) {
            // One without a tag of its own may still be an index that lists some with one.
            if let Some(stored) = self.manifest(repository, digest).await? {
                linked.insert(digest.clone(), listed(&stored));
            }
        }
        Ok(decide(repository, by_digest, &linked, retention, needed, self.time().now()))
    }

    async fn look(&self, repository: &Repository, stored: &Stored) -> Result<Seen> {
        let lists = listed(stored);
        let image = match stored.manifest.images() {
            None => Some(stored.manifest.clone()),
            Some(entries) => match entries.first() {
                Some(entry) => self.manifest(repository, &entry.digest).await?.map(|stored| stored.manifest),
                None => None,
            },
        };
        let config = match image {
            Some(image) if image.config.is_some() => match self.config(repository, &image).await {
                Ok(config) => Some(config),
                // Broken, and so nobody's.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Malformed) => None,
                Err(error) => return Err(error),
            },
            _ => None,
        };
        let commit = config.as_ref().and_then(|config| config.label(REVISION)).map(str::to_owned);
        let created = config.as_ref().and_then(built_at);
        Ok(Seen { digest: stored.digest.clone(), tags: Vec::new(), lists, commit, created })
    }

    /// Deletes one image of a plan, with its tags. One call. `false` if it was gone already, so it may be called again.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the registry does not delete; else what it says.
    pub async fn delete_image(&self, plan: &CleanupPlan, image: &OldImage) -> Result<bool> {
        if !plan.delete.contains(image) {
            let text = format!("{} is not in the plan of the clean-up", image.digest);
            return Err(Error::new(ErrorKind::Invalid, text).next("plan it first"));
        }
        self.delete(&plan.repository, &image.digest).await
    }
}

fn listed(stored: &Stored) -> Vec<String> {
    stored.manifest.manifests.iter().flatten().map(|entry| entry.digest.clone()).collect()
}

/// Our label, which a rebuild with an old layer on top does not change; else the builder's own word.
fn built_at(config: &Config) -> Option<Timestamp> {
    let text = config.label(CREATED).or(config.created.as_deref())?;
    let time: Timestamp = humantime::parse_rfc3339(text).ok()?.into();
    // Reproducible builds write 1970 or the year one: that is no age.
    (time.as_millis() > 0).then_some(time)
}

/// Whether one of the tags says the same as the label: the commit, or the commit with a platform.
fn is_ours(seen: &Seen) -> bool {
    let Some(commit) = &seen.commit else { return false };
    seen.tags.iter().any(|tag| {
        let rest = tag.strip_prefix(commit.as_str());
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('-')
                    .is_some_and(|name| ImagePlatform::parse(&name.replace('-', "/")).is_ok())
        })
    })
}

fn decide(
    repository: &Repository,
    by_digest: BTreeMap<String, Seen>,
    untagged: &BTreeMap<String, Vec<String>>,
    retention: Retention,
    needed: &BTreeSet<String>,
    now: Timestamp,
) -> CleanupPlan {
    let mut reasons: BTreeMap<&str, KeepReason> = BTreeMap::new();
    let parts: BTreeSet<&String> = by_digest.values().flat_map(|seen| &seen.lists).collect();
    let mut ranked: Vec<&Seen> = by_digest.values().collect();
    ranked.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.digest.cmp(&other.digest)));
    let mut rank = 0;
    for seen in &ranked {
        // The images of an index are one with it.
        let counts = !parts.contains(&seen.digest) && is_ours(seen);
        rank += usize::from(counts);
        let reason = if needed.contains(&seen.digest) {
            Some(KeepReason::Needed)
        } else if !is_ours(seen) {
            Some(KeepReason::NotOurs)
        } else {
            match seen.created {
                None => Some(KeepReason::AgeUnknown),
                Some(created) if now.since(created) < retention.younger_than => Some(KeepReason::Young),
                Some(_) if counts && rank <= retention.newest => Some(KeepReason::Newest),
                Some(_) => None,
            }
        };
        if let Some(reason) = reason {
            reasons.insert(&seen.digest, reason);
        }
    }
    for seen in &ranked {
        let holds_needed = seen.lists.iter().any(|part| needed.contains(part));
        if holds_needed {
            reasons.entry(&seen.digest).or_insert(KeepReason::PartOfKept);
        }
    }
    // Indices may list indices: go on until nothing more stays.
    loop {
        let kept = by_digest.values().filter(|seen| reasons.contains_key(seen.digest.as_str()));
        let of_kept: Vec<&String> =
            kept.flat_map(|seen| &seen.lists).chain(untagged.values().flatten()).collect();
        let new: Vec<&str> = of_kept
            .into_iter()
            .filter_map(|part| by_digest.get(part))
            .map(|seen| seen.digest.as_str())
            .filter(|digest| !reasons.contains_key(digest))
            .collect();
        if new.is_empty() {
            break;
        }
        reasons.extend(new.into_iter().map(|digest| (digest, KeepReason::PartOfKept)));
    }
    let mut plan = CleanupPlan { repository: repository.clone(), delete: Vec::new(), keep: Vec::new() };
    for seen in ranked.iter().rev() {
        let (digest, tags) = (seen.digest.clone(), seen.tags.clone());
        match (reasons.get(seen.digest.as_str()), &seen.commit, seen.created) {
            (None, Some(commit), Some(created)) => {
                plan.delete.push(OldImage { digest, tags, commit: commit.clone(), created });
            }
            (reason, ..) => {
                let reason = reason.copied().unwrap_or(KeepReason::NotOurs);
                plan.keep.push(KeptImage { digest, tags, reason });
            }
        }
    }
    // An index without its images would be a broken one, if the rest is never deleted.
    plan.delete.sort_by_key(|image| parts.contains(&image.digest));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn name(n: u32) -> String {
        format!("sha256:{n:064x}")
    }

    fn commit(n: u32) -> String {
        format!("{n:040x}")
    }

    /// An image of commit `n`, that many days old.
    fn image(n: u32, days: u64, lists: &[u32], suffix: &str) -> (String, Seen) {
        let seen = Seen {
            digest: name(n),
            tags: vec![format!("{}{suffix}", commit(n))],
            lists: lists.iter().map(|n| name(*n)).collect(),
            commit: Some(commit(n)),
            created: Some(Timestamp::from_millis(i64::try_from((1000 - days) * DAY * 1000).unwrap())),
        };
        (name(n), seen)
    }

    fn plan(
        images: impl IntoIterator<Item = (String, Seen)>,
        newest: usize,
        days: u64,
        needed: &[u32],
    ) -> CleanupPlan {
        let retention = Retention { newest, younger_than: Duration::from_secs(days * DAY) };
        let needed = needed.iter().map(|n| name(*n)).collect();
        let now = Timestamp::from_millis(i64::try_from(1000 * DAY * 1000).unwrap());
        let repository = Repository::parse("r.example.com/a").unwrap();
        decide(&repository, images.into_iter().collect(), &BTreeMap::new(), retention, &needed, now)
    }

    fn deleted(plan: &CleanupPlan) -> Vec<String> {
        plan.delete.iter().map(|image| image.digest.clone()).collect()
    }

    fn kept(plan: &CleanupPlan, n: u32) -> Option<KeepReason> {
        plan.keep.iter().find(|image| image.digest == name(n)).map(|image| image.reason)
    }

    #[test]
    fn age_and_count_both_have_to_say_old() {
        let images = || (1..=6).map(|n| image(n, u64::from(n) * 10, &[], ""));
        assert_eq!(deleted(&plan(images(), 2, 0, &[])), [name(6), name(5), name(4), name(3)]);
        assert_eq!(deleted(&plan(images(), 0, 35, &[])), [name(6), name(5), name(4)]);
        let both = plan(images(), 5, 35, &[]);
        assert_eq!(deleted(&both), [name(6)]);
        assert_eq!((kept(&both, 5), kept(&both, 3)), (Some(KeepReason::Newest), Some(KeepReason::Young)));
    }

    #[test]
    fn what_a_rollback_may_need_stays_with_its_parts_and_what_holds_it() {
        let images = || {
            [
                image(1, 100, &[2, 3], ""),
                image(2, 100, &[], "-linux-amd64"),
                image(3, 100, &[], "-linux-arm-v6"),
                image(4, 100, &[5], ""),
                image(5, 100, &[], "-linux-amd64"),
                image(6, 100, &[], ""),
            ]
        };
        let by_index = plan(images(), 0, 1, &[1]);
        assert_eq!(deleted(&by_index), [name(6), name(4), name(5)]);
        assert_eq!(
            (kept(&by_index, 1), kept(&by_index, 3)),
            (Some(KeepReason::Needed), Some(KeepReason::PartOfKept))
        );
        let by_part = plan(images(), 0, 1, &[5]);
        assert_eq!(
            (kept(&by_part, 4), kept(&by_part, 5)),
            (Some(KeepReason::PartOfKept), Some(KeepReason::Needed))
        );
        // An index goes before what it lists.
        assert_eq!(deleted(&by_part), [name(6), name(1), name(3), name(2)]);
    }

    #[test]
    fn images_of_an_index_do_not_count_for_themselves() {
        let images = [
            image(1, 10, &[2, 3], ""),
            image(2, 10, &[], "-linux-amd64"),
            image(3, 10, &[], "-linux-arm64"),
            image(4, 20, &[], ""),
        ];
        let plan = plan(images, 2, 0, &[]);
        assert_eq!(deleted(&plan), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_ours_or_of_unknown_age_stays() {
        let mut images = [
            image(1, 100, &[], ""),
            image(2, 100, &[], ""),
            image(3, 100, &[], "-x y"),
            image(4, 100, &[], ""),
        ];
        images[0].1.commit = None;
        images[1].1.tags = vec!["latest".into()];
        images[3].1.created = None;
        let plan = plan(images, 0, 1, &[]);
        assert_eq!(deleted(&plan), Vec::<String>::new());
        for (n, reason) in [
            (1, KeepReason::NotOurs),
            (2, KeepReason::NotOurs),
            (3, KeepReason::NotOurs),
            (4, KeepReason::AgeUnknown),
        ] {
            assert_eq!(kept(&plan, n), Some(reason), "{n}");
        }
    }

    #[test]
    fn an_index_without_a_tag_keeps_its_images() {
        let retention = Retention { newest: 0, younger_than: Duration::from_secs(DAY) };
        let untagged = BTreeMap::from([(name(9), vec![name(1)])]);
        let needed = BTreeSet::from([name(9)]);
        let now = Timestamp::from_millis(i64::try_from(1000 * DAY * 1000).unwrap());
        let repository = Repository::parse("r.example.com/a").unwrap();
        let images = [image(1, 100, &[], ""), image(2, 100, &[], "")].into_iter().collect();
        let plan = decide(&repository, images, &untagged, retention, &needed, now);
        assert_eq!(deleted(&plan), [name(2)]);
    }
}
