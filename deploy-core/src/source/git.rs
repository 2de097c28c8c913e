//! Commits from a git repository on this machine, through libgit2: no `git` program is needed.

mod address;
mod checkout;
mod fetch;
mod history;
mod login;
mod migrations;
mod names;
mod pushed;
mod reverted;
mod ssh;
#[cfg(test)]
mod tests;
mod work_tree;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use git2::{ErrorClass, ErrorCode, Oid, Repository};

use super::{Ancestry, Between, Commit, Migrations, MigrationsBetween, Pushed, Reverted, Source, WorkTree};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Timestamp,
};
pub use fetch::{Fetch, Fetched};
use history::{Graph, Reach};
use names::pair;

/// The most characters of a subject or a name that are kept.
const SUBJECT_CHARS: usize = 200;

/// A git repository: with or without work tree, linked work trees and shallow clones included.
///
/// It remembers the path and opens the repository anew for each call: libgit2's handles cannot be shared by
/// threads, and this way commits that were fetched meanwhile are seen. That takes about a millisecond; a walk
/// takes some 10 microseconds a commit. The work is done on tokio's threads for blocking work, so the methods
/// need a tokio runtime; a call that is dropped still ends by itself there.
///
/// Ancestry is what the commits' own ids cover: replacements and `info/grafts`, which exist on one machine only,
/// change no answer. Where history ends early (`shallow`, or a parent that is missing), it is unknown, not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    path: PathBuf,
}

impl Repo {
    /// The repository at this path or, as git does it, in the nearest directory above.
    ///
    /// Reads a few small files, at once. Variables such as `GIT_DIR` are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::PermissionDenied`] if git would not trust its owner,
    /// [`ErrorKind::Unsupported`] if it has a format that libgit2 does not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let repository = Repository::discover(path).map_err(|error| cannot_open(path, error))?;
        let found = repository.workdir().unwrap_or_else(|| repository.path());
        // A change of the working directory must not make it another repository.
        let found = std::path::absolute(found).unwrap_or_else(|_| found.to_owned());
        Ok(Self { path: found })
    }

    /// The work tree, or the repository itself if it has none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has a remote to fetch from. Reads its configuration.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub async fn has_remote(&self) -> Result<bool> {
        self.with(|repository| {
            let remotes = repository.remotes().map_err(|error| cannot_read("the list of remotes", error))?;
            Ok(!remotes.is_empty())
        })
        .await
    }

    async fn with<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Repository) -> Result<T> + Send + 'static,
    {
        let path = self.path.clone();
        let task = tokio::task::spawn_blocking(move || {
            let repository = Repository::open(&path).map_err(|error| cannot_open(&path, error))?;
            work(&repository)
        });
        task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unexpected, "reading the git repository was broken off").because(error))
        })
    }
}

#[async_trait]
impl Source for Repo {
    async fn resolve(&self, revision: &str) -> Result<Commit> {
        let revision = revision.to_owned();
        self.with(move |repository| names::resolve(repository, &revision)).await
    }

    /// The remote is the one that the local branch of this name follows, else `origin`, else the only one.
    async fn tip(&self, branch: &str) -> Result<Commit> {
        let branch = branch.to_owned();
        self.with(move |repository| names::tip(repository, &branch)).await
    }

    async fn contains(&self, commit: &str, ancestor: &str) -> Result<Ancestry> {
        let (commit, ancestor) = (commit.to_owned(), ancestor.to_owned());
        self.with(move |repository| {
            let (commit, ancestor) = match pair(repository, &commit, &ancestor)? {
                Ok(both) => both,
                Err(why) => return Ok(Ancestry::CannotKnow(why)),
            };
            Ok(match Graph::of(repository)?.reach(commit, ancestor)? {
                Reach::Yes => Ancestry::Yes,
                Reach::No => Ancestry::No,
                doubt => Ancestry::CannotKnow(why(doubt, commit, ancestor)),
            })
        })
        .await
    }

    async fn between(&self, old: &str, new: &str, limit: usize) -> Result<Between> {
        let (old, new) = (old.to_owned(), new.to_owned());
        self.with(move |repository| {
            let (old, new) = match pair(repository, &old, &new)? {
                Ok(both) => both,
                Err(why) => return Ok(Between::CannotKnow(why)),
            };
            let ids = match Graph::of(repository)?.between(old, new)? {
                Ok(ids) => ids,
                Err(doubt) => return Ok(Between::CannotKnow(why(doubt, new, old))),
            };
            let commits = ids.iter().take(limit).map(|id| commit(repository, *id));
            Ok(Between::Known { commits: commits.collect::<Result<_>>()?, truncated: ids.len() > limit })
        })
        .await
    }

