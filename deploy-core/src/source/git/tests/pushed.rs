//! Whether a commit is on the remote, as far as was fetched.

use super::*;

fn no(branch: Option<&str>, tip: Option<Oid>, diverged: bool) -> Pushed {
    let (remote, branch) = ("origin".to_owned(), branch.map(str::to_owned));
    Pushed::No { remote, branch, tip: tip.map(|tip| tip.to_string()), diverged }
}

impl Made {
    async fn pushed(&self, commit: Oid, branch: Option<&str>) -> Pushed {
        self.repo.pushed(&commit.to_string(), branch).await.unwrap()
    }

    async fn doubt_of_push(&self, commit: Oid, branch: Option<&str>) -> String {
        match self.pushed(commit, branch).await {
            Pushed::CannotKnow(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// Three commits; the remote has two of them, and on another branch one more.
fn made() -> (Made, Vec<Oid>, Oid) {
    let made = Made::new();
    made.git.remote("origin", "https://example.com/shop.git").unwrap();
    let line = made.line(3, &[], "commit");
    let other = made.at(400, "other", &[line[0]]);
    made.point("refs/heads/main", line[2]);
    made.point("refs/remotes/origin/main", line[1]);
    made.point("refs/remotes/origin/other", other);
    made.git.reference_symbolic("refs/remotes/origin/HEAD", "refs/remotes/origin/gone", true, "x").unwrap();
    (made, line, other)
}

#[tokio::test]
async fn a_commit_is_pushed_if_the_branch_has_it() {
    let (made, line, other) = made();
    for branch in [None, Some("main")] {
        assert_eq!(made.pushed(line[1], branch).await, Pushed::Yes);
        assert_eq!(made.pushed(line[0], branch).await, Pushed::Yes);
        assert_eq!(made.pushed(line[2], branch).await, no(Some("main"), Some(line[1]), false));
    }
    assert_eq!(made.pushed(other, None).await, Pushed::Yes);
    assert_eq!(made.pushed(other, Some("main")).await, no(Some("main"), Some(line[1]), true));
    assert_eq!(made.pushed(line[1], Some("other")).await, no(Some("other"), Some(other), true));
}

#[tokio::test]
async fn the_branch_to_push_is_the_one_that_has_the_commit() {
    let (made, line, _) = made();
    let fix = made.at(500, "fix", &[line[2]]);
    assert_eq!(made.pushed(fix, None).await, no(None, None, false), "main does not have it");
    made.point("refs/heads/fix", fix);
    made.git.set_head("refs/heads/fix").unwrap();
    assert_eq!(made.pushed(fix, None).await, no(Some("fix"), None, false));
    made.git.set_head_detached(fix).unwrap();
    assert_eq!(made.pushed(fix, None).await, no(None, None, false));
}

#[tokio::test]
async fn the_remote_is_the_one_that_the_branch_follows() {
    let (made, line, _) = made();
    made.git.remote("upstream", "https://example.com/up.git").unwrap();
    made.point("refs/remotes/upstream/main", line[2]);
    let mut config = made.git.config().unwrap();
    config.set_str("branch.main.remote", "upstream").unwrap();
    assert_eq!(made.pushed(line[2], Some("main")).await, Pushed::Yes);
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[2].to_string());
    for unusable in [".", "gone"] {
        config.set_str("branch.main.remote", unusable).unwrap();
        assert_eq!(made.pushed(line[2], Some("main")).await, no(Some("main"), Some(line[1]), false));
    }
}

#[tokio::test]
async fn what_cannot_be_known_is_said_with_what_to_do() {
    let (made, line, _) = made();
    let why = made.doubt_of_push(line[2], Some("release")).await;
    assert!(why.contains("origin/release") && why.contains("git push origin release"), "{why}");
    for bad in ["", "a..b", "x\0"] {
        made.doubt_of_push(line[2], Some(bad)).await;
    }
    let absent = made.repo.pushed("1234567890123456789012345678901234567890", None).await.unwrap();
    assert!(matches!(absent, Pushed::CannotKnow(_)));

    let alone = Made::new();
    let id = alone.line(1, &[], "commit")[0];
    assert!(alone.doubt_of_push(id, None).await.contains("no remote"));
    alone.git.remote("up", "https://example.com/up.git").unwrap();
    assert!(alone.doubt_of_push(id, None).await.contains("git fetch up"));
    assert!(alone.doubt_of_push(id, Some("main")).await.contains("git fetch up"));
}

#[tokio::test]
async fn where_history_is_cut_off_only_what_is_seen_counts() {
    let (made, line, other) = made();
    let apart = made.line(2, &[], "pages")[1];
    assert_eq!(made.pushed(apart, None).await, no(None, None, false), "it shares nothing with any branch");
    made.point("refs/remotes/origin/pages", apart);
    assert_eq!(made.pushed(apart, None).await, Pushed::Yes);
    assert_eq!(made.pushed(apart, Some("main")).await, no(Some("main"), Some(line[1]), true));
    made.shallow(&[other]);
    assert_eq!(made.pushed(line[1], None).await, Pushed::Yes);
    assert_eq!(made.pushed(line[0], None).await, Pushed::Yes, "by way of main");
    assert!(made.doubt_of_push(line[2], None).await.contains("--unshallow"));
    assert_eq!(made.pushed(line[2], Some("main")).await, no(Some("main"), Some(line[1]), false));
}
