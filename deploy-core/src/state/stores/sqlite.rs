//! State in a SQLite file, shared by the processes of one machine.
//!
//! The file holds `kv(key, version, tag, value)` and `meta(name, value)`: the format, and the one counter that all
//! versions come from and that deletes do not turn back. The write-ahead log is synced at every commit, so an
//! acknowledged write survives kill -9 and power loss, as far as the disk keeps what it was told to sync.
//!
//! What it cannot do:
//! - stop a deployer on another machine ([`Limits::many_machines`] is false);
//! - work on a network file system: the write-ahead log needs memory shared between the processes. That cannot be
//!   found out portably, so it is not checked: keep the file on a local disk;
//! - notice a hard link, or a copy made while it was open. Make backups with `sqlite3 FILE ".backup COPY"`; restore
//!   them while no process runs, together with deleting `FILE-wal` and `FILE-shm`.

mod file;
mod schema;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, de::IntoDeserializer};
use tokio::sync::Mutex;

use self::file::Identity;
use crate::{
    clock::{Random, SystemRandom},
    error::{EffectState, Error, ErrorKind, Result, Retry},
    state::store::{Expect, Key, Limits, StateStore, Version, Versioned, Wrote, check_size},
};

/// The largest value. SQLite itself would take 1 GB; a write of this size still ends well within a call's deadline
/// on a slow disk, and it is far above what plans and evidence need.
const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a process looks for commands of others: a read costs some ten microseconds.
const POLL: Duration = Duration::from_millis(200);
/// How long a call waits for the writer of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Records in a SQLite file. Clones share one connection; other processes open the same file.
///
/// Calls run on tokio's blocking threads, one at a time. A call that is dropped either never starts or runs to its
/// end: it is never half done, but whether it was done must then be read back.
#[derive(Clone)]
pub struct SqliteStore {
    opened: Arc<Mutex<Opened>>,
    path: Arc<Path>,
}

struct Opened {
    connection: Connection,
    path: Arc<Path>,
    identity: Identity,
    /// The highest counter that was seen: a file that shows less has been put back.
    seen: i64,
    random: Arc<dyn Random>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, and creates it and the directories above it if need be, for this user only.
    ///
    /// This blocks for some milliseconds; up to five seconds while another process holds the file.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Store`]: the file cannot be created, is damaged, belongs to another program, or was
    /// written by a newer version of this crate.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        // An absolute path stays right when the process changes directory, and is never one of SQLite's special names.
        let path: PathBuf = std::path::absolute(path.as_ref())
            .map_err(|error| file::io_error("find the state file", path.as_ref(), error))?;
        let path: Arc<Path> = path.into();
        file::create(&path)?;
        // Taken before SQLite opens the path: what is swapped in between then shows at the first call.
        let identity = Identity::of(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let mut connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            schema::set_up(&mut connection, &path).map(|()| connection)
        };
        let connection = open().map_err(|failed| failed.into_error(&path))?;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let opened = Opened { connection, path: Arc::clone(&path), identity, seen: 0, random };
        Ok(Self { opened: Arc::new(Mutex::new(opened)), path })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs one transaction on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        doing: String,
        behavior: TransactionBehavior,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T> {
        // The guard moves into the closure: waiting callers hold no thread, and a caller that goes away does not
        // let the next one onto the connection too early.
        let mut opened = Arc::clone(&self.opened).lock_owned().await;
        let path = Arc::clone(&self.path);
        let ended = tokio::task::spawn_blocking(move || opened.transact(behavior, work)).await;
        let result = match ended {
            Ok(result) => result.map_err(|failed| failed.into_error(&path)),
            // Cancelled: the runtime ended before the call began.
            Err(error) if error.is_cancelled() => {
                Err(Error::new(ErrorKind::Store, "the runtime is shutting down"))
            }
            Err(error) => Err(Error::new(ErrorKind::Store, "a call to SQLite panicked")
                .effect_as(EffectState::Unknown)
                .retry_as(Retry::IfIdempotent)
                .because(error)),
        };
        result.map_err(|error| error.context(doing))
    }
}

/// One transaction at work.
struct Step<'a> {
    transaction: Transaction<'a>,
    counter: i64,
    random: &'a dyn Random,
}

impl Opened {
    fn transact<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&mut Step<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        // Within the transaction, so that no commit of ours follows a replacement that was there to be seen.
        self.identity.check(&self.path)?;
        let counter = schema::check(&transaction)?;
        if counter < self.seen {
            return Err(Failed::Said(rewound(&self.path, self.seen, counter)));
        }
        let mut step = Step { transaction, counter, random: &*self.random };
        let value = work(&mut step)?;
        let counter = step.counter;
        step.transaction.commit().map_err(Failed::Commit)?;
        self.seen = counter;
        Ok(value)
    }
}

impl Step<'_> {
    fn current(&self, key: &Key) -> Result<Option<Version>, Failed> {
        let mut find = self.transaction.prepare_cached("SELECT version, tag FROM kv WHERE key = ?1")?;
        let row = find.query_row([key.as_str()], |row| Ok(version(row.get(0)?, row.get(1)?))).optional()?;
        Ok(row)
    }

    fn put(&mut self, key: &Key, body: &[u8]) -> Result<Version, Failed> {
        let full = || {
            Failed::Said(Error::new(ErrorKind::Store, "all version numbers are used").retry_as(Retry::Never))
        };
        self.counter = self.counter.checked_add(1).ok_or_else(full)?;
        // A restored backup counts again from where it stood. The tag keeps those versions apart from the lost ones,
        // so that nobody's compare-and-set from before can succeed on a record from after.
        let tag = self.random.next().cast_signed();
        schema::count(&self.transaction, self.counter)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO kv (key, version, tag, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET version = ?2, tag = ?3, value = ?4",
            )?
            .execute(params![key.as_str(), self.counter, tag, body])?;
        Ok(version(self.counter, tag))
    }
}

