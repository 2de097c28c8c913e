//! The files of a commit in a folder.

use super::*;
use crate::error::ErrorKind;

impl Made {
    fn blob(&self, text: &str) -> Oid {
        self.git.blob(text.as_bytes()).unwrap()
    }

    /// A commit of one tree, made entry by entry.
    fn of_entries(&self, entries: &[(&str, Oid, i32)]) -> Oid {
        let mut builder = self.git.treebuilder(None).unwrap();
        for (name, id, mode) in entries {
            builder.insert(name, *id, *mode).unwrap();
        }
        let tree = self.git.find_tree(builder.write().unwrap()).unwrap().id();
        self.commit_tree(1, "x", &[], tree)
    }

    async fn checked_out(&self, commit: Oid) -> Result<tempfile::TempDir> {
        let dir = tempfile::tempdir().unwrap();
        self.repo.checkout(&commit.to_string(), dir.path()).await.map(|()| dir)
    }
}

#[tokio::test]
async fn files_are_the_commits_and_not_the_work_trees() {
    let made = Made::new();
    let edits = [("Dockerfile", Some("FROM scratch\n")), ("a/b/c.txt", Some("deep\r\n"))];
    let first = made.with_files(1, "one", &[], &edits);
    let second = made.with_files(2, "two", &[first], &[("a/b/c.txt", None), ("new", Some("x"))]);
    fs::write(made.repo.path().join("Dockerfile"), "FROM elsewhere").unwrap();
    let dir = made.checked_out(first).await.unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!((read("Dockerfile").as_str(), read("a/b/c.txt").as_str()), ("FROM scratch\n", "deep\r\n"));
    assert!(!dir.path().join("new").exists());
    assert!(!dir.path().join(".git").exists());
    let dir = made.checked_out(second).await.unwrap();
    assert!(dir.path().join("new").exists() && !dir.path().join("a/b/c.txt").exists());
    // Only into an empty folder.
    let again = made.repo.checkout(&second.to_string(), dir.path()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable);
    let unknown = made.repo.checkout(&"0".repeat(40), dir.path()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Malformed);
}

#[cfg(unix)]
#[tokio::test]
async fn modes_and_links_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let made = Made::new();
    let (script, link) = (made.blob("#!/bin/sh\n"), made.blob("../../etc/passwd"));
    let commit = made.of_entries(&[
        ("run", script, 0o100_755),
        ("plain", script, 0o100_644),
        ("link", link, 0o120_000),
    ]);
    let dir = made.checked_out(commit).await.unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("run"), mode("plain")), (0o111, 0));
    assert_eq!(fs::read_link(dir.path().join("link")).unwrap().to_str(), Some("../../etc/passwd"));
}

#[tokio::test]
async fn what_is_not_in_the_repository_is_said() {
    let made = Made::new();
    let lfs = made.blob("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    let other = made.at(1, "elsewhere", &[]);
    for (entry, word) in
        [(("big.bin", lfs, 0o100_644), "Git LFS"), (("module", other, 0o160_000), "submodule")]
    {
        let commit = made.of_entries(&[entry]);
        let error = made.checked_out(commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word) && error.to_string().contains(entry.0), "{error}");
    }
}

/// git makes no such tree, and somebody who wants to write elsewhere does.
#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let made = Made::new();
    let blob = made.blob("x");
    for name in ["..", ".", ".git", ".GIT", "a/b", "/etc"] {
        let mut raw = format!("100644 {name}\0").into_bytes();
        raw.extend_from_slice(blob.as_bytes());
        // A loose object, by hand: libgit2 writes no such tree either.
        let tree = loose(&made, &raw);
        let text = format!(
            "tree {tree}\nauthor a <a@example.com> 1 +0000\ncommitter a <a@example.com> 1 +0000\n\nx\n"
        );
        let odb = made.git.odb().unwrap();
        let Ok(commit) = odb.write(ObjectType::Commit, text.as_bytes()) else {
            panic!("no commit of {name}")
        };
        let error = made.checked_out(commit).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Malformed), "{name}: {error}");
    }
}

fn loose(made: &Made, raw: &[u8]) -> Oid {
    made.git.odb().unwrap().write(ObjectType::Tree, raw).unwrap()
}
