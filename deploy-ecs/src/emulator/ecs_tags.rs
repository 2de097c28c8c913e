//! Tags of clusters, services, tasks and task definitions.

use serde_json::{Map, Value, json};

use super::core::Core;
use super::ecs::own_account;
use super::error::ApiError;
use super::params::Params;
use super::state::Service;
use super::world::World;

/// Tags that one resource may have.
const TAGS: usize = 50;
/// The longest key and the longest value.
const KEY: usize = 128;
const VALUE: usize = 256;

/// A resource's tags as the API lists them.
pub(super) fn tags_of(world: &World, arn: &str) -> Value {
    let tags = world.core.tags.get(arn).into_iter().flatten();
    tags.map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// The `tags` of a request. Read before anything is made, so that bad ones leave nothing behind.
pub(super) fn given_tags(params: Params<'_>) -> Result<Vec<(String, String)>, ApiError> {
    let tags = params.list("tags")?;
    if tags.len() > TAGS {
        return Err(ApiError::invalid(format!("A resource cannot have more than {TAGS} tags.")));
    }
    tags.iter()
        .map(|tag| {
            let text = |k: &str| tag.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (key, value) = (text("key"), text("value"));
            if key.is_empty() || key.chars().count() > KEY {
                return Err(ApiError::invalid(format!("A tag's key must have 1 to {KEY} characters.")));
            }
            if value.chars().count() > VALUE {
                return Err(ApiError::invalid(format!(
                    "A tag's value cannot have more than {VALUE} characters."
                )));
            }
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(ApiError::invalid("Tag keys that begin with aws: are reserved."));
            }
            Ok((key, value))
        })
        .collect()
}

/// Adds tags to a resource.
pub(super) fn set_tags(world: &mut World, arn: &str, tags: impl IntoIterator<Item = (String, String)>) {
    let mut tags = tags.into_iter().peekable();
    if tags.peek().is_some() {
        world.core.tags.entry(arn.to_owned()).or_default().extend(tags);
    }
}

/// What a new task is tagged with: what its service or definition passes on, and ECS's own tags if they are wanted.
pub(super) fn launch_tags(
    core: &Core,
    settings: &Map<String, Value>,
    definition: &str,
    cluster: &str,
    service: Option<&Service>,
) -> Vec<(String, String)> {
    let source = match settings.get("propagateTags").and_then(Value::as_str) {
        Some("TASK_DEFINITION") => Some(definition),
        Some("SERVICE") => service.map(|s| s.arn.as_str()),
        _ => None,
    };
    let passed = source.and_then(|arn| core.tags.get(arn)).into_iter().flatten();
    let mut tags: Vec<(String, String)> = passed.map(|(k, v)| (k.clone(), v.clone())).collect();
    if settings.get("enableECSManagedTags").and_then(Value::as_bool) == Some(true) {
        tags.push(("aws:ecs:clusterName".to_owned(), cluster.to_owned()));
        tags.extend(service.map(|s| ("aws:ecs:serviceName".to_owned(), s.name.clone())));
    }
    tags
}

/// `absent`: what the action says about a resource that is not there.
fn exists(world: &World, arn: &str, absent: &str) -> Result<(), ApiError> {
    own_account(world, arn)?;
    let prefix = world.core.config.arn("");
    let Some(name) = arn.strip_prefix(&prefix) else {
        return Err(ApiError::invalid("The resource ARN is not valid."));
    };
    let parts: Vec<&str> = name.split('/').collect();
    let cluster = |name: &str| world.clusters.get(name);
    let there = match parts[..] {
        ["cluster", name] => return cluster(name).map(drop).ok_or_else(ApiError::cluster_not_found),
        ["service", of, name] => cluster(of).is_some_and(|c| c.services.contains_key(name)),
        ["task", of, id] => cluster(of).is_some_and(|c| c.tasks.contains_key(id)),
        ["task-definition", name] => world.core.task_definition(name).is_some(),
        _ => false,
    };
    if there { Ok(()) } else { Err(ApiError::client(absent, "The specified resource could not be found.")) }
}

pub(super) fn tag(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = params.need("resourceArn")?;
    exists(world, arn, "ResourceNotFoundException")?;
    let tags = given_tags(params)?;
    set_tags(world, arn, tags);
    Ok(json!({}))
}

pub(super) fn untag(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = params.need("resourceArn")?;
    exists(world, arn, "ResourceNotFoundException")?;
    let keys = params.strings("tagKeys")?;
    if let Some(tags) = world.core.tags.get_mut(arn) {
        tags.retain(|key, _| !keys.contains(&key.as_str()));
    }
    Ok(json!({}))
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = params.need("resourceArn")?;
    exists(world, arn, "InvalidParameterException")?;
    Ok(json!({"tags": tags_of(world, arn)}))
}
