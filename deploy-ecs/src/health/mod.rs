//! What ECS tells of a service, as observations. Pure, table-tested.
//!
//! Our deployment is known by its id, from UpdateService's answer: a look that does not show it yet is older than our
//! write and is not believed, and what happens to other deployments never counts as ours.

mod faults;
mod motion;

pub(crate) use faults::{Fault, fault_of, signals};
pub(crate) use motion::{Facts, look};

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::{primitives::DateTime, types::Task};
use deploy_core::model::{FaultClass, Instance, Timestamp};

/// How long after an update a look may show the service as it was before. Much more than what ECS is seen to take.
pub(crate) const STALE_MS: u64 = 60_000;

/// How many failed tasks are remembered: two decide.
const MOST_FAULTS: usize = 50;

/// What a place remembers between looks, for one deployment at a time. Losing it (a resume in another process) costs
/// calls and old instances, nothing else.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The deployment that this is about.
    pub(crate) deployment: Option<String>,
    /// A look has shown it as the primary one: if it no longer is, it has lost that place.
    pub(crate) was_primary: bool,
    /// Since when its stopped tasks count.
    pub(crate) since: Option<Timestamp>,
    /// The most running tasks that a look has shown.
    pub(crate) running: u32,
    /// When it first had pending tasks and nothing else new since.
    pub(crate) pending_since: Option<Timestamp>,
    /// Since when all of ours run and older ones still do.
    pub(crate) old_since: Option<Timestamp>,
    /// A task was started while nothing should move: until then its predecessor is looked for.
    pub(crate) recheck_until: Option<Timestamp>,
    /// It went back because somebody asked to stop it, as far as that was asked about.
    pub(crate) stopped: Option<bool>,
    /// Events that were read.
    pub(crate) events: BTreeSet<String>,
    /// Tasks of it that failed, each once.
    pub(crate) faults: BTreeMap<String, (Fault, Instance)>,
    /// Their task definitions.
    pub(crate) definitions: BTreeMap<String, String>,
    /// Log lines that were fetched, by task.
    pub(crate) logs: BTreeMap<String, Vec<String>>,
    /// How often lines were asked for in vain.
    pub(crate) log_tries: u32,
}

impl Memory {
    /// Starts anew if this is about another deployment than before.
    pub(crate) fn about(&mut self, deployment: Option<&str>) {
        if deployment.is_some() && self.deployment.as_deref() != deployment {
            *self = Self { deployment: deployment.map(str::to_owned), ..Self::default() };
        }
    }
}

/// Adds the stopped tasks of a deployment that count, each once.
pub(crate) fn remember(tasks: &[Task], deployment: Option<&str>, memory: &mut Memory) {
    for task in tasks {
        let time =
            |time: Option<&DateTime>| time.and_then(|t| t.to_millis().ok()).map(Timestamp::from_millis);
        // A task's end has several times; any of them tells whether it was before the update.
        let stopped = time(task.stopped_at()).or(time(task.stopping_at()));
        if task.started_by() != deployment || (stopped.is_some() && stopped < memory.since) {
            continue;
        }
        if memory.faults.len() >= MOST_FAULTS {
            return;
        }
        if let Some((fault, instance)) = fault_of(task) {
            let arn = task.task_definition_arn().unwrap_or_default().to_owned();
            memory.definitions.insert(instance.id.clone(), arn);
            memory.faults.entry(instance.id.clone()).or_insert((fault, instance));
        }
    }
}

/// The first failing task whose lines are worth fetching, with its task definition and the container that decided.
pub(crate) fn wants_log(memory: &Memory, tries: u32) -> Option<(String, String, Option<String>)> {
    if !memory.logs.is_empty() || memory.log_tries >= tries {
        return None;
    }
    let wrote = |class: FaultClass| {
        matches!(
            class,
            FaultClass::Crash | FaultClass::OutOfMemory | FaultClass::Unhealthy | FaultClass::Other
        )
    };
    let (task, (fault, _)) = memory.faults.iter().find(|(_, (fault, _))| wrote(fault.class))?;
    Some((task.clone(), memory.definitions.get(task)?.clone(), fault.container.clone()))
}

/// When to look again: success is told within five seconds, and a deploy of five minutes costs about 65 looks, which
/// ten services share.
///
/// | time since the update | calm | something is off |
/// |---|---|---|
/// | 15 s | 3 s | 3 s |
/// | 10 min | 4.8 s | 3 s |
/// | later, and while baking | 15 s | 5 s |
pub(crate) fn look_again_ms(since_update_ms: u64, holding: bool, off: bool) -> u64 {
    match since_update_ms {
        0..15_000 if !holding => 3_000,
        0..600_000 if !holding => {
            if off {
                3_000
            } else {
                4_800
            }
        }
        _ if off => 5_000,
        _ => 15_000,
    }
}

#[cfg(test)]
mod tests;
