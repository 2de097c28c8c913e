//! A command as a step of a deploy.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Command, ExtraStep, Hosts, PlannedStep, Precondition, StepFacts, Verify, command::Words, run};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Component, Runner, Step, StepKind, Undo, millis},
};

/// How often a step is run whose verification could not tell, or whose host could not be reached.
const ATTEMPTS: u32 = 3;
/// What a step may take besides its commands and verifications.
const SLACK: Duration = Duration::from_secs(30);

/// What undoes a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandUndo {
    /// Going back to the old revision does.
    Restores,
    /// This command makes up for it. It is run where the step is, up to three times, also if the step may have done nothing;
    /// so it has to be harmless then, and twice.
    Compensates(Command),
    /// Nothing does, for this reason.
    None(String),
}

/// A command as a step: publish a package, push a static site, run a playbook.
///
/// It is run once, unless it [may be repeated](Self::may_be_repeated): a run whose end was not seen (it took too long, the
/// connection broke, the deployer died) is *unknown*; the [verification](Self::verify) may show that it worked, and if it
/// does not, the deploy goes back and owes the question. A run that failed is not repeated either. An exit code of 0 counts
/// only if everything that is to be verified can be seen.
#[derive(Debug)]
pub struct CommandStep {
    id: String,
    title: Option<String>,
    command: Command,
    undo: CommandUndo,
    on: Option<Hosts>,
    repeatable: bool,
    verify: Vec<Verify>,
    preconditions: Vec<Arc<dyn Precondition>>,
}

/// A planned command, as it is in [`Step::data`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) command: Command,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<Hosts>,
    #[serde(default)]
    pub(super) repeatable: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) verify: Vec<Verify>,
}

impl Work {
    pub(super) fn of(step: &Step) -> Result<Self> {
        serde_json::from_value(step.data.clone()).map_err(|error| {
            let text =
                format!("step {} of the plan is no command that this version can read: {error}", step.id);
            Error::new(ErrorKind::Malformed, text)
        })
    }

    /// How long all of it may take.
    pub(super) fn time(&self) -> Duration {
        let one = self.command.time() + run::BESIDE;
        let runs = match &self.on {
            Some(hosts) if hosts.are_in_order() => u32::try_from(hosts.names().len()).unwrap_or(u32::MAX),
            _ => 1,
        };
        let verify: Duration = self.verify.iter().map(Verify::time).sum();
        one.saturating_mul(runs).saturating_add(verify.saturating_mul(ATTEMPTS)).saturating_add(SLACK)
    }
}

impl CommandStep {
    /// A command under a name that is unique among the target's steps, and what undoes it.
    pub fn new(id: impl Into<String>, command: Command, undo: CommandUndo) -> Self {
        Self {
            id: id.into(),
            title: None,
            command,
            undo,
            on: None,
            repeatable: false,
            verify: Vec::new(),
            preconditions: Vec::new(),
        }
    }

    /// One line for people. Default: the command line.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Over ssh, on hosts, instead of here. Verifications are made here.
    #[must_use]
    pub fn on(mut self, hosts: Hosts) -> Self {
        self.on = Some(hosts);
        self
    }

    /// The command may be run again after a run whose end was not seen: a second run is harmless, and so is a run that is
    /// broken off.
    #[must_use]
    pub fn may_be_repeated(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// One more way to see that it worked. All have to.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify.push(verify);
        self
    }

    /// Something that has to hold before it.
    #[must_use]
    pub fn precondition(mut self, precondition: impl Precondition) -> Self {
        self.preconditions.push(Arc::new(precondition));
        self
    }

    fn step(&self, id: String, title: String, undo: Undo, work: &Work) -> Step {
        let component = Component::new(&self.id);
        let mut step = Step::new(id, component, StepKind::Effect, title)
            .with(json!(work))
            .within_ms(millis(work.time()))
            .undone_by(undo);
        step.runner = Runner::Command;
        step.attempts = ATTEMPTS;
        step
    }

    fn where_words(&self) -> String {
        self.on.as_ref().map_or_else(String::new, |hosts| format!(" on {}", hosts.names().join(", ")))
    }
}

#[async_trait]
impl ExtraStep for CommandStep {
    fn id(&self) -> &str {
        &self.id
    }

    fn plan(&self, facts: &StepFacts) -> Result<PlannedStep> {
        let of_step = |error: Error| error.context(format!("step {}", self.id));
        let words = Words::new(&facts.target, facts.release.commit.as_deref()).map_err(of_step)?;
        if let Some(hosts) = &self.on {
            hosts.check().map_err(of_step)?;
        }
        let filled = |command: &Command, verify: &[Verify], repeatable| -> Result<Work> {
            Ok(Work {
                command: command.fill(&words)?,
                on: self.on.clone(),
                repeatable,
                verify: verify.iter().map(|one| one.fill(&words)).collect::<Result<_>>()?,
            })
        };
        let work = filled(&self.command, &self.verify, self.repeatable).map_err(of_step)?;
        let title = self.title.clone().unwrap_or_else(|| format!("run {}", work.command.words()));
        let title = format!("{title}{}", self.where_words());
        let undo = match &self.undo {
            CommandUndo::Restores => Undo::Restores,
            CommandUndo::Compensates(_) => Undo::Compensates,
            CommandUndo::None(reason) => Undo::None { reason: reason.clone() },
        };
        let mut planned = PlannedStep::new(self.step(self.id.clone(), title, undo, &work));
        if !self.repeatable {
            planned = planned.at_most_once();
        }
        if let CommandUndo::Compensates(command) = &self.undo {
            let work = filled(command, &[], true).map_err(of_step)?;
            let title = format!("run {}{}", work.command.words(), self.where_words());
            let reason = "it makes up for a step".to_owned();
            let step = self.step(format!("undo-{}", self.id), title, Undo::None { reason }, &work);
            planned = planned.compensated_by(step);
        }
        Ok(planned)
    }

    async fn check(&self, facts: &StepFacts) -> Result<()> {
        for precondition in &self.preconditions {
            precondition.check(facts).await.map_err(|error| {
                let next = error.what_next().map(str::to_owned);
                let text = format!("{}: {}", precondition.name(), error.message());
                let refused = Error::new(ErrorKind::Refused, text);
                match next {
                    Some(next) => refused.next(next),
                    None => refused,
                }
            })?;
        }
        Ok(())
    }
}
