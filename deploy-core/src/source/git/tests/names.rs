//! What revisions mean, and what is said of commits.

use super::*;

#[tokio::test]
async fn revisions_mean_what_git_says() {
    let made = Made::new();
    let line = made.line(3, &[], "commit");
    made.point("refs/heads/main", line[2]);
    made.point("refs/remotes/origin/HEAD", line[1]);
    let full = line[1].to_string();
    for (revision, expected) in [
        ("HEAD", 2),
        ("main", 2),
        ("@", 2),
        ("HEAD~2", 0),
        ("main^", 1),
        (&full, 1),
        (&full[..7], 1),
        ("origin", 1),
    ] {
        assert_eq!(made.repo.resolve(revision).await.unwrap().id, line[expected].to_string(), "{revision}");
    }
    let commit = made.repo.resolve("HEAD~1").await.unwrap();
    let at = Timestamp::from_millis(1_700_000_060_000);
    assert_eq!(commit, Commit::new("a9ffb936157df6a9fad8a81b03fcbb92d0f54416", "commit 1", "Ada", at));
}

#[tokio::test]
async fn tags_lead_to_commits_and_other_objects_do_not() {
    let made = Made::new();
    let line = made.line(2, &[], "commit");
    let who = Signature::new("Ada", "ada@example.com", &Time::new(1_700_000_000, 0)).unwrap();
    let commit = made.git.find_object(line[1], None).unwrap();
    let tag = made.git.tag("v1", &commit, &who, "one", false).unwrap();
    let of_tag = made.git.find_object(tag, None).unwrap();
    made.git.tag("v1-signed", &of_tag, &who, "two", false).unwrap();
    let blob = made.git.blob(b"text").unwrap();
    made.git.tag("text", &made.git.find_object(blob, None).unwrap(), &who, "x", false).unwrap();
    for revision in ["v1", "v1-signed", "refs/tags/v1", "v1^{commit}"] {
        assert_eq!(made.repo.resolve(revision).await.unwrap().id, line[1].to_string(), "{revision}");
    }
    assert_eq!(made.contains(tag, line[0]).await, Ancestry::Yes);
    let (kind, text) = made.refused("text").await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("`text` is a tag, not a commit"), "{text}");
    assert_eq!(made.refused("v1^{tree}").await.0, ErrorKind::Invalid);
    assert!(doubt(made.contains(blob, line[0]).await).contains("not a commit"));
}

#[tokio::test]
async fn what_cannot_be_a_revision_is_refused_by_name() {
    let made = Made::new();
    let line = made.line(2, &[], "commit");
    made.point("refs/heads/main", line[1]);
    made.point("refs/remotes/origin/fix", line[0]);
    for (revision, kind, words) in [
        ("", ErrorKind::Invalid, "``"),
        ("main..fix", ErrorKind::Invalid, "`main..fix` is not one git revision"),
        ("a\0b", ErrorKind::Invalid, "a\\0b"),
        ("main^{nonsense", ErrorKind::Invalid, "main^{nonsense"),
        ("mian", ErrorKind::NotFound, "`mian`"),
        ("HEAD~7", ErrorKind::NotFound, "`HEAD~7`"),
        ("fix", ErrorKind::NotFound, "did you mean `origin/fix`?"),
        ("--all", ErrorKind::NotFound, "`--all`"),
        ("1234567890123456789012345678901234567890", ErrorKind::NotFound, "git fetch"),
    ] {
        let (found, text) = made.refused(revision).await;
        assert_eq!(found, kind, "{text}");
        assert!(text.contains(words), "{text}");
    }
    made.shallow(&line[1..]);
    assert!(made.refused("HEAD~1").await.1.contains("--unshallow"));
}

#[tokio::test]
async fn a_name_with_two_meanings_is_refused_unless_both_are_one_commit() {
    let made = Made::new();
    let line = made.line(2, &[], "commit");
    made.point("refs/heads/v1", line[0]);
    made.point("refs/tags/v1", line[1]);
    for revision in ["v1", "v1~0", "v1^{commit}"] {
        let (kind, text) = made.refused(revision).await;
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(text.contains("`refs/tags/v1` or `refs/heads/v1`"), "{text}");
    }
    assert_eq!(made.repo.resolve("refs/heads/v1").await.unwrap().id, line[0].to_string());
    made.point("refs/tags/v1", line[0]);
    assert_eq!(made.repo.resolve("v1").await.unwrap().id, line[0].to_string());
    // A branch that is called like another commit.
    let id = line[1].to_string();
    made.point(&format!("refs/heads/{}", &id[..8]), line[0]);
    assert!(made.refused(&id[..8]).await.1.contains(&id));
    // Two commits that begin alike.
    let mut seen = BTreeSet::new();
    let start = (0..).find_map(|index| {
        let start = made.at(index, "again", &[]).to_string()[..4].to_owned();
        (!seen.insert(start.clone())).then_some(start)
    });
    let (kind, text) = made.refused(&start.unwrap()).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("more characters"), "{text}");
}

#[tokio::test]
async fn the_pushed_tip_comes_before_the_local_one() {
    let made = Made::new();
    let line = made.line(3, &[], "commit");
    made.point("refs/heads/main", line[2]);
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[2].to_string());
    made.point("refs/remotes/origin/main", line[1]);
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[1].to_string());
    made.git.remote("upstream", "https://example.com/shop.git").unwrap();
    made.point("refs/remotes/upstream/main", line[0]);
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[0].to_string());
    made.git.remote("origin", "https://example.com/fork.git").unwrap();
    assert_eq!(made.repo.tip("main").await.unwrap().id, line[1].to_string());
    for absent in ["mian", "", "a..b", "x\0", "origin/main"] {
        let error = made.repo.tip(absent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
}

#[tokio::test]
async fn texts_of_others_are_made_readable() {
    let made = Made::new();
    let root = made.at(0, "ok", &[]);
    let raw = made.git.find_commit(root).unwrap().raw_header_bytes().to_vec();
    let header = String::from_utf8(raw).unwrap().replace("author Ada", "author A\u{7}da");
    let long = "x".repeat(SUBJECT_CHARS + 1);
    for (message, subject) in [
        (&b"caf\xe9 \x1b[31mred\n\nbody"[..], "caf\u{fffd} \u{fffd}[31mred"),
        (b"\n\n  second line  \nthird", "second line"),
        (b"", ""),
        (long.as_bytes(), &format!("{}…", "x".repeat(SUBJECT_CHARS))),
    ] {
        let body = [header.as_bytes(), b"\n", message].concat();
        let id = made.git.odb().unwrap().write(ObjectType::Commit, &body).unwrap();
        let commit = made.repo.resolve(&id.to_string()).await.unwrap();
        assert_eq!((commit.subject.as_str(), commit.author.as_str()), (subject, "A\u{fffd}da"));
    }
}
