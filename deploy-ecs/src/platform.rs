//! A service as a platform: the table of contents of this crate.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use deploy_aws::ImageName;
use deploy_core::{
    Error, ErrorKind, Platform, Result,
    context::StepContext,
    model::{Actor, Goal, Motion, Observation, Plan, Revision, Scope, Snapshot, Step, StepId, millis},
    platform::{Logs, Outputs, PlanContext, Settled},
    state::journal::Intent,
};
use serde_json::Value;

use crate::{
    connection::Service,
    definition::{arn_of, component, declared},
    health::{self, Memory},
    images,
    plan::{self, Seen},
    snapshot::{self, Detail},
    steps::{register, update_service},
};

/// How many log lines of the first failing task an observation carries.
const LOG_LINES: usize = 20;
/// How often they are asked for: CloudWatch shows them some seconds after the task has ended.
const LOG_TRIES: u32 = 4;
/// The least time between two looks.
const SOONEST_MS: u64 = 250;

#[async_trait]
impl Platform for Service {
    async fn inspect(&self) -> Result<Snapshot> {
        let at = self.client.aws.clock().now();
        let caller = self.client.aws.caller().await?;
        let service = self.client.describe().await?;
        let arn = service.task_definition().unwrap_or_default();
        let definition = self.client.definition(arn).await?;
        snapshot::take(at, &self.client.aws, caller, &service, &definition)
    }

    async fn plan(&self, goal: &Goal, now: &Snapshot, cx: &PlanContext) -> Result<Plan> {
        let service = &self.client.service;
        let detail = plan::check(now, &self.settings, service)?;
        let base = self.client.definition(&detail.task_definition).await?;
        let mut notes = Vec::new();
        let images = match goal {
            Goal::Deploy(release) => {
                let wanted = plan::wanted(release, &base, &self.settings, service)?;
                images::by_digest(&self.client, wanted, &base, &mut notes).await?
            }
            Goal::Restore(revision) => {
                self.startable(revision)
                    .await
                    .map_err(|error| error.context("this revision cannot be restored"))?;
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        let startable = self.ways_back(goal, now, &detail, cx, &mut notes).await?;
        let seen = Seen { base: &base, images, startable, notes };
        plan::make(goal, now, cx, &self.settings, service, seen)
    }

    async fn execute(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        match step.id.as_str() {
            "register" => register::execute(&self.client, step, cx).await,
            "update" | "back" => update_service::execute(&self.client, step, cx).await,
            other => Err(Error::new(ErrorKind::Unexpected, format!("ECS has no step {other}"))),
        }
    }

    async fn observe(&self, scope: &Scope) -> Result<Observation> {
        let facts = health::Facts::of(scope)?;
        let shown = self.client.looks.look(&self.client, self.last_look()).await;
        *self.last_look.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown.began);
        let look = health::look(shown.at, &facts, shown.service()?, &mut self.memory());
        let mut observation = look.observation;
        self.tell_who_reverts(&facts, &mut observation).await?;
        // In step with whoever made the look.
        let age = millis(self.client.aws.clock().elapsed().saturating_sub(shown.began));
        observation.look_again_ms = observation.look_again_ms.saturating_sub(age).max(SOONEST_MS);
        if look.wants_tasks {
            self.look_at_tasks(look.deployment.as_deref(), &mut observation).await;
        }
        Ok(observation)
    }

    async fn settle(&self, intent: &Intent, _: &StepContext) -> Result<Settled> {
        let text = |key: &str| intent.change.get(key).and_then(Value::as_str);
        let applied = |value: serde_json::Result<Value>| value.map_or(Settled::Unknown, Settled::Applied);
        match (intent.key.as_str(), text("base")) {
            ("register", Some(base)) => {
                let token = format!("{}-{}", intent.rollout, intent.id);
                if let Some(made) = register::find(&self.client, base, |made| made.made_by(&token)).await? {
                    return Ok(applied(serde_json::to_value(made)));
                }
            }
            // Nothing can be compared here (P0): the value on sight proves something only if nobody else can write it.
            ("update" | "stop", _) => {
                let seen = self.client.describe().await?;
                let arn = seen.task_definition().unwrap_or_default();
                let there = intent.to.as_ref() == Some(&declared(arn));
                if there && intent.exclusive && !intent.was_there {
                    return Ok(update_service::settled(&seen, arn)
                        .map_or(Settled::Unknown, |moved| applied(serde_json::to_value(moved))));
                }
                // Somebody who wrote after it may have written over it.
                if there || update_service::deployed_since(&seen, intent.signed_at) {
                    return Ok(Settled::Unknown);
                }
            }
            _ => return Ok(Settled::Unknown),
        }
        // Not there, and too late to come: only then it is certain.
        let over = self.client.aws.clock().now() > intent.late_bound;
        Ok(if over { Settled::NotApplied } else { Settled::Unknown })
    }

    fn scope(&self, plan: &Plan, step: &StepId, outputs: &Outputs) -> Result<Scope> {
        let Some(found) = plan.step(step) else {
            return Err(Error::new(ErrorKind::Unexpected, format!("the plan has no step {step}")));
        };
        let component = component();
        // What `watch` watches is what `update` did; before and without it, the base stays.
        let mover = if step.as_str() == "watch" { plan.step(&StepId::from("update")) } else { Some(found) };
        match mover {
            Some(mover) if matches!(mover.id.as_str(), "update" | "back") => {
                let (revision, _) = update_service::target(mover, outputs)?;
                let handle = match outputs.get(&mover.id) {
                    Some(moved) => moved.clone(),
                    None => update_service::unanswered(plan, mover, outputs),
                };
                Ok(Scope::Toward { component, revision, handle })
            }
            None => Ok(Scope::Toward { component, revision: plan.base.clone(), handle: Value::Null }),
            Some(_) => Ok(Scope::Holding { component, revision: plan.base.clone() }),
        }
    }

    async fn revisions(&self, limit: usize) -> Result<Vec<Revision>> {
        let service = self.client.describe().await?;
        let family = crate::definition::family_of(service.task_definition().unwrap_or_default()).to_owned();
        let mut revisions = Vec::new();
        for arn in self.client.definitions(&family, limit).await? {
            revisions.push(self.client.definition(&arn).await?.revision());
        }
        Ok(revisions)
    }

    async fn startable(&self, revision: &Revision) -> Result<()> {
        let definition = self.client.definition(arn_of(revision)?).await?;
        if !definition.active {
            let text = format!("{} is deregistered: no service can be updated to it", definition.name());
            return Err(
                Error::new(ErrorKind::NotFound, text).next("choose another revision, or register it again")
            );
        }
        for (container, image) in definition.images() {
            match self.client.aws.image(&ImageName::parse(&image)).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let text =
                        format!("{}: the image of container {container} is gone: {image}", definition.name());
                    return Err(Error::new(ErrorKind::NotFound, text)
                        .next("choose another revision, or push it again"));
                }
                // Who may deploy need not be allowed to read the registry: what it cannot show is no reason to refuse.
                Err(error) => tracing::debug!(%error, %image, "cannot tell whether the image exists"),
            }
        }
        Ok(())
    }

    fn logs(&self) -> Option<Arc<dyn Logs>> {
        Some(Arc::new(self.clone()))
    }
}

