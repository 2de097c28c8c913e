//! The deployer's side: what a program that embeds the library looks like.

use std::{path::Path, process::ExitCode, time::Duration};

use deploy_kit::{
    Deployer, Repo, Result, Rollout, SqliteStore, Target,
    clock::{Clock, SystemClock},
    ecs::Ecs,
    model::Release,
    observers::terminal_or_lines,
};

use crate::shop::IMAGE;

async fn target(folder: &Path) -> Result<Target> {
    let ecs = Ecs::from_env().await?;
    Ok(Deployer::new(SqliteStore::open(folder.join("deploys.db"))?)
        .target("prod-api", "production", ecs.service("prod-website", "prod-api").family("prod-api-task"))
        .image("api", IMAGE)
        .source(Repo::open(folder.join("shop-api"))?)
        .bake(Duration::from_secs(3))
        .observe(terminal_or_lines()))
}

pub(crate) async fn deploy(folder: &Path, revision: &str) -> ExitCode {
    let started = async { target(folder).await?.deploy(Release::commit(revision)).start().await.map(Some) };
    finish(started.await).await
}

pub(crate) async fn resume(folder: &Path) -> ExitCode {
    let resumed = async { target(folder).await?.resume().await };
    finish(resumed.await).await
}

async fn finish(rollout: Result<Option<Rollout>>) -> ExitCode {
    match rollout {
        Ok(Some(rollout)) => examples_common::follow_to_the_end(&rollout, "quickstart resume").await,
        Ok(None) => {
            eprintln!("nothing is unfinished");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

pub(crate) async fn history(folder: &Path) -> ExitCode {
    let read = async { target(folder).await?.history(10).await };
    match read.await {
        Ok(deploys) => {
            print!("{}", examples_common::history(&deploys, SystemClock.now()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
