//! The actions of ECS: which there are, and how they find what they are about.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::params::{Params, last_part, listed, page};
use super::state::{Cluster, Service, ServiceStatus};
use super::world::World;
use super::{ecs_definitions, ecs_deployments, ecs_services, ecs_tasks};

pub(super) fn call(world: &mut World, action: &str, params: Params<'_>) -> Result<Value, ApiError> {
    match action {
        "CreateCluster" => create_cluster(world, params),
        "DescribeClusters" => describe_clusters(world, params),
        "ListClusters" => {
            let arns: Vec<Value> =
                world.clusters.values().filter(|c| c.active).map(|c| c.arn.clone().into()).collect();
            let (arns, token) = page(arns, params, 100, 100)?;
            Ok(listed("clusterArns", arns, token))
        }
        "DeleteCluster" => delete_cluster(world, params),
        "RegisterTaskDefinition" => ecs_definitions::register(world, params),
        "DescribeTaskDefinition" => ecs_definitions::describe(world, params),
        "ListTaskDefinitions" => ecs_definitions::list(world, params),
        "ListTaskDefinitionFamilies" => ecs_definitions::list_families(world, params),
        "DeregisterTaskDefinition" => ecs_definitions::deregister(world, params),
        "CreateService" => ecs_services::create(world, params),
        "UpdateService" => ecs_services::update(world, params),
        "DescribeServices" => ecs_services::describe(world, params),
        "ListServices" => ecs_services::list(world, params),
        "DeleteService" => ecs_services::delete(world, params),
        "ListTasks" => ecs_tasks::list(world, params),
        "DescribeTasks" => ecs_tasks::describe(world, params),
        "RunTask" => ecs_tasks::run(world, params),
        "StopTask" => ecs_tasks::stop(world, params),
        "ListServiceDeployments" => ecs_deployments::list(world, params),
        "DescribeServiceDeployments" => ecs_deployments::describe(world, params),
        "DescribeServiceRevisions" => ecs_deployments::describe_revisions(world, params),
        "StopServiceDeployment" => ecs_deployments::stop(world, params),
        "TagResource" => tag(world, params),
        "UntagResource" => untag(world, params),
        "ListTagsForResource" => {
            let tags = tags_of(world, params.need("resourceArn")?);
            Ok(json!({ "tags": tags }))
        }
        _ => Err(ApiError::unknown_operation(action)),
    }
}

/// The task definition that the service of an update runs before it.
pub(super) fn runs(world: &World, action: &str, params: Params<'_>) -> Option<String> {
    if action != "UpdateService" {
        return None;
    }
    let found = service(cluster(world, params).ok()?, params.str("service").ok()??)?;
    Some(found.task_definition.clone())
}

/// The key of the cluster that a request is about.
pub(super) fn cluster_name(params: Params<'_>) -> Result<&str, ApiError> {
    Ok(last_part(params.str("cluster")?.filter(|c| !c.is_empty()).unwrap_or("default")))
}

pub(super) fn cluster<'a>(world: &'a World, params: Params<'_>) -> Result<&'a Cluster, ApiError> {
    let found = world.clusters.get(cluster_name(params)?).filter(|c| c.active);
    found.ok_or_else(ApiError::cluster_not_found)
}

/// A service by its name or ARN. An ARN of another cluster is not found here.
pub(super) fn service<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a Service> {
    let service = cluster.services.get(last_part(name))?;
    (!name.starts_with("arn:") || name == service.arn || name.matches('/').count() == 1).then_some(service)
}

/// The name of an active service, or the error that an action on it gives.
pub(super) fn active_service(cluster: &Cluster, name: &str) -> Result<String, ApiError> {
    let found = service(cluster, name).ok_or_else(ApiError::service_not_found)?;
    if found.status == ServiceStatus::Active {
        Ok(found.name.clone())
    } else {
        Err(ApiError::service_not_active())
    }
}

