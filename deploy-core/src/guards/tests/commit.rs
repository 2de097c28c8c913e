//! The guards that speak before anything is built.

use super::*;
use crate::{
    deployer::Deployer,
    source::{Ancestry, Between, ChangedFile, Commit, FileChange, Pushed, Source, WorkTree},
    state::stores::memory::MemoryStore,
};

const COMMIT: &str = "9f2c1ab000000000000000000000000000000000";
const OTHER: &str = "4be81d0000000000000000000000000000000000";

/// A source that answers from a script.
#[derive(Debug, Clone)]
struct Told {
    tree: WorkTree,
    pushed: Pushed,
    contains: Ancestry,
}

impl Default for Told {
    fn default() -> Self {
        Self { tree: tree(Some(COMMIT), &[], &[]), pushed: Pushed::Yes, contains: Ancestry::Yes }
    }
}

fn tree(head: Option<&str>, changed: &[&str], untracked: &[&str]) -> WorkTree {
    WorkTree::Known {
        head: head.map(str::to_owned),
        changed: changed.iter().map(|path| ChangedFile::new(*path, FileChange::Modified)).collect(),
        untracked: untracked.iter().map(|path| (*path).to_owned()).collect(),
    }
}

#[async_trait]
impl Source for Told {
    async fn resolve(&self, revision: &str) -> Result<Commit> {
        let known = revision == COMMIT || revision == "main";
        match known {
            true => Ok(Commit::new(COMMIT, "subject", "Ada", Timestamp::from_millis(0))),
            false => Err(Error::new(ErrorKind::NotFound, revision)),
        }
    }

    async fn tip(&self, branch: &str) -> Result<Commit> {
        self.resolve(branch).await
    }

    async fn contains(&self, commit: &str, _: &str) -> Result<Ancestry> {
        Ok(if commit == COMMIT { self.contains.clone() } else { Ancestry::No })
    }

    async fn between(&self, _: &str, _: &str, _: usize) -> Result<Between> {
        Ok(Between::CannotKnow("scripted".into()))
    }

    async fn work_tree(&self) -> Result<WorkTree> {
        Ok(self.tree.clone())
    }

    async fn pushed(&self, _: &str, _: Option<&str>) -> Result<Pushed> {
        Ok(self.pushed.clone())
    }
}

/// Only what every source has to tell.
#[derive(Debug)]
struct Terse;

#[async_trait]
impl Source for Terse {
    async fn resolve(&self, revision: &str) -> Result<Commit> {
        Told::default().resolve(revision).await
    }

    async fn tip(&self, branch: &str) -> Result<Commit> {
        self.resolve(branch).await
    }

    async fn contains(&self, _: &str, _: &str) -> Result<Ancestry> {
        Ok(Ancestry::Yes)
    }

    async fn between(&self, _: &str, _: &str, _: usize) -> Result<Between> {
        Ok(Between::CannotKnow("terse".into()))
    }
}

fn of(source: impl Source) -> CommitContext {
    CommitContext {
        target: target(),
        commit: COMMIT.into(),
        running: Some(OTHER.into()),
        source: Arc::new(source),
    }
}

/// A refusal that may be overridden, with these words and this to do next.
fn refuses(found: &GuardFinding, words: &[&str], next: &str) {
    assert_eq!(found.result, GuardResult::Refuse, "{found:?}");
    assert!(found.overridable, "{found:?}");
    for word in words {
        assert!(found.text.contains(word), "`{word}`: {found:?}");
    }
    assert!(found.next.iter().any(|line| line.contains(next)), "`{next}`: {found:?}");
}

