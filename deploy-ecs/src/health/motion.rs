//! Where a service is on its way, from one DescribeServices.

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, Service};
use deploy_core::model::{
    Blame, Counts, FaultClass, Fingerprint, Instance, Motion, Observation, Permanence, Scope, Signal,
    Timestamp,
};

use super::{Memory, STALE_MS, faults::event_signal, look_again_ms};
use crate::{
    definition::{arn_of, bare_revision, component, declared, name_of},
    snapshot::count,
    steps::update_service::Moved,
};

/// For how long stopped tasks are looked at after a task was started while nothing should move.
const RECHECK_MS: u64 = 30_000;

/// What a look is about, from its scope.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The task definition that should be there.
    pub(crate) arn: String,
    /// The fingerprint that the scope expects.
    pub(crate) declared: Fingerprint,
    /// Our deployment and what was before; empty while holding.
    pub(crate) moved: Moved,
    /// Whether it should stay rather than get there.
    pub(crate) holding: bool,
}

impl Facts {
    /// Reads a scope.
    pub(crate) fn of(scope: &Scope) -> deploy_core::Result<Self> {
        let arn = arn_of(scope.revision())?.to_owned();
        let (moved, holding) = match scope {
            Scope::Toward { handle, .. } => {
                (serde_json::from_value(handle.clone()).unwrap_or_default(), false)
            }
            Scope::Holding { .. } => (Moved::default(), true),
        };
        Ok(Self { declared: declared(&arn), arn, moved, holding })
    }
}

/// What one DescribeServices tells, and whether the stopped tasks should be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) observation: Observation,
    /// Our deployment, as far as it is known.
    pub(crate) deployment: Option<String>,
    pub(crate) wants_tasks: bool,
}

fn state(deployment: &Deployment) -> Option<&DeploymentRolloutState> {
    deployment.rollout_state()
}

fn is_primary(deployment: &Deployment) -> bool {
    deployment.status() == Some("PRIMARY")
}

fn failed(deployment: &Deployment) -> bool {
    state(deployment) == Some(&DeploymentRolloutState::Failed)
}

/// Still has or wants tasks. One that is only listed while its targets drain has neither.
fn active(deployment: &Deployment) -> bool {
    deployment.desired_count() > 0 || deployment.running_count() > 0 || deployment.pending_count() > 0
}

fn settled(service: &Service, deployment: &Deployment) -> bool {
    let complete = state(deployment).is_none_or(|state| *state == DeploymentRolloutState::Completed);
    complete
        && deployment.running_count() == service.desired_count()
        && deployment.pending_count() == 0
        && !service.deployments().iter().any(|other| other.id() != deployment.id() && active(other))
}

/// Reads one DescribeServices.
pub(crate) fn look(at: Timestamp, facts: &Facts, service: &Service, memory: &mut Memory) -> Look {
    let deployments = service.deployments();
    let by_id = |id: Option<&str>| deployments.iter().find(|one| id.is_some() && one.id() == id);
    let mine = |one: &&Deployment| one.task_definition() == Some(&facts.arn);
    let primary = deployments.iter().find(|one| is_primary(one));
    let known = facts.moved.deployment_id.clone().or(memory.deployment.clone().filter(|_| facts.holding));
    let known = known.as_deref();
    let ours =
        by_id(known).filter(mine).or_else(|| primary.filter(mine)).or_else(|| deployments.iter().find(mine));
    memory.about(ours.and_then(Deployment::id).or(known));
    remember_since(at, facts, ours, memory);

    memory.was_primary |= ours.is_some_and(is_primary);

    let update_age = age(at, facts, memory);
    let is = service.task_definition().or(primary.and_then(Deployment::task_definition)).unwrap_or("");
    let stale = ours.is_none() && update_age < STALE_MS && may_be_older(facts, primary);
    let motion =
        if stale { Motion::Progressing } else { motion(facts, service, ours, primary, memory.was_primary) };
    let seen_declared = if stale { facts.declared.clone() } else { declared(is) };
    let mut observation = Observation::new(at, component(), seen_declared, motion);

    let running = ours.map_or(0, |ours| count(ours.running_count()));
    let others = deployments.iter().filter(|one| one.id() != ours.and_then(Deployment::id));
    let old = others.clone().map(|one| count(one.running_count())).sum();
    observation.counts = Some(Counts::new(count(service.desired_count()), running, running, old));
    if let Some(ours) = ours {
        note(&mut observation, ours, others.count());
        if failed(ours) && is_primary(ours) {
            observation.signals.push(given_up(ours));
        }
    }
    if let Some(signal) = lingering(at, service, ours, old, memory) {
        observation.signals.push(signal);
    }
    let going_there = ours.is_some_and(is_primary);
    let new_event = events(facts, service, going_there, memory, &mut observation);
    let off = suspicious(at, ours, running, memory) || new_event || !observation.signals.is_empty();
    let off = off || !memory.faults.is_empty() || memory.recheck_until.is_some_and(|until| at < until);
    observation.look_again_ms = look_again_ms(update_age, facts.holding, off);
    Look {
        deployment: ours.and_then(Deployment::id).map(str::to_owned),
        observation,
        wants_tasks: off && ours.is_some(),
    }
}

