//! The circuit breaker: when it trips, where the service goes, and what is said about it.

mod account;

use account::{Account, deployment};
use deploy_ecs::emulator::Seed;
use serde_json::{Value, json};

fn breaker(rollback: bool, more: &Value) -> Value {
    let mut breaker = json!({"enable": true, "rollback": rollback});
    breaker.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"deploymentCircuitBreaker": breaker})
}

#[test]
fn it_trips_at_half_of_the_desired_count_within_three_and_two_hundred() {
    let threshold =
        |kind: &str, value: i64| json!({"thresholdConfiguration": {"type": kind, "value": value}});
    let rows = [
        (json!({}), 1, 3),
        (json!({}), 6, 3),
        (json!({}), 7, 4),
        (json!({}), 25, 13),
        (json!({}), 500, 200),
        (threshold("COUNT", 5), 2, 5),
        (threshold("UNBOUNDED_PERCENT", 50), 2, 1),
        (threshold("BOUNDED_PERCENT", 100), 8, 8),
    ];
    for (more, desired, expected) in rows {
        let with = |seed: Seed| seed.setting("deploymentConfiguration", breaker(true, &more));
        let mut account = Account::of("ok-1", desired, with);
        account.update("nopull");
        let seen = account.judged(900)["deploymentCircuitBreaker"].clone();
        assert_eq!(seen["threshold"], expected, "{more} of {desired}");
        assert_eq!((&seen["status"], &seen["failureCount"]), (&json!("TRIGGERED"), &json!(expected)));
    }
}

#[test]
fn the_latest_desired_count_counts() {
    let mut account =
        Account::with_service(|seed| seed.setting("deploymentConfiguration", breaker(true, &json!({}))));
    account.update("slow");
    account.ok("UpdateService", json!({"cluster": "prod", "service": "chat", "desiredCount": 20}));
    account.update("nopull");
    assert_eq!(account.judged(300)["deploymentCircuitBreaker"]["threshold"], 10);
}

#[test]
fn a_rollback_that_fails_is_said_to_have_failed() {
    // The old tasks make room for new ones, and their image cannot start again. The seeded tasks are well whatever
    // their image is called.
    let mut account = Account::of("badcmd", 2, |seed| {
        let mut configuration = breaker(true, &json!({}));
        configuration["maximumPercent"] = json!(100);
        configuration["minimumHealthyPercent"] = json!(0);
        seed.setting("deploymentConfiguration", configuration)
    });
    let old = account.service()["deployments"][0]["id"].as_str().unwrap().to_owned();
    let ours = account.update("crash");
    let now = account.until(300, |s| deployment(s, &ours)["rolloutState"] == "FAILED");
    assert_eq!(
        (&now["deployments"][0]["id"], &deployment(&now, &ours)["status"]),
        (&json!(old), &json!("ACTIVE"))
    );
    let now = account.until(300, |s| deployment(s, &old)["rolloutState"] == "FAILED");
    assert_eq!((&now["deployments"][0]["id"], &now["runningCount"]), (&json!(old), &json!(0)));
    let ended = account.service_deployment();
    assert_eq!(ended["status"], "ROLLBACK_FAILED");
    assert!(ended["finishedAt"].as_f64() > ended["rollback"]["startedAt"].as_f64(), "{ended}");
    // Those that had been started before.
    account.pass(10_000);
    let before = account.ok("ListTasks", json!({"cluster": "prod", "desiredStatus": "STOPPED"}));
    account.pass(120_000);
    let after = account.ok("ListTasks", json!({"cluster": "prod", "desiredStatus": "STOPPED"}));
    assert_eq!(before, after, "nothing more is started");
}

#[test]
fn a_first_deployment_has_nowhere_to_go_back_to() {
    let mut account = Account::with_service(|seed| seed);
    let definition = account.register("crash");
    let body = json!({"cluster": "prod", "serviceName": "new", "taskDefinition": definition, "desiredCount": 1,
        "deploymentConfiguration": breaker(true, &json!({}))});
    account.ok("CreateService", body);
    account.pass(120_000);
    let look = json!({"cluster": "prod", "services": ["new"]});
    let now = account.ok("DescribeServices", look)["services"][0].clone();
    assert_eq!(
        (&now["deployments"][0]["rolloutState"], &now["deployments"][0]["status"]),
        (&json!("FAILED"), &json!("PRIMARY"))
    );
    assert_eq!((&now["runningCount"], &now["pendingCount"]), (&json!(0), &json!(0)));
}

#[test]
fn a_healthy_task_begins_the_count_anew_unless_it_must_not() {
    for (reset, expected) in [(true, "SUCCESSFUL"), (false, "ROLLBACK_SUCCESSFUL")] {
        let mut account = Account::of("ok-1", 4, |seed| {
            seed.setting("deploymentConfiguration", breaker(true, &json!({"resetOnHealthyTask": reset})))
        });
        // Checked every second, so that the good ones of a round are healthy before the others have crashed.
        let container = json!([{"name": "app", "image": account.image("half"),
            "healthCheck": {"command": ["CMD", "true"], "interval": 1}}]);
        account.ok("RegisterTaskDefinition", json!({"family": "chat", "containerDefinitions": container}));
        let update = json!({"cluster": "prod", "service": "chat", "taskDefinition": "chat"});
        account.ok("UpdateService", update);
        account.pass(300_000);
        assert_eq!(account.service_deployment()["status"], expected, "reset: {reset}");
    }
}

#[test]
fn a_failed_deployment_can_be_seen_as_long_as_it_is_told() {
    for (tag, listed_ms) in [("nopull", 10_000), ("crash", 10_000), ("nopull", 0)] {
        let mut account =
            Account::with_service(|seed| seed.setting("deploymentConfiguration", breaker(true, &json!({}))));
        account.0.config_mut().timings.failed_listed_ms = listed_ms;
        let ours = account.update(tag);
        account.until(60, |s| deployment(s, &ours)["rolloutState"] == "FAILED");
        for (after_ms, expected) in [(9_000, listed_ms > 0), (2_000, false)] {
            account.pass(after_ms);
            let now = account.service();
            assert_eq!(
                deployment(&now, &ours)["status"] == "ACTIVE",
                expected,
                "{tag}, {listed_ms} ms: {now}"
            );
        }
        assert_eq!(account.service_deployment()["status"], "ROLLBACK_SUCCESSFUL");
    }
}
