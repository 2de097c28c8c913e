//! Which migrations lie between two commits, and who brought them.

use git2::FileMode;

use super::*;
use crate::source::{Framework, MigrationChange, Migrations, MigrationsBetween};

const A: &str = "database/migrations/2026_01_01_a.php";
const B: &str = "database/migrations/2026_01_02_b.php";

async fn between(made: &Made, old: Oid, new: Oid) -> MigrationsBetween {
    let laravel = Migrations::of(Framework::Laravel);
    made.repo.migrations(&old.to_string(), &new.to_string(), &laravel).await.unwrap()
}

async fn found(made: &Made, old: Oid, new: Oid) -> Vec<(String, MigrationChange, String)> {
    match between(made, old, new).await {
        MigrationsBetween::Known(found) => found
            .into_iter()
            .map(|migration| (migration.path, migration.change, migration.commit.subject))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn added(path: &str, by: &str) -> (String, MigrationChange, String) {
    (path.to_owned(), MigrationChange::Added, by.to_owned())
}

fn changed(path: &str, by: &str) -> (String, MigrationChange, String) {
    (path.to_owned(), MigrationChange::Changed, by.to_owned())
}

#[tokio::test]
async fn what_was_added_and_changed_is_told_with_the_commit_that_brought_it() {
    let made = Made::new();
    let base = made.with_files(0, "base", &[], &[(A, Some("1")), ("app/User.php", Some("1"))]);
    let one = made.with_files(60, "one", &[base], &[(B, Some("1"))]);
    let two = made.with_files(120, "two", &[one], &[("app/User.php", Some("2"))]);
    let three = made.with_files(180, "three", &[two], &[(B, Some("2")), (A, Some("2"))]);
    let four = made.with_files(240, "four", &[three], &[("database/migrations/tenant/c.php", Some("1"))]);
    let five = made.with_files(300, "five", &[four], &[("database/migrations/README.md", Some("1"))]);
    let both = [changed(A, "three"), added(B, "one")];
    assert_eq!(found(&made, base, five).await, both);
    assert_eq!(found(&made, base, two).await, [added(B, "one")]);
    assert_eq!(found(&made, two, five).await, [changed(A, "three"), changed(B, "three")]);
    assert_eq!(found(&made, three, five).await, []);
    assert_eq!(found(&made, base, base).await, []);
    assert_eq!(found(&made, five, base).await, [], "going back brings nothing");
}

#[tokio::test]
async fn only_what_is_there_in_the_end_counts() {
    let made = Made::new();
    let base = made.with_files(0, "base", &[], &[(A, Some("1"))]);
    let came = made.with_files(60, "came", &[base], &[(B, Some("1")), (A, Some("2"))]);
    let went = made.with_files(120, "went", &[came], &[(B, None), (A, Some("1"))]);
    assert_eq!(found(&made, base, went).await, [], "added and removed, changed and changed back");
    assert_eq!(found(&made, came, went).await, [changed(A, "went")]);
    let again = made.with_files(180, "again", &[went], &[(B, Some("1"))]);
    let end = made.with_files(240, "end", &[again], &[("x", Some("1"))]);
    assert_eq!(found(&made, base, end).await, [added(B, "again")], "the last time that it came");
    let gone = made.with_files(300, "gone", &[end], &[(A, None), (B, None)]);
    let back = made.with_files(360, "back", &[gone], &[(A, Some("1"))]);
    assert_eq!(found(&made, base, back).await, [], "as it was");
    assert_eq!(found(&made, gone, back).await, [added(A, "back")]);
}

#[tokio::test]
async fn a_new_name_is_a_new_migration_and_another_mode_is_none() {
    let made = Made::new();
    let base = made.with_files(0, "base", &[], &[(A, Some("1")), ("old/b.php", Some("2"))]);
    let renamed = made.with_files(60, "renamed", &[base], &[(A, None), (B, Some("1"))]);
    assert_eq!(found(&made, base, renamed).await, [added(B, "renamed")]);
    let moved = made.with_files(
        60,
        "moved",
        &[base],
        &[("old/b.php", None), ("database/migrations/b.php", Some("2"))],
    );
    assert_eq!(found(&made, base, moved).await, [added("database/migrations/b.php", "moved")]);
    let tree = made.git.find_commit(base).unwrap().tree().unwrap();
    let blob = made.git.blob(b"1").unwrap();
    for (mode, expected) in [(FileMode::BlobExecutable, 0), (FileMode::Link, 1)] {
        let tree = TreeUpdateBuilder::new().upsert(A, blob, mode).create_updated(&made.git, &tree).unwrap();
        let after = made.commit_tree(60, "mode", &[base], tree);
        assert_eq!(found(&made, base, after).await.len(), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn through_merges_it_is_the_commit_that_wrote_it() {
    let made = Made::new();
    let base = made.with_files(0, "base", &[], &[(A, Some("1"))]);
    let left = made.with_files(60, "left", &[base], &[("x", Some("1"))]);
    let right = made.with_files(90, "right", &[base], &[(A, Some("2")), (B, Some("1"))]);
    let merge = made.with_files(120, "merge", &[left, right], &[(A, Some("2")), (B, Some("1"))]);
    let both = [changed(A, "right"), added(B, "right")];
    assert_eq!(found(&made, base, merge).await, both);
    assert_eq!(found(&made, left, merge).await, both);
    assert_eq!(found(&made, right, merge).await, []);
    // What only the merge itself wrote.
    let evil = made.with_files(120, "evil", &[left, right], &[(A, Some("3")), (B, Some("1"))]);
    assert_eq!(found(&made, base, evil).await, [changed(A, "evil"), added(B, "right")]);
    // A side that both removed and kept: the merge kept it.
    let removed = made.with_files(130, "removed", &[right], &[(B, None)]);
    let kept = made.with_files(140, "kept", &[removed, right], &[(B, Some("1"))]);
    assert_eq!(found(&made, base, kept).await, [changed(A, "right"), added(B, "right")]);
}

#[tokio::test]
async fn what_the_other_side_removed_is_not_brought() {
    let made = Made::new();
    let base = made.with_files(0, "base", &[], &[(A, Some("1")), (B, Some("1"))]);
    let old = made.with_files(60, "old", &[base], &[(A, None), (B, Some("2"))]);
    let new = made.with_files(90, "new", &[base], &[("x", Some("1"))]);
    assert_eq!(found(&made, old, new).await, []);
    // A merge that takes the side of the old history, against its own, brings what it takes.
    let own = made.with_files(100, "own", &[base], &[(B, Some("3"))]);
    let took = made.with_files(120, "took", &[own, base], &[(B, Some("1"))]);
    assert_eq!(found(&made, old, took).await, [changed(B, "took")]);
}

#[tokio::test]
async fn what_cannot_be_known_is_said() {
    let made = Made::new();
    let line = made.line(4, &[], "commit");
    let apart = made.line(1, &[], "apart")[0];
    assert!(matches!(between(&made, line[0], apart).await, MigrationsBetween::CannotKnow(_)));
    made.shallow(&[line[1]]);
    assert_eq!(found(&made, line[2], line[3]).await, []);
    match between(&made, line[0], line[3]).await {
        MigrationsBetween::CannotKnow(why) => assert!(why.contains("--unshallow"), "{why}"),
        other => panic!("{other:?}"),
    }
    let absent = "1234567890123456789012345678901234567890";
    let laravel = Migrations::of(Framework::Laravel);
    let answer = made.repo.migrations(absent, &line[3].to_string(), &laravel).await.unwrap();
    assert!(matches!(answer, MigrationsBetween::CannotKnow(_)), "{answer:?}");
    let (old, new) = (line[2].to_string(), line[3].to_string());
    for glob in ["db/***.sql", "db/[a.sql"] {
        let error = made.repo.migrations(&old, &new, &Migrations::matching([glob])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(glob), "{error}");
    }
}

#[tokio::test]
async fn frameworks_find_theirs_and_nothing_beside() {
    for (framework, theirs, others) in [
        (
            Framework::Laravel,
            &["database/migrations/a.php", "database/migrations/.b.php"][..],
            &["database/migrations/a.sql", "database/migrations/x/a.php", "api/database/migrations/a.php"][..],
        ),
        (
            Framework::Rails,
            &["db/migrate/20260101_a.rb", "db/migrate/users/2_b.rb"],
            &["db/migrate/helper.rb", "db/schema.rb", "db/migrate/1_a.sql"],
        ),
        (
            Framework::Django,
            &["shop/migrations/0001_initial.py", "migrations/0001_a.py"],
            &["shop/migrations/__init__.py", "shop/migrations/~x.py", "shop/migrations/sub/0001.py"],
        ),
        (
            Framework::Flyway,
            &[
                "src/main/resources/db/migration/V1__a.sql",
                "db/migration/x/R__b.sql",
                "db/migration/B2__c.sql",
                "src/main/java/db/migration/V3__D.java",
            ],
            &["db/migration/U1__a.sql", "db/migration/V1_a.sql", "db/V1__a.sql"],
        ),
        (
            Framework::Prisma,
            &["prisma/migrations/1_a/migration.sql", "packages/db/prisma/migrations/2_b/migration.sql"],
            &["prisma/migrations/migration_lock.toml", "prisma/migrations/1_a/down.sql"],
        ),
        (
            Framework::Alembic,
            &["alembic/versions/1a2b_x.py", "api/migrations/versions/3c.py", "alembic/versions/_x.py"],
            &["alembic/versions/__init__.py", "alembic/env.py", "versions/1.py"],
        ),
    ] {
        let made = Made::new();
        let base = made.with_files(0, "base", &[], &[("x", Some("1"))]);
        let files = theirs.iter().chain(others).map(|path| (*path, Some("1")));
        let new = made.with_files(60, "new", &[base], &files.collect::<Vec<_>>());
        let answer = made
            .repo
            .migrations(&base.to_string(), &new.to_string(), &Migrations::of(framework))
            .await
            .unwrap();
        let MigrationsBetween::Known(found) = answer else { panic!("{answer:?}") };
        let paths: BTreeSet<&str> = found.iter().map(|migration| migration.path.as_str()).collect();
        assert_eq!(paths, theirs.iter().copied().collect(), "{framework}");
    }
}

/// Every file's own history, step by step, against what is found at once.
#[tokio::test]
async fn on_random_lines_the_last_commit_that_added_or_changed_it_is_found() {
    use crate::clock::{Random, SeededRandom};
    let (mut all, mut none) = (0, 0);
    for seed in 0..30 {
        let (made, random) = (Made::new(), SeededRandom::new(seed));
        let base = made.with_files(0, "0", &[], &[(A, Some("0")), ("x", Some("0"))]);
        let (mut at, mut files) = (base, [Some("0".to_owned()), None]);
        let mut by = [None, None];
        for step in 1..12 {
            let which = usize::from(random.chance(50));
            let text = (!random.chance(30)).then(|| (random.next() % 3).to_string());
            let path = [A, B][which];
            if text == files[which] {
                continue;
            }
            if text.is_some() && (which == 0 || files[which].is_none()) {
                by[which] = Some(step.to_string());
            }
            at = made.with_files(step * 60, &step.to_string(), &[at], &[(path, text.as_deref())]);
            files[which] = text;
        }
        let mut expected = Vec::new();
        if files[0].as_deref().is_some_and(|text| text != "0") {
            expected.push(changed(A, by[0].as_deref().unwrap()));
        }
        if files[1].is_some() {
            expected.push(added(B, by[1].as_deref().unwrap()));
        }
        all += expected.len();
        none += usize::from(expected.is_empty());
        assert_eq!(found(&made, base, at).await, expected, "seed {seed}");
    }
    assert!(all > 20 && none > 0, "{all} {none}");
}
