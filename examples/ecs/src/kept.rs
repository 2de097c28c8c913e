//! The emulator inside the tool, kept in `.deploy/` between its runs.
//!
//! A World is a value: it is written as JSON soon after each change and at the end, and the time between two runs passes
//! in it too. One process at a time changes it: the file beside it is locked. A process that finds it locked looks at a
//! copy in which nothing can be changed; commands to the other process travel through the state as always.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deploy_ecs::{
    Ecs,
    emulator::{Config as EmulatorConfig, Emulator, FaultKind, FaultRule, World},
};
use deploy_kit::{
    Error, ErrorKind, Result,
    clock::{Clock, SystemClock},
    config::{Config, EcsPlace},
};

/// How soon after a change it is written.
const SOON: Duration = Duration::from_millis(20);
/// What a copy must not do.
const CHANGES: [&str; 6] = [
    "RegisterTaskDefinition",
    "UpdateService",
    "StopServiceDeployment",
    "StopTask",
    "DeregisterTaskDefinition",
    "RunTask",
];

#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    open: Mutex<BTreeMap<String, Arc<Open>>>,
}

/// One account and region.
#[derive(Debug)]
struct Open {
    emulator: Emulator,
    path: PathBuf,
    /// Held while this process may change it.
    lock: Option<File>,
}

fn cannot(doing: &str, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let text = format!("cannot {doing} the emulator's state {}: {error}", path.display());
    Error::new(ErrorKind::Store, text).because(error)
}

impl Kept {
    pub(crate) fn beside(config: &Path) -> Self {
        let folder = config.parent().unwrap_or(Path::new("")).join(".deploy");
        Self { folder, open: Mutex::default() }
    }

    /// A connection to the emulated account and region of a place, with the file's services in it.
    pub(crate) async fn ecs(&self, config: &Config, place: &EcsPlace) -> Result<Ecs> {
        let open = self.opened(place)?;
        crate::seed::seed(&open.emulator, config, place).await?;
        Ecs::emulated(&open.emulator, Arc::new(SystemClock))
    }

    fn opened(&self, place: &EcsPlace) -> Result<Arc<Open>> {
        let defaults = EmulatorConfig::default();
        let account = place.account.clone().unwrap_or(defaults.account.clone());
        let region = place.region.clone().unwrap_or(defaults.region.clone());
        let name = format!("emulator-{account}-{region}");
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get(&name) {
            return Ok(Arc::clone(open));
        }
        let settings =
            EmulatorConfig { account, region, start_ms: SystemClock.now().as_millis(), ..defaults };
        let open = Arc::new(Open::of(&self.folder.join(&name), settings)?);
        if open.lock.is_some() {
            tokio::spawn(keep(Arc::clone(&open)));
        }
        all.insert(name, Arc::clone(&open));
        Ok(open)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let all: Vec<_> =
            self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for open in all {
            let written = tokio::task::spawn_blocking(move || open.write()).await;
            written.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "writing was broken off")))?;
        }
        Ok(())
    }
}

impl Open {
    fn of(stem: &Path, settings: EmulatorConfig) -> Result<Self> {
        let (path, beside) = (stem.with_extension("json"), stem.with_extension("lock"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| cannot("keep", &path, error))?;
        }
        let lock = File::create(&beside).map_err(|error| cannot("lock", &beside, error))?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        let emulator =
            match fs::read(&path) {
                Ok(body) => {
                    let world = serde_json::from_slice(&body).and_then(World::restore);
                    Emulator::with_world(world.map_err(|error| {
                        cannot("read", &path, error).next("remove the file to begin anew")
                    })?)
                }
                Err(_) => Emulator::new(settings),
            };
        // What happened between the two runs, if anybody had looked.
        emulator.skip_ms(SystemClock.now().as_millis() - emulator.now_ms());
        if lock.is_none() {
            for action in CHANGES {
                emulator.fault(FaultRule::new(FaultKind::AccessDenied403).action(action).always());
            }
        }
        Ok(Self { emulator, path, lock })
    }

    /// Whole or not at all: a reader never sees a part.
    fn write(&self) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let body = self.emulator.snapshot().to_string();
        let beside = self.path.with_extension("new");
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(body.as_bytes())?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| cannot("keep", &self.path, error))
    }
}

/// Writes soon after each change, so that a process that is killed takes little with it.
async fn keep(open: Arc<Open>) {
    let mut written = 0;
    loop {
        SystemClock.sleep(SOON).await;
        let changes = open.emulator.counts().mutating();
        if changes != written {
            written = changes;
            let open = Arc::clone(&open);
            // The next write, or the last one, says what is wrong.
            let _ = tokio::task::spawn_blocking(move || open.write()).await;
        }
    }
}
