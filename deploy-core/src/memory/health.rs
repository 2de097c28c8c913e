//! One look: from the world's state to an observation. Pure.

use serde_json::Value;

use super::{
    object::{Epoch, Status},
    run::{Run, RunState, changes, outside},
    shape::Shape,
    state::State,
    work::{CONFIRM, DELETE_STUCK, Handle, parse},
};
use crate::{
    error::{EffectState, Error, ErrorKind, Result},
    model::{
        Actor, Blame, Component, Counts, FaultClass, Fingerprint, GateId, Instance, Motion, Observation,
        Permanence, Scope, Signal, StepId, Timestamp,
    },
};

/// The most failed instances that a look names.
const NAMED: u64 = 5;

/// What a component looks like at a time (which lies back where reads are stale). `seen` is the newest deployment
/// of it that this reader knows of: nothing older is believed.
pub(super) fn observe(
    state: &State,
    at: i64,
    began: Timestamp,
    scope: &Scope,
    seen: u64,
) -> Result<(Observation, u64)> {
    let component = scope.component();
    let part = state.index(component)?;
    let object = &state.objects[part];
    let epoch = object.as_of(at);
    let handle: Handle = match scope {
        Scope::Toward { handle, .. } if *handle != Value::Null => parse(handle, "the handle of a look")?,
        _ => Handle::default(),
    };
    let there = state.declared(part, epoch);
    let want = scope.declared().unwrap_or(there);
    let mut look = Observation::new(began, component.clone(), there.clone(), Motion::Done);
    look.look_again_ms = state.options.look_again_ms;

    let newest = handle.sent.as_ref().map_or(0, |sent| sent.deployment).max(seen);
    if state.shape != Shape::Terraform && epoch.deployment < newest {
        // What this reader has seen or done is not there yet, so the rest says nothing either.
        let text = format!("the read of {component} is older than what was seen before");
        return Err(Error::new(ErrorKind::Unavailable, text).effect_as(EffectState::NotApplied));
    }
    if state.shape == Shape::Terraform && component.as_str() == "workspace" {
        workspace(state, scope, &handle, epoch, &mut look);
        return Ok((look, epoch.deployment));
    }
    let status = state.status(epoch, at);
    let ours = there == want;
    look.motion = if ours {
        let at_once = state.shape == Shape::Terraform;
        if status.done || at_once { Motion::Done } else { Motion::Progressing }
    } else {
        elsewhere(state, part, scope, &handle, epoch, &status)
    };
    if state.shape.counts() {
        let desired = state.options.desired;
        look.counts = Some(if ours {
            Counts::new(desired, status.updated, status.healthy, status.old)
        } else {
            Counts::new(desired, 0, 0, status.healthy + status.old)
        });
    }
    if ours && state.shape != Shape::Terraform {
        trouble(state, component, epoch, &status, &mut look);
    }
    Ok((look, epoch.deployment))
}

/// What it means that something else is declared.
fn elsewhere(
    state: &State,
    part: usize,
    scope: &Scope,
    handle: &Handle,
    epoch: &Epoch,
    status: &Status,
) -> Motion {
    let there = state.declared(part, epoch);
    let from = epoch.reverted_from.map(|from| &state.records[from].declared[part]);
    if from.is_some() && from == scope.declared() {
        return Motion::PlatformRevert { to: Some(state.revision(epoch.rev)), ended: status.done };
    }
    // Not there yet, or (going back) our own late write: the driver tells which by what is declared.
    let pending = handle.sent.is_none() || handle.back;
    let toward_blindly = matches!(scope, Scope::Toward { handle: Value::Null, .. }) && epoch.by.is_none();
    if toward_blindly || (pending && handle.ours.contains(there)) {
        return Motion::Progressing;
    }
    foreign(state, epoch)
}

fn foreign(state: &State, epoch: &Epoch) -> Motion {
    Motion::Foreign { revision: Some(state.revision(epoch.rev)), by: epoch.by.clone().map(Actor) }
}

