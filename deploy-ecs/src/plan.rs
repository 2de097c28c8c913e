//! Snapshot and goal to plan and diff. Pure: what it needs of ECS and ECR was read before.

use std::collections::BTreeMap;

use deploy_aws::ImageName;
use deploy_core::{
    Error, ErrorKind, Result,
    model::{
        Change, Claim, ConfigChange, ConfigValue, Goal, Plan, Release, Revision, Snapshot, Step, StepKind,
        Undo, WayBack,
    },
    platform::PlanContext,
};

use crate::{
    connection::Settings,
    definition::{ContainerChange, Definition, Variable, arn_of, component, no_container},
    snapshot::Detail,
    steps::{register, update_service},
};

/// The least time that replacing the tasks is given.
const WATCH_MS: u64 = 600_000;

/// What planning has read.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// What the service runs.
    pub(crate) base: &'a Definition,
    /// The release's images, by digest where the digest is known.
    pub(crate) images: BTreeMap<String, String>,
    /// The ways back that could be started, best first: known good, then what runs.
    pub(crate) startable: Vec<Revision>,
    /// Things that a person should know.
    pub(crate) notes: Vec<String>,
}

/// Refuses what this backend does not deploy to, by name.
pub(crate) fn check(now: &Snapshot, settings: &Settings, service: &str) -> Result<Detail> {
    let detail: Detail = serde_json::from_value(now.detail.clone()).map_err(|error| {
        Error::new(ErrorKind::Malformed, "the snapshot is not one of an ECS service").because(error)
    })?;
    let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    if detail.status != "ACTIVE" {
        return Err(Error::new(ErrorKind::Refused, format!("the service {service} is {}", detail.status))
            .next("it is being deleted: create it again first"));
    }
    if detail.controller != "ECS" {
        return unsupported(format!(
            "the deployment controller {} of the service {service}",
            detail.controller
        ));
    }
    if detail.strategy != "ROLLING" {
        return unsupported(format!("the deployment strategy {} of the service {service}", detail.strategy));
    }
    if settings.singleton {
        alone(&detail, service)?;
    }
    let runs = now.identity.get("family").unwrap_or_default();
    match &settings.family {
        Some(family) if family != runs => {
            let text = format!("wrong task: the service {service} runs {runs}; this plan gives it {family}");
            Err(Error::new(ErrorKind::Refused, text)
                .next(format!("did you mean the service that runs {family}, or `family = \"{runs}\"`?")))
        }
        _ => Ok(detail),
    }
}

/// Refuses a singleton of which two tasks could run at the same time.
fn alone(detail: &Detail, service: &str) -> Result<()> {
    let refused = |what: String, next: &str| {
        let text = format!("{service} is a singleton, and {what}: two tasks would run at the same time");
        Err(Error::new(ErrorKind::Refused, text).next(next))
    };
    if detail.desired > 1 {
        return refused(
            format!("its desired count is {}", detail.desired),
            "set its desired count to 1, or take `singleton` away",
        );
    }
    // A deployment may run as many tasks as the percentage of the desired count rounds down to.
    if detail.desired * detail.maximum_percent / 100 > 1 {
        return refused(
            format!("its maximumPercent is {}", detail.maximum_percent),
            "set minimumHealthyPercent 0 and maximumPercent 100, or take `singleton` away",
        );
    }
    if detail.minimum_healthy_percent > 0 {
        let text = format!(
            "{service} is a singleton, and its minimumHealthyPercent is {}: its task could never be replaced",
            detail.minimum_healthy_percent
        );
        return Err(
            Error::new(ErrorKind::Refused, text).next("set minimumHealthyPercent 0 and maximumPercent 100")
        );
    }
    Ok(())
}

/// The images that a release wants, by container, as it names them: checked against what the containers are for.
pub(crate) fn wanted(
    release: &Release,
    base: &Definition,
    settings: &Settings,
    service: &str,
) -> Result<BTreeMap<String, String>> {
    let current = base.images();
    let mut wanted = release.images.clone();
    if let (true, Some(commit)) = (wanted.is_empty(), &release.commit) {
        let mut repositories = settings.repositories.clone();
        if let (true, 1, Some((name, image))) =
            (repositories.is_empty(), current.len(), current.first_key_value())
        {
            repositories.insert(name.clone(), ImageName::parse(image).repository);
        }
        if repositories.is_empty() {
            let names: Vec<&str> = current.keys().map(String::as_str).collect();
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the release names a commit, and {} has several containers", base.name()),
            )
            .next(format!("say which is built from it: images.CONTAINER of {}", names.join(", "))));
        }
        wanted = repositories
            .into_iter()
            .map(|(name, repository)| (name, format!("{repository}:{commit}")))
            .collect();
    }
    for (container, reference) in &wanted {
        let Some(runs) = current.get(container) else { return Err(no_container(base, container)) };
        let (runs, gets) = (ImageName::parse(runs).repository, ImageName::parse(reference).repository);
        let expected = settings.repositories.get(container).unwrap_or(&runs);
        if gets != *expected && gets != runs {
            let text = format!(
                "wrong image: container {container} of {service} ({}) takes {expected}; this release gives it {gets}",
                base.family()
            );
            return Err(Error::new(ErrorKind::Refused, text).next("deploy it to the service that takes it"));
        }
    }
    if let Some(change) = release.changes.iter().find(|change| !current.contains_key(&change.container)) {
        return Err(no_container(base, &change.container));
    }
    Ok(wanted)
}

