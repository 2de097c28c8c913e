//! Real processes, in real time.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    shell::{KEPT_BYTES, LINES_TOLD},
    *,
};
use crate::{clock::SystemClock, error::EffectState};

const LONG: Duration = Duration::from_secs(60);

/// A folder of one test, in which scripts leave the ids of their processes.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pids(&self) -> BTreeSet<u32> {
        let all = std::fs::read_to_string(self.path("pids")).unwrap_or_default();
        all.lines().filter_map(|line| line.parse().ok()).collect()
    }

    async fn until_there_are(&self, count: usize) -> BTreeSet<u32> {
        for _ in 0..200 {
            let pids = self.pids();
            if pids.len() >= count {
                return pids;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?} instead of {count} processes", self.pids());
    }

    /// How long it takes until none of them is left.
    async fn until_none_is_left(&self) -> Duration {
        let began = SystemClock.elapsed();
        for _ in 0..100 {
            if !self.pids().into_iter().any(is_alive) {
                return SystemClock.elapsed() - began;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("still there: {:?}", self.pids().into_iter().filter(|pid| is_alive(*pid)).collect::<Vec<_>>());
    }
}

/// Whether a process exists and has not ended.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

fn job<'a>(command: &'a Command, secrets: &[(&str, &str)]) -> Job<'a> {
    Job {
        name: "test".into(),
        command,
        machine: Machine::Here,
        secrets: secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        keep: true,
    }
}

/// A script in a folder whose variable `$D` names it.
fn script(folder: &Path, text: &str) -> Command {
    Command::shell(text).env("D", folder.to_str().unwrap()).timeout(LONG)
}

async fn run_it(command: &Command) -> (Result<Ended>, Vec<StepLine>) {
    run_with(command, &[], std::future::pending()).await
}

async fn run_with(
    command: &Command,
    secrets: &[(&str, &str)],
    stop: impl Future<Output = ()> + Send,
) -> (Result<Ended>, Vec<StepLine>) {
    let lines = Mutex::new(Vec::new());
    let hear = |line| lines.lock().unwrap().push(line);
    let ended = run(job(command, secrets), &SystemClock, Box::pin(stop), || Ok(()), &hear).await;
    (ended, lines.into_inner().unwrap())
}

#[tokio::test]
async fn lines_and_exit_code() {
    let (ended, lines) = run_it(&Command::shell("echo out; echo; printf 'err\\n\\nlast' >&2; exit 3")).await;
    let ended = ended.unwrap();
    assert_eq!((ended.exit, ended.output.as_str()), (3, "out\n\n"));
    let of = |stream: &str| -> Vec<&str> {
        lines.iter().filter(|line| line.stream == stream).map(|line| line.line.as_str()).collect()
    };
    assert_eq!(of("stdout"), ["out", ""]);
    assert_eq!(of("stderr"), ["err", "", "last"]);
    let failure = ended.failure("publish");
    assert!(failure.starts_with("publish: exit 3: ") && failure.contains("last"), "{failure}");
    let (killed, _) = run_it(&Command::shell("kill -9 $$")).await;
    // Some shells say it, too.
    let failure = killed.unwrap().failure("x");
    assert!(failure == "x: signal 9" || failure == "x: signal 9: Killed", "{failure}");
}

#[tokio::test]
async fn arguments_are_what_they_are() {
    let strange = ["$HOME", "a'b", "x\ny", "", "`id`", "\\", "-n", "ü\"", "*"];
    let (ended, _) = run_it(&Command::new("printf").arg("[%s]").args(strange)).await;
    let expected: String = strange.iter().map(|arg| format!("[{arg}]")).collect();
    assert_eq!(ended.unwrap().output, format!("{expected}\n"));
}

#[tokio::test]
async fn the_environment_is_what_is_named() {
    let command = Command::new("env").env("LEVEL", "a'b\nc").pass("CARGO_PKG_NAME").pass("NO_SUCH_THING");
    let (ended, lines) = run_with(&command, &[("NPM_TOKEN", "hunter2")], std::future::pending()).await;
    let output = ended.unwrap().output;
    let known = |name: &str| output.lines().any(|line| line.starts_with(&format!("{name}=")));
    assert!(known("PATH") && known("NPM_TOKEN"), "{output}");
    assert!(output.contains("LEVEL=a'b\nc\n") && output.contains("CARGO_PKG_NAME=deploy-core"), "{output}");
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok() && !known("CARGO_MANIFEST_DIR"), "{output}");
    let shown = format!("{output} {lines:?}");
    assert!(!shown.contains("hunter2") && shown.contains("NPM_TOKEN=***"), "{shown}");
}

