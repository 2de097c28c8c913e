//! Services that are there already: where most tests begin.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::handle::Emulator;
use super::scheduler;
use super::world::World;
use super::{ecs, params::Params};

/// A service to be put into a World, steady at its first deployment.
#[derive(Clone, Debug)]
pub struct Seed {
    cluster: String,
    service: String,
    family: String,
    containers: Vec<Value>,
    desired: i64,
    settings: Map<String, Value>,
}

impl Seed {
    /// A service of one container, which logs to the group `/ecs/<service>` with the prefix `app`.
    pub fn new(
        cluster: &str,
        service: &str,
        family: &str,
        container: &str,
        image: &str,
        desired: i64,
    ) -> Self {
        let seed = Self {
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            family: family.to_owned(),
            containers: Vec::new(),
            desired,
            settings: Map::new(),
        };
        seed.container(container, image)
    }

    /// Adds a container.
    #[must_use]
    pub fn container(mut self, name: &str, image: &str) -> Self {
        self.containers.push(json!({
            "name": name,
            "image": image,
            "essential": true,
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": format!("/ecs/{}", self.service),
                "awslogs-region": "us-east-1",
                "awslogs-stream-prefix": "app",
            }},
        }));
        self
    }

    /// Sets a parameter of CreateService.
    #[must_use]
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// With the deployment circuit breaker, which rolls back or not.
    #[must_use]
    pub fn breaker(self, rollback: bool) -> Self {
        self.setting(
            "deploymentConfiguration",
            json!({"deploymentCircuitBreaker": {"enable": true, "rollback": rollback}}),
        )
    }

    /// Behind a target group, on this container port of the first container.
    #[must_use]
    pub fn target_group(self, port: u16) -> Self {
        let arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/app/73e2d6bc24d8a067";
        let name = self.containers.first().and_then(|c| c.get("name")).cloned();
        let balancer = json!({"targetGroupArn": arn, "containerName": name, "containerPort": port});
        self.setting("loadBalancers", json!([balancer]))
    }
}

impl World {
    /// Puts a service in, steady at its first deployment, which is COMPLETED; also its cluster and its task
    /// definition. Its tasks are well whatever their image is called.
    ///
    /// # Errors
    /// What the API says to a service like that.
    pub fn seed(&mut self, seed: &Seed) -> Result<(), ApiError> {
        let mut call = |action: &str, body: Value| ecs::call(self, action, Params::new(&body)?);
        call("CreateCluster", json!({"clusterName": seed.cluster}))?;
        let definition = json!({"family": seed.family, "containerDefinitions": seed.containers});
        let registered = call("RegisterTaskDefinition", definition)?;
        let mut service = Value::Object(seed.settings.clone());
        let arn = registered.pointer("/taskDefinition/taskDefinitionArn").cloned().unwrap_or_default();
        service["cluster"] = seed.cluster.clone().into();
        service["serviceName"] = seed.service.clone().into();
        service["taskDefinition"] = arn;
        service["desiredCount"] = seed.desired.into();
        call("CreateService", service)?;
        if let Some(cluster) = self.clusters.get_mut(&seed.cluster) {
            scheduler::make_steady(&mut self.core, cluster, &seed.service);
        }
        Ok(())
    }
}

impl Emulator {
    /// Puts a service in at the present time: see [`World::seed`].
    ///
    /// # Errors
    /// What the API says to a service like that.
    pub fn seed(&self, seed: &Seed) -> Result<(), ApiError> {
        self.with(|world| world.seed(seed))
    }

    /// Puts a plain service of one container in, without circuit breaker and load balancer.
    ///
    /// # Errors
    /// What the API says to a service like that.
    pub fn seed_service(
        &self,
        cluster: &str,
        service: &str,
        family: &str,
        container: &str,
        image: &str,
        desired: i64,
    ) -> Result<(), ApiError> {
        self.seed(&Seed::new(cluster, service, family, container, image, desired))
    }

    /// The reference to an image of the account's own registry: `image("chat", "ok-1")`.
    pub fn image(&self, repository: &str, tag: &str) -> String {
        self.with(|world| format!("{}/{repository}:{tag}", world.config().registry()))
    }
}
