//! The tool `ecs` from a commit to a service: one command builds, pushes, verifies and deploys.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use deploy_ecs::emulator::{Api, Config, Emulator, ServeOptions, Served};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    Checked, Tally,
    builds::{sleepers, until_sleeping},
    expect,
    stage::{BUILD_SECRET, PASSWORD, Stage, USER, run},
};

/// How much faster than the real one the emulated platform goes.
const SPEED: u32 = 20;
const TARGET: &str = "shop/production";
/// What changes a service or what it runs.
const MUTATIONS: [&str; 2] = ["RegisterTaskDefinition", "UpdateService"];

/// A repository with a remote, a deploy.toml, and a service.
struct Scene<'s> {
    stage: &'s Stage,
    folder: PathBuf,
    emulator: Emulator,
    served: Served,
    /// All that was ever said.
    said: String,
}

/// What a process of the tool said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn exits(&self, code: i32) -> Checked {
        expect(self.code == Some(code), format!("{:?}\n{}\n{}", self.code, self.out, self.err))
    }

    fn says(&self, words: &str) -> Checked {
        expect(
            self.out.contains(words) || self.err.contains(words),
            format!("no `{words}` in {}{}", self.out, self.err),
        )
    }

    fn never_says(&self, words: &str) -> Checked {
        expect(
            !self.out.contains(words) && !self.err.contains(words),
            format!("`{words}` in {}{}", self.out, self.err),
        )
    }
}

