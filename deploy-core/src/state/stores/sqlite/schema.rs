//! What is in the file: tables, format, counter.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Failed, file};
use crate::error::{Error, ErrorKind, Retry};

/// The format that this version reads and writes. A newer one is refused, by processes that are running too.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE kv (key TEXT PRIMARY KEY, version INTEGER NOT NULL, tag INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
    INSERT INTO meta (name, value) VALUES ('format', 1), ('counter', 0);
";

/// Makes the connection durable and the file ready.
pub(super) fn set_up(connection: &mut Connection, path: &Path) -> Result<(), Failed> {
    // On macOS a plain fsync does not reach the disk; elsewhere the last two say nothing.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;",
    )?;
    if journal_mode(connection, "PRAGMA journal_mode")? != "wal" || !has_meta(connection)? {
        // Changing the journal's mode does not wait for others, it fails; so the first openings queue up here.
        let _held = file::init_lock(path)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !has_meta(&transaction)? {
            let others: i64 =
                transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
            if others > 0 {
                return Err(Failed::Said(foreign(path)));
            }
            transaction.execute_batch(TABLES)?;
        }
        transaction.commit()?;
        let mode = journal_mode(connection, "PRAGMA journal_mode = WAL")?;
        if mode != "wal" {
            let text = format!("{} cannot have a write-ahead log (it has {mode:?})", path.display());
            let error = Error::new(ErrorKind::Store, text).retry_as(Retry::Never);
            return Err(Failed::Said(error.next("put it on a local disk")));
        }
    }
    let transaction = connection.transaction()?;
    check(&transaction).map(drop)
}

fn journal_mode(connection: &Connection, pragma: &str) -> Result<String, Failed> {
    Ok(connection.query_row(pragma, [], |row| row.get::<_, String>(0))?.to_ascii_lowercase())
}

fn has_meta(connection: &Connection) -> Result<bool, Failed> {
    let find = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'";
    Ok(connection.query_row(find, [], |_| Ok(())).optional()?.is_some())
}

fn foreign(path: &Path) -> Error {
    let text = format!("{} is a SQLite file of another program", path.display());
    Error::new(ErrorKind::Store, text).retry_as(Retry::Never).next("name another path")
}

/// Refuses what this version must not touch; gives the counter.
pub(super) fn check(transaction: &Transaction<'_>) -> Result<i64, Failed> {
    let path = || Path::new(transaction.path().unwrap_or("the state file")).to_owned();
    let both = "SELECT (SELECT value FROM meta WHERE name = 'format'), (SELECT value FROM meta WHERE name = 'counter')";
    let found = transaction.prepare_cached(both).and_then(|mut find| {
        find.query_row([], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))
    });
    match found {
        Ok((Some(FORMAT), Some(counter))) if counter >= 0 => Ok(counter),
        Ok((Some(format), _)) if format > FORMAT => {
            let text = format!("{} has format {format}; this version knows {FORMAT}", path().display());
            let error = Error::new(ErrorKind::Store, text).retry_as(Retry::Never);
            Err(Failed::Said(error.next("use the newer version that wrote it")))
        }
        Ok(_) => Err(Failed::Said(foreign(&path()))),
        // `meta` has other columns, or values of other types. Everything else is SQLite's to explain.
        Err(error) if matches!(error.sqlite_error_code(), None | Some(rusqlite::ErrorCode::Unknown)) => {
            Err(Failed::Said(foreign(&path()).because(error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the counter on.
pub(super) fn count(transaction: &Transaction<'_>, counter: i64) -> Result<(), Failed> {
    transaction.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'counter'")?.execute([counter])?;
    Ok(())
}
