//! Clusters, and what an account without container instances answers about them.

use serde_json::{Value, json};

use super::ecs::{arn_of, cluster, cluster_name, missing, own_account};
use super::ecs_tags::{given_tags, set_tags, tags_of};
use super::error::ApiError;
use super::lifecycle::fill;
use super::params::{Params, count, last_part, listed, page};
use super::state::{Cluster, Service, ServiceStatus, Task};
use super::world::World;

/// What CreateCluster and UpdateCluster keep.
const SETTINGS: [&str; 5] = [
    "settings",
    "configuration",
    "serviceConnectDefaults",
    "capacityProviders",
    "defaultCapacityProviderStrategy",
];
/// What a description leaves out unless `include` names it.
const ON_DEMAND: [(&str, &str); 2] = [("SETTINGS", "settings"), ("CONFIGURATIONS", "configuration")];

pub(super) fn create(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = params.str("clusterName")?.unwrap_or("default");
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(ApiError::invalid("Invalid cluster name."));
    }
    let tags = given_tags(params)?;
    let arn = world.core.config.arn(&format!("cluster/{name}"));
    if !world.clusters.get(name).is_some_and(|c| c.active) {
        let mut settings = params.all().clone();
        settings.retain(|key, value| SETTINGS.contains(&key.as_str()) && !value.is_null());
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
    set_tags(world, &arn, tags);
    let known = world.clusters.get(name).ok_or_else(ApiError::cluster_not_found)?;
    Ok(json!({"cluster": view(world, known, &["SETTINGS", "CONFIGURATIONS", "TAGS"])}))
}

/// A cluster as the API describes it, with what `include` asks for.
fn view(world: &World, cluster: &Cluster, include: &[&str]) -> Value {
    let active = |s: &&Service| s.status == ServiceStatus::Active;
    let mut view = Value::Object(cluster.settings.clone());
    let own = json!({
        "clusterArn": cluster.arn,
        "clusterName": cluster.name,
        "status": if cluster.active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": count(cluster.tasks.values().filter(|t| t.running()).count()),
        "pendingTasksCount": count(cluster.tasks.values().filter(|t| t.starting()).count()),
        "activeServicesCount": count(cluster.services.values().filter(active).count()),
        "statistics": if include.contains(&"STATISTICS") { statistics(cluster) } else { json!([]) },
        "tags": if include.contains(&"TAGS") { tags_of(world, &cluster.arn) } else { json!([]) },
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
        for (asked, key) in ON_DEMAND {
            if !include.contains(&asked) {
                view.remove(key);
            }
        }
        for key in ["settings", "capacityProviders", "defaultCapacityProviderStrategy"] {
            view.entry(key).or_insert_with(|| json!([]));
        }
    }
    view
}

/// The counts by launch type.
fn statistics(cluster: &Cluster) -> Value {
    let launched = |fields: &serde_json::Map<String, Value>| {
        let fargate = fields.get("launchType").and_then(Value::as_str) == Some("FARGATE");
        if fargate { "Fargate" } else { "EC2" }
    };
    let mut pairs = Vec::new();
    for on in ["EC2", "Fargate"] {
        let tasks = |so: fn(&Task) -> bool| {
            cluster.tasks.values().filter(|t| so(t) && launched(&t.fields) == on).count()
        };
        let services = |status: ServiceStatus| {
            let with = cluster.services.values().filter(|s| s.status == status);
            with.filter(|s| launched(&s.settings) == on).count()
        };
        pairs.push((format!("running{on}TasksCount"), tasks(Task::running)));
        pairs.push((format!("pending{on}TasksCount"), tasks(Task::starting)));
        pairs.push((format!("active{on}ServiceCount"), services(ServiceStatus::Active)));
        pairs.push((format!("draining{on}ServiceCount"), services(ServiceStatus::Draining)));
    }
    pairs.into_iter().map(|(name, value)| json!({"name": name, "value": value.to_string()})).collect()
}

pub(super) fn describe(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let mut names = params.up_to("clusters", 100)?;
    if names.is_empty() {
        names.push("default");
    }
    let include = params.strings("include")?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        own_account(world, name)?;
        match world.clusters.get(last_part(name)) {
            Some(known) => found.push(view(world, known, &include)),
            None => failures.push(missing(&arn_of(world, "cluster", name))),
        }
    }
    Ok(json!({"clusters": found, "failures": failures}))
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let arns = world.clusters.values().filter(|c| c.active).map(|c| c.arn.clone().into()).collect();
    let (arns, token) = page(arns, params, 100, 100)?;
    Ok(listed("clusterArns", arns, token))
}

