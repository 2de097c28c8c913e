//! Whether the process that holds a lease still exists: only ever answered on the host where it ran.
//!
//! A holder that is known to be dead need not be waited for. Everything that is not certain is
//! [`Alive::CannotTell`], and then the observer's patience decides, as between machines.

use std::{fmt, fs, path::Path};

use super::head::Holder;
use crate::clock::Random;

/// What can be said about a holder's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alive {
    /// It runs on this host, in this PID namespace.
    Here,
    /// It ran on this host and no longer exists: it will never send anything again.
    Dead,
    /// It runs elsewhere, or what is needed to tell cannot be read.
    CannotTell,
}

/// Tells whether a holder's process still exists.
pub trait Liveness: fmt::Debug + Send + Sync + 'static {
    /// Looks for the process of `holder`. [`Alive::Dead`] only if that is certain.
    ///
    /// Costs some reads of `/proc` at most, never the network; never fails.
    fn of(&self, holder: &Holder) -> Alive;
}

/// Looks into `/proc`. On systems without it (and for holders without a process) it cannot tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcLiveness;

impl Liveness for ProcLiveness {
    fn of(&self, holder: &Holder) -> Alive {
        look(Path::new("/proc"), holder, no_such_process)
    }
}

/// This process as a holder, with a random id of its own: call it once per driver.
///
/// What cannot be read (on systems without `/proc`) stays empty; such a holder is
/// [`Alive::CannotTell`] for everyone. Costs a few reads of `/proc`.
#[must_use]
pub fn current(random: &dyn Random) -> Holder {
    let proc = Path::new("/proc");
    let mut holder = Holder::named(format!("{:016x}{:016x}", random.next(), random.next()));
    holder.host = line(&proc.join("sys/kernel/hostname")).unwrap_or_default();
    holder.pid = std::process::id();
    // All three or none: a holder that is half described must not be compared.
    if let (Some(here), Some(stat)) = (Here::read(proc), stat(proc, holder.pid)) {
        holder.boot = here.boot;
        holder.pid_namespace = here.namespace;
        holder.started = stat.started;
    }
    holder
}

/// What process ids mean here: they can be compared where both parts are equal.
#[derive(Debug, PartialEq, Eq)]
struct Here {
    boot: String,
    namespace: String,
}

impl Here {
    fn read(proc: &Path) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        // A /proc of another PID namespace (the host's, mounted into a container) shows other processes under
        // our numbers; `self` gives it away.
        let own = fs::read_link(proc.join("self")).ok()?;
        if own.to_str()?.parse() != Ok(std::process::id()) {
            return None;
        }
        let mut namespace = link(&proc.join("self/ns/pid"))?;
        // Start times are shown relative to the reader's time namespace, where the kernel has them.
        if let Some(time) = link(&proc.join("self/ns/time")) {
            namespace = format!("{namespace} {time}");
        }
        Some(Self { boot: line(&proc.join("sys/kernel/random/boot_id"))?, namespace })
    }
}

fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn link(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_str()?.to_owned())
}

fn look(proc: &Path, holder: &Holder, gone: impl Fn(u32) -> bool) -> Alive {
    if holder.pid == 0 || holder.started == 0 || holder.boot.is_empty() || holder.pid_namespace.is_empty() {
        return Alive::CannotTell;
    }
    match Here::read(proc) {
        Some(here) if here.boot == holder.boot && here.namespace == holder.pid_namespace => {}
        _ => return Alive::CannotTell,
    }
    match stat(proc, holder.pid) {
        Some(stat) if stat.started != holder.started || stat.is_dead() => Alive::Dead,
        Some(_) => Alive::Here,
        // With `hidepid` the processes of other users have no entry although they live: ask the kernel too.
        None if gone(holder.pid) => Alive::Dead,
        None => Alive::CannotTell,
    }
}

#[cfg(target_os = "linux")]
fn no_such_process(pid: u32) -> bool {
    use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
    // Zero and below name groups of processes.
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    // No signal: only whether it could be sent.
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

#[cfg(not(target_os = "linux"))]
fn no_such_process(_pid: u32) -> bool {
    false
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
    started: u64,
}

impl Stat {
    /// Zombies are dead, but not while other threads of the process go on: they could still send.
    fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    /// Fields 3, 20 and 22. The name in field 2 may hold anything, spaces, parentheses and bytes that are no
    /// UTF-8 included; no later field has a parenthesis, so it ends at the last one.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&text[end + 1..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let threads = fields.nth(16)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        Some(Self { state, threads, started })
    }
}

fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read(proc.join(pid.to_string()).join("stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    fn line_of(name: &str, state: char, threads: u32, started: u64) -> String {
        let between = "1 1 1 0 -1 4194304 102 0 0 0 0 0 0 0 20 0";
        format!("7 ({name}) {state} {between} {threads} 0 {started} 3133440 380 184467")
    }

    #[test]
    fn a_name_cannot_confuse_the_parser() {
        for name in ["sleep", "a b", ") Z 1 1", "((x)", "", ")) R 0 (", "S 1 2\n3"] {
            let stat = Stat::parse(line_of(name, 'S', 4, 9021).as_bytes());
            assert_eq!(stat, Some(Stat { state: b'S', threads: 4, started: 9021 }), "{name:?}");
        }
        let mut bytes = line_of("x", 'R', 1, 5).into_bytes();
        bytes[3] = 0xff;
        assert_eq!(Stat::parse(&bytes).map(|stat| stat.started), Some(5));
        for bad in
            ["", "7", "7 (x", "7 (x)", "7 (x) S 1 2 3", "7 (x) S 1 1 1 0 -1 4 1 0 0 0 0 0 0 0 20 0 x 0 9"]
        {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_zombie_is_dead_unless_other_threads_go_on() {
        let stat = |state, threads| Stat::parse(line_of("x", state, threads, 5).as_bytes()).unwrap();
        assert!(stat('Z', 1).is_dead() && stat('X', 0).is_dead());
        assert!(!stat('Z', 2).is_dead() && !stat('T', 1).is_dead() && !stat('D', 1).is_dead());
    }

    #[test]
    fn ids_are_random_and_a_holder_without_process_cannot_be_told() {
        let random = SeededRandom::new(1);
        let (one, two) = (current(&random), current(&random));
        assert_eq!(one.id.len(), 32);
        assert!(one.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.id, two.id);
        assert_eq!(ProcLiveness.of(&Holder::named("x")), Alive::CannotTell);
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use std::process::{Child, Command, Stdio};

        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        use nix::unistd::Pid;

        use super::*;

        fn holder_of(child: &Child) -> Holder {
            let mut holder = current(&SeededRandom::new(1));
            holder.pid = child.id();
            holder.started = stat(Path::new("/proc"), child.id()).unwrap().started;
            holder
        }

        fn sleeping() -> Child {
            Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
        }

        /// Waits for the end of the child, and leaves it unreaped.
        fn wait_for_zombie(child: &Child) {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        }

        #[test]
        fn this_process_is_here() {
            let holder = current(&SeededRandom::new(1));
            assert_eq!(holder.pid, std::process::id());
            assert!(holder.started > 0 && holder.pid_namespace.starts_with("pid:["), "{holder:?}");
            assert_eq!(holder.boot.len(), 36);
            assert_eq!(ProcLiveness.of(&holder), Alive::Here);
        }

        #[test]
        fn a_child_is_here_then_a_zombie_then_gone() {
            let mut child = sleeping();
            let holder = holder_of(&child);
            assert_eq!(ProcLiveness.of(&holder), Alive::Here);
            child.kill().unwrap();
            wait_for_zombie(&child);
            assert_eq!(stat(Path::new("/proc"), child.id()).map(|stat| stat.state), Some(b'Z'));
            assert_eq!(ProcLiveness.of(&holder), Alive::Dead);
            child.wait().unwrap();
            assert_eq!(ProcLiveness.of(&holder), Alive::Dead);
        }

        #[test]
        fn another_start_time_is_another_process() {
            let mut child = sleeping();
            let mut holder = holder_of(&child);
            holder.started -= 1;
            assert_eq!(ProcLiveness.of(&holder), Alive::Dead);
            child.kill().unwrap();
            child.wait().unwrap();
        }

        #[test]
        fn another_boot_or_namespace_cannot_be_told() {
            let here = current(&SeededRandom::new(1));
            for (boot, namespace) in
                [("other", &*here.pid_namespace), (&*here.boot, "pid:[1]"), ("", ""), ("x", "")]
            {
                // A process id that does not exist here: it must not be taken for dead.
                let holder = Holder {
                    boot: boot.into(),
                    pid_namespace: namespace.into(),
                    pid: 4_194_304,
                    ..here.clone()
                };
                assert_eq!(ProcLiveness.of(&holder), Alive::CannotTell, "{boot} {namespace}");
            }
        }

        #[test]
        fn a_hidden_or_foreign_proc_cannot_be_told() {
            let dir = tempfile::tempdir().unwrap();
            let holder = current(&SeededRandom::new(1));
            // Nothing there at all.
            assert_eq!(look(dir.path(), &holder, |_| true), Alive::CannotTell);
            // The /proc of another namespace, in which we have another number.
            let process = dir.path().join("4194303");
            std::fs::create_dir_all(process.join("ns")).unwrap();
            std::fs::create_dir_all(dir.path().join("sys/kernel/random")).unwrap();
            std::fs::write(dir.path().join("sys/kernel/random/boot_id"), &holder.boot).unwrap();
            for link in ["pid", "time"] {
                let Ok(to) = std::fs::read_link(format!("/proc/self/ns/{link}")) else { continue };
                std::os::unix::fs::symlink(to, process.join("ns").join(link)).unwrap();
            }
            let own = dir.path().join("self");
            std::os::unix::fs::symlink("4194303", &own).unwrap();
            assert_eq!(look(dir.path(), &holder, |_| true), Alive::CannotTell);
            // Our own, but with processes hidden: only the kernel's word makes one dead.
            std::fs::remove_file(&own).unwrap();
            std::fs::rename(&process, dir.path().join(holder.pid.to_string())).unwrap();
            std::os::unix::fs::symlink(holder.pid.to_string(), &own).unwrap();
            assert_eq!(look(dir.path(), &holder, |_| false), Alive::CannotTell);
            assert_eq!(look(dir.path(), &holder, |_| true), Alive::Dead);
        }
    }
}
