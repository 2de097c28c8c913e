//! Whether a commit is on the remote, as far as was fetched.

use git2::{BranchType, ErrorCode, ObjectType, Oid, Reference, Repository};

use super::{
    Graph, Reach, cannot_read,
    names::{by_id, remote, remote_of},
    why,
};
use crate::{error::Result, source::Pushed};

pub(super) fn is_pushed(repository: &Repository, commit: &str, branch: Option<&str>) -> Result<Pushed> {
    let commit = match by_id(repository, commit)? {
        Ok(commit) => commit,
        Err(why) => return Ok(Pushed::CannotKnow(why)),
    };
    if repository.remotes().is_ok_and(|names| names.is_empty()) {
        let text = "the repository has no remote (git remote add origin URL)";
        return Ok(Pushed::CannotKnow(text.into()));
    }
    match branch {
        Some(branch) => in_branch(repository, commit, branch),
        None => in_any(repository, commit),
    }
}

fn in_branch(repository: &Repository, commit: Oid, branch: &str) -> Result<Pushed> {
    let remote = remote_of(repository, branch);
    let Some(tip) = tip(repository, &remote, branch)? else {
        let branch = branch.escape_debug();
        let text = format!(
            "there is no branch {remote}/{branch} here (git fetch {remote}, or git push {remote} {branch} if it is new)"
        );
        return Ok(Pushed::CannotKnow(text));
    };
    let mut graph = Graph::of(repository)?;
    Ok(match graph.reach(tip, commit)? {
        Reach::Yes => Pushed::Yes,
        // A branch that shares nothing with the commit certainly lacks it.
        Reach::No | Reach::Unrelated => {
            let diverged = graph.reach(commit, tip)? != Reach::Yes;
            Pushed::No { remote, branch: Some(branch.to_owned()), tip: Some(tip.to_string()), diverged }
        }
        doubt @ Reach::Cut(_) => Pushed::CannotKnow(why(doubt, tip, commit)),
    })
}

fn in_any(repository: &Repository, commit: Oid) -> Result<Pushed> {
    let mut tips = Vec::new();
    let branches = repository.branches(Some(BranchType::Remote));
    for branch in branches.map_err(|error| cannot_read("refs/remotes", error))? {
        let (branch, _) = branch.map_err(|error| cannot_read("refs/remotes", error))?;
        // `origin/HEAD` may point to a branch that is gone.
        tips.extend(branch.get().peel_to_commit().ok().map(|commit| commit.id()));
    }
    if tips.is_empty() {
        let remote = remote(repository);
        return Ok(Pushed::CannotKnow(format!("nothing was fetched from {remote} yet (git fetch {remote})")));
    }
    let mut graph = Graph::of(repository)?;
    match graph.reach_from_any(&tips, commit)? {
        Reach::Yes => return Ok(Pushed::Yes),
        Reach::No | Reach::Unrelated => {}
        doubt @ Reach::Cut(at) => return Ok(Pushed::CannotKnow(why(doubt, at, commit))),
    }
    let here = checked_out(repository, &mut graph, commit)?;
    let remote = here.as_deref().map_or_else(|| remote(repository), |branch| remote_of(repository, branch));
    let tip = match &here {
        Some(branch) => tip(repository, &remote, branch)?,
        None => None,
    };
    let diverged = match tip {
        Some(tip) => graph.reach(commit, tip)? != Reach::Yes,
        None => false,
    };
    Ok(Pushed::No { remote, branch: here, tip: tip.map(|tip| tip.to_string()), diverged })
}

/// The branch that is checked out, if it has the commit.
fn checked_out(repository: &Repository, graph: &mut Graph<'_>, commit: Oid) -> Result<Option<String>> {
    let Ok(head) = repository.head() else { return Ok(None) };
    let (true, Ok(name), Ok(tip)) = (head.is_branch(), head.shorthand(), head.peel_to_commit()) else {
        return Ok(None);
    };
    Ok((graph.reach(tip.id(), commit)? == Reach::Yes).then(|| name.to_owned()))
}

/// The tip of a remote's branch, as far as was fetched.
fn tip(repository: &Repository, remote: &str, branch: &str) -> Result<Option<Oid>> {
    let name = format!("refs/remotes/{remote}/{branch}");
    if !Reference::is_valid_name(&name) {
        return Ok(None);
    }
    match repository.find_reference(&name) {
        Ok(found) => {
            let commit = found.peel(ObjectType::Commit).map_err(|error| cannot_read(&name, error))?;
            Ok(Some(commit.id()))
        }
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(cannot_read(&name, error)),
    }
}