/// Whether a look that does not show our deployment may be older than our update: it stays listed until its last task
/// has ended. Such a look shows what was before the update; a third thing is somebody else's, who came after us. While
/// holding, there is no update of ours to be older than.
fn may_be_older(facts: &Facts, primary: Option<&Deployment>) -> bool {
    let before = facts.moved.before_id.as_deref();
    let shows_before = before.is_none() || primary.is_none_or(|primary| primary.id() == before);
    facts.moved.deployment_id.is_some() && shows_before
}

fn motion(
    facts: &Facts,
    service: &Service,
    ours: Option<&Deployment>,
    primary: Option<&Deployment>,
    was_primary: bool,
) -> Motion {
    let foreign = |arn: Option<&str>| Motion::Foreign { revision: arn.map(bare_revision), by: None };
    let Some(primary) = primary else {
        // CODE_DEPLOY and EXTERNAL list none; both are refused when planning.
        return foreign(service.task_definition());
    };
    let back_at = primary.task_definition();
    let is_back = back_at.is_some() && back_at == facts.moved.before_arn.as_deref();
    let reverts = Motion::PlatformRevert { to: back_at.map(bare_revision), ended: settled(service, primary) };
    match ours {
        Some(ours) if is_primary(ours) => {
            if settled(service, ours) {
                Motion::Done
            } else {
                Motion::Progressing
            }
        }
        Some(ours) if failed(ours) && (was_primary || !facts.holding) => reverts,
        // A scope that says no more than where it should be: what is declared tells the rest to whoever knows the plan.
        _ if facts.holding || facts.moved.before_arn.is_none() => Motion::Progressing,
        // Ours is there no longer, or not alone: only the platform brings the old deployment's id again.
        _ if is_back && primary.id() == facts.moved.before_id.as_deref() => reverts,
        // The update was not answered: it may still arrive.
        None if is_back && facts.moved.deployment_id.is_none() => Motion::Progressing,
        _ => foreign(back_at),
    }
}

/// Since when stopped tasks count: our deployment's own, from its start; while holding what was there before (after
/// going back), from the first look.
fn remember_since(at: Timestamp, facts: &Facts, ours: Option<&Deployment>, memory: &mut Memory) {
    if memory.since.is_some() {
        return;
    }
    let Some(ours) = ours else { return };
    let created = ours.created_at().and_then(|time| time.to_millis().ok()).map(Timestamp::from_millis);
    let update = facts.moved.at.or(facts.holding.then_some(at));
    memory.since = match (created, update) {
        // A minute between our clock and theirs is allowed for.
        (Some(created), Some(update)) => {
            Some(created.max(Timestamp::from_millis(update.as_millis() - 60_000)))
        }
        (created, update) => created.or(update),
    };
}

fn age(at: Timestamp, facts: &Facts, memory: &Memory) -> u64 {
    let start = facts.moved.at.or(memory.since).unwrap_or(at);
    deploy_core::model::millis(at.since(start))
}

fn note(observation: &mut Observation, ours: &Deployment, others: usize) {
    let mut note = |key: &str, value: String| observation.notes.insert(key.to_owned(), value);
    if let Some(id) = ours.id() {
        note("deployment", id.to_owned());
    }
    if let Some(reason) = ours.rollout_state_reason() {
        note("state", reason.to_owned());
    }
    if ours.pending_count() > 0 {
        note("pending", ours.pending_count().to_string());
    }
    if others > 0 && observation.motion == Motion::Done {
        // Their tasks have ended as far as ECS counts; the load balancer still drains them.
        note("draining", others.to_string());
    }
}

