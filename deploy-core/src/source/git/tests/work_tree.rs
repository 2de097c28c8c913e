//! What differs in the work tree, in every way that a file can.

use std::path::Path;

use super::*;
use crate::source::{ChangedFile, FileChange};

impl Made {
    /// Makes the work tree and the index the commit, on `main`.
    fn check_out(&self, id: Oid) {
        self.point("refs/heads/main", id);
        self.git.set_head("refs/heads/main").unwrap();
        self.git.checkout_head(Some(git2::build::CheckoutBuilder::new().force())).unwrap();
    }

    fn file(&self, path: &str) -> PathBuf {
        self.repo.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.file(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn stage(&self, path: &str) {
        let mut index = self.git.index().unwrap();
        match self.file(path).symlink_metadata() {
            Ok(_) => index.add_path(Path::new(path)).unwrap(),
            Err(_) => index.remove_path(Path::new(path)).unwrap(),
        }
        index.write().unwrap();
    }

    async fn looked(&self) -> (Option<String>, Vec<String>, Vec<String>) {
        match self.repo.work_tree().await.unwrap() {
            WorkTree::Known { head, changed, untracked } => {
                (head, changed.iter().map(ToString::to_string).collect(), untracked)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Three files, checked out.
fn made() -> (Made, Oid) {
    let made = Made::new();
    let files = [
        ("a", Some("1\n")),
        ("dir/b", Some("2\n2\n2\n2\n")),
        ("c", Some("3\n")),
        (".gitignore", Some("/out\n")),
    ];
    let id = made.with_files(0, "base", &[], &files);
    made.check_out(id);
    (made, id)
}

#[tokio::test]
async fn a_clean_tree_is_clean_and_what_is_ignored_does_not_count() {
    let (made, id) = made();
    let clean = (Some(id.to_string()), vec![], vec![]);
    assert_eq!(made.looked().await, clean);
    made.write("out/big", "x");
    fs::create_dir(made.file("empty")).unwrap();
    assert_eq!(made.looked().await, clean);
    // Written again with the same content, at another time.
    made.write("a", "1\n");
    assert_eq!(made.looked().await, clean);
    made.git.set_head_detached(id).unwrap();
    assert_eq!(made.looked().await, clean);
}

#[tokio::test]
async fn every_kind_of_change_is_told_staged_or_not() {
    type Doing = fn(&Made);
    let cases: [(&str, Doing, &str); 9] = [
        ("modified", |made| made.write("a", "2\n"), "a (modified)"),
        ("deleted", |made| fs::remove_file(made.file("a")).unwrap(), "a (deleted)"),
        ("added", |made| (made.write("new", "x"), made.stage("new")).1, "new (added)"),
        (
            "added and changed again",
            |made| (made.write("new", "x"), made.stage("new"), made.write("new", "y")).2,
            "new (added)",
        ),
        (
            "staged and gone again",
            |made| (made.write("new", "x"), made.stage("new"), fs::remove_file(made.file("new")).unwrap()).2,
            "new (deleted)",
        ),
        (
            "renamed",
            |made| {
                fs::rename(made.file("dir/b"), made.file("dir/d")).unwrap();
                made.stage("dir/b");
                made.stage("dir/d");
            },
            "dir/d (renamed)",
        ),
        (
            "mode",
            |made| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(made.file("a"), fs::Permissions::from_mode(0o755)).unwrap();
            },
            "a (modified)",
        ),
        (
            "link",
            |made| {
                fs::remove_file(made.file("a")).unwrap();
                std::os::unix::fs::symlink("c", made.file("a")).unwrap();
            },
            "a (type changed)",
        ),
        (
            "changed back, but staged",
            |made| {
                made.write("a", "2\n");
                made.stage("a");
                made.write("a", "1\n");
            },
            "a (modified)",
        ),
    ];
    for (name, doing, expected) in cases {
        for staged in [false, true] {
            let (made, _) = made();
            doing(&made);
            if staged && name == "deleted" {
                made.stage("a");
            }
            let (_, changed, untracked) = made.looked().await;
            assert_eq!((changed, untracked), (vec![expected.to_owned()], vec![]), "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_untracked_is_told_apart_and_by_directory() {
    let (made, _) = made();
    made.write("new", "x");
    made.write("logs/one", "x");
    made.write("logs/two", "x");
    made.write("dir/three", "x");
    fs::rename(made.file("c"), made.file("moved")).unwrap();
    made.write("a\u{1b}[1m", "x");
    let (_, changed, untracked) = made.looked().await;
    assert_eq!(changed, ["c (deleted)"]);
    assert_eq!(untracked, ["a\u{fffd}[1m", "dir/three", "logs/", "moved", "new"]);
}

#[tokio::test]
async fn a_merge_in_conflict_is_told() {
    let (made, id) = made();
    let left = made.with_files(60, "left", &[id], &[("a", Some("left\n"))]);
    let right = made.with_files(60, "right", &[id], &[("a", Some("right\n"))]);
    made.check_out(left);
    let right = made.git.find_annotated_commit(right).unwrap();
    made.git.merge(&[&right], None, None).unwrap();
    let (head, changed, _) = made.looked().await;
    assert_eq!((head, changed), (Some(left.to_string()), vec!["a (in conflict)".to_owned()]));
}

#[tokio::test]
async fn before_the_first_commit_and_without_a_work_tree() {
    let made = Made::new();
    assert_eq!(made.looked().await, (None, vec![], vec![]));
    made.write("new", "x");
    made.stage("new");
    let answer = made.repo.work_tree().await.unwrap();
    let added = ChangedFile::new("new", FileChange::Added);
    assert_eq!(answer, WorkTree::Known { head: None, changed: vec![added], untracked: vec![] });
    let bare = Made::with(RepositoryInitOptions::new().bare(true));
    let none = WorkTree::Known { head: None, changed: vec![], untracked: vec![] };
    assert_eq!(bare.repo.work_tree().await.unwrap(), none);
    // A linked work tree has a head and files of its own.
    let (made, id) = self::made();
    made.write("a", "2\n");
    let dir = tempfile::tempdir().unwrap();
    made.git.worktree("linked", &dir.path().join("linked"), None).unwrap();
    let linked = Repo::open(dir.path().join("linked")).unwrap();
    let clean = WorkTree::Known { head: Some(id.to_string()), changed: vec![], untracked: vec![] };
    assert_eq!(linked.work_tree().await.unwrap(), clean);
}

#[tokio::test]
async fn a_file_that_git_alone_can_compare_is_a_doubt() {
    let (made, id) = made();
    let pointer = [(".gitattributes", Some("*.bin filter=lfs\n")), ("x.bin", Some("pointer\n"))];
    let id = made.with_files(60, "large", &[id], &pointer);
    made.check_out(id);
    assert_eq!(made.looked().await, (Some(id.to_string()), vec![], vec![]));
    // What the filter would have made of the pointer.
    made.write("x.bin", "the large file itself\n");
    match made.repo.work_tree().await.unwrap() {
        WorkTree::CannotKnow(why) => assert!(why.contains("x.bin") && why.contains("`lfs`"), "{why}"),
        other => panic!("{other:?}"),
    }
    made.write("a", "2\n");
    assert_eq!(made.looked().await.1, ["a (modified)"], "it is dirty anyway");
}

#[tokio::test]
async fn looking_does_not_write() {
    let (made, _) = made();
    let index = made.git.path().join("index");
    let before = (fs::read(&index).unwrap(), fs::metadata(&index).unwrap().modified().unwrap());
    made.write("a", "1\n");
    made.looked().await;
    assert_eq!((fs::read(&index).unwrap(), fs::metadata(&index).unwrap().modified().unwrap()), before);
}
