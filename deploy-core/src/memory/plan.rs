//! From a goal and a snapshot to a plan. Pure, but for what revisions hold, which the caller reads before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    run::changes,
    shape::{Migration, Shape, Spec, WorldOptions},
    state::{content_name, repository},
    work::{CONFIRM, DELETE_STUCK, Dest, Work, data, places},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{
        Change, Claim, Component, ConfigValue, Envelope, Fingerprint, Goal, GroupId, Identity, Plan, Release,
        Revision, Snapshot, Step, StepId, StepKind, Undo, WayBack,
    },
    platform::PlanContext,
};

/// What planning knows besides goal and snapshot.
pub(super) struct Known<'a> {
    pub(super) shape: Shape,
    pub(super) options: &'a WorldOptions,
    /// What runs, component by component: its content.
    pub(super) specs: &'a [Spec],
    /// Content of the revision to restore, if one is to be restored.
    pub(super) restored: Option<Spec>,
    /// Content of the known good revision, if it still exists.
    pub(super) good: Option<Spec>,
}

/// What is locked, by what is written.
pub(super) fn claims(shape: Shape, identity: &Identity) -> Vec<Claim> {
    let place = format!(
        "memory:{}:{}",
        identity.get("account").unwrap_or_default(),
        identity.get("place").unwrap_or_default()
    );
    match shape {
        Shape::Terraform => ["branch", "workspace"].map(|part| Claim::new(format!("{place}/{part}"))).into(),
        _ => vec![Claim::new(place)],
    }
}

/// The release's content: what runs, with its images and changes.
fn wanted(release: &Release, current: &Spec) -> Result<Spec> {
    let refused = |text: String| Err(Error::new(ErrorKind::Refused, text));
    let mut spec = current.clone();
    let known: Vec<&str> = current.images.keys().map(String::as_str).collect();
    let unknown = |container: &str| {
        refused(format!("there is no container {container} here"))
            .map_err(|error| error.next(format!("the containers are {}", known.join(", "))))
    };
    if let (Some(commit), true) = (&release.commit, release.images.is_empty()) {
        for image in spec.images.values_mut() {
            *image = format!("{}:{commit}", repository(image));
        }
    }
    for (container, image) in &release.images {
        match spec.images.get_mut(container) {
            None => return unknown(container),
            Some(here) if repository(here) != repository(image) => {
                let (here, there) = (repository(here), repository(image));
                return refused(format!("container {container} runs images of {here}, not of {there}"));
            }
            Some(here) => here.clone_from(image),
        }
    }
    for change in &release.changes {
        if !current.images.contains_key(&change.container) {
            return unknown(&change.container);
        }
        let key = format!("{}/{}", change.container, change.key);
        match &change.value {
            Some(value) => spec.env.insert(key, value.clone()),
            None => spec.env.remove(&key),
        };
    }
    if release.commit.is_some() || spec.images != current.images {
        spec.commit.clone_from(&release.commit);
    }
    Ok(spec)
}

fn diff(from: &Spec, to: &Spec) -> Vec<Change> {
    let mut all = Vec::new();
    let union =
        |a: Vec<&String>, b: Vec<&String>| -> BTreeSet<String> { a.into_iter().chain(b).cloned().collect() };
    for name in union(from.images.keys().collect(), to.images.keys().collect()) {
        let (before, after) = (from.images.get(&name), to.images.get(&name));
        if before != after {
            all.push(Change::new("images", name.as_str(), before.cloned(), after.cloned()));
        }
    }
    let shown = |value: Option<&ConfigValue>| {
        value.map(|value| match value {
            ConfigValue::Plain(text) => text.clone(),
            ConfigValue::Secret(reference) => format!("{reference:?}"),
        })
    };
    for name in union(from.env.keys().collect(), to.env.keys().collect()) {
        let (before, after) = (from.env.get(&name), to.env.get(&name));
        if before != after {
            all.push(Change::new("env", name, shown(before), shown(after)).hidden());
        }
    }
    all
}

