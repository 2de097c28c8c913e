//! Why a task stopped, and whose fault that is. ECS's texts vary by platform version, so parts of them are matched and
//! the raw text is kept.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{Task, TaskStopCode};
use deploy_core::model::{Blame, FaultClass, Instance, Permanence, Signal};

use crate::definition::name_of;

/// One task's trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) class: FaultClass,
    pub(crate) blame: Blame,
    pub(crate) permanence: Permanence,
    /// The container that decided.
    pub(crate) container: Option<String>,
}

/// The last part of a task's ARN.
pub(crate) fn task_id(task: &Task) -> &str {
    task.task_arn().map_or("", |arn| arn.rsplit_once('/').map_or(arn, |(_, id)| id))
}

/// The trouble of a stopped task; `None` if it was stopped in the normal course.
pub(crate) fn fault_of(task: &Task) -> Option<(Fault, Instance)> {
    let stopped = task.stopped_reason().unwrap_or("");
    // The container that ended first with something to say: the others were stopped because of it.
    let culprit = task
        .containers()
        .iter()
        .find(|container| container.reason().is_some())
        .or_else(|| task.containers().iter().find(|one| !matches!(one.exit_code(), None | Some(0 | 143))))
        .or_else(|| task.containers().iter().find(|one| one.exit_code().is_some()));
    let reason = culprit.and_then(|container| container.reason()).unwrap_or("");
    let exit_code = culprit.and_then(|container| container.exit_code());
    let (class, blame, permanence) = classify(task.stop_code(), stopped, reason, exit_code)?;
    let container = culprit.and_then(|container| container.name()).map(str::to_owned);
    let mut instance =
        Instance::new(task_id(task), name_of(task.task_definition_arn().unwrap_or("")), "STOPPED");
    instance.exit_code = exit_code;
    instance.reason = Some(if reason.is_empty() || stopped.contains(reason) {
        stopped.to_owned()
    } else {
        format!("{stopped}: {reason}")
    });
    Some((Fault { class, blame, permanence, container }, instance))
}

fn classify(
    code: Option<&TaskStopCode>,
    stopped: &str,
    reason: &str,
    exit_code: Option<i32>,
) -> Option<(FaultClass, Blame, Permanence)> {
    use {Blame::*, FaultClass::*, Permanence::*};
    let both = format!("{stopped}\n{reason}");
    let has = |words: &[&str]| words.iter().any(|word| both.contains(word));
    // What people, schedulers and machines do is told first: their texts may quote anything.
    match code {
        Some(
            TaskStopCode::SpotInterruption
            | TaskStopCode::TerminationNotice
            | TaskStopCode::InfrastructureHealth,
        ) => {
            return Some((Infrastructure, Platform, Transient));
        }
        Some(TaskStopCode::UserInitiated) => return Some((Other, Platform, Transient)),
        Some(TaskStopCode::ServiceSchedulerInitiated) => {
            return has(&["health checks", "health check"]).then_some((Unhealthy, Release, Recurring));
        }
        _ if stopped.starts_with("Scaling activity initiated by") => return None,
        _ => {}
    }
    // "No route", "too many requests": the same release starts once that has passed.
    let passes = has(&[
        "i/o timeout",
        "toomanyrequests",
        "Too Many Requests",
        "TLS handshake timeout",
        "connection reset",
        "context deadline exceeded",
        "connection issue",
        "Client.Timeout",
        "TimeoutError",
        "RequestError",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ]);
    let refused = has(&[
        "AccessDenied",
        "is not authorized",
        "ResourceNotFound",
        "can't find the specified",
        "not found",
        "does not exist",
        "invalid",
    ]);
    let fault = if has(&["CannotPull"]) {
        if passes { (Image, Platform, Transient) } else { (Image, Release, Permanent) }
    } else if has(&["CannotStartContainer", "CannotCreateContainer", "ContainerRuntimeError"]) {
        if passes { (Start, Unknown, Transient) } else { (Start, Release, Permanent) }
    } else if has(&["OutOfMemory"]) {
        (OutOfMemory, Release, Recurring)
    } else if has(&["ResourceInitializationError"]) {
        match (refused, passes) {
            (_, true) if !has(&["AccessDenied", "ResourceNotFound"]) => (Resources, Unknown, Transient),
            (true, _) => (Resources, Release, Permanent),
            _ => (Resources, Release, Recurring),
        }
    } else if has(&["RESOURCE:", "Capacity is unavailable", "capacity", "insufficient"]) {
        (Capacity, Platform, Transient)
    } else if has(&[
        "network interface",
        "Host EC2",
        "instance was stopped",
        "Internal Error",
        "unexpected EC2 error",
    ]) {
        (Infrastructure, Platform, Transient)
    } else if has(&["failed ELB health checks", "failed container health checks"]) {
        (Unhealthy, Release, Recurring)
    } else {
        match (code, exit_code) {
            // Ended by SIGTERM that nobody of ours sent.
            (Some(TaskStopCode::EssentialContainerExited), Some(143)) => (Crash, Unknown, Recurring),
            (Some(TaskStopCode::EssentialContainerExited), _) => (Crash, Release, Recurring),
            (Some(TaskStopCode::TaskFailedToStart), _) => (Start, Release, Recurring),
            _ => (Other, Unknown, Recurring),
        }
    };
    Some(fault)
}

