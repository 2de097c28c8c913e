//! One emulated service, and what is true of it.

use std::{collections::BTreeSet, sync::Arc};

use deploy_core::{
    Error, ErrorKind, Platform, Result,
    clock::Clock,
    memory::Writer,
    model::{Fence, Release, RolloutId},
};
use serde_json::{Value, json};

use crate::{
    connection::Ecs,
    definition::name_of,
    emulator::{Api, Behaviour, Change, ChangeKind, Config, Emulator, Seed},
};

pub(super) const CLUSTER: &str = "prod-website";
pub(super) const SERVICE: &str = "prod-api";
pub(super) const FAMILY: &str = "prod-api-task";
pub(super) const CONTAINER: &str = "api";
const REPOSITORY: &str = "shop-api";

/// An account with one service behind a load balancer, which alone tells that a task is unhealthy.
#[derive(Debug, Clone)]
pub(super) struct Here {
    pub(super) emulator: Emulator,
    breaker: bool,
    desired: u32,
}

fn failed(what: &str, error: &crate::emulator::ApiError) -> Error {
    Error::new(ErrorKind::Unexpected, format!("{what}: {}: {}", error.code, error.message))
}

impl Here {
    /// In steady state at `ok-0`.
    pub(super) fn new(config: Config, breaker: bool, desired: u32) -> Result<Self> {
        let here = Self { emulator: Emulator::new(config), breaker, desired };
        here.seed()?;
        here.emulator.reset_calls();
        Ok(here)
    }

    fn seed(&self) -> Result<()> {
        let image = self.emulator.image(REPOSITORY, "ok-0");
        let seed = Seed::new(CLUSTER, SERVICE, FAMILY, CONTAINER, &image, i64::from(self.desired));
        let seed = if self.breaker { seed.breaker(true) } else { seed };
        self.emulator.seed(&seed.target_group(8080)).map_err(|error| failed("the first service", &error))
    }

    /// The credentials lead to another account, where a service of the same name runs.
    pub(super) fn move_to_account(&self, account: &str) -> Result<()> {
        self.emulator.with(|world| {
            let now = world.now_ms();
            let config = Config { account: account.to_owned(), start_ms: now, ..world.config().clone() };
            *world = crate::emulator::World::new(config);
        });
        self.seed()
    }

    pub(super) fn place(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Platform>> {
        Ok(Arc::new(Ecs::emulated(&self.emulator, clock)?.service(CLUSTER, SERVICE).family(FAMILY)))
    }

    /// A call as another client would make it, without fault and delay.
    pub(super) fn call(&self, action: &str, body: &Value) -> Result<Value> {
        self.emulator.call(Api::Ecs, action, body).map_err(|error| failed(action, &error))
    }

    pub(super) fn release(&self, behaviour: &str, number: u64) -> Release {
        let image = self.emulator.image(REPOSITORY, &format!("{behaviour}-{number}"));
        Release::of_what_runs().image(CONTAINER, image)
    }

    /// Somebody else registers a revision and points the service to it: `family:revision`.
    pub(super) fn foreign_change(&self, tag: &str) -> Result<String> {
        let image = self.emulator.image(REPOSITORY, tag);
        let container = json!({"name": CONTAINER, "image": image, "essential": true});
        let made = self.call(
            "RegisterTaskDefinition",
            &json!({"family": FAMILY, "containerDefinitions": [container]}),
        )?;
        let arn = &made["taskDefinition"]["taskDefinitionArn"];
        self.call("UpdateService", &json!({"cluster": CLUSTER, "service": SERVICE, "taskDefinition": arn}))?;
        Ok(name_of(arn.as_str().unwrap_or_default()).to_owned())
    }

    fn service(&self) -> Result<Value> {
        let answer = self.call("DescribeServices", &json!({"cluster": CLUSTER, "services": [SERVICE]}))?;
        Ok(answer["services"][0].clone())
    }

    /// `family:revision` that the service declares.
    pub(super) fn declared(&self) -> Result<String> {
        let service = self.service()?;
        Ok(name_of(service["taskDefinition"].as_str().unwrap_or_default()).to_owned())
    }

    /// Whether all that runs is what is declared, and nothing is being replaced.
    pub(super) fn is_steady(&self) -> Result<bool> {
        let service = self.service()?;
        let deployments = service["deployments"].as_array().cloned().unwrap_or_default();
        let one = deployments.len() == 1 && deployments[0]["rolloutState"] == "COMPLETED";
        Ok(one && service["runningCount"] == service["desiredCount"] && service["pendingCount"] == 0)
    }

    /// What has had an effect. ECS keeps every registration, so one that arrives after its deploy has made it again
    /// leaves a revision that nobody runs: harmless, and the only trace of a late call that nothing can keep out.
    pub(super) fn changes(&self) -> Vec<Change> {
        let all = self.emulator.with(|world| world.changes().to_vec());
        let deploy = |change: &Change| match writer(change) {
            Writer::Deploy { rollout, .. } => Some(rollout),
            _ => None,
        };
        let mut registered = BTreeSet::new();
        let mut kept = Vec::new();
        for change in all {
            let first = match deploy(&change).filter(|_| change.kind == ChangeKind::Registered) {
                Some(rollout) => registered.insert(rollout),
                None => true,
            };
            if first || !change.late {
                kept.push(change);
            }
        }
        kept
    }

    /// Whether a revision can never be healthy.
    pub(super) fn is_bad(&self, revision: &str) -> bool {
        let lives = [
            Behaviour::Ok,
            Behaviour::Slow,
            Behaviour::Flaky,
            Behaviour::Spot,
            Behaviour::Retired,
            Behaviour::Infra,
            Behaviour::PullLimit,
        ];
        let behaviours = self.emulator.with(|world| world.behaviours(revision));
        behaviours.iter().any(|behaviour| !lives.contains(behaviour))
    }
}

/// Who made a change: the user agent names deploy, intent and fence.
pub(super) fn writer(change: &Change) -> Writer {
    let named = change.agent.rsplit_once(deploy_aws::sdk::AGENT).map(|(_, named)| named);
    let Some(named) = named else { return Writer::Someone("somebody".to_owned()) };
    let parsed = named.split_once('#').and_then(|(token, fence)| {
        let (rollout, intent) = token.rsplit_once('-')?;
        Some((rollout, intent.parse().ok()?, fence.parse().ok()?))
    });
    match parsed {
        Some((rollout, intent, fence)) => {
            Writer::Deploy { rollout: RolloutId::from(rollout), intent: Some(intent), fence: Fence(fence) }
        }
        None => Writer::Someone(named.to_owned()),
    }
}
