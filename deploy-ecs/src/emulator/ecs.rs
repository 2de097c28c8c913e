//! The actions of ECS: which there are, and how they find what they are about.

use serde_json::{Value, json};

use super::error::ApiError;
use super::params::{Params, last_part};
use super::state::{Cluster, Service, ServiceStatus};
use super::world::World;
use super::{
    ecs_clusters, ecs_definitions, ecs_deployments, ecs_run_task, ecs_services, ecs_tags, ecs_tasks,
};

pub(super) fn call(world: &mut World, action: &str, params: Params<'_>) -> Result<Value, ApiError> {
    match action {
        "CreateCluster" => ecs_clusters::create(world, params),
        "DescribeClusters" => ecs_clusters::describe(world, params),
        "ListClusters" => ecs_clusters::list(world, params),
        "UpdateCluster" | "UpdateClusterSettings" | "PutClusterCapacityProviders" => {
            ecs_clusters::update(world, params)
        }
        "DeleteCluster" => ecs_clusters::delete(world, params),
        "ListContainerInstances" => ecs_clusters::list_instances(world, params),
        "DescribeContainerInstances" => ecs_clusters::describe_instances(world, params),
        "DescribeCapacityProviders" => ecs_clusters::describe_providers(world, params),
        "ListAccountSettings" => ecs_clusters::account_settings(world, params),
        "RegisterTaskDefinition" => ecs_definitions::register(world, params),
        "DescribeTaskDefinition" => ecs_definitions::describe(world, params),
        "ListTaskDefinitions" => ecs_definitions::list(world, params),
        "ListTaskDefinitionFamilies" => ecs_definitions::list_families(world, params),
        "DeregisterTaskDefinition" => ecs_definitions::deregister(world, params),
        "DeleteTaskDefinitions" => ecs_definitions::delete(world, params),
        "CreateService" => ecs_services::create(world, params),
        "UpdateService" => ecs_services::update(world, params),
        "DescribeServices" => ecs_services::describe(world, params),
        "ListServices" => ecs_services::list(world, params),
        "DeleteService" => ecs_services::delete(world, params),
        "ListTasks" => ecs_tasks::list(world, params),
        "DescribeTasks" => ecs_tasks::describe(world, params),
        "RunTask" => ecs_run_task::run(world, params),
        "StopTask" => ecs_tasks::stop(world, params),
        "ListServiceDeployments" => ecs_deployments::list(world, params),
        "DescribeServiceDeployments" => ecs_deployments::describe(world, params),
        "DescribeServiceRevisions" => ecs_deployments::describe_revisions(world, params),
        "StopServiceDeployment" => ecs_deployments::stop(world, params),
        "TagResource" => ecs_tags::tag(world, params),
        "UntagResource" => ecs_tags::untag(world, params),
        "ListTagsForResource" => ecs_tags::list(world, params),
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
    own_account(world, params.str("cluster")?.unwrap_or_default())?;
    let found = world.clusters.get(cluster_name(params)?).filter(|c| c.active);
    found.ok_or_else(ApiError::cluster_not_found)
}

/// An ARN names its account, and only its own account may be asked about it. Names pass.
pub(super) fn own_account(world: &World, name: &str) -> Result<(), ApiError> {
    let own = &world.core.config.account;
    let other = name.starts_with("arn:").then(|| name.split(':').nth(4)).flatten();
    match other.filter(|other| other != own) {
        Some(other) => Err(ApiError::invalid(format!("Identifier is for {other}. Your accountId is {own}"))),
        None => Ok(()),
    }
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

/// A name or ARN as the ARN that a failure names.
pub(super) fn arn_of(world: &World, kind: &str, name: &str) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { world.core.config.arn(&format!("{kind}/{name}")) }
}

pub(super) fn missing(arn: &str) -> Value {
    json!({"arn": arn, "reason": "MISSING"})
}
