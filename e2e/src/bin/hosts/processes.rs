//! What runs on this machine, from `/proc`.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process that has not ended.
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
}

impl Process {
    fn read(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
        let name = head.split_once('(')?.1.to_owned();
        (!matches!(state, "Z" | "X")).then_some(Self { id, parent, name })
    }

    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    pub(crate) fn command_line(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default()
    }

    pub(crate) fn environment(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/environ", self.id)).unwrap_or_default()
    }
}

/// A process and what it has started, as far as it is of this kind.
pub(crate) fn descendants(root: i32, is: impl Fn(&Process) -> bool) -> Vec<i32> {
    let (mut tree, all) = (vec![root], Process::all());
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        tree.extend(all.iter().filter(|one| one.parent == parent && is(one)).map(|one| one.id));
        at += 1;
    }
    tree
}

pub(crate) fn is_alive(id: i32) -> bool {
    Process::read(id).is_some()
}

/// Whether bytes contain a text.
pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

pub(crate) fn signal(id: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(id), signal);
}

/// What a command of this folder has started and is still there: whoever has written its id into `pids`, and whoever has the
/// folder as `$D`.
pub(crate) fn left(folder: &Path) -> BTreeSet<i32> {
    let written = pids(folder);
    let variable = format!("D={}", folder.display());
    let has = |process: &Process| {
        process.environment().split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    let all = Process::all().into_iter();
    all.filter(|process| written.contains(&process.id) || has(process)).map(|process| process.id).collect()
}

pub(crate) fn pids(folder: &Path) -> BTreeSet<i32> {
    let text = fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Waits until so many have written their ids.
pub(crate) async fn until_there_are(folder: &Path, count: usize) -> Result<(), BoxError> {
    until("its processes", || pids(folder).len() >= count).await
}

/// How long it takes from now until nothing is left, and nothing comes after it.
pub(crate) async fn until_none_is_left(folder: &Path, patience: Duration) -> Result<Duration, BoxError> {
    until_none_is_left_since(SystemClock.elapsed(), folder, patience).await
}

/// As [`until_none_is_left`], from a moment before.
pub(crate) async fn until_none_is_left_since(
    began: Duration,
    folder: &Path,
    patience: Duration,
) -> Result<Duration, BoxError> {
    let took = loop {
        let (left, took) = (left(folder), SystemClock.elapsed() - began);
        if left.is_empty() {
            break took;
        }
        if took > patience {
            for id in &left {
                signal(*id, Signal::SIGKILL);
            }
            return Err(format!("after {took:?} there is still {left:?}").into());
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    };
    let written = pids(folder);
    SystemClock.sleep(Duration::from_millis(200)).await;
    match (left(folder), pids(folder) == written) {
        (left, true) if left.is_empty() => Ok(took),
        (left, _) => Err(format!("it came back: {left:?}").into()),
    }
}

/// Waits for something, at most 20 s.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) -> Result<(), BoxError> {
    for _ in 0..1000 {
        if is() {
            return Ok(());
        }
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
    Err(format!("waited in vain for {what}").into())
}
