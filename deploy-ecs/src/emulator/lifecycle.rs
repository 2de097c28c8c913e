//! A task from PROVISIONING to STOPPED.

use serde_json::{Map, Value};

use super::behaviour::{Behaviour, Timings};
use super::cause::Cause;
use super::core::{Core, Step, Timer};
use super::params::int_at;
use super::state::{Checks, Cluster, Container, ContainerCheck, Image, Job, Phase, TargetCheck, Task};

/// What a task is started with.
pub(super) struct Launch<'a> {
    pub(super) task_definition: &'a str,
    pub(super) images: &'a [Image],
    pub(super) started_by: Option<String>,
    pub(super) service: Option<String>,
    pub(super) group: String,
    pub(super) target: Option<TargetCheck>,
    pub(super) job: Option<Job>,
    /// The `networkConfiguration` that it was given.
    pub(super) network: Option<&'a Value>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) fields: Map<String, Value>,
}

/// Makes a task and sets its timers.
pub(super) fn launch(core: &mut Core, cluster: &mut Cluster, spec: Launch<'_>) -> String {
    let id = core.rng.hex32();
    let definition = core.task_definition(spec.task_definition);
    let empty = Vec::new();
    let definitions = definition
        .and_then(|d| d.fields.get("containerDefinitions"))
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    let family = definition.map(|d| d.family.clone()).unwrap_or_default();
    let mut fields = spec.fields;
    for key in ["cpu", "memory"] {
        let overridden = fields.get("overrides").and_then(|o| o.get(key)).cloned();
        let value = overridden.or_else(|| definition.and_then(|d| d.fields.get(key)).cloned());
        fields.extend(value.map(|value| (key.to_owned(), value)));
    }
    let subnet = spec.network.and_then(|n| n.pointer("/awsvpcConfiguration/subnets/0")?.as_str());
    let mut checks = Checks { container: None, target: spec.target };
    let mut containers = Vec::new();
    let (mut culprit, mut behaviour) = (0, Behaviour::Ok);
    for (at, described) in definitions.iter().enumerate() {
        let name = described.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let image = spec.images.iter().find(|i| i.container == name);
        let essential = described.get("essential").and_then(Value::as_bool).unwrap_or(true);
        if let Some(image) = image
            && essential
            && behaviour == Behaviour::Ok
            && image.behaviour != Behaviour::Ok
        {
            (culprit, behaviour) = (at, image.behaviour);
        }
        let check = described.get("healthCheck").filter(|c| c.is_object());
        if let (Some(check), true) = (check, essential && checks.container.is_none()) {
            checks.container = Some(ContainerCheck {
                start_ms: int_at(check, "/startPeriod").unwrap_or(0) * 1000,
                interval_ms: int_at(check, "/interval").unwrap_or(30) * 1000,
                retries: int_at(check, "/retries").unwrap_or(3),
            });
        }
        containers.push(Container {
            log: log_stream(described, &name, &id),
            image: image.map(|i| i.image.clone()).unwrap_or_default(),
            digest: image.and_then(|i| i.digest.clone()),
            name,
            exit_code: None,
            reason: None,
            health: check.map(|_| "UNKNOWN".to_owned()),
        });
    }
    if behaviour == Behaviour::Half {
        let odd = id.bytes().next().is_some_and(|digit| digit % 2 == 1);
        behaviour = if odd { Behaviour::Crash } else { Behaviour::Ok };
    }
    let task = Task {
        arn: core.config.arn(&format!("task/{}/{id}", cluster.name)),
        cluster: cluster.name.clone(),
        cluster_arn: cluster.arn.clone(),
        task_definition: spec.task_definition.to_owned(),
        family,
        group: spec.group,
        started_by: spec.started_by,
        service: spec.service,
        phase: Phase::Provisioning,
        wanted: true,
        version: 1,
        behaviour,
        culprit,
        containers,
        checks,
        job: spec.job,
        subnet: subnet.map(str::to_owned),
        generation: 0,
        healthy: false,
        failed: false,
        created_at: core.now,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
        fields,
        id: id.clone(),
    };
    let timings = core.config.timings.clone();
    for (after, step) in start_script(core, &task, &timings) {
        set(core, &task, after, step);
    }
    if !spec.tags.is_empty() {
        core.tags.entry(task.arn.clone()).or_default().extend(spec.tags);
    }
    cluster.tasks.insert(id.clone(), task);
    id
}

