//! Exact ancestry: two commits paint what they contain in two colours, newest first.
//!
//! Dates only say what is looked at first; no answer rests on them, because clocks of authors are wrong.

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    rc::Rc,
};

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository};

use super::cannot_read;
use crate::error::{Error, ErrorKind, Result};

/// Contained by the first commit (the one that is asked about, the new one).
const LEFT: usize = 1;
/// Contained by the second (the ancestor, the old one).
const RIGHT: usize = 2;
const BOTH: usize = LEFT | RIGHT;

/// Whether the first commit contains the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Yes,
    No,
    /// Both histories are complete and share nothing.
    Unrelated,
    /// History ends too early, here.
    Cut(Oid),
}

/// What matters of a commit.
#[derive(Debug)]
pub(super) struct Raw {
    time: i64,
    pub(super) parents: Vec<Oid>,
    /// Some of its parents are not here.
    cut: bool,
}

/// The commits of a repository, each read once.
pub(super) struct Graph<'r> {
    odb: Odb<'r>,
    shallow: HashSet<Oid>,
    known: HashMap<Oid, Option<Rc<Raw>>>,
}

impl<'r> Graph<'r> {
    pub(super) fn of(repository: &'r Repository) -> Result<Self> {
        let odb = repository.odb().map_err(|error| cannot_read("objects", error))?;
        Ok(Self { odb, shallow: shallow(repository)?, known: HashMap::new() })
    }

    /// `None` if the commit is not in the repository.
    pub(super) fn read(&mut self, id: Oid) -> Result<Option<Rc<Raw>>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let raw = match self.odb.read(id) {
            Ok(object) if object.kind() == ObjectType::Commit => {
                let mut raw = parse(object.data()).ok_or_else(|| {
                    Error::new(ErrorKind::Malformed, format!("commit {id} cannot be understood"))
                        .next("git fsck tells what is damaged")
                })?;
                if self.shallow.contains(&id) {
                    raw.parents.clear();
                    raw.cut = true;
                }
                Some(Rc::new(raw))
            }
            Ok(_) => {
                return Err(Error::new(ErrorKind::Malformed, format!("{id} should be a commit and is not")));
            }
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) => return Err(cannot_read(&id.to_string(), error)),
        };
        self.known.insert(id, raw.clone());
        Ok(raw)
    }

    /// Whether `commit` contains `ancestor`.
    pub(super) fn reach(&mut self, commit: Oid, ancestor: Oid) -> Result<Reach> {
        self.reach_from_any(&[commit], ancestor)
    }

    /// Whether one of the commits contains `ancestor`: as if a merge of them all were asked.
    pub(super) fn reach_from_any(&mut self, commits: &[Oid], ancestor: Oid) -> Result<Reach> {
        let mut paint = Paint::start(self, commits, ancestor)?;
        while paint.colours(ancestor) & LEFT == 0 && !paint.is_settled() {
            paint.step(self)?;
        }
        if paint.colours(ancestor) & LEFT != 0 {
            return Ok(Reach::Yes);
        }
        Ok(paint.verdict())
    }

    /// The commits that only `new` contains, newest first and children before parents; or why that cannot be
    /// known.
    pub(super) fn between(&mut self, old: Oid, new: Oid) -> Result<Result<Vec<Oid>, Reach>> {
        let mut paint = Paint::start(self, &[new], old)?;
        while !paint.is_settled() {
            paint.step(self)?;
        }
        if let doubt @ (Reach::Unrelated | Reach::Cut(_)) = paint.verdict() {
            return Ok(Err(doubt));
        }
        // With wrong dates a commit may have been passed before `old`'s colour came to it from below. If there
        // is one, then the oldest of them has no parent in the list; so only those need a proof.
        for complete in [false, true] {
            if complete {
                while !paint.queue.is_empty() {
                    paint.step(self)?;
                }
            }
            let mut wrong = false;
            for bottom in paint.bottoms(self)? {
                match self.reach(old, bottom)? {
                    Reach::No | Reach::Unrelated => {}
                    Reach::Yes => wrong = true,
                    doubt @ Reach::Cut(_) => return Ok(Err(doubt)),
                }
            }
            if !wrong {
                break;
            }
        }
        paint.list(self).map(Ok)
    }
}

