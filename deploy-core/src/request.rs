//! A change that was asked for: to be looked at, started, or run to its end.

mod look;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{Goal, Outcome, Plan, Release, Revision, Snapshot},
    rollout::Rollout,
    target::Target,
};

pub use look::Look;

#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Deploy(Release),
    Rollback(Option<String>),
    Adopt,
    Apply(Box<Plan>),
}

/// Something that changes the place: look at it with [`plan`](Self::plan), start it, or run it to its end.
#[derive(Debug, Clone)]
pub struct Request {
    target: Target,
    wish: Wish,
    reason: Option<String>,
    approved: Option<String>,
}

impl Request {
    pub(crate) fn new(target: Target, wish: Wish) -> Self {
        Self { target, wish, reason: None, approved: None }
    }

    /// Why; kept in the journal.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Where to go back to, by the platform's name or the commit. Only for rollbacks.
    #[must_use]
    pub fn to(mut self, revision: impl Into<String>) -> Self {
        if let Wish::Rollback(to) = &mut self.wish {
            *to = Some(revision.into());
        }
        self
    }

    /// Only if the plan's approval hash begins with this.
    #[must_use]
    pub fn approved(mut self, hash: impl Into<String>) -> Self {
        self.approved = Some(hash.into());
        self
    }

    /// Looks: makes the plan. Changes nothing and stores nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] and [`ErrorKind::Unsupported`] for what cannot be done; as inspecting.
    pub async fn plan(&self) -> Result<Plan> {
        let now = self.target.place.inspect().await?;
        self.make(&now).await
    }

    async fn make(&self, now: &Snapshot) -> Result<Plan> {
        let target = &self.target;
        if let Wish::Apply(plan) = &self.wish {
            return Ok((**plan).clone());
        }
        let home = target.home().await?;
        let known: Vec<Revision> = home.map_or_else(Vec::new, |(_, head)| {
            head.known_good.into_iter().map(|good| good.revision).collect()
        });
        let goal = match &self.wish {
            Wish::Deploy(release) => {
                let release = target.resolve(release.clone()).await?;
                match target.prepares() {
                    None => Goal::Deploy(release),
                    Some(preparer) => {
                        let missing = preparer.missing(&release).await?;
                        if !missing.is_empty() {
                            return target.open_plan(release, now, missing).await;
                        }
                        Goal::Deploy(preparer.finish(&release).await?)
                    }
                }
            }
            Wish::Adopt => Goal::Adopt,
            Wish::Rollback(Some(to)) => Goal::Restore(self.named(to, &known).await?),
            Wish::Rollback(None) => {
                let back = known.iter().find(|revision| revision.declared != now.serving.declared);
                let none = || {
                    Error::new(
                        ErrorKind::NotFound,
                        "no other revision is known good: there is nothing to go back to",
                    )
                    .next("name one with --to")
                };
                Goal::Restore(back.cloned().ok_or_else(none)?)
            }
            Wish::Apply(_) => Goal::Adopt,
        };
        let mut plan = target.plan_goal(&goal, now).await?;
        if goal.is_rollback() && plan.way_back.to.is_none() {
            plan.way_back.words = "what is left by a rollback is not gone back to".into();
        }
        Ok(plan)
    }

    async fn named(&self, to: &str, known: &[Revision]) -> Result<Revision> {
        let fits = |revision: &&Revision| {
            revision.name == to
                || to.len() >= 7 && revision.commit.as_ref().is_some_and(|commit| commit.starts_with(to))
        };
        if let Some(revision) = known.iter().find(fits) {
            return Ok(revision.clone());
        }
        let all = self.target.place.revisions(100).await?;
        all.iter().find(fits).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no revision {to} here"))
                .next("history and status show which there are")
        })
    }

    /// Goes: takes the lease, journals the beginning, and returns the handle. Every ending is an outcome of it, a
    /// refusal too.
    ///
    /// # Errors
    /// Only for configuration, the store and credentials; nothing was changed then.
    pub async fn start(&self) -> Result<Rollout> {
        let target = &self.target;
        let now = target.place.inspect().await?;
        let plan = match self.make(&now).await {
            // The platform's own no is an ending like a guard's: whoever watches is told.
            Err(error) if error.kind() == ErrorKind::Refused => {
                let next: Vec<String> = error.what_next().map(str::to_owned).into_iter().collect();
                return target.refused_now("plan", error.message().to_owned(), &now, &next);
            }
            made => made?,
        };
        if plan.open && (self.approved.is_some() || matches!(self.wish, Wish::Apply(_))) {
            let text = "the plan is open: what it deploys is not built yet, so nobody can have approved it";
            let next = [format!("deploy {} without a plan, or build it first", target.name()?)];
            return target.refused_now("plan", text.into(), &now, &next);
        }
        if let Some(wanted) = &self.approved {
            let hash = plan.approval_hash();
            if wanted.is_empty() || !hash.starts_with(wanted.as_str()) {
                let text = format!(
                    "the plan is {} now, not {wanted}: something moved since it was approved",
                    &hash[..12]
                );
                let next = [format!("plan {}", target.name()?)];
                return target.refused_now("plan", text, &now, &next);
            }
        }
        if plan.base.declared != now.declared {
            let text = "what runs is not what the plan was made for".to_owned();
            return target.refused_now("base", text, &now, &["plan again".into()]);
        }
        target.launch(plan, &now, self.reason.clone()).await
    }

    /// Goes and waits: `Ok` for success alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotSucceeded`] with the outcome for every other ending; as [`start`](Self::start).
    pub async fn run(&self) -> Result<Outcome> {
        let outcome = self.start().await?.outcome().await?;
        if outcome.is_success() { Ok(outcome) } else { Err(Error::not_succeeded(outcome)) }
    }
}
