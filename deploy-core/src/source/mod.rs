//! Where commits come from: what a revision means, what contains what, and what lies between two commits.
//!
//! Guards rest on these answers (an ancestor never replaces what runs, a held commit is not deployed), so
//! whatever is not certain is `CannotKnow` with its reason, never a guess.

#[cfg(feature = "git")]
pub mod git;
mod migrations;
mod standing;

use std::{fmt, path::Path};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use migrations::{Framework, Migration, MigrationChange, Migrations, MigrationsBetween};
pub use standing::{ChangedFile, FileChange, Pushed, Reverted, WorkTree};

use crate::{error::Result, model::Timestamp};

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Commit {
    /// The full id.
    pub id: String,
    /// The first line of the message, capped; control characters are replaced.
    pub subject: String,
    /// The author's name.
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
}

impl Commit {
    /// A commit of all its parts.
    pub fn new(
        id: impl Into<String>,
        subject: impl Into<String>,
        author: impl Into<String>,
        at: Timestamp,
    ) -> Self {
        Self { id: id.into(), subject: subject.into(), author: author.into(), at }
    }

    /// The first seven characters of the id: what screens show.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(..7).unwrap_or(&self.id)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.short(), self.subject)
    }
}

/// Whether one commit contains another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ancestry {
    /// It does, or they are the same.
    Yes,
    /// It certainly does not.
    No,
    /// It cannot be known; the reason in one line.
    CannotKnow(String),
}

/// The commits between two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Between {
    /// They are known.
    Known {
        /// What the new commit contains and the old one does not: newest first, children before parents.
        commits: Vec<Commit>,
        /// There are more than were asked for.
        truncated: bool,
    },
    /// They cannot be known; the reason in one line.
    CannotKnow(String),
}

/// How a wanted commit stands to the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Order {
    /// It is the same commit.
    Same,
    /// The wanted commit contains what runs.
    Forward,
    /// What runs contains the wanted commit.
    Backward,
    /// Each has commits that the other lacks.
    Diverged,
    /// It cannot be known; the reason in one line.
    CannotKnow(String),
}