#[tokio::test]
async fn standard_input_is_empty_and_not_the_supervisors() {
    let (ended, _) = run_it(&Command::shell("cat; cat <&3; echo over")).await;
    let output = ended.unwrap().output;
    assert_eq!(output, "over\n");
}

#[tokio::test]
async fn what_does_not_exist_is_not_begun() {
    let folder = Folder::new();
    let missing = [
        Command::new("no-such-program-anywhere"),
        script(folder.0.path(), "echo >> $D/pids").dir("/no/such/directory"),
        Command::new("/etc/passwd/x"),
    ];
    for command in missing {
        let error = run_it(&command).await.0.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NotFound, EffectState::NotApplied), "{error}");
        assert!(error.message().contains("nothing was run"), "{error}");
    }
    let dir = script(folder.0.path(), "pwd").dir(folder.0.path().to_str().unwrap());
    assert_eq!(run_it(&dir).await.0.unwrap().output.trim(), folder.0.path().to_str().unwrap());
}

#[tokio::test]
async fn who_may_not_start_starts_nothing() {
    let folder = Folder::new();
    let command = script(folder.0.path(), "echo $$ >> $D/pids");
    let over = || Err(Error::new(ErrorKind::LeaseLost, "the permit is over"));
    let error = run(job(&command, &[]), &SystemClock, Box::pin(std::future::pending()), over, &|_| {})
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::LeaseLost, EffectState::NotApplied));
    SystemClock.sleep(Duration::from_millis(300)).await;
    assert!(folder.pids().is_empty());
}

/// Ways to be hard to end. Each script leaves so many process ids.
const HARD: [(&str, usize, &str); 7] = [
    (
        "children",
        3,
        "for i in 1 2; do sh -c 'echo $$ >> $D/pids; sleep 600' & done; echo $$ >> $D/pids; wait",
    ),
    (
        "a session of its own",
        2,
        "echo $$ >> $D/pids; setsid sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 600",
    ),
    (
        "a double fork",
        2,
        "echo $$ >> $D/pids; (setsid sh -c '(sh -c \"echo \\$\\$ >> $D/pids; sleep 600\" &) ; exit' &) ; sleep 600",
    ),
    (
        "deaf to SIGTERM",
        2,
        "trap '' TERM HUP INT; echo $$ >> $D/pids; \
         setsid sh -c 'trap \"\" TERM; echo $$ >> $D/pids; while :; do sleep 1; done' & \
         while :; do sleep 1; done",
    ),
    (
        "without pipes",
        2,
        "exec >/dev/null 2>&1 <&-; echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 600",
    ),
    (
        "stopped",
        2,
        "echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 0.3; kill -STOP 0; sleep 600",
    ),
    (
        "multiplying",
        20,
        "for i in 1 2 3 4; do \
         setsid sh -c 'while :; do setsid sh -c \"echo \\$\\$ >> $D/pids; sleep 600\" & sleep 0.1; done' & \
         done; wait",
    ),
];

#[tokio::test]
async fn what_takes_too_long_is_ended_with_all_that_it_started() {
    for (what, count, text) in HARD {
        let folder = Folder::new();
        let command = script(folder.0.path(), text).timeout(Duration::from_millis(1_500));
        let began = SystemClock.elapsed();
        let error = run_it(&command).await.0.unwrap_err();
        let took = SystemClock.elapsed() - began;
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::TimedOut, EffectState::Unknown),
            "{what}: {error}"
        );
        assert!(folder.pids().len() >= count, "{what}: {:?}", folder.pids());
        let left = folder.until_none_is_left().await;
        assert!(left < Duration::from_millis(100), "{what}: some lived {left:?} longer than the run");
        assert!(took < Duration::from_millis(1_500 + 2_500), "{what}: {took:?}");
    }
}