/// Makes the plan.
pub(super) fn make(goal: &Goal, now: &Snapshot, cx: &PlanContext, known: &Known<'_>) -> Result<Plan> {
    let Known { shape, specs, .. } = known;
    // A place whose components differ is planned from the first one: the others are put there too.
    let current = &specs[0];
    let spec = match (goal, &known.restored) {
        (Goal::Deploy(release), _) => wanted(release, current)?,
        (Goal::Restore(_), Some(spec)) => spec.clone(),
        (Goal::Restore(revision), None) => {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no revision {}", revision.name)));
        }
        (Goal::Adopt, _) => current.clone(),
    };
    let same = match goal {
        Goal::Adopt => true,
        Goal::Restore(revision) => revision.declared == now.declared,
        Goal::Deploy(_) => specs.iter().all(|here| here.same(&spec)),
    };
    let to = if same {
        now.serving.clone()
    } else if let Goal::Restore(revision) = goal {
        revision.clone()
    } else {
        predicted(*shape, &spec)
    };
    let mut plan = Plan::new(cx.target.clone(), goal.clone(), now, claims(*shape, &now.identity), to);
    plan.bake_ms = cx.bake_ms;
    if same {
        plan.steps = shape.components().iter().map(|part| watch(part, None)).collect();
        plan.way_back = WayBack::to(now.serving.clone(), Vec::new(), "nothing is changed");
        return Ok(plan);
    }
    plan.diff = diff(current, &spec);
    plan.way_back = match (&cx.known_good, &known.good) {
        (Some(good), Some(content)) => {
            let mut way = way_back(*shape, good, now, &plan.to, &[&spec, current], content)?;
            way.proven = true;
            way
        }
        _ => way_back(*shape, &now.serving, now, &plan.to, &[&spec], current)?,
    };
    let over: Vec<Fingerprint> = now.declared.values().cloned().collect();
    let restored = match goal {
        Goal::Restore(revision) => Some(places(revision)?),
        _ => None,
    };
    plan.steps = match shape {
        Shape::Ecs => ecs(&spec, restored, over),
        Shape::Kubernetes => kubernetes(&spec, restored, over),
        Shape::Vapor => vapor(&spec, restored, over, &known.options.migration),
        Shape::Terraform => {
            let allowed = changes(&specs[specs.len() - 1], &spec);
            plan.envelope = Some(Envelope { allowed: allowed.clone() });
            terraform(*shape, &spec, over, allowed)
        }
    };
    if *shape == Shape::Kubernetes {
        let remedy = effect(DELETE_STUCK, "service", "delete the stuck instance", &Work::DeleteStuck);
        plan.remedies = vec![remedy.undone_by(Undo::None { reason: "the set starts it again".into() })];
    }
    Ok(plan)
}

/// What will serve: without the declared state where the platform numbers its revisions itself.
fn predicted(shape: Shape, spec: &Spec) -> Revision {
    let (name, declared) = if shape.numbers_revisions() {
        ("(next)".to_owned(), Vec::new())
    } else {
        let print = spec.fingerprint();
        let parts = shape.components().iter();
        (content_name(shape, spec), parts.map(|part| (Component::from(*part), print.clone())).collect())
    };
    at(shape, &name, declared).with_content(spec)
}

/// A revision at which every component has this name.
pub(super) fn at(shape: Shape, name: &str, declared: Vec<(Component, Fingerprint)>) -> Revision {
    let places: BTreeMap<&str, &str> = shape.components().iter().map(|part| (*part, name)).collect();
    let handle = if declared.is_empty() { Value::Null } else { json!({ "at": places }) };
    Revision::new(name, declared, handle)
}

trait WithContent {
    fn with_content(self, spec: &Spec) -> Self;
}

impl WithContent for Revision {
    fn with_content(mut self, spec: &Spec) -> Self {
        self.images.clone_from(&spec.images);
        self.commit.clone_from(&spec.commit);
        self
    }
}

fn effect(id: &str, component: &str, title: &str, work: &Work) -> Step {
    Step::new(id, Component::from(component), StepKind::Effect, title).with(data(work))
}

fn watch(component: &str, of: Option<&str>) -> Step {
    let work = Work::Watch { of: of.map(StepId::from) };
    let title = format!("watch {component} until it is healthy");
    Step::new(format!("watch-{component}"), Component::from(component), StepKind::Await, title)
        .with(data(&work))
}

fn keeps(step: Step, reason: &str) -> Step {
    step.undone_by(Undo::None { reason: reason.into() })
}

type Restored = Option<BTreeMap<Component, String>>;

fn dest(restored: &Restored, component: &str, or: impl FnOnce() -> Dest) -> Dest {
    let named = restored.as_ref().and_then(|places| places.get(&Component::from(component)));
    named.map_or_else(or, |name| Dest::Named(name.clone()))
}

