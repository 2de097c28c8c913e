//! Ensuring that the service is at a revision: forward, for a restore, and for the way back.

use aws_sdk_ecs::types::{DeploymentRolloutState, Service};
use deploy_core::{
    EffectState, Error, ErrorKind, Result,
    context::StepContext,
    model::{Plan, Revision, Step, StepId, StepKind, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    client::Client,
    definition::{arn_of, component, declared, name_of},
    limits,
    steps::register::Registered,
};

/// What the step is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Data {
    /// Where to; absent: to what `register` made.
    pub(crate) to: Option<Revision>,
}

/// What the step returns: how `observe` knows our deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Moved {
    /// Our deployment, from UpdateService's answer.
    pub(crate) deployment_id: Option<String>,
    /// What it carries.
    pub(crate) task_definition_arn: String,
    /// What the service ran before.
    pub(crate) before_arn: Option<String>,
    /// The deployment that carried that: the platform's own way back brings its id again.
    pub(crate) before_id: Option<String>,
    /// The service deployment, which can be stopped.
    pub(crate) service_deployment_arn: Option<String>,
    /// The deployment before had completed: that is where ECS goes back to when ours is stopped.
    pub(crate) before_completed: bool,
    /// When it was sent: until some time after that, reads may be older.
    pub(crate) at: Option<Timestamp>,
}

/// The step that puts the service to a revision that exists.
pub(crate) fn to(id: &str, revision: &Revision, service: &str) -> Result<Step> {
    arn_of(revision)?;
    let title = format!("update service {service} to {}", revision.name);
    Ok(Step::new(id, component(), StepKind::Effect, title).with(json!({ "to": revision })))
}

/// The step that puts the service to what `register` made.
pub(crate) fn to_registered(base: &str, service: &str, floor: u32) -> Step {
    let family = crate::definition::family_of(base);
    let title = format!(
        "update service {service} to the new revision of {family}, rolling, healthy never below {floor}"
    );
    Step::new("update", component(), StepKind::Effect, title).with(json!({ "to": null }))
}

/// The revision that a step puts the service to.
pub(crate) fn target(step: &Step, outputs: &deploy_core::context::Outputs) -> Result<(Revision, bool)> {
    let data: Data = serde_json::from_value(step.data.clone()).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("the data of step {}", step.id)).because(error)
    })?;
    if let Some(revision) = data.to {
        return Ok((revision, false));
    }
    let missing = || Error::new(ErrorKind::Unexpected, "step register has returned nothing yet");
    let output = outputs.get(&StepId::from("register")).ok_or_else(missing)?;
    let registered: Registered = serde_json::from_value(output.clone())
        .map_err(|error| Error::new(ErrorKind::Malformed, "the output of register").because(error))?;
    Ok((registered.revision, true))
}

/// What is known of our update before it is answered: only what it starts from. Not yet there is not somebody else's.
pub(crate) fn unanswered(plan: &Plan, step: &Step, outputs: &deploy_core::context::Outputs) -> Value {
    let forward = plan.step(&StepId::from("update")).filter(|_| plan.is_undo(&step.id));
    let from = match forward.map(|forward| target(forward, outputs)) {
        Some(Ok((revision, _))) => arn_of(&revision).ok().map(str::to_owned),
        Some(Err(_)) => None,
        None => arn_of(&plan.base).ok().map(str::to_owned),
    };
    json!({ "beforeArn": from })
}

/// Whether something was deployed since then, or cannot be told not to have been: a deployment that is taken back to is
/// an old one, and only its last update is new.
pub(crate) fn deployed_since(service: &Service, at: Timestamp) -> bool {
    service.deployments().iter().any(|deployment| {
        let newest = deployment.created_at().into_iter().chain(deployment.updated_at());
        let newest = newest.filter_map(|time| time.to_millis().ok()).max();
        newest.is_none_or(|newest| newest >= at.as_millis())
    })
}

/// Looks, then updates: one `DescribeServices`, one `UpdateService`. The same update again, even late, makes no second
/// deployment, so it is sent even if a look (which may be stale) shows the revision already.
pub(crate) async fn execute(client: &Client, step: &Step, cx: &StepContext) -> Result<Value> {
    let (revision, ours) = target(step, cx.outputs())?;
    let arn = arn_of(&revision)?.to_owned();
    let seen = client.describe().await?;
    if seen.status() != Some("ACTIVE") {
        let text = format!("the service {} is {}", client.service, seen.status().unwrap_or("gone"));
        return Err(Error::new(ErrorKind::NotFound, text)
            .next("it was deleted while the deploy ran: create it again"));
    }
    let forward: Option<Moved> = cx.going_back().then(|| cx.output(&StepId::from("update")).ok()).flatten();
    let moved: Moved = if let Some(moved) = already_back(&seen, &arn, forward.as_ref()) {
        moved
    } else if let Some(moved) = stop(client, &seen, &arn, forward.as_ref(), cx).await? {
        moved
    } else {
        let (before_id, before_arn, before_completed) = before(&seen, &arn);
        let effect =
            cx.effect("update", json!({ "to": name_of(&arn) })).declares(component(), declared(&arn));
        // Only a revision that this deploy registered is written by nobody else.
        let effect = if ours { effect.exclusive() } else { effect };
        client.pace(&limits::SERVICE_MODIFY).await;
        effect
            .idempotent(|permit| async move {
                let at = Some(permit.signed_at());
                let updated = client.update(&arn, permit).await?;
                Ok(Moved {
                    deployment_id: Some(updated.deployment),
                    task_definition_arn: updated.task_definition,
                    before_arn,
                    before_id,
                    before_completed,
                    service_deployment_arn: updated.service_deployment,
                    at,
                })
            })
            .await?
    };
    serde_json::to_value(moved)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "the output of update").because(error))
}

