//! What the source and the guards say of commits that git has made: unpushed, rejected, dirty, shallow.

use std::fs;

use deploy_core::{
    BoxError,
    guards::{CleanGuard, PushedGuard},
    model::{Ended, Release},
    source::{
        Ancestry, Between, FileChange, Framework, Migrations, MigrationsBetween, Order, Pushed, Reverted,
        Source, WorkTree, git::Repo,
    },
    state::journal::GuardResult,
};

use crate::{Checked, Tally, expect, places, remote::Remote, stage::Stage};

pub(crate) async fn all(stage: &Stage, tally: &Tally) {
    for hook in ["pre-receive", "update"] {
        tally.count(&format!("a push that {hook} rejects stays unpushed"), rejected(stage, hook).await);
    }
    tally.count("a tree that is not clean", dirty(stage).await);
    tally.count("a shallow clone cannot know", shallow(stage).await);
}

async fn rejected(stage: &Stage, hook: &str) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let repo = Repo::open(&remote.work)?;
    let pushed = remote.here(&["rev-parse", "HEAD"])?;
    remote.reject_by(hook)?;
    let commit = remote.commit("second")?;
    let refusal = remote.push().err().ok_or("the hook did not reject the push")?;
    expect(refusal.to_string().contains("not on a Friday"), refusal.to_string())?;
    let expected = Pushed::No {
        remote: "origin".into(),
        branch: Some("main".into()),
        tip: Some(pushed.clone()),
        diverged: false,
    };
    // Also after a fetch.
    for _ in 0..2 {
        for branch in [Some("main"), None] {
            let told = repo.pushed(&commit, branch).await?;
            expect(told == expected, &told)?;
        }
        expect(repo.pushed(&pushed, Some("main")).await? == Pushed::Yes, &pushed)?;
        stage.operator.fetch(&remote.work, "main").await?.tip()?;
    }
    // A deploy of it is refused before anything is run.
    let folder = places::daemon(stage)?;
    let target = places::target(&folder, &stage.operator.ssh())
        .source(repo.clone())
        .guard(PushedGuard::branch("main"));
    let outcome = target.deploy(Release::commit(&commit)).start().await?.outcome().await?;
    let cause = outcome.cause.as_ref().map(|cause| cause.text.clone()).unwrap_or_default();
    expect(outcome.ended == Ended::Refused && cause.contains("not pushed"), &outcome)?;
    expect(places::writes(&folder).is_empty(), places::writes(&folder))?;
    remote.accept_again(hook)?;
    remote.push()?;
    expect(repo.pushed(&commit, Some("main")).await? == Pushed::Yes, &commit)?;
    let outcome = target.deploy(Release::commit(&commit)).start().await?.outcome().await?;
    expect(outcome.is_success() && places::writes(&folder) == [commit], &outcome)
}

async fn dirty(stage: &Stage) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let repo = Repo::open(&remote.work)?;
    let folder = places::daemon(stage)?;
    let target =
        places::target(&folder, &stage.operator.ssh()).source(repo.clone()).guard(CleanGuard::checked_out());
    let found = async || -> Result<GuardResult, BoxError> {
        let findings = target.ready("HEAD").await?;
        let clean = findings.iter().find(|finding| finding.guard == "clean").ok_or("nobody was asked")?;
        Ok(clean.result)
    };
    expect(found().await? == GuardResult::Pass, "of a clean tree")?;
    fs::write(remote.work.join("file"), "changed\n")?;
    fs::write(remote.work.join("beside"), "")?;
    fs::write(remote.work.join("staged"), "")?;
    remote.here(&["add", "staged"])?;
    let says = remote.here(&["status", "--porcelain"])?;
    let WorkTree::Known { head, changed, untracked } = repo.work_tree().await? else {
        return Err("it is not known".into());
    };
    expect(head == Some(remote.here(&["rev-parse", "HEAD"])?), &head)?;
    let changed: Vec<_> = changed.into_iter().map(|file| (file.path, file.change)).collect();
    let expected = [("file".to_owned(), FileChange::Modified), ("staged".to_owned(), FileChange::Added)];
    expect(changed == expected && untracked == ["beside"], (&changed, &untracked, says))?;
    expect(found().await? == GuardResult::Refuse, "of a dirty tree")?;
    remote.here(&["stash", "--include-untracked", "-q"])?;
    expect(found().await? == GuardResult::Pass, "of a tree that is clean again")
}

async fn shallow(stage: &Stage) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let first = remote.here(&["rev-parse", "HEAD"])?;
    for number in 0..5 {
        remote.commit(&format!("commit {number}"))?;
    }
    remote.push()?;
    let (tip, folder) = (remote.tip()?, stage.folder("shallow")?);
    let from = format!("file://{}", remote.bare.display());
    stage.git(&folder, &["clone", "-q", "--depth", "2", &from, "clone"])?;
    let clone = folder.join("clone");
    stage.git(&clone, &["remote", "set-url", "origin", &stage.url(&remote.bare)])?;
    let repo = Repo::open(&clone)?;
    cannot_know(&repo, &tip, &first).await?;
    // A fetch of ours brings the new commit and no history: still nobody guesses.
    let newer = remote.commit("newer")?;
    remote.push()?;
    let told = stage.operator.fetch(&clone, "main").await?;
    match told.tip() {
        Ok(fetched) => {
            expect(fetched == newer, &told)?;
            expect(repo.contains(&newer, &tip).await? == Ancestry::Yes, "what is there")?;
            cannot_know(&repo, &newer, &first).await?;
        }
        Err(_) => told.is("Unsupported", &["git fetch"])?,
    }
    println!("a fetch over ssh into a shallow clone: {}", told.0);
    stage.git(&clone, &["remote", "set-url", "origin", &from])?;
    stage.git(&clone, &["fetch", "-q", "--unshallow"])?;
    expect(repo.contains(&newer, &first).await? == Ancestry::Yes, "with all history")?;
    expect(repo.pushed(&first, Some("main")).await? == Pushed::Yes, "with all history")
}

async fn cannot_know(repo: &Repo, tip: &str, cut: &str) -> Checked {
    let ancestry = repo.contains(tip, cut).await?;
    expect(matches!(ancestry, Ancestry::CannotKnow(_)), ancestry)?;
    let between = repo.between(cut, tip, 10).await?;
    expect(matches!(between, Between::CannotKnow(_)), between)?;
    let order = repo.order(cut, tip).await?;
    expect(matches!(order, Order::CannotKnow(_)), order)?;
    let pushed = repo.pushed(cut, Some("main")).await?;
    expect(matches!(pushed, Pushed::CannotKnow(_)), pushed)?;
    let reverted = repo.reverted(cut, tip).await?;
    expect(matches!(reverted, Reverted::CannotKnow(_)), reverted)?;
    let migrations = repo.migrations(cut, tip, &Migrations::of(Framework::Laravel)).await?;
    expect(matches!(migrations, MigrationsBetween::CannotKnow(_)), migrations)
}