fn ecs(spec: &Spec, restored: Restored, over: Vec<Fingerprint>) -> Vec<Step> {
    let mut steps = Vec::new();
    if restored.is_none() {
        let work = Work::Register { spec: spec.clone() };
        let step = effect("register", "service", "register the definition", &work);
        steps.push(keeps(step, "definitions are kept"));
    }
    let to = dest(&restored, "service", || Dest::Made("register".into()));
    steps.push(effect("update", "service", "update the service", &Work::Set { to, over }));
    steps.push(watch("service", Some("update")));
    steps
}

fn kubernetes(spec: &Spec, restored: Restored, over: Vec<Fingerprint>) -> Vec<Step> {
    let to = dest(&restored, "service", || Dest::Spec(spec.clone()));
    vec![
        effect("apply", "service", "apply the template", &Work::Set { to, over }),
        watch("service", Some("apply")),
    ]
}

fn vapor(spec: &Spec, restored: Restored, over: Vec<Fingerprint>, migration: &Migration) -> Vec<Step> {
    let mut steps = Vec::new();
    if restored.is_none() {
        let work = Work::Register { spec: spec.clone() };
        steps.push(keeps(effect("publish", "http", "publish a version", &work), "versions are kept"));
        let hook = |name: &str| effect("hook", "http", "run the hook", &Work::Hook { name: name.to_owned() });
        match migration {
            Migration::No => {}
            Migration::Harmless => steps.push(keeps(hook("deploy"), "a hook cannot be taken back")),
            Migration::Barrier(name) => {
                steps.push(hook(name).undone_by(Undo::Barrier { migration: name.clone() }));
            }
        }
    }
    let parts = Shape::Vapor.components();
    for part in parts {
        let to = dest(&restored, part, || Dest::Made("publish".into()));
        let work = Work::Set { to, over: over.clone() };
        let title = format!("move the alias of {part}");
        steps.push(effect(&format!("move-{part}"), part, &title, &work).in_group(GroupId::from("aliases")));
    }
    steps.extend(parts.iter().map(|part| watch(part, Some(&format!("move-{part}")))));
    steps
}

fn terraform(
    shape: Shape,
    spec: &Spec,
    over: Vec<Fingerprint>,
    allowed: BTreeMap<String, Option<Fingerprint>>,
) -> Vec<Step> {
    let push = Work::Set { to: Dest::Spec(spec.clone()), over };
    let confirm = Work::Confirm { name: content_name(shape, spec), allowed };
    let gate = StepKind::Gate { gate: CONFIRM.into(), late_goes_on: false };
    let title = "wait for the run's plan, and for its confirmation";
    let gate = Step::new("gate", Component::from("workspace"), gate, title).with(data(&confirm));
    vec![
        effect("push", "branch", "push the commit", &push),
        gate,
        patient(effect("confirm", "workspace", "confirm the run", &confirm)),
        watch("workspace", Some("confirm")),
    ]
}

/// Confirming has to be tried again while the run plans.
fn patient(mut step: Step) -> Step {
    (step.attempts, step.deadline_ms) = (60, 600_000);
    step
}

/// Every component is put back, whatever is there then.
fn way_back(
    shape: Shape,
    back: &Revision,
    now: &Snapshot,
    to: &Revision,
    from: &[&Spec],
    content: &Spec,
) -> Result<WayBack> {
    let places = places(back)?;
    let mut over: Vec<Fingerprint> =
        now.declared.values().chain(to.declared.values()).chain(back.declared.values()).cloned().collect();
    over.sort();
    over.dedup();
    let mut steps = Vec::new();
    for part in shape.components() {
        let component = Component::from(*part);
        let Some(name) = places.get(&component) else {
            let text = format!("revision {} does not say where {part} was", back.name);
            return Err(Error::new(ErrorKind::Malformed, text));
        };
        let title = format!("put {part} back to {name}");
        let work = if *part == "workspace" {
            // From wherever the deploy may have got to; nothing else may be changed on the way back either.
            let allowed = from.iter().flat_map(|from| changes(from, content)).collect();
            Work::Confirm { name: name.clone(), allowed }
        } else {
            Work::Set { to: Dest::Named(name.clone()), over: over.clone() }
        };
        let step = effect(&format!("back-{part}"), part, &title, &work);
        steps.push(match shape {
            Shape::Vapor => step.in_group(GroupId::from("aliases")),
            Shape::Terraform => patient(step),
            _ => step,
        });
    }
    let mut way = WayBack::to(back.clone(), steps, format!("set {} back to {}", shape.word(), back.name));
    if shape == Shape::Vapor {
        way.not_restored.push("what the hook did".into());
    }
    Ok(way)
}
