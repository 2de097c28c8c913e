//! What runs now, from what ECS tells. Pure.

use aws_sdk_ecs::types::{DeploymentControllerType, DeploymentRolloutState, DeploymentStrategy, Service};
use deploy_aws::{Aws, Caller, ImageName};
use deploy_core::{
    Error, ErrorKind, Result,
    model::{Capabilities, Counts, Identity, Lateness, Snapshot, Timestamp, WriteGuard},
};
use serde::{Deserialize, Serialize};

use crate::definition::Definition;

/// What planning needs to know of the service, beyond its revision. Kept in the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Detail {
    pub(crate) service_arn: String,
    pub(crate) task_definition: String,
    pub(crate) status: String,
    pub(crate) controller: String,
    pub(crate) strategy: String,
    pub(crate) desired: u32,
    pub(crate) minimum_healthy_percent: u32,
    pub(crate) maximum_percent: u32,
    pub(crate) grace_s: u32,
    /// The circuit breaker (or an alarm) goes back by itself.
    pub(crate) reverts: bool,
    /// A container or load balancer health check tells more than "running".
    pub(crate) checked: bool,
}

/// Lateness of a call: AWS's bounds. An emulator on this machine applies at once, and nothing is left in a kernel's
/// socket buffer; but it may play a network that delivers late.
fn lateness(loopback: bool) -> Lateness {
    let aws = Lateness::AWS;
    if loopback { Lateness::new(aws.signature_ms, aws.skew_ms, 1_000, 0) } else { aws }
}

pub(crate) fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Makes the snapshot.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a service that was deleted, [`ErrorKind::Malformed`] for an answer without its ARNs.
pub(crate) fn take(
    at: Timestamp,
    aws: &Aws,
    caller: &Caller,
    service: &Service,
    definition: &Definition,
) -> Result<Snapshot> {
    let need = |value: Option<&str>, what: &str| {
        value.map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("DescribeServices: the service has no {what}"))
        })
    };
    let name = need(service.service_name(), "name")?;
    if service.status() == Some("INACTIVE") {
        return Err(Error::new(ErrorKind::NotFound, format!("the service {name} was deleted"))
            .next("create it again before deploying to it"));
    }
    let detail = detail(service, definition, need(service.service_arn(), "ARN")?);
    let images = definition.images();
    let list = |names: Vec<String>| names.join(",");
    let repositories = images.values().map(|image| ImageName::parse(image).repository).collect();
    let identity = Identity::new([
        ("account", caller.account.clone()),
        ("region", aws.region().to_owned()),
        ("cluster", need(service.cluster_arn(), "cluster")?),
        ("service", detail.service_arn.clone()),
        ("family", definition.family().to_owned()),
        ("containers", list(images.keys().cloned().collect())),
        ("repositories", list(repositories)),
    ]);
    let mut capabilities = Capabilities::new(WriteGuard::None, lateness(aws.is_loopback()));
    capabilities.reverts_itself = detail.reverts;
    capabilities.logs = true;
    let mut snapshot = Snapshot::new(at, "ecs", identity, capabilities, definition.revision());
    let desired = count(service.desired_count());
    let primary = service.deployments().iter().find(|one| one.status() == Some("PRIMARY"));
    let (updated, old) = service.deployments().iter().fold((0, 0), |(updated, old), one| {
        let running = count(one.running_count());
        if one.task_definition() == Some(&definition.arn) {
            (updated + running, old)
        } else {
            (updated, old + running)
        }
    });
    let settled = primary.is_none_or(|primary| {
        primary.rollout_state().is_none_or(|state| *state == DeploymentRolloutState::Completed)
    });
    snapshot.counts = Some(Counts::new(desired, updated, updated, old));
    snapshot.steady = settled && updated >= desired && old == 0 && service.pending_count() == 0;
    snapshot.detail = serde_json::to_value(detail).unwrap_or_default();
    Ok(snapshot)
}

fn detail(service: &Service, definition: &Definition, service_arn: String) -> Detail {
    let config = service.deployment_configuration();
    let breaker = config.and_then(|config| config.deployment_circuit_breaker());
    let alarms = config.and_then(|config| config.alarms());
    let controller = service.deployment_controller().map_or(&DeploymentControllerType::Ecs, |c| c.r#type());
    let strategy = config.and_then(|config| config.strategy()).unwrap_or(&DeploymentStrategy::Rolling);
    let has_check = definition.content.get("containerDefinitions").and_then(|list| list.as_array());
    let has_check = has_check.is_some_and(|list| list.iter().any(|c| c.get("healthCheck").is_some()));
    Detail {
        service_arn,
        task_definition: definition.arn.clone(),
        status: service.status().unwrap_or("ACTIVE").to_owned(),
        controller: controller.as_str().to_owned(),
        strategy: strategy.as_str().to_owned(),
        desired: count(service.desired_count()),
        minimum_healthy_percent: count(config.and_then(|c| c.minimum_healthy_percent()).unwrap_or(100)),
        maximum_percent: count(config.and_then(|c| c.maximum_percent()).unwrap_or(200)),
        grace_s: count(service.health_check_grace_period_seconds().unwrap_or(0)),
        reverts: breaker.is_some_and(|b| b.enable() && b.rollback())
            || alarms.is_some_and(|a| a.enable() && a.rollback()),
        checked: has_check || !service.load_balancers().is_empty(),
    }
}
