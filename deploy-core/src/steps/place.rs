//! A place that consists of commands.

mod look;
mod plan;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    look::{Look, declared},
    plan::Work,
};
use super::{
    Command, Hosts,
    command::Words,
    hosts::Machine,
    run::{self, Ended, Job},
    verify,
};
use crate::{
    clock::{Clock, SystemClock},
    context::{LocalSecrets, Permit, Secrets, StepContext},
    error::{EffectState, Error, ErrorKind, Result, Retry},
    model::{
        Blame, Capabilities, Component, FaultClass, Goal, Instance, Lateness, Motion, Observation,
        Permanence, Plan, Revision, Scope, Signal, Snapshot, Step, WriteGuard, millis,
    },
    platform::{PlanContext, Platform},
};

/// How late a run may still change something whose deployer is gone: its supervisor ends it before.
const LATENESS: Lateness = Lateness::new(0, 0, 20_000, 2_000);
/// The pause between two looks, unless it is told otherwise.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a look may take.
const LOOK_TIME: Duration = Duration::from_secs(20);
/// The exit codes with a meaning of their own, from sysexits: nothing was changed, and it may help to try again later, or
/// it will not.
const EX_TEMPFAIL: i32 = 75;
const EX_NOPERM: i32 = 77;
/// The wait after the first of them.
const TEMPFAIL_WAIT: Duration = Duration::from_secs(5);

/// A place whose deploying, looking and going back are commands, run here or on a host: what has no platform of its own
/// still gets identity, lease, known good, history and undo.
///
/// A revision is a name: the image of a release, or its full commit. The commands are told it as `{revision}` and
/// `DEPLOY_REVISION`.
///
/// - **deploy** and **go back** bring what is there to a revision, and return when that is declared; they need not wait
///   until it is healthy. They may be run again at any time, and may be cut off at any point. Exit code 75 says that nothing was
///   changed and that it may be tried again later, 77 that nothing was changed and never will be; every other one but 0 that
///   it failed, maybe halfway: forward, the deploy then goes back; going back is tried again until its time is over.
/// - **look** prints JSON: `{"revision": "9f2c1ab", "healthy": 2, "wanted": 3}`, and nothing else. `revision` is what is
///   declared, or `null` if nothing is; `healthy` may be true or false. It may add `failed` (why this revision will never be
///   healthy: it is not waited for any longer), `revisions` (what it can be put back to, newest first) and `identity` (named
///   parts of what "here" is). It must not change anything, and may take 20 s.
///
/// Nothing compares what is written, so other writers are not kept out but detected.
#[derive(Debug)]
pub struct CommandPlace {
    name: String,
    deploy: Command,
    look: Command,
    go_back: Command,
    on: Option<Hosts>,
    identity: BTreeMap<String, String>,
    look_again: Duration,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

/// How a deploying command ended, as it is journaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ran {
    exit: i32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    failure: String,
}

impl CommandPlace {
    /// A place by its name, which is its container's too.
    pub fn new(name: impl Into<String>, deploy: Command, look: Command, go_back: Command) -> Self {
        Self {
            name: name.into(),
            deploy,
            look,
            go_back,
            on: None,
            identity: BTreeMap::new(),
            look_again: LOOK_AGAIN,
            secrets: Arc::new(LocalSecrets),
            clock: SystemClock::shared(),
        }
    }

    /// On a host, over ssh: one connection for each command. The host is a part of the identity.
    #[must_use]
    pub fn on(mut self, host: impl Into<String>) -> Self {
        self.on = Some(Hosts::in_order([host]));
        self
    }

    /// As [`on`](Self::on), with another program than the `ssh` of the search path.
    #[must_use]
    pub fn on_with_ssh(mut self, host: impl Into<String>, program: impl Into<String>) -> Self {
        self.on = Some(Hosts::in_order([host]).ssh(program));
        self
    }

    /// One more part of the identity, which is pinned to the target.
    #[must_use]
    pub fn identity(mut self, part: impl Into<String>, value: impl Into<String>) -> Self {
        self.identity.insert(part.into(), value.into());
        self
    }

    /// How long to wait between two looks. Default: five seconds. Each is a process, and a connection where it is on a host.
    #[must_use]
    pub fn look_every(mut self, pause: Duration) -> Self {
        self.look_again = pause;
        self
    }

    /// Another resolver of the secrets of `look`. Those of the others are resolved by the deployer's.
    #[must_use]
    pub fn secrets(mut self, secrets: impl Secrets) -> Self {
        self.secrets = Arc::new(secrets);
        self
    }

