//! Task definitions: kept as they were given, fields of tomorrow included.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::ecs_tags::{given_tags, set_tags, tags_of};
use super::error::ApiError;
use super::lifecycle::fill;
use super::params::{Params, count, last_part, listed, page, time};
use super::state::{DefinitionStatus, TaskDefinition};
use super::world::World;

pub(super) fn register(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let family = params.str("family")?.unwrap_or_default();
    if family.is_empty() || !family.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(ApiError::client_exception("Family contains invalid characters or is empty."));
    }
    check_containers(params.list("containerDefinitions")?)?;
    check_fargate(params)?;
    let tags = given_tags(params)?;
    let mut fields = params.all().clone();
    for key in ["tags", "family"] {
        fields.remove(key);
    }
    echo_defaults(&mut fields);
    let revisions = world.core.families.entry(family.to_owned()).or_default();
    let revision = count(revisions.len()) + 1;
    let arn = world.core.config.arn(&format!("task-definition/{family}:{revision}"));
    revisions.push(TaskDefinition {
        arn: arn.clone(),
        family: family.to_owned(),
        revision,
        status: DefinitionStatus::Active,
        registered_at: world.core.now,
        deregistered_at: None,
        delete_requested_at: None,
        fields,
    });
    set_tags(world, &arn, tags);
    answer(world, &arn, true)
}

fn check_containers(containers: &[Value]) -> Result<(), ApiError> {
    if containers.is_empty() {
        return Err(ApiError::client_exception("Container list cannot be empty."));
    }
    let mut names = BTreeSet::new();
    for container in containers {
        let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("name").is_empty() {
            return Err(ApiError::client_exception("Container.name contains invalid characters."));
        }
        if text("image").is_empty() {
            return Err(ApiError::client_exception("Container.image should not be null or empty."));
        }
        if !names.insert(text("name").to_owned()) {
            return Err(ApiError::client_exception(
                "Container.name must be unique within a task definition.",
            ));
        }
    }
    let essential = |c: &Value| c.get("essential").and_then(Value::as_bool).unwrap_or(true);
    if containers.iter().any(essential) {
        Ok(())
    } else {
        Err(ApiError::client_exception("At least one essential container is required."))
    }
}

/// Fargate has to know network mode and size beforehand.
fn check_fargate(params: Params<'_>) -> Result<(), ApiError> {
    if !params.strings("requiresCompatibilities")?.contains(&"FARGATE") {
        return Ok(());
    }
    if params.str("networkMode")? != Some("awsvpc") {
        return Err(ApiError::client_exception("Fargate only supports network mode 'awsvpc'."));
    }
    for key in ["cpu", "memory"] {
        if params.str(key)?.is_none_or(str::is_empty) {
            return Err(ApiError::client_exception(format!(
                "Fargate requires that '{key}' be defined at the task level."
            )));
        }
    }
    Ok(())
}

/// What ECS adds to every registered definition: a client that compares must see it.
fn echo_defaults(fields: &mut Map<String, Value>) {
    for key in ["volumes", "placementConstraints"] {
        fields.entry(key).or_insert_with(|| json!([]));
    }
    let Some(containers) = fields.get_mut("containerDefinitions").and_then(Value::as_array_mut) else {
        return;
    };
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        for key in ["environment", "mountPoints", "volumesFrom", "portMappings", "systemControls"] {
            container.entry(key).or_insert_with(|| json!([]));
        }
        for port in container.get_mut("portMappings").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.entry("protocol").or_insert_with(|| json!("tcp"));
            }
        }
        container.entry("cpu").or_insert_with(|| json!(0));
        container.entry("essential").or_insert_with(|| json!(true));
    }
}

fn answer(world: &World, arn: &str, with_tags: bool) -> Result<Value, ApiError> {
    let definition = world.core.task_definition(arn).ok_or_else(unknown)?;
    let mut answer = json!({"taskDefinition": view(world, definition)});
    if with_tags {
        answer["tags"] = tags_of(world, arn);
    }
    Ok(answer)
}

fn unknown() -> ApiError {
    ApiError::client_exception("Unable to describe task definition.")
}

fn view(world: &World, definition: &TaskDefinition) -> Value {
    let fargate = definition.fields.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    let mut view = Value::Object(definition.fields.clone());
    let own = json!({
        "taskDefinitionArn": definition.arn,
        "family": definition.family,
        "revision": definition.revision,
        "status": definition.status,
        "registeredAt": time(definition.registered_at),
        "registeredBy": world.core.config.caller_arn(),
        "compatibilities": if fargate { json!(["EC2", "FARGATE"]) } else { json!(["EC2"]) },
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
    }
    fill(&mut view, "deregisteredAt", definition.deregistered_at.map(time));
    fill(&mut view, "deleteRequestedAt", definition.delete_requested_at.map(time));
    view
}

/// The definition that `family`, `family:revision` or an ARN means. A family means its newest active revision.
pub(super) fn find<'a>(world: &'a World, name: &str) -> Option<&'a TaskDefinition> {
    let short = last_part(name);
    if short.contains(':') {
        return world.core.task_definition(short).filter(|d| !name.starts_with("arn:") || d.arn == name);
    }
    world.core.families.get(short)?.iter().rev().find(|d| d.status == DefinitionStatus::Active)
}

