//! What can happen to a file.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use deploy_core::{
    EffectState, Error, ErrorKind, Retry,
    clock::{Clock, SystemClock},
    state::{Expect, Key, StateStore, Version, Wrote, stores::sqlite::SqliteStore},
};
use libtest_mimic::{Failed, Trial};
use rusqlite::Connection;

pub(crate) fn tests() -> Vec<Trial> {
    let all: [(&str, fn()); 12] = [
        ("only_this_user_can_read_it", only_this_user_can_read_it),
        ("it_is_durable_and_shared", it_is_durable_and_shared),
        ("a_newer_format_is_refused", a_newer_format_is_refused),
        ("damaged_and_foreign_files_are_refused", damaged_and_foreign_files_are_refused),
        ("damage_that_shows_later_is_an_error", damage_that_shows_later_is_an_error),
        ("an_interrupted_creation_is_completed", an_interrupted_creation_is_completed),
        ("a_replaced_file_is_noticed", a_replaced_file_is_noticed),
        ("going_back_under_a_running_process_is_noticed", going_back_under_a_running_process_is_noticed),
        ("a_failed_commit_is_unknown", a_failed_commit_is_unknown),
        ("a_busy_file_is_an_error_after_five_seconds", a_busy_file_is_an_error_after_five_seconds),
        ("the_counter_survives_deletes_and_reopening", the_counter_survives_deletes_and_reopening),
        ("a_runtime_that_ends_leaves_a_whole_file", a_runtime_that_ends_leaves_a_whole_file),
    ];
    let as_trial = |(name, trial): (&str, fn())| {
        Trial::test(format!("sqlite-file::{name}"), move || {
            trial();
            Ok::<(), Failed>(())
        })
    };
    all.into_iter().map(as_trial).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    super::one_thread().unwrap().block_on(work)
}

struct Place {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.db");
    Place { _directory: directory, file }
}

fn key() -> Key {
    Key::new(["k"])
}

fn create(store: &SqliteStore, text: &str) -> Version {
    match block_on(store.write(&key(), Expect::Absent, text.into())) {
        Ok(Wrote::Stored(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn read(store: &SqliteStore) -> String {
    String::from_utf8(block_on(store.read(&key())).unwrap().unwrap().body).unwrap()
}

/// The error of a file that must not be used, which says what is wrong and what to do.
fn refused(error: &Error, saying: &str) {
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Store, Retry::Never), "{error:?}");
    assert_eq!(error.effect(), EffectState::NotApplied, "{error:?}");
    assert!(error.message().contains(saying), "{error:?}");
    assert!(error.what_next().is_some(), "{error:?}");
}

#[cfg(not(unix))]
fn only_this_user_can_read_it() {}

#[cfg(unix)]
fn only_this_user_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    let file = place.file.with_file_name("a").join("b").join("state.db");
    let store = SqliteStore::open(&file).unwrap();
    create(&store, "secret");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.db-init"] {
        assert_eq!(mode(&file.with_file_name(name)), 0o600, "{name}");
    }
    assert_eq!(store.path(), file);
    assert!(!format!("{store:?}").contains("secret"));
}

fn it_is_durable_and_shared() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    assert!(!store.limits().many_machines);
    assert_eq!(store.limits().poll, Duration::from_millis(200));
    create(&store, "x");
    let mode: String = Connection::open(&place.file)
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    // A second store in this process that goes away takes no lock of the first one with it.
    drop(SqliteStore::open(&place.file).unwrap());
    assert_eq!(read(&store), "x");
}

fn a_newer_format_is_refused() {
    let place = place();
    let running = SqliteStore::open(&place.file).unwrap();
    let version = create(&running, "x");
    let newer = Connection::open(&place.file).unwrap();
    newer.execute("UPDATE meta SET value = 2 WHERE name = 'format'", []).unwrap();
    refused(&SqliteStore::open(&place.file).unwrap_err(), "format 2; this version knows 1");
    // A process of the old version that was there first must stop as well.
    refused(&block_on(running.read(&key())).unwrap_err(), "format 2");
    refused(&block_on(running.write(&key(), Expect::Is(version), b"y".to_vec())).unwrap_err(), "format 2");
    let value: Vec<u8> = newer.query_row("SELECT value FROM kv", [], |row| row.get(0)).unwrap();
    assert_eq!(value, b"x");
}