    /// Another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn component(&self) -> Component {
        Component::new(&self.name)
    }

    fn host(&self) -> Option<&str> {
        self.on.as_ref().and_then(|hosts| hosts.names().first()).map(String::as_str)
    }

    fn machine(&self) -> Result<Machine<'_>> {
        let Some(hosts) = &self.on else { return Ok(Machine::Here) };
        hosts.check()?;
        Ok(self.host().map_or(Machine::Here, |host| hosts.on(host)))
    }

    /// `name`, or `name on host`.
    fn place_words(&self) -> String {
        self.host().map_or_else(|| self.name.clone(), |host| format!("{} on {host}", self.name))
    }

    async fn look(&self) -> Result<Look> {
        let not_applied = |error: Error| error.effect_as(EffectState::NotApplied);
        let machine = self.machine()?;
        let command = self.look.fill(&Words::default())?.timeout_at_most(LOOK_TIME);
        let mut secrets = Vec::new();
        for (name, reference) in command.secrets() {
            secrets.push((name.clone(), self.secrets.resolve(reference).await?));
        }
        let job =
            Job { name: format!("look of {}", self.name), command: &command, machine, secrets, keep: true };
        let never = Box::pin(std::future::pending());
        let ended = run::run(job, &*self.clock, never, || Ok(()), &|_| {}).await.map_err(not_applied)?;
        if ended.exit != 0 {
            let text = ended.failure(&format!("look of {}", self.place_words()));
            return Err(not_applied(Error::new(ErrorKind::Unavailable, text)));
        }
        Look::parse(&ended.output)
    }

    /// What an end means, where nobody is to take a failure for something that may be tried again.
    fn judge(ended: &Ended, name: &str, back: bool) -> Result<Ran> {
        let failure = || ended.failure(name);
        match ended.exit {
            0 => Ok(Ran { exit: 0, failure: String::new() }),
            EX_TEMPFAIL => Err(Error::new(ErrorKind::Unavailable, failure())
                .retry_as(Retry::After(TEMPFAIL_WAIT))
                .effect_as(EffectState::NotApplied)),
            EX_NOPERM => Err(Error::new(ErrorKind::PermissionDenied, failure())),
            // Where it leads is looked at; until it is there it is run again.
            _ if back => Err(Error::new(ErrorKind::Unavailable, failure())),
            exit => Ok(Ran { exit, failure: failure() }),
        }
    }
}

#[async_trait]
impl Platform for CommandPlace {
    async fn inspect(&self) -> Result<Snapshot> {
        let began = self.clock.now();
        let look = self.look().await?;
        let mut configured = self.identity.clone();
        configured.insert("place".into(), self.name.clone());
        if let Some(host) = self.host() {
            configured.insert("host".into(), host.to_owned());
        }
        let can = Capabilities::new(WriteGuard::None, LATENESS);
        let serving = self.revision_of(&look);
        let mut now = Snapshot::new(began, "command", look.identity(&configured), can, serving);
        now.counts = Some(look.counts(true));
        now.steady = look.is_steady();
        Ok(now)
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        self.make(goal, now, cx)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let work: Work = serde_json::from_value(step.data.clone()).map_err(|error| {
            let text = format!("step {} of the plan cannot be read by this version: {error}", step.id);
            Error::new(ErrorKind::Malformed, text)
        })?;
        let command = self.command(&work, &cx.plan().target)?;
        let machine = self.machine()?;
        let back = cx.going_back();
        let name = format!("{}{}", step.id, machine.words());
        let call = |permit: Permit| async {
            let job = Job {
                name: step.id.to_string(),
                command: &command,
                machine,
                secrets: verify::secrets(&command, cx).await?,
                keep: false,
            };
            let (clock, stop) = (&**cx.clock(), Box::pin(cx.until_interrupted()));
            let ended = run::run(job, clock, stop, move || permit.check(), &|line| cx.log(line)).await?;
            Self::judge(&ended, &name, back)
        };
        let ran: Ran = cx
            .effect("command", json!({ "to": work.to }))
            .declares(step.component.clone(), declared(Some(&work.to)))
            .sealing(&command)
            .within(command.time() + run::BESIDE)
            // Not `idempotent`: the same command landing late, after going back, is anything but harmless.
            .once(call)
            .await?;
        match ran.exit {
            0 => Ok(json!({ "exit": 0 })),
            _ => Err(Error::new(ErrorKind::Unexpected, ran.failure)),
        }
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let began = self.clock.now();
        let look = self.look().await?;
        let here = scope.declared() == Some(&look.declared());
        let motion = match (here, scope) {
            (true, _) if look.is_steady() => Motion::Done,
            (true, _) | (false, Scope::Toward { .. }) => Motion::Progressing,
            (false, Scope::Holding { .. }) => {
                Motion::Foreign { revision: Some(self.revision_of(&look)), by: None }
            }
        };
        let mut seen = Observation::new(began, scope.component().clone(), look.declared(), motion);
        seen.counts = Some(look.counts(here));
        if let (true, Some(failed)) = (here, &look.failed) {
            let mut instance = Instance::new(&self.name, look.name(), "failed");
            instance.reason = Some(failed.clone());
            let (class, blame) = (FaultClass::Unhealthy, Blame::Release);
            seen.signals = vec![Signal::new(class, blame, Permanence::Permanent, vec![instance], failed)];
        }
        seen.look_again_ms = millis(self.look_again);
        Ok(seen)
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        let look = self.look().await?;
        let mut names: Vec<&str> = look.revision.as_deref().into_iter().collect();
        for name in &look.revisions {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        Ok(names.into_iter().take(limit).map(|name| self.revision(Some(name), name)).collect())
    }

    /// Known only where `look` tells what it can be put back to.
    async fn startable(&self, revision: &Revision) -> Result<()> {
        let look = self.look().await?;
        let name = revision.handle.as_str().unwrap_or_default();
        let there = look.revisions.is_empty()
            || look.revision.as_deref() == Some(name)
            || look.revisions.iter().any(|known| known == name);
        if there {
            return Ok(());
        }
        let text = format!("{} cannot be put back to {name}: look does not name it", self.place_words());
        Err(Error::new(ErrorKind::NotFound, text))
    }

    fn deploys_commits(&self) -> bool {
        true
    }
}
