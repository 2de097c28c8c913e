//! What a target is, and what was done to it.

use super::Target;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Outcome, Revision, RolloutId, Snapshot, TargetName},
    state::{
        journal::{Entry, Fact, StepState},
        process::Alive,
    },
};

/// One deploy of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deploy {
    /// Its id.
    pub rollout: RolloutId,
    /// When it began.
    pub started_at: crate::model::Timestamp,
    /// Who asked for it.
    pub actor: String,
    /// From where.
    pub from: Revision,
    /// To where. What the platform names only once it is made has that name here, as soon as a step returned it.
    pub to: Revision,
    /// Whether it was a rollback.
    pub rollback: bool,
    /// How it ended; `None` while it is unfinished.
    pub outcome: Option<Outcome>,
    /// Whether rollback would go here.
    pub known_good: bool,
}

impl std::fmt::Display for Deploy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.outcome.as_ref().map_or("UNFINISHED", Outcome::verdict);
        write!(f, "{}  {}  {}", self.rollout.short(), self.started_at, self.actor)?;
        write!(f, "  {} -> {}  {end}", self.from.short(), self.to.short())
    }
}

/// What a target is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The target.
    pub target: TargetName,
    /// What the place shows.
    pub now: Snapshot,
    /// The deploy that is unfinished, if one is.
    pub unfinished: Option<RolloutId>,
    /// Who runs it, in words.
    pub holder: Option<String>,
    /// Whether that process exists, as far as can be told from here.
    pub driven: bool,
    /// Revisions that proved themselves, newest first.
    pub known_good: Vec<Revision>,
}

impl Target {
    /// The newest deploys, newest first. Reads as many journal segments as it takes.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the state cannot be read.
    pub async fn history(&self, limit: usize) -> Result<Vec<Deploy>> {
        let Some((home, head)) = self.home().await? else { return Ok(Vec::new()) };
        let began = |entries: &[Entry]| {
            entries.iter().filter(|entry| matches!(entry.fact, Fact::Started { .. })).count()
        };
        let entries = self.records().entries_back(&home, &head, |entries| began(entries) >= limit).await?;
        let mut deploys: Vec<Deploy> = Vec::new();
        for entry in &entries {
            match &entry.fact {
                Fact::Started { from, to, actor, rollback, .. } => deploys.push(Deploy {
                    rollout: entry.rollout.clone(),
                    started_at: entry.at,
                    actor: actor.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    rollback: *rollback,
                    outcome: None,
                    known_good: head.known_good.iter().any(|good| good.rollout == entry.rollout),
                }),
                Fact::Ended { outcome, .. } => {
                    if let Some(deploy) =
                        deploys.iter_mut().rev().find(|deploy| deploy.rollout == entry.rollout)
                    {
                        deploy.outcome = Some((**outcome).clone());
                    }
                }
                Fact::Step { output: Some(output), state: StepState::Done, .. } => {
                    let made = output.get("revision").cloned().map(serde_json::from_value::<Revision>);
                    if let (Some(Ok(made)), Some(deploy)) = (made, deploys.last_mut())
                        && deploy.rollout == entry.rollout
                        && deploy.to.declared.is_empty()
                    {
                        deploy.to.name = made.name;
                    }
                }
                Fact::Planned { to, .. } => {
                    if let Some(deploy) = deploys.last_mut().filter(|deploy| deploy.rollout == entry.rollout)
                    {
                        deploy.to = to.clone();
                    }
                }
                _ => {}
            }
        }
        deploys.reverse();
        deploys.truncate(limit);
        Ok(deploys)
    }

    /// All journaled entries of one deploy, by its id or the last four characters of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such deploy.
    pub async fn journal(&self, deploy: &str) -> Result<Vec<Entry>> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no deploy {deploy}"));
        let (home, head) = self.home().await?.ok_or_else(missing)?;
        let all = self.records().entries_back(&home, &head, |_| false).await?;
        let named = |id: &RolloutId| id.as_str() == deploy || id.short() == deploy;
        let newest = all.iter().rev().find(|entry| named(&entry.rollout)).map(|entry| entry.rollout.clone());
        let id = newest.ok_or_else(missing)?;
        Ok(all.into_iter().filter(|entry| entry.rollout == id).collect())
    }

    /// What the place shows and what the store says of it. One inspection and two reads.
    ///
    /// # Errors
    /// As inspecting and reading.
    pub async fn status(&self) -> Result<Status> {
        let now = self.place.inspect().await?;
        let head = self.home().await?.map(|(_, head)| head);
        let holder = head.as_ref().and_then(|head| head.holder.as_ref());
        let driven = holder.is_some_and(|holder| self.deployer.0.liveness.of(holder) != Alive::Dead);
        let holder = holder.map(crate::launch::owner_words);
        Ok(Status {
            target: self.name()?.clone(),
            now,
            unfinished: head.as_ref().and_then(|head| head.claim.clone()),
            holder,
            driven,
            known_good: head
                .map_or(Vec::new(), |head| head.known_good.into_iter().map(|good| good.revision).collect()),
        })
    }
}