impl Service {
    fn last_look(&self) -> Option<Duration> {
        *self.last_look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// ECS goes back by itself, and it goes back because it was asked to stop the deployment: both look alike.
    async fn tell_who_reverts(&self, facts: &health::Facts, observation: &mut Observation) -> Result<()> {
        let Motion::PlatformRevert { to, .. } = &observation.motion else { return Ok(()) };
        let Some(deployment) = facts.moved.service_deployment_arn.as_deref() else { return Ok(()) };
        let known = self.memory().stopped;
        let stopped = match known {
            Some(stopped) => stopped,
            None => self.client.was_stopped(deployment).await?,
        };
        self.memory().stopped = Some(stopped);
        if stopped {
            let by = Some(Actor("a request to stop the deployment".into()));
            observation.motion = Motion::Foreign { revision: to.clone(), by };
        }
        Ok(())
    }

    /// Known good, then what runs steadily: those of them that could be started now.
    async fn ways_back(
        &self,
        goal: &Goal,
        now: &Snapshot,
        detail: &Detail,
        cx: &PlanContext,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Revision>> {
        if matches!(goal, Goal::Adopt) {
            return Ok(Vec::new());
        }
        let runs = now.steady.then_some(&now.serving);
        let good =
            cx.known_good.as_ref().filter(|good| arn_of(good).ok() != Some(detail.task_definition.as_str()));
        // Known good is what runs: then its record is the better one, and it is asked about once.
        let runs = runs.or(cx.known_good.as_ref().filter(|_| good.is_none()));
        let mut startable = Vec::new();
        for revision in good.into_iter().chain(runs) {
            match self.startable(revision).await {
                Ok(()) => startable.push(revision.clone()),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                    notes.push(format!("{} is no way back: {error}", revision.name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(startable)
    }

    /// Adds what the stopped tasks of our deployment tell. A look without them is still a look, so its errors are kept
    /// for the screens and nothing else.
    async fn look_at_tasks(&self, deployment: Option<&str>, observation: &mut Observation) {
        let tasks = match self.client.stopped_tasks().await {
            Ok(tasks) => tasks,
            Err(error) => {
                observation.notes.insert("stopped tasks".into(), error.to_string());
                Vec::new()
            }
        };
        let wanted = {
            let mut memory = self.memory();
            health::remember(&tasks, deployment, &mut memory);
            health::wants_log(&memory, LOG_TRIES)
        };
        if let Some((task, arn, container)) = wanted {
            let lines = async {
                let definition = self.client.definition(&arn).await?;
                self.lines(&definition, container.as_deref(), &task, LOG_LINES).await
            };
            let lines = lines.await;
            let mut memory = self.memory();
            memory.log_tries += 1;
            match lines {
                Ok(lines) if !lines.is_empty() => drop(memory.logs.insert(task, lines)),
                Ok(_) => {}
                Err(error) => drop(observation.notes.insert("log".into(), error.to_string())),
            }
        }
        let memory = self.memory();
        let mut signals = health::signals(&memory.faults, &memory.logs);
        signals.append(&mut observation.signals);
        observation.signals = signals;
        observation.instances =
            memory.faults.values().rev().take(10).map(|(_, instance)| instance.clone()).collect();
    }
}