#[tokio::test]
async fn a_work_tree_that_is_not_the_commit_is_refused() {
    let found = CleanGuard::checked_out().check_commit(&of(Told::default())).await.unwrap();
    assert_eq!((found.guard.as_str(), found.result), ("clean", GuardResult::Pass));
    let many: Vec<String> = (0..7).map(|index| format!("f{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (tree, words, next) in [
        (tree(Some(COMMIT), &["a"], &[]), &["9f2c1ab", "1 file changed: a (modified)"][..], "git stash"),
        (tree(Some(COMMIT), &["a", "b"], &["c"]), &["2 files changed", "; 1 untracked: c"], "git stash"),
        (tree(Some(COMMIT), &[], &many), &["7 untracked: f0, f1", "f4 and 2 more"], "--include-untracked"),
        (tree(Some(OTHER), &[], &[]), &["at 4be81d0, not at 9f2c1ab"], "git switch --detach 9f2c1ab0"),
        (tree(None, &[], &[]), &["at no commit, not at 9f2c1ab"], "git switch"),
        (WorkTree::CannotKnow("a filter".into()), &["cannot be known: a filter"], "clean clone"),
    ] {
        let found =
            CleanGuard::checked_out().check_commit(&of(Told { tree, ..Told::default() })).await.unwrap();
        refuses(&found, words, next);
    }
    refuses(
        &CleanGuard::checked_out().check_commit(&of(Terse)).await.unwrap(),
        &["cannot be known"],
        "clean clone",
    );
    // What is made from the commit itself differs from a work tree only if that is the commit's.
    let made = CleanGuard::if_checked_out();
    for (tree, result) in [
        (tree(Some(COMMIT), &["a"], &[]), GuardResult::Refuse),
        (tree(Some(COMMIT), &[], &["c"]), GuardResult::Refuse),
        (tree(Some(OTHER), &["a"], &["c"]), GuardResult::Pass),
        (tree(None, &[], &[]), GuardResult::Pass),
        (WorkTree::CannotKnow("a filter".into()), GuardResult::Refuse),
    ] {
        let told = Told { tree: tree.clone(), ..Told::default() };
        assert_eq!(made.check_commit(&of(told)).await.unwrap().result, result, "{tree:?}");
    }
    // Once it is built, what happens in the work tree does not matter any more.
    assert_eq!(CleanGuard::checked_out().check(&context().await).await.result, GuardResult::Pass);
}

#[tokio::test]
async fn a_commit_that_the_remote_does_not_have_is_refused_with_the_push_that_helps() {
    let (anywhere, main) = (PushedGuard::anywhere(), PushedGuard::branch("main"));
    for guard in [&anywhere, &main] {
        let found = guard.check_commit(&of(Told::default())).await.unwrap();
        assert_eq!((found.guard.as_str(), found.result), ("pushed", GuardResult::Pass));
    }
    let no = |branch: Option<&str>, tip: Option<&str>, diverged| Pushed::No {
        remote: "origin".into(),
        branch: branch.map(str::to_owned),
        tip: tip.map(str::to_owned),
        diverged,
    };
    for (guard, pushed, words, next) in [
        (
            &main,
            no(Some("main"), Some(OTHER), false),
            &["9f2c1ab", "main of origin ends at 4be81d0"][..],
            "git push origin main",
        ),
        (
            &main,
            no(Some("main"), Some(OTHER), true),
            &["ends at 4be81d0; origin/main has commits that 9f2c1ab lacks"],
            "merge origin/main, then git push origin main",
        ),
        (&anywhere, no(Some("fix"), None, false), &["no branch of origin has it"], "git push origin fix"),
        (
            &anywhere,
            no(None, None, false),
            &["no branch of origin has it"],
            "git push origin 9f2c1ab:refs/heads/",
        ),
        (&main, Pushed::CannotKnow("shallow".into()), &["cannot be known: shallow"], "fetch"),
    ] {
        let found = guard.check_commit(&of(Told { pushed, ..Told::default() })).await.unwrap();
        refuses(&found, words, next);
    }
    refuses(&main.check_commit(&of(Terse)).await.unwrap(), &["cannot be known"], "fetch");
}

#[tokio::test]
async fn where_history_is_needed_and_cut_off_nothing_is_built() {
    let shallow = Ancestry::CannotKnow("history is cut off at 4be81d0 (git fetch --unshallow)".into());
    let cut = of(Told { contains: shallow, ..Told::default() });
    refuses(
        &OrderGuard.check_commit(&cut).await.unwrap(),
        &["9f2c1ab contains 4be81d0", "--unshallow"],
        "full history",
    );
    assert_eq!(OrderGuard.check_commit(&of(Told::default())).await.unwrap().result, GuardResult::Pass);
    let mut first = cut;
    first.running = None;
    assert_eq!(OrderGuard.check_commit(&first).await, None, "the first deploy needs none");
}

#[derive(Debug)]
struct Checks(Ci);

#[async_trait]
impl CommitChecks for Checks {
    async fn of(&self, commit: &str) -> Ci {
        assert_eq!(commit, COMMIT);
        self.0.clone()
    }
}

#[tokio::test]
async fn only_green_checks_pass() {
    let which = || vec!["build".to_owned(), "lint\u{1b}[31m password=hunter2".to_owned()];
    let green = CiGuard::new(Checks(Ci::Green)).check_commit(&of(Terse)).await.unwrap();
    assert_eq!((green.guard.as_str(), green.result), ("ci", GuardResult::Pass));
    for (ci, words, next) in [
        (Ci::Red { which: which() }, &["9f2c1ab have failed: build, lint"][..], "fix"),
        (Ci::Pending { which: which() }, &["9f2c1ab have not ended: build, lint"], "try again"),
        (Ci::CannotKnow { why: "HTTP 500".into() }, &["cannot be known: HTTP 500"], COMMIT),
    ] {
        let found = CiGuard::new(Checks(ci)).check_commit(&of(Terse)).await.unwrap();
        refuses(&found, words, next);
        assert!(!found.text.contains("hunter2") && !found.text.contains('\u{1b}'), "{found:?}");
    }
}

#[tokio::test]
async fn before_the_first_mutation_they_are_asked_of_the_deployed_commit_once_more() {
    let mut cx = context().await;
    let no = Pushed::No { remote: "origin".into(), branch: Some("main".into()), tip: None, diverged: false };
    cx.source = Some(Arc::new(Told { pushed: no, ..Told::default() }));
    let guards: [Arc<dyn Guard>; 2] = [
        Arc::new(PushedGuard::branch("main")),
        Arc::new(CiGuard::new(Checks(Ci::Red { which: vec!["test".into()] }))),
    ];
    // A release by image has no commit.
    assert!(ask(&guards, &cx).await.iter().all(|found| found.result == GuardResult::Pass));
    Arc::make_mut(&mut cx.plan).goal = Goal::Deploy(Release::commit(COMMIT));
    assert!(ask(&guards, &cx).await.iter().all(|found| found.result == GuardResult::Refuse));
    cx.first = false;
    assert!(ask(&guards, &cx).await.iter().all(|found| found.result == GuardResult::Pass), "asked already");
    cx.first = true;
    let now = cx.now.serving.clone();
    Arc::make_mut(&mut cx.plan).goal = Goal::Restore(now);
    assert!(ask(&guards, &cx).await.iter().all(|found| found.result == GuardResult::Pass), "going back");
}

#[tokio::test(start_paused = true)]
async fn a_target_asks_its_guards_before_anything_is_built() {
    let cx = context().await;
    let no = Pushed::No { remote: "origin".into(), branch: Some("main".into()), tip: None, diverged: false };
    let told = Told { tree: tree(Some(COMMIT), &["a"], &[]), pushed: no, ..Told::default() };
    let place = MemoryPlace::new(World::new(Shape::Ecs, Arc::new(TokioClock::starting_at(cx.now.at))));
    let target = Deployer::new(MemoryStore::new()).target("shop", "test", place);
    let error = target.ready("main").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "without a source");
    let target = target.source(told).guard(CleanGuard::checked_out()).guard(PushedGuard::branch("main"));
    let found = target.clone().override_guard("clean", "only a comment").ready("main").await.unwrap();
    let found: Vec<_> = found.iter().map(|found| (found.guard.as_str(), found.result)).collect();
    assert_eq!(found, [("clean", GuardResult::Overridden), ("pushed", GuardResult::Refuse)]);
    assert_eq!(target.ready("mian").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_guard_is_the_precondition_of_a_step() {
    use crate::{
        model::{Release, Revision},
        steps::{Precondition, StepFacts, guarded},
    };
    let revision = |name: &str| Revision::new(name, [], serde_json::Value::Null);
    let facts = |release| StepFacts { target: target(), release, from: revision("r1"), to: revision("r2") };
    let dirty = Told { tree: tree(Some(COMMIT), &["a"], &[]), ..Told::default() };
    let clean = |told: Told| guarded(CleanGuard::checked_out(), Arc::new(told));
    assert_eq!(clean(Told::default()).name(), "clean");
    clean(Told::default()).check(&facts(Release::commit(COMMIT))).await.unwrap();
    let error = clean(dirty).check(&facts(Release::commit(COMMIT))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(
        error.to_string().contains("1 file changed") && error.to_string().contains("git stash"),
        "{error}"
    );
    let error = clean(Told::default()).check(&facts(Release::of_what_runs())).await.unwrap_err();
    assert!(error.to_string().contains("no commit"), "{error}");
    let error = guarded(IdentityGuard, Arc::new(Told::default()));
    let error = error.check(&facts(Release::commit(COMMIT))).await.unwrap_err();
    assert!(error.to_string().contains("looks at plans"), "{error}");
}