fn version(counter: i64, tag: i64) -> Version {
    Version(format!("{counter}-{:016x}", tag.cast_unsigned()))
}

#[async_trait]
impl StateStore for SqliteStore {
    fn limits(&self) -> Limits {
        Limits::new(VALUE_BYTES_MAX, POLL, false)
    }

    async fn read(&self, key: &Key) -> Result<Option<Versioned>> {
        let key = key.clone();
        self.run(format!("read {key}"), TransactionBehavior::Deferred, move |step| {
            let mut find =
                step.transaction.prepare_cached("SELECT version, tag, value FROM kv WHERE key = ?1")?;
            let row = find.query_row([key.as_str()], |row| {
                Ok(Versioned { version: version(row.get(0)?, row.get(1)?), body: row.get(2)? })
            });
            Ok(row.optional()?)
        })
        .await
    }

    async fn write(&self, key: &Key, expect: Expect, body: Vec<u8>) -> Result<Wrote> {
        check_size(&self.limits(), key, &body)?;
        let key = key.clone();
        self.run(format!("write {key}"), TransactionBehavior::Immediate, move |step| {
            let as_expected = match (step.current(&key)?, &expect) {
                (None, Expect::Absent) => true,
                (Some(current), Expect::Is(version)) => current == *version,
                (None, Expect::Is(_)) | (Some(_), Expect::Absent) => false,
            };
            Ok(if as_expected { Wrote::Stored(step.put(&key, &body)?) } else { Wrote::Conflict })
        })
        .await
    }

    async fn remove(&self, key: &Key, expect: Version) -> Result<Wrote> {
        let key = key.clone();
        self.run(format!("remove {key}"), TransactionBehavior::Immediate, move |step| {
            if step.current(&key)?.is_none_or(|current| current != expect) {
                return Ok(Wrote::Conflict);
            }
            step.transaction.prepare_cached("DELETE FROM kv WHERE key = ?1")?.execute([key.as_str()])?;
            Ok(Wrote::Stored(expect))
        })
        .await
    }

    async fn list(&self, prefix: &Key, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        // `0` is the character after `/`: keys are ordered by their bytes.
        let (low, high) = (format!("{prefix}/"), format!("{prefix}0"));
        let after = after.map_or(String::new(), |after| after.as_str().to_owned());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run(format!("list {prefix}"), TransactionBehavior::Deferred, move |step| {
            let mut find = step.transaction.prepare_cached(
                "SELECT key FROM kv WHERE key > ?1 AND key < ?2 AND key > ?3 ORDER BY key LIMIT ?4",
            )?;
            let rows = find.query_map(params![low, high, after, limit], |row| row.get::<_, String>(0))?;
            rows.map(|text| stored_key(&text?)).collect()
        })
        .await
    }
}

/// The key that was stored as this text; its parts are escaped already.
fn stored_key(text: &str) -> Result<Key, Failed> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    Key::deserialize(text).map_err(|error| {
        let error = Error::new(ErrorKind::Store, "a stored key cannot be read").because(error);
        Failed::Said(error.retry_as(Retry::Never))
    })
}

fn rewound(path: &Path, seen: i64, counter: i64) -> Error {
    let text =
        format!("{} was put back to an older state: write {counter} after write {seen}", path.display());
    Error::new(ErrorKind::Store, text)
        .retry_as(Retry::Never)
        .next("check what is deployed, then start this process again to go on from the restored state")
}

/// How a transaction failed.
enum Failed {
    /// Before the commit: nothing happened.
    Before(rusqlite::Error),
    /// At the commit. The log may hold it, and then a crash brings it back.
    Commit(rusqlite::Error),
    /// A check of ours.
    Said(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Before(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Failed {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Before(error) => explain(error, path),
            Self::Commit(error) => {
                explain(error, path).effect_as(EffectState::Unknown).retry_as(Retry::IfIdempotent)
            }
            Self::Said(error) => error,
        }
    }
}

fn explain(error: rusqlite::Error, path: &Path) -> Error {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly};
    let at = path.display();
    let (text, retry, next) = match error.sqlite_error_code() {
        Some(DatabaseBusy) => (
            format!("another process held {at} for {} seconds", BUSY_TIMEOUT.as_secs()),
            Retry::Always,
            "look for a stopped process or an open sqlite3 shell",
        ),
        Some(DatabaseCorrupt) => (
            format!("{at} is damaged"),
            Retry::Never,
            "restore it from a backup, or move it away to begin with an empty state",
        ),
        Some(NotADatabase) => (format!("{at} is not a SQLite file"), Retry::Never, "name another path"),
        Some(DiskFull) => (format!("no space is left for {at}"), Retry::Always, "free some space"),
        Some(ReadOnly) => (format!("{at} cannot be written"), Retry::Never, "check owner and mode"),
        None => (format!("what is in {at} cannot be understood"), Retry::Never, "restore it from a backup"),
        _ => (format!("SQLite failed on {at}: {error}"), Retry::Always, "see the cause"),
    };
    Error::new(ErrorKind::Store, text).retry_as(retry).next(next).because(error)
}