fn damaged_and_foreign_files_are_refused() {
    let place = place();
    fs::write(&place.file, "these are notes, not a database; ".repeat(100)).unwrap();
    refused(&SqliteStore::open(&place.file).unwrap_err(), "is not a SQLite file");
    assert!(fs::read(&place.file).unwrap().starts_with(b"these are notes"), "it was written to");

    for (number, tables) in [
        "CREATE TABLE notes (text TEXT)",
        "CREATE TABLE meta (text TEXT)",
        "CREATE TABLE meta (name TEXT, value INTEGER)",
        "CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('format', 'one'), ('counter', 'x')",
        "CREATE TABLE meta (name TEXT, value INTEGER); INSERT INTO meta VALUES ('format', 1), ('counter', -1)",
    ]
    .into_iter()
    .enumerate()
    {
        let file = place.file.with_file_name(format!("{number}.db"));
        let other = Connection::open(&file).unwrap();
        other.execute_batch(tables).unwrap();
        refused(&SqliteStore::open(&file).unwrap_err(), "of another program");
        let kv: i64 = other.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'kv'", [], |row| row.get(0)).unwrap();
        assert_eq!(kv, 0, "it was written to");
    }
    let error = SqliteStore::open(place.file.parent().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
    let error = SqliteStore::open(place.file.join("below a file").join("state.db")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
}

fn damage_that_shows_later_is_an_error() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    for number in 0..200_u8 {
        let key = Key::new(["many", &number.to_string()]);
        block_on(store.write(&key, Expect::Absent, vec![number; 500])).unwrap();
    }
    drop(store);
    let whole = fs::read(&place.file).unwrap();
    let (mut errors, mut rounds) = (0, 0);
    // Each page after the first, overwritten in turn; and the file cut off after it.
    for page in 1..whole.len() / 4096 {
        for cut in [false, true] {
            let mut damaged = whole.clone();
            if cut {
                damaged.truncate(page * 4096);
            } else {
                damaged[page * 4096..][..4096].fill(0xa5);
            }
            rounds += 1;
            fs::write(&place.file, damaged).unwrap();
            let found = SqliteStore::open(&place.file).and_then(|store| {
                block_on(async {
                    for number in 0..200_u8 {
                        let key = Key::new(["many", &number.to_string()]);
                        let read = store.read(&key).await?;
                        if let Some(read) = read {
                            store.write(&key, Expect::Is(read.version), read.body).await?;
                        }
                    }
                    store.list(&Key::new(["many"]), None, 1_000).await
                })
            });
            if let Err(error) = found {
                refused(&error, "is damaged");
                errors += 1;
            }
            let _ = fs::remove_file(place.file.with_file_name("state.db-wal"));
            let _ = fs::remove_file(place.file.with_file_name("state.db-shm"));
        }
    }
    println!("{errors} of {rounds} damaged files gave an error, none a panic");
    assert_eq!(errors, rounds);
}

fn an_interrupted_creation_is_completed() {
    let place = place();
    // Killed after the file was made; then after the tables, before the log.
    fs::write(&place.file, "").unwrap();
    create(&SqliteStore::open(&place.file).unwrap(), "x");
    let raw = Connection::open(&place.file).unwrap();
    let mode: String = raw.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    drop(raw);
    assert_eq!(read(&SqliteStore::open(&place.file).unwrap()), "x");
    let raw = Connection::open(&place.file).unwrap();
    let mode: String = raw.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

fn a_replaced_file_is_noticed() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    let version = create(&store, "x");
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::rename(place.file.with_file_name(name), place.file.with_file_name(format!("moved-{name}")))
            .unwrap();
    }
    let write = || block_on(store.write(&key(), Expect::Is(version.clone()), b"unseen".to_vec()));
    refused(&write().unwrap_err(), "was removed or replaced");
    let other = SqliteStore::open(&place.file).unwrap();
    create(&other, "other");
    refused(&write().unwrap_err(), "was removed or replaced");
    refused(&block_on(store.read(&key())).unwrap_err(), "was removed or replaced");
    assert_eq!(read(&other), "other");
}

fn going_back_under_a_running_process_is_noticed() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    let kept = create(&store, "kept");
    // SQLite's own restore writes into the open file, as this does; no number of the file changes.
    let raw = Connection::open(&place.file).unwrap();
    raw.execute_batch(
        "CREATE TEMP TABLE old_kv AS SELECT * FROM kv; CREATE TEMP TABLE old_meta AS SELECT * FROM meta",
    )
    .unwrap();
    let Wrote::Stored(late) =
        block_on(store.write(&key(), Expect::Is(kept.clone()), b"lost".to_vec())).unwrap()
    else {
        panic!("a conflict")
    };
    raw.execute_batch(
        "BEGIN; DELETE FROM kv; DELETE FROM meta; INSERT INTO kv SELECT * FROM old_kv;
         INSERT INTO meta SELECT * FROM old_meta; COMMIT",
    )
    .unwrap();
    for expect in [late.clone(), kept.clone()] {
        let wrote = block_on(store.write(&key(), Expect::Is(expect), b"x".to_vec()));
        refused(&wrote.unwrap_err(), "was put back to an older state: write 1 after write 2");
    }
    refused(&block_on(store.read(&key())).unwrap_err(), "was put back to an older state");
    // A process that starts now goes on from there, and gives the lost version's number again, but not the version.
    let next = SqliteStore::open(&place.file).unwrap();
    assert_eq!(read(&next), "kept");
    let Wrote::Stored(new) = block_on(next.write(&key(), Expect::Is(kept), b"new".to_vec())).unwrap() else {
        panic!("a conflict")
    };
    let number = |version: &Version| version.0.split('-').next().map(ToOwned::to_owned);
    assert_eq!(number(&new), number(&late));
    assert_ne!(new, late);
    // Even the process that saw the lost state cannot overwrite the new one by accident.
    assert_eq!(block_on(store.write(&key(), Expect::Is(late), b"late".to_vec())).unwrap(), Wrote::Conflict);
}