/// The commit that a release's revision is built from.
fn commit_of(release: &Release, base: &Definition) -> Option<String> {
    if release.commit.is_some() {
        return release.commit.clone();
    }
    if release.images.is_empty() {
        return base.commit();
    }
    release.images.values().find_map(|image| ImageName::parse(image).commit().map(str::to_owned))
}

/// The changes of a release, with references to secrets left out: they are not known yet.
fn known_changes(
    images: &BTreeMap<String, String>,
    changes: &[ConfigChange],
) -> BTreeMap<String, ContainerChange> {
    let mut known: BTreeMap<String, ContainerChange> = BTreeMap::new();
    for (container, image) in images {
        known.entry(container.clone()).or_default().image = Some(image.clone());
    }
    for change in changes {
        let variable = match &change.value {
            None => Variable::Gone,
            Some(ConfigValue::Plain(value)) => Variable::Plain(value.clone()),
            Some(_) => continue,
        };
        known.entry(change.container.clone()).or_default().variables.insert(change.key.clone(), variable);
    }
    known
}

/// Makes the plan.
pub(crate) fn make(
    goal: &Goal,
    now: &Snapshot,
    cx: &PlanContext,
    settings: &Settings,
    service: &str,
    seen: Seen<'_>,
) -> Result<Plan> {
    let detail = check(now, settings, service)?;
    let mut plan = Plan::new(
        cx.target.clone(),
        goal.clone(),
        now,
        vec![Claim::new(&detail.service_arn)],
        now.serving.clone(),
    );
    plan.bake_ms = cx.bake_ms;
    let percent = u64::from(detail.desired) * u64::from(detail.minimum_healthy_percent);
    plan.floor = plan.floor.min(u32::try_from(percent.div_ceil(100)).unwrap_or(u32::MAX));
    plan.notes = seen.notes.clone();
    match goal {
        Goal::Deploy(release) => deploy(&mut plan, release, &detail, settings, service, &seen)?,
        Goal::Restore(revision) => {
            plan.to = revision.clone();
            if arn_of(revision)? != seen.base.arn {
                plan.diff.push(other("task definition", &now.serving.name, &revision.name));
                plan.diff.extend(revision.images.iter().filter_map(|(container, image)| {
                    let before = now.serving.images.get(container);
                    (before != Some(image))
                        .then(|| Change::new("images", container, before.cloned(), Some(image.clone())))
                }));
                plan.steps = vec![
                    update_service::to("update", revision, service)?,
                    watch(&revision.name, &detail, settings),
                ];
            }
        }
        Goal::Adopt => plan.steps = vec![watch(&now.serving.name, &detail, settings)],
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a goal that this build of deploy-ecs does not know",
            ));
        }
    }
    plan.way_back = way_back(&plan, &seen, cx, service)?;
    if plan.changes_something() {
        warn(&mut plan, now, &detail, service);
    }
    Ok(plan)
}

fn deploy(
    plan: &mut Plan,
    release: &Release,
    detail: &Detail,
    settings: &Settings,
    service: &str,
    seen: &Seen<'_>,
) -> Result<()> {
    let (base, commit) = (seen.base, commit_of(release, seen.base));
    for change in &release.changes {
        if change.value.is_some() && base.variable(&change.container, &change.key) == Some(None) {
            let text = format!("{} of container {} is a secret now", change.key, change.container);
            if !matches!(change.value, Some(ConfigValue::Secret(_))) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("{text}; this release makes it a plain value"),
                )
                .next("remove it in a release of its own first"));
            }
        }
    }
    let changed = base.changed(&known_changes(&seen.images, &release.changes))?;
    let by_reference =
        release.changes.iter().any(|change| matches!(change.value, Some(ConfigValue::Secret(_))));
    if changed == base.content && commit == base.commit() && !by_reference {
        return Ok(());
    }
    plan.diff = diff(base, &seen.images, &release.changes);
    plan.unchanged = Some(unchanged(base, detail));
    let mut images = base.images();
    images.extend(seen.images.clone());
    // The number is only known once it is registered, and `declared` with it: `scope` tells then.
    plan.to = Revision::new(format!("{}:(new)", base.family()), [], serde_json::Value::Null)
        .built_from(commit.clone());
    plan.to.images = images
        .into_iter()
        .map(|(container, image)| (container, ImageName::parse(&image).digest.unwrap_or(image)))
        .collect();
    let data = register::Data {
        base: base.arn.clone(),
        images: seen.images.clone(),
        commit,
        changes: release.changes.clone(),
    };
    let floor = plan.floor;
    plan.steps = vec![
        register::step(&data)?,
        update_service::to_registered(&base.arn, service, floor),
        watch(&format!("the new revision of {}", base.family()), detail, settings),
    ];
    Ok(())
}