/// The definition for something new: it must be there and active.
pub(super) fn find_active<'a>(world: &'a World, name: &str) -> Result<&'a TaskDefinition, ApiError> {
    let found = find(world, name).ok_or_else(|| ApiError::client_exception("TaskDefinition not found."))?;
    if found.status == DefinitionStatus::Active {
        Ok(found)
    } else {
        Err(ApiError::client_exception("TaskDefinition is inactive"))
    }
}

pub(super) fn describe(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = find(world, params.need("taskDefinition")?).ok_or_else(unknown)?.arn.clone();
    answer(world, &arn, params.includes("TAGS")?)
}

/// A definition to be changed.
fn find_mut<'a>(world: &'a mut World, arn: &str) -> Option<&'a mut TaskDefinition> {
    let (family, _) = last_part(arn).rsplit_once(':')?;
    world.core.families.get_mut(family)?.iter_mut().find(|d| d.arn == arn)
}

pub(super) fn deregister(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = params.need("taskDefinition")?;
    if !last_part(name).contains(':') {
        return Err(ApiError::client_exception("Invalid revision number. Number: null"));
    }
    let gone = || ApiError::client_exception("The specified task definition does not exist.");
    let arn = find(world, name).ok_or_else(gone)?.arn.clone();
    let now = world.core.now;
    let definition = find_mut(world, &arn).ok_or_else(gone)?;
    if definition.status == DefinitionStatus::Active {
        definition.status = DefinitionStatus::Inactive;
        definition.deregistered_at = Some(now);
    }
    answer(world, &arn, false)
}

pub(super) fn delete(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let names = params.up_to("taskDefinitions", 10)?;
    if names.is_empty() {
        return Err(ApiError::invalid("Task definitions cannot be empty."));
    }
    let now = world.core.now;
    let (mut arns, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let found = find(world, name).filter(|_| last_part(name).contains(':')).map(|d| d.arn.clone());
        let arn = super::ecs::arn_of(world, "task-definition", name);
        let reason = match found.as_ref().and_then(|found| find_mut(world, found)) {
            None => {
                "The specified task definition does not exist. Specify a valid account, family, revision and try again."
            }
            Some(definition) if definition.status == DefinitionStatus::Active => {
                "The specified task definition is still in ACTIVE status. Please deregister the target and try again."
            }
            Some(definition) => {
                definition.status = DefinitionStatus::DeleteInProgress;
                definition.delete_requested_at.get_or_insert(now);
                arns.push(definition.arn.clone());
                continue;
            }
        };
        failures.push(json!({"arn": arn, "reason": reason}));
    }
    let deleted = arns.iter().filter_map(|arn| world.core.task_definition(arn));
    let deleted: Vec<Value> = deleted.map(|definition| view(world, definition)).collect();
    Ok(json!({"taskDefinitions": deleted, "failures": failures}))
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let family = params.str("familyPrefix")?;
    let status = params.str("status")?.unwrap_or("ACTIVE");
    let mut arns: Vec<Value> = world
        .core
        .families
        .iter()
        // The parameter is called a prefix, and is the whole name of the family.
        .filter(|(name, _)| family.is_none_or(|f| f == *name))
        .flat_map(|(_, revisions)| revisions)
        .filter(|d| json!(d.status) == status)
        .map(|d| d.arn.clone().into())
        .collect();
    if params.str("sort")? == Some("DESC") {
        arns.reverse();
    }
    let (arns, token) = page(arns, params, 100, 100)?;
    Ok(listed("taskDefinitionArns", arns, token))
}

pub(super) fn list_families(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let prefix = params.str("familyPrefix")?.unwrap_or("");
    let status = params.str("status")?.unwrap_or("ACTIVE");
    let names: Vec<Value> = world
        .core
        .families
        .iter()
        .filter(|(name, revisions)| {
            let active = revisions.iter().any(|d| d.status == DefinitionStatus::Active);
            name.starts_with(prefix) && (status == "ALL" || active == (status == "ACTIVE"))
        })
        .map(|(name, _)| name.clone().into())
        .collect();
    let (names, token) = page(names, params, 100, 100)?;
    Ok(listed("families", names, token))
}
