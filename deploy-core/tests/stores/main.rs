//! The store suite over every store of this crate, and what only a file shared by processes can go through.

mod child;
mod faulty;
mod processes;
mod sqlite;

use std::{
    io,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use deploy_core::{
    Error, ErrorKind, Result,
    conformance::stores::{StoreUnderTest, Versions, tests},
    state::{
        StateStore,
        stores::{
            memory::{MemoryBackup, MemoryStore},
            sqlite::SqliteStore,
        },
    },
};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Builder, Runtime};

fn one_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn many_threads() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(4).enable_all().build()
}

/// Virtual time, as simulation has it.
fn paused() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}

#[derive(Debug)]
struct Memory {
    store: MemoryStore,
    versions: Versions,
    backup: Mutex<Option<MemoryBackup>>,
}

impl Memory {
    fn under_test(versions: Versions) -> Box<dyn StoreUnderTest> {
        let store = match versions {
            Versions::Counting => MemoryStore::new(),
            Versions::Hashing => MemoryStore::hashing(),
        };
        Box::new(Self { store, versions, backup: Mutex::default() })
    }
}

#[async_trait]
impl StoreUnderTest for Memory {
    fn versions(&self) -> Versions {
        self.versions
    }

    async fn open(&self) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(self.store.clone()))
    }

    async fn back_up(&self) -> Result<bool> {
        *self.backup.lock().unwrap() = Some(self.store.back_up());
        Ok(true)
    }

    async fn restore(&self) -> Result<()> {
        self.store.restore(self.backup.lock().unwrap().as_ref().unwrap());
        Ok(())
    }
}

#[derive(Debug)]
struct Sqlite {
    directory: tempfile::TempDir,
}

impl Sqlite {
    fn under_test() -> Result<Box<dyn StoreUnderTest>> {
        Ok(Box::new(Self { directory: tempfile::tempdir().map_err(copying)? }))
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("state").join("deploys.db")
    }

    fn backup(&self) -> PathBuf {
        self.directory.path().join("backup.db")
    }

    /// A log left behind would mean that somebody still has the file open: then a copy of it alone is no backup.
    fn is_closed(&self) -> bool {
        !self.file().with_file_name("deploys.db-wal").exists()
    }
}

fn copying(error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "cannot copy").because(error)
}

#[async_trait]
impl StoreUnderTest for Sqlite {
    fn versions(&self) -> Versions {
        Versions::Counting
    }

    async fn open(&self) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(SqliteStore::open(self.file())?))
    }

    async fn back_up(&self) -> Result<bool> {
        assert!(self.is_closed());
        std::fs::copy(self.file(), self.backup()).map_err(copying)?;
        Ok(true)
    }

    async fn restore(&self) -> Result<()> {
        assert!(self.is_closed());
        std::fs::copy(self.backup(), self.file()).map_err(copying)?;
        Ok(())
    }
}

fn main() -> ExitCode {
    if let Some(ended) = child::run_if_asked() {
        return ended;
    }
    let mut all: Vec<Trial> = Vec::new();
    all.extend(tests("memory", one_thread, || Ok(Memory::under_test(Versions::Counting))));
    all.extend(tests("memory-threads", many_threads, || Ok(Memory::under_test(Versions::Counting))));
    all.extend(tests("memory-hashing", many_threads, || Ok(Memory::under_test(Versions::Hashing))));
    all.extend(tests("sqlite", many_threads, Sqlite::under_test));
    all.extend(tests("sqlite-paused", paused, Sqlite::under_test));
    all.extend(faulty::tests());
    all.extend(sqlite::tests());
    all.extend(processes::tests());
    libtest_mimic::run(&Arguments::from_args(), all).exit_code()
}
