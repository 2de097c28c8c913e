//! An Engine whose disk is full.

use std::fs;

use deploy_core::{ErrorKind, image::Engine};

use crate::{
    Checked, Tally,
    stage::{Dockerd, Stage, run},
};

/// The Engine's whole disk.
const DISK_MIB: usize = 96;

pub(crate) async fn all(stage: &Stage, tally: &mut Tally) {
    let folder = stage.folder.path().join("small");
    let result = small(stage, &folder).await;
    let _ = run("umount", &["--lazy", &folder.display().to_string()]);
    tally.count("a full disk, and the next try", result);
}

async fn small(stage: &Stage, folder: &std::path::Path) -> Checked {
    fs::create_dir_all(folder)?;
    let size = format!("size={DISK_MIB}m");
    run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &folder.display().to_string()])?;
    let dockerd = Dockerd::start(folder.join("e"), "none").await?;
    let engine: Engine = dockerd.engine()?;
    let build = stage.build("large", "FROM scratch\nCOPY large /large\n")?;
    let large = stage.context("large", "FROM scratch\nCOPY large /large\n")?.join("large");
    let file = fs::File::create(&large)?;
    file.set_len(u64::try_from(DISK_MIB)? << 20)?;
    stage.failed(engine.build(&build, None, &stage.cx()).await, ErrorKind::Unavailable, None)?;
    // Somebody makes room.
    run("mount", &["-o", "remount,size=400m", &folder.display().to_string()])?;
    engine.build(&build, None, &stage.cx()).await?;
    drop(dockerd);
    Ok(())
}