fn trouble(state: &State, component: &Component, epoch: &Epoch, status: &Status, look: &mut Observation) {
    let revision = &state.records[epoch.rev].name;
    if let Some(stuck) = &epoch.stuck {
        let mut instance = Instance::new(stuck, "-", "stuck");
        instance.reason = Some("of the template before; it never became ready, so it is not replaced".into());
        look.instances.push(instance);
        look.remedy = Some(StepId::from(DELETE_STUCK));
    }
    let Some(trouble) = &status.trouble else { return };
    let named = (0..trouble.failures.min(NAMED)).map(|number| {
        let id = format!("{component}-{revision}-{number}");
        let mut instance = Instance::new(id, revision, "failed");
        instance.reason = Some(trouble.text.into());
        instance.exit_code = (trouble.class == FaultClass::Crash).then_some(1);
        instance
    });
    let instances: Vec<Instance> = named.collect();
    look.instances.extend(instances.iter().cloned());
    look.signals.push(Signal::new(
        trouble.class,
        Blame::Release,
        trouble.permanence,
        instances,
        trouble.text,
    ));
}

/// A workspace moves by runs: what the run of the wanted content does is what is seen.
fn workspace(state: &State, scope: &Scope, handle: &Handle, epoch: &Epoch, look: &mut Observation) {
    let want = scope.declared();
    let last = state.objects.len() - 1;
    let of = |run: &&Run| Some(&state.records[run.rev].declared[last]) == want;
    let run = state.runs.iter().rev().find(of);
    let applying = state.runs.iter().any(|run| run.state == RunState::Applying);
    let there = Some(&look.declared) == want;
    if let Some(run) = run {
        look.notes.insert("run".into(), format!("{} {:?}", run.id, run.state));
    }
    let toward = matches!(scope, Scope::Toward { .. });
    look.motion = match run.map(|run| run.state) {
        // The gate's matter is settled once the run is past it.
        Some(RunState::Applying | RunState::Applied | RunState::Unchanged) if handle.gate.is_some() => {
            Motion::Done
        }
        Some(RunState::Planned) if toward => Motion::Waiting(GateId::from(CONFIRM)),
        Some(RunState::Pending | RunState::Planning | RunState::Applying) if toward => Motion::Progressing,
        _ if there && !applying => Motion::Done,
        _ if applying || (toward && handle.ours.contains(&look.declared)) => Motion::Progressing,
        _ => foreign(state, epoch),
    };
    let Some(run) = run else { return };
    match run.state {
        RunState::Planned => {
            let spec = |rev: usize| &state.records[rev].spec;
            let mut made = changes(spec(epoch.rev), spec(run.rev));
            made.extend(state.drift.clone());
            let all: Vec<&str> = made.keys().map(String::as_str).collect();
            look.notes.insert("changes".into(), all.join(", "));
            if let Some(allowed) = &handle.allowed {
                let unplanned = outside(&made, allowed);
                let fits = if unplanned.is_empty() { "yes" } else { "no" };
                look.notes.insert("fits".into(), fits.into());
            }
        }
        RunState::Errored if toward && !there => ended(run, "the run failed", look),
        RunState::Discarded if toward && !there => ended(run, "someone discarded the run", look),
        RunState::Superseded if toward && !there && !handle.back => {
            look.motion = Motion::Foreign { revision: None, by: None };
        }
        _ => {}
    }
}

fn ended(run: &Run, text: &str, look: &mut Observation) {
    let mut instance = Instance::new(format!("run-{}", run.id), "-", "ended");
    instance.reason = Some(text.into());
    let (class, blame) = (FaultClass::Rejected, Blame::Release);
    look.signals.push(Signal::new(class, blame, Permanence::Permanent, vec![instance], text));
}

/// Whether everything stands still and nothing is in trouble.
pub(super) fn steady(state: &State, at: i64) -> (bool, Option<Counts>) {
    let (mut steady, mut counts) = (true, None);
    for object in &state.objects {
        let status = state.status(object.as_of(at), at);
        steady &= status.trouble.is_none() && (status.done || state.shape == Shape::Terraform);
        if state.shape.counts() {
            let desired = state.options.desired;
            counts = Some(Counts::new(desired, status.updated, status.healthy, status.old));
        }
    }
    let moving = |run: &Run| run.state.is_open() || run.state == RunState::Applying;
    (steady && !state.runs.iter().any(moving), counts)
}

/// Which fingerprint is declared in which component: for a snapshot.
pub(super) fn standing(state: &State, at: i64) -> (Vec<usize>, Vec<(Component, Fingerprint, u64)>) {
    let epochs: Vec<&Epoch> = state.objects.iter().map(|object| object.as_of(at)).collect();
    let revs = epochs.iter().map(|epoch| epoch.rev).collect();
    let parts = state.objects.iter().zip(&epochs).enumerate().map(|(part, (object, epoch))| {
        (object.component.clone(), state.declared(part, epoch).clone(), epoch.deployment)
    });
    (revs, parts.collect())
}
