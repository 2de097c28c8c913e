//! The parent's side: the served emulator, the deployer processes, and what is true at the emulator.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
    model::Timestamp,
};
use deploy_ecs::emulator::{Api, Config, Emulator, ServeOptions, Served};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::clock::FACTOR;

/// The exit code of a process that left a deploy which has not ended.
const LEFT: i32 = 7;
/// How often one deploy may be left before that is a failure.
const LEFT_MAX: u32 = 3;
/// How often processes had to leave.
pub(crate) static LEFT_COUNT: AtomicU32 = AtomicU32::new(0);

/// Everything that a run of trials shares.
pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    served: Served,
    start: Timestamp,
    folder: tempfile::TempDir,
}

/// Where the state files are: in memory if this machine has such a place. The deployers' time runs 25 times as fast as
/// that of a disk, and what kill -9 can lose is the same in both.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// One service with a state file of its own.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) service: String,
    pub(crate) folder: PathBuf,
    start: Timestamp,
    endpoint: String,
}

impl Stage {
    pub(crate) async fn set() -> Result<Self, BoxError> {
        let start = SystemClock.now();
        let config = Config { start_ms: start.as_millis(), throttling: false, ..Config::default() };
        let emulator = Emulator::new(config);
        let served = emulator.serve(([127, 0, 0, 1], 0).into(), ServeOptions::speed(FACTOR)).await?;
        Ok(Self { emulator, served, start, folder: folder()? })
    }

    /// A fresh service, steady at `ok-0`.
    pub(crate) fn scene(&self, name: &str) -> Result<Scene, BoxError> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        let image = self.emulator.image("app", "ok-0");
        self.emulator
            .seed_service("website", name, &format!("{name}-task"), "app", &image, 2)
            .map_err(|error| error.message)?;
        Ok(Scene {
            service: name.to_owned(),
            folder,
            start: self.start,
            endpoint: self.served.endpoint_url(),
        })
    }

    /// The tag word of the image that the service declares now, the number of services' task definition, and whether two
    /// tasks of it run.
    pub(crate) fn declares(&self, scene: &Scene) -> Result<(String, bool), BoxError> {
        let call = |action: &str, body: Value| {
            self.emulator.call(Api::Ecs, action, &body).map_err(|error| error.message)
        };
        let found = call("DescribeServices", json!({"cluster": "website", "services": [scene.service]}))?;
        let service = &found["services"][0];
        let definition =
            call("DescribeTaskDefinition", json!({"taskDefinition": service["taskDefinition"]}))?;
        let image =
            definition["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap_or_default();
        let steady = service["runningCount"] == service["desiredCount"]
            && service["deployments"].as_array().map(Vec::len) == Some(1);
        Ok((image.to_owned(), steady))
    }
}

impl Scene {
    /// A deployer process.
    pub(crate) fn start(&self, words: &[&str], kill_after: Option<u32>) -> Result<Child, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("child")
            .arg(&self.folder)
            .arg(&self.service)
            .arg(self.start.as_millis().to_string())
            .args(words);
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "emulator").env("AWS_SECRET_ACCESS_KEY", "emulator");
        command.env_remove("AWS_SESSION_TOKEN").env_remove("AWS_PROFILE");
        if let Some(number) = kill_after {
            command.env("KILL_AFTER", number.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// A deployer process, to its end.
    pub(crate) async fn run(&self, words: &[&str], kill_after: Option<u32>) -> Result<Output, BoxError> {
        Ok(self.start(words, kill_after)?.wait_with_output().await?)
    }

    /// A deployer process to the end of the deploy: if it has to leave, it is resumed, as it says. The lease's window is
    /// thirty seconds of the deployers' time and little more than one of ours, so a disk that is busy for longer than that
    /// takes the lease away.
    pub(crate) async fn run_to_the_end(&self, words: &[&str]) -> Result<Output, BoxError> {
        self.to_the_end(self.run(words, None).await?).await
    }

    /// What became of the deploy that this process was about.
    pub(crate) async fn to_the_end(&self, mut output: Output) -> Result<Output, BoxError> {
        for _ in 0..LEFT_MAX {
            if output.status.code() != Some(LEFT) {
                break;
            }
            LEFT_COUNT.fetch_add(1, Ordering::Relaxed);
            output = self.run(&["resume"], None).await?;
        }
        Ok(output)
    }
}

/// The last `ended` line that a process wrote: its verdict.
pub(crate) fn verdict(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|line| line.contains("\"type\":\"ended\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["data"]["verdict"].as_str()?.to_owned())
}

/// What a process said, for a failure's report.
pub(crate) fn said(output: &Output) -> String {
    let tail = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(6).collect();
        lines
            .into_iter()
            .rev()
            .map(|line| line.chars().take(400).collect::<String>() + "\n")
            .collect::<String>()
    };
    format!("{}\n{}{}", output.status, tail(&output.stdout), tail(&output.stderr))
}
