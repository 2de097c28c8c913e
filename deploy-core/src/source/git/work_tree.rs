//! What the work tree has that its commit has not.

use std::path::Path;

use git2::{AttrCheckFlags, AttrValue, ErrorCode, Repository, Status, StatusEntry, StatusOptions};

use super::{cannot_read, printable};
use crate::{
    error::Result,
    source::{ChangedFile, FileChange, WorkTree},
};

pub(super) fn look(repository: &Repository) -> Result<WorkTree> {
    if repository.is_bare() {
        return Ok(WorkTree::Known { head: None, changed: Vec::new(), untracked: Vec::new() });
    }
    let head = match repository.head().and_then(|head| head.peel_to_commit()) {
        Ok(commit) => Some(commit.id().to_string()),
        Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => None,
        Err(error) => return Err(cannot_read("HEAD", error)),
    };
    let mut options = StatusOptions::new();
    // The index is not written to: looking changes nothing.
    options.include_untracked(true).include_unreadable(true).renames_head_to_index(true).update_index(false);
    let found =
        repository.statuses(Some(&mut options)).map_err(|error| cannot_read("the work tree", error))?;
    let (mut changed, mut untracked, mut doubts) = (Vec::new(), Vec::new(), Vec::new());
    for entry in found.iter() {
        let path = printable(path_of(&entry));
        let status = entry.status();
        if status.contains(Status::WT_NEW) && status.difference(Status::WT_NEW).is_empty() {
            untracked.push(path);
        } else if status.contains(Status::WT_UNREADABLE) {
            doubts.push(format!("{path} cannot be read"));
        } else if let Some(filter) = filter(repository, &entry) {
            let filter = printable(filter.as_bytes());
            doubts.push(format!(
                "whether {path} is changed is for its filter `{filter}` to say, which git alone runs (git status)"
            ));
        } else if let Some(change) = change(status) {
            changed.push(ChangedFile::new(path, change));
        }
    }
    if let (true, true, Some(why)) = (changed.is_empty(), untracked.is_empty(), doubts.into_iter().next()) {
        return Ok(WorkTree::CannotKnow(why));
    }
    Ok(WorkTree::Known { head, changed, untracked })
}

/// The path as it is in the work tree: the entry's own is the old one of what was renamed.
fn path_of<'e>(entry: &'e StatusEntry<'_>) -> &'e [u8] {
    let renamed = entry.status().contains(Status::INDEX_RENAMED);
    let new = entry.head_to_index().filter(|_| renamed).and_then(|delta| delta.new_file().path_bytes());
    new.unwrap_or_else(|| entry.path_bytes())
}

fn change(status: Status) -> Option<FileChange> {
    // What the next commit would see first: a file that was added and changed again is added.
    let kinds = [
        (Status::CONFLICTED, FileChange::Conflicted),
        (Status::WT_DELETED, FileChange::Deleted),
        (Status::INDEX_NEW, FileChange::Added),
        (Status::INDEX_RENAMED | Status::WT_RENAMED, FileChange::Renamed),
        (Status::INDEX_TYPECHANGE | Status::WT_TYPECHANGE, FileChange::TypeChanged),
        (Status::INDEX_DELETED, FileChange::Deleted),
        (Status::INDEX_MODIFIED | Status::WT_MODIFIED, FileChange::Modified),
    ];
    kinds.into_iter().find(|(kind, _)| status.intersects(*kind)).map(|(_, change)| change)
}

/// The filter of a file whose content alone seems to have changed. libgit2 runs no filters of the user's, so it
/// compares what such a filter made of the content with what is committed.
fn filter(repository: &Repository, entry: &StatusEntry<'_>) -> Option<String> {
    if entry.status() != Status::WT_MODIFIED {
        return None;
    }
    let path = std::str::from_utf8(entry.path_bytes()).ok()?;
    let value = repository.get_attr(Path::new(path), "filter", AttrCheckFlags::FILE_THEN_INDEX).ok()?;
    match AttrValue::from_string(value) {
        AttrValue::String(filter) => Some(filter.to_owned()),
        _ => None,
    }
}
