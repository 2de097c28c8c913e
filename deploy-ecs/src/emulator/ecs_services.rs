//! Services: create, update, describe, list, delete.

use serde_json::{Map, Value, json};

use super::ecs::{active_service, arn_of, cluster, cluster_name, missing, service, set_tags, tags_of};
use super::error::ApiError;
use super::lifecycle::fill;
use super::params::{Params, listed, page, time};
use super::scheduler::{self, counts};
use super::state::{Cluster, Deployment, Image, Service, ServiceStatus, TaskDefinition};
use super::world::World;
use super::{ecs_definitions, rollout};

/// Parameters that are not settings of the service.
const NOT_SETTINGS: [&str; 9] = [
    "cluster",
    "service",
    "serviceName",
    "taskDefinition",
    "desiredCount",
    "clientToken",
    "tags",
    "forceNewDeployment",
    "include",
];

/// Updates that stale reads may not have seen yet.
const PAST: usize = 8;

/// The images of a definition, resolved as they are now.
pub(super) fn images(world: &mut World, definition: &TaskDefinition) -> Vec<Image> {
    let containers = definition.fields.get("containerDefinitions").and_then(Value::as_array);
    let text = |c: &Value, key: &str| c.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let core = &mut world.core;
    containers
        .into_iter()
        .flatten()
        .map(|c| {
            let image = text(c, "image");
            let found = core.registry.resolve(&core.config, core.now, &image);
            Image { container: text(c, "name"), image, digest: found.digest, behaviour: found.behaviour }
        })
        .collect()
}

/// What the settings and the definition must have in common.
fn check(settings: &Map<String, Value>, definition: &TaskDefinition) -> Result<(), ApiError> {
    let awsvpc = definition.fields.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    if awsvpc && !settings.get("networkConfiguration").is_some_and(Value::is_object) {
        return Err(ApiError::invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ));
    }
    let containers = definition.fields.get("containerDefinitions").and_then(Value::as_array);
    let balancers = settings.get("loadBalancers").and_then(Value::as_array);
    for name in balancers.into_iter().flatten().filter_map(|b| b.get("containerName")?.as_str()) {
        let known = |c: &Value| c.get("name").and_then(Value::as_str) == Some(name);
        if !containers.into_iter().flatten().any(known) {
            return Err(ApiError::invalid(format!(
                "The container {name} does not exist in the task definition."
            )));
        }
    }
    Ok(())
}

fn desired_count(params: Params<'_>) -> Result<Option<i64>, ApiError> {
    match params.int("desiredCount")? {
        Some(n) if !(0..=5000).contains(&n) => {
            Err(ApiError::invalid("desiredCount must be between 0 and 5000."))
        }
        other => Ok(other),
    }
}

pub(super) fn create(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let name = params.need("serviceName")?.to_owned();
    let known = cluster(world, params)?;
    let cluster_arn = known.arn.clone();
    if let Some(existing) = known.services.get(&name) {
        match existing.status {
            ServiceStatus::Draining => {
                return Err(ApiError::invalid("Unable to Start a service that is still Draining."));
            }
            ServiceStatus::Active if existing.created_from == Value::Object(params.all().clone()) => {
                return Ok(json!({"service": view(world, known, existing, true)}));
            }
            ServiceStatus::Active => {
                return Err(ApiError::invalid("Creation of service was not idempotent."));
            }
            ServiceStatus::Inactive => {}
        }
    }
    let definition = ecs_definitions::find_active(world, params.need("taskDefinition")?)?.clone();
    let mut settings = params.all().clone();
    settings.retain(|k, v| !NOT_SETTINGS.contains(&k.as_str()) && !v.is_null());
    check(&settings, &definition)?;
    let images = images(world, &definition);
    let mut made = Service {
        arn: world.core.config.arn(&format!("service/{key}/{name}")),
        cluster: key.clone(),
        cluster_arn,
        status: ServiceStatus::Active,
        desired: desired_count(params)?.unwrap_or(0),
        task_definition: definition.arn,
        settings,
        deployments: Vec::new(),
        service_deployments: Vec::new(),
        revisions: Vec::new(),
        events: Default::default(),
        created_at: world.core.now,
        created_from: Value::Object(params.all().clone()),
        wake: None,
        steady: false,
        last_completed: None,
        past: Default::default(),
        name: name.clone(),
    };
    set_tags(world, &made.arn, params)?;
    rollout::start(&mut world.core, &mut made, images);
    if let Some(cluster) = world.clusters.get_mut(&key) {
        cluster.services.insert(name.clone(), made);
    }
    one(world, &key, &name)
}