#[tokio::test]
async fn whoever_is_dropped_takes_all_along() {
    for (what, count, text) in HARD {
        let folder = Folder::new();
        let command = script(folder.0.path(), text);
        tokio::select! {
            biased;
            ended = run_it(&command) => panic!("{what}: {:?}", ended.0),
            _ = folder.until_there_are(count) => {}
        }
        let took = folder.until_none_is_left().await;
        assert!(what == "stopped" || took < Duration::from_secs(2), "{what}: {took:?}");
    }
}

#[tokio::test]
async fn whoever_is_stopped_stops_within_two_seconds() {
    let folder = Folder::new();
    let command = script(folder.0.path(), HARD[3].2);
    let stop = async {
        folder.until_there_are(2).await;
    };
    let (ended, _) = run_with(&command, &[], stop).await;
    let error = ended.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Interrupted, EffectState::Unknown));
    assert!(!folder.pids().into_iter().any(is_alive));
}

#[tokio::test]
async fn a_last_word_is_heard() {
    let folder = Folder::new();
    let text = "trap 'echo cleaned up >&2; exit 1' TERM; echo $$ >> $D/pids; while :; do sleep 0.05; done";
    let command = script(folder.0.path(), text).timeout(Duration::from_millis(700));
    let error = run_it(&command).await.0.unwrap_err();
    assert!(error.message().contains("cleaned up"), "{error}");
}

#[tokio::test]
async fn what_a_command_leaves_behind_stays() {
    let folder = Folder::new();
    // A daemon, as a deploying script starts one: it even holds the pipes.
    let text = "echo $$ >> $D/pids; setsid sh -c 'echo $$ >> $D/daemon; exec sleep 600' & \
                sh -c 'echo $$ >> $D/daemon; exec sleep 600' & \
                while [ \"$(wc -l < $D/daemon 2>/dev/null || echo 0)\" -lt 2 ]; do sleep 0.05; done";
    let began = SystemClock.elapsed();
    let (ended, _) = run_it(&script(folder.0.path(), text)).await;
    assert_eq!(ended.unwrap().exit, 0);
    assert!(SystemClock.elapsed() - began < Duration::from_secs(5), "it waited for the daemon");
    SystemClock.sleep(Duration::from_millis(1_500)).await;
    let daemons = std::fs::read_to_string(folder.path("daemon")).unwrap();
    let daemons: Vec<u32> = daemons.lines().map(|line| line.parse().unwrap()).collect();
    let alive: Vec<bool> = daemons.iter().map(|pid| is_alive(*pid)).collect();
    for pid in &daemons {
        let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
    }
    assert_eq!(alive, [true, true]);
}

#[tokio::test]
async fn an_end_that_nobody_saw_is_unknown() {
    let folder = Folder::new();
    // It kills its supervisor: nobody can say what became of it.
    let text = "echo $$ >> $D/pids; echo half done; kill -9 $PPID; sleep 600";
    let error = run_it(&script(folder.0.path(), text)).await.0.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, EffectState::Unknown), "{error}");
    assert!(error.message().contains("was not seen: half done"), "{error}");
    folder.until_none_is_left().await;
}

#[tokio::test]
async fn a_flood_is_read_to_its_end_and_told_in_part() {
    let (ended, lines) = run_it(&Command::shell("yes 0123456789 | head -n 2000000; echo over")).await;
    let ended = ended.unwrap();
    assert!(ended.tail.ends_with("over") && ended.output.len() <= KEPT_BYTES, "{}", ended.tail);
    assert_eq!(lines.len(), LINES_TOLD);
    assert!(lines.last().unwrap().line.contains("not shown"));
}

#[tokio::test]
async fn secrets_never_show() {
    let secrets = [("A_KEY", "correct-horse"), ("PEM", "line-one-of-it\nline-two-of-it\n")];
    let text =
        "echo \"$A_KEY\"; echo \"x${A_KEY}y\" >&2; echo \"$PEM\"; printf '%s' \"$PEM\" | tail -n 1; exit 1";
    let (ended, lines) = run_with(&Command::shell(text), &secrets, std::future::pending()).await;
    let ended = ended.unwrap();
    let shown = format!("{ended:?} {} {lines:?}", ended.failure("x"));
    for part in ["horse", "line-one", "line-two"] {
        assert!(!shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("x***y"), "{shown}");
}