/// The platform has gone back to the revision by itself, and the look is not an old one: it shows our forward
/// deployment, and shows that it is no longer the primary one. Then there is nothing to send.
fn already_back(seen: &Service, arn: &str, forward: Option<&Moved>) -> Option<Moved> {
    let forward = forward?;
    let ours = seen.deployments().iter().find(|one| one.id() == forward.deployment_id.as_deref())?;
    let primary = seen.deployments().iter().find(|one| one.status() == Some("PRIMARY"))?;
    let back = ours.id() != primary.id()
        && primary.task_definition() == Some(arn)
        && seen.task_definition() == Some(arn);
    back.then(|| Moved {
        deployment_id: primary.id().map(str::to_owned),
        task_definition_arn: arn.to_owned(),
        before_arn: ours.task_definition().map(str::to_owned),
        before_id: ours.id().map(str::to_owned),
        ..Moved::default()
    })
}

/// Stops our own deployment while it is under way, if what ECS goes back to then is the revision that is wanted: one
/// `StopServiceDeployment`. It names the deployment, so even late it undoes nobody else's change. `None`: it does not
/// apply, or ECS refused it; then the service is updated.
async fn stop(
    client: &Client,
    seen: &Service,
    arn: &str,
    forward: Option<&Moved>,
    cx: &StepContext,
) -> Result<Option<Moved>> {
    let Some(forward) = forward else { return Ok(None) };
    let goes_there = forward.before_completed && forward.before_arn.as_deref() == Some(arn);
    let ours = seen.deployments().iter().find(|one| one.status() == Some("PRIMARY"));
    let under_way = ours.is_some_and(|ours| {
        ours.id() == forward.deployment_id.as_deref()
            && ours.rollout_state() == Some(&DeploymentRolloutState::InProgress)
    });
    let (true, true, Some(deployment)) = (goes_there, under_way, forward.service_deployment_arn.clone())
    else {
        return Ok(None);
    };
    client.pace(&limits::DEPLOYMENT).await;
    let moved = Moved {
        deployment_id: forward.before_id.clone(),
        task_definition_arn: arn.to_owned(),
        before_arn: Some(forward.task_definition_arn.clone()),
        before_id: forward.deployment_id.clone(),
        ..Moved::default()
    };
    let stopped = cx
        .effect("stop", json!({ "to": name_of(arn), "deployment": deployment }))
        .declares(component(), declared(arn))
        .idempotent(|permit| async move {
            let at = Some(permit.signed_at());
            client.stop(&deployment, permit).await?;
            Ok(Moved { at, ..moved })
        })
        .await;
    match stopped {
        Ok(moved) => Ok(Some(moved)),
        // It has just ended, or we may not stop deployments: the other way remains.
        Err(error)
            if error.effect() == EffectState::NotApplied
                && matches!(
                    error.kind(),
                    ErrorKind::Conflict
                        | ErrorKind::Invalid
                        | ErrorKind::NotFound
                        | ErrorKind::PermissionDenied
                        | ErrorKind::Unsupported
                ) =>
        {
            tracing::debug!(%error, "the deployment cannot be stopped: the service is updated");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Deployment and task definition that the service has before it gets `arn`, and whether that deployment is completed.
fn before(seen: &Service, arn: &str) -> (Option<String>, Option<String>, bool) {
    let primary = seen.deployments().iter().find(|one| one.status() == Some("PRIMARY"));
    let primary = primary.filter(|one| one.task_definition() != Some(arn));
    (
        primary.and_then(|one| one.id()).map(str::to_owned),
        primary.and_then(|one| one.task_definition()).map(str::to_owned),
        primary.is_some_and(|one| one.rollout_state() == Some(&DeploymentRolloutState::Completed)),
    )
}

/// What is known of an update whose answer was lost, from a look: only that the revision which nobody else can write is
/// there proves anything before the late bound.
pub(crate) fn settled(seen: &Service, arn: &str) -> Option<Moved> {
    (seen.task_definition() == Some(arn)).then(|| {
        let primary = seen.deployments().iter().find(|one| one.task_definition() == Some(arn));
        Moved {
            deployment_id: primary.and_then(|one| one.id()).map(str::to_owned),
            task_definition_arn: arn.to_owned(),
            ..Moved::default()
        }
    })
}
