//! The few API calls that are used. Permits, repeated reads and error mapping live here only.

use std::sync::Arc;

use aws_sdk_ecs::{
    config::Builder,
    types::{
        DesiredStatus, Service, ServiceDeployment, ServiceDeploymentRollbackMonitorsStatus, SortOrder,
        StopServiceDeploymentStopType, Task, TaskDefinitionField, TaskDefinitionStatus,
    },
};
use deploy_aws::{Aws, Limit, sdk};
use deploy_core::{EffectState, Error, ErrorKind, Result, Retry, context::Permit};
use serde_json::Value;

use crate::{
    definition::Definition,
    limits,
    looks::{Described, Looks},
};

/// How many stopped tasks are looked at: one page of `ListTasks`, one `DescribeTasks`.
const STOPPED_TASKS: i32 = 100;

/// ECS, as far as one service needs it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) aws: Aws,
    ecs: aws_sdk_ecs::Client,
    pub(crate) looks: Arc<Looks>,
    pub(crate) cluster: String,
    pub(crate) service: String,
}

/// What UpdateService answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Updated {
    /// The deployment that carries the change.
    pub(crate) deployment: String,
    pub(crate) task_definition: String,
    /// The service deployment that carries it, where ECS names one.
    pub(crate) service_deployment: Option<String>,
}

impl Client {
    pub(crate) fn new(aws: Aws, looks: Arc<Looks>, cluster: String, service: String) -> Self {
        let ecs = aws_sdk_ecs::Client::new(aws.sdk_config());
        Self { aws, ecs, looks, cluster, service }
    }

    fn here(&self, call: &str) -> String {
        format!("{call} {}/{}", self.cluster, self.service)
    }

    /// The error of a read, which the rate budget is told of.
    fn failed<E>(&self, limit: &Limit, doing: &str, error: sdk::Failed<E>) -> Error
    where
        E: sdk::Metadata + std::error::Error + Send + Sync + 'static,
    {
        self.aws.noted(limit, sdk::map(doing, sdk::Sent::Read, error))
    }

    /// Waits until a mutation may be sent. Before its permit is asked for: a permit does not wait.
    pub(crate) async fn pace(&self, limit: &Limit) {
        self.aws.pace(limit).await;
    }

    /// One `DescribeServices` for these services of the cluster, ten at most, not repeated.
    pub(crate) async fn describe_all(&self, services: &[String]) -> Result<Described> {
        let doing = self.here("DescribeServices");
        let call = self.ecs.describe_services().cluster(&self.cluster);
        let call = call.set_services(Some(services.to_vec()));
        self.aws.pace(&limits::SERVICE_READ).await;
        let answer = Box::pin(call.send()).await;
        let answer = answer.map_err(|error| self.failed(&limits::SERVICE_READ, &doing, error))?;
        let failures = answer.failures.unwrap_or_default().into_iter().map(|failure| {
            (failure.arn.unwrap_or_default(), failure.reason.unwrap_or_else(|| "no reason given".into()))
        });
        let services = answer.services.unwrap_or_default().into_iter().map(Arc::new).collect();
        Ok(Described { services, failures: failures.collect() })
    }

    /// What an answer is that has neither the service nor a reason.
    pub(crate) fn neither(&self) -> Error {
        let doing = self.here("DescribeServices");
        Error::new(ErrorKind::Malformed, format!("{doing}: neither a service nor a failure"))
    }

    /// `DescribeServices` for this service alone, repeated if it passes: a fresh look, shared with nobody.
    pub(crate) async fn describe(&self) -> Result<Arc<Service>> {
        let clock = self.aws.clock();
        let alone = std::slice::from_ref(&self.service);
        sdk::read(&*clock, || async { self.describe_all(alone).await?.of(self, &self.service) }).await
    }

