//! What the control plane remembers.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::behaviour::Behaviour;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) active: bool,
    pub(super) settings: Map<String, Value>,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) tasks: BTreeMap<String, Task>,
    /// RunTask's client tokens: what was asked, and the tasks that it made.
    pub(super) run_tokens: BTreeMap<String, (Value, Vec<String>)>,
}

/// A task definition as it was registered, with unknown fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TaskDefinition {
    pub(super) arn: String,
    pub(super) family: String,
    pub(super) revision: i64,
    pub(super) status: DefinitionStatus,
    pub(super) registered_at: i64,
    pub(super) deregistered_at: Option<i64>,
    pub(super) delete_requested_at: Option<i64>,
    pub(super) fields: Map<String, Value>,
}

/// A definition that is being deleted stays so: what refers to it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum DefinitionStatus {
    Active,
    Inactive,
    DeleteInProgress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ServiceStatus {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "DRAINING")]
    Draining,
    #[serde(rename = "INACTIVE")]
    Inactive,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) cluster: String,
    pub(super) cluster_arn: String,
    pub(super) status: ServiceStatus,
    pub(super) desired: i64,
    pub(super) task_definition: String,
    /// Everything else that create and update were given, by its name in the API.
    pub(super) settings: Map<String, Value>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) service_deployments: Vec<ServiceDeployment>,
    pub(super) revisions: Vec<Revision>,
    pub(super) events: VecDeque<Event>,
    pub(super) created_at: i64,
    pub(super) created_from: Value,
    /// When the scheduler looks at this service next.
    pub(super) wake: Option<i64>,
    pub(super) steady: bool,
    pub(super) last_completed: Option<String>,
    /// How it was described right before each of the latest updates, oldest first: what stale reads return.
    pub(super) past: VecDeque<(i64, Value)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) at: i64,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rollout {
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
    #[serde(rename = "COMPLETED")]
    Completed,
    #[serde(rename = "FAILED")]
    Failed,
}

/// An entry of a service's `deployments`. Its number is its service revision's too, which is why a rollback
/// brings the old id back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub(super) number: String,
    pub(super) primary: bool,
    pub(super) task_definition: String,
    pub(super) state: Rollout,
    pub(super) reason: String,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) failed_tasks: i64,
    /// Failed tasks in a row, for the scheduler's back-off.
    pub(super) streak: i64,
    pub(super) next_launch_at: i64,
    /// Failed with nowhere to go back to: nothing more is started.
    pub(super) stalled: bool,
}

impl Deployment {
    pub(super) fn id(&self) -> String {
        format!("ecs-svc/{}", self.number)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Revision {
    pub(super) number: String,
    pub(super) task_definition: String,
    pub(super) settings: Map<String, Value>,
    pub(super) images: Vec<Image>,
    pub(super) created_at: i64,
}

/// A container's image, resolved once for all tasks of a revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) container: String,
    pub(super) image: String,
    pub(super) digest: Option<String>,
    pub(super) behaviour: Behaviour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum SdStatus {
    Pending,
    InProgress,
    Successful,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl SdStatus {
    pub(super) fn finished(self) -> bool {
        matches!(self, Self::Successful | Self::Stopped | Self::RollbackSuccessful | Self::RollbackFailed)
    }

    pub(super) fn rolling_back(self) -> bool {
        matches!(self, Self::RollbackRequested | Self::RollbackInProgress)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum BreakerStatus {
    Disabled,
    Monitoring,
    MonitoringComplete,
    Triggered,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ServiceDeployment {
    pub(super) arn: String,
    /// The deployment and service revision that it brings.
    pub(super) number: String,
    pub(super) sources: Vec<String>,
    pub(super) status: SdStatus,
    pub(super) reason: Option<String>,
    pub(super) created_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) updated_at: i64,
    pub(super) finished_at: Option<i64>,
    pub(super) stopped_at: Option<i64>,
    pub(super) breaker: BreakerStatus,
    pub(super) failures: i64,
    pub(super) threshold: i64,
    pub(super) rollback: Option<RollbackRecord>,
    pub(super) configuration: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RollbackRecord {
    pub(super) reason: String,
    pub(super) started_at: i64,
    pub(super) number: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Phase {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) cluster: String,
    pub(super) cluster_arn: String,
    pub(super) task_definition: String,
    pub(super) family: String,
    pub(super) group: String,
    pub(super) started_by: Option<String>,
    pub(super) service: Option<String>,
    pub(super) phase: Phase,
    /// False once somebody wants it stopped.
    pub(super) wanted: bool,
    pub(super) version: i64,
    pub(super) behaviour: Behaviour,
    pub(super) culprit: usize,
    pub(super) containers: Vec<Container>,
    pub(super) checks: Checks,
    pub(super) job: Option<Job>,
    /// The subnet of its network interface, if it has one of its own.
    pub(super) subnet: Option<String>,
    /// Timers of an earlier generation are void: a stop replaces whatever the task was about to do.
    pub(super) generation: u64,
    /// Passed its checks, or ran long enough to count.
    pub(super) healthy: bool,
    pub(super) failed: bool,
    pub(super) created_at: i64,
    pub(super) pull_started_at: Option<i64>,
    pub(super) pull_stopped_at: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) stopping_at: Option<i64>,
    pub(super) stopped_at: Option<i64>,
    pub(super) stop_code: Option<String>,
    pub(super) stopped_reason: Option<String>,
    /// What the request or the service says about it, by its name in the API.
    pub(super) fields: Map<String, Value>,
}

impl Task {
    pub(super) fn starting(&self) -> bool {
        self.wanted && self.phase < Phase::Running
    }

    pub(super) fn running(&self) -> bool {
        self.wanted && self.phase == Phase::Running
    }

    /// Still holds its deployment in the service's list.
    pub(super) fn remains(&self) -> bool {
        self.phase < Phase::Deprovisioning
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) digest: Option<String>,
    pub(super) exit_code: Option<i64>,
    pub(super) reason: Option<String>,
    /// `None` without a health check in the task definition.
    pub(super) health: Option<String>,
    pub(super) log: Option<(String, String)>,
}

/// What somebody told a one-off task to do: it ends when that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) lasts_ms: i64,
    pub(super) exit_code: i64,
}

/// The health checks that a task is under.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Checks {
    pub(super) container: Option<ContainerCheck>,
    pub(super) target: Option<TargetCheck>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ContainerCheck {
    pub(super) start_ms: i64,
    pub(super) interval_ms: i64,
    pub(super) retries: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TargetCheck {
    pub(super) group: String,
    pub(super) port: i64,
    pub(super) grace_ms: i64,
}
