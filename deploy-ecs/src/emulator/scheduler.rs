//! The service scheduler: starts what is missing, stops what is too much, and says when a service is steady.

use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::cause::{self, Cause};
use super::core::{Core, Step, Timer};
use super::ecs_services::launch_fields;
use super::ecs_tags::launch_tags;
use super::lifecycle::{self, Launch};
use super::params::{count, int_at};
use super::rollout;
use super::state::{Cluster, Deployment, Event, Rollout, Service, ServiceStatus, TargetCheck, Task};

/// Failed tasks in a row after which the scheduler says that it cannot start tasks.
const IMPAIRED_AFTER: i64 = 3;
/// Events that a service remembers.
const EVENTS: usize = 100;

/// Looks at a service again after `after` milliseconds, or earlier if that is already planned.
pub(super) fn wake(core: &mut Core, service: &mut Service, after: i64) {
    let at = core.now.saturating_add(after.max(0));
    if service.wake.is_some_and(|planned| planned <= at) {
        return;
    }
    service.wake = Some(at);
    core.set_timer(at, Timer::Service { cluster: service.cluster.clone(), service: service.name.clone() });
}

pub(super) fn say(core: &mut Core, service: &mut Service, message: String) {
    let raw = core.rng.hex32();
    let (a, rest) = raw.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    let id = format!("{a}-{b}-{c}-{d}-{e}");
    service.events.push_front(Event { id, at: core.now, message });
    service.events.truncate(EVENTS);
}

/// A service's timer fired.
pub(super) fn fire(core: &mut Core, cluster: &mut Cluster, name: &str) {
    let Some(mut service) = cluster.services.remove(name) else { return };
    // A timer that an earlier wake-up replaced.
    if service.wake.is_some_and(|at| at <= core.now) {
        service.wake = None;
        reconcile(core, cluster, &mut service);
    }
    cluster.services.insert(name.to_owned(), service);
}

fn of<'a>(cluster: &'a Cluster, service: &'a Service) -> impl Iterator<Item = &'a Task> {
    cluster.tasks.values().filter(move |t| t.service.as_deref() == Some(&service.name))
}

fn belongs(task: &Task, deployment: &Deployment) -> bool {
    task.started_by.as_deref().and_then(|id| id.strip_prefix("ecs-svc/")) == Some(deployment.number.as_str())
}

/// One look at the service.
pub(super) fn reconcile(core: &mut Core, cluster: &mut Cluster, service: &mut Service) {
    match service.status {
        ServiceStatus::Inactive => return,
        ServiceStatus::Draining => {
            drain(core, cluster, service);
            return;
        }
        ServiceStatus::Active => {}
    }
    rollout::begin(core, service);
    launch_missing(core, cluster, service);
    retire(core, cluster, service);
    unlist(core, cluster, service);
    settle(core, cluster, service);
}

/// Takes the deployments out of the list that are over.
fn unlist(core: &mut Core, cluster: &Cluster, service: &mut Service) {
    let (now, listed_ms) = (core.now, core.config.timings.failed_listed_ms);
    let left = |d: &Deployment| d.updated_at.saturating_add(listed_ms).saturating_sub(now);
    let lingers = |d: &Deployment| d.state == Rollout::Failed && left(d) > 0;
    let kept: Vec<Deployment> = std::mem::take(&mut service.deployments)
        .into_iter()
        .filter(|d| d.primary || lingers(d) || of(cluster, service).any(|t| t.remains() && belongs(t, d)))
        .collect();
    service.deployments = kept;
    if let Some(after) = service.deployments.iter().filter(|d| !d.primary && lingers(d)).map(left).min() {
        wake(core, service, after);
    }
}