#[derive(Debug, Default)]
struct Node {
    colours: usize,
    queued: bool,
    cut: bool,
}

/// One walk. A commit that both contain cannot lead to one that only the first contains, so the walk ends where
/// the histories meet; what it costs is what they do not share.
struct Paint {
    nodes: HashMap<Oid, Node>,
    queue: BinaryHeap<(i64, Oid)>,
    /// How many commits wait in the queue, and at how many history is cut off, by colour.
    waiting: [usize; 4],
    cut: [usize; 4],
    related: bool,
}

impl Paint {
    fn start(graph: &mut Graph<'_>, left: &[Oid], right: Oid) -> Result<Self> {
        let mut paint = Self {
            nodes: HashMap::new(),
            queue: BinaryHeap::new(),
            waiting: [0; 4],
            cut: [0; 4],
            related: false,
        };
        let left = left.iter().map(|id| (*id, LEFT));
        for (id, colour) in left.chain([(right, RIGHT)]) {
            if !paint.add(graph, id, colour)? {
                return Err(Error::new(ErrorKind::NotFound, format!("commit {id} is not in the repository")));
            }
        }
        Ok(paint)
    }

    fn colours(&self, id: Oid) -> usize {
        self.nodes.get(&id).map_or(0, |node| node.colours)
    }

    /// Gives a commit a colour and lines it up if that is news. False if it is not in the repository.
    fn add(&mut self, graph: &mut Graph<'_>, id: Oid, colours: usize) -> Result<bool> {
        let Some(raw) = graph.read(id)? else { return Ok(false) };
        let node = self.nodes.entry(id).or_default();
        let (before, after) = (node.colours, node.colours | colours);
        if before == after {
            return Ok(true);
        }
        if node.queued {
            self.waiting[before] -= 1;
        } else {
            self.queue.push((raw.time, id));
            node.queued = true;
        }
        self.waiting[after] += 1;
        if node.cut {
            self.cut[before] -= 1;
        }
        if node.cut || raw.cut {
            node.cut = true;
            self.cut[after] += 1;
        }
        node.colours = after;
        self.related |= after == BOTH;
        Ok(true)
    }

    /// Passes the colours of the newest commit in the queue on to its parents.
    fn step(&mut self, graph: &mut Graph<'_>) -> Result<()> {
        let Some((_, id)) = self.queue.pop() else { return Ok(()) };
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        node.queued = false;
        let colours = node.colours;
        self.waiting[colours] -= 1;
        let Some(raw) = graph.read(id)? else { return Ok(()) };
        let mut missing = false;
        for parent in &raw.parents {
            missing |= !self.add(graph, *parent, colours)?;
        }
        if missing
            && let Some(node) = self.nodes.get_mut(&id)
            && !node.cut
        {
            node.cut = true;
            self.cut[node.colours] += 1;
        }
        Ok(())
    }

    /// Nothing that is still to come can change the verdict.
    fn is_settled(&self) -> bool {
        if self.waiting[LEFT] > 0 {
            return false;
        }
        // A cut of the first commit's history does no harm if it turns out to be a cut of both: what was lost
        // there is contained in the second commit. And as long as nothing is shared, something may yet be.
        let open = self.cut[LEFT] > 0 || !self.related && self.waiting[RIGHT] > 0;
        !open || self.queue.is_empty()
    }

    fn verdict(&self) -> Reach {
        if self.cut[LEFT] > 0 {
            return self.first_cut(LEFT);
        }
        match self.related {
            true => Reach::No,
            false if self.cut[RIGHT] > 0 => self.first_cut(RIGHT),
            false => Reach::Unrelated,
        }
    }

