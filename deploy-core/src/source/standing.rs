//! Answers on one commit: is the work tree it, was it pushed, was it reverted.

use std::fmt;

use super::Commit;

/// What the work tree has that its commit has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkTree {
    /// It was looked through.
    Known {
        /// The full id of the commit that is checked out; none before the first, and where there is no work tree.
        head: Option<String>,
        /// What differs of the files that git tracks, or will with the next commit; by path.
        changed: Vec<ChangedFile>,
        /// What git neither tracks nor was told to ignore, by path: files, and directories of nothing else with a
        /// slash at the end.
        untracked: Vec<String>,
    },
    /// It cannot be known; the reason in one line.
    CannotKnow(String),
}

/// A file that differs from its commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChangedFile {
    /// The path from the top of the repository; control characters are replaced.
    pub path: String,
    /// How it differs.
    pub change: FileChange,
}

impl ChangedFile {
    /// A file and how it differs.
    pub fn new(path: impl Into<String>, change: FileChange) -> Self {
        Self { path: path.into(), change }
    }
}

impl fmt::Display for ChangedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, self.change)
    }
}

/// How a file differs from its commit, staged or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileChange {
    /// It is new and staged.
    Added,
    /// Its content or its mode.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another name; the path is the new one.
    Renamed,
    /// It became a link, a file or a submodule.
    TypeChanged,
    /// A merge left it in conflict.
    Conflicted,
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Renamed => "renamed",
            Self::TypeChanged => "type changed",
            Self::Conflicted => "in conflict",
        })
    }
}

/// Whether the remote has a commit, as far as was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pushed {
    /// It has.
    Yes,
    /// It has not, or not in the branch that was asked for.
    No {
        /// The name of the remote.
        remote: String,
        /// The branch to push: the one that was asked for, else the one that is checked out if it has the commit.
        branch: Option<String>,
        /// The full id of that branch's tip on the remote, where there is one.
        tip: Option<String>,
        /// That tip is not contained in the commit: pushing alone would be refused.
        diverged: bool,
    },
    /// It cannot be known; the reason in one line.
    CannotKnow(String),
}

/// Whether a commit was reverted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reverted {
    /// By this commit, which stands.
    Yes(Commit),
    /// It was not, or the revert was itself reverted.
    No,
    /// It cannot be known; the reason in one line.
    CannotKnow(String),
}
