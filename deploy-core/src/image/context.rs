//! The build context: a folder as a tar stream.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileType},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ignore::{Ignore, Matched};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Timestamp,
};

/// The largest context that is sent unless the build says otherwise: 2 GiB.
pub const CONTEXT_BYTES_MAX: u64 = 2 << 30;
/// The most files, folders and links of a context.
const ENTRIES_MAX: usize = 1_000_000;
/// The largest `.dockerignore` that is read.
const IGNORE_BYTES_MAX: u64 = 1 << 20;
/// The tar stream goes out in pieces of this many bytes, and so many of them wait.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_WAITING: usize = 4;

/// What a build may see of a folder: found, ordered and measured, not yet read.
#[derive(Debug)]
pub(super) struct Context {
    root: PathBuf,
    dockerfile: String,
    entries: Vec<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    /// Relative to the root, with `/`.
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    /// What was measured is what is sent.
    File {
        bytes: u64,
        executable: bool,
        same: Same,
    },
    Link(PathBuf),
}

/// A file that was replaced after it was found is another file.
type Same = Option<(u64, u64)>;

impl Context {
    /// Finds what belongs to the context. Blocks: reads every folder that is not ignored, and no file but the ignore file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if folder or Dockerfile are not there, [`ErrorKind::Invalid`] if the Dockerfile lies outside,
    /// a pattern is wrong, or there is more than `limit` bytes.
    pub(super) fn scan(folder: &Path, dockerfile: &str, limit: u64) -> Result<Self> {
        let root = fs::canonicalize(folder).map_err(|error| cannot_read(folder, error))?;
        let dockerfile = inside(dockerfile)?;
        if let Err(error) = fs::symlink_metadata(root.join(&dockerfile)) {
            let text = format!("there is no {dockerfile} in {}", root.display());
            return Err(Error::new(ErrorKind::NotFound, text)
                .because(error)
                .next("name the Dockerfile, relative to the build context"));
        }
        let ignore = ignore_of(&root, &dockerfile)?;
        let mut walk =
            Walk { root: &root, ignore, entries: Vec::new(), limit, bytes: 0, by_top: BTreeMap::new() };
        walk.folder(Path::new(""), "", &Matched::default())?;
        let Walk { entries, bytes, .. } = walk;
        Ok(Self { root, dockerfile, entries, bytes })
    }

    /// The Dockerfile, relative to the context.
    pub(super) fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// The Dockerfile's text, as far as it can be read.
    pub(super) fn dockerfile_text(&self) -> String {
        let mut bytes = Vec::new();
        let file = File::open(self.root.join(&self.dockerfile));
        let _ = file.map(|file| file.take(IGNORE_BYTES_MAX).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Starts to read. The same files give the same bytes: owners, times and permissions are not those of this machine,
    /// but root's, `at`, and 0755 or 0644. It ends when the pieces are dropped.
    pub(super) fn send(self, at: Timestamp) -> (Pieces, Fault) {
        let (to, pieces) = mpsc::channel(PIECES_WAITING);
        let fault = Fault::default();
        let told = fault.clone();
        tokio::task::spawn_blocking(move || {
            let mut out = PieceWriter { to, piece: Vec::with_capacity(PIECE_BYTES) };
            if let Err(error) = self.write(&mut out, at) {
                told.set(error);
                // The request has to fail: an archive that merely ends early may be taken for whole.
                let _ = out.to.blocking_send(Err(io::Error::other("the build context cannot be read")));
            }
        });
        (pieces, fault)
    }

    fn write(&self, out: &mut PieceWriter, at: Timestamp) -> Result<()> {
        let seconds = u64::try_from(at.as_millis() / 1000).unwrap_or(0);
        let mut tar = tar::Builder::new(out);
        for entry in &self.entries {
            let shown = entry.path.display();
            let mut header = tar::Header::new_gnu();
            header.set_mtime(seconds);
            header.set_uid(0);
            header.set_gid(0);
            let written = match &entry.kind {
                Kind::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    tar.append_data(&mut header, &entry.path, io::empty())
                }
                Kind::Link(to) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, &entry.path, to)
                }
                Kind::File { bytes, executable, same } => {
                    let file = self.open(&entry.path, *bytes, *same)?;
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(*bytes);
                    let mut file = Exactly { file, left: *bytes };
                    tar.append_data(&mut header, &entry.path, &mut file)
                }
            };
            written.map_err(|error| {
                let text = format!("{shown} of the build context cannot be read: {error}");
                Error::new(ErrorKind::Unexpected, text).because(error)
            })?;
        }
        let out = tar.into_inner().and_then(|out| out.flush());
        out.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the build context cannot be sent").because(error)
        })
    }

    fn open(&self, path: &Path, bytes: u64, same: Same) -> Result<File> {
        let path = self.root.join(path);
        let changed = || {
            let text = format!("{} was changed while the build context was read", path.display());
            Error::new(ErrorKind::Conflict, text).next("build from a work tree that nothing writes to")
        };
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => changed(),
            _ => cannot_read(&path, error),
        })?;
        let found = file.metadata().map_err(|error| cannot_read(&path, error))?;
        if !found.is_file() || found.len() != bytes || identity(&found) != same {
            return Err(changed());
        }
        Ok(file)
    }
}

