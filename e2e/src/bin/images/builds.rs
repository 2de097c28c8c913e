//! Building: BuildKit, secrets, failures, interruptions.

use std::{fs, path::Path, time::Duration};

use deploy_core::{
    BoxError, ErrorKind,
    clock::{Clock, SystemClock},
    image::{BuilderKind, ImagePlatform},
    model::SecretRef,
};

use crate::{
    Checked, Tally, expect,
    stage::{BUILD_SECRET, PASSWORD, Stage, USER, commit, run},
};

const PLAIN: &str = "FROM scratch\nCOPY tool /tool\nENTRYPOINT [\"/tool\"]\n";
const SLEEP: &str = "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"sleep\", \"120\"]\n";

pub(crate) async fn all(stage: &mut Stage, tally: &mut Tally) {
    tally.count("built with BuildKit, pushed, verified; again nothing is built", once(stage).await);
    tally.count("skopeo reads the same", second_opinion(stage));
    tally.count("a build secret is in no layer", secret(stage).await);
    tally.count("two platforms become an index", index(stage).await);
    tally.count("a private base image is pulled with the login", base(stage).await);
    tally.count("a step that fails leaves its log", failing(stage).await);
    tally.count("a dropped build is stopped within two seconds", dropped(stage).await);
    tally.count("a step that is killed, and the next try", killed_step(stage).await);
    tally.count("an Engine that is killed, and the next try", killed_engine(stage).await);
}

async fn once(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let registry = stage.client();
    let build = stage.build("once", PLAIN)?.platform(ImagePlatform::parse("linux/amd64")?).version("v1.0");
    expect(engine.builder().await? == BuilderKind::BuildKit, "the classic builder")?;
    let first = build.publish(&engine, &registry, &stage.cx()).await?;
    expect(first.built, &first)?;
    stage.until_said("[internal] load remote build context").await?;
    stage.until_said("[1/1] COPY tool /tool").await?;
    let before = stage.said().len();
    let again = build.publish(&engine, &registry, &stage.cx()).await?;
    expect(!again.built && again.image == first.image, &again)?;
    expect(stage.said().len() == before, "it said something, so it built something")?;
    let version = registry.digest(&stage.repository("once")?, "v1.0").await?;
    expect(version.as_ref() == Some(&first.image.digest), version)
}

fn skopeo(stage: &Stage, command: &str, words: &[&str]) -> Result<String, BoxError> {
    let login = format!("{USER}:{PASSWORD}");
    let (credentials, tls) = if command == "copy" {
        ("--src-creds", "--src-tls-verify=false")
    } else {
        ("--creds", "--tls-verify=false")
    };
    let _ = stage;
    let all: Vec<&str> = [&[command, credentials, &login, tls][..], words].concat();
    Ok(String::from_utf8(run("skopeo", &all)?.stdout)?)
}

fn second_opinion(stage: &Stage) -> Checked {
    let name = format!("docker://{}/once:{}", stage.registry_host, commit("once"));
    let seen: serde_json::Value = serde_json::from_str(&skopeo(stage, "inspect", &[&name])?)?;
    let labels = &seen["Labels"];
    let right = labels["org.opencontainers.image.revision"] == commit("once")
        && labels["org.opencontainers.image.version"] == "v1.0"
        && seen["Architecture"] == "amd64";
    expect(right, seen)
}

async fn secret(stage: &Stage) -> Checked {
    let length = BUILD_SECRET.len();
    let text = format!(
        "FROM scratch\nCOPY tool /tool\nRUN --mount=type=secret,id=npm [\"/tool\", \"secret\", \"/run/secrets/npm\", \"{length}\"]\n"
    );
    let build = stage.build("secret", &text)?.secret("npm", SecretRef::Resolver("npm".into()));
    build.publish(&stage.dockerd.engine()?, &stage.client(), &stage.cx()).await?;
    stage.until_said("it is ***").await?;
    let to = stage.folder.path().join("secret-image");
    let name = format!("docker://{}/secret:{}", stage.registry_host, commit("secret"));
    skopeo(stage, "copy", &[&name, &format!("dir:{}", to.display())])?;
    let (mut files, mut marked) = (0, false);
    for entry in fs::read_dir(&to)? {
        let path = entry?.path().display().to_string();
        // Layers are compressed; manifest and configuration are not.
        let text = run("sh", &["-c", "gzip -dc \"$1\" 2>/dev/null || cat \"$1\"", "sh", &path])?.stdout;
        let text = String::from_utf8_lossy(&text);
        files += 1;
        marked |= text.contains("length");
        expect(!text.contains("canary"), &path)?;
    }
    expect(files >= 4 && marked, "the layers were not read")
}

async fn index(stage: &Stage) -> Checked {
    let platforms = [ImagePlatform::parse("linux/amd64")?, ImagePlatform::parse("linux/arm64")?];
    let build = platforms
        .iter()
        .fold(stage.build("index", PLAIN)?, |build, platform| build.platform(platform.clone()));
    let published = build.publish(&stage.dockerd.engine()?, &stage.client(), &stage.cx()).await?;
    expect(published.image.platforms == platforms, &published)?;
    let name = format!("docker://{}/index@{}", stage.registry_host, published.image.digest);
    let raw: serde_json::Value = serde_json::from_str(&skopeo(stage, "inspect", &["--raw", &name])?)?;
    expect(raw["manifests"].as_array().is_some_and(|list| list.len() == 2), raw)?;
    let arm = stage.client().find(&stage.repository("index")?, &commit("index"), &platforms[1..]).await?;
    expect(arm.is_some(), arm)
}

