//! The calls, against the emulator.

mod calls;
mod checks;
mod served;

use std::sync::Arc;

use super::emulator::{Config, Emulator, WorkflowFile};
use crate::{
    context::scripted::{OneToken, Scripted},
    forge::GitHub,
};

const REPOSITORY: &str = "acme/shop";
const COMMIT: &str = "9f2c1ab4be81d0c9c1c2f7d5a1b3e4f5a6b7c8d9";

struct Stage {
    emulator: Emulator,
    driver: Scripted,
    github: GitHub,
}

/// A repository with one workflow, and a driver.
fn stage() -> Stage {
    stage_with(Config::default())
}

fn stage_with(config: Config) -> Stage {
    let token = config.token.clone();
    let driver = Scripted::new(&token);
    let emulator = Emulator::new(config);
    emulator.with(|world, _| {
        world.workflow(REPOSITORY, WorkflowFile::new("publish.yml").input("version", false))
    });
    let github = emulator.github(Arc::clone(&driver.clock)).unwrap().secrets(Arc::new(OneToken(token)));
    Stage { emulator, driver, github }
}