    /// One `DescribeTaskDefinition`, repeated if it passes.
    pub(crate) async fn definition(&self, name: &str) -> Result<Definition> {
        let clock = self.aws.clock();
        sdk::read(&*clock, || async {
            let doing = format!("DescribeTaskDefinition {name}");
            let attempt = sdk::Attempt::read();
            let call =
                self.ecs.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags);
            self.aws.pace(&limits::DEFINITION_READ).await;
            let ended = Box::pin(call.customize().interceptor(attempt.interceptor()).send()).await;
            let ended = attempt.ended(&doing, ended);
            ended.map_err(|error| self.aws.noted(&limits::DEFINITION_READ, error))?;
            Definition::read(&attempt.answer(&doing)?).map_err(|error| error.context(doing))
        })
        .await
        .map_err(|error| match error.kind() {
            // ECS calls an unknown task definition a bad request.
            ErrorKind::Invalid => {
                Error::new(ErrorKind::NotFound, format!("there is no task definition {name}")).because(error)
            }
            _ => error,
        })
    }

    /// ARNs of a family's active revisions, newest first. One `ListTaskDefinitions`, repeated if it passes.
    pub(crate) async fn definitions(&self, family: &str, limit: usize) -> Result<Vec<String>> {
        let limit = i32::try_from(limit.clamp(1, 100)).unwrap_or(100);
        let clock = self.aws.clock();
        let answer = sdk::read(&*clock, || async {
            let call = self.ecs.list_task_definitions().family_prefix(family).sort(SortOrder::Desc);
            let call = call.status(TaskDefinitionStatus::Active).max_results(limit);
            self.aws.pace(&limits::DEFINITION_READ).await;
            let answer = Box::pin(call.send()).await;
            let doing = format!("ListTaskDefinitions {family}");
            answer.map_err(|error| self.failed(&limits::DEFINITION_READ, &doing, error))
        })
        .await?;
        let mut arns = answer.task_definition_arns.unwrap_or_default();
        // The parameter is a prefix in name only, but nothing says that it stays so.
        arns.retain(|arn| crate::definition::family_of(arn) == family);
        Ok(arns)
    }

    /// The newest stopped tasks of the service. `ListTasks` and `DescribeTasks`, not repeated.
    pub(crate) async fn stopped_tasks(&self) -> Result<Vec<Task>> {
        let doing = self.here("ListTasks");
        let call = self.ecs.list_tasks().cluster(&self.cluster).service_name(&self.service);
        let call = call.desired_status(DesiredStatus::Stopped).max_results(STOPPED_TASKS);
        self.aws.pace(&limits::TASK_READ).await;
        let listed = Box::pin(call.send()).await;
        let listed = listed.map_err(|error| self.failed(&limits::TASK_READ, &doing, error))?;
        let arns = listed.task_arns.unwrap_or_default();
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        self.tasks(arns).await
    }

    /// One `DescribeTasks`, not repeated.
    pub(crate) async fn tasks(&self, tasks: Vec<String>) -> Result<Vec<Task>> {
        let doing = self.here("DescribeTasks");
        let call = self.ecs.describe_tasks().cluster(&self.cluster).set_tasks(Some(tasks));
        self.aws.pace(&limits::TASK_READ).await;
        let answer = Box::pin(call.send()).await;
        let answer = answer.map_err(|error| self.failed(&limits::TASK_READ, &doing, error))?;
        Ok(answer.tasks.unwrap_or_default())
    }

    /// Whether a deployment that went back did so on request, and not because ECS gave it up. One
    /// `DescribeServiceDeployments`, not repeated. `false` if that is not allowed: then it cannot be told.
    pub(crate) async fn was_stopped(&self, service_deployment: &str) -> Result<bool> {
        let doing = self.here("DescribeServiceDeployments");
        let call = self.ecs.describe_service_deployments().service_deployment_arns(service_deployment);
        self.aws.pace(&limits::DEPLOYMENT).await;
        let answer = Box::pin(call.send()).await;
        let answer = answer.map_err(|error| self.failed(&limits::DEPLOYMENT, &doing, error));
        match answer {
            Ok(answer) => Ok(answer.service_deployments().first().is_some_and(|one| !given_up(one))),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One `RegisterTaskDefinition` under a permit: this JSON, not what the SDK's structs know of it.
    pub(crate) async fn register(&self, family: &str, body: Value, permit: Permit) -> Result<Definition> {
        let doing = format!("RegisterTaskDefinition {family}");
        let attempt = sdk::Attempt::mutation(&permit).sending(body);
        let mut time = Builder::new();
        time.set_time_source(attempt.signing_time().map(Into::into));
        let call = self.ecs.register_task_definition().family(family).customize();
        let ended = Box::pin(call.config_override(time).interceptor(attempt.interceptor()).send()).await;
        let ended = attempt.ended(&doing, ended);
        ended.map_err(|error| self.aws.noted(&limits::DEFINITION_MODIFY, error))?;
        Definition::read(&attempt.answer(&doing)?).map_err(|error| unreadable(error, doing))
    }

    /// One `UpdateService` under a permit.
    pub(crate) async fn update(&self, task_definition: &str, permit: Permit) -> Result<Updated> {
        let doing = self.here("UpdateService");
        let attempt = sdk::Attempt::mutation(&permit);
        let mut time = Builder::new();
        time.set_time_source(attempt.signing_time().map(Into::into));
        let call = self.ecs.update_service().cluster(&self.cluster).service(&self.service);
        let call = call.task_definition(task_definition).customize();
        let ended = Box::pin(call.config_override(time).interceptor(attempt.interceptor()).send()).await;
        let answer = attempt.ended(&doing, ended);
        let answer = answer.map_err(|error| self.aws.noted(&limits::SERVICE_MODIFY, error))?;
        let service = answer.service.as_ref();
        let primary = service.and_then(|service| {
            service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"))
        });
        match primary.and_then(|primary| Some((primary.id()?, primary.task_definition()?))) {
            Some((id, arn)) => Ok(Updated {
                deployment: id.to_owned(),
                task_definition: arn.to_owned(),
                service_deployment: service
                    .and_then(|service| service.current_service_deployment())
                    .map(str::to_owned),
            }),
            None => {
                let error = Error::new(ErrorKind::Malformed, "the answer names no primary deployment");
                Err(unreadable(error, doing))
            }
        }
    }

    /// One `StopServiceDeployment` under a permit: ECS goes back to what completed last.
    pub(crate) async fn stop(&self, service_deployment: &str, permit: Permit) -> Result<()> {
        let doing = self.here("StopServiceDeployment");
        let attempt = sdk::Attempt::mutation(&permit);
        let mut time = Builder::new();
        time.set_time_source(attempt.signing_time().map(Into::into));
        let call = self.ecs.stop_service_deployment().service_deployment_arn(service_deployment);
        let call = call.stop_type(StopServiceDeploymentStopType::Rollback).customize();
        let ended = Box::pin(call.config_override(time).interceptor(attempt.interceptor()).send()).await;
        let ended = attempt.ended(&doing, ended);
        ended.map(drop).map_err(|error| self.aws.noted(&limits::DEPLOYMENT, error))
    }
}

/// Whether ECS gave a deployment up by itself.
fn given_up(deployment: &ServiceDeployment) -> bool {
    let breaker = deployment.deployment_circuit_breaker().and_then(|breaker| breaker.status());
    let alarms = deployment.alarms().map(|alarms| alarms.triggered_alarm_names());
    breaker == Some(&ServiceDeploymentRollbackMonitorsStatus::Triggered)
        || alarms.is_some_and(|names| !names.is_empty())
}

/// A mutation was answered with success, and the answer tells nothing: it is not known what happened.
fn unreadable(error: Error, doing: String) -> Error {
    error.context(doing).effect_as(EffectState::Unknown).retry_as(Retry::IfIdempotent)
}
