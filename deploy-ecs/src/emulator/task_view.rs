//! A task as the API describes it.

use serde_json::{Value, json};

use super::lifecycle::fill;
use super::params::time;
use super::state::{Container, Phase, Task};

/// What is unique about a task and needs no dice of its own: the digits of its id.
fn digit(task: &Task, at: usize) -> u8 {
    let pair = task.id.get(at * 2..at * 2 + 2).unwrap_or_default();
    u8::from_str_radix(pair, 16).unwrap_or_default()
}

fn address(task: &Task) -> String {
    format!("10.0.{}.{}", digit(task, 0), digit(task, 1))
}

/// The id of the task's network interface, as containers refer to it.
fn interface(task: &Task) -> String {
    let id = &task.id;
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// The network interface, once the task has one.
fn attachments(task: &Task) -> Value {
    let Some(subnet) = &task.subnet else { return json!([]) };
    let status = match task.phase {
        Phase::Provisioning => "PRECREATED",
        Phase::Deprovisioning => "DETACHING",
        Phase::Stopped => "DELETED",
        _ => "ATTACHED",
    };
    let eni = format!("eni-{}", task.id.get(..17).unwrap_or_default());
    json!([{
        "id": interface(task),
        "type": "ElasticNetworkInterface",
        "status": status,
        "details": [
            {"name": "subnetId", "value": subnet},
            {"name": "networkInterfaceId", "value": eni},
            {"name": "macAddress", "value": format!("02:00:0a:00:{:02x}:{:02x}", digit(task, 0), digit(task, 1))},
            {"name": "privateIPv4Address", "value": address(task)},
        ],
    }])
}

fn container(task: &Task, number: usize, container: &Container) -> Value {
    let interfaces = match &task.subnet {
        Some(_) => json!([{"attachmentId": interface(task), "privateIpv4Address": address(task)}]),
        None => json!([]),
    };
    let mut view = json!({
        "containerArn": format!("{}/{}", task.arn.replacen(":task/", ":container/", 1), container.name),
        "taskArn": task.arn,
        "name": container.name,
        "image": container.image,
        "lastStatus": match task.phase {
            Phase::Running | Phase::Deactivating | Phase::Stopping => "RUNNING",
            Phase::Stopped | Phase::Deprovisioning => "STOPPED",
            _ => "PENDING",
        },
        "healthStatus": container.health.as_deref().unwrap_or("UNKNOWN"),
        "networkInterfaces": interfaces,
        "cpu": "0",
    });
    fill(&mut view, "runtimeId", task.started_at.map(|_| format!("{}-{number}", task.id)));
    fill(&mut view, "imageDigest", container.digest.clone());
    fill(&mut view, "exitCode", container.exit_code);
    fill(&mut view, "reason", container.reason.clone());
    view
}

/// The overrides, which name every container even when nothing is overridden.
fn overrides(task: &Task) -> Value {
    let mut view = task.fields.get("overrides").cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = view.as_object_mut() {
        let given = map.entry("containerOverrides").or_insert_with(|| json!([]));
        if let Some(given) = given.as_array_mut() {
            for one in &task.containers {
                if !given.iter().any(|o| o.get("name").and_then(Value::as_str) == Some(&one.name)) {
                    given.push(json!({"name": one.name}));
                }
            }
        }
        map.entry("inferenceAcceleratorOverrides").or_insert_with(|| json!([]));
    }
    view
}

pub(super) fn view(task: &Task, tags: Option<&Value>) -> Value {
    let healths: Vec<&str> = task.containers.iter().filter_map(|c| c.health.as_deref()).collect();
    let health = if healths.contains(&"UNHEALTHY") {
        "UNHEALTHY"
    } else if !healths.is_empty() && healths.iter().all(|h| *h == "HEALTHY") {
        "HEALTHY"
    } else {
        "UNKNOWN"
    };
    let containers: Vec<Value> =
        task.containers.iter().enumerate().map(|(number, c)| container(task, number, c)).collect();
    let zone = char::from(b'a' + digit(task, 2) % 3);
    let region = task.arn.split(':').nth(3).unwrap_or_default();
    let mut view = Value::Object(task.fields.clone());
    let own = json!({
        "taskArn": task.arn,
        "clusterArn": task.cluster_arn,
        "taskDefinitionArn": task.task_definition,
        "group": task.group,
        "lastStatus": task.phase,
        "desiredStatus": if task.wanted { "RUNNING" } else { "STOPPED" },
        "version": task.version,
        "healthStatus": health,
        "containers": containers,
        "attachments": attachments(task),
        "attributes": [],
        "overrides": overrides(task),
        "availabilityZone": format!("{region}{zone}"),
        "connectivity": "CONNECTED",
        "createdAt": time(task.created_at),
        "tags": tags.cloned().unwrap_or_else(|| json!([])),
    });
    if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
        view.extend(own);
        view.entry("launchType").or_insert_with(|| json!("EC2"));
        view.entry("enableExecuteCommand").or_insert_with(|| json!(false));
    }
    fill(&mut view, "startedBy", task.started_by.clone());
    fill(&mut view, "stopCode", task.stop_code.clone());
    fill(&mut view, "stoppedReason", task.stopped_reason.clone());
    for (key, at) in [
        ("pullStartedAt", task.pull_started_at),
        ("pullStoppedAt", task.pull_stopped_at),
        ("startedAt", task.started_at),
        ("connectivityAt", task.pull_started_at),
        ("stoppingAt", task.stopping_at),
        ("executionStoppedAt", task.stopped_at),
        ("stoppedAt", task.stopped_at),
    ] {
        fill(&mut view, key, at.map(time));
    }
    view
}
