//! What an emulator inside the tool begins with: the services of deploy.toml, each with two tasks that are well.

use deploy_ecs::emulator::{Api, Behaviour, Emulator, Seed};
use deploy_kit::{
    Error, ErrorKind, Repo, Result,
    config::{Config, EcsPlace, Platform, TargetConfig},
    source::Source,
};
use serde_json::json;

use crate::backend::short;

/// How many commits before the newest are taken as built.
const COMMITS: usize = 20;
/// The tasks of a service.
const TASKS: i64 = 2;

fn ecs(target: &TargetConfig) -> Option<&EcsPlace> {
    match &target.platform {
        Platform::Ecs(place) => Some(place),
        _ => None,
    }
}

/// Puts in what is not there yet, for all targets at this place's account and region.
pub(crate) async fn seed(emulator: &Emulator, config: &Config, here: &EcsPlace) -> Result<()> {
    for target in config.targets() {
        let Some(place) = ecs(target) else { continue };
        if (&place.account, &place.region) == (&here.account, &here.region) {
            service(emulator, target, place)?;
            images(emulator, target).await?;
        }
    }
    Ok(())
}

fn service(emulator: &Emulator, target: &TargetConfig, place: &EcsPlace) -> Result<()> {
    let (cluster, now) = (short(&place.cluster), emulator.now_ms());
    let asked = json!({"cluster": cluster, "services": [place.service]});
    let found = emulator.with(|world| world.call(now, Api::Ecs, "DescribeServices", &asked));
    let is_there = found.is_ok_and(|answer| answer["services"].as_array().is_some_and(|all| !all.is_empty()));
    if is_there {
        return Ok(());
    }
    let family = place.family.clone().unwrap_or_else(|| place.service.clone());
    let registry = emulator.with(|world| world.config().registry());
    let mut images =
        target.images.iter().map(|(name, repository)| (name.clone(), format!("{repository}:ok")));
    let (name, image) =
        images.next().unwrap_or_else(|| ("app".into(), format!("{registry}/{}:ok", place.service)));
    let mut seed = Seed::new(cluster, &place.service, &family, &name, &image, TASKS);
    for (name, image) in images {
        seed = seed.container(&name, &image);
    }
    emulator.seed(&seed).map_err(|error| {
        let text = format!("the emulator cannot have {}: {}", target.name, error.message);
        Error::new(ErrorKind::Invalid, text)
    })
}

/// Images of the newest commits: where building is not configured, they count as built.
async fn images(emulator: &Emulator, target: &TargetConfig) -> Result<()> {
    let Some(repo) = &target.repo else { return Ok(()) };
    // That it cannot be opened is said by whoever needs it.
    let Ok(repo) = Repo::open(repo) else { return Ok(()) };
    let mut commits = Vec::new();
    if let Some(branch) = &target.branch
        && let Ok(tip) = repo.tip(branch).await
    {
        commits.push(tip.id);
    }
    for back in 0..COMMITS {
        let Ok(commit) = repo.resolve(&format!("HEAD~{back}")).await else { break };
        commits.push(commit.id);
    }
    let registry = emulator.with(|world| world.config().registry()) + "/";
    for name in target.images.values().filter_map(|repository| repository.strip_prefix(&registry)) {
        for commit in &commits {
            emulator.with(|world| {
                if world.image_digest(name, commit).is_none() {
                    world.put_image(name, commit, Behaviour::Ok);
                }
            });
        }
    }
    Ok(())
}