fn drain(core: &mut Core, cluster: &mut Cluster, service: &mut Service) {
    let name = service.name.clone();
    let mut remaining = false;
    for task in cluster.tasks.values_mut().filter(|t| t.service.as_deref() == Some(&name)) {
        let reason = format!(
            "Scaling activity initiated by (deployment {})",
            task.started_by.as_deref().unwrap_or_default()
        );
        lifecycle::stop(core, task, Cause::scheduler(reason));
        remaining |= task.remains();
    }
    if !remaining {
        service.status = ServiceStatus::Inactive;
        service.deployments.clear();
        service.desired = 0;
    }
}

/// The most and the fewest tasks that the deployment configuration allows.
fn bounds(service: &Service) -> (i64, i64) {
    let empty = Value::Null;
    let configuration = service.settings.get("deploymentConfiguration").unwrap_or(&empty);
    let most = int_at(configuration, "/maximumPercent").unwrap_or(200);
    let fewest = int_at(configuration, "/minimumHealthyPercent").unwrap_or(100);
    (service.desired * most / 100, (service.desired * fewest + 99) / 100)
}

fn launch_missing(core: &mut Core, cluster: &mut Cluster, service: &mut Service) {
    let Some(primary) = service.deployments.iter().find(|d| d.primary).cloned() else { return };
    if primary.stalled {
        return;
    }
    let live = count(of(cluster, service).filter(|t| t.wanted).count());
    let own = count(of(cluster, service).filter(|t| t.wanted && belongs(t, &primary)).count());
    let missing = (service.desired - own).min(bounds(service).0 - live);
    if missing <= 0 {
        return;
    }
    if core.now < primary.next_launch_at {
        let after = primary.next_launch_at - core.now;
        wake(core, service, after);
        return;
    }
    let Some(revision) = service.revisions.iter().find(|r| r.number == primary.number).cloned() else {
        return;
    };
    service.steady = false;
    if revision.images.iter().any(|i| i.behaviour == Behaviour::NoCapacity) {
        say(
            core,
            service,
            format!(
                "(service {}) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again \
             later or in a different availability zone. For more information, see the Troubleshooting section of the \
             Amazon ECS Developer Guide.",
                service.name
            ),
        );
        let again = core.config.timings.place_again_ms;
        failed_task(core, service, &primary.number, Some(again));
        return;
    }
    let tags = launch_tags(core, &service.settings, &revision.task_definition, &cluster.name, Some(service));
    let fields = launch_fields(&service.settings);
    let mut ids = Vec::new();
    for _ in 0..missing {
        ids.push(lifecycle::launch(
            core,
            cluster,
            Launch {
                task_definition: &revision.task_definition,
                images: &revision.images,
                started_by: Some(primary.id()),
                service: Some(service.name.clone()),
                group: format!("service:{}", service.name),
                target: target_check(service),
                job: None,
                network: service.settings.get("networkConfiguration"),
                tags: tags.clone(),
                fields: fields.clone(),
            },
        ));
    }
    let listed: Vec<String> = ids.iter().map(|id| format!("(task {id})")).collect();
    say(
        core,
        service,
        format!("(service {}) has started {} tasks: {}.", service.name, ids.len(), listed.join(" ")),
    );
}

fn settings_int(service: &Service, key: &str) -> i64 {
    service.settings.get(key).and_then(|v| int_at(v, "")).unwrap_or(0)
}

fn target_check(service: &Service) -> Option<TargetCheck> {
    let balancer = service.settings.get("loadBalancers")?.as_array()?.first()?;
    Some(TargetCheck {
        group: balancer.get("targetGroupArn")?.as_str()?.to_owned(),
        port: int_at(balancer, "/containerPort").unwrap_or(80),
        grace_ms: settings_int(service, "healthCheckGracePeriodSeconds") * 1000,
    })
}