/// The answer of every action that returns one service.
fn one(world: &World, key: &str, name: &str) -> Result<Value, ApiError> {
    let cluster = world.clusters.get(key).ok_or_else(ApiError::cluster_not_found)?;
    let service = cluster.services.get(name).ok_or_else(ApiError::service_not_found)?;
    Ok(json!({"service": view(world, cluster, service, true)}))
}

pub(super) fn update(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let known = cluster(world, params)?;
    let name = active_service(known, params.need("service")?)?;
    let before = view(world, known, &known.services[&name], true);
    let current = &known.services[&name];
    let mut settings = current.settings.clone();
    for (k, value) in params.all().iter().filter(|(k, v)| !NOT_SETTINGS.contains(&k.as_str()) && !v.is_null())
    {
        settings.insert(k.clone(), value.clone());
    }
    let deployed = |of: &Map<String, Value>| -> Vec<Option<Value>> {
        let value = |k: &&str| of.get(*k).filter(|v| v.as_array().is_none_or(|a| !a.is_empty())).cloned();
        rollout::DEPLOYED.iter().map(value).collect()
    };
    let mut anew = params.bool("forceNewDeployment")? || deployed(&settings) != deployed(&current.settings);
    let definition = match params.str("taskDefinition")? {
        Some(asked) => ecs_definitions::find_active(world, asked)?,
        None => world
            .core
            .task_definition(&current.task_definition)
            .ok_or_else(|| ApiError::client_exception("TaskDefinition not found."))?,
    }
    .clone();
    anew |= definition.arn != current.task_definition;
    check(&settings, &definition)?;
    let desired = desired_count(params)?;
    let images = if anew { images(world, &definition) } else { Vec::new() };
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).and_then(|c| c.services.get_mut(&name));
    let service = found.ok_or_else(ApiError::service_not_found)?;
    service.past.push_back((core.now, before));
    if service.past.len() > PAST {
        service.past.pop_front();
    }
    service.settings = settings;
    service.task_definition = definition.arn;
    if let Some(desired) = desired.filter(|d| *d != service.desired) {
        service.desired = desired;
        service.steady = false;
        let after = core.config.timings.reconcile_ms;
        scheduler::wake(core, service, after);
    }
    if anew {
        rollout::start(core, service, images);
    }
    one(world, &key, &name)
}

pub(super) fn describe(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let names = params.up_to("services", 10)?;
    if names.is_empty() {
        return Err(ApiError::invalid("Services cannot be empty."));
    }
    let with_tags = params.includes("TAGS")?;
    let lag_ms = world.core.config.stale_ms.max(world.core.lag_ms);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match service(known, name) {
            // The first update that this read does not see yet.
            Some(s) => found.push(match s.past.iter().find(|(at, _)| *at > world.core.now - lag_ms) {
                Some((_, before)) => before.clone(),
                None => view(world, known, s, with_tags),
            }),
            None => failures.push(missing(&arn_of(world, &format!("service/{}", known.name), name))),
        }
    }
    Ok(json!({"services": found, "failures": failures}))
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let launch_type = params.str("launchType")?;
    let arns: Vec<Value> = known
        .services
        .values()
        .filter(|s| s.status != ServiceStatus::Inactive)
        .filter(|s| {
            launch_type.is_none_or(|t| s.settings.get("launchType").and_then(Value::as_str) == Some(t))
        })
        .map(|s| s.arn.clone().into())
        .collect();
    let (arns, token) = page(arns, params, 10, 100)?;
    Ok(listed("serviceArns", arns, token))
}