/// Where commits come from. Reads only: nothing is fetched, nothing is changed.
///
/// Four methods say what contains what; the provided ones are for sources that can do more, and say of any other
/// that it cannot know.
///
/// Commits are meant by id, except in [`resolve`](Self::resolve) and [`tip`](Self::tip). Every method may be
/// called from several tasks at once.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The commit that a revision means, in git's own words (`HEAD`, `main`, `v1.2^{commit}`, `HEAD~2`, an id).
    ///
    /// Costs one look-up.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such revision,
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is ambiguous, no revision at all, or not a commit. The
    /// message names it, and `what_next` says what to write instead.
    async fn resolve(&self, revision: &str) -> Result<Commit>;

    /// The pushed tip of a branch as far as it was fetched; where there is no such remote branch, the local one.
    ///
    /// Costs one look-up; nothing is fetched.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is neither.
    async fn tip(&self, branch: &str) -> Result<Commit>;

    /// Whether `commit` contains `ancestor`; a commit contains itself.
    ///
    /// Unknown commits, histories that end early (shallow) and histories that share nothing are
    /// [`Ancestry::CannotKnow`]. Costs a walk over what only one of the two contains.
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn contains(&self, commit: &str, ancestor: &str) -> Result<Ancestry>;

    /// The commits that `new` contains and `old` does not, at most `limit` of them.
    ///
    /// The same cases as in [`contains`](Self::contains) are [`Between::CannotKnow`]. Costs about as much, and
    /// one look-up for each commit that is returned.
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn between(&self, old: &str, new: &str, limit: usize) -> Result<Between>;

    /// What the work tree has that its commit has not. Costs a look at every file that git tracks.
    ///
    /// Provided: a source without a work tree cannot know.
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn work_tree(&self) -> Result<WorkTree> {
        Ok(WorkTree::CannotKnow("this source tells nothing of a work tree".into()))
    }

    /// Whether the remote has `commit`: in this branch or, without one, in any. As far as was fetched: a commit
    /// that was pushed from elsewhere since then is not seen.
    ///
    /// Provided: a source without remotes cannot know. Costs about as much as [`contains`](Self::contains).
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn pushed(&self, commit: &str, branch: Option<&str>) -> Result<Pushed> {
        let _ = (commit, branch);
        Ok(Pushed::CannotKnow("this source tells nothing of a remote".into()))
    }

    /// The migrations that `new` brings over `old`: the files that differ in the two, and which of the commits
    /// [between](Self::between) them added or changed each. What was added and removed again in between is not
    /// among them; what was renamed is, under its new name.
    ///
    /// Provided: a source without files cannot know. The same cases as in [`contains`](Self::contains) are
    /// [`MigrationsBetween::CannotKnow`]. Costs a comparison of two trees and, where something is found, a few
    /// look-ups for each commit between.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if a path pattern is none; if the source cannot be read.
    async fn migrations(&self, old: &str, new: &str, which: &Migrations) -> Result<MigrationsBetween> {
        let _ = (old, new, which);
        Ok(MigrationsBetween::CannotKnow("this source tells nothing of files".into()))
    }

    /// Whether `commit` was reverted in what `within` contains: by a commit whose message has git's own line
    /// `This reverts commit ID` and that was itself not reverted. Reverting a merge reverts what it merged.
    /// What `within` does not contain was not reverted in it.
    ///
    /// Provided: a source without messages cannot know. The same cases as in [`contains`](Self::contains) are
    /// [`Reverted::CannotKnow`]. Costs one look-up for each commit between.
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn reverted(&self, commit: &str, within: &str) -> Result<Reverted> {
        let _ = (commit, within);
        Ok(Reverted::CannotKnow("this source tells nothing of reverts".into()))
    }

    /// Writes the files of a commit into an empty folder, as git has them: no filter of this machine's is applied, and no
    /// work tree is looked at.
    ///
    /// Provided: a source without files cannot. Costs the reading and writing of all of them.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for what is not in the repository itself (submodules, Git LFS);
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the folder cannot be written; if the source cannot be read.
    async fn checkout(&self, commit: &str, folder: &Path) -> Result<()> {
        let _ = (commit, folder);
        let text = "this source has no files to check out";
        Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, text)
            .next("give the target a git repository"))
    }

    /// How `wanted` stands to what runs. Costs two calls of [`contains`](Self::contains).
    ///
    /// # Errors
    /// Only if the source cannot be read.
    async fn order(&self, running: &str, wanted: &str) -> Result<Order> {
        if running == wanted && !running.is_empty() {
            return Ok(Order::Same);
        }
        let forward = self.contains(wanted, running).await?;
        let backward = self.contains(running, wanted).await?;
        // One certain Yes decides: histories have no cycles. Two are one commit under two names.
        Ok(match (forward, backward) {
            (Ancestry::Yes, Ancestry::Yes) => Order::Same,
            (Ancestry::Yes, _) => Order::Forward,
            (_, Ancestry::Yes) => Order::Backward,
            (Ancestry::No, Ancestry::No) => Order::Diverged,
            (Ancestry::CannotKnow(why), _) | (_, Ancestry::CannotKnow(why)) => Order::CannotKnow(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// Answers `contains` from a script.
    #[derive(Debug)]
    struct Scripted(Ancestry, Ancestry);

    #[async_trait]
    impl Source for Scripted {
        async fn resolve(&self, revision: &str) -> Result<Commit> {
            Err(Error::new(ErrorKind::NotFound, revision))
        }

        async fn tip(&self, branch: &str) -> Result<Commit> {
            Err(Error::new(ErrorKind::NotFound, branch))
        }

        async fn contains(&self, commit: &str, _ancestor: &str) -> Result<Ancestry> {
            Ok(if commit == "wanted" { self.0.clone() } else { self.1.clone() })
        }

        async fn between(&self, _old: &str, _new: &str, _limit: usize) -> Result<Between> {
            Ok(Between::CannotKnow("scripted".into()))
        }
    }

    #[tokio::test]
    async fn a_certain_yes_decides_and_doubt_never_becomes_diverged() {
        let (yes, no, doubt) = (Ancestry::Yes, Ancestry::No, Ancestry::CannotKnow("shallow".into()));
        let unknown = Order::CannotKnow("shallow".into());
        for (forward, backward, expected) in [
            (&yes, &no, Order::Forward),
            (&yes, &doubt, Order::Forward),
            (&no, &yes, Order::Backward),
            (&doubt, &yes, Order::Backward),
            (&yes, &yes, Order::Same),
            (&no, &no, Order::Diverged),
            (&no, &doubt, unknown.clone()),
            (&doubt, &no, unknown.clone()),
            (&doubt, &doubt, unknown),
        ] {
            let source: std::sync::Arc<dyn Source> =
                std::sync::Arc::new(Scripted(forward.clone(), backward.clone()));
            let order = source.order("running", "wanted").await.unwrap();
            assert_eq!(order, expected, "{forward:?} {backward:?}");
            assert_eq!(source.order("x", "x").await.unwrap(), Order::Same);
        }
    }
}
