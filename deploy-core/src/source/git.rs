//! Commits from a git repository on this machine, through libgit2: no `git` program is needed.

mod history;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use git2::{ErrorClass, ErrorCode, Object, ObjectType, Oid, Reference, Repository};

use super::{Ancestry, Between, Commit, Source};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Timestamp,
};
use history::{Graph, Reach};

/// The most characters of a subject or a name that are kept.
const SUBJECT_CHARS: usize = 200;
/// The fewest digits of an abbreviated commit id that are taken for one.
const ID_DIGITS: usize = 7;

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
        self.with(move |repository| resolve(repository, &revision)).await
    }

    /// Prefers the branch of `origin` or, without an `origin`, of the only remote.
    async fn tip(&self, branch: &str) -> Result<Commit> {
        let branch = branch.to_owned();
        self.with(move |repository| tip(repository, &branch)).await
    }

    async fn contains(&self, commit: &str, ancestor: &str) -> Result<Ancestry> {
        let (commit, ancestor) = (commit.to_owned(), ancestor.to_owned());
        self.with(move |repository| {
            let (commit, ancestor) = match (by_id(repository, &commit)?, by_id(repository, &ancestor)?) {
                (Ok(commit), Ok(ancestor)) => (commit, ancestor),
                (Err(why), _) | (_, Err(why)) => return Ok(Ancestry::CannotKnow(why)),
            };
            Ok(match Graph::of(repository)?.reach(commit, ancestor)? {
                Reach::Yes => Ancestry::Yes,
                Reach::No => Ancestry::No,
                Reach::Unrelated => Ancestry::CannotKnow(unrelated(commit, ancestor)),
                Reach::Cut(at) => Ancestry::CannotKnow(cut(at)),
            })
        })
        .await
    }

    async fn between(&self, old: &str, new: &str, limit: usize) -> Result<Between> {
        let (old, new) = (old.to_owned(), new.to_owned());
        self.with(move |repository| {
            let (old, new) = match (by_id(repository, &old)?, by_id(repository, &new)?) {
                (Ok(old), Ok(new)) => (old, new),
                (Err(why), _) | (_, Err(why)) => return Ok(Between::CannotKnow(why)),
            };
            let ids = match Graph::of(repository)?.between(old, new)? {
                Ok(ids) => ids,
                Err(Reach::Cut(at)) => return Ok(Between::CannotKnow(cut(at))),
                Err(_) => return Ok(Between::CannotKnow(unrelated(new, old))),
            };
            let commits = ids.iter().take(limit).map(|id| {
                let commit = repository.find_commit(*id);
                commit.map(|commit| describe(&commit)).map_err(|error| cannot_read(&id.to_string(), error))
            });
            Ok(Between::Known { commits: commits.collect::<Result<_>>()?, truncated: ids.len() > limit })
        })
        .await
    }
}

fn resolve(repository: &Repository, revision: &str) -> Result<Commit> {
    let shown = revision.escape_debug();
    if revision.is_empty() || revision.contains(['\0', '\n']) || revision.contains("..") {
        return Err(Error::new(ErrorKind::Invalid, format!("`{shown}` is not one git revision"))
            .next("name a commit, a branch or a tag"));
    }
    refuse_two_meanings(repository, revision)?;
    let object = repository.revparse_single(revision).map_err(|error| match error.code() {
        ErrorCode::Ambiguous => {
            Error::new(ErrorKind::Invalid, format!("`{shown}` is ambiguous: several objects begin with it"))
                .next("give more characters of the id")
        }
        ErrorCode::NotFound | ErrorCode::UnbornBranch => not_found(repository, revision),
        ErrorCode::InvalidSpec => Error::new(ErrorKind::Invalid, format!("`{shown}` is not a git revision"))
            .because(error)
            .next("name a commit, a branch or a tag"),
        _ => cannot_read(revision, error),
    })?;
    peel(&object, revision)
}

