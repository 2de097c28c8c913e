//! Tasks: one-off ones, what they are told, how they are found, and every reason that one stops for.

mod account;

use account::Account;
use serde_json::{Value, json};

/// Runs a task of the image; its description once it has stopped, or after five minutes.
fn run(account: &mut Account, tag: &str, more: &Value) -> Value {
    let definition = account.register(tag);
    let mut body = json!({"cluster": "prod", "taskDefinition": definition});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = account.ok("RunTask", body);
    account.pass(300_000);
    describe(account, &made["tasks"][0]["taskArn"])
}

fn describe(account: &mut Account, arn: &Value) -> Value {
    account.ok("DescribeTasks", json!({"cluster": "prod", "tasks": [arn]}))["tasks"][0].clone()
}

#[test]
fn every_reason_is_said_in_the_words_of_ecs() {
    let (exited, failed) = ("EssentialContainerExited", "TaskFailedToStart");
    let essential = "Essential container in task exited";
    let rows = [
        ("crash", exited, essential, Some(1)),
        ("exit0", exited, essential, Some(0)),
        ("oom", exited, essential, Some(137)),
        ("segv", exited, essential, Some(139)),
        ("flaky", exited, essential, Some(1)),
        ("nopull", failed, "CannotPullContainerError: ", None),
        ("v1", failed, "CannotPullContainerError: ", None),
        ("nomanifest", failed, "CannotPullImageManifestError: ", None),
        ("pulllimit", failed, "CannotPullContainerError: ", None),
        ("badcmd", failed, "CannotStartContainerError: ", None),
        ("nocreate", failed, "CannotCreateContainerError: ", None),
        ("noruntime", failed, "ContainerRuntimeError: ", None),
        ("nosecret", failed, "ResourceInitializationError: unable to pull secrets", None),
        ("lostsecret", failed, "ResourceInitializationError: unable to pull secrets", None),
        ("nologs", failed, "ResourceInitializationError: failed to validate logger args", None),
        ("nonet", failed, "ResourceInitializationError: unable to pull secrets", None),
        ("spot", "SpotInterruption", "Your Spot Task was interrupted.", Some(143)),
        ("retired", "TerminationNotice", "ECS is performing maintenance", Some(143)),
        ("infra", "InfrastructureHealth", "The task was stopped because", Some(143)),
    ];
    let mut account = Account::with_service(|seed| seed);
    for (tag, code, reason, exit) in rows {
        let task = run(&mut account, tag, &json!({}));
        assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!(code)), "{tag}");
        assert!(
            task["stoppedReason"].as_str().unwrap().starts_with(reason),
            "{tag}: {}",
            task["stoppedReason"]
        );
        assert_eq!(task["containers"][0]["exitCode"], json!(exit), "{tag}");
    }
    for tag in ["ok", "slow", "unhealthy"] {
        let task = run(&mut account, tag, &json!({}));
        assert_eq!(task["lastStatus"], "RUNNING", "{tag}");
    }
}

#[test]
fn a_task_that_was_told_a_command_ends_with_it() {
    let rows = [
        ("ok", json!(["migrate"]), 5.0, 0),
        ("ok", json!(["sh", "-c", "sleep 20; exit 3"]), 20.0, 3),
        ("crash", json!(["sh", "-c", "sleep 20"]), 3.0, 1),
    ];
    let mut account = Account::with_service(|seed| seed);
    for (tag, command, seconds, exit) in rows {
        let overrides = json!({"containerOverrides": [{"name": "app", "command": command}]});
        let task = run(&mut account, tag, &json!({"overrides": overrides}));
        assert_eq!(task["containers"][0]["exitCode"], exit, "{command}");
        let lived = task["stoppingAt"].as_f64().unwrap() - task["startedAt"].as_f64().unwrap();
        assert!((lived - seconds).abs() < 0.01, "{command}: {lived} s");
        assert_eq!(task["overrides"]["containerOverrides"], overrides["containerOverrides"]);
    }
}