/// ECS itself has given the deployment up, and has nowhere to go back to.
fn given_up(ours: &Deployment) -> Signal {
    let revision = name_of(ours.task_definition().unwrap_or(""));
    let reason = ours.rollout_state_reason().unwrap_or("ECS gave the deployment up").to_owned();
    let mut instance = Instance::new(ours.id().unwrap_or(""), revision, "FAILED");
    instance.reason = Some(reason.clone());
    Signal::new(FaultClass::Stalled, Blame::Release, Permanence::Permanent, vec![instance], reason)
}

/// Reads the events since the update; true if one is new and not the normal course.
fn events(
    facts: &Facts,
    service: &Service,
    going_there: bool,
    memory: &mut Memory,
    observation: &mut Observation,
) -> bool {
    let since = facts.moved.at.or(memory.since);
    let mut news = false;
    // What is no longer listed does not come back.
    memory.events.retain(|id| service.events().iter().any(|event| event.id() == Some(id)));
    for event in service.events() {
        let (Some(id), Some(message)) = (event.id(), event.message()) else { continue };
        let at = event.created_at().and_then(|time| time.to_millis().ok()).map(Timestamp::from_millis);
        if since.is_none() || at < since {
            continue;
        }
        if message.contains(" has started ") && memory.events.insert(id.to_owned()) && facts.holding {
            // A task that ends and is replaced between two looks shows in no count: the replacing is told for free.
            memory.recheck_until = Some(observation.at.plus_ms(RECHECK_MS));
        }
        // That ECS goes back to where we want to be is no trouble.
        let Some(signal) =
            event_signal(message).filter(|_| !(going_there && message.contains("rolling back")))
        else {
            continue;
        };
        news |= memory.events.insert(id.to_owned());
        // One of a kind is enough: the scheduler repeats itself.
        if !observation.signals.iter().any(|one| one.class == signal.class && one.instances.is_empty()) {
            observation.signals.push(signal);
        }
    }
    news
}

/// An old task that runs although it had the time to be drained and to stop.
fn lingering(
    at: Timestamp,
    service: &Service,
    ours: Option<&Deployment>,
    old: u32,
    memory: &mut Memory,
) -> Option<Signal> {
    /// The longest `stopTimeout` that Fargate takes, and some time to notice.
    const STOP_MS: u64 = 150_000;
    /// The deregistration delay that a target group has if nobody sets one.
    const DRAIN_MS: u64 = 300_000;
    let all_there = ours.is_some_and(|ours| {
        is_primary(ours) && ours.running_count() >= service.desired_count() && ours.pending_count() == 0
    });
    if !all_there || old == 0 {
        memory.old_since = None;
        return None;
    }
    let since = *memory.old_since.get_or_insert(at);
    let drain = if service.load_balancers().is_empty() { 0 } else { DRAIN_MS };
    let age = deploy_core::model::millis(at.since(since));
    (age > STOP_MS + drain).then(|| {
        let text = format!(
            "{old} old task{} still run{} {} s after all new ones do: longer than draining and stopping take",
            if old == 1 { "" } else { "s" },
            if old == 1 { "s" } else { "" },
            age / 1_000
        );
        Signal::new(FaultClass::Infrastructure, Blame::Platform, Permanence::Transient, Vec::new(), text)
    })
}

/// Whether the stopped tasks are worth two more calls.
fn suspicious(at: Timestamp, ours: Option<&Deployment>, running: u32, memory: &mut Memory) -> bool {
    /// A task that is pending for longer than this may be one that fails and is started anew.
    const PENDING_MS: u64 = 90_000;
    let Some(ours) = ours else { return false };
    let fell = running < memory.running;
    if running > memory.running || ours.pending_count() == 0 {
        memory.pending_since = None;
    } else {
        memory.pending_since.get_or_insert(at);
    }
    memory.running = memory.running.max(running);
    let stuck =
        memory.pending_since.is_some_and(|since| deploy_core::model::millis(at.since(since)) >= PENDING_MS);
    ours.failed_tasks() > 0 || failed(ours) || fell || stuck
}