/// The troubles seen so far, one signal per kind, with every instance that showed it.
pub(crate) fn signals(
    faults: &BTreeMap<String, (Fault, Instance)>,
    logs: &BTreeMap<String, Vec<String>>,
) -> Vec<Signal> {
    let mut signals: Vec<Signal> = Vec::new();
    for (task, (fault, instance)) in faults {
        let same = |one: &&mut Signal| {
            (one.class, one.blame, one.permanence) == (fault.class, fault.blame, fault.permanence)
        };
        if let Some(signal) = signals.iter_mut().find(same) {
            signal.instances.push(instance.clone());
        } else {
            let text = text(fault, instance);
            signals.push(Signal::new(
                fault.class,
                fault.blame,
                fault.permanence,
                vec![instance.clone()],
                text,
            ));
        }
        if let (Some(signal), Some(lines)) = (signals.iter_mut().find(same), logs.get(task))
            && signal.log.is_empty()
        {
            signal.log.clone_from(lines);
        }
    }
    signals
}

fn text(fault: &Fault, instance: &Instance) -> String {
    let reason = instance.reason.as_deref().unwrap_or("no reason given");
    match (fault.class, &fault.container, instance.exit_code) {
        (FaultClass::Crash, Some(container), Some(code)) => {
            format!("container {container} exits {code}: {reason}")
        }
        (FaultClass::OutOfMemory, Some(container), _) => {
            format!("container {container} is killed for its memory: {reason}")
        }
        _ => reason.to_owned(),
    }
}

/// What a service event says that is not the normal course, if it is one of those.
pub(crate) fn event_signal(message: &str) -> Option<Signal> {
    let (class, blame, permanence) = if message.contains("was unable to place a task") {
        (FaultClass::Capacity, Blame::Platform, Permanence::Transient)
    } else if message.contains("is unable to consistently start tasks successfully") {
        // The scheduler backs off. Whose fault it is, the tasks tell.
        (FaultClass::Start, Blame::Unknown, Permanence::Recurring)
    } else if message.contains("is unhealthy in") {
        // Comes before the task is killed, and does not say whether it is one of the new ones.
        (FaultClass::Unhealthy, Blame::Unknown, Permanence::Recurring)
    } else if message.contains("rolling back") || message.contains("deployment failed") {
        (FaultClass::Rejected, Blame::Unknown, Permanence::Recurring)
    } else {
        return None;
    };
    Some(Signal::new(class, blame, permanence, Vec::new(), message))
}