fn git(folder: &Path, words: &[&str]) -> Result<String, BoxError> {
    let folder = folder.display().to_string();
    let fixed = [
        "-C",
        &folder,
        "-c",
        "user.name=dev",
        "-c",
        "user.email=dev@example.com",
        "-c",
        "init.defaultBranch=main",
    ];
    let output = run("git", &[&fixed[..], words].concat())?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl<'s> Scene<'s> {
    async fn set(stage: &'s Stage) -> Result<Self, BoxError> {
        let folder = stage.folder.path().join("front");
        let source = folder.join("shop");
        fs::create_dir_all(&source)?;
        git(&folder, &["init", "--quiet", "--bare", "origin.git"])?;
        git(&source, &["init", "--quiet"])?;
        let origin = folder.join("origin.git").display().to_string();
        git(&source, &["remote", "add", "origin", &origin])?;
        fs::copy(stage.folder.path().join("tool"), source.join("tool"))?;
        let start_ms = SystemClock.now().as_millis();
        let emulator = Emulator::new(Config { start_ms, ..Config::default() });
        let image = format!("{}/shop:first", stage.registry_host);
        emulator
            .seed_service("website", "shop", "shop-task", "app", &image, 2)
            .map_err(|error| error.message)?;
        let served = emulator.serve(([127, 0, 0, 1], 0).into(), ServeOptions::speed(SPEED)).await?;
        let text = format!(
            "version = 1\n[defaults]\nplatform = \"ecs\"\nbake = \"1s\"\n[defaults.ecs]\naccount = \"123456789012\"\n\
             region = \"us-east-1\"\ncluster = \"website\"\nservice = \"{{app}}\"\nfamily = \"{{app}}-task\"\n\
             [env.production]\nbranch = \"main\"\n[app.shop]\nrepo = \"shop\"\nimages.app = \"{}/shop\"\n\
             [app.shop.build.app]\nsecrets.npm = {{ from_env = \"NPM_TOKEN\" }}\n",
            stage.registry_host
        );
        fs::write(folder.join("deploy.toml"), text)?;
        Ok(Self { stage, folder, emulator, served, said: String::new() })
    }

    fn source(&self) -> PathBuf {
        self.folder.join("shop")
    }

    /// A commit of this Dockerfile.
    fn commit(&self, dockerfile: &str, push: bool) -> Result<String, BoxError> {
        fs::write(self.source().join("Dockerfile"), dockerfile)?;
        git(&self.source(), &["add", "--all"])?;
        git(&self.source(), &["commit", "--quiet", "--message", "as the test wants it"])?;
        if push {
            git(&self.source(), &["push", "--quiet", "origin", "HEAD:main"])?;
        }
        git(&self.source(), &["rev-parse", "HEAD"])
    }

    fn start(&self, words: &[&str]) -> Result<Child, BoxError> {
        let tool = std::env::var_os("ECS_TOOL").ok_or("ECS_TOOL, the tool `ecs`")?;
        let mut command = Command::new(tool);
        command.args(words).current_dir(&self.folder).kill_on_drop(true).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &self.folder);
        command.env("AWS_ENDPOINT_URL", self.served.endpoint_url()).env("USER", "ci");
        command.env("AWS_ACCESS_KEY_ID", "emulator").env("AWS_SECRET_ACCESS_KEY", "emulator");
        command.env("DOCKER_HOST", format!("unix://{}", self.stage.dockerd.socket().display()));
        command.env("DOCKER_CONFIG", self.stage.config()).env("NPM_TOKEN", BUILD_SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    async fn end(&mut self, child: Child) -> Result<Said, BoxError> {
        let output = tokio::select! {
            output = child.wait_with_output() => output?,
            () = SystemClock.sleep(Duration::from_secs(120)) => return Err("it does not end".into()),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        self.said += &format!("{}{}", said.out, said.err);
        Ok(said)
    }

    async fn tool(&mut self, words: &[&str]) -> Result<Said, BoxError> {
        let child = self.start(words)?;
        self.end(child).await
    }

    fn mutations(&self) -> u64 {
        let counts = self.emulator.counts();
        MUTATIONS.iter().map(|action| counts.of(action)).sum()
    }

    /// The image that the service runs.
    fn runs(&self) -> Result<String, BoxError> {
        let call = |action: &str, body| {
            self.emulator.call(Api::Ecs, action, &body).map_err(|error| BoxError::from(error.message))
        };
        let found = call("DescribeServices", json!({"cluster": "website", "services": ["shop"]}))?;
        let arn = found["services"][0]["taskDefinition"].clone();
        let found = call("DescribeTaskDefinition", json!({ "taskDefinition": arn }))?;
        Ok(found["taskDefinition"]["containerDefinitions"][0]["image"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The image of a commit by somebody else's eyes, and whether the service runs it.
    fn serves(&self, commit: &str) -> Checked {
        let name = format!("docker://{}/shop:{commit}", self.stage.registry_host);
        let login = format!("{USER}:{PASSWORD}");
        let said = run("skopeo", &["inspect", "--tls-verify=false", "--creds", &login, &name])?;
        let seen: serde_json::Value = serde_json::from_slice(&said.stdout)?;
        let digest = seen["Digest"].as_str().unwrap_or_default();
        let runs = self.runs()?;
        let wanted = format!("{}/shop@{digest}", self.stage.registry_host);
        expect(runs == wanted && !digest.is_empty(), (runs, wanted))?;
        expect(seen["Labels"]["org.opencontainers.image.revision"] == commit, seen)
    }
}

/// With a word that no other part's step has: what is in the Engine's cache is not run again.
const GOOD: &str = "FROM scratch\nCOPY tool /tool\nRUN --mount=type=secret,id=npm [\"/tool\", \"secret\", \"/run/secrets/npm\", \"19\", \"in-the-tool\"]\n";
const FAILING: &str = "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"fail\"]\n";
const SLOW: &str = "FROM scratch\nCOPY tool /tool\nRUN [\"/tool\", \"sleep\", \"120\"]\n";

pub(crate) async fn all(stage: &Stage, tally: &mut Tally) {
    let mut scene = match Scene::set(stage).await {
        Ok(scene) => scene,
        Err(error) => return tally.count("a repository and a service", Err(error)),
    };
    let scene = &mut scene;
    tally.count("ecs deploy: from a commit to a service", first(scene).await);
    tally.count("ecs deploy: the same commit again builds and pushes nothing", again(scene).await);
    tally.count("ecs deploy: a dirty tree, an unpushed commit", refused(scene).await);
    tally.count("ecs deploy: a build that fails", failing(scene).await);
    tally.count("ecs deploy: another commit's image under the commit's tag", swapped(scene).await);
    tally.count("ecs deploy: stopped in the middle of a build", stopped(scene).await);
    tally.count("ecs deploy: killed in the middle of a build, and resumed", killed(scene).await);
    tally.count("ecs deploy: no secret in what it said and stored", clean(scene));
}

async fn first(scene: &mut Scene<'_>) -> Checked {
    let commit = scene.commit(GOOD, true)?;
    let plan = scene.tool(&["plan", TARGET]).await?;
    plan.exits(0)?;
    plan.says("OPEN")?;
    plan.says("build app")?;
    expect(scene.mutations() == 0, "planning changed something")?;
    let said = scene.tool(&["--json", "deploy", TARGET]).await?;
    said.exits(0)?;
    said.says("BuildKit")?;
    said.says("it is ***")?;
    said.says("\"verdict\":\"succeeded\"")?;
    scene.serves(&commit)
}

async fn again(scene: &mut Scene<'_>) -> Checked {
    let before = scene.mutations();
    let plan = scene.tool(&["plan", TARGET]).await?;
    plan.exits(0)?;
    plan.never_says("OPEN")?;
    let said = scene.tool(&["deploy", TARGET]).await?;
    said.exits(0)?;
    said.never_says("build-app")?;
    expect(scene.mutations() == before, "it changed something")
}

async fn refused(scene: &mut Scene<'_>) -> Checked {
    let before = scene.mutations();
    scene.commit(&format!("{GOOD}# two\n"), false)?;
    let said = scene.tool(&["deploy", TARGET, "HEAD"]).await?;
    said.exits(3)?;
    said.says("is not pushed")?;
    git(&scene.source(), &["push", "--quiet", "origin", "HEAD:main"])?;
    fs::write(scene.source().join("notes"), "x")?;
    let said = scene.tool(&["deploy", TARGET]).await?;
    fs::remove_file(scene.source().join("notes"))?;
    said.exits(3)?;
    said.says("1 untracked: notes")?;
    said.never_says("BuildKit")?;
    expect(scene.mutations() == before, "it changed something")
}

async fn failing(scene: &mut Scene<'_>) -> Checked {
    let before = scene.mutations();
    scene.commit(FAILING, true)?;
    let said = scene.tool(&["deploy", TARGET]).await?;
    said.exits(3)?;
    said.says("exit code 7: the reason")?;
    said.says("first line")?;
    said.says("Nothing was changed")?;
    expect(scene.mutations() == before, "it changed something")
}

async fn swapped(scene: &mut Scene<'_>) -> Checked {
    let before = scene.mutations();
    let old = git(&scene.source(), &["rev-list", "--max-parents=0", "HEAD"])?;
    let new = scene.commit(&format!("{GOOD}# three\n"), true)?;
    let (login, host) = (format!("{USER}:{PASSWORD}"), &scene.stage.registry_host);
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let (from, to) = (format!("docker://{host}/shop:{old}"), format!("docker://{host}/shop:{new}"));
    run("skopeo", &["copy", tls[0], tls[1], "--src-creds", &login, "--dest-creds", &login, &from, &to])?;
    let said = scene.tool(&["deploy", TARGET]).await?;
    said.exits(3)?;
    said.says(&format!("was built from {}, not from {}", &old[..7], &new[..7]))?;
    expect(scene.mutations() == before, "it changed something")
}

/// How long it takes until no step of a build runs.
async fn until_quiet() -> Result<Duration, BoxError> {
    let began = SystemClock.elapsed();
    loop {
        let took = SystemClock.elapsed().saturating_sub(began);
        if sleepers()?.is_empty() || took > Duration::from_secs(30) {
            return Ok(took);
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
}

fn signal(child: &Child, signal: Signal) -> Checked {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or("it has ended")?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

async fn stopped(scene: &mut Scene<'_>) -> Checked {
    let before = scene.mutations();
    scene.commit(&format!("{SLOW}# stopped\n"), true)?;
    let child = scene.start(&["deploy", TARGET])?;
    until_sleeping().await?;
    signal(&child, Signal::SIGINT)?;
    let took = until_quiet().await?;
    println!("stopped {} ms after Ctrl-C", took.as_millis());
    let said = scene.end(child).await?;
    said.exits(6)?;
    expect(took < Duration::from_secs(2), took)?;
    expect(scene.mutations() == before, "it changed something")
}

async fn killed(scene: &mut Scene<'_>) -> Checked {
    // It is slow the first time only: then the step is there, as after a network that was slow.
    let slow = SLOW.replace("\"120\"", "\"8\"");
    let commit = scene.commit(&format!("{slow}# killed\n"), true)?;
    let child = scene.start(&["deploy", TARGET])?;
    until_sleeping().await?;
    signal(&child, Signal::SIGKILL)?;
    let took = until_quiet().await?;
    println!("stopped {} ms after kill -9", took.as_millis());
    scene.end(child).await?;
    expect(took < Duration::from_secs(2), took)?;
    let said = scene.tool(&["resume", TARGET]).await?;
    said.exits(0)?;
    said.says("DONE")?;
    scene.serves(&commit)
}

fn clean(scene: &Scene<'_>) -> Checked {
    expect(scene.said.len() > 1_000 && !scene.said.contains("canary"), "a secret was said")?;
    expect(scene.said.contains("it is ***"), "no secret was ever near")?;
    let mut stored = 0;
    for entry in fs::read_dir(scene.folder.join(".deploy"))? {
        let bytes = fs::read(entry?.path())?;
        stored += bytes.len();
        expect(!bytes.windows(6).any(|part| part == b"canary"), "a secret was stored")?;
    }
    expect(stored > 1_000, "nothing was stored")
}
