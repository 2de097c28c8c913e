//! Clusters, task definitions, services and tags: what is echoed, what is refused and how.

mod account;

use account::Account;
use serde_json::{Value, json};

fn definition(more: &Value) -> Value {
    let mut body = json!({"family": "shop", "containerDefinitions": [{"name": "app", "image": "nginx"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn refusals_have_the_codes_of_aws() {
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"]}});
    let service = |more: Value| {
        let mut body =
            json!({"cluster": "prod", "serviceName": "new", "taskDefinition": "chat", "desiredCount": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let tagged = |key: &str| json!({"clusterName": "tagged", "tags": [{"key": key, "value": "x"}]});
    let rows = [
        ("DescribeServices", json!({"cluster": "nowhere", "services": ["chat"]}), "ClusterNotFoundException"),
        ("DescribeServices", json!({"cluster": "prod", "services": []}), "InvalidParameterException"),
        (
            "DescribeServices",
            json!({"cluster": "prod", "services": vec!["a"; 11]}),
            "InvalidParameterException",
        ),
        (
            "ListTasks",
            json!({"cluster": "arn:aws:ecs:us-east-1:999999999999:cluster/prod"}),
            "InvalidParameterException",
        ),
        ("CreateCluster", json!({"clusterName": "a b"}), "InvalidParameterException"),
        ("CreateCluster", tagged("aws:mine"), "InvalidParameterException"),
        ("CreateCluster", tagged(&"k".repeat(129)), "InvalidParameterException"),
        ("DescribeClusters", json!({"clusters": ["tagged"]}), "ok"),
        ("UpdateClusterSettings", json!({"cluster": "nowhere", "settings": []}), "ClusterNotFoundException"),
        ("DeleteCluster", json!({"cluster": "prod"}), "ClusterContainsServicesException"),
        ("DeleteCluster", json!({"cluster": "nowhere"}), "ClusterNotFoundException"),
        ("RegisterTaskDefinition", definition(&json!({"family": ""})), "ClientException"),
        ("RegisterTaskDefinition", definition(&json!({"containerDefinitions": []})), "ClientException"),
        (
            "RegisterTaskDefinition",
            definition(&json!({"requiresCompatibilities": ["FARGATE"]})),
            "ClientException",
        ),
        (
            "RegisterTaskDefinition",
            definition(
                &json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256"}),
            ),
            "ClientException",
        ),
        (
            "RegisterTaskDefinition",
            definition(
                &json!({"containerDefinitions": [{"name": "a", "image": "b"}, {"name": "a", "image": "b"}]}),
            ),
            "ClientException",
        ),
        ("RegisterTaskDefinition", definition(&json!({"cpu": 256})), "SerializationException"),
        ("DescribeTaskDefinition", json!({"taskDefinition": "nothing"}), "ClientException"),
        ("DeregisterTaskDefinition", json!({"taskDefinition": "chat"}), "ClientException"),
        ("DeleteTaskDefinitions", json!({"taskDefinitions": []}), "InvalidParameterException"),
        ("CreateService", service(json!({"serviceName": "chat"})), "InvalidParameterException"),
        ("CreateService", service(json!({"serviceName": "a b"})), "InvalidParameterException"),
        ("CreateService", service(json!({"taskDefinition": "nothing"})), "ClientException"),
        ("CreateService", service(json!({"launchType": "FARGATE"})), "InvalidParameterException"),
        ("CreateService", service(json!({"launchType": "LAMBDA"})), "InvalidParameterException"),
        (
            "CreateService",
            service(
                json!({"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]}),
            ),
            "InvalidParameterException",
        ),
        ("CreateService", service(json!({"desiredCount": -1})), "InvalidParameterException"),
        ("CreateService", service(json!({"desiredCount": "1"})), "SerializationException"),
        (
            "CreateService",
            service(
                json!({"loadBalancers": [{"targetGroupArn": "a", "containerName": "b", "containerPort": 1}]}),
            ),
            "InvalidParameterException",
        ),
        ("UpdateService", json!({"cluster": "prod", "service": "nothing"}), "ServiceNotFoundException"),
        ("DeleteService", json!({"cluster": "prod", "service": "chat"}), "InvalidParameterException"),
        ("DeleteService", json!({"cluster": "prod", "service": "nothing"}), "ServiceNotFoundException"),
        (
            "RunTask",
            json!({"cluster": "prod", "taskDefinition": "chat", "count": 11}),
            "InvalidParameterException",
        ),
        ("RunTask", json!({"cluster": "prod", "taskDefinition": "nothing"}), "ClientException"),
        ("StopTask", json!({"cluster": "prod", "task": "nothing"}), "InvalidParameterException"),
        ("ListTasks", json!({"cluster": "prod", "serviceName": "nothing"}), "ServiceNotFoundException"),
        (
            "ListTasks",
            json!({"cluster": "prod", "startedBy": "me", "family": "chat"}),
            "InvalidParameterException",
        ),
        ("ListTasks", json!({"cluster": "prod", "desiredStatus": "GONE"}), "InvalidParameterException"),
        ("ListTasks", json!({"cluster": "prod", "nextToken": "garbage"}), "InvalidParameterException"),
        ("StopServiceDeployment", json!({"serviceDeploymentArn": "x"}), "ServiceDeploymentNotFoundException"),
        ("TagResource", json!({"resourceArn": "x", "tags": []}), "InvalidParameterException"),
        (
            "TagResource",
            json!({"resourceArn": "arn:aws:ecs:us-east-1:123456789012:service/prod/nothing", "tags": []}),
            "ResourceNotFoundException",
        ),
        (
            "ListTagsForResource",
            json!({"resourceArn": "arn:aws:ecs:us-east-1:123456789012:cluster/nowhere"}),
            "ClusterNotFoundException",
        ),
        ("CreateTaskSet", json!({}), "UnknownOperationException"),
        ("CreateService", service(json!({"networkConfiguration": network, "tomorrow": 1})), "ok"),
    ];
    let mut account = Account::with_service(|seed| seed);
    for (action, body, code) in rows {
        assert_eq!(account.code(action, &body), code, "{action} {body}");
    }
    let seen = account.ok("DescribeClusters", json!({"clusters": ["tagged"]}));
    assert_eq!(seen["failures"][0]["reason"], "MISSING", "a refused cluster leaves nothing behind");
}

#[test]
fn a_cluster_says_what_it_is_asked_for() {
    let mut account = Account::with_service(|seed| seed);
    let settings = json!([{"name": "containerInsights", "value": "enabled"}]);
    account.ok("UpdateClusterSettings", json!({"cluster": "prod", "settings": settings}));
    let plain = account.ok("DescribeClusters", json!({"clusters": ["prod"]}))["clusters"][0].clone();
    assert_eq!((&plain["settings"], &plain["statistics"]), (&json!([]), &json!([])));
    assert_eq!((&plain["runningTasksCount"], &plain["activeServicesCount"]), (&json!(2), &json!(1)));
    let asked = json!({"clusters": ["prod"], "include": ["SETTINGS", "STATISTICS"]});
    let whole = account.ok("DescribeClusters", asked)["clusters"][0].clone();
    assert_eq!(whole["settings"], settings);
    let running = json!({"name": "runningEC2TasksCount", "value": "2"});
    assert!(whole["statistics"].as_array().unwrap().contains(&running), "{whole}");
}

#[test]
fn a_definition_is_registered_deregistered_and_deleted() {
    let mut account = Account::new();
    for _ in 0..3 {
        account.ok("RegisterTaskDefinition", definition(&json!({"networkMode": "awsvpc"})));
    }
    account.ok("DeregisterTaskDefinition", json!({"taskDefinition": "shop:2"}));
    let deleted =
        account.ok("DeleteTaskDefinitions", json!({"taskDefinitions": ["shop:1", "shop:2", "shop:9"]}));
    assert_eq!(deleted["taskDefinitions"][0]["status"], "DELETE_IN_PROGRESS");
    let reasons = deleted["failures"].as_array().unwrap();
    assert!(reasons[0]["reason"].as_str().unwrap().contains("still in ACTIVE status"), "{reasons:?}");
    assert!(reasons[1]["reason"].as_str().unwrap().contains("does not exist"), "{reasons:?}");
    for (status, expected) in [("ACTIVE", vec![1, 3]), ("INACTIVE", vec![]), ("DELETE_IN_PROGRESS", vec![2])]
    {
        let answer = account.ok("ListTaskDefinitions", json!({"familyPrefix": "shop", "status": status}));
        let names: Vec<String> = expected
            .iter()
            .map(|n| format!("arn:aws:ecs:us-east-1:123456789012:task-definition/shop:{n}"))
            .collect();
        assert_eq!(answer["taskDefinitionArns"], json!(names), "{status}");
    }
    assert_eq!(
        account.ok("RegisterTaskDefinition", definition(&json!({})))["taskDefinition"]["revision"],
        4,
        "a number is never used again"
    );
}

#[test]
fn a_service_is_created_once_per_token() {
    let mut account = Account::with_service(|seed| seed);
    let body = json!({"cluster": "prod", "serviceName": "one", "taskDefinition": "chat", "clientToken": "t"});
    let first = account.ok("CreateService", body.clone());
    assert_eq!(
        account.ok("CreateService", body.clone())["service"]["createdAt"],
        first["service"]["createdAt"]
    );
    let mut other = body;
    other["desiredCount"] = json!(3);
    assert_eq!(account.code("CreateService", &other), "InvalidParameterException");
}

#[test]
fn what_a_service_was_given_is_echoed_and_kept() {
    let given = json!({
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "propagateTags": "SERVICE",
        "enableExecuteCommand": true,
        "healthCheckGracePeriodSeconds": 30,
        "placementStrategy": [{"type": "spread", "field": "host"}],
        "serviceRegistries": [{"registryArn": "r"}],
    });
    let mut account = Account::with_service(|seed| {
        let with = given.as_object().unwrap().iter();
        with.fold(seed, |seed, (name, value)| seed.setting(name, value.clone())).target_group(80)
    });
    let balancers = account.service()["loadBalancers"].clone();
    account.ok("UpdateService", json!({"cluster": "prod", "service": "chat", "desiredCount": 1}));
    let service = account.service();
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&service[name], value, "{name}");
    }
    assert_eq!((&service["loadBalancers"], &service["launchType"]), (&balancers, &json!("EC2")));
    let none = json!({"cluster": "prod", "service": "chat", "loadBalancers": [], "serviceRegistries": []});
    account.ok("UpdateService", none);
    assert_eq!(account.service()["loadBalancers"], json!([]), "an empty list removes");
}

#[test]
fn lists_come_in_pages() {
    let mut account = Account::with_service(|seed| seed);
    for n in 0..12 {
        let body = json!({"cluster": "prod", "serviceName": format!("s{n:02}"), "taskDefinition": "chat"});
        account.ok("CreateService", body);
    }
    let (mut seen, mut token) = (Vec::new(), Value::Null);
    loop {
        let page = account.ok("ListServices", json!({"cluster": "prod", "nextToken": token}));
        let arns = page["serviceArns"].as_array().unwrap();
        assert!(arns.len() <= 10);
        seen.extend(arns.iter().map(|a| a.as_str().unwrap().to_owned()));
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    let different: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), different.len()), (13, 13));
}

#[test]
fn tags_are_given_changed_and_passed_on() {
    let mut account = Account::with_service(|seed| {
        seed.setting("tags", json!([{"key": "team", "value": "chat"}]))
            .setting("propagateTags", json!("SERVICE"))
            .setting("enableECSManagedTags", json!(true))
    });
    let arn = account.service()["serviceArn"].clone();
    account.ok("TagResource", json!({"resourceArn": arn, "tags": [{"key": "a", "value": "1"}]}));
    account.ok("UntagResource", json!({"resourceArn": arn, "tagKeys": ["team"]}));
    let asked = json!({"cluster": "prod", "services": ["chat"], "include": ["TAGS"]});
    assert_eq!(
        account.ok("DescribeServices", asked)["services"][0]["tags"],
        json!([{"key": "a", "value": "1"}])
    );
    let tasks =
        account.ok("ListTasks", json!({"cluster": "prod", "serviceName": "chat"}))["taskArns"].clone();
    let asked = json!({"cluster": "prod", "tasks": tasks, "include": ["TAGS"]});
    let tags = account.ok("DescribeTasks", asked)["tasks"][0]["tags"].clone();
    let expected = json!([
        {"key": "aws:ecs:clusterName", "value": "prod"},
        {"key": "aws:ecs:serviceName", "value": "chat"},
        {"key": "team", "value": "chat"},
    ]);
    assert_eq!(tags, expected, "as they were when the task began");
}

#[test]
fn an_account_without_instances_says_so() {
    let mut account = Account::with_service(|seed| seed);
    let listed = account.ok("ListContainerInstances", json!({"cluster": "prod"}));
    assert_eq!(listed["containerInstanceArns"], json!([]));
    let asked = json!({"cluster": "prod", "containerInstances": ["x"]});
    assert_eq!(account.ok("DescribeContainerInstances", asked)["failures"][0]["reason"], "MISSING");
    let seen = account.ok("DescribeCapacityProviders", json!({"capacityProviders": ["FARGATE", "mine"]}));
    assert_eq!(
        (&seen["capacityProviders"][0]["name"], &seen["failures"][0]["reason"]),
        (&json!("FARGATE"), &json!("MISSING"))
    );
    let daemon = json!({"cluster": "prod", "serviceName": "d", "taskDefinition": "chat", "schedulingStrategy": "DAEMON", "desiredCount": 4});
    assert_eq!(account.ok("CreateService", daemon)["service"]["desiredCount"], 0);
}
