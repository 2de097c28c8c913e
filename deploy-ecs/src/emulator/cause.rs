//! Why tasks stop, in the words of ECS.

use super::behaviour::Behaviour;
use super::core::Core;
use super::state::Task;

/// Why a task stops: what its description will say.
pub(super) struct Cause {
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) container_reason: Option<String>,
    pub(super) exit_code: Option<i64>,
}

impl Cause {
    pub(super) fn scheduler(reason: String) -> Self {
        Self { code: "ServiceSchedulerInitiated", reason, container_reason: None, exit_code: None }
    }

    pub(super) fn user(reason: &str) -> Self {
        let reason = if reason.is_empty() { "Task stopped by user" } else { reason };
        Self { code: "UserInitiated", reason: reason.to_owned(), container_reason: None, exit_code: None }
    }

    fn exited(exit_code: i64, container_reason: Option<&str>) -> Self {
        Self {
            code: "EssentialContainerExited",
            reason: "Essential container in task exited".to_owned(),
            container_reason: container_reason.map(str::to_owned),
            exit_code: Some(exit_code),
        }
    }

    /// Something around the task has ended it.
    fn taken(code: &'static str, reason: &str) -> Self {
        Self { code, reason: reason.to_owned(), container_reason: None, exit_code: Some(143) }
    }

    fn not_started(reason: String) -> Self {
        Self { code: "TaskFailedToStart", container_reason: Some(reason.clone()), reason, exit_code: None }
    }

    /// Whether the release is to blame, in the eyes of the service scheduler.
    pub(super) fn blames_release(&self) -> bool {
        matches!(self.code, "TaskFailedToStart" | "EssentialContainerExited")
            || self.reason.contains("health checks")
    }
}

/// Why a task whose time has come stops.
pub(super) fn own_cause(core: &Core, task: &Task) -> Cause {
    let image = task.containers.get(task.culprit).map_or("", |c| c.image.as_str());
    match task.behaviour {
        Behaviour::Crash | Behaviour::Flaky => Cause::exited(1, None),
        Behaviour::Oom => Cause::exited(137, Some("OutOfMemoryError: Container killed due to memory usage")),
        Behaviour::Segv => Cause::exited(139, None),
        Behaviour::NoPull => Cause::not_started(format!(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: \
             {image}: not found"
        )),
        Behaviour::NoManifest => Cause::not_started(format!(
            "CannotPullImageManifestError: Error response from daemon: manifest for {image} not found: manifest unknown: \
             Requested image not found"
        )),
        Behaviour::PullLimit => Cause::not_started(format!(
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): httpReadSeeker: failed open: \
             unexpected status code {image}: 429 Too Many Requests - Server message: toomanyrequests: You have reached \
             your pull rate limit."
        )),
        Behaviour::BadCmd => Cause::not_started(
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: \
             failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
             process: exec: \"/app/srv\": stat /app/srv: no such file or directory: unknown"
                .to_owned(),
        ),
        Behaviour::NoCreate => Cause::not_started(
            "CannotCreateContainerError: Error response from daemon: invalid mount config for type \"bind\": bind source \
             path does not exist: /data"
                .to_owned(),
        ),
        Behaviour::NoRuntime => Cause::not_started(
            "ContainerRuntimeError: failed to create new container runtime task: failed to create shim task: context \
             deadline exceeded: unknown"
                .to_owned(),
        ),
        Behaviour::NoLogs => Cause {
            container_reason: None,
            ..Cause::not_started(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: \
                 failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not \
                 exist.: exit status 1"
                    .to_owned(),
            )
        },
        Behaviour::LostSecret => Cause {
            container_reason: None,
            ..Cause::not_started(format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval \
                 failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch \
                 secret arn:aws:secretsmanager:{}:{}:secret:app from secrets manager: ResourceNotFoundException: \
                 Secrets Manager can't find the specified secret.",
                core.config.region, core.config.account
            ))
        },
        Behaviour::NoSecret => Cause {
            container_reason: None,
            ..Cause::not_started(format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval \
                 failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch \
                 secret arn:aws:secretsmanager:{}:{}:secret:app from secrets manager: AccessDeniedException: is not \
                 authorized to perform: secretsmanager:GetSecretValue",
                core.config.region, core.config.account
            ))
        },
        Behaviour::NoNet => Cause {
            container_reason: None,
            ..Cause::not_started(format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry \
                 auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task \
                 network configuration. RequestError: send request failed caused by: Post \
                 \"https://api.ecr.{}.amazonaws.com/\": dial tcp: i/o timeout",
                core.config.region
            ))
        },
        Behaviour::Unhealthy => Cause::scheduler(match &task.checks.target {
            Some(target) => format!("Task failed ELB health checks in (target-group {})", target.group),
            None => "Task failed container health checks".to_owned(),
        }),
        Behaviour::Spot => Cause::taken("SpotInterruption", "Your Spot Task was interrupted."),
        Behaviour::Retired => Cause::taken(
            "TerminationNotice",
            "ECS is performing maintenance on the underlying infrastructure hosting the task.",
        ),
        Behaviour::Infra => Cause::taken(
            "InfrastructureHealth",
            "The task was stopped because its underlying infrastructure is impaired.",
        ),
        _ => Cause::exited(task.job.map_or(0, |job| job.exit_code), None),
    }
}
