//! The control plane: a pure, synchronous value. Time is told to it.

use std::collections::BTreeMap;

use deploy_core::model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::config::Config;
use super::core::{Core, Timer};
use super::error::ApiError;
use super::ledger::{self, Caller, Change};
use super::params::Params;
use super::state::Cluster;
use super::wire::Call;
use super::{ecs, ecs_services, scheduler, shapes};

/// How long a role that was taken is good for.
const ROLE_MS: i64 = 3_600_000;

/// A service of AWS that the emulator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Api {
    /// Amazon ECS.
    Ecs,
    /// Amazon ECR.
    Ecr,
    /// CloudWatch Logs.
    Logs,
    /// AWS STS.
    Sts,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LateCall {
    api: Api,
    action: String,
    body: Value,
    agent: String,
    /// When its signature has expired: it is refused from then on.
    until: i64,
}

/// The account: clusters, services, tasks, images, logs, and everything that is going to happen to them.
///
/// It does nothing by itself: [`World::advance`] lets time pass, [`World::call`] is a request that arrives. The
/// same seed, calls and times give the same answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct World {
    pub(super) core: Core,
    pub(super) clusters: BTreeMap<String, Cluster>,
    late: BTreeMap<u64, LateCall>,
    late_calls: u64,
}

impl World {
    /// An empty account.
    pub fn new(config: Config) -> Self {
        Self { core: Core::new(config), clusters: BTreeMap::new(), late: BTreeMap::new(), late_calls: 0 }
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// What it was made with, to be changed: later events follow the change.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.core.config
    }