fn log_stream(described: &Value, container: &str, task: &str) -> Option<(String, String)> {
    let log = described.get("logConfiguration")?;
    if log.get("logDriver")?.as_str()? != "awslogs" {
        return None;
    }
    let group = log.pointer("/options/awslogs-group")?.as_str()?;
    let stream = match log.pointer("/options/awslogs-stream-prefix").and_then(Value::as_str) {
        Some(prefix) => format!("{prefix}/{container}/{task}"),
        None => task.to_owned(),
    };
    Some((group.to_owned(), stream))
}

fn set(core: &mut Core, task: &Task, after: i64, step: Step) {
    let timer = Timer::Task {
        cluster: task.cluster.clone(),
        task: task.id.clone(),
        generation: task.generation,
        step,
    };
    core.set_timer(core.now.saturating_add(after.max(0)), timer);
}

/// Everything that a task does by itself, as offsets from its start.
fn start_script(core: &mut Core, task: &Task, t: &Timings) -> Vec<(i64, Step)> {
    let provisioned = core.rng.shorten(t.provision_ms);
    let pulled = provisioned + core.rng.shorten(t.pull_ms);
    let late = if task.behaviour == Behaviour::Slow { t.slow_ms } else { 0 };
    let running = pulled + core.rng.shorten(t.activate_ms) + late;
    let mut script = vec![(provisioned, Step::Pending)];
    match task.behaviour {
        Behaviour::NoSecret | Behaviour::LostSecret | Behaviour::NoLogs => {
            script.push((provisioned + t.pull_ms / 2, Step::Fail));
        }
        Behaviour::NoNet => script.push((provisioned + t.network_timeout_ms, Step::Fail)),
        Behaviour::NoPull | Behaviour::NoManifest | Behaviour::PullLimit => script.push((pulled, Step::Fail)),
        Behaviour::BadCmd | Behaviour::NoCreate | Behaviour::NoRuntime => {
            script.extend([(pulled, Step::Activating), (running, Step::Fail)])
        }
        _ => {
            script.extend([(pulled, Step::Activating), (running, Step::Running)]);
            script.extend(
                running_script(task, t)
                    .into_iter()
                    .map(|(after, step)| (running.saturating_add(after), step)),
            );
        }
    }
    script
}

/// What follows RUNNING, as offsets from it.
fn running_script(task: &Task, t: &Timings) -> Vec<(i64, Step)> {
    let by_container = task.checks.container.as_ref().map(|c| c.interval_ms);
    let by_target = task.checks.target.as_ref().map(|_| t.elb_interval_ms * t.elb_healthy);
    let healthy = by_container.into_iter().chain(by_target).max().unwrap_or(t.settle_ms);
    match task.behaviour {
        Behaviour::Crash | Behaviour::Exit0 | Behaviour::Oom | Behaviour::Segv => {
            vec![(t.crash_after_ms, Step::Fail)]
        }
        Behaviour::Flaky | Behaviour::Spot | Behaviour::Retired | Behaviour::Infra => {
            // Healthy must come first, however long the checks take: that is what the word promises.
            vec![(healthy, Step::Healthy), (t.flaky_after_ms.max(healthy + 10_000), Step::Fail)]
        }
        Behaviour::Unhealthy => {
            let target = task.checks.target.as_ref().map(|c| {
                let seen = t.elb_interval_ms * t.elb_unhealthy;
                (seen, seen.max(c.grace_ms) + t.elb_interval_ms / 2)
            });
            let container = task
                .checks
                .container
                .as_ref()
                .map(|c| c.start_ms.saturating_add(c.interval_ms.saturating_mul(c.retries)));
            let mut script: Vec<(i64, Step)> =
                target.iter().map(|(seen, _)| (*seen, Step::TargetUnhealthy)).collect();
            match target.map(|(_, killed)| killed).into_iter().chain(container).min() {
                Some(killed) => script.push((killed, Step::Fail)),
                None => script.push((healthy, Step::Healthy)),
            }
            script
        }
        _ if task.job.is_some() => task.job.iter().map(|job| (job.lasts_ms, Step::Fail)).collect(),
        _ => vec![(healthy, Step::Healthy)],
    }
}

