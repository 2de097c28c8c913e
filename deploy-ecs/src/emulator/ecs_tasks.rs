//! Tasks: list, describe, stop.

use serde_json::{Value, json};

use super::cause::Cause;
use super::ecs::{arn_of, cluster, cluster_name, missing, own_account, service};
use super::ecs_tags::tags_of;
use super::error::ApiError;
use super::lifecycle;
use super::params::{Params, last_part, listed, page};
use super::scheduler;
use super::state::{Cluster, Task};
use super::task_view::view;
use super::world::World;

/// A task by its id or ARN. An ARN of another cluster is not found here.
fn find<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a Task> {
    cluster.tasks.get(last_part(name)).filter(|t| !name.starts_with("arn:") || t.arn == name)
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let started_by = params.str("startedBy")?;
    let name = params.str("serviceName")?;
    let family = params.str("family")?;
    let instance = params.str("containerInstance")?;
    if started_by.is_some() && (name.is_some() || family.is_some() || instance.is_some()) {
        return Err(ApiError::invalid("startedBy cannot be combined with other filters."));
    }
    let name = match name {
        Some(name) => Some(service(known, name).ok_or_else(ApiError::service_not_found)?.name.as_str()),
        None => None,
    };
    let wanted = match params.str("desiredStatus")?.unwrap_or("RUNNING") {
        "RUNNING" => Some(true),
        "STOPPED" => Some(false),
        // Documented: ECS never sets the desired status of a task to PENDING.
        "PENDING" => None,
        other => return Err(ApiError::invalid(format!("Invalid desiredStatus {other}."))),
    };
    let launch_type = params.str("launchType")?;
    let arns: Vec<Value> = known
        .tasks
        .values()
        // No task runs on a container instance here.
        .filter(|t| wanted == Some(t.wanted) && instance.is_none())
        .filter(|t| name.is_none() || t.service.as_deref() == name)
        .filter(|t| started_by.is_none() || t.started_by.as_deref() == started_by)
        .filter(|t| family.is_none_or(|f| t.family == f))
        .filter(|t| {
            let launched = t.fields.get("launchType").and_then(Value::as_str).unwrap_or("EC2");
            launch_type.is_none_or(|l| launched == l)
        })
        .map(|t| t.arn.clone().into())
        .collect();
    let (arns, token) = page(arns, params, 100, 100)?;
    Ok(listed("taskArns", arns, token))
}

pub(super) fn describe(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let names = params.up_to("tasks", 100)?;
    if names.is_empty() {
        return Err(ApiError::invalid("Tasks cannot be empty."));
    }
    let with_tags = params.includes("TAGS")?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        own_account(world, name)?;
        match find(known, name) {
            Some(t) => found.push(view(t, with_tags.then(|| tags_of(world, &t.arn)).as_ref())),
            None => failures.push(missing(&arn_of(world, &format!("task/{}", known.name), name))),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

pub(super) fn stop(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let name = params.need("task")?;
    let absent = || ApiError::invalid("The referenced task was not found.");
    let id = find(cluster(world, params)?, name).ok_or_else(absent)?.id.clone();
    let reason = params.str("reason")?.unwrap_or_default();
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).ok_or_else(ApiError::cluster_not_found)?;
    let task = found.tasks.get_mut(&id).ok_or_else(absent)?;
    lifecycle::stop(core, task, Cause::user(reason));
    let view = view(task, None);
    if let Some(service) = task.service.as_ref().and_then(|name| found.services.get_mut(name)) {
        service.steady = false;
        let after = core.config.timings.reconcile_ms;
        scheduler::wake(core, service, after);
    }
    Ok(json!({ "task": view }))
}