    /// The time of the last event or call, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.core.now
    }

    /// When something happens next, if anything does.
    pub fn next_event_ms(&self) -> Option<i64> {
        self.core.next_timer()
    }

    /// Lets everything happen that is due until `now_ms`, in its order. Time never goes back: an earlier time
    /// than the last one changes nothing.
    pub fn advance(&mut self, now_ms: i64) {
        while let Some(timer) = self.core.take_due(now_ms) {
            match timer {
                Timer::Task { cluster, task, generation, step } => {
                    if let Some(cluster) = self.clusters.get_mut(&cluster) {
                        scheduler::task_step(&mut self.core, cluster, &task, generation, step);
                    }
                }
                Timer::Service { cluster, service } => {
                    if let Some(cluster) = self.clusters.get_mut(&cluster) {
                        scheduler::fire(&mut self.core, cluster, &service);
                    }
                }
                Timer::Late { call } => {
                    if let Some(call) = self.late.remove(&call)
                        && self.core.now <= call.until
                    {
                        self.core.caller = Caller { agent: call.agent, late: true };
                        // Nobody waits for the answer; an error of it is as lost as a success.
                        drop(self.apply(call.api, &call.action, &call.body));
                        self.core.caller = Caller::default();
                    }
                }
            }
        }
        self.core.now = self.core.now.max(now_ms);
    }

    /// A request arrives at `now_ms`.
    ///
    /// # Errors
    /// What AWS answers to a request that it refuses; throttling is one of those.
    pub fn call(&mut self, now_ms: i64, api: Api, action: &str, body: &Value) -> Result<Value, ApiError> {
        self.advance(now_ms);
        if api == Api::Ecs && self.core.config.throttling && !self.core.buckets.take(action, self.core.now) {
            return Err(ApiError::throttled());
        }
        self.apply(api, action, body)
    }

    /// A request of somebody who says who he is arrives, and its answer may be older than the request.
    pub(super) fn call_as(&mut self, now_ms: i64, call: &Call, lag_ms: i64) -> Result<Value, ApiError> {
        self.advance(now_ms);
        self.core.caller = Caller { agent: call.agent.clone(), late: false };
        self.core.lag_ms = lag_ms;
        let answer = self.call(now_ms, call.api, &call.action, &call.body);
        self.core.caller = Caller::default();
        self.core.lag_ms = 0;
        answer
    }

    /// A request that is on its way at `now_ms` and arrives `after_ms` later, unless its signature has expired by then.
    pub(super) fn call_late(&mut self, now_ms: i64, after_ms: i64, call: &Call) {
        self.advance(now_ms);
        let now = self.core.now;
        let honoured = self.core.config.signature_ms;
        // Signed on another clock altogether, such as a foreign client's: then it counts from now.
        let signed = call.signed_ms.filter(|at| (now - at).abs() <= honoured).unwrap_or(now);
        self.late_calls += 1;
        let (number, until) = (self.late_calls, signed.saturating_add(honoured));
        let (api, action, body) = (call.api, call.action.clone(), call.body.clone());
        self.late.insert(number, LateCall { api, action, body, agent: call.agent.clone(), until });
        self.core.set_timer(now.saturating_add(after_ms.max(0)), Timer::Late { call: number });
    }

    /// Whoever has sent what is on its way is gone: it arrives within so many milliseconds.
    pub fn hasten(&mut self, within_ms: i64) {
        let latest = self.core.now.saturating_add(within_ms.max(0));
        let calls: Vec<u64> = self.late.keys().copied().collect();
        for call in calls {
            self.core.set_timer(latest, Timer::Late { call });
        }
    }

    /// How many calls are on their way and have not arrived.
    pub fn under_way(&self) -> usize {
        self.late.len()
    }

    /// What task definitions and services have become so far, oldest first.
    pub fn changes(&self) -> &[Change] {
        &self.core.ledger
    }

    fn apply(&mut self, api: Api, action: &str, body: &Value) -> Result<Value, ApiError> {
        let params = Params::new(body)?;
        match api {
            Api::Ecs => {
                shapes::check(action, params.all())?;
                let before = ecs::runs(self, action, params);
                let answer = ecs::call(self, action, params)?;
                ledger::called(&mut self.core, action, before.as_deref(), &answer);
                Ok(answer)
            }
            Api::Ecr => self.core.registry.call(&self.core.config, self.core.now, action, params),
            Api::Logs => self.core.logs.call(&self.core.config, self.core.now, action, params),
            Api::Sts if action == "GetCallerIdentity" => {
                let config = &self.core.config;
                Ok(json!({
                    "Arn": config.caller_arn(), "UserId": "AIDAEMULATEDUSER00000", "Account": config.account,
                }))
            }
            Api::Sts if action == "AssumeRole" => self.assume_role(params),
            Api::Sts => Err(ApiError::client("InvalidAction", format!("Could not find operation {action}"))),
        }
    }

    /// Everybody may take every role: credentials are not checked here.
    fn assume_role(&self, params: Params<'_>) -> Result<Value, ApiError> {
        let (role, session) = (params.need("RoleArn")?, params.need("RoleSessionName")?);
        let name = role.rsplit('/').next().unwrap_or(role);
        let config = &self.core.config;
        let ends = Timestamp::from_millis(self.core.now.saturating_add(ROLE_MS));
        Ok(json!({
            "Credentials": {
                "AccessKeyId": "ASIAEMULATED", "SecretAccessKey": "emulator", "SessionToken": "emulator",
                "Expiration": ends.to_string(),
            },
            "AssumedRoleUser": {
                "AssumedRoleId": format!("AROAEMULATED:{session}"),
                "Arn": format!("arn:aws:sts::{}:assumed-role/{name}/{session}", config.account),
            },
        }))
    }

    /// Puts an image under a tag of one of the account's repositories, behaving as told. Returns its digest.
    pub fn put_image(&mut self, repository: &str, tag: &str, behaviour: Behaviour) -> String {
        self.core.registry.put_behaving(self.core.now, repository, tag, behaviour)
    }

    /// The digest under a tag, if there is such an image.
    pub fn image_digest(&mut self, repository: &str, tag: &str) -> Option<String> {
        self.core.registry.by_tag(self.core.now, repository, tag).map(|(digest, _)| digest)
    }

    /// What is behind a download URL of the registry: an image's configuration, as JSON.
    pub(super) fn layer(&self, digest: &str) -> Option<String> {
        self.core.registry.config_blob(None, digest).map(str::to_owned)
    }

    /// How the containers of a task definition behave, given as `family:revision` or ARN.
    pub fn behaviours(&mut self, task_definition: &str) -> Vec<Behaviour> {
        let Some(definition) = self.core.task_definition(task_definition).cloned() else { return Vec::new() };
        ecs_services::images(self, &definition).into_iter().map(|image| image.behaviour).collect()
    }

    /// Everything, as JSON that [`World::restore`] reads.
    pub fn snapshot(&self) -> Value {
        // Serialising plain data into a value cannot fail: all its map keys are strings or numbers.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The world of a snapshot.
    ///
    /// # Errors
    /// If the value is not a snapshot.
    pub fn restore(snapshot: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(snapshot)
    }
}
