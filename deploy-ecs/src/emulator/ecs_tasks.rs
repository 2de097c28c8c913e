//! Tasks: list, describe, run, stop.

use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use super::cause::Cause;
use super::ecs::{arn_of, cluster, cluster_name, missing, service, set_tags, tags_of};
use super::ecs_definitions;
use super::ecs_services::images;
use super::error::ApiError;
use super::lifecycle::{self, Launch};
use super::params::{Params, last_part, listed, page};
use super::scheduler;
use super::world::World;

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let started_by = params.str("startedBy")?;
    let name = params.str("serviceName")?;
    let family = params.str("family")?;
    if started_by.is_some() && (name.is_some() || family.is_some()) {
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
        .filter(|t| wanted == Some(t.wanted))
        .filter(|t| name.is_none() || t.service.as_deref() == name)
        .filter(|t| started_by.is_none() || t.started_by.as_deref() == started_by)
        .filter(|t| family.is_none_or(|f| t.family == f))
        .filter(|t| launch_type.is_none_or(|l| t.fields.get("launchType").and_then(Value::as_str) == Some(l)))
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
        match known.tasks.get(last_part(name)) {
            Some(t) => found.push(lifecycle::view(t, with_tags.then(|| tags_of(world, &t.arn)).as_ref())),
            None => failures.push(missing(&arn_of(world, &format!("task/{}", known.name), name))),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

pub(super) fn run(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let known = cluster(world, params)?;
    let asked = Value::Object(params.all().clone());
    let token = params.str("clientToken")?;
    if let Some((before, ids)) = token.and_then(|t| known.run_tokens.get(t)) {
        if *before != asked {
            return Err(ApiError::client(
                "ConflictException",
                "The RunTask request could not be processed due to conflicts: the client token was used before.",
            ));
        }
        let tasks = ids.iter().filter_map(|id| known.tasks.get(id));
        return Ok(
            json!({"tasks": tasks.map(|t| lifecycle::view(t, None)).collect::<Vec<_>>(), "failures": []}),
        );
    }
    let number = params.int("count")?.unwrap_or(1);
    if !(1..=10).contains(&number) {
        return Err(ApiError::invalid("count must be between 1 and 10."));
    }
    let definition = ecs_definitions::find_active(world, params.need("taskDefinition")?)?.clone();
    let overrides = params.get("overrides").cloned().unwrap_or_else(|| json!({}));
    let job = check_overrides(&overrides, &definition.fields)?;
    if definition.fields.get("networkMode").and_then(Value::as_str) == Some("awsvpc")
        && params.get("networkConfiguration").is_none()
    {
        return Err(ApiError::invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ));
    }
    let images = images(world, &definition);
    if images.iter().any(|i| i.behaviour == Behaviour::NoCapacity) {
        let failure = json!({
            "arn": known_arn(world, &key),
            "reason": "Capacity is unavailable at this time. Please try again later or in a different availability zone",
        });
        return Ok(json!({"tasks": [], "failures": [failure]}));
    }
    let mut fields = Map::new();
    for name in ["launchType", "platformVersion", "enableExecuteCommand"] {
        if let Some(value) = params.get(name) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    fields.insert("overrides".to_owned(), overrides);
    let started_by = params.str("startedBy")?.map(str::to_owned);
    let group = params.str("group")?.map_or_else(|| format!("family:{}", definition.family), str::to_owned);
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).ok_or_else(ApiError::cluster_not_found)?;
    let ids: Vec<String> = (0..number)
        .map(|_| {
            lifecycle::launch(
                core,
                found,
                Launch {
                    task_definition: &definition.arn,
                    images: &images,
                    started_by: started_by.clone(),
                    service: None,
                    group: group.clone(),
                    target: None,
                    job,
                    fields: fields.clone(),
                },
            )
        })
        .collect();
    if let Some(token) = token {
        found.run_tokens.insert(token.to_owned(), (asked, ids.clone()));
    }
    let made: Vec<(String, Value)> = ids
        .iter()
        .filter_map(|id| found.tasks.get(id))
        .map(|t| (t.arn.clone(), lifecycle::view(t, None)))
        .collect();
    for (arn, _) in &made {
        set_tags(world, arn, params)?;
    }
    let tasks: Vec<Value> = made.into_iter().map(|(_, view)| view).collect();
    Ok(json!({"tasks": tasks, "failures": []}))
}

fn known_arn(world: &World, key: &str) -> Value {
    world.clusters.get(key).map(|c| c.arn.clone()).into()
}

/// Whether the task is a job: somebody told it what to run, so that it ends when that is done.
fn check_overrides(overrides: &Value, fields: &Map<String, Value>) -> Result<bool, ApiError> {
    let containers = fields.get("containerDefinitions").and_then(Value::as_array);
    let overridden = overrides.get("containerOverrides").and_then(Value::as_array);
    let mut job = false;
    for container in overridden.into_iter().flatten() {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let known = |c: &Value| c.get("name").and_then(Value::as_str) == Some(name);
        if !containers.into_iter().flatten().any(known) {
            return Err(ApiError::invalid(format!(
                "Override for container named {name} is not a container in the TaskDefinition."
            )));
        }
        job |= container.get("command").and_then(Value::as_array).is_some_and(|c| !c.is_empty());
    }
    Ok(job)
}

pub(super) fn stop(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    cluster(world, params)?;
    let id = last_part(params.need("task")?).to_owned();
    let reason = params.str("reason")?.unwrap_or_default();
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).ok_or_else(ApiError::cluster_not_found)?;
    let task =
        found.tasks.get_mut(&id).ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
    lifecycle::stop(core, task, Cause::user(reason));
    let view = lifecycle::view(task, None);
    if let Some(service) = task.service.as_ref().and_then(|name| found.services.get_mut(name)) {
        service.steady = false;
        let after = core.config.timings.reconcile_ms;
        scheduler::wake(core, service, after);
    }
    Ok(json!({ "task": view }))
}
