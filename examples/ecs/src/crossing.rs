//! The configuration of one service, given to another: found before anything is changed, the first deploy included.

use std::collections::BTreeMap;

use deploy_kit::{
    config::{Config, Origin, Platform, TargetConfig},
    model::Snapshot,
};
use examples_common::Crossing;

use crate::backend::short;

/// What does not fit.
struct Misfit {
    /// `wrong task`.
    title: &'static str,
    /// One line that names both.
    text: String,
    /// The key that says so.
    key: String,
    /// What the key would have to be.
    right: String,
}

/// Container to repository, as the service runs them.
fn runs(now: &Snapshot) -> BTreeMap<String, String> {
    let list = |part: &str| {
        let text = now.identity.get(part).unwrap_or_default();
        text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    list("containers").into_iter().zip(list("repositories")).collect()
}

fn misfit(target: &TargetConfig, now: &Snapshot) -> Option<Misfit> {
    let Platform::Ecs(place) = &target.platform else { return None };
    let service = &place.service;
    let family = now.identity.get("family").unwrap_or_default();
    if let Some(given) = place.family.as_deref().filter(|given| *given != family) {
        return Some(Misfit {
            title: "wrong task",
            text: format!("service {service} takes {family}; this plan gives it {given}"),
            key: "ecs.family".into(),
            right: format!("family = \"{family}\""),
        });
    }
    let runs = runs(now);
    for (container, given) in &target.images {
        let key = format!("images.{container}");
        let Some(repository) = runs.get(container) else {
            let names = runs.keys().cloned().collect::<Vec<_>>().join(", ");
            return Some(Misfit {
                title: "wrong task",
                text: format!(
                    "service {service} runs {family} with container {names}; this plan has {container}"
                ),
                key,
                right: format!("images.{names} = ..."),
            });
        };
        if repository != given {
            return Some(Misfit {
                title: "wrong image",
                text: format!(
                    "container {container} of {service} takes {repository}; this plan gives it {given}"
                ),
                key,
                right: format!("images.{container} = \"{repository}\""),
            });
        }
    }
    None
}

/// The target that was probably meant: the one that has this family, or else these images, as its own.
fn meant<'c>(config: &'c Config, target: &TargetConfig) -> Option<&'c TargetConfig> {
    let family = |of: &TargetConfig| match &of.platform {
        Platform::Ecs(place) => place.family.clone(),
        _ => None,
    };
    let others = || config.targets().iter().filter(|other| other.name != target.name);
    let same_env = |other: &&TargetConfig| other.name.env() == target.name.env();
    others()
        .filter(same_env)
        .find(|other| family(other).is_some() && family(other) == family(target))
        .or_else(|| others().filter(same_env).find(|other| other.images == target.images))
}

/// `container api   .../shop-api`.
fn containers(images: &BTreeMap<String, String>) -> String {
    let one = |(container, repository): (&String, &String)| {
        format!("container {container}   .../{}", short(repository))
    };
    images.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn from(key: &str, origin: &Origin, value: &str) -> String {
    format!("{origin}  [{}] {key} = \"{value}\"", origin.section)
}

pub(crate) fn find(config: &Config, target: &TargetConfig, now: &Snapshot) -> Option<Crossing> {
    let Misfit { title, text, key, right } = misfit(target, now)?;
    let Platform::Ecs(place) = &target.platform else { return None };
    let mut rows =
        vec![("service", format!("{} / {}    <- you asked for this", short(&place.cluster), place.service))];
    rows.push(("runs", format!("{}    {}", now.serving.name, containers(&runs(now)))));
    let family = place.family.as_deref().unwrap_or("?");
    rows.push(("the plan", format!("{family}    {}", containers(&target.images))));
    let mut next = Vec::new();
    let mut screen = format!("  {title:10}  {text}\n");
    let value = target.values().find(|(name, ..)| *name == key).map(|(_, value, origin)| (value, origin));
    if let Some((value, origin)) = value {
        rows.push(("from", from(&key, origin, value)));
    }
    for (name, row) in rows {
        screen += &format!("              {name:9}  {row}\n");
    }
    if let Some(meant) = meant(config, target) {
        let command = format!("ecs deploy {}", meant.name);
        screen += &format!("  meant {}?   {command}\n", meant.name.app());
        next.push(command);
    }
    if let Some((_, origin)) = value {
        screen += &format!("  typing mistake?      {origin}  {right}\n");
    }
    let pin = format!("ecs pin {} --reason \"...\"", target.name);
    screen += &format!("  really a new one?    change the service once by hand, then {pin}\n");
    next.push(pin);
    Some(Crossing { text: format!("{title}: {text}"), screen, next })
}