/// Stops tasks of older deployments as the new ones become healthy, and what is too much of the primary's own.
fn retire(core: &mut Core, cluster: &mut Cluster, service: &mut Service) {
    let Some(primary) = service.deployments.iter().find(|d| d.primary).cloned() else { return };
    let (most, fewest) = bounds(service);
    let mut live = count(of(cluster, service).filter(|t| t.wanted).count());
    let mut healthy = count(of(cluster, service).filter(|t| t.wanted && t.healthy).count());
    let own = count(of(cluster, service).filter(|t| t.wanted && belongs(t, &primary)).count());
    let mut missing = (service.desired - own).max(0);
    let mut old: Vec<(bool, bool, i64, String)> = of(cluster, service)
        .filter(|t| t.wanted && !belongs(t, &primary))
        .map(|t| (t.running(), t.healthy, t.created_at, t.id.clone()))
        .collect();
    old.sort();
    let mut stopping = Vec::new();
    if !primary.stalled {
        for (running, is_healthy, _, id) in old {
            // One that runs goes only if enough healthy ones stay; below `desired` only to make room for a new
            // one. It serves even before it counts as healthy; one that does not run yet is of no use.
            let room = missing > 0 && live >= most;
            let stay = healthy - i64::from(is_healthy);
            if running && stay < service.desired.max(fewest) && !(room && stay >= fewest) {
                continue;
            }
            healthy = stay;
            live -= 1;
            if room {
                missing -= 1;
            }
            stopping.push(id);
        }
    }
    let mut mine: Vec<(bool, std::cmp::Reverse<i64>, String)> = of(cluster, service)
        .filter(|t| t.wanted && belongs(t, &primary))
        .map(|t| (t.healthy, std::cmp::Reverse(t.created_at), t.id.clone()))
        .collect();
    mine.sort();
    let excess = usize::try_from(own - service.desired).unwrap_or(0);
    stopping.extend(mine.into_iter().take(excess).map(|(_, _, id)| id));
    if stopping.is_empty() {
        return;
    }
    service.steady = false;
    let draining = target_check(service).is_some();
    for id in &stopping {
        if let Some(task) = cluster.tasks.get_mut(id) {
            let reason = format!("Scaling activity initiated by (deployment {})", primary.id());
            lifecycle::stop(core, task, Cause::scheduler(reason));
        }
    }
    let listed: Vec<String> = stopping.iter().map(|id| format!("(task {id})")).collect();
    if draining {
        say(
            core,
            service,
            format!("(service {}) has begun draining connections on {} tasks.", service.name, stopping.len()),
        );
    }
    say(
        core,
        service,
        format!(
            "(service {}) has stopped {} running tasks: {}.",
            service.name,
            stopping.len(),
            listed.join(" ")
        ),
    );
    let after = core.config.timings.reconcile_ms;
    wake(core, service, after);
}

fn settle(core: &mut Core, cluster: &Cluster, service: &mut Service) {
    if service.deployments.len() != 1 || service.steady {
        return;
    }
    let tasks: Vec<&Task> = of(cluster, service).filter(|t| t.wanted).collect();
    let Some(primary) = service.deployments.first() else { return };
    let good = tasks.iter().filter(|t| t.running() && t.healthy && belongs(t, primary)).count();
    if count(good) != service.desired || tasks.len() != good || primary.stalled {
        return;
    }
    service.steady = true;
    if primary.state == Rollout::InProgress {
        rollout::complete(core, service);
    }
    say(core, service, format!("(service {}) has reached a steady state.", service.name));
}

/// A task's timer fired: the task moves, and its service hears of it.
pub(super) fn task_step(core: &mut Core, cluster: &mut Cluster, id: &str, generation: u64, step: Step) {
    let Some(mut task) = cluster.tasks.remove(id) else { return };
    let mut owner = task.service.as_ref().and_then(|name| cluster.services.remove(name));
    if task.generation == generation && step != Step::Forget {
        apply(core, &mut task, owner.as_mut(), step);
    }
    if task.generation != generation || step != Step::Forget {
        cluster.tasks.insert(id.to_owned(), task);
    }
    if let Some(mut service) = owner.take() {
        let after = core.config.timings.reconcile_ms;
        if !matches!(step, Step::Pending | Step::Activating | Step::Forget) {
            wake(core, &mut service, after);
        }
        cluster.services.insert(service.name.clone(), service);
    }
}