pub(super) fn delete(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let name = active_service(cluster(world, params)?, params.need("service")?)?;
    let force = params.bool("force")?;
    let core = &mut world.core;
    let found = world.clusters.get_mut(&key).and_then(|c| c.services.get_mut(&name));
    let service = found.ok_or_else(ApiError::service_not_found)?;
    if service.desired > 0 && !force {
        return Err(ApiError::invalid("The service cannot be stopped while it is scaled above 0."));
    }
    service.status = ServiceStatus::Draining;
    service.desired = 0;
    let after = core.config.timings.reconcile_ms;
    scheduler::wake(core, service, after);
    one(world, &key, &name)
}

/// A service as the API describes it.
pub(super) fn view(world: &World, cluster: &Cluster, service: &Service, with_tags: bool) -> Value {
    let (running, pending) = counts(cluster, service, None);
    let deployments: Vec<Value> =
        service.deployments.iter().map(|d| deployment_view(cluster, service, d)).collect();
    let revisions: Vec<Value> =
        service.deployments.iter().map(|d| revision_counts(cluster, service, &d.number)).collect();
    let mut view = Value::Object(service.settings.clone());
    let own = json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": service.cluster_arn,
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": running,
        "pendingCount": pending,
        "taskDefinition": service.task_definition,
        "deploymentConfiguration": rollout::configuration(service),
        "deployments": deployments,
        "events": scheduler::events_view(service),
        "createdAt": time(service.created_at),
        "createdBy": world.core.config.caller_arn(),
        "currentServiceRevisions": revisions,
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
        for key in ["loadBalancers", "serviceRegistries", "placementConstraints", "placementStrategy"] {
            view.entry(key).or_insert_with(|| json!([]));
        }
        for (key, default) in [
            ("schedulingStrategy", json!("REPLICA")),
            ("deploymentController", json!({"type": "ECS"})),
            ("enableECSManagedTags", json!(false)),
            ("enableExecuteCommand", json!(false)),
            ("propagateTags", json!("NONE")),
        ] {
            view.entry(key).or_insert(default);
        }
    }
    let current = service.service_deployments.first();
    fill(&mut view, "currentServiceDeployment", current.map(|d| d.arn.clone()));
    if with_tags {
        fill(&mut view, "tags", Some(tags_of(world, &service.arn)));
    }
    view
}

/// A revision with its counts, as services and service deployments show it.
pub(super) fn revision_counts(cluster: &Cluster, service: &Service, number: &str) -> Value {
    let (running, pending) = counts(cluster, service, Some(number));
    let primary = service.deployments.iter().any(|d| d.primary && d.number == number);
    json!({
        "arn": revision_arn(service, number),
        "requestedTaskCount": if primary { service.desired } else { running + pending },
        "runningTaskCount": running,
        "pendingTaskCount": pending,
    })
}

pub(super) fn revision_arn(service: &Service, number: &str) -> String {
    format!("{}/{number}", service.arn.replacen(":service/", ":service-revision/", 1))
}

fn deployment_view(cluster: &Cluster, service: &Service, d: &Deployment) -> Value {
    let (running, pending) = counts(cluster, service, Some(&d.number));
    let mut view = json!({
        "id": d.id(),
        "status": if d.primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": d.task_definition,
        "desiredCount": if d.primary { service.desired } else { running + pending },
        "runningCount": running,
        "pendingCount": pending,
        "failedTasks": d.failed_tasks,
        "createdAt": time(d.created_at),
        "updatedAt": time(d.updated_at),
        "rolloutState": d.state,
        "rolloutStateReason": d.reason,
    });
    for key in ["launchType", "platformVersion", "networkConfiguration"] {
        fill(&mut view, key, service.settings.get(key).cloned());
    }
    view
}
