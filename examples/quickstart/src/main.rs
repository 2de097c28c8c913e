//! The main job, with no account and no daemon: `cargo run -p quickstart`.
//!
//! Makes a small git repository, serves the ECS emulator on loopback, and deploys commits of the one to the other, each
//! from a process of its own: a good one, one that crashes and is undone, and one whose deployer is killed by a real
//! SIGKILL halfway and finished by another.

mod deployer;
mod shop;

use std::{
    path::Path,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use deploy_ecs::emulator::{Config, Emulator, ServeOptions};
use deploy_kit::{
    BoxError,
    clock::{Clock, SystemClock},
};
use tokio::process::{Child, Command};

/// How much faster than the real one the emulated platform goes.
const SPEED: u32 = 12;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show().await,
        ["deploy", folder, revision] => return deployer::deploy(Path::new(folder), revision).await,
        ["history", folder] => return deployer::history(Path::new(folder)).await,
        ["resume", folder] => return deployer::resume(Path::new(folder)).await,
        _ => {
            eprintln!("usage: quickstart (it takes no arguments)");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn show() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let commits = shop::make_repository(&folder.path().join("shop-api"))?;
    let emulator = Emulator::new(Config { start_ms: SystemClock.now().as_millis(), ..Config::default() });
    shop::build_images(&emulator, &commits)?;
    let served = emulator.serve(([127, 0, 0, 1], 0).into(), ServeOptions::speed(SPEED)).await?;
    let stage = Stage { folder: folder.path(), endpoint: served.endpoint_url() };

    title("A service runs on an emulated Amazon ECS, at commit", &commits.running.id);
    println!("{}   (it goes {SPEED} times as fast as the real one)", stage.endpoint);

    title("1  Deploy a good commit", &commits.good.line());
    expect(stage.run(&["deploy"], Some(&commits.good.id)).await?, 0, "the good commit was to be deployed")?;

    title(
        "2  Deploy one that crashes: it is noticed, undone, and the cause is told",
        &commits.crashing.line(),
    );
    expect(
        stage.run(&["deploy"], Some(&commits.crashing.id)).await?,
        4,
        "the crashing commit was to be undone",
    )?;

    title("3  Deploy the fix, and kill the deployer halfway (SIGKILL)", &commits.fixed.line());
    let mut child = stage.start(&["deploy"], Some(&commits.fixed.id))?;
    let updates = emulator.counts().of("UpdateService");
    while emulator.counts().of("UpdateService") == updates {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the deployer ended before it could be killed: {status}").into());
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
    SystemClock.sleep(Duration::from_millis(1500)).await;
    child.kill().await?;
    println!("\nkilled with SIGKILL: the deployer is gone, the deploy is half done");

    title("4  `resume`, from a new process", "it settles what was sent, looks, and goes on");
    expect(stage.run(&["resume"], None).await?, 0, "the killed deploy was to be finished")?;

    title("5  History", "");
    expect(stage.run(&["history"], None).await?, 0, "the history was to be shown")?;
    let calls = emulator.counts();
    println!("\n{} calls of the API, {} of them changed something", calls.total(), calls.mutating());
    served.shutdown().await;
    Ok(())
}

fn title(what: &str, detail: &str) {
    println!("\n\n== {what}");
    if !detail.is_empty() {
        println!("   {detail}");
    }
    println!();
}

fn expect(status: ExitStatus, code: i32, what: &str) -> Result<(), BoxError> {
    if status.code() == Some(code) {
        Ok(())
    } else {
        Err(format!("{what}, but its deployer said: {status}").into())
    }
}

/// Where the deployers of this show run.
struct Stage<'a> {
    folder: &'a Path,
    endpoint: String,
}

impl Stage<'_> {
    /// A deployer in a process of its own. It finds the emulator as any AWS client does: by environment variables.
    fn start(&self, words: &[&str], revision: Option<&str>) -> Result<Child, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).arg(self.folder).args(revision);
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "emulator").env("AWS_SECRET_ACCESS_KEY", "emulator");
        command.env_remove("AWS_SESSION_TOKEN").env_remove("AWS_PROFILE");
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    async fn run(&self, words: &[&str], revision: Option<&str>) -> Result<ExitStatus, BoxError> {
        Ok(self.start(words, revision)?.wait().await?)
    }
}