fn apply(core: &mut Core, task: &mut Task, mut owner: Option<&mut Service>, step: Step) {
    match step {
        Step::Fail => {
            lifecycle::last_words(core, task);
            let cause = cause::own_cause(core, task);
            let counts = !task.healthy && cause.blames_release();
            task.failed = counts;
            lifecycle::stop(core, task, cause);
            if let Some(service) = owner.as_mut() {
                service.steady = false;
                if counts
                    && let Some(number) = task.started_by.as_deref().and_then(|s| s.strip_prefix("ecs-svc/"))
                {
                    failed_task(core, service, number, None);
                }
            }
        }
        Step::TargetUnhealthy => {
            if let (Some(service), Some(target)) = (owner.as_mut(), &task.checks.target) {
                say(
                    core,
                    service,
                    format!(
                        "(service {}) (port {}) is unhealthy in (target-group {}) due to (reason Health checks failed with \
                     these codes: [503]).",
                        service.name, target.port, target.group
                    ),
                );
            }
        }
        Step::Healthy => {
            lifecycle::enter(core, task, step);
            if let (Some(service), Some(number)) = (owner.as_mut(), task.started_by.as_deref()) {
                rollout::healthy_task(service, number.trim_start_matches("ecs-svc/"));
            }
        }
        _ => lifecycle::enter(core, task, step),
    }
}

/// A task of a deployment failed before it was healthy, or could not be placed: then it is tried again after so long.
fn failed_task(core: &mut Core, service: &mut Service, number: &str, again_ms: Option<i64>) {
    let now = core.now;
    let mut streak = 0;
    if let Some(deployment) = service.deployments.iter_mut().find(|d| d.number == number) {
        deployment.streak += 1;
        streak = deployment.streak;
        let pause = again_ms.unwrap_or_else(|| core.config.timings.backoff_ms(streak));
        deployment.next_launch_at = now.saturating_add(pause);
    }
    if streak == IMPAIRED_AFTER {
        say(
            core,
            service,
            format!(
                "(service {}) is unable to consistently start tasks successfully. For more information, see the \
             Troubleshooting section of the Amazon ECS Developer Guide.",
                service.name
            ),
        );
    }
    rollout::count_failure(core, service, number);
    let after = core.config.timings.reconcile_ms;
    wake(core, service, after);
}

/// The counts of a deployment, as its description has them: running, pending.
pub(super) fn counts(cluster: &Cluster, service: &Service, number: Option<&str>) -> (i64, i64) {
    let mine = of(cluster, service)
        .filter(|t| number.is_none_or(|n| t.started_by.as_deref().is_some_and(|s| s.ends_with(n))));
    mine.fold((0, 0), |(running, pending), t| {
        (running + i64::from(t.running()), pending + i64::from(t.starting()))
    })
}

/// Makes a service steady on the spot: for tests that do not want to watch its first rollout.
pub(super) fn make_steady(core: &mut Core, cluster: &mut Cluster, name: &str) {
    let Some(mut service) = cluster.services.remove(name) else { return };
    rollout::begin(core, &mut service);
    launch_missing(core, cluster, &mut service);
    for task in cluster.tasks.values_mut().filter(|t| t.service.as_deref() == Some(name)) {
        // The generation leaves the task's own timers behind: the seeded tasks are well whatever their image.
        task.generation += 1;
        for step in [Step::Pending, Step::Activating, Step::Running, Step::Healthy] {
            lifecycle::enter(core, task, step);
        }
    }
    service.wake = None;
    reconcile(core, cluster, &mut service);
    cluster.services.insert(name.to_owned(), service);
}

/// The events, newest first.
pub(super) fn events_view(service: &Service) -> Vec<Value> {
    let view = |e: &Event| json!({"id": e.id, "createdAt": super::params::time(e.at), "message": e.message});
    service.events.iter().map(view).collect()
}
