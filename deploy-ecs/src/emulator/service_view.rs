//! A service, its deployments and its revisions as the API describes them.

use serde_json::{Map, Value, json};

use super::ecs_services::launch_fields;
use super::ecs_tags::tags_of;
use super::lifecycle::fill;
use super::params::time;
use super::rollout;
use super::scheduler::{self, counts};
use super::state::{Cluster, Deployment, Service};
use super::world::World;

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
        echo_launch(view);
    }
    let current = service.service_deployments.first();
    fill(&mut view, "currentServiceDeployment", current.map(|d| d.arn.clone()));
    if with_tags {
        fill(&mut view, "tags", Some(tags_of(world, &service.arn)));
    }
    view
}

/// Where its tasks run, as ECS says it: a launch type, unless capacity providers choose it.
fn echo_launch(view: &mut Map<String, Value>) {
    if view.get("capacityProviderStrategy").and_then(Value::as_array).is_some_and(|s| !s.is_empty()) {
        return;
    }
    let launch_type = view.entry("launchType").or_insert_with(|| json!("EC2"));
    if *launch_type == "FARGATE" {
        view.entry("platformVersion").or_insert_with(|| json!("LATEST"));
        view.entry("platformFamily").or_insert_with(|| json!("Linux"));
    }
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
    for key in ["networkConfiguration", "capacityProviderStrategy"] {
        fill(&mut view, key, service.settings.get(key).cloned());
    }
    for (key, value) in launch_fields(&service.settings) {
        if matches!(key.as_str(), "launchType" | "platformVersion" | "platformFamily") {
            fill(&mut view, &key, Some(value));
        }
    }
    if let Some(view) = view.as_object_mut() {
        echo_launch(view);
    }
    view
}