#[test]
fn a_token_names_the_tasks_that_it_has_made() {
    let mut account = Account::with_service(|seed| seed);
    let body = json!({"cluster": "prod", "taskDefinition": "chat", "clientToken": "t", "count": 2});
    let arns = |answer: &Value| -> Vec<Value> {
        answer["tasks"].as_array().unwrap().iter().map(|t| t["taskArn"].clone()).collect()
    };
    let first = arns(&account.ok("RunTask", body.clone()));
    assert_eq!((first.len(), &arns(&account.ok("RunTask", body.clone()))), (2, &first));
    let mut other = body;
    other["count"] = json!(1);
    let error = account.call("RunTask", &other).unwrap_err();
    assert_eq!((error.code.as_str(), json!(error.resource_ids)), ("ConflictException", json!(first)));
}

#[test]
fn tasks_are_found_by_each_filter() {
    let mut account = Account::with_service(|seed| seed);
    let image = account.image("ok-1");
    let container = json!([{"name": "app", "image": image}]);
    account.ok(
        "RegisterTaskDefinition",
        json!({"family": "job", "containerDefinitions": container, "networkMode": "awsvpc"}),
    );
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-7"]}});
    let body = json!({"cluster": "prod", "taskDefinition": "job", "startedBy": "me", "launchType": "FARGATE",
        "networkConfiguration": network, "count": 3});
    let task = account.ok("RunTask", body)["tasks"][0].clone();
    account.ok("StopTask", json!({"cluster": "prod", "task": task["taskArn"]}));
    let rows = [
        (json!({}), 4),
        (json!({"serviceName": "chat"}), 2),
        (json!({"family": "job"}), 2),
        (json!({"startedBy": "me"}), 2),
        (json!({"startedBy": "me", "desiredStatus": "STOPPED"}), 1),
        (json!({"desiredStatus": "STOPPED"}), 1),
        (json!({"desiredStatus": "PENDING"}), 0),
        (json!({"launchType": "FARGATE"}), 2),
        (json!({"launchType": "EC2"}), 2),
        (json!({"containerInstance": "x"}), 0),
        (json!({"maxResults": 3}), 3),
    ];
    for (filter, expected) in rows {
        let mut body = filter.clone();
        body["cluster"] = json!("prod");
        let found = account.ok("ListTasks", body)["taskArns"].as_array().unwrap().len();
        assert_eq!(found, expected, "{filter}");
    }
    let details = task["attachments"][0]["details"].as_array().unwrap();
    assert_eq!(details[0], json!({"name": "subnetId", "value": "subnet-7"}));
    assert_eq!(task["platformVersion"], "1.4.0");
}

#[test]
fn what_cannot_be_placed_is_a_failure_and_no_error() {
    let mut account = Account::with_service(|seed| seed);
    let definition = account.register("nocapacity");
    let answer = account.ok("RunTask", json!({"cluster": "prod", "taskDefinition": definition}));
    assert_eq!(answer["tasks"], json!([]));
    assert!(answer["failures"][0]["reason"].as_str().unwrap().starts_with("Capacity is unavailable"));
}

#[test]
fn a_stopped_service_task_is_replaced() {
    let mut account = Account::with_service(|seed| seed);
    let tasks =
        account.ok("ListTasks", json!({"cluster": "prod", "serviceName": "chat"}))["taskArns"].clone();
    let before = account.service()["deployments"][0]["id"].clone();
    account.ok("StopTask", json!({"cluster": "prod", "task": tasks[0], "reason": "why not"}));
    assert_eq!(account.service()["runningCount"], 1);
    let after = account.until(10, |s| s["runningCount"] == 2);
    assert_eq!(
        (&after["deployments"][0]["id"], &after["deployments"][0]["failedTasks"]),
        (&before, &json!(0))
    );
    assert_eq!(describe(&mut account, &tasks[0])["stopCode"], "UserInitiated");
}
