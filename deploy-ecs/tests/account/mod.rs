//! An emulated account, asked as the protocol asks, in virtual time.
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses its own part of this")]

use deploy_ecs::emulator::{Api, ApiError, Config, Seed, World};
use serde_json::{Value, json};

pub(crate) struct Account(pub(crate) World);

impl Account {
    pub(crate) fn new() -> Self {
        Self(World::new(Config { throttling: false, ..Config::default() }))
    }

    /// With `prod/chat`: two steady tasks of `chat:1`, image `chat:ok-1`.
    pub(crate) fn with_service(change: impl FnOnce(Seed) -> Seed) -> Self {
        Self::of("ok-1", 2, change)
    }

    /// As many tasks as that of an image with this tag; they are steady whatever their image is called.
    pub(crate) fn of(tag: &str, desired: i64, change: impl FnOnce(Seed) -> Seed) -> Self {
        let mut account = Self::new();
        let seed = Seed::new("prod", "chat", "chat", "app", &account.image(tag), desired);
        account.0.seed(&change(seed)).unwrap();
        account
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/chat:{tag}", self.0.config().registry())
    }

    pub(crate) fn call(&mut self, action: &str, body: &Value) -> Result<Value, ApiError> {
        let api = match action {
            "DescribeImages"
            | "BatchGetImage"
            | "ListImages"
            | "PutImage"
            | "CreateRepository"
            | "DescribeRepositories"
            | "GetAuthorizationToken"
            | "GetDownloadUrlForLayer" => Api::Ecr,
            action if action.contains("Log") => Api::Logs,
            "PutRetentionPolicy" => Api::Logs,
            _ => Api::Ecs,
        };
        let now = self.0.now_ms();
        self.0.call(now, api, action, body)
    }

    pub(crate) fn ok(&mut self, action: &str, body: Value) -> Value {
        self.call(action, &body).unwrap_or_else(|error| panic!("{action} {body}: {error}"))
    }

    /// The error code, or `ok`.
    pub(crate) fn code(&mut self, action: &str, body: &Value) -> String {
        self.call(action, body).map_or_else(|error| error.code, |_| "ok".to_owned())
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        let then = self.0.now_ms() + ms;
        self.0.advance(then);
    }

    pub(crate) fn register(&mut self, tag: &str) -> String {
        let container = json!({"name": "app", "image": self.image(tag)});
        let made =
            self.ok("RegisterTaskDefinition", json!({"family": "chat", "containerDefinitions": [container]}));
        made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// Updates the seeded service; the id of the new deployment.
    pub(crate) fn update(&mut self, tag: &str) -> String {
        let definition = self.register(tag);
        let body = json!({"cluster": "prod", "service": "chat", "taskDefinition": definition});
        let answer = self.ok("UpdateService", body);
        answer["service"]["deployments"][0]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn service(&mut self) -> Value {
        self.ok("DescribeServices", json!({"cluster": "prod", "services": ["chat"]}))["services"][0].clone()
    }

    /// The newest service deployment.
    pub(crate) fn service_deployment(&mut self) -> Value {
        let arn = self.service()["currentServiceDeployment"].clone();
        let answer = self.ok("DescribeServiceDeployments", json!({"serviceDeploymentArns": [arn]}));
        answer["serviceDeployments"][0].clone()
    }

    /// Lets time pass until the newest service deployment is on its way back, or has ended; what it says.
    pub(crate) fn judged(&mut self, limit_s: i64) -> Value {
        for _ in 0..limit_s {
            let seen = self.service_deployment();
            if !["PENDING", "IN_PROGRESS"].contains(&seen["status"].as_str().unwrap()) {
                return seen;
            }
            self.pass(1_000);
        }
        panic!("not judged after {limit_s} s: {:#}", self.service());
    }

    /// Looks every quarter of a second until it is so.
    pub(crate) fn until(&mut self, limit_s: i64, so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..limit_s * 4 {
            let service = self.service();
            if so(&service) {
                return service;
            }
            self.pass(250);
        }
        panic!("not so after {limit_s} s: {:#}", self.service());
    }
}

/// What a deployment of a described service says about itself.
pub(crate) fn deployment<'a>(service: &'a Value, id: &str) -> &'a Value {
    let all = service["deployments"].as_array().unwrap();
    all.iter().find(|d| d["id"] == id).unwrap_or(&Value::Null)
}
