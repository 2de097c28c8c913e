//! ECR and CloudWatch Logs.

mod account;

use account::Account;
use serde_json::{Value, json};

#[test]
fn a_repository_has_what_its_tags_promise_and_what_was_put_there() {
    let mut account = Account::new();
    let digest = |account: &mut Account, tag: &str| {
        let body = json!({"repositoryName": "chat", "imageIds": [{"imageTag": tag}]});
        account
            .call("DescribeImages", &body)
            .map(|a| a["imageDetails"][0]["imageDigest"].clone())
            .map_err(|e| e.code)
    };
    let crash = digest(&mut account, "crash-7").unwrap();
    assert_eq!(digest(&mut account, "v1"), Err("ImageNotFoundException".to_owned()));
    let manifest =
        account.ok("BatchGetImage", json!({"repositoryName": "chat", "imageIds": [{"imageDigest": crash}]}));
    let manifest = manifest["images"][0]["imageManifest"].clone();
    let put = json!({"repositoryName": "chat", "imageManifest": manifest, "imageTag": "v1"});
    account.ok("PutImage", put.clone());
    assert_eq!(digest(&mut account, "v1"), Ok(crash.clone()), "another tag of the same image");
    let definition = account.register("v1");
    assert_eq!(
        format!("{:?}", account.0.behaviours(&definition)),
        "[Crash]",
        "a digest keeps its first tag's behaviour"
    );
    assert_eq!(account.code("PutImage", &put), "ImageAlreadyExistsException");
    let wrong = json!({"repositoryName": "chat", "imageManifest": "{}", "imageDigest": "sha256:0"});
    assert_eq!(account.code("PutImage", &wrong), "ImageDigestDoesNotMatchException");
    let other = json!({"repositoryName": "chat", "registryId": "999999999999", "imageIds": []});
    assert_eq!(account.code("BatchGetImage", &other), "RepositoryNotFoundException");
    let absent =
        account.ok("BatchGetImage", json!({"repositoryName": "chat", "imageIds": [{"imageTag": "v2"}]}));
    assert_eq!(absent["failures"][0]["failureCode"], "ImageNotFound");
}

#[test]
fn a_repository_lists_the_usual_images() {
    let mut account = Account::new();
    let listed = account.ok("ListImages", json!({"repositoryName": "chat", "maxResults": 1000}));
    let tags: Vec<&str> =
        listed["imageIds"].as_array().unwrap().iter().filter_map(|id| id["imageTag"].as_str()).collect();
    for tag in ["ok", "crash", "nopull", "unhealthy"] {
        assert!(tags.contains(&tag), "{tag} of {tags:?}");
    }
    let page = account.ok("ListImages", json!({"repositoryName": "chat", "maxResults": 5}));
    assert_eq!(page["imageIds"].as_array().unwrap().len(), 5);
    assert!(page["nextToken"].is_string());
    account.ok("CreateRepository", json!({"repositoryName": "chat"}));
    assert_eq!(
        account.code("CreateRepository", &json!({"repositoryName": "chat"})),
        "RepositoryAlreadyExistsException"
    );
}

#[test]
fn the_configuration_says_the_architecture() {
    let mut account = Account::new();
    let config = |account: &mut Account, tag: &str| {
        let found =
            account.ok("BatchGetImage", json!({"repositoryName": "chat", "imageIds": [{"imageTag": tag}]}));
        let manifest: Value =
            serde_json::from_str(found["images"][0]["imageManifest"].as_str().unwrap()).unwrap();
        manifest["config"]["digest"].clone()
    };
    for tag in ["ok-1", "ok-arm64"] {
        let digest = config(&mut account, tag);
        let url =
            account.ok("GetDownloadUrlForLayer", json!({"repositoryName": "chat", "layerDigest": digest}));
        assert!(url["downloadUrl"].as_str().unwrap().ends_with(digest.as_str().unwrap()), "{tag}: {url}");
    }
    let unknown = json!({"repositoryName": "chat", "layerDigest": "sha256:0"});
    assert_eq!(account.code("GetDownloadUrlForLayer", &unknown), "LayersNotFoundException");
}

#[test]
fn images_are_the_accounts_own_in_every_region() {
    let mut account = Account::with_service(|seed| seed);
    let rows = [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/chat:crash", "EssentialContainerExited"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/chat:v9", "TaskFailedToStart"),
        ("999999999999.dkr.ecr.us-east-1.amazonaws.com/chat:crash", ""),
        ("nginx:crash", ""),
    ];
    for (image, code) in rows {
        let container = json!([{"name": "app", "image": image}]);
        account.ok("RegisterTaskDefinition", json!({"family": "any", "containerDefinitions": container}));
        let made = account.ok("RunTask", json!({"cluster": "prod", "taskDefinition": "any"}));
        account.pass(20_000);
        let asked = json!({"cluster": "prod", "tasks": [made["tasks"][0]["taskArn"]]});
        let task = account.ok("DescribeTasks", asked)["tasks"][0].clone();
        assert_eq!(task["stopCode"].as_str().unwrap_or_default(), code, "{image}");
    }
}

#[test]
fn log_groups_are_made_described_and_removed() {
    let mut account = Account::with_service(|seed| seed);
    account.ok("CreateLogGroup", json!({"logGroupName": "/mine"}));
    assert_eq!(
        account.code("CreateLogGroup", &json!({"logGroupName": "/mine"})),
        "ResourceAlreadyExistsException"
    );
    account.ok("PutRetentionPolicy", json!({"logGroupName": "/mine", "retentionInDays": 7}));
    account.ok("CreateLogStream", json!({"logGroupName": "/mine", "logStreamName": "s"}));
    let groups = account.ok("DescribeLogGroups", json!({"logGroupNamePrefix": "/mine"}));
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
    let page = account.ok("DescribeLogGroups", json!({"limit": 1}));
    assert_eq!((page["logGroups"].as_array().unwrap().len(), &page["nextToken"]), (1, &json!("1")));
    let events = account.ok("GetLogEvents", json!({"logGroupName": "/mine", "logStreamName": "s"}));
    assert_eq!(events["events"], json!([]));
    account.ok("DeleteLogGroup", json!({"logGroupName": "/mine"}));
    let asked = json!({"logGroupName": "/mine", "logStreamName": "s"});
    assert_eq!(account.code("GetLogEvents", &asked), "ResourceNotFoundException");
}
