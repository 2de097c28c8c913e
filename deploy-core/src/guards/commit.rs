//! Whether what is built is the commit that everybody else can see.

use async_trait::async_trait;

use super::{CommitContext, Guard, GuardContext};
use crate::{
    report::{plural, short_commit},
    source::{ChangedFile, Pushed, Source, WorkTree},
    state::journal::GuardFinding,
};

/// The most files that a refusal names.
const FILES_NAMED: usize = 5;

/// The work tree is the commit: nothing is changed, nothing untracked lies beside it. It matters before anything is made
/// from it, and not after.
#[derive(Debug, Clone, Copy, Default)]
pub struct CleanGuard {
    elsewhere: bool,
}

impl CleanGuard {
    /// For what is made from the work tree itself: the commit has to be checked out, too.
    #[must_use]
    pub fn checked_out() -> Self {
        Self { elsewhere: false }
    }

    /// For what is made from the commit and never from the work tree, as images are: what is
    /// changed would be missing from it, and whoever deploys the commit that is checked out probably thinks that it is not.
    /// A work tree at another commit says nothing.
    #[must_use]
    pub fn if_checked_out() -> Self {
        Self { elsewhere: true }
    }
}

#[async_trait]
impl Guard for CleanGuard {
    fn name(&self) -> &'static str {
        "clean"
    }

    async fn check(&self, _: &GuardContext) -> GuardFinding {
        GuardFinding::pass("clean")
    }

    async fn check_commit(&self, cx: &CommitContext) -> Option<GuardFinding> {
        let refuse = |text: String| GuardFinding::refuse("clean", text).overridable();
        let commit = short_commit(&cx.commit);
        Some(match cx.source.work_tree().await {
            Ok(WorkTree::Known { head, .. }) if self.elsewhere && head.as_deref() != Some(&*cx.commit) => {
                GuardFinding::pass("clean")
            }
            Ok(WorkTree::Known { head, changed, untracked }) => {
                if head.as_deref() != Some(&*cx.commit) {
                    let head = head.as_deref().map_or("no commit", short_commit);
                    refuse(format!("the work tree is at {head}, not at {commit}"))
                        .next(format!("git switch --detach {}", cx.commit))
                } else if changed.is_empty() && untracked.is_empty() {
                    GuardFinding::pass("clean")
                } else {
                    refuse(format!("the work tree is not {commit}: {}", differences(&changed, &untracked)))
                        .next("commit and push it, or put it aside: git stash --include-untracked")
                }
            }
            Ok(WorkTree::CannotKnow(why)) => {
                refuse(format!("whether the work tree is {commit} cannot be known: {why}"))
                    .next("build from a clean clone")
            }
            Err(error) => refuse(format!("whether the work tree is {commit} cannot be told: {error}")),
        })
    }
}

fn differences(changed: &[ChangedFile], untracked: &[String]) -> String {
    let mut parts = Vec::new();
    if !changed.is_empty() {
        parts.push(format!("{} changed: {}", plural(changed.len(), "file"), named(changed)));
    }
    if !untracked.is_empty() {
        parts.push(format!("{} untracked: {}", untracked.len(), named(untracked)));
    }
    parts.join("; ")
}

fn named<T: ToString>(files: &[T]) -> String {
    let names: Vec<_> = files.iter().take(FILES_NAMED).map(ToString::to_string).collect();
    match files.len().saturating_sub(FILES_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The remote has the commit: in the branch of the environment or, without one, in any. As far as was fetched.
#[derive(Debug, Clone, Default)]
pub struct PushedGuard {
    branch: Option<String>,
}

impl PushedGuard {
    /// In any branch of any remote.
    #[must_use]
    pub fn anywhere() -> Self {
        Self::default()
    }

    /// In this branch of its remote.
    pub fn branch(name: impl Into<String>) -> Self {
        Self { branch: Some(name.into()) }
    }

    async fn find(&self, source: &dyn Source, commit: &str) -> GuardFinding {
        let branch = self.branch.as_deref();
        let (commit, shown) = (commit, short_commit(commit));
        let refuse = |text: String| GuardFinding::refuse("pushed", text).overridable();
        match source.pushed(commit, branch).await {
            Ok(Pushed::Yes) => GuardFinding::pass("pushed"),
            Ok(Pushed::No { remote, branch: to, tip, diverged }) => {
                let place = match (branch, &tip) {
                    (Some(branch), Some(tip)) => {
                        format!("{branch} of {remote} ends at {}", short_commit(tip))
                    }
                    (Some(branch), None) => format!("{branch} of {remote} does not have it"),
                    (None, _) => format!("no branch of {remote} has it"),
                };
                let push = match &to {
                    Some(to) => format!("git push {remote} {to}"),
                    None => format!("git push {remote} {shown}:refs/heads/NAME"),
                };
                let text = format!("{shown} is not pushed: {place}");
                match to.filter(|_| diverged) {
                    Some(to) => refuse(format!("{text}; {remote}/{to} has commits that {shown} lacks"))
                        .next(format!("merge {remote}/{to}, then {push}")),
                    None => refuse(text).next(push),
                }
            }
            Ok(Pushed::CannotKnow(why)) => {
                refuse(format!("whether {shown} is pushed cannot be known: {why}"))
                    .next("fetch, then try again")
            }
            Err(error) => refuse(format!("whether {shown} is pushed cannot be told: {error}")),
        }
    }
}

#[async_trait]
impl Guard for PushedGuard {
    fn name(&self) -> &'static str {
        "pushed"
    }

    async fn check(&self, cx: &GuardContext) -> GuardFinding {
        match (&cx.source, cx.deployed_commit()) {
            (Some(source), Some(commit)) => self.find(source.as_ref(), commit).await,
            _ => GuardFinding::pass("pushed"),
        }
    }

    async fn check_commit(&self, cx: &CommitContext) -> Option<GuardFinding> {
        Some(self.find(cx.source.as_ref(), &cx.commit).await)
    }
}
