//! Whatever a client sends, the emulator answers: no input of the outside may end it.

use deploy_ecs::emulator::{Api, Config, Seed, World};
use serde_json::{Value, json};

const ACTIONS: [&str; 45] = [
    "CreateCluster",
    "DescribeClusters",
    "ListClusters",
    "RegisterTaskDefinition",
    "DescribeTaskDefinition",
    "ListTaskDefinitions",
    "DeregisterTaskDefinition",
    "CreateService",
    "UpdateService",
    "DescribeServices",
    "ListServices",
    "ListTasks",
    "DescribeTasks",
    "RunTask",
    "StopTask",
    "ListServiceDeployments",
    "DescribeServiceDeployments",
    "DescribeServiceRevisions",
    "StopServiceDeployment",
    "TagResource",
    "ListTagsForResource",
    "GetLogEvents",
    "FilterLogEvents",
    "DescribeImages",
    "BatchGetImage",
    "DeleteService",
    "UpdateCluster",
    "DeleteCluster",
    "DeleteTaskDefinitions",
    "ListTaskDefinitionFamilies",
    "UntagResource",
    "ListContainerInstances",
    "DescribeContainerInstances",
    "DescribeCapacityProviders",
    "ListAccountSettings",
    "PutImage",
    "ListImages",
    "GetDownloadUrlForLayer",
    "GetAuthorizationToken",
    "DescribeRepositories",
    "CreateRepository",
    "DescribeLogStreams",
    "DescribeLogGroups",
    "CreateLogStream",
    "PutRetentionPolicy",
];

/// Parameters of these actions, each with a value that works.
fn good() -> Vec<(&'static str, Value)> {
    let container =
        json!({"name": "app", "image": "nginx", "healthCheck": {"interval": i64::MAX, "retries": i64::MAX}});
    vec![
        ("cluster", json!("prod")),
        ("clusterName", json!("prod")),
        ("service", json!("chat")),
        ("serviceName", json!("chat")),
        ("services", json!(["chat", "chat/", "arn:aws:ecs:x"])),
        ("clusters", json!(["prod"])),
        ("family", json!("chat")),
        ("taskDefinition", json!("chat")),
        ("containerDefinitions", json!([container])),
        ("desiredCount", json!(2)),
        ("maxResults", json!(1)),
        (
            "deploymentConfiguration",
            json!({"maximumPercent": i64::MAX, "minimumHealthyPercent": i64::MIN,
            "deploymentCircuitBreaker": {"enable": true, "thresholdConfiguration": {"value": i64::MAX}}}),
        ),
        (
            "loadBalancers",
            json!([{"targetGroupArn": "tg", "containerName": "app", "containerPort": i64::MAX}]),
        ),
        ("healthCheckGracePeriodSeconds", json!(i64::MAX)),
        ("tasks", json!(["x"])),
        ("task", json!("x")),
        ("overrides", json!({"containerOverrides": [{"name": "app", "command": ["a"]}]})),
        ("serviceDeploymentArns", json!(["x"])),
        ("serviceDeploymentArn", json!("x")),
        ("resourceArn", json!("arn:aws:ecs:us-east-1:123456789012:cluster/prod")),
        ("logGroupName", json!("/ecs/chat")),
        ("logStreamName", json!("x")),
        ("limit", json!(3)),
        ("repositoryName", json!("chat")),
        ("imageIds", json!([{"imageTag": "ok"}])),
        ("imageManifest", json!("{}")),
        ("imageTag", json!("v1")),
        ("layerDigest", json!("sha256:0")),
        ("taskDefinitions", json!(["chat:1"])),
        ("containerInstances", json!(["x"])),
        ("tagKeys", json!(["a"])),
        ("retentionInDays", json!(1)),
        ("tags", json!([{"key": "a", "value": "b"}])),
    ]
}

fn bad() -> Vec<Value> {
    vec![
        json!(null),
        json!(""),
        json!("\u{1F980}:::/"),
        json!(":18446744073709551616"),
        json!("chat:0"),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!([]),
        json!([null, 1, {}, [], ""]),
        json!({"": {}}),
        json!(true),
    ]
}

fn world() -> World {
    let mut world = World::new(Config { throttling: false, ..Config::default() });
    let image = format!("{}/chat:crash", world.config().registry());
    world.seed(&Seed::new("prod", "chat", "chat", "app", &image, 2).breaker(true)).unwrap();
    world
}

#[test]
fn nothing_that_is_sent_ends_it() {
    let (mut refused, mut done) = (0, 0);
    for action in ACTIONS {
        let api = match action {
            "PutRetentionPolicy" => Api::Logs,
            action if action.contains("Log") => Api::Logs,
            "PutImage" | "GetDownloadUrlForLayer" | "GetAuthorizationToken" => Api::Ecr,
            action if action.contains("Image") || action.contains("Repositor") => Api::Ecr,
            _ => Api::Ecs,
        };
        for (key, _) in good().iter().chain(&[("nextToken", json!("")), ("status", json!(""))]) {
            let mut world = world();
            for value in bad() {
                let mut body: Value = good().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                body[*key] = value;
                let now = world.now_ms() + 5_000;
                match world.call(now, api, action, &body) {
                    Ok(_) => done += 1,
                    Err(error) => {
                        assert!((400..500).contains(&error.status), "{action} {key}: {error}");
                        refused += 1;
                    }
                }
            }
            let end = world.now_ms() + 600_000;
            world.advance(end);
        }
        for body in bad() {
            // Any answer will do: what matters is that there is one.
            drop(world().call(0, api, action, &body));
        }
    }
    assert!(refused > 1000 && done > 1000, "both ways were taken: {refused} refused, {done} done");
}

#[test]
fn a_world_is_cheap_enough_for_thousands_of_simulations() {
    let mut polls = 0;
    for seed in 0..200 {
        let mut world = World::new(Config { seed, ..Config::default() });
        world.seed(&Seed::new("prod", "chat", "chat", "app", "nginx", 2)).unwrap();
        let update = json!({"cluster": "prod", "service": "chat", "forceNewDeployment": true});
        let start = world.now_ms();
        world.call(start, Api::Ecs, "UpdateService", &update).unwrap();
        let look = json!({"cluster": "prod", "services": ["chat"]});
        let finished = (1..100).any(|n| {
            polls += 1;
            let answer = world.call(start + n * 1_000, Api::Ecs, "DescribeServices", &look).unwrap();
            answer["services"][0]["deployments"][0]["rolloutState"] == "COMPLETED"
        });
        assert!(finished, "seed {seed}");
    }
    assert!(polls > 200 * 30);
}
