//! Pushing: logins, registries that fail, what is not what it says, clean-up.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use async_trait::async_trait;
use deploy_core::{
    BoxError, Error, ErrorKind,
    image::{Build, ImagePlatform, Login, Registry, RegistryLogins, Repository, Retention},
};

use crate::{
    Checked, Tally, expect,
    proxy::{Fault, Proxy},
    stage::{PASSWORD, Stage, USER, commit},
};

pub(crate) async fn all(stage: &Stage, tally: &mut Tally, full: bool) {
    tally.count("a wrong login", wrong_login(stage).await);
    tally.count("a login of a credential helper", helper(stage).await);
    tally.count("another commit's image under a tag, and another architecture", not_ours(stage).await);
    tally.count("old images go, needed ones stay", cleanup(stage).await);
    let faults: &[(&str, Fault, Option<ErrorKind>)] = &[
        ("answers 429 for ever", Fault::always("PUT", 429), Some(ErrorKind::Throttled)),
        ("answers 429 twice", Fault::times("PUT", 429, 2), None),
        ("answers 500 twice", Fault::times("PUT", 500, 2), None),
        ("drops a connection in the middle of a layer", Fault::drops(1), None),
        ("takes the login for expired", Fault::always("", 401), Some(ErrorKind::Unauthenticated)),
    ];
    for (at, (what, fault, kind)) in faults.iter().enumerate() {
        tally.count(&format!("a registry that {what}"), faulty(stage, at, fault.clone(), *kind).await);
    }
    // The Engine tries again for minutes before it says so.
    let for_minutes: &[(&str, Fault)] = &[
        ("answers 500 for ever", Fault::always("PUT", 500)),
        ("drops every connection in the middle of a layer", Fault::drops(usize::MAX)),
    ];
    for (at, (what, fault)) in for_minutes.iter().enumerate().filter(|_| full) {
        let result = faulty(stage, faults.len() + at, fault.clone(), Some(ErrorKind::Unavailable)).await;
        tally.count(&format!("a registry that {what}"), result);
    }
}

/// A build of its own content, so that its layer is not there already.
fn build(stage: &Stage, name: &str, repository: Repository) -> Result<Build, BoxError> {
    let context = stage.context(name, "FROM scratch\nCOPY tool /tool\nCOPY own /own\n")?;
    fs::write(context.join("own"), commit(name))?;
    Ok(Build::new(repository, context, commit(name)))
}

async fn wrong_login(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let build = build(stage, "wrong", stage.repository("wrong")?)?;
    let built = engine.build(&build, None, &stage.cx()).await?;
    stage.log_in(USER, "canary-wrong", &[&stage.registry_host])?;
    let pushed = engine.push(&built, &stage.client(), &stage.cx().events).await;
    let found = stage.client().find(&stage.repository("wrong")?, &commit("wrong"), &[]).await;
    stage.log_in(USER, PASSWORD, &[&stage.registry_host])?;
    stage.failed(pushed, ErrorKind::Unauthenticated, None)?;
    stage.failed(found, ErrorKind::Unauthenticated, None)?;
    engine.push(&built, &stage.client(), &stage.cx().events).await?;
    Ok(())
}

/// The program is `docker-credential-e2e`, beside this file: the suite's script puts it on the path.
async fn helper(stage: &Stage) -> Checked {
    let config = serde_json::json!({ "credHelpers": { &stage.registry_host: "e2e" } });
    fs::write(stage.config().join("config.json"), config.to_string())?;
    let result = async {
        let build = build(stage, "helped", stage.repository("helped")?)?;
        let published = build.publish(&stage.dockerd.engine()?, &stage.client(), &stage.cx()).await?;
        expect(published.built, published)
    };
    let result = result.await;
    stage.log_in(USER, PASSWORD, &[&stage.registry_host])?;
    result
}

