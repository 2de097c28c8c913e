//! The files of a commit, written into a folder.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use git2::{ObjectType, Oid, Repository, Tree};

use super::{cannot_read, printable};
use crate::error::{Error, ErrorKind, Result};

/// What is in the place of a file that Git LFS keeps elsewhere.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// A pointer of Git LFS is shorter.
const LFS_BYTES_MAX: usize = 1024;
/// Deeper trees are made to break programs.
const DEPTH_MAX: usize = 128;

const FILE_MODES: i32 = 0o170_000;
const EXECUTABLE: i32 = 0o111;
const LINK: i32 = 0o120_000;

pub(super) fn write(repository: &Repository, commit: &str, folder: &Path) -> Result<()> {
    let id = Oid::from_str(commit).map_err(|error| cannot_read(commit, error))?;
    let tree = repository.find_commit(id).and_then(|commit| commit.tree());
    let tree = tree.map_err(|error| cannot_read(commit, error))?;
    let mut open = vec![(folder.to_owned(), tree, 0)];
    while let Some((folder, tree, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            let text = format!("the folders of {commit} are nested too deep: {}", folder.display());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        for (below, inner) in write_tree(repository, &tree, &folder)? {
            open.push((below, inner, depth + 1));
        }
    }
    Ok(())
}

/// Writes the files of a folder, and gives the folders below, made already.
fn write_tree<'r>(
    repository: &'r Repository,
    tree: &Tree<'_>,
    folder: &Path,
) -> Result<Vec<(PathBuf, Tree<'r>)>> {
    let mut below = Vec::new();
    for entry in tree {
        let name = entry.name_bytes();
        let path = folder.join(file_name(name)?);
        let read = |error| cannot_read(&printable(name), error);
        match entry.kind() {
            Some(ObjectType::Tree) => {
                // Never through what is there already, such as a link.
                fs::create_dir(&path).map_err(|error| cannot_write(&path, error))?;
                below.push((path, repository.find_tree(entry.id()).map_err(read)?));
            }
            Some(ObjectType::Blob) => {
                let blob = repository.find_blob(entry.id()).map_err(read)?;
                let content = blob.content();
                if content.len() <= LFS_BYTES_MAX && content.starts_with(LFS) {
                    let text = format!("{} is kept in Git LFS, which is not read here", printable(name));
                    return Err(Error::new(ErrorKind::Unsupported, text)
                        .next("build it where Git LFS is: in CI, or with a command step"));
                }
                let written = match entry.filemode() & FILE_MODES {
                    LINK => link(content, &path),
                    _ => file(content, entry.filemode() & EXECUTABLE != 0, &path),
                };
                written.map_err(|error| cannot_write(&path, error))?;
            }
            _ => {
                let text =
                    format!("{} is a submodule, whose files are in another repository", printable(name));
                return Err(Error::new(ErrorKind::Unsupported, text)
                    .next("build it where submodules are checked out: in CI, or with a command step"));
            }
        }
    }
    Ok(below)
}

/// A name as a part of a path. A tree that somebody made by hand may name anything.
fn file_name(name: &[u8]) -> Result<PathBuf> {
    let odd = || {
        let text = format!("a file of the commit is called `{}`", printable(name));
        Error::new(ErrorKind::Refused, text).next("this is not a name that git would have made")
    };
    let separators: &[u8] = if cfg!(windows) { b"/\\:\0" } else { b"/\0" };
    let reserved = name.is_empty() || name == b"." || name == b".." || name.eq_ignore_ascii_case(b".git");
    if reserved || name.iter().any(|byte| separators.contains(byte)) {
        return Err(odd());
    }
    path(name).ok_or_else(odd)
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

fn file(content: &[u8], executable: bool, path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    #[cfg(unix)]
    if executable {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
    }
    #[cfg(not(unix))]
    let _ = executable;
    Ok(())
}

#[cfg(unix)]
fn link(to: &[u8], path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(to), path)
}

/// As git does it where links cannot be made.
#[cfg(not(unix))]
fn link(to: &[u8], path: &Path) -> io::Result<()> {
    file(to, false, path)
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    let text = format!("{} cannot be written: {error}", path.display());
    Error::new(ErrorKind::Unavailable, text).next("make room, or set TMPDIR to another folder").because(error)
}
