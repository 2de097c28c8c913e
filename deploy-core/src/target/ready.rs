//! What can be said of a commit before anything is built from it.

use std::sync::Arc;

use super::Target;
use crate::{
    error::{Error, ErrorKind, Result},
    guards::{self, CommitContext},
    state::journal::GuardFinding,
};

impl Target {
    /// What the guards say to a revision before anything is built from it: those that need no plan. A build that none
    /// refuses may still be refused later. A refusal is a finding and no error; overrides count.
    ///
    /// Changes nothing and stores nothing. Costs one look at the place, for the commit that runs, and what the guards
    /// cost.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the target has no source; as resolving the revision and inspecting the place.
    pub async fn ready(&self, revision: &str) -> Result<Vec<GuardFinding>> {
        let Some(source) = &self.source else {
            let text = format!("`{revision}` cannot be looked at: the target has no source");
            return Err(Error::new(ErrorKind::Invalid, text).next("give it one with .source(..)"));
        };
        let commit = source.resolve(revision).await?.id;
        let running = self.place.inspect().await?.serving.commit;
        let cx = CommitContext { target: self.name()?.clone(), commit, running, source: Arc::clone(source) };
        Ok(guards::ask_of_commit(&self.guards(), &cx, &self.overrides).await)
    }
}
