//! Deployments of a service: begun, completed, failed, rolled back, superseded.

use serde_json::{Map, Value, json};

use super::core::Core;
use super::ledger;
use super::params::int_at;
use super::scheduler::{say, wake};
use super::state::{
    BreakerStatus, Deployment, Image, Revision, RollbackRecord, Rollout, SdStatus, Service, ServiceDeployment,
};

/// The settings whose change starts a new deployment; the others only change the service.
pub(super) const DEPLOYED: [&str; 9] = [
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
    "gatewayConnectors",
    "monitoring",
];

/// Why a deployment ends badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    Breaker,
    User,
}

/// The deployment configuration with the defaults that ECS echoes.
pub(super) fn configuration(service: &Service) -> Value {
    let given = service.settings.get("deploymentConfiguration").cloned().unwrap_or_else(|| json!({}));
    let mut full = json!({
        "strategy": "ROLLING",
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "bakeTimeInMinutes": 0,
        "deploymentCircuitBreaker": {
            "enable": false, "rollback": false, "resetOnHealthyTask": true,
            "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50},
        },
    });
    merge(&mut full, given);
    full
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

struct Breaker {
    enable: bool,
    rollback: bool,
    reset: bool,
    threshold: i64,
}

fn breaker(service: &Service) -> Breaker {
    let configuration = configuration(service);
    let flag = |p: &str| configuration.pointer(p).and_then(Value::as_bool).unwrap_or(false);
    let value =
        int_at(&configuration, "/deploymentCircuitBreaker/thresholdConfiguration/value").unwrap_or(50);
    let kind = configuration.pointer("/deploymentCircuitBreaker/thresholdConfiguration/type");
    Breaker {
        enable: flag("/deploymentCircuitBreaker/enable"),
        rollback: flag("/deploymentCircuitBreaker/rollback"),
        reset: flag("/deploymentCircuitBreaker/resetOnHealthyTask"),
        threshold: threshold(kind.and_then(Value::as_str).unwrap_or_default(), value, service.desired),
    }
}

/// How many failed tasks fail a deployment.
fn threshold(kind: &str, value: i64, desired: i64) -> i64 {
    let share = desired.saturating_mul(value).saturating_add(99) / 100;
    match kind {
        "COUNT" => value.max(1),
        "UNBOUNDED_PERCENT" => share.max(1),
        _ => share.clamp(3, 200),
    }
}

fn deployed_settings(service: &Service) -> Map<String, Value> {
    let kept =
        service.settings.iter().filter(|(key, _)| DEPLOYED.contains(&key.as_str()) || *key == "launchType");
    kept.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Starts a deployment of the service's present settings; one that was under way is superseded.
pub(super) fn start(core: &mut Core, service: &mut Service, images: Vec<Image>) {
    let now = core.now;
    let number = core.rng.digits19();
    let id = core.rng.letters21();
    for current in service.service_deployments.iter_mut().filter(|d| !d.status.finished()) {
        current.status = SdStatus::Stopped;
        current.reason =
            Some("Service deployment stopped because a new service deployment was started.".to_owned());
        current.stopped_at = Some(now);
        current.finished_at = Some(now);
        current.updated_at = now;
    }
    let sources = service.deployments.iter().map(|d| d.number.clone()).collect();
    for earlier in &mut service.deployments {
        earlier.primary = false;
        earlier.updated_at = now;
    }
    service.revisions.push(Revision {
        number: number.clone(),
        task_definition: service.task_definition.clone(),
        settings: deployed_settings(service),
        images,
        created_at: now,
    });
    service.deployments.insert(
        0,
        Deployment {
            primary: true,
            task_definition: service.task_definition.clone(),
            state: Rollout::InProgress,
            reason: format!("ECS deployment ecs-svc/{number} in progress."),
            created_at: now,
            updated_at: now,
            failed_tasks: 0,
            streak: 0,
            next_launch_at: now,
            stalled: false,
            number: number.clone(),
        },
    );
    let breaker = breaker(service);
    service.service_deployments.insert(
        0,
        ServiceDeployment {
            arn: format!("{}/{id}", service.arn.replacen(":service/", ":service-deployment/", 1)),
            number,
            sources,
            status: SdStatus::Pending,
            reason: None,
            created_at: now,
            started_at: None,
            updated_at: now,
            finished_at: None,
            stopped_at: None,
            breaker: if breaker.enable { BreakerStatus::Monitoring } else { BreakerStatus::Disabled },
            failures: 0,
            threshold: breaker.threshold,
            rollback: None,
            configuration: configuration(service),
        },
    );
    service.steady = false;
    let after = core.config.timings.reconcile_ms;
    wake(core, service, after);
}

/// The scheduler takes a service deployment up.
pub(super) fn begin(core: &Core, service: &mut Service) {
    let Some(current) = service.service_deployments.first_mut() else { return };
    let next = match current.status {
        SdStatus::Pending => SdStatus::InProgress,
        SdStatus::RollbackRequested => SdStatus::RollbackInProgress,
        _ => return,
    };
    current.status = next;
    current.started_at.get_or_insert(core.now);
    current.updated_at = core.now;
}

/// The primary deployment is steady for the first time.
pub(super) fn complete(core: &mut Core, service: &mut Service) {
    let now = core.now;
    let Some(primary) = service.deployments.iter_mut().find(|d| d.primary) else { return };
    primary.state = Rollout::Completed;
    primary.failed_tasks = 0;
    primary.updated_at = now;
    let id = primary.id();
    primary.reason = format!("ECS deployment {id} completed.");
    service.last_completed = Some(primary.number.clone());
    if let Some(current) = service.service_deployments.first_mut().filter(|d| !d.status.finished()) {
        current.status =
            if current.status.rolling_back() { SdStatus::RollbackSuccessful } else { SdStatus::Successful };
        current.finished_at = Some(now);
        current.updated_at = now;
        if current.breaker == BreakerStatus::Monitoring {
            current.breaker = BreakerStatus::MonitoringComplete;
        }
    }
    say(core, service, format!("(service {}) (deployment {id}) deployment completed.", service.name));
}

/// A task became healthy: the count of failures in a row begins anew.
pub(super) fn healthy_task(service: &mut Service, number: &str) {
    let reset = breaker(service).reset;
    if let Some(deployment) = service.deployments.iter_mut().find(|d| d.number == number) {
        deployment.streak = 0;
        if reset {
            deployment.failed_tasks = 0;
        }
        if let (true, true, Some(current)) =
            (reset, deployment.primary, service.service_deployments.first_mut())
            && current.status == SdStatus::InProgress
        {
            current.failures = 0;
        }
    }
}

/// Counts a failed task, and trips the breaker at its threshold.
pub(super) fn count_failure(core: &mut Core, service: &mut Service, number: &str) {
    let breaker = breaker(service);
    let Some(deployment) = service.deployments.iter_mut().find(|d| d.number == number) else { return };
    if deployment.state != Rollout::InProgress || !deployment.primary {
        return;
    }
    deployment.failed_tasks += 1;
    let failed = deployment.failed_tasks;
    let Some(current) = service.service_deployments.first_mut().filter(|d| !d.status.finished()) else {
        return;
    };
    let back = current.status.rolling_back();
    if !back {
        current.failures = failed;
        current.threshold = breaker.threshold;
    }
    current.updated_at = core.now;
    if !breaker.enable || failed < breaker.threshold {
        return;
    }
    current.breaker = BreakerStatus::Triggered;
    let id = format!("ecs-svc/{number}");
    say(
        core,
        service,
        format!("(service {}) (deployment {id}) deployment failed: tasks failed to start.", service.name),
    );
    if back {
        stall(
            core,
            service,
            SdStatus::RollbackFailed,
            "ECS deployment circuit breaker: rollback failed: tasks failed to start.",
        );
    } else if breaker.rollback {
        roll_back(core, service, Because::Breaker);
    } else {
        stall(core, service, SdStatus::Stopped, "ECS deployment circuit breaker: tasks failed to start.");
    }
}

/// The primary deployment has failed, and nothing takes its place.
fn stall(core: &Core, service: &mut Service, status: SdStatus, reason: &str) {
    let now = core.now;
    if let Some(primary) = service.deployments.iter_mut().find(|d| d.primary) {
        primary.state = Rollout::Failed;
        primary.reason = reason.to_owned();
        primary.stalled = true;
        primary.updated_at = now;
    }
    if let Some(current) = service.service_deployments.first_mut() {
        current.status = status;
        current.reason = Some(reason.to_owned());
        current.finished_at = Some(now);
        current.updated_at = now;
        if status == SdStatus::Stopped {
            current.stopped_at = Some(now);
        }
    }
}

/// Goes back to the last completed deployment: it becomes primary again, under its old id.
pub(super) fn roll_back(core: &mut Core, service: &mut Service, because: Because) {
    let now = core.now;
    let failed = service.deployments.iter().find(|d| d.primary).map(|d| d.number.clone());
    let wanted = service.last_completed.clone().filter(|n| Some(n) != failed.as_ref());
    let revision = wanted.and_then(|n| service.revisions.iter().find(|r| r.number == n).cloned());
    let who = match because {
        Because::Breaker => "ECS deployment circuit breaker",
        Because::User => "Service deployment stopped by user request",
    };
    let Some(revision) = revision else {
        let reason = format!("{who}: No rollback candidate was found to run the rollback.");
        stall(core, service, SdStatus::RollbackFailed, &reason);
        return;
    };
    let back = format!("ecs-svc/{}", revision.number);
    for deployment in &mut service.deployments {
        if deployment.primary {
            deployment.primary = false;
            deployment.state = Rollout::Failed;
            deployment.updated_at = now;
            deployment.reason = match because {
                Because::Breaker => format!("{who}: tasks failed to start."),
                Because::User => format!("{who}."),
            };
        }
    }
    let earlier = service.deployments.iter().position(|d| d.number == revision.number);
    let old = earlier.map(|at| service.deployments.remove(at));
    service.deployments.insert(
        0,
        Deployment {
            number: revision.number.clone(),
            primary: true,
            task_definition: revision.task_definition.clone(),
            state: Rollout::InProgress,
            reason: format!("{who}: rolling back to deploymentId {back}."),
            created_at: old.map_or(revision.created_at, |d| d.created_at),
            updated_at: now,
            failed_tasks: 0,
            streak: 0,
            next_launch_at: now,
            stalled: false,
        },
    );
    let moved = service.task_definition != revision.task_definition;
    ledger::rolled_back(core, &service.cluster, &service.name, &revision.task_definition, moved);
    service.task_definition.clone_from(&revision.task_definition);
    for key in DEPLOYED {
        service.settings.remove(key);
    }
    service.settings.extend(revision.settings);
    service.steady = false;
    if let Some(current) = service.service_deployments.first_mut() {
        current.status = SdStatus::RollbackRequested;
        current.reason = Some(format!("{who}: rolling back to {back}."));
        current.updated_at = now;
        current.rollback =
            Some(RollbackRecord { reason: format!("{who}."), started_at: now, number: revision.number });
    }
    say(core, service, format!("(service {}) rolling back to deployment {back}.", service.name));
    let after = core.config.timings.reconcile_ms;
    wake(core, service, after);
}

#[cfg(test)]
mod tests {
    use super::threshold;

    #[test]
    fn the_breakers_formula() {
        let rows = [(1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (1000, 200)];
        for (desired, expected) in rows {
            assert_eq!(threshold("BOUNDED_PERCENT", 50, desired), expected, "desired {desired}");
        }
        assert_eq!(threshold("UNBOUNDED_PERCENT", 50, 2), 1);
        assert_eq!(threshold("COUNT", 7, 2), 7);
    }
}
