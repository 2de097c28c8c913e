//! Services: create, update, describe, list, delete.

use serde_json::{Map, Value, json};

use super::ecs::{active_service, arn_of, cluster, cluster_name, missing, own_account, service};
use super::ecs_tags::{given_tags, set_tags};
use super::error::ApiError;
use super::params::{Params, listed, page};
use super::scheduler;
use super::service_view::view;
use super::state::{Image, Service, ServiceStatus, TaskDefinition};
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

/// The longest name of a service.
const NAME: usize = 255;

/// The platform version that `LATEST` means.
const FARGATE_VERSION: &str = "1.4.0";

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

/// The fields that a task has of its service's or its request's settings.
pub(super) fn launch_fields(settings: &Map<String, Value>) -> Map<String, Value> {
    let kept = ["launchType", "platformVersion", "enableExecuteCommand"];
    let mut fields: Map<String, Value> = settings
        .iter()
        .filter(|(key, value)| kept.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let provider = settings.get("capacityProviderStrategy").and_then(|s| s.pointer("/0/capacityProvider"));
    if let Some(provider) = provider {
        fields.insert("capacityProviderName".to_owned(), provider.clone());
        if provider.as_str().is_some_and(|p| p.starts_with("FARGATE")) {
            fields.insert("launchType".to_owned(), json!("FARGATE"));
        }
    }
    if fields.get("launchType").and_then(Value::as_str) == Some("FARGATE") {
        fields.insert("platformVersion".to_owned(), json!(FARGATE_VERSION));
        fields.insert("platformFamily".to_owned(), json!("Linux"));
    }
    fields
}

/// What the request's or the service's network and launch type need of the definition.
pub(super) fn check_network(
    settings: &Map<String, Value>,
    definition: &TaskDefinition,
) -> Result<(), ApiError> {
    let awsvpc = definition.fields.get("networkMode").and_then(Value::as_str) == Some("awsvpc");
    if awsvpc && !settings.get("networkConfiguration").is_some_and(Value::is_object) {
        return Err(ApiError::invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        ));
    }
    let has = |key: &str| settings.get(key).is_some_and(|v| !v.is_null() && *v != json!([]));
    if has("launchType") && has("capacityProviderStrategy") {
        return Err(ApiError::invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    let fargate = settings.get("launchType").and_then(Value::as_str) == Some("FARGATE");
    if fargate && !awsvpc {
        return Err(ApiError::invalid("Task definition does not support launch_type FARGATE."));
    }
    Ok(())
}

/// What the settings and the definition must have in common.
fn check(settings: &Map<String, Value>, definition: &TaskDefinition) -> Result<(), ApiError> {
    check_network(settings, definition)?;
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
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.len() > NAME || !name.chars().all(allowed) {
        return Err(ApiError::invalid(format!(
            "Service names have up to {NAME} letters, digits, hyphens and underscores."
        )));
    }
    let tags = given_tags(params)?;
    let known = cluster(world, params)?;
    let cluster_arn = known.arn.clone();
    if let Some(existing) = known.services.get(&name) {
        match existing.status {
            ServiceStatus::Draining => {
                return Err(ApiError::invalid("Unable to Start a service that is still Draining."));
            }
            ServiceStatus::Active
                if params.get("clientToken").is_some()
                    && existing.created_from == Value::Object(params.all().clone()) =>
            {
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
        desired: if params.str("schedulingStrategy")? == Some("DAEMON") {
            // One task per container instance, of which there are none.
            0
        } else {
            desired_count(params)?.unwrap_or(0)
        },
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
    set_tags(world, &made.arn, tags);
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
        own_account(world, name)?;
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
    let (launch_type, strategy) = (params.str("launchType")?, params.str("schedulingStrategy")?);
    let is = |s: &Service, key: &str, default: &str, asked: Option<&str>| {
        asked.is_none_or(|asked| s.settings.get(key).and_then(Value::as_str).unwrap_or(default) == asked)
    };
    let arns: Vec<Value> = known
        .services
        .values()
        .filter(|s| s.status != ServiceStatus::Inactive)
        .filter(|s| is(s, "launchType", "EC2", launch_type))
        .filter(|s| is(s, "schedulingStrategy", "REPLICA", strategy))
        .map(|s| s.arn.clone().into())
        .collect();
    let (arns, token) = page(arns, params, 10, 100)?;
    Ok(listed("serviceArns", arns, token))
}

pub(super) fn delete(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let key = cluster_name(params)?.to_owned();
    let known = cluster(world, params)?;
    let found = service(known, params.need("service")?).ok_or_else(ApiError::service_not_found)?;
    let name = found.name.clone();
    match found.status {
        ServiceStatus::Active => {}
        ServiceStatus::Draining => return one(world, &key, &name),
        ServiceStatus::Inactive => return Err(ApiError::service_not_found()),
    }
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
