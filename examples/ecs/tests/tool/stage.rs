//! A folder with a git repository and a deploy.toml, a served emulator, and processes of the tool.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use deploy_ecs::emulator::{Behaviour, Config, Emulator, ServeOptions, Served};
use deploy_kit::clock::{Clock, SystemClock};
use serde_json::Value;
use tokio::process::{Child, Command};

/// How much faster than the real one the emulated platform goes.
const SPEED: u32 = 60;
/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const API: &str = "prod-api/production";
pub(crate) const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

const FILE: &str = r#"version = 1
[defaults]
platform = "ecs"
bake = "1s"
[defaults.ecs]
account = "123456789012"
region = "us-east-1"
cluster = "prod-website"
service = "{app}"
family = "{app}-task"
[env.production]
branch = "main"
[app.prod-api]
repo = "shop-api"
images.api = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api"
[app.prod-app]
images.app = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-app"
"#;

pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) emulator: Emulator,
    pub(crate) commits: Vec<String>,
    served: Served,
}

/// What a process of the tool said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn last(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }

    /// The lines of `--json`.
    pub(crate) fn json(&self) -> Vec<Value> {
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(line).collect()
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("deploy.toml"), FILE).expect("a file");
        let commits = repository(&folder.path().join("shop-api"));
        let start_ms = SystemClock.now().as_millis();
        let emulator = Emulator::new(Config { start_ms, ..Config::default() });
        for commit in &commits {
            emulator.with(|world| world.put_image("shop-api", commit, Behaviour::Ok));
        }
        let first = format!("{REGISTRY}/shop-api:{}", commits[0]);
        let app = format!("{REGISTRY}/shop-app:ok");
        for (app, container, image) in [("prod-api", "api", &first), ("prod-app", "app", &app)] {
            let family = format!("{app}-task");
            emulator.seed_service("prod-website", app, &family, container, image, 2).expect("a service");
        }
        let served = emulator.serve(([127, 0, 0, 1], 0).into(), ServeOptions::speed(SPEED)).await;
        Self { folder, emulator, commits, served: served.expect("a socket") }
    }

    /// Changes the deploy.toml.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.folder.path().join("deploy.toml");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).expect("a file");
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecs"));
        command.args(words).current_dir(self.folder.path()).kill_on_drop(true);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("AWS_ENDPOINT_URL", self.served.endpoint_url()).env("USER", "ci");
        command.env("AWS_ACCESS_KEY_ID", "emulator").env("AWS_SECRET_ACCESS_KEY", "emulator");
        command.env("HOME", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words).spawn().expect("a process")
    }

    pub(crate) async fn run(&self, words: &[&str]) -> Said {
        end(self.start(words)).await
    }

    /// Waits until so many services were updated.
    pub(crate) async fn updates(&self, count: u64) {
        self.until("updates", || self.emulator.counts().of("UpdateService") >= count).await;
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = SystemClock.elapsed();
        while !holds() {
            assert!(SystemClock.elapsed() - begun < PATIENCE, "{what} did not come");
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the state says that the running deploy has come to this type of event with this value.
    pub(crate) async fn journaled(&self, kind: &str, value: &str) {
        let begun = SystemClock.elapsed();
        loop {
            let said = self.run(&["logs", API, "--json"]).await;
            let lines = if said.code == Some(0) { said.json() } else { Vec::new() };
            let fits = |line: &Value| line["type"] == kind && line["data"][kind] == value;
            if lines.iter().any(fits) {
                return;
            }
            assert!(SystemClock.elapsed() - begun < PATIENCE, "{kind} {value} did not come: {lines:#?}");
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) async fn end(child: Child) -> Said {
    let waiting = child.wait_with_output();
    tokio::select! {
        output = waiting => output.expect("an end").into(),
        () = SystemClock.sleep(PATIENCE) => panic!("the process does not end"),
    }
}

/// Three commits on `main`.
fn repository(path: &Path) -> Vec<String> {
    let mut options = git2::RepositoryInitOptions::new();
    let repository = git2::Repository::init_opts(path, options.initial_head("main")).expect("a repository");
    let author = git2::Signature::now("dev", "dev@example.com").expect("an author");
    let mut commits: Vec<git2::Oid> = Vec::new();
    for subject in ["Open the shop", "Show prices", "Add a chat"] {
        let mut index = repository.index().expect("an index");
        std::fs::write(path.join("server.js"), subject).expect("a file");
        index.add_path(Path::new("server.js")).expect("an entry");
        let tree = repository.find_tree(index.write_tree().expect("a tree")).expect("a tree");
        let parents: Vec<_> =
            commits.last().map(|id| repository.find_commit(*id).expect("a parent")).into_iter().collect();
        let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
        let made = repository.commit(Some("HEAD"), &author, &author, subject, &tree, &parents);
        commits.push(made.expect("a commit"));
    }
    commits.iter().map(ToString::to_string).collect()
}
