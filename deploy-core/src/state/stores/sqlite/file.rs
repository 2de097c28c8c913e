//! The file itself: made for this user only, and looked at again before each use.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::error::{Error, ErrorKind, Result, Retry};

pub(super) fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let text = format!("cannot {doing} {}: {error}", path.display());
    Error::new(ErrorKind::Store, text).because(error)
}

/// Creates the file and the directories above it if they are missing.
///
/// A file that exists is not opened here: closing it again would drop the locks that another connection of this
/// process holds on it (POSIX locks belong to the process, not to the handle).
pub(super) fn create(path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        create_directories(directory)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error("create the state file", path, error)),
    }
}

fn create_directories(directory: &Path) -> Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| io_error("create the directory", directory, error))?;
    for made in missing {
        // SQLite syncs the directory of the file; the ones above it would be lost with the power. Where
        // directories cannot be synced there is nothing more to do.
        if let Some(Ok(above)) = made.parent().map(fs::File::open) {
            let _ = above.sync_all();
        }
    }
    Ok(())
}

/// The lock file that the first opening of a state file is done under.
pub(super) fn init_lock(path: &Path) -> Result<fs::File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-init");
    let name = PathBuf::from(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&name).map_err(|error| io_error("create", &name, error))?;
    file.lock().map_err(|error| io_error("lock", &name, error))?;
    Ok(file)
}

/// Which file a path led to when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(path).map_err(|error| io_error("find the state file", path, error))?;
        Ok(Self(Some((found.dev(), found.ino()))))
    }

    /// Where files have no number, an open file cannot be replaced either.
    #[cfg(not(unix))]
    pub(super) fn of(_path: &Path) -> Result<Self> {
        Ok(Self(None))
    }

    /// Whether the path still leads to the same file. A process that writes to a file which was moved away would be
    /// told that its writes are stored, and nobody else would ever see them.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        if Self::of(path).is_ok_and(|now| now == *self) {
            return Ok(());
        }
        let text = format!("{} was removed or replaced while it was open", path.display());
        Err(Error::new(ErrorKind::Store, text)
            .retry_as(Retry::Never)
            .next("check what is deployed, then start this process again to use the file that is there now"))
    }
}