/// Names that git would take in one sense with a mere warning: which one is meant must be said.
fn refuse_two_meanings(repository: &Repository, revision: &str) -> Result<()> {
    let end = revision.find(['~', '^', ':']).unwrap_or(revision.len());
    let name = &revision[..revision.find("@{").map_or(end, |at| at.min(end))];
    let hex = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.is_empty() || hex && name.len() == 40 {
        return Ok(());
    }
    let mut meanings: Vec<(String, Oid)> = Vec::new();
    let places = ["", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"];
    let full = places.iter().map(|place| format!("{place}{name}"));
    for full in full.chain([format!("refs/remotes/{name}/HEAD")]) {
        let found = repository.find_reference(&full).ok().and_then(|found| found.peel_to_commit().ok());
        meanings.extend(found.map(|commit| (full, commit.id())));
    }
    if hex && name.len() >= ID_DIGITS {
        let found = repository.find_commit_by_prefix(name).ok();
        meanings.extend(found.map(|commit| (commit.id().to_string(), commit.id())));
    }
    let Some((_, first)) = meanings.first() else { return Ok(()) };
    if meanings.iter().all(|(_, id)| id == first) {
        return Ok(());
    }
    let text: Vec<String> = meanings.iter().map(|(full, id)| format!("{full} is {}", short(*id))).collect();
    let names: Vec<String> = meanings.iter().map(|(full, _)| format!("`{full}`")).collect();
    let text = format!("`{}` is ambiguous: {}", name.escape_debug(), text.join(", "));
    Err(Error::new(ErrorKind::Invalid, text).next(format!("write {}", names.join(" or "))))
}

fn not_found(repository: &Repository, revision: &str) -> Error {
    let shown = revision.escape_debug();
    // Not `is_empty`: that one asks for git's default branch, too.
    if repository.references().is_ok_and(|mut all| all.next().is_none()) {
        let text = format!("there is no revision `{shown}`: the repository has no commits yet");
        return Error::new(ErrorKind::NotFound, text).next("commit something, or fetch");
    }
    let error = Error::new(ErrorKind::NotFound, format!("there is no revision `{shown}` in the repository"));
    let remote = format!("{}/{revision}", remote(repository));
    if repository.find_reference(&format!("refs/remotes/{remote}")).is_ok() {
        return error.next(format!("did you mean `{}`?", remote.escape_debug()));
    }
    if history::is_shallow(repository) {
        return error.next("it may lie before the start of this shallow clone: git fetch --unshallow");
    }
    error.next("check the spelling, or git fetch")
}

fn tip(repository: &Repository, branch: &str) -> Result<Commit> {
    let remote = remote(repository);
    let names = [format!("refs/remotes/{remote}/{branch}"), format!("refs/heads/{branch}")];
    // A name that no branch can have is of no branch, too.
    for name in names.into_iter().filter(|name| Reference::is_valid_name(name)) {
        match repository.find_reference(&name) {
            Ok(found) => {
                let object = found.peel(ObjectType::Any).map_err(|error| cannot_read(&name, error))?;
                return peel(&object, &name);
            }
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(cannot_read(&name, error)),
        }
    }
    let text = format!("there is no branch `{}` here or on {remote}", branch.escape_debug());
    Err(Error::new(ErrorKind::NotFound, text).next("check the spelling, or git fetch"))
}

/// `origin`, unless there is none and another remote is the only one.
fn remote(repository: &Repository) -> String {
    let names = repository.remotes().ok();
    let names: Vec<String> =
        names.iter().flat_map(|names| names.iter()).filter_map(|name| Some(name.ok()??.to_owned())).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => "origin".to_owned(),
    }
}

/// The commit that an object leads to: annotated tags do.
fn peel(object: &Object<'_>, name: &str) -> Result<Commit> {
    let commit = object.peel_to_commit().map_err(|_| {
        let kind = object.kind().map_or("something else", |kind| kind.str());
        Error::new(ErrorKind::Invalid, format!("`{}` is a {kind}, not a commit", name.escape_debug()))
            .next("name a commit, a branch or a tag of a commit")
    })?;
    Ok(describe(&commit))
}

/// Looks a commit up by its id, or why it cannot.
fn by_id(repository: &Repository, id: &str) -> Result<Result<Oid, String>> {
    let shown = id.escape_debug();
    if !(ID_DIGITS..=40).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Err(format!("`{shown}` is not a commit id")));
    }
    match repository.find_object_by_prefix(id, None) {
        Ok(object) => Ok(match object.peel_to_commit() {
            Ok(commit) => Ok(commit.id()),
            Err(_) => Err(format!("{shown} is not a commit")),
        }),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(Err(if history::is_shallow(repository) {
            format!("commit {shown} is not in this shallow clone (git fetch --unshallow)")
        } else {
            format!("commit {shown} is not in this repository (git fetch)")
        })),
        Err(error) if error.code() == ErrorCode::Ambiguous => {
            Ok(Err(format!("several objects begin with {shown}")))
        }
        Err(error) => Err(cannot_read(id, error)),
    }
}

fn short(id: Oid) -> String {
    let mut text = id.to_string();
    text.truncate(7);
    text
}

fn cut(at: Oid) -> String {
    format!("history is cut off at {} (git fetch --unshallow)", short(at))
}

fn unrelated(one: Oid, other: Oid) -> String {
    format!("{} and {} share no commit: another repository, or rewritten history", short(one), short(other))
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
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    let mut characters = text.chars();
    let start = characters.by_ref().take(SUBJECT_CHARS);
    let mut kept: String = start.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if characters.next().is_some() {
        kept.push('…');
    }
    kept
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
