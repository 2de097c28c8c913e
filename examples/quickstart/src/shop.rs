//! The shop: a git repository with four commits, and their images in the emulator.

use std::path::Path;

use deploy_ecs::emulator::{Behaviour, Emulator};
use deploy_kit::BoxError;

/// The repository of the images, in the emulator's account.
pub(crate) const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop-api";

/// One commit.
pub(crate) struct Commit {
    pub(crate) id: String,
    subject: &'static str,
}

impl Commit {
    pub(crate) fn line(&self) -> String {
        format!("{}  {}", self.id.get(..7).unwrap_or(&self.id), self.subject)
    }
}

/// The commits of the shop, oldest first.
pub(crate) struct Commits {
    pub(crate) running: Commit,
    pub(crate) good: Commit,
    pub(crate) crashing: Commit,
    pub(crate) fixed: Commit,
}

pub(crate) fn make_repository(path: &Path) -> Result<Commits, BoxError> {
    let repository = git2::Repository::init(path)?;
    let author = git2::Signature::now("dev", "dev@example.com")?;
    let mut parent: Option<git2::Oid> = None;
    let mut commit = |subject: &'static str, source: &str| -> Result<Commit, BoxError> {
        std::fs::write(path.join("server.js"), source)?;
        let mut index = repository.index()?;
        index.add_path(Path::new("server.js"))?;
        index.write()?;
        let tree = repository.find_tree(index.write_tree()?)?;
        let before = parent.map(|id| repository.find_commit(id)).transpose()?;
        let parents: Vec<&git2::Commit<'_>> = before.iter().collect();
        let id = repository.commit(Some("HEAD"), &author, &author, subject, &tree, &parents)?;
        parent = Some(id);
        Ok(Commit { id: id.to_string(), subject })
    };
    Ok(Commits {
        running: commit("Open the shop", "serve('shop')\n")?,
        good: commit("Show prices", "serve('shop with prices')\n")?,
        crashing: commit("Add a chat", "require('./chat/router')\n")?,
        fixed: commit("Add the chat's missing file", "serve('shop with prices and chat')\n")?,
    })
}

/// Puts the image of every commit into the emulator's registry, and starts the service at the first.
pub(crate) fn build_images(emulator: &Emulator, commits: &Commits) -> Result<(), BoxError> {
    let words = [
        (&commits.running, Behaviour::Ok),
        (&commits.good, Behaviour::Ok),
        (&commits.crashing, Behaviour::Crash),
        (&commits.fixed, Behaviour::Ok),
    ];
    for (commit, behaviour) in words {
        emulator.with(|world| world.put_image("shop-api", &commit.id, behaviour));
    }
    let image = format!("{IMAGE}:{}", commits.running.id);
    emulator.seed_service("prod-website", "prod-api", "prod-api-task", "api", &image, 2).map_err(|error| error.message)?;
    Ok(())
}
