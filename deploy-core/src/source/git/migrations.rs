//! The migrations that lie between two commits, each with the commit that brought it.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use git2::{Delta, DiffOptions, ErrorCode, FileMode, ObjectType, Oid, Repository, Tree};
use glob::{MatchOptions, Pattern};

use super::{Graph, cannot_read, commit, names::pair, printable, why};
use crate::{
    error::{Error, ErrorKind, Result},
    source::{Migration, MigrationChange, Migrations, MigrationsBetween},
};

/// A name's `*` ends with the name, and what begins with a dot is a name like any other.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

pub(super) fn between(
    repository: &Repository,
    old: &str,
    new: &str,
    which: &Migrations,
) -> Result<MigrationsBetween> {
    let patterns = patterns(which)?;
    let (old, new) = match pair(repository, old, new)? {
        Ok(both) => both,
        Err(why) => return Ok(MigrationsBetween::CannotKnow(why)),
    };
    let mut graph = Graph::of(repository)?;
    let ids = match graph.between(old, new)? {
        Ok(ids) => ids,
        Err(doubt) => return Ok(MigrationsBetween::CannotKnow(why(doubt, new, old))),
    };
    let mut found = Vec::new();
    // Where `new` adds no commits it brings nothing, whatever else `old` has.
    if !ids.is_empty() {
        let files = differing(repository, old, new, &patterns)?;
        let mut origins = Origins {
            repository,
            graph,
            between: ids.iter().copied().collect(),
            directories: HashMap::new(),
        };
        for (file, id) in origins.of(&files, new, &ids)? {
            let path = printable(file.path.as_os_str().as_encoded_bytes());
            found.push(Migration::new(path, file.change, commit(repository, id)?));
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
    }
    Ok(MigrationsBetween::Known(found))
}

fn patterns(which: &Migrations) -> Result<Vec<Pattern>> {
    let patterns = which.globs().iter().map(|glob| {
        Pattern::new(glob).map_err(|error| {
            let text = format!("`{}` is no path pattern: {}", glob.escape_debug(), error.msg);
            Error::new(ErrorKind::Invalid, text).next("write one such as `database/migrations/*.php`")
        })
    });
    patterns.collect()
}

/// A file that differs in two commits.
struct File {
    path: PathBuf,
    change: MigrationChange,
    /// What the new commit has, and as what.
    content: Oid,
    is_link: bool,
}

fn differing(repository: &Repository, old: Oid, new: Oid, patterns: &[Pattern]) -> Result<Vec<File>> {
    let mut options = DiffOptions::new();
    // Without a search for renames: frameworks know a migration by its name.
    options.ignore_submodules(true).include_typechange(true).skip_binary_check(true);
    let (before, after) = (tree(repository, old)?, tree(repository, new)?);
    let diff = repository
        .diff_tree_to_tree(Some(&before), Some(&after), Some(&mut options))
        .map_err(|error| cannot_read("the difference of two commits", error))?;
    let files = diff.deltas().filter_map(|delta| {
        let change = match delta.status() {
            Delta::Added => MigrationChange::Added,
            // Only another mode is no other migration.
            Delta::Modified if delta.old_file().id() == delta.new_file().id() => return None,
            Delta::Modified | Delta::Typechange => MigrationChange::Changed,
            _ => return None,
        };
        let file = delta.new_file();
        let path = file.path().filter(|_| file.mode() != FileMode::Commit)?;
        let text = path.to_string_lossy();
        let wanted = patterns.iter().any(|pattern| pattern.matches_with(&text, MATCHING));
        let is_link = file.mode() == FileMode::Link;
        wanted.then(|| File { path: path.to_owned(), change, content: file.id(), is_link })
    });
    Ok(files.collect())
}

fn tree(repository: &Repository, id: Oid) -> Result<Tree<'_>> {
    let tree = repository.find_commit(id).and_then(|commit| commit.tree());
    tree.map_err(|error| cannot_read(&id.to_string(), error))
}

/// Follows files down from the new commit, through all commits between at once.
struct Origins<'r> {
    repository: &'r Repository,
    graph: Graph<'r>,
    between: HashSet<Oid>,
    /// The trees of directories by commit: where they are the same, so are all files in them.
    directories: HashMap<(Oid, PathBuf), Option<Oid>>,
}

impl<'r> Origins<'r> {
    /// The commit that brought each file. `ids` has children before parents. A file that no commit between has
    /// touched differs because the other side touched it: it is not brought.
    fn of<'f>(&mut self, files: &'f [File], new: Oid, ids: &[Oid]) -> Result<Vec<(&'f File, Oid)>> {
        let mut waiting: HashMap<Oid, Vec<&File>> = HashMap::from([(new, files.iter().collect())]);
        let mut found = Vec::new();
        for id in ids {
            for file in waiting.remove(id).unwrap_or_default() {
                match self.step(file, *id)? {
                    Step::On(parent) => waiting.entry(parent).or_default().push(file),
                    Step::Here => found.push((file, *id)),
                    Step::Before => {}
                }
            }
        }
        Ok(found)
    }

    fn step(&mut self, file: &File, id: Oid) -> Result<Step> {
        let parents = self.graph.read(id)?.map_or_else(Vec::new, |raw| raw.parents.clone());
        let (mut known_before, mut all_before) = (false, true);
        for parent in parents {
            let is_between = self.between.contains(&parent);
            all_before &= !is_between;
            if self.has(file, parent, id)? {
                if is_between {
                    return Ok(Step::On(parent));
                }
                known_before = true;
            }
        }
        Ok(if known_before && all_before { Step::Before } else { Step::Here })
    }

    /// Whether a parent has a file as its child has it.
    fn has(&mut self, file: &File, parent: Oid, child: Oid) -> Result<bool> {
        let directory = file.path.parent().unwrap_or(Path::new(""));
        let tree = self.directory(parent, directory)?;
        if tree == self.directory(child, directory)? {
            return Ok(true);
        }
        let (Some(tree), Some(name)) = (tree, file.path.file_name()) else { return Ok(false) };
        let tree = self.repository.find_tree(tree).map_err(|error| cannot_read(&tree.to_string(), error))?;
        let entry = tree.get_name_bytes(name.as_encoded_bytes());
        let entry = entry.filter(|entry| entry.kind() == Some(ObjectType::Blob));
        Ok(entry.is_some_and(|entry| match file.change {
            MigrationChange::Added => true,
            MigrationChange::Changed => {
                let is_link = entry.filemode() == i32::from(FileMode::Link);
                entry.id() == file.content && is_link == file.is_link
            }
        }))
    }

    fn directory(&mut self, id: Oid, path: &Path) -> Result<Option<Oid>> {
        let key = (id, path.to_owned());
        if let Some(known) = self.directories.get(&key) {
            return Ok(*known);
        }
        let root = tree(self.repository, id)?;
        let found = if path.as_os_str().is_empty() {
            Some(root.id())
        } else {
            match root.get_path(path) {
                Ok(entry) => Some(entry.id()).filter(|_| entry.kind() == Some(ObjectType::Tree)),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(cannot_read(&id.to_string(), error)),
            }
        };
        self.directories.insert(key, found);
        Ok(found)
    }
}

/// Where a file came from, as seen from a commit that has it.
enum Step {
    /// This parent has it, too.
    On(Oid),
    /// This commit brought it.
    Here,
    /// It was there before all commits between.
    Before,
}