/// Lets a task stop: whatever it was about to do is void.
pub(super) fn stop(core: &mut Core, task: &mut Task, cause: Cause) {
    if !task.wanted {
        return;
    }
    let was_running = task.phase == Phase::Running;
    let exited = cause.code == "EssentialContainerExited";
    task.wanted = false;
    task.generation += 1;
    task.version += 1;
    task.stopping_at = Some(core.now);
    for (at, container) in task.containers.iter_mut().enumerate() {
        if at == task.culprit {
            container.reason.clone_from(&cause.container_reason);
        }
        if was_running {
            // 143: ended by SIGTERM, as every container that did not end by itself.
            let own = (at == task.culprit).then_some(cause.exit_code).flatten();
            container.exit_code = Some(own.unwrap_or(143));
        }
        if container.health.is_some() && cause.reason.contains("container health checks") {
            container.health = Some("UNHEALTHY".to_owned());
        }
    }
    task.stop_code = Some(cause.code.to_owned());
    task.stopped_reason = Some(cause.reason);
    let t = core.config.timings.clone();
    let mut at = 0;
    if was_running {
        if task.checks.target.is_some() && !exited {
            task.phase = Phase::Deactivating;
            at += t.drain_ms;
            set(core, task, at, Step::Stopping);
        } else {
            task.phase = Phase::Stopping;
        }
        at += t.stop_ms;
        set(core, task, at, Step::Deprovisioning);
    } else {
        task.phase = Phase::Deprovisioning;
    }
    at += t.deprovision_ms;
    set(core, task, at, Step::Stopped);
    set(core, task, at + t.keep_stopped_ms, Step::Forget);
}

/// Moves a task along its normal course.
pub(super) fn enter(core: &mut Core, task: &mut Task, step: Step) {
    task.version += 1;
    match step {
        Step::Pending => {
            task.phase = Phase::Pending;
            task.pull_started_at = Some(core.now);
        }
        Step::Activating => {
            task.phase = Phase::Activating;
            task.pull_stopped_at = Some(core.now);
        }
        Step::Running => {
            task.phase = Phase::Running;
            task.started_at = Some(core.now);
            say(core, task, BOOT);
        }
        Step::Healthy => {
            task.healthy = true;
            for container in &mut task.containers {
                if container.health.is_some() {
                    container.health = Some("HEALTHY".to_owned());
                }
            }
        }
        Step::Stopping => task.phase = Phase::Stopping,
        Step::Deprovisioning => task.phase = Phase::Deprovisioning,
        Step::Stopped => {
            task.phase = Phase::Stopped;
            task.stopped_at = Some(core.now);
        }
        Step::TargetUnhealthy | Step::Fail | Step::Forget => {}
    }
}

const BOOT: &[&str] = &["> app@1.0.0 start", "> node server.js", "booting, pid 1", "reading configuration"];

/// The last words of a task that fails by itself.
pub(super) fn last_words(core: &mut Core, task: &Task) {
    let words: &[&str] = match task.behaviour {
        Behaviour::Crash => &[
            "node:internal/modules/cjs/loader:1147",
            "  throw err;",
            "Error: Cannot find module './chat/router'",
            "Require stack:",
            "- /app/server.js",
            "    at Module._resolveFilename (node:internal/modules/cjs/loader:1144:15)",
            "  code: 'MODULE_NOT_FOUND'",
        ],
        Behaviour::Exit0 => &["nothing to do, leaving"],
        Behaviour::Oom => {
            &["FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"]
        }
        Behaviour::Flaky => {
            &["listening on :3000", "Error: Connection terminated unexpectedly", "exiting with 1"]
        }
        Behaviour::Unhealthy => &["GET /health 503 2ms"],
        _ if task.job.is_some() => &["done"],
        _ => return,
    };
    say(core, task, words);
}

fn say(core: &mut Core, task: &Task, lines: &[&str]) {
    if let Some((group, stream)) = task.containers.get(task.culprit).and_then(|c| c.log.as_ref()) {
        core.logs.write(group, stream, core.now, lines);
    }
}

/// Sets a field that the API leaves out when it has no value.
pub(super) fn fill(view: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Some(value), Some(map)) = (value, view.as_object_mut()) {
        map.insert(key.to_owned(), value.into());
    }
}
