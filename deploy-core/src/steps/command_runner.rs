//! Runs the steps that are commands.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    Fetch, StepRunner, Verify,
    command_step::Work,
    hosts::Machine,
    run::{self, Job},
    verify::{self, Told},
};
use crate::{
    context::{Permit, StepContext},
    error::{Error, ErrorKind, Result},
    model::Step,
    platform::Settled,
    state::journal::Intent,
    task,
};

/// Runs the steps that are commands: each on each host is one effect.
#[derive(Debug, Clone, Default)]
pub struct CommandRunner {
    fetch: Option<Arc<dyn Fetch>>,
}

/// How a command ended, as it is journaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ran {
    exit: i32,
    /// What it said last, if it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    failure: String,
    /// Its end was not seen, and that it worked was.
    #[serde(default)]
    settled: bool,
}

impl CommandRunner {
    /// A runner that cannot look at URLs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With an HTTP client, for verifications that need one.
    #[must_use]
    pub fn fetch(mut self, fetch: impl Fetch) -> Self {
        self.fetch = Some(Arc::new(fetch));
        self
    }

    async fn run_all(&self, work: &Work, cx: &StepContext) -> Result<()> {
        let Some(hosts) = &work.on else { return run_on(work, None, cx).await };
        if hosts.are_in_order() {
            for host in hosts.names() {
                if cx.interrupted() {
                    let text = format!("step {} was stopped before {host}", cx.step());
                    return Err(Error::new(ErrorKind::Interrupted, text));
                }
                run_on(work, Some(host), cx).await?;
            }
            return Ok(());
        }
        let mut running = JoinSet::new();
        for (index, host) in hosts.names().iter().enumerate() {
            let (work, host, cx) = (work.clone(), host.clone(), cx.clone());
            task::spawn_on(&mut running, async move { (index, run_on(&work, Some(&host), &cx).await) });
        }
        let mut failed: Vec<(usize, Error)> = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((index, Err(error))) => failed.push((index, error)),
                Err(error) => failed.push((usize::MAX, Error::new(ErrorKind::Unexpected, error.to_string()))),
            }
        }
        // One that must not be tried again decides; among equals the first.
        failed.sort_by_key(|(index, error)| (error.retry() != crate::error::Retry::Never, *index));
        let more = failed.len().saturating_sub(1);
        match failed.into_iter().next() {
            None => Ok(()),
            Some((_, error)) if more == 0 => Err(error),
            Some((_, error)) => {
                Err(error.context(format!("{} of {} hosts failed", more + 1, hosts.names().len())))
            }
        }
    }
}

/// Runs it on one machine, or hears from the journal how it ended there.
async fn run_on(work: &Work, host: Option<&str>, cx: &StepContext) -> Result<()> {
    let machine = match (&work.on, host) {
        (Some(hosts), Some(host)) => hosts.on(host),
        _ => Machine::Here,
    };
    let key = format!("run{}", machine.words());
    let intent = json!({ "command": work.command.words(), "host": host });
    let name = cx.step().to_string();
    let call = |permit: Permit| async {
        let job = Job {
            name: name.clone(),
            command: &work.command,
            machine,
            secrets: verify::secrets(&work.command, cx).await?,
            keep: false,
        };
        let (clock, stop) = (&**cx.clock(), Box::pin(cx.until_interrupted()));
        let ended = run::run(job, clock, stop, move || permit.check(), &|line| cx.log(line)).await?;
        let failure = if ended.exit == 0 { String::new() } else { ended.failure(&key) };
        Ok(Ran { exit: ended.exit, failure, settled: false })
    };
    let attempt = work.command.time() + run::BESIDE;
    let effect = cx.effect(&key, intent).sealing(&work.command).within(attempt);
    let ran: Ran =
        if work.repeatable { effect.idempotent(call).await } else { effect.at_most_once(call).await }?;
    match ran.exit {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Unexpected, ran.failure)),
    }
}

#[async_trait]
impl StepRunner for CommandRunner {
    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let work = Work::of(step)?;
        self.run_all(&work, cx).await?;
        verify::all(&work.verify, self.fetch.as_ref(), cx).await?;
        Ok(json!({ "exit": 0, "verified": work.verify.len() }))
    }

    /// That everything which is to be verified can be seen proves that it worked. That it cannot be seen proves nothing: the
    /// command may have done half of it.
    async fn settle(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        let Some(step) = cx.planned(&intent.step) else { return Ok(Settled::Unknown) };
        let work = Work::of(step)?;
        for one in &work.verify {
            match one.look(self.fetch.as_deref(), cx).await {
                Told::Yes => {}
                Told::No(_) | Told::CannotTell(_) => return Ok(Settled::Unknown),
            }
        }
        Ok(match work.verify.is_empty() {
            true => Settled::Unknown,
            false => Settled::Applied(json!(Ran { exit: 0, failure: String::new(), settled: true })),
        })
    }

    fn accepts(&self, step: &Step) -> Result<()> {
        let work = Work::of(step)?;
        if self.fetch.is_none() && work.verify.iter().any(Verify::needs_fetch) {
            let text = format!("step {} is verified by a URL, and this process has no HTTP client", step.id);
            return Err(Error::new(ErrorKind::Unsupported, text).next("give the runner one with .fetch(..)"));
        }
        Ok(())
    }
}