fn a_failed_commit_is_unknown() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    let version = create(&store, "x");
    // A constraint that SQLite looks at when it commits: the closest thing to a disk that fails right then.
    let raw = Connection::open(&place.file).unwrap();
    raw.execute_batch(
        "CREATE TABLE none (id INTEGER PRIMARY KEY);
         CREATE TABLE late (id INTEGER REFERENCES none (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fail AFTER UPDATE ON kv BEGIN INSERT INTO late VALUES (1); END",
    )
    .unwrap();
    let write = |text: &str| block_on(store.write(&key(), Expect::Is(version.clone()), text.into()));
    let error = write("y").unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Store, EffectState::Unknown), "{error:?}");
    assert_eq!(error.retry(), Retry::IfIdempotent, "{error:?}");
    assert_eq!(read(&store), "x");
    // One that fails before is known to have done nothing.
    raw.execute_batch(
        "DROP TRIGGER fail; CREATE TRIGGER fail BEFORE UPDATE ON kv BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .unwrap();
    let error = write("y").unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Store, EffectState::NotApplied), "{error:?}");
    raw.execute_batch("DROP TRIGGER fail").unwrap();
    assert!(matches!(write("z"), Ok(Wrote::Stored(_))));
    assert_eq!(read(&store), "z");
}

fn a_busy_file_is_an_error_after_five_seconds() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    let version = create(&store, "x");
    let other = Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = SystemClock.elapsed();
    let error = block_on(store.write(&key(), Expect::Is(version.clone()), b"y".to_vec())).unwrap_err();
    let took = SystemClock.elapsed().saturating_sub(began);
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Store, EffectState::NotApplied), "{error:?}");
    assert_eq!(error.retry(), Retry::Always, "{error:?}");
    assert!(error.message().contains("another process held"), "{error:?}");
    assert!(took >= Duration::from_secs(4), "it gave up after {took:?}");
    // Readers are not kept out, and the writer gets through once the other one is done.
    assert_eq!(read(&store), "x");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(
        block_on(store.write(&key(), Expect::Is(version), b"y".to_vec())),
        Ok(Wrote::Stored(_))
    ));
}

fn the_counter_survives_deletes_and_reopening() {
    let place = place();
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let store = SqliteStore::open(&place.file).unwrap();
        let version = create(&store, "same");
        numbers.push(version.0.split('-').next().unwrap().parse::<u64>().unwrap());
        assert!(matches!(block_on(store.remove(&key(), version)), Ok(Wrote::Stored(_))));
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

fn a_runtime_that_ends_leaves_a_whole_file() {
    let place = place();
    let store = SqliteStore::open(&place.file).unwrap();
    let mut version = create(&store, "0");
    for number in 1..=20 {
        let runtime = super::many_threads().unwrap();
        let (writing, expect) = (store.clone(), Expect::Is(version.clone()));
        let text = number.to_string();
        runtime.spawn(async move { writing.write(&key(), expect, text.into()).await });
        // Ends it wherever it is: not begun, under way, or done.
        runtime.shutdown_background();
        let now = block_on(store.read(&key())).unwrap().unwrap();
        let text = String::from_utf8(now.body).unwrap();
        assert!(text.parse::<u32>().unwrap() <= number);
        version = now.version;
    }
    // One that was under way may land in between; then the connection is free and the file is whole.
    let mut tries = 0;
    while let Wrote::Conflict =
        block_on(store.write(&key(), Expect::Is(version.clone()), b"end".to_vec())).unwrap()
    {
        tries += 1;
        assert!(tries <= 20);
        version = block_on(store.read(&key())).unwrap().unwrap().version;
    }
    assert_eq!(read(&SqliteStore::open(&place.file).unwrap()), "end");
    let whole: String = Connection::open(&place.file)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
}
