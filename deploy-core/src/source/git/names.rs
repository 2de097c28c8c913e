//! What names mean: revisions, branches, ids.

use git2::{ErrorCode, Object, ObjectType, Oid, Reference, Repository};

use super::{cannot_read, describe, history, short};
use crate::{
    error::{Error, ErrorKind, Result},
    source::Commit,
};

/// The fewest digits of an abbreviated commit id that are taken for one.
pub(super) const ID_DIGITS: usize = 7;

pub(super) fn resolve(repository: &Repository, revision: &str) -> Result<Commit> {
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

pub(super) fn tip(repository: &Repository, branch: &str) -> Result<Commit> {
    let remote = remote_of(repository, branch);
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

/// The remote that a branch is fetched from: the one that the local branch of this name follows, as `git pull` in
/// it would.
pub(super) fn remote_of(repository: &Repository, branch: &str) -> String {
    let followed = repository.branch_upstream_remote(&format!("refs/heads/{branch}")).ok();
    // A branch that follows another local one has the remote `.`.
    let followed = followed.and_then(|name| name.as_str().ok().map(str::to_owned));
    followed
        .filter(|name| name != "." && repository.find_remote(name).is_ok())
        .unwrap_or_else(|| remote(repository))
}

/// `origin`, unless there is none and another remote is the only one.
pub(super) fn remote(repository: &Repository) -> String {
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
pub(super) fn by_id(repository: &Repository, id: &str) -> Result<Result<Oid, String>> {
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

/// Looks two commits up by their ids.
pub(super) fn pair(repository: &Repository, one: &str, other: &str) -> Result<Result<(Oid, Oid), String>> {
    Ok(match (by_id(repository, one)?, by_id(repository, other)?) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(why), _) | (_, Err(why)) => Err(why),
    })
}
