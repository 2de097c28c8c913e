use std::{collections::BTreeSet, fs};

use git2::{FileMode, ObjectType, RepositoryInitOptions, Signature, Time, build::TreeUpdateBuilder};

use super::*;
use crate::source::Order;

mod checkout;
mod fetch;
mod migrations;
mod names;
mod pushed;
mod random;
mod refused;
mod reverted;
mod server;
mod work_tree;

/// A repository of empty commits at fixed times, so that every run makes the same ids.
struct Made {
    _dir: tempfile::TempDir,
    git: Repository,
    repo: Repo,
}

impl Made {
    fn new() -> Self {
        Self::with(RepositoryInitOptions::new().initial_head("main"))
    }

    fn with(options: &RepositoryInitOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = Repository::init_opts(dir.path(), options).unwrap();
        let repo = Repo::open(dir.path()).unwrap();
        Self { _dir: dir, git, repo }
    }

    fn at(&self, time: i64, message: &str, parents: &[Oid]) -> Oid {
        let tree = self.git.treebuilder(None).unwrap().write().unwrap();
        self.commit_tree(time, message, parents, tree)
    }

    /// A commit with files: those of its first parent, with these set or removed.
    fn with_files(&self, time: i64, message: &str, parents: &[Oid], edits: &[(&str, Option<&str>)]) -> Oid {
        let mut update = TreeUpdateBuilder::new();
        for (path, text) in edits {
            match text {
                Some(text) => {
                    update.upsert(*path, self.git.blob(text.as_bytes()).unwrap(), FileMode::Blob);
                }
                None => {
                    update.remove(*path);
                }
            }
        }
        let base = match parents.first() {
            Some(parent) => self.git.find_commit(*parent).unwrap().tree().unwrap(),
            None => self.git.find_tree(self.git.treebuilder(None).unwrap().write().unwrap()).unwrap(),
        };
        let tree = update.create_updated(&self.git, &base).unwrap();
        self.commit_tree(time, message, parents, tree)
    }