    fn first_cut(&self, colours: usize) -> Reach {
        let cuts = self.nodes.iter().filter(|(_, node)| node.cut && node.colours == colours);
        cuts.map(|(id, _)| *id).min().map_or(Reach::Unrelated, Reach::Cut)
    }

    fn is_listed(&self, id: Oid) -> bool {
        self.colours(id) == LEFT
    }

    /// The listed commits without a listed parent.
    fn bottoms(&self, graph: &mut Graph<'_>) -> Result<Vec<Oid>> {
        let mut bottoms = Vec::new();
        for id in self.nodes.keys().filter(|id| self.is_listed(**id)) {
            let raw = graph.read(*id)?;
            if !raw.is_some_and(|raw| raw.parents.iter().any(|parent| self.is_listed(*parent))) {
                bottoms.push(*id);
            }
        }
        Ok(bottoms)
    }

    /// All listed commits: of those whose children are all listed before them, always the newest.
    fn list(&self, graph: &mut Graph<'_>) -> Result<Vec<Oid>> {
        let mut listed = HashMap::new();
        for id in self.nodes.keys().filter(|id| self.is_listed(**id)) {
            listed.extend(graph.read(*id)?.map(|raw| (*id, raw)));
        }
        let mut children: HashMap<Oid, usize> = HashMap::new();
        for parent in listed.values().flat_map(|raw| &raw.parents) {
            *children.entry(*parent).or_default() += 1;
        }
        let tops = listed.iter().filter(|(id, _)| !children.contains_key(id));
        let mut ready: BinaryHeap<(i64, Oid)> = tops.map(|(id, raw)| (raw.time, *id)).collect();
        let mut order = Vec::with_capacity(listed.len());
        while let Some((_, id)) = ready.pop() {
            order.push(id);
            for parent in listed.get(&id).map_or(&[][..], |raw| &raw.parents) {
                let Some(left) = children.get_mut(parent) else { continue };
                *left -= 1;
                if let (0, Some(raw)) = (*left, listed.get(parent)) {
                    ready.push((raw.time, *parent));
                }
            }
        }
        Ok(order)
    }
}

/// Reads the header of a commit object: `libgit2` would mix in grafts.
fn parse(data: &[u8]) -> Option<Raw> {
    let mut parents = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(id) = line.strip_prefix(b"parent ") {
            parents.push(full_id(std::str::from_utf8(id).ok()?)?);
        } else if let Some(who) = line.strip_prefix(b"committer ") {
            // `Name <mail> seconds zone`, or nothing usable after the mail in some old imports.
            let after = who.iter().rposition(|byte| *byte == b'>').map_or(&[][..], |at| &who[at + 1..]);
            let seconds = std::str::from_utf8(after).ok().and_then(|text| text.split_whitespace().next());
            let time = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
            return Some(Raw { time, parents, cut: false });
        } else if line.is_empty() {
            return None;
        }
    }
    None
}

/// `Oid::from_str` alone would fill up a shorter one with zeros.
fn full_id(text: &str) -> Option<Oid> {
    (text.len() == 40).then(|| Oid::from_str(text).ok())?
}

fn shallow_file(repository: &Repository) -> std::path::PathBuf {
    // Linked work trees share it; libgit2 1.9 looks only in their own directory.
    repository.commondir().join("shallow")
}

/// Whether the repository is a shallow clone.
pub(super) fn is_shallow(repository: &Repository) -> bool {
    std::fs::metadata(shallow_file(repository)).is_ok_and(|file| file.len() > 0)
}

fn shallow(repository: &Repository) -> Result<HashSet<Oid>> {
    let path = shallow_file(repository);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => {
            let text = format!("{} cannot be read", path.display());
            return Err(Error::new(ErrorKind::Unexpected, text).because(error));
        }
    };
    let ids = text.lines().filter(|line| !line.is_empty()).map(full_id);
    ids.collect::<Option<_>>().ok_or_else(|| {
        let text = format!("{} is damaged: it should list commit ids", path.display());
        Error::new(ErrorKind::Malformed, text).next("git fetch --unshallow writes it anew")
    })
}
