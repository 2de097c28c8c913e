//! Service deployments and service revisions.

use serde_json::{Value, json};

use super::ecs::{cluster, missing, own_account, service};
use super::error::ApiError;
use super::lifecycle::fill;
use super::params::{Params, listed, page, time};
use super::rollout::{self, Because};
use super::service_view::{revision_arn, revision_counts};
use super::state::{Cluster, Revision, SdStatus, Service, ServiceDeployment, ServiceStatus};
use super::world::World;

fn not_found() -> ApiError {
    ApiError::client("ServiceDeploymentNotFoundException", "Service deployment not found.")
}

pub(super) fn list(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let known = cluster(world, params)?;
    let found = service(known, params.need("service")?).ok_or_else(ApiError::service_not_found)?;
    let statuses = params.strings("status")?;
    let within = |d: &&ServiceDeployment| {
        let seconds = |key: &str| params.get("createdAt").and_then(|c| c.get(key)).and_then(Value::as_f64);
        let at = time(d.created_at).as_f64().unwrap_or_default();
        seconds("after").is_none_or(|after| at >= after)
            && seconds("before").is_none_or(|before| at <= before)
    };
    let briefs: Vec<Value> = found
        .service_deployments
        .iter()
        // A deployment takes a while until it is listed, when reads are stale.
        .filter(|d| world.core.now - d.created_at >= world.core.config.stale_ms)
        .filter(|d| statuses.is_empty() || json!(d.status).as_str().is_some_and(|s| statuses.contains(&s)))
        .filter(within)
        .map(|d| brief(found, d))
        .collect();
    let (briefs, token) = page(briefs, params, 20, 100)?;
    Ok(listed("serviceDeployments", briefs, token))
}

fn brief(service: &Service, d: &ServiceDeployment) -> Value {
    let mut view = json!({
        "serviceDeploymentArn": d.arn,
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "createdAt": time(d.created_at),
        "targetServiceRevisionArn": revision_arn(service, &d.number),
        "status": d.status,
    });
    fill(&mut view, "statusReason", d.reason.clone());
    fill(&mut view, "startedAt", d.started_at.map(time));
    fill(&mut view, "finishedAt", d.finished_at.map(time));
    view
}

fn view(cluster: &Cluster, service: &Service, d: &ServiceDeployment) -> Value {
    let sources: Vec<Value> = d.sources.iter().map(|n| revision_counts(cluster, service, n)).collect();
    let mut view = brief(service, d);
    let own = json!({
        "updatedAt": time(d.updated_at),
        "sourceServiceRevisions": sources,
        "targetServiceRevision": revision_counts(cluster, service, &d.number),
        "deploymentConfiguration": d.configuration,
        "deploymentCircuitBreaker": {"status": d.breaker, "failureCount": d.failures, "threshold": d.threshold},
        "alarms": {"status": "DISABLED"},
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
        view.remove("targetServiceRevisionArn");
    }
    fill(&mut view, "stoppedAt", d.stopped_at.map(time));
    if let Some(back) = &d.rollback {
        view["rollback"] = json!({
            "reason": back.reason,
            "startedAt": time(back.started_at),
            "serviceRevisionArn": revision_arn(service, &back.number),
        });
    }
    view
}

/// Every service, with its cluster.
fn services(world: &World) -> impl Iterator<Item = (&Cluster, &Service)> {
    world.clusters.values().flat_map(|c| c.services.values().map(move |s| (c, s)))
}

fn find<'a>(world: &'a World, arn: &str) -> Option<(&'a Cluster, &'a Service, &'a ServiceDeployment)> {
    services(world).find_map(|(c, s)| Some((c, s, s.service_deployments.iter().find(|d| d.arn == arn)?)))
}

pub(super) fn describe(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let arns = params.up_to("serviceDeploymentArns", 20)?;
    if arns.is_empty() {
        return Err(ApiError::invalid("Service deployment ARNs cannot be empty."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        own_account(world, arn)?;
        match find(world, arn) {
            Some((c, s, d)) => found.push(view(c, s, d)),
            None => failures.push(missing(arn)),
        }
    }
    Ok(json!({"serviceDeployments": found, "failures": failures}))
}

pub(super) fn describe_revisions(world: &World, params: Params<'_>) -> Result<Value, ApiError> {
    let arns = params.up_to("serviceRevisionArns", 20)?;
    if arns.is_empty() {
        return Err(ApiError::invalid("Service revision ARNs cannot be empty."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let of = |s: &&Service, r: &Revision| revision_arn(s, &r.number) == arn;
        let hit = services(world).find_map(|(_, s)| Some((s, s.revisions.iter().find(|r| of(&s, r))?)));
        match hit {
            Some((s, r)) => found.push(revision_view(s, r)),
            None => failures.push(missing(arn)),
        }
    }
    Ok(json!({"serviceRevisions": found, "failures": failures}))
}

fn revision_view(service: &Service, revision: &Revision) -> Value {
    let images: Vec<Value> = revision
        .images
        .iter()
        .map(|i| {
            let mut view = json!({"containerName": i.container, "image": i.image});
            fill(&mut view, "imageDigest", i.digest.clone());
            view
        })
        .collect();
    let mut view = Value::Object(revision.settings.clone());
    let own = json!({
        "serviceRevisionArn": revision_arn(service, &revision.number),
        "serviceArn": service.arn,
        "clusterArn": service.cluster_arn,
        "taskDefinition": revision.task_definition,
        "containerImages": images,
        "guardDutyEnabled": false,
        "createdAt": time(revision.created_at),
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
    }
    view
}

pub(super) fn stop(world: &mut World, params: Params<'_>) -> Result<Value, ApiError> {
    let arn = params.need("serviceDeploymentArn")?;
    let kind = params.str("stopType")?.unwrap_or("ROLLBACK");
    if kind != "ROLLBACK" {
        return Err(ApiError::invalid(format!(
            "stopType {kind} is not supported: valid values are ROLLBACK."
        )));
    }
    let (known, found, deployment) = find(world, arn).ok_or_else(not_found)?;
    let (key, name, status) = (known.name.clone(), found.name.clone(), deployment.status);
    if status.finished() || found.status != ServiceStatus::Active {
        return Err(ApiError::client(
            "ConflictException",
            "The service deployment cannot be stopped because it is already finished.",
        ));
    }
    if matches!(status, SdStatus::Pending | SdStatus::InProgress) {
        let core = &mut world.core;
        let found = world.clusters.get_mut(&key).and_then(|c| c.services.get_mut(&name));
        rollout::roll_back(core, found.ok_or_else(ApiError::service_not_found)?, Because::User);
    }
    Ok(json!({ "serviceDeploymentArn": arn }))
}