fn watch(name: &str, detail: &Detail, settings: &Settings) -> Step {
    let patience = WATCH_MS + u64::from(detail.grace_s) * 1000;
    Step::new("watch", component(), StepKind::Await, format!("until {0}/{0} report {name}", detail.desired))
        .within_ms(settings.watch_ms.unwrap_or(patience))
}

/// What a release leaves as it is, as far as people ask about it.
fn unchanged(base: &Definition, detail: &Detail) -> String {
    let has = |key: &str| base.content.contains_key(key);
    let mut parts: Vec<String> =
        ["cpu", "memory"].into_iter().filter(|key| has(key)).map(str::to_owned).collect();
    if has("taskRoleArn") || has("executionRoleArn") {
        parts.push("roles".into());
    }
    let secrets = base.secrets();
    if secrets > 0 {
        parts.push(format!("secrets ({secrets})"));
    }
    if detail.grace_s > 0 {
        parts.push(format!("grace {} s", detail.grace_s));
    }
    parts.push(format!("desired count {}", detail.desired));
    parts.join(", ")
}

fn other(name: &str, before: &str, after: &str) -> Change {
    Change::new("other", name, Some(before.to_owned()), Some(after.to_owned()))
}

fn diff(base: &Definition, images: &BTreeMap<String, String>, changes: &[ConfigChange]) -> Vec<Change> {
    let current = base.images();
    let mut diff: Vec<Change> = images
        .iter()
        .filter(|(container, image)| current.get(*container) != Some(*image))
        .map(|(container, image)| {
            Change::new("images", container, current.get(container).cloned(), Some(image.clone()))
        })
        .collect();
    for change in changes {
        let was = base.variable(&change.container, &change.key);
        // What is there now was not given to us, so it is not kept: only that there is something.
        let before = was.map(|value| if value.is_none() { "(secret)" } else { "(set)" }.to_owned());
        let after = change.value.as_ref().map(|value| match value {
            ConfigValue::Plain(value) => value.clone(),
            reference => format!("{reference:?}"),
        });
        if before.is_some() || after.is_some() {
            diff.push(
                Change::new("env", format!("{}:{}", change.container, change.key), before, after).hidden(),
            );
        }
    }
    diff
}

/// One call: known good if it can be started, else what runs steadily.
fn way_back(plan: &Plan, seen: &Seen<'_>, cx: &PlanContext, service: &str) -> Result<WayBack> {
    if !plan.changes_something() {
        return Ok(WayBack::none("nothing is changed"));
    }
    let goal = arn_of(&plan.to).ok();
    let Some(to) = seen.startable.iter().find(|revision| arn_of(revision).ok() != goal) else {
        return Ok(WayBack::none(format!(
            "none: nothing is known good, and what {service} runs is not steady or could not be started again"
        )));
    };
    let words = format!("update service to {}", to.name);
    let mut back = WayBack::to(to.clone(), vec![update_service::to("back", to, service)?], words);
    back.proven = cx.known_good.as_ref().is_some_and(|good| arn_of(good).ok() == arn_of(to).ok());
    back.not_restored = to
        .images
        .iter()
        .filter(|(_, image)| !image.starts_with("sha256:"))
        .map(|(container, image)| {
            format!("container {container}: {image} is no digest, and may mean another image by then")
        })
        .collect();
    Ok(back)
}

fn warn(plan: &mut Plan, now: &Snapshot, detail: &Detail, service: &str) {
    if !now.steady {
        plan.notes
            .push(format!("{service} is not steady now: a deployment is under way, or tasks are missing"));
    }
    if !detail.checked {
        let text = "no health check: a task that runs counts as healthy after 40 s, whatever it does";
        plan.notes.push(format!("{service} has {text}"));
    }
    if plan.floor == 0 {
        plan.notes.push(format!("{service} may have no healthy task while it is replaced"));
    }
    if detail.reverts && plan.way_back.to.as_ref().is_some_and(|to| to.name != now.serving.name) {
        plan.notes.push(format!(
            "the service's own circuit breaker would go back to what completed last ({}), not to what is known good",
            now.serving.name
        ));
    }
    if let Some(to) = &plan.way_back.to
        && !plan.way_back.proven
    {
        plan.notes.push(format!("{} is not known good: it is only what ran steadily at the start", to.name));
    }
    for step in &mut plan.steps {
        if step.kind == StepKind::Effect && plan.way_back.to.is_none() && step.undo == Undo::Restores {
            step.undo = Undo::None { reason: plan.way_back.words.clone() };
        }
    }
}
