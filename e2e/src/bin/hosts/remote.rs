//! A repository that git has made, and somebody who works on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use deploy_core::BoxError;

use crate::{
    Checked, expect,
    stage::{Stage, git, run, write_program},
};

/// The first of the ids that git's log of a reference has on a line is the old one.
const ZERO: &str = "0000000000000000000000000000000000000000";

#[derive(Clone)]
pub(crate) struct Remote {
    stage: PathBuf,
    /// The bare repository.
    pub(crate) bare: PathBuf,
    /// Where it is worked on.
    pub(crate) work: PathBuf,
}

impl Remote {
    /// With one commit in its branch `main`.
    pub(crate) fn make(stage: &Stage, name: &str) -> Result<Self, BoxError> {
        let folder = stage.folder(name)?;
        let (bare, work) = (folder.join("remote.git"), folder.join("work"));
        let remote = Self { stage: stage.path().to_owned(), bare, work };
        stage.git(&folder, &["init", "-q", "--bare", "remote.git"])?;
        remote.there(&["config", "core.logAllRefUpdates", "always"])?;
        stage.git(&folder, &["clone", "-q", "remote.git", "work"])?;
        remote.commit("first")?;
        remote.push()?;
        Ok(remote)
    }

    /// What git says in the bare repository.
    pub(crate) fn there(&self, words: &[&str]) -> Result<String, BoxError> {
        run(git(&self.stage, &self.bare).args(words))
    }

    /// What git says where it is worked on.
    pub(crate) fn here(&self, words: &[&str]) -> Result<String, BoxError> {
        run(git(&self.stage, &self.work).args(words))
    }

    /// A commit of a file with its own text.
    pub(crate) fn commit(&self, text: &str) -> Result<String, BoxError> {
        fs::write(self.work.join("file"), format!("{text}\n"))?;
        self.here(&["add", "--all"])?;
        self.here(&["commit", "-q", "-m", text])?;
        self.here(&["rev-parse", "HEAD"])
    }

    pub(crate) fn push(&self) -> Checked {
        self.here(&["push", "-q", "--force", "origin", "HEAD:main"]).map(drop)
    }

    pub(crate) fn tip(&self) -> Result<String, BoxError> {
        self.there(&["rev-parse", "refs/heads/main"])
    }

    /// All that `main` was ever pushed to, in order.
    pub(crate) fn tips(&self) -> Vec<String> {
        let log = fs::read_to_string(self.bare.join("logs/refs/heads/main")).unwrap_or_default();
        let ids = log.lines().filter_map(|line| line.split(' ').nth(1));
        ids.filter(|id| *id != ZERO).map(str::to_owned).collect()
    }

    /// Refuses every push from now on, as `pre-receive` or `update`.
    pub(crate) fn reject_by(&self, hook: &str) -> Checked {
        let text = "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n";
        write_program(&self.bare.join("hooks").join(hook), text)
    }

    pub(crate) fn accept_again(&self, hook: &str) -> Checked {
        Ok(fs::remove_file(self.bare.join("hooks").join(hook))?)
    }

    /// A clone with nothing in it yet.
    pub(crate) fn empty_clone(&self, stage: &Stage, url: &str) -> Result<PathBuf, BoxError> {
        let clone = stage.folder("clone")?;
        stage.git(&clone, &["init", "-q"])?;
        stage.git(&clone, &["remote", "add", "origin", url])?;
        Ok(clone)
    }
}

/// That a commit is here with all its history and files, and nothing else is wrong.
pub(crate) fn is_whole(stage: &Stage, clone: &Path, tip: &str) -> Checked {
    let kind = stage.git(clone, &["cat-file", "-t", tip])?;
    expect(kind == "commit", kind)?;
    stage.git(clone, &["rev-list", "--objects", "--quiet", tip])?;
    stage.git(clone, &["fsck", "--strict", "--no-dangling", "--no-progress"]).map(drop)
}