/// Copies an image to a name that the Engine has never seen: what it has built itself, it asks no registry for.
fn foreign(stage: &Stage, tag: &str) -> Result<String, BoxError> {
    let host = &stage.registry_host;
    let login = format!("{USER}:{PASSWORD}");
    let (from, to) =
        (format!("docker://{host}/base:{}", commit("base")), format!("docker://{host}/foreign:{tag}"));
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run("skopeo", &["copy", tls[0], tls[1], "--src-creds", &login, "--dest-creds", &login, &from, &to])?;
    Ok(format!("FROM REGISTRY/foreign:{tag}\nCOPY Dockerfile /{tag}\n"))
}

async fn base(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    stage.build("base", PLAIN)?.publish(&engine, &stage.client(), &stage.cx()).await?;
    let build = stage.build("on-base", &foreign(stage, "one")?)?;
    build.publish(&engine, &stage.client(), &stage.cx()).await?;
    let missing = stage.build("on-nothing", "FROM REGISTRY/foreign:nothing\nCOPY Dockerfile /x\n")?;
    let result = engine.build(&missing, None, &stage.cx()).await;
    stage.failed(result, ErrorKind::NotFound, None)?;
    let denied = stage.build("denied", &foreign(stage, "two")?)?;
    stage.log_in(USER, "canary-wrong", &[&stage.registry_host])?;
    let result = engine.build(&denied, None, &stage.cx()).await;
    stage.log_in(USER, PASSWORD, &[&stage.registry_host])?;
    stage.failed(result, ErrorKind::Unauthenticated, None)
}

async fn failing(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let build = stage.build("failing", "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"fail\"]\n")?;
    stage.failed(engine.build(&build, None, &stage.cx()).await, ErrorKind::Invalid, Some("the reason"))?;
    let build = stage.build("unreadable", "FORM scratch\n")?;
    stage.failed(engine.build(&build, None, &stage.cx()).await, ErrorKind::Invalid, None)?;
    stage.context("failing", PLAIN)?;
    let repaired = stage.build("failing", PLAIN)?;
    engine.build(&repaired, None, &stage.cx()).await.map(drop).map_err(Into::into)
}

/// The processes of a sleeping step: those whose program is the tool.
pub(crate) fn sleepers() -> Result<Vec<i32>, BoxError> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let line = fs::read(Path::new(&path).join("cmdline")).unwrap_or_default();
        if line.starts_with(b"/tool\0sleep\0") {
            found.push(pid);
        }
    }
    Ok(found)
}

pub(crate) async fn until_sleeping() -> Result<Vec<i32>, BoxError> {
    for _ in 0..300 {
        let found = sleepers()?;
        if !found.is_empty() {
            return Ok(found);
        }
        SystemClock.sleep(Duration::from_millis(100)).await;
    }
    Err("no step ever slept".into())
}

async fn dropped(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let build = stage.build("dropped", SLEEP)?;
    let cx = stage.cx();
    let building = engine.build(&build, None, &cx);
    let sleeping = tokio::select! {
        built = building => return Err(format!("it ended: {built:?}").into()),
        sleeping = until_sleeping() => sleeping?,
    };
    // The future is gone with the end of `select!`.
    let began = SystemClock.elapsed();
    while !sleepers()?.is_empty() {
        SystemClock.sleep(Duration::from_millis(10)).await;
        if SystemClock.elapsed().saturating_sub(began) > Duration::from_secs(30) {
            break;
        }
    }
    let took = SystemClock.elapsed().saturating_sub(began);
    println!("stopped {} after {} ms", sleeping.len(), took.as_millis());
    expect(took < Duration::from_secs(2), took)
}

async fn killed_step(stage: &Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let build = stage.build("killed", SLEEP)?;
    let cx = stage.cx();
    let (result, killed) = tokio::join!(engine.build(&build, None, &cx), async {
        for pid in until_sleeping().await? {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
        }
        Ok::<_, BoxError>(())
    });
    killed?;
    stage.failed(result, ErrorKind::Unavailable, Some("sleeping"))?;
    let next = stage.build("killed", PLAIN)?;
    engine.build(&next, None, &stage.cx()).await.map(drop).map_err(Into::into)
}

async fn killed_engine(stage: &mut Stage) -> Checked {
    let engine = stage.dockerd.engine()?;
    let build = stage.build("orphaned", SLEEP)?;
    let cx = stage.cx();
    let mut building = Box::pin(engine.build(&build, None, &cx));
    tokio::select! {
        built = &mut building => return Err(format!("it ended: {built:?}").into()),
        sleeping = until_sleeping() => sleeping?,
    };
    stage.until_said("sleeping").await?;
    stage.dockerd.kill();
    let result = building.await;
    stage.failed(result, ErrorKind::Unavailable, Some("sleeping"))?;
    stage.failed(engine.build(&build, None, &stage.cx()).await, ErrorKind::Unavailable, None)?;
    stage.dockerd.run().await?;
    for pid in sleepers()? {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let next = stage.build("orphaned", PLAIN)?;
    engine.build(&next, None, &stage.cx()).await.map(drop).map_err(Into::into)
}
