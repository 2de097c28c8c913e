//! A deployer process: deploys, resumes or aborts; and may kill itself at a write of the journal.

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use deploy_core::{
    Deployer, Result, Rollout, Target,
    clock::Clock,
    model::{Release, Timestamp},
    observers::JsonLines,
    state::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote, stores::sqlite::SqliteStore},
};
use deploy_ecs::{Ecs, EcsConfig};

use crate::clock::FastClock;

/// Ends this process by SIGKILL right after the n-th write of a head is durable, before anybody here knows.
#[derive(Debug)]
struct Deadly {
    store: SqliteStore,
    after: Option<u32>,
    writes: AtomicU32,
}

#[async_trait]
impl StateStore for Deadly {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        self.store.read(key).await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        let wrote = self.store.write(key, expect, body).await?;
        if key.as_str().ends_with("/head") && matches!(wrote, Wrote::Stored(_)) {
            let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
            if self.after == Some(number) {
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            }
        }
        Ok(wrote)
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        self.store.remove(key, expect).await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.store.list(prefix, after, limit).await
    }
}

async fn target(folder: &Path, service: &str, start: Timestamp, kill_after: Option<u32>) -> Result<Target> {
    let clock = FastClock::since(start);
    let ecs = Ecs::load(&EcsConfig::default(), Arc::new(clock)).await?;
    let store = SqliteStore::open(folder.join("deploys.db"))?;
    let store = Deadly { store, after: kill_after, writes: AtomicU32::new(0) };
    Ok(Deployer::new(store)
        .clock(clock)
        .target(service, "production", ecs.service("website", service))
        .bake(std::time::Duration::from_secs(10))
        .observe(JsonLines::new(std::io::stdout())))
}

/// `deploy IMAGE`, `resume` or `abort`; the exit code is that of the tools.
pub(crate) async fn run(words: &[String]) -> ExitCode {
    let [folder, service, start, what, more @ ..] = words else { return ExitCode::from(2) };
    let start = Timestamp::from_millis(start.parse().unwrap_or_default());
    let kill_after = std::env::var("KILL_AFTER").ok().and_then(|number| number.parse().ok());
    let target = match target(Path::new(folder), service, start, kill_after).await {
        Ok(target) => target,
        Err(error) => return failed(&error),
    };
    let rollout = match (what.as_str(), more) {
        ("deploy", [image]) => {
            target.deploy(Release::of_what_runs().image("app", image)).start().await.map(Some)
        }
        ("abort", _) => abort(&target, FastClock::since(start)).await,
        _ => target.resume().await,
    };
    match rollout {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(rollout)) => match rollout.outcome().await {
            Ok(outcome) => ExitCode::from(outcome.exit()),
            Err(error) => {
                eprintln!("{error:?}");
                ExitCode::from(7)
            }
        },
        Err(error) => failed(&error),
    }
}

/// Aborts what is active, whoever runs it, and follows it to its end.
async fn abort(target: &Target, clock: FastClock) -> Result<Option<Rollout>> {
    let Some(active) = target.active().await? else { return Ok(None) };
    println!("{{\"type\":\"abort_sent\",\"at_ms\":{}}}", clock.now().as_millis());
    active.abort("a test").await?;
    target.resume().await
}

fn failed(error: &deploy_core::Error) -> ExitCode {
    eprintln!("{error:?}");
    ExitCode::from(1)
}