async fn not_ours(stage: &Stage) -> Checked {
    let (engine, registry, repository) = (stage.dockerd.engine()?, stage.client(), stage.repository("once")?);
    let arm = ImagePlatform::parse("linux/arm64")?;
    let found = registry.find(&repository, &commit("once"), &[arm]).await;
    let said = found.as_ref().err().map(ToString::to_string).unwrap_or_default();
    stage.failed(found, ErrorKind::Refused, None)?;
    expect(said.contains("is for linux/amd64; linux/arm64 is needed"), said)?;
    // Somebody put the image of one commit under the tag of another.
    let other = build(stage, "other", repository.clone())?;
    let digest = registry.find(&repository, &commit("once"), &[]).await?.map(|image| image.digest);
    let digest = digest.ok_or("the image is gone")?;
    let words = [
        "copy".to_owned(),
        "--src-tls-verify=false".to_owned(),
        "--dest-tls-verify=false".to_owned(),
        format!("--src-creds={USER}:{PASSWORD}"),
        format!("--dest-creds={USER}:{PASSWORD}"),
        format!("docker://{repository}@{digest}"),
        format!("docker://{repository}:{}", commit("other")),
    ];
    crate::stage::run("skopeo", &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let before = stage.said().len();
    let published = other.publish(&engine, &registry, &stage.cx()).await;
    let said = published.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let sentence = format!("was built from {}, not from {}", &commit("once")[..7], &commit("other")[..7]);
    expect(said.contains(&sentence) && stage.said().len() == before, said)?;
    stage.failed(published, ErrorKind::Refused, None)
}

async fn cleanup(stage: &Stage) -> Checked {
    let (engine, registry, repository) = (stage.dockerd.engine()?, stage.client(), stage.repository("old")?);
    let mut digests = Vec::new();
    for name in ["old-1", "old-2", "old-3"] {
        let published =
            build(stage, name, repository.clone())?.publish(&engine, &registry, &stage.cx()).await?;
        digests.push(published.image.digest);
    }
    let retention = Retention { newest: 1, younger_than: Duration::ZERO };
    let needed = BTreeSet::from([digests[0].clone()]);
    let plan = registry.plan_cleanup(&repository, retention, &needed).await?;
    expect(plan.delete.len() == 1 && plan.delete[0].digest == digests[1], &plan)?;
    expect(registry.delete_image(&plan, &plan.delete[0]).await?, &plan)?;
    for (digest, there) in [(&digests[0], true), (&digests[1], false), (&digests[2], true)] {
        expect(registry.digest(&repository, digest).await?.is_some() == there, digest)?;
    }
    Ok(())
}

/// The registry's login under the proxy's name.
#[derive(Debug)]
struct Same(Arc<dyn RegistryLogins>, String);

#[async_trait]
impl RegistryLogins for Same {
    async fn login(&self, registry: &str) -> Result<Option<Login>, Error> {
        if registry == "docker.io" { Ok(None) } else { self.0.login(&self.1).await }
    }
}

async fn faulty(stage: &Stage, at: usize, fault: Fault, kind: Option<ErrorKind>) -> Checked {
    let proxy = Proxy::start(&stage.registry_host, fault).await?;
    let registry = Registry::new(Arc::new(Same(stage.logins(), stage.registry_host.clone())));
    let repository = Repository::parse(&format!("{}/faulty-{at}", proxy.host()))?;
    let engine = stage.dockerd.engine()?;
    let build = build(stage, &format!("faulty-{at}"), repository)?;
    let built = engine.build(&build, None, &stage.cx()).await?;
    let pushed = engine.push(&built, &registry, &stage.cx().events).await;
    expect(proxy.faults() > 0, "nothing went wrong")?;
    let Some(kind) = kind else {
        let digest = pushed?;
        registry.verify(&built.repository, &digest, &built.tag, &[]).await?;
        return Ok(());
    };
    stage.failed(pushed, kind, None)?;
    proxy.heal();
    engine.push(&built, &registry, &stage.cx().events).await?;
    Ok(())
}