    /// Changes that git was told not to look for (`assume-unchanged`, `skip-worktree`) are not seen. A file whose
    /// content git's own configuration filters (Git LFS) and that may have changed cannot be compared here: it is
    /// a doubt if nothing else has changed.
    async fn work_tree(&self) -> Result<WorkTree> {
        self.with(work_tree::look).await
    }

    async fn pushed(&self, commit: &str, branch: Option<&str>) -> Result<Pushed> {
        let (commit, branch) = (commit.to_owned(), branch.map(str::to_owned));
        self.with(move |repository| pushed::is_pushed(repository, &commit, branch.as_deref())).await
    }

    async fn migrations(&self, old: &str, new: &str, which: &Migrations) -> Result<MigrationsBetween> {
        let (old, new, which) = (old.to_owned(), new.to_owned(), which.clone());
        self.with(move |repository| migrations::between(repository, &old, &new, &which)).await
    }

    async fn checkout(&self, commit: &str, folder: &Path) -> Result<()> {
        let (commit, folder) = (commit.to_owned(), folder.to_owned());
        self.with(move |repository| checkout::write(repository, &commit, &folder)).await
    }

    async fn reverted(&self, commit: &str, within: &str) -> Result<Reverted> {
        let (commit, within) = (commit.to_owned(), within.to_owned());
        self.with(move |repository| reverted::is_reverted(repository, &commit, &within)).await
    }
}

fn commit(repository: &Repository, id: Oid) -> Result<Commit> {
    let commit = repository.find_commit(id);
    commit.map(|commit| describe(&commit)).map_err(|error| cannot_read(&id.to_string(), error))
}

fn short(id: Oid) -> String {
    let mut text = id.to_string();
    text.truncate(7);
    text
}

/// Why it cannot be known whether one commit contains the other.
fn why(doubt: Reach, one: Oid, other: Oid) -> String {
    match doubt {
        Reach::Cut(at) => format!("history is cut off at {} (git fetch --unshallow)", short(at)),
        _ => {
            let (one, other) = (short(one), short(other));
            format!("{one} and {other} share no commit: another repository, or rewritten history")
        }
    }
}

fn describe(commit: &git2::Commit<'_>) -> Commit {
    let subject =
        commit.message_bytes().split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    Commit {
        id: commit.id().to_string(),
        subject: readable(subject.unwrap_or_default()),
        author: readable(commit.author().name_bytes()),
        at: Timestamp::from_millis(commit.time().seconds().saturating_mul(1000)),
    }
}

/// Text that others wrote, for a line on a screen: any encoding, no control characters, not too long.
fn readable(bytes: &[u8]) -> String {
    let text = printable(bytes.trim_ascii());
    match text.char_indices().nth(SUBJECT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// As [`readable`], at any length: what would be cut off a path is what tells it from others.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cannot_open(path: &Path, error: git2::Error) -> Error {
    let shown = path.display();
    match (error.code(), error.class()) {
        (ErrorCode::NotFound, _) => {
            Error::new(ErrorKind::NotFound, format!("there is no git repository at {shown}"))
                .next("give the path of a clone")
        }
        (ErrorCode::Owner, _) => Error::new(
            ErrorKind::PermissionDenied,
            format!("the git repository at {shown} belongs to someone else"),
        )
        .next(format!("git config --global --add safe.directory {shown}")),
        (_, ErrorClass::Repository) => {
            let text = format!("the git repository at {shown} cannot be opened: {}", error.message());
            Error::new(ErrorKind::Unsupported, text).next("use a full clone in git's usual format")
        }
        _ => {
            let text = format!("the git repository at {shown} cannot be opened: {}", error.message());
            Error::new(ErrorKind::Unexpected, text)
        }
    }
    .because(error)
}

fn cannot_read(what: &str, error: git2::Error) -> Error {
    let kind = match error.class() {
        ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Reference => {
            ErrorKind::Malformed
        }
        _ => ErrorKind::Unexpected,
    };
    let text =
        format!("`{}` cannot be read from the git repository: {}", what.escape_debug(), error.message());
    Error::new(kind, text).because(error).next("git fsck tells what is damaged")
}
