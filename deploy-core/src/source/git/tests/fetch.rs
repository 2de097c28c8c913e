//! Fetching from a repository in another directory.

use super::*;
use crate::error::Retry;

/// A clone with nothing in it yet, of a remote of its own.
struct Pair {
    remote: Made,
    here: Made,
}

impl Pair {
    fn new() -> Self {
        let remote = Made::with(RepositoryInitOptions::new().bare(true).initial_head("main"));
        let here = Made::new();
        here.git.remote("origin", remote.repo.path().to_str().unwrap()).unwrap();
        Self { remote, here }
    }

    async fn fetched(&self, branch: &str) -> Fetched {
        self.here.repo.fetch(&Fetch::branch(branch)).await.unwrap()
    }

    async fn refused(&self, branch: &str) -> (ErrorKind, String) {
        let error = self.here.repo.fetch(&Fetch::branch(branch)).await.unwrap_err();
        assert!(error.what_next().is_some(), "{error:?}");
        (error.kind(), error.to_string())
    }

    fn names(&self) -> BTreeSet<String> {
        let names = self.here.git.references().unwrap();
        names.map(|name| name.unwrap().name().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_branch_is_fetched_again_and_again() {
    let pair = Pair::new();
    let line = pair.remote.line(3, &[], "commit");
    pair.remote.point("refs/heads/main", line[1]);
    pair.remote.point("refs/heads/other", line[0]);
    let first = pair.fetched("main").await;
    assert_eq!((first.remote.as_str(), first.before.as_deref()), ("origin", None));
    assert_eq!((first.tip.id, first.tip.subject.as_str()), (line[1].to_string(), "commit 1"));
    assert_eq!(pair.here.repo.tip("main").await.unwrap().id, line[1].to_string());
    assert_eq!(pair.here.contains(line[1], line[0]).await, Ancestry::Yes);
    // Only that branch, and no local one.
    assert_eq!(pair.names(), BTreeSet::from(["refs/remotes/origin/main".to_owned()]));

    let again = pair.fetched("main").await;
    assert_eq!((again.before, again.tip.id), (Some(line[1].to_string()), line[1].to_string()));
    pair.remote.point("refs/heads/main", line[2]);
    let moved = pair.fetched("main").await;
    assert_eq!((moved.before, moved.tip.id), (Some(line[1].to_string()), line[2].to_string()));
    // History that was written anew on the remote is what is there now.
    let anew = pair.remote.at(900, "anew", &[line[0]]);
    pair.remote.point("refs/heads/main", anew);
    assert_eq!(pair.fetched("main").await.tip.id, anew.to_string());
    assert_eq!(pair.here.repo.tip("main").await.unwrap().id, anew.to_string());
}

#[tokio::test]
async fn nothing_is_pruned_and_no_tag_is_moved() {
    let pair = Pair::new();
    let line = pair.remote.line(3, &[], "commit");
    pair.remote.point("refs/heads/main", line[2]);
    pair.remote.point("refs/tags/v1", line[0]);
    pair.remote.point("refs/tags/v2", line[1]);
    pair.fetched("main").await;
    pair.here.point("refs/tags/v1", line[2]);
    pair.here.point("refs/remotes/origin/gone", line[0]);
    let mut config = pair.here.git.config().unwrap();
    config.set_bool("fetch.prune", true).unwrap();
    config.set_str("remote.origin.tagopt", "--tags").unwrap();
    let apart = pair.remote.at(900, "apart", &[]);
    pair.remote.point("refs/tags/apart", apart);
    pair.remote.point("refs/heads/main", line[1]);
    pair.fetched("main").await;
    assert_eq!(pair.here.repo.resolve("v1").await.unwrap().id, line[2].to_string(), "as it was here");
    assert_eq!(pair.here.repo.resolve("v2").await.unwrap().id, line[1].to_string(), "it came along");
    assert!(pair.names().contains("refs/remotes/origin/gone"));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let pair = Pair::new();
    let id = pair.remote.line(1, &[], "commit")[0];
    let (kind, text) = pair.refused("main").await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("no branch main") && text.contains("git push origin main"), "{text}");
    pair.remote.point("refs/heads/main", id);
    pair.fetched("main").await;
    let path = pair.remote.repo.path().to_str().unwrap().to_owned();
    let (kind, text) = pair.refused("mian").await;
    assert!(kind == ErrorKind::NotFound && text.contains("mian") && text.contains(&path), "{text}");
    // A branch that is gone leaves what was known of it.
    pair.remote.git.find_reference("refs/heads/main").unwrap().delete().unwrap();
    assert_eq!(pair.refused("main").await.0, ErrorKind::NotFound);
    assert_eq!(pair.here.repo.tip("main").await.unwrap().id, id.to_string());
    for bad in ["", "a..b", "x\0y", "a b", "*", "main:refs/heads/evil", "-x~"] {
        let (kind, text) = pair.refused(bad).await;
        assert_eq!(kind, ErrorKind::Invalid, "{text}");
    }
    pair.here.git.remote_set_url("origin", "/nowhere/at/all").unwrap();
    let (kind, text) = pair.refused("main").await;
    assert!(kind == ErrorKind::NotFound && text.contains("/nowhere/at/all"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    pair.here.git.remote_set_url("origin", empty.path().to_str().unwrap()).unwrap();
    assert_eq!(pair.refused("main").await.0, ErrorKind::NotFound);
    pair.here.git.remote_set_url("origin", "gopher://example.com/x").unwrap();
    assert_eq!(pair.refused("main").await.0, ErrorKind::Unsupported);
    pair.here.git.remote_delete("origin").unwrap();
    let (kind, text) = pair.refused("main").await;
    assert!(kind == ErrorKind::NotFound && text.contains("git remote add origin"), "{text}");
}

#[tokio::test]
async fn it_comes_from_the_remote_that_the_branch_follows() {
    let pair = Pair::new();
    let up = Pair::new();
    let (here, there) = (pair.remote.line(1, &[], "origin")[0], up.remote.line(1, &[], "upstream")[0]);
    pair.remote.point("refs/heads/main", here);
    up.remote.point("refs/heads/main", there);
    pair.here.git.remote("upstream", up.remote.repo.path().to_str().unwrap()).unwrap();
    pair.here.git.config().unwrap().set_str("branch.main.remote", "upstream").unwrap();
    let fetched = pair.fetched("main").await;
    assert_eq!((fetched.remote.as_str(), fetched.tip.id), ("upstream", there.to_string()));
    assert_eq!(pair.here.repo.tip("main").await.unwrap().id, there.to_string());
}

#[tokio::test]
async fn a_path_is_meant_from_the_top_of_the_work_tree() {
    let pair = Pair::new();
    let id = pair.remote.line(1, &[], "commit")[0];
    pair.remote.point("refs/heads/main", id);
    let name = pair.remote.repo.path().file_name().unwrap().to_str().unwrap();
    pair.here.git.remote_set_url("origin", &format!("../{name}")).unwrap();
    assert_eq!(pair.fetched("main").await.tip.id, id.to_string());
}

#[tokio::test]
async fn a_linked_work_tree_fetches_for_all_and_a_shallow_clone_stays_as_it_is() {
    let pair = Pair::new();
    let line = pair.remote.line(3, &[], "commit");
    pair.remote.point("refs/heads/main", line[1]);
    pair.fetched("main").await;
    pair.here.point("refs/heads/main", line[1]);
    let dir = tempfile::tempdir().unwrap();
    pair.here.git.worktree("linked", &dir.path().join("linked"), None).unwrap();
    let linked = Repo::open(dir.path().join("linked")).unwrap();
    pair.remote.point("refs/heads/main", line[2]);
    assert_eq!(linked.fetch(&Fetch::branch("main")).await.unwrap().tip.id, line[2].to_string());
    assert_eq!(pair.here.repo.tip("main").await.unwrap().id, line[2].to_string());
    // libgit2 would forget that the clone is shallow.
    pair.here.shallow(&[line[1]]);
    for repo in [&pair.here.repo, &linked] {
        let error = repo.fetch(&Fetch::branch("main")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    }
    assert!(doubt(pair.here.contains(line[2], line[0]).await).contains("cut off"));
}

#[cfg(unix)]
#[tokio::test]
async fn names_on_the_remote_that_are_no_text_do_no_harm() {
    use std::os::unix::ffi::OsStrExt;
    let pair = Pair::new();
    let line = pair.remote.line(2, &[], "commit");
    pair.remote.point("refs/heads/main", line[1]);
    for kind in ["heads", "tags"] {
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
        let path = pair.remote.repo.path().join("refs").join(kind).join(name);
        fs::write(path, format!("{}\n", line[0])).unwrap();
    }
    assert_eq!(pair.fetched("main").await.tip.id, line[1].to_string());
    assert_eq!(pair.fetched("main").await.tip.id, line[1].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pushes_or_fetches_at_the_same_time_does_not_spoil_it() {
    let pair = Pair::new();
    let root = pair.remote.line(1, &[], "commit")[0];
    pair.remote.point("refs/heads/main", root);
    let (path, pushes) = (pair.remote.repo.path().to_owned(), 60);
    let pusher = std::thread::spawn(move || {
        let git = Repository::open(path).unwrap();
        let who = Signature::new("Ada", "ada@example.com", &Time::new(1_700_000_000, 0)).unwrap();
        for index in 0..pushes {
            let tip = git.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
            let tree = tip.tree().unwrap();
            git.commit(Some("refs/heads/main"), &who, &who, &index.to_string(), &tree, &[&tip]).unwrap();
        }
    });
    let mut fetches = 0;
    while !pusher.is_finished() || fetches < 3 {
        let (repo, main) = (&pair.here.repo, Fetch::branch("main"));
        let both = tokio::join!(repo.fetch(&main), repo.fetch(&main));
        for fetched in [both.0, both.1] {
            match fetched {
                Ok(fetched) => {
                    let answer = pair.here.repo.contains(&fetched.tip.id, &root.to_string()).await.unwrap();
                    assert_eq!(answer, Ancestry::Yes, "all of its history is here");
                    fetches += 1;
                }
                Err(error) => assert_eq!(
                    (error.kind(), error.retry()),
                    (ErrorKind::Conflict, Retry::Always),
                    "{error:?}"
                ),
            }
        }
    }
    pusher.join().unwrap();
    let last = pair.fetched("main").await;
    assert_eq!(last.tip.subject, (pushes - 1).to_string());
    assert_eq!(
        pair.here.repo.between(&root.to_string(), &last.tip.id, 100).await.map(ids).unwrap().len(),
        60
    );
}
