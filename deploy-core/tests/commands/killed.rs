//! Deployers that are killed or stopped while a command runs: this binary again, as another process.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use deploy_core::{
    Target,
    clock::{Clock, SystemClock},
    model::{Ended, Runner},
    steps::{CommandRunner, CommandStep, CommandUndo, WithSteps},
};

use crate::{
    BACK,
    support::{Folder, Sign, release, script, target},
};

const FOLDER: &str = "DEPLOY_CORE_COMMAND_FOLDER";
const SCRIPT: &str = "DEPLOY_CORE_COMMAND_SCRIPT";
const REPEATABLE: &str = "DEPLOY_CORE_COMMAND_REPEATABLE";

fn place(folder: &Path, sign: Sign, text: &str, repeatable: bool) -> Target {
    let undo = CommandUndo::Compensates(script(folder, "echo undone >> $D/undone"));
    let step = CommandStep::new("long", script(folder, text), undo);
    let step = if repeatable { step.may_be_repeated() } else { step };
    target(folder, WithSteps::new(sign).before(step).runner(Runner::Command, CommandRunner::new()))
}

/// The other process.
#[tokio::test]
#[ignore = "run by the others, in a process of its own"]
async fn the_deployer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (folder, text) = (Path::new(&folder), std::env::var(SCRIPT).unwrap());
    let target = place(folder, Sign::at(folder), &text, std::env::var(REPEATABLE).is_ok());
    let outcome = target.deploy(release("new")).start().await.unwrap().outcome().await;
    panic!("it was to be killed: {outcome:?}");
}

/// Ended when it is dropped.
struct Deployer(Child);

impl Deployer {
    fn start(folder: &Folder, text: &str, repeatable: bool) -> Self {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "killed::the_deployer", "--ignored", "--nocapture"]);
        child.env(FOLDER, folder.path()).env(SCRIPT, text).stdout(Stdio::null()).stderr(Stdio::null());
        if repeatable {
            child.env(REPEATABLE, "1");
        }
        Self(child.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Deployer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Each leaves so many process ids.
const SCRIPTS: [(&str, usize, &str); 6] = [
    ("plain", 2, "echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600'"),
    (
        "a session of its own, and a double fork",
        3,
        "echo $$ >> $D/pids; setsid sh -c 'echo $$ >> $D/pids; sleep 600' & \
         (setsid sh -c '(sh -c \"echo \\$\\$ >> $D/pids; sleep 600\" &) ; exit' &) ; sleep 600",
    ),
    (
        "deaf to signals",
        2,
        "trap '' TERM HUP INT; echo $$ >> $D/pids; \
         setsid sh -c 'trap \"\" TERM HUP INT; echo $$ >> $D/pids; while :; do sleep 1; done' & \
         while :; do sleep 1; done",
    ),
    (
        "without pipes",
        2,
        "exec >/dev/null 2>&1 <&-; echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600'; :",
    ),
    (
        "multiplying",
        12,
        "for i in 1 2 3; do \
         setsid sh -c 'while :; do setsid sh -c \"echo \\$\\$ >> $D/pids; sleep 600\" & sleep 0.1; done' & \
         done; wait",
    ),
    (
        "stopped",
        2,
        "echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 0.3; kill -STOP 0; sleep 600",
    ),
];

#[tokio::test]
async fn kill_9_leaves_nothing_running() {
    for (what, count, text) in SCRIPTS {
        let folder = Folder::new();
        let deployer = Deployer::start(&folder, text, false);
        folder.until_there_are(count).await;
        if what == "stopped" {
            SystemClock.sleep(Duration::from_millis(500)).await;
        }
        deployer.signal("-KILL");
        let took = folder.until_none_is_left(Duration::from_secs(10)).await;
        assert!(took < Duration::from_secs(2), "{what}: {took:?}");
        // And nothing comes after it.
        let pids = folder.pids();
        SystemClock.sleep(Duration::from_millis(300)).await;
        assert_eq!(folder.pids(), pids, "{what}");
    }
}

#[tokio::test]
async fn a_deployer_that_is_stopped_loses_its_command_too() {
    let folder = Folder::new();
    let deployer = Deployer::start(&folder, SCRIPTS[1].2, false);
    folder.until_there_are(3).await;
    deployer.signal("-STOP");
    // What a successor goes by: nothing is left 20 s after its process has stopped.
    let took = folder.until_none_is_left(Duration::from_secs(20)).await;
    assert!(took > Duration::from_secs(5), "{took:?}: it was to be given some time");
}

#[tokio::test]
async fn a_successor_finds_it_unknown_and_does_not_repeat_it() {
    let folder = Folder::new();
    let text = "echo run >> $D/run; echo $$ >> $D/pids; sleep 600";
    let deployer = Deployer::start(&folder, text, false);
    folder.until_there_are(1).await;
    drop(deployer);
    let successor = place(folder.path(), Sign::at(folder.path()), text, false);
    let resumed = successor.resume().await.unwrap().unwrap();
    let outcome = resumed.outcome().await.unwrap();
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    assert!(outcome.owed.iter().any(|owed| owed.contains("long")), "{outcome:?}");
    assert_eq!((folder.lines("run"), folder.lines("undone")), (1, 1));
}

#[tokio::test]
async fn a_successor_repeats_what_may_be_repeated() {
    let folder = Folder::new();
    let text = "echo run >> $D/run; echo $$ >> $D/pids; [ $(wc -l < $D/run) -ge 2 ] || sleep 600";
    let deployer = Deployer::start(&folder, text, true);
    folder.until_there_are(1).await;
    drop(deployer);
    let successor = place(folder.path(), Sign::at(folder.path()), text, true);
    let resumed = successor.resume().await.unwrap().unwrap();
    let outcome = resumed.outcome().await.unwrap();
    assert_eq!(outcome.ended, Ended::Succeeded { changed: true }, "{outcome:?}");
    assert_eq!((folder.lines("run"), folder.read("sign").as_str()), (2, "new"));
}