/// UpdateCluster, UpdateClusterSettings and PutClusterCapacityProviders: each replaces what it is given.
pub(super) fn update(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    params.need("cluster")?;
    cluster(world, params)?;
    let key = cluster_name(params)?;
    let found = world.clusters.get_mut(key).ok_or_else(ApiError::cluster_not_found)?;
    for (name, value) in params.all().iter().filter(|(k, v)| SETTINGS.contains(&k.as_str()) && !v.is_null()) {
        found.settings.insert(name.clone(), value.clone());
    }
    let known = world.clusters.get(key).ok_or_else(ApiError::cluster_not_found)?;
    Ok(json!({"cluster": view(world, known, &["SETTINGS", "CONFIGURATIONS", "TAGS"])}))
}

pub(super) fn delete(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = params.need("cluster")?;
    own_account(world, name)?;
    let name = last_part(name);
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
    let known = world.clusters.get(name).ok_or_else(ApiError::cluster_not_found)?;
    Ok(json!({"cluster": view(world, known, &[])}))
}

/// There are none: every task is placed as on Fargate.
pub(super) fn list_instances(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    cluster(world, params)?;
    Ok(json!({"containerInstanceArns": []}))
}

pub(super) fn describe_instances(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let names = params.up_to("containerInstances", 100)?;
    if names.is_empty() {
        return Err(ApiError::invalid("Container instances cannot be empty."));
    }
    let arn = |name: &&str| missing(&arn_of(world, &format!("container-instance/{}", known.name), name));
    Ok(json!({"containerInstances": [], "failures": names.iter().map(arn).collect::<Vec<_>>()}))
}

/// The two that every account has.
pub(super) fn describe_providers(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let asked = params.up_to("capacityProviders", 100)?;
    let there = ["FARGATE", "FARGATE_SPOT"];
    let wanted: Vec<&str> = if asked.is_empty() { there.to_vec() } else { asked };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in wanted {
        let arn = arn_of(world, "capacity-provider", name);
        if there.contains(&last_part(name)) {
            found.push(json!({"capacityProviderArn": arn, "name": last_part(name), "status": "ACTIVE"}));
        } else {
            failures.push(missing(&arn));
        }
    }
    Ok(json!({"capacityProviders": found, "failures": failures}))
}

/// The settings as an account has them that never changed any.
pub(super) fn account_settings(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let name = params.str("name")?;
    let effective = params.bool("effectiveSettings")?;
    let defaults = [
        ("awsvpcTrunking", "disabled"),
        ("containerInsights", "disabled"),
        ("containerInstanceLongArnFormat", "enabled"),
        ("defaultLogDriverMode", "non-blocking"),
        ("fargateTaskRetirementWaitPeriod", "7"),
        ("serviceLongArnFormat", "enabled"),
        ("tagResourceAuthorization", "on"),
        ("taskLongArnFormat", "enabled"),
    ];
    let settings: Vec<Value> = defaults
        .iter()
        .filter(|(setting, _)| effective && name.is_none_or(|n| n == *setting))
        .map(|(setting, value)| {
            let mut view = json!({"name": setting, "value": value, "type": "user"});
            fill(&mut view, "principalArn", Some(world.core.config.caller_arn()));
            view
        })
        .collect();
    Ok(json!({ "settings": settings }))
}
