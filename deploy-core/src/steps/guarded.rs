//! Guards of commits as preconditions of steps.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{Precondition, StepFacts};
use crate::{
    error::{Error, ErrorKind, Result},
    guards::{CommitContext, Guard},
    source::Source,
    state::journal::GuardResult,
};

/// A guard as the precondition of a step: that the tree is clean ([`CleanGuard::checked_out`](crate::guards::CleanGuard)),
/// that the commit is in the branch ([`PushedGuard::branch`](crate::guards::PushedGuard)), that its checks are green
/// ([`CommitChecks`](crate::guards::CommitChecks)). A release without a commit is refused, and so is a guard that has nothing
/// to say of one. Nothing overrides it.
pub fn guarded(guard: impl Guard, source: Arc<dyn Source>) -> impl Precondition {
    Guarded { name: guard.name().to_owned(), guard, source }
}

struct Guarded<G> {
    name: String,
    guard: G,
    source: Arc<dyn Source>,
}

impl<G> fmt::Debug for Guarded<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Precondition({})", self.name)
    }
}

#[async_trait]
impl<G: Guard> Precondition for Guarded<G> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self, facts: &StepFacts) -> Result<()> {
        let refused = |text: String| Error::new(ErrorKind::Refused, text);
        let Some(commit) = facts.release.commit.clone() else {
            return Err(refused("the release names no commit".into()).next("deploy a commit"));
        };
        let (target, running) = (facts.target.clone(), facts.from.commit.clone());
        let cx = CommitContext { target, commit, running, source: Arc::clone(&self.source) };
        let Some(finding) = self.guard.check_commit(&cx).await else {
            return Err(refused(format!("the guard {} looks at plans, and not at commits", self.name)));
        };
        if finding.result == GuardResult::Pass {
            return Ok(());
        }
        let error = refused(finding.text);
        Err(match finding.next.into_iter().next() {
            Some(next) => error.next(next),
            None => error,
        })
    }
}
