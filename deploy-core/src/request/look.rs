//! A plan with everything that a person wants to see before it is carried out.

use std::sync::Arc;

use super::Request;
use crate::{
    error::Result,
    guards::{self, GuardContext},
    model::{Plan, Revision, Snapshot},
    source::{Between, Commit, MigrationsBetween},
    state::{head::Pin, journal::GuardFinding},
};

/// The most commits that are looked up.
const COMMITS: usize = 20;

/// A plan, what it was made from, and what the guards say to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Look {
    /// The plan.
    pub plan: Plan,
    /// The place as it is.
    pub now: Snapshot,
    /// The pinned identity; none if this would be the first use.
    pub pin: Option<Pin>,
    /// What every guard says.
    pub guards: Vec<GuardFinding>,
    /// Revisions that proved themselves, newest first.
    pub known_good: Vec<Revision>,
    /// What the new commit has and the running one does not, newest first; empty where that cannot be known.
    pub commits: Vec<Commit>,
    /// The migrations that the new commit brings; none if the target was not told which files are such, or if one
    /// of the two commits is not named.
    pub migrations: Option<MigrationsBetween>,
}

impl Request {
    /// As [`plan`](Self::plan), with what the guards say now, the commits between and their migrations. Changes nothing and stores
    /// nothing; a guard that refuses is a finding, no error.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and [`ErrorKind::Store`](crate::ErrorKind::Store) if the state cannot be read.
    pub async fn look(&self) -> Result<Look> {
        let target = &self.target;
        let now = target.place.inspect().await?;
        let plan = self.make(&now).await?;
        let home = target.home().await?.map(|(_, head)| head);
        let pin = target.records().target(target.name()?).await?.map(|(_, record)| record.pin);
        let context = GuardContext {
            plan: Arc::new(plan.clone()),
            now: now.clone(),
            pin: pin.clone(),
            head: home.as_ref().map(|head| Arc::new((**head).clone())),
            place: Arc::clone(&target.place),
            source: target.source.clone(),
            first: true,
            overrides: Arc::clone(&target.overrides),
        };
        let guards = guards::ask_now(&target.guards(), &context).await;
        let known_good = home
            .map_or_else(Vec::new, |head| head.known_good.into_iter().map(|good| good.revision).collect());
        let commits = self.commits(&plan).await;
        let migrations = self.migrations(&plan).await;
        Ok(Look { plan, now, pin, guards, known_good, commits, migrations })
    }

    async fn commits(&self, plan: &Plan) -> Vec<Commit> {
        let (Some(source), Some(old), Some(new)) = (&self.target.source, &plan.base.commit, &plan.to.commit)
        else {
            return Vec::new();
        };
        match source.between(old, new, COMMITS).await {
            Ok(Between::Known { commits, .. }) => commits,
            // Whether the commit may be deployed is for the guard of order to say.
            Ok(Between::CannotKnow(_)) | Err(_) => Vec::new(),
        }
    }

    async fn migrations(&self, plan: &Plan) -> Option<MigrationsBetween> {
        let target = &self.target;
        let (source, which) = (target.source.as_ref()?, target.migrations.as_ref()?);
        let (old, new) = (plan.base.commit.as_ref()?, plan.to.commit.as_ref()?);
        let found = source.migrations(old, new, which).await;
        // Looking fails for what keeps a deploy from being planned, and this does not.
        Some(found.unwrap_or_else(|error| MigrationsBetween::CannotKnow(error.to_string())))
    }
}