/// A Dockerfile's path as it stands in the context.
fn inside(dockerfile: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in dockerfile.split('/') {
        match part {
            "" | "." => {}
            ".." => parts.push(".."),
            part => parts.push(part),
        }
    }
    if dockerfile.starts_with('/') || parts.contains(&"..") || parts.is_empty() {
        let text =
            format!("the Dockerfile `{}` lies outside of the build context", dockerfile.escape_debug());
        return Err(
            Error::new(ErrorKind::Invalid, text).next("name it relative to the build context, without `..`")
        );
    }
    Ok(parts.join("/"))
}

fn ignore_of(root: &Path, dockerfile: &str) -> Result<Ignore> {
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
        let path = root.join(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot_read(&path, error)),
        };
        let mut bytes = Vec::new();
        file.take(IGNORE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(&path, error))?;
        if bytes.len() as u64 > IGNORE_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, format!("{name} has more than 1 MiB")));
        }
        let mut ignore = Ignore::parse(&String::from_utf8_lossy(&bytes), &name)?;
        ignore.always(dockerfile);
        ignore.always(&name);
        return Ok(ignore);
    }
    Ok(Ignore::default())
}

struct Walk<'a> {
    root: &'a Path,
    ignore: Ignore,
    entries: Vec<Entry>,
    limit: u64,
    bytes: u64,
    by_top: BTreeMap<String, u64>,
}

impl Walk<'_> {
    /// Adds what is in a folder, in the order of the names' bytes. Links are never followed.
    fn folder(&mut self, folder: &Path, name: &str, matched: &Matched) -> Result<()> {
        let full = self.root.join(folder);
        let mut found = Vec::new();
        for entry in fs::read_dir(&full).map_err(|error| cannot_read(&full, error))? {
            let entry = entry.map_err(|error| cannot_read(&full, error))?;
            let kind = entry.file_type().map_err(|error| cannot_read(&entry.path(), error))?;
            found.push((entry.file_name(), kind));
        }
        found.sort_by(|(one, _), (other, _)| one.as_encoded_bytes().cmp(other.as_encoded_bytes()));
        for (file, kind) in found {
            let path = folder.join(&file);
            let file = file.to_string_lossy();
            let name = if name.is_empty() { file.into_owned() } else { format!("{name}/{file}") };
            self.entry(path, &name, kind, matched)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, name: &str, kind: FileType, parent: &Matched) -> Result<()> {
        let (excluded, matched) = self.ignore.excludes(name, parent);
        if kind.is_dir() {
            if excluded && !self.ignore.may_keep_below(name) {
                return Ok(());
            }
            let at = self.entries.len();
            self.entries.push(Entry { path: path.clone(), kind: Kind::Folder });
            self.folder(&path, name, &matched)?;
            // A folder that is taken out is there only for what was brought back in it.
            if excluded && self.entries.len() == at + 1 {
                self.entries.pop();
            }
            return Ok(());
        }
        if excluded {
            return Ok(());
        }
        let full = self.root.join(&path);
        let kind = if kind.is_symlink() {
            Kind::Link(fs::read_link(&full).map_err(|error| cannot_read(&full, error))?)
        } else if kind.is_file() {
            let found = fs::symlink_metadata(&full).map_err(|error| cannot_read(&full, error))?;
            self.count(name, found.len())?;
            Kind::File { bytes: found.len(), executable: is_executable(&found), same: identity(&found) }
        } else {
            // Sockets, pipes and devices have no place in an image.
            return Ok(());
        };
        self.entries.push(Entry { path, kind });
        if self.entries.len() > ENTRIES_MAX {
            let text = format!("the build context has more than {ENTRIES_MAX} files");
            return Err(Error::new(ErrorKind::Invalid, text).next("name what is not needed in .dockerignore"));
        }
        Ok(())
    }

    fn count(&mut self, name: &str, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        let top = name.split('/').next().unwrap_or(name);
        *self.by_top.entry(top.to_owned()).or_default() += bytes;
        if self.bytes <= self.limit {
            return Ok(());
        }
        let largest = self.by_top.iter().max_by_key(|(_, bytes)| **bytes);
        let (largest, size) = largest.map_or((top, bytes), |(name, bytes)| (name.as_str(), *bytes));
        let text = format!(
            "the build context has more than {}: {} of what was counted are in `{}`",
            size_words(self.limit),
            size_words(size),
            largest.escape_debug()
        );
        Err(Error::new(ErrorKind::Invalid, text).next("name what is not needed in .dockerignore"))
    }
}

fn size_words(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) % 1024) * 10 / 1024),
    }
}

#[cfg(unix)]
fn is_executable(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o100 != 0
}

#[cfg(unix)]
fn identity(found: &fs::Metadata) -> Same {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn is_executable(_found: &fs::Metadata) -> bool {
    // As Docker does it on Windows: what may have to run can.
    true
}

#[cfg(not(unix))]
fn identity(_found: &fs::Metadata) -> Same {
    None
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("{} of the build context cannot be read: {error}", path.display()))
        .because(error)
}

/// The archive, piece by piece.
pub(super) type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// Why the archive ended early: whoever sends it sees only that it did.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

struct PieceWriter {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the build context any more");
        self.to.blocking_send(Ok(Bytes::from(piece))).map_err(gone)
    }
}

/// A file that has to have as many bytes as its header says.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.file.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
