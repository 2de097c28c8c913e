//! Whether the checks of a commit are green where it was pushed to.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{CommitContext, Guard, GuardContext};
use crate::{
    report::{scrub_line, short_commit},
    state::journal::GuardFinding,
};

/// What the checks of a commit say, all together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ci {
    /// There are some, and all have passed.
    Green,
    /// Some have failed, whatever the others do.
    Red {
        /// Their names.
        which: Vec<String>,
    },
    /// None has failed, and some have not ended.
    Pending {
        /// Their names.
        which: Vec<String>,
    },
    /// It cannot be known, or there are no checks.
    CannotKnow {
        /// The reason in one line.
        why: String,
    },
}

/// Where the checks of commits can be asked for: GitHub's checks, Bitbucket's statuses.
#[async_trait]
pub trait CommitChecks: fmt::Debug + Send + Sync + 'static {
    /// What the checks of a commit, given by its full id, say now. Read-only; may be called at any time, from several
    /// tasks.
    ///
    /// It cannot fail: no answer, no permission and a commit that is not known there are [`Ci::CannotKnow`]. That there
    /// are no checks is so, too: they may not have begun yet. It ends within bounded time.
    async fn of(&self, commit: &str) -> Ci;
}

/// The checks of the commit are green. Asks once before anything is built and once before the first mutation.
#[derive(Debug, Clone)]
pub struct CiGuard {
    checks: Arc<dyn CommitChecks>,
}

impl CiGuard {
    /// Asks there.
    pub fn new(checks: impl CommitChecks) -> Self {
        Self { checks: Arc::new(checks) }
    }

    async fn find(&self, commit: &str) -> GuardFinding {
        let shown = short_commit(commit);
        let refuse = |text: String| GuardFinding::refuse("ci", text).overridable();
        match self.checks.of(commit).await {
            Ci::Green => GuardFinding::pass("ci"),
            Ci::Red { which } => refuse(format!("checks of {shown} have failed: {}", named(&which)))
                .next("fix what they found, push, and deploy that"),
            Ci::Pending { which } => refuse(format!("checks of {shown} have not ended: {}", named(&which)))
                .next("try again when they have"),
            Ci::CannotKnow { why } => refuse(format!(
                "whether the checks of {shown} are green cannot be known: {}",
                scrub_line(&why)
            ))
            .next(format!("look at the checks of {commit} yourself")),
        }
    }
}

/// Their names are free text of others.
fn named(which: &[String]) -> String {
    let names: Vec<_> = which.iter().map(|name| scrub_line(name)).collect();
    scrub_line(&names.join(", "))
}

#[async_trait]
impl Guard for CiGuard {
    fn name(&self) -> &'static str {
        "ci"
    }

    async fn check(&self, cx: &GuardContext) -> GuardFinding {
        match cx.deployed_commit() {
            Some(commit) => self.find(commit).await,
            None => GuardFinding::pass("ci"),
        }
    }

    async fn check_commit(&self, cx: &CommitContext) -> Option<GuardFinding> {
        Some(self.find(&cx.commit).await)
    }
}