fn create_cluster(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = params.str("clusterName")?.unwrap_or("default");
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(ApiError::invalid("Invalid cluster name."));
    }
    let arn = world.core.config.arn(&format!("cluster/{name}"));
    if !world.clusters.get(name).is_some_and(|c| c.active) {
        let mut settings = params.all().clone();
        for key in ["clusterName", "tags"] {
            settings.remove(key);
        }
        world.clusters.insert(
            name.to_owned(),
            Cluster {
                name: name.to_owned(),
                arn: arn.clone(),
                active: true,
                settings,
                services: Default::default(),
                tasks: Default::default(),
                run_tokens: Default::default(),
            },
        );
    }
    set_tags(world, &arn, params)?;
    let view = world.clusters.get(name).map(|c| cluster_view(c, Some(tags_of(world, &arn))));
    Ok(json!({ "cluster": view }))
}

fn cluster_view(cluster: &Cluster, tags: Option<Value>) -> Value {
    let running = cluster.tasks.values().filter(|t| t.running()).count();
    let pending = cluster.tasks.values().filter(|t| t.starting()).count();
    let active = cluster.services.values().filter(|s| s.status == ServiceStatus::Active).count();
    let mut view = Value::Object(cluster.settings.clone());
    let own = json!({
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": active,
        "statistics": [],
        "tags": tags.unwrap_or_else(|| json!([])),
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
        for key in ["settings", "capacityProviders", "defaultCapacityProviderStrategy"] {
            view.entry(key).or_insert_with(|| json!([]));
        }
    }
    view
}

fn describe_clusters(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let mut names = params.up_to("clusters", 100)?;
    if names.is_empty() {
        names.push("default");
    }
    let with_tags = params.includes("TAGS")?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match world.clusters.get(last_part(name)) {
            Some(c) => found.push(cluster_view(c, with_tags.then(|| tags_of(world, &c.arn)))),
            None => failures.push(missing(&arn_of(world, "cluster", name))),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

fn delete_cluster(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = last_part(params.need("cluster")?);
    let found = world.clusters.get_mut(name).filter(|c| c.active).ok_or_else(ApiError::cluster_not_found)?;
    if found.services.values().any(|s| s.status != ServiceStatus::Inactive) {
        return Err(ApiError::client(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    if found.tasks.values().any(|t| t.wanted || t.remains()) {
        return Err(ApiError::client(
            "ClusterContainsTasksException",
            "The Cluster cannot be deleted while Tasks are active.",
        ));
    }
    found.active = false;
    Ok(json!({"cluster": cluster_view(found, None)}))
}

/// A name or ARN as the ARN that a failure names.
pub(super) fn arn_of(world: &World, kind: &str, name: &str) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { world.core.config.arn(&format!("{kind}/{name}")) }
}

pub(super) fn missing(arn: &str) -> Value {
    json!({"arn": arn, "reason": "MISSING"})
}

/// A resource's tags as the API lists them.
pub(super) fn tags_of(world: &World, arn: &str) -> Value {
    let tags = world.core.tags.get(arn).into_iter().flatten();
    tags.map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// Adds the `tags` of a request to a resource.
pub(super) fn set_tags(world: &mut World, arn: &str, params: Params<'_>) -> Result<(), ApiError> {
    let tags = params.list("tags")?;
    if tags.is_empty() {
        return Ok(());
    }
    let stored = world.core.tags.entry(arn.to_owned()).or_default();
    for tag in tags {
        let empty = Map::new();
        let tag = tag.as_object().unwrap_or(&empty);
        let text = |k: &str| tag.get(k).and_then(Value::as_str).map(str::to_owned);
        let key = text("key").ok_or_else(|| ApiError::invalid("Tag key can not be blank."))?;
        stored.insert(key, text("value").unwrap_or_default());
    }
    Ok(())
}

fn tag(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = params.need("resourceArn")?.to_owned();
    set_tags(world, &arn, params)?;
    Ok(json!({}))
}

fn untag(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let keys = params.strings("tagKeys")?;
    if let Some(tags) = world.core.tags.get_mut(params.need("resourceArn")?) {
        tags.retain(|key, _| !keys.contains(&key.as_str()));
    }
    Ok(json!({}))
}