    fn commit_tree(&self, time: i64, message: &str, parents: &[Oid], tree: Oid) -> Oid {
        let tree = self.git.find_tree(tree).unwrap();
        let who = Signature::new("Ada", "ada@example.com", &Time::new(1_700_000_000 + time, 0)).unwrap();
        let parents: Vec<_> = parents.iter().map(|id| self.git.find_commit(*id).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        self.git.commit(None, &who, &who, message, &tree, &parents).unwrap()
    }

    /// `n` commits in a row, a minute apart.
    fn line(&self, n: i64, start: &[Oid], name: &str) -> Vec<Oid> {
        let mut ids: Vec<Oid> = Vec::new();
        for index in 0..n {
            let parents = ids.last().map_or(start.to_vec(), |last| vec![*last]);
            ids.push(self.at(index * 60, &format!("{name} {index}"), &parents));
        }
        ids
    }

    fn point(&self, name: &str, at: Oid) {
        self.git.reference(name, at, true, "test").unwrap();
    }

    fn shallow(&self, ids: &[Oid]) {
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        fs::write(self.git.commondir().join("shallow"), lines).unwrap();
    }

    async fn contains(&self, commit: Oid, ancestor: Oid) -> Ancestry {
        self.repo.contains(&commit.to_string(), &ancestor.to_string()).await.unwrap()
    }

    async fn order(&self, running: Oid, wanted: Oid) -> Order {
        self.repo.order(&running.to_string(), &wanted.to_string()).await.unwrap()
    }

    async fn between(&self, old: Oid, new: Oid) -> Between {
        self.repo.between(&old.to_string(), &new.to_string(), 100).await.unwrap()
    }

    async fn refused(&self, revision: &str) -> (ErrorKind, String) {
        let error = self.repo.resolve(revision).await.unwrap_err();
        assert!(error.what_next().is_some(), "{error:?}");
        (error.kind(), error.to_string())
    }
}

fn ids(between: Between) -> Vec<String> {
    match between {
        Between::Known { commits, truncated: false } => commits.into_iter().map(|commit| commit.id).collect(),
        other => panic!("{other:?}"),
    }
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a Oid>) -> Vec<String> {
    ids.into_iter().map(Oid::to_string).collect()
}

/// The reason, which names what it is about.
fn doubt(ancestry: Ancestry) -> String {
    match ancestry {
        Ancestry::CannotKnow(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_line_goes_forward_and_backward() {
    let made = Made::new();
    let line = made.line(5, &[], "commit");
    assert_eq!(made.contains(line[4], line[0]).await, Ancestry::Yes);
    assert_eq!(made.contains(line[0], line[4]).await, Ancestry::No);
    assert_eq!(made.contains(line[2], line[2]).await, Ancestry::Yes);
    assert_eq!(made.order(line[1], line[3]).await, Order::Forward);
    assert_eq!(made.order(line[3], line[1]).await, Order::Backward);
    assert_eq!(made.order(line[3], line[3]).await, Order::Same);
    let short = &line[3].to_string()[..7];
    assert_eq!(made.repo.order(short, &line[3].to_string()).await.unwrap(), Order::Same);
    assert_eq!(ids(made.between(line[1], line[4]).await), texts([&line[4], &line[3], &line[2]]));
    assert_eq!(ids(made.between(line[4], line[1]).await), texts([]));
    for (limit, count, more) in [(0, 0, true), (2, 2, true), (3, 3, false), (9, 3, false)] {
        match made.repo.between(&line[1].to_string(), &line[4].to_string(), limit).await.unwrap() {
            Between::Known { commits, truncated } => assert_eq!((commits.len(), truncated), (count, more)),
            other @ Between::CannotKnow(_) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_merge_contains_both_sides_and_what_diverged_says_so() {
    let made = Made::new();
    let base = made.line(2, &[], "base");
    let left = made.at(300, "left", &[base[1]]);
    let right = made.at(400, "right", &[base[1]]);
    assert_eq!(made.order(left, right).await, Order::Diverged);
    assert_eq!(ids(made.between(left, right).await), texts([&right]));
    let merge = made.at(500, "merge", &[left, right]);
    assert_eq!(made.order(right, merge).await, Order::Forward);
    assert_eq!(made.contains(left, merge).await, Ancestry::No);
    assert_eq!(ids(made.between(left, merge).await), texts([&merge, &right]));
    assert_eq!(ids(made.between(base[0], merge).await), texts([&merge, &right, &left, &base[1]]));
}

#[tokio::test]
async fn histories_that_share_nothing_are_not_compared() {
    let made = Made::new();
    let (one, other) = (made.line(2, &[], "one")[1], made.line(2, &[], "other")[1]);
    let why = doubt(made.contains(one, other).await);
    assert!(why.contains("share no commit") && why.contains(&one.to_string()[..7]), "{why}");
    assert!(matches!(made.order(one, other).await, Order::CannotKnow(_)));
    assert!(matches!(made.between(one, other).await, Between::CannotKnow(_)));
    // Once they are merged, the foreign root is simply new.
    let merge = made.at(900, "merge", &[one, other]);
    assert_eq!(ids(made.between(one, merge).await).len(), 3);
}

#[tokio::test]
async fn unknown_commits_and_names_are_doubts_not_errors() {
    let made = Made::new();
    let line = made.line(1, &[], "commit");
    made.point("refs/heads/main", line[0]);
    let known = line[0].to_string();
    let absent = "1234567890123456789012345678901234567890";
    for (unknown, word) in [
        (absent, "not in this repository"),
        ("main", "not a commit id"),
        ("", "not a"),
        ("abc\u{1b}[1m", "\\u{1b}"),
    ] {
        for (commit, ancestor) in [(known.as_str(), unknown), (unknown, known.as_str())] {
            let why = doubt(made.repo.contains(commit, ancestor).await.unwrap());
            assert!(why.contains(word), "{why}");
            assert!(matches!(made.repo.between(commit, ancestor, 9).await.unwrap(), Between::CannotKnow(_)));
            assert!(matches!(made.repo.order(commit, ancestor).await.unwrap(), Order::CannotKnow(_)));
        }
    }
    made.shallow(&line);
    assert!(doubt(made.repo.contains(&known, absent).await.unwrap()).contains("--unshallow"));
}

#[tokio::test]
async fn a_shallow_clone_knows_only_what_it_can_prove() {
    let made = Made::new();
    let line = made.line(6, &[], "commit");
    let side = made.at(1000, "side", &[line[0]]);
    made.shallow(&[line[2]]);
    // Above the cut all is known, in both directions.
    assert_eq!(made.order(line[3], line[5]).await, Order::Forward);
    assert_eq!(made.order(line[5], line[3]).await, Order::Backward);
    assert_eq!(made.contains(line[2], line[5]).await, Ancestry::No);
    assert_eq!(ids(made.between(line[2], line[4]).await), texts([&line[4], &line[3]]));
    // Across it, nothing is.
    for other in [line[0], line[1], side] {
        let why = doubt(made.contains(line[5], other).await);
        assert!(why.contains(&line[2].to_string()[..7]) && why.contains("--unshallow"), "{why}");
        assert!(matches!(made.order(line[5], other).await, Order::CannotKnow(_)));
        assert!(matches!(made.between(other, line[5]).await, Between::CannotKnow(_)));
    }
    // A linked work tree of the clone is as shallow.
    made.point("refs/heads/main", line[5]);
    let dir = tempfile::tempdir().unwrap();
    made.git.worktree("linked", &dir.path().join("linked"), None).unwrap();
    let linked = Repo::open(dir.path().join("linked")).unwrap();
    let (new, old) = (line[5].to_string(), line[0].to_string());
    assert!(doubt(linked.contains(&new, &old).await.unwrap()).contains("cut off"));
    assert_eq!(linked.resolve("HEAD").await.unwrap().id, new);
    fs::write(made.git.commondir().join("shallow"), "rubbish\n").unwrap();
    assert!(made.repo.contains(&new, &old).await.is_err());
}

#[tokio::test]
async fn where_both_are_cut_off_at_the_same_commit_nothing_is_lost() {
    let made = Made::new();
    let base = made.line(2, &[], "base");
    let other = made.at(450, "other", &[]);
    // The dates make the walk see the cut as one side's alone, long before the other side comes to it.
    let left = made.at(500, "left", &[base[1], other]);
    let slow = made.at(0, "slow", &[base[1]]);
    let right = made.at(460, "right", &[slow, other]);
    made.shallow(&[base[1]]);
    assert_eq!(made.order(left, right).await, Order::Diverged);
    assert_eq!(ids(made.between(left, right).await), texts([&right, &slow]));
}

#[tokio::test]
async fn a_missing_parent_is_an_early_end_too() {
    let made = Made::new();
    let line = made.line(4, &[], "commit");
    let lost = line[1].to_string();
    fs::remove_file(made.git.path().join("objects").join(&lost[..2]).join(&lost[2..])).unwrap();
    assert!(doubt(made.contains(line[3], line[0]).await).contains(&line[2].to_string()[..7]));
    assert_eq!(made.order(line[2], line[3]).await, Order::Forward);
}

#[tokio::test]
async fn grafts_and_replacements_change_no_answer() {
    let made = Made::new();
    let line = made.line(3, &[], "commit");
    let other = made.line(3, &[], "other");
    fs::create_dir_all(made.git.path().join("info")).unwrap();
    fs::write(made.git.path().join("info/grafts"), format!("{} {}\n", line[2], other[2])).unwrap();
    made.point(&format!("refs/replace/{}", line[1]), other[1]);
    assert_eq!(made.contains(line[2], line[0]).await, Ancestry::Yes);
    assert!(doubt(made.contains(line[2], other[2]).await).contains("share no commit"));
}

#[tokio::test]
async fn detached_empty_and_bare_repositories() {
    let made = Made::with(RepositoryInitOptions::new().bare(true).initial_head("main"));
    let (kind, text) = made.refused("HEAD").await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("no commits yet"), "{text}");
    assert_eq!(made.repo.tip("main").await.unwrap_err().kind(), ErrorKind::NotFound);
    let line = made.line(2, &[], "commit");
    made.git.set_head_detached(line[0]).unwrap();
    assert_eq!(made.repo.resolve("HEAD").await.unwrap().id, line[0].to_string());
    made.point("refs/heads/main", line[1]);
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[1].to_string());
}

#[tokio::test]
async fn a_damaged_commit_is_an_error_not_a_panic() {
    let made = Made::new();
    let odb = made.git.odb().unwrap();
    let root = made.at(0, "ok", &[]);
    for body in [&b"rubbish"[..], b"", b"tree x\nparent 12\ncommitter x", b"parent \xff\n\n"] {
        let id = odb.write(ObjectType::Commit, body).unwrap();
        assert!(made.repo.resolve(&id.to_string()).await.is_err(), "{body:?}");
        assert!(!matches!(made.repo.contains(&root.to_string(), &id.to_string()).await, Ok(Ancestry::Yes)));
    }
}

#[test]
fn a_repository_is_found_from_within_and_its_absence_is_said() {
    let made = Made::new();
    let inner = made.repo.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    assert_eq!(
        Repo::open(&inner).unwrap().path().canonicalize().unwrap(),
        made.repo.path().canonicalize().unwrap()
    );
    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path().to_owned(), empty.path().join("absent")] {
        let error = Repo::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    fs::write(made.git.path().join("config"), "[core]\n\trepositoryformatversion = 99\n").unwrap();
    assert_eq!(Repo::open(made.repo.path()).unwrap_err().kind(), ErrorKind::Unsupported);
}
