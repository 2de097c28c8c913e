//! Commands over ssh. The program is a stand-in that keeps what a host does of it: a session of its own, a shell of the
//! login, and the three streams. The real one is in the suite `hosts` of `e2e/`.

use std::time::Duration;

use deploy_core::{
    Target,
    clock::{Clock, SystemClock},
    model::{Ended, Runner, SecretRef},
    steps::{Command, CommandPlace, CommandRunner, CommandStep, CommandUndo, Hosts, WithSteps},
};

use crate::{
    BACK,
    support::{Folder, deploy, release, script},
};

/// The stand-in. What it was called with is kept.
fn ssh(folder: &Folder) -> String {
    let here = folder.path().display();
    let text = format!(
        "echo \"$@\" >> {here}/ssh-args\n\
         while [ \"$1\" != -- ]; do shift; done\n\
         case $2 in\n\
         unknown*) echo 'Host key verification failed.' >&2; exit 255;;\n\
         locked*) echo \"deploy@$2: Permission denied (publickey).\" >&2; exit 255;;\n\
         away*) echo \"ssh: connect to host $2 port 22: Connection refused\" >&2; exit 255;;\n\
         esac\n\
         export HOST=$2\n\
         echo $$ >> {here}/connections\n\
         exec setsid -w sh -c \"$3\""
    );
    folder.program("ssh", &text)
}

/// How often ssh was called.
fn connections(folder: &Folder) -> usize {
    folder.read("ssh-args").matches("BatchMode=yes").count()
}

fn on(folder: &Folder, hosts: Hosts, text: &str) -> Target {
    let reason = CommandUndo::None("nothing does".into());
    let step = CommandStep::new("roll", script(folder.path(), text), reason).on(hosts.ssh(ssh(folder)));
    folder.target(WithSteps::new(folder.sign()).after(step).runner(Runner::Command, CommandRunner::new()))
}

#[tokio::test]
async fn hosts_come_in_order_and_the_first_that_fails_is_the_last() {
    let folder = Folder::new();
    let text = "echo $HOST >> $D/run; [ $HOST != b ] || { echo disk full >&2; exit 3; }";
    let outcome = deploy(&on(&folder, Hosts::in_order(["a", "c"]), text), "new").await;
    assert!(outcome.is_success(), "{outcome:?}");
    let outcome = deploy(&on(&folder, Hosts::in_order(["a", "b", "c"]), text), "newer").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    let cause = outcome.cause.unwrap().text;
    assert!(cause.contains("on b") && cause.contains("exit 3") && cause.contains("disk full"), "{cause}");
    assert_eq!(folder.read("run"), "a\nc\na\nb\n");
    assert_eq!(connections(&folder), 4, "a connection for each host, and no more");
}

#[tokio::test]
async fn all_at_once_is_all() {
    let folder = Folder::new();
    // Each waits for the others.
    let text = "echo $HOST >> $D/run; while [ $(wc -l < $D/run) -lt 3 ]; do sleep 0.05; done; [ $HOST != b ]";
    let outcome = deploy(&on(&folder, Hosts::all_at_once(["a", "b", "c"]), text), "new").await;
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    assert_eq!(folder.lines("run"), 3);
    assert!(outcome.cause.unwrap().text.contains("on b"));
}

#[tokio::test]
async fn nobody_is_asked_and_no_key_is_taken_blindly() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("token"), "correct-horse").unwrap();
    let secret = SecretRef::File(folder.path().join("token").to_string_lossy().into_owned());
    let command =
        script(folder.path(), "[ \"$T\" = correct-horse ] && echo run >> $D/run").secret("T", secret);
    let step =
        CommandStep::new("roll", command, CommandUndo::Restores).on(Hosts::in_order(["a"]).ssh(ssh(&folder)));
    let place = WithSteps::new(folder.sign()).after(step).runner(Runner::Command, CommandRunner::new());
    assert!(deploy(&folder.target(place), "new").await.is_success());
    assert_eq!(folder.lines("run"), 1);
    let args = folder.read("ssh-args");
    for option in ["BatchMode=yes", "StrictHostKeyChecking=yes", "ControlMaster=no", "ControlPath=none"] {
        assert!(args.contains(&format!("-o {option} ")), "{args}");
    }
    assert!(!args.contains("correct-horse"), "a secret is in the command line: {args}");
}

#[tokio::test]
async fn what_was_never_connected_was_never_run() {
    let folder = Folder::new();
    for (host, says) in [("unknown", "known_hosts"), ("locked", "Permission denied"), ("away", "refused")] {
        let outcome = deploy(&on(&folder, Hosts::in_order([host]), "echo run >> $D/run"), host).await;
        assert!(matches!(outcome.ended, Ended::RolledBack { .. }), "{outcome:?}");
        assert!(outcome.owed.is_empty(), "{host}: nothing was run, and it is unknown: {outcome:?}");
        let cause = outcome.cause.unwrap().text;
        assert!(cause.contains(says) && cause.contains("nothing was run"), "{host}: {cause}");
    }
    assert_eq!(folder.lines("run"), 0);
    // One that does not answer is tried again; one that refuses is not.
    assert_eq!(connections(&folder), 1 + 1 + 3);
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_command() {
    let folder = Folder::new();
    let text = "echo $$ >> $D/pids; setsid sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 600";
    let target = on(&folder, Hosts::in_order(["a"]), text);
    let rollout = target.deploy(release("new")).start().await.unwrap();
    folder.until_there_are(2).await;
    let connection = folder.read("connections");
    assert!(std::process::Command::new("kill").args(["-9", connection.trim()]).status().unwrap().success());
    folder.until_none_is_left(Duration::from_secs(5)).await;
    let outcome = rollout.outcome().await.unwrap();
    assert_eq!(outcome.ended, BACK, "{outcome:?}");
    assert!(outcome.owed.iter().any(|owed| owed.contains("roll")), "{outcome:?}");
}

#[tokio::test]
async fn an_abort_ends_the_command_there() {
    let folder = Folder::new();
    let text = "trap '' TERM; echo $$ >> $D/pids; \
                setsid sh -c 'trap \"\" TERM; echo $$ >> $D/pids; while :; do sleep 1; done' & \
                while :; do sleep 1; done";
    let target = on(&folder, Hosts::all_at_once(["a", "b"]), text);
    let rollout = target.deploy(release("new")).start().await.unwrap();
    folder.until_there_are(4).await;
    rollout.abort("wrong hosts").await.unwrap();
    let left = folder.until_none_is_left(Duration::from_secs(5)).await;
    assert!(left < Duration::from_secs(2), "{left:?}");
    let began = SystemClock.elapsed();
    assert_eq!(rollout.outcome().await.unwrap().ended, Ended::Aborted);
    assert!(SystemClock.elapsed() - began < Duration::from_secs(10), "it waited although nothing was left");
}

/// Unlike here, nobody else can wake its group there.
#[tokio::test]
async fn an_abort_ends_what_has_stopped_itself_there() {
    let folder = Folder::new();
    let text = "echo $$ >> $D/pids; sh -c 'echo $$ >> $D/pids; sleep 600' & kill -STOP 0; sleep 600";
    let target = on(&folder, Hosts::in_order(["a"]), text);
    let rollout = target.deploy(release("new")).start().await.unwrap();
    let mut pids = folder.until_there_are(1).await.into_iter();
    let stat = format!("/proc/{}/stat", pids.next().unwrap());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
    rollout.abort("a test").await.unwrap();
    let left = folder.until_none_is_left(Duration::from_secs(5)).await;
    assert!(left < Duration::from_secs(2), "{left:?}");
    assert_eq!(rollout.outcome().await.unwrap().ended, Ended::Aborted);
}

#[tokio::test]
async fn a_daemon_on_a_host_is_a_target_like_any_other() {
    let folder = Folder::new();
    let here = folder.path().display();
    let set = format!("echo \"$DEPLOY_REVISION\" > {here}/$HOST");
    let look =
        format!("printf '{{\"revision\": \"%s\", \"healthy\": true}}' \"$(cat {here}/$HOST 2>/dev/null)\"");
    let place = || {
        CommandPlace::new("mailer", Command::shell(&set), Command::shell(&look), Command::shell(&set))
            .on_with_ssh("web-1", ssh(&folder))
            .look_every(Duration::from_millis(100))
    };
    let target = folder.target(place());
    let commit = |digit: &str| deploy_core::model::Release::commit(digit.repeat(40));
    for digit in ["a", "b"] {
        assert!(target.deploy(commit(digit)).run().await.is_ok());
    }
    assert_eq!(folder.read("web-1").trim(), "b".repeat(40));
    assert!(target.rollback().run().await.is_ok());
    assert_eq!(folder.read("web-1").trim(), "a".repeat(40));
    let history = target.history(10).await.unwrap();
    assert_eq!(history.len(), 3);
    // Another host is another place.
    let other =
        CommandPlace::new("mailer", Command::shell(&set), Command::shell(&look), Command::shell(&set));
    let outcome = folder.target(other.on_with_ssh("web-2", ssh(&folder))).deploy(commit("c")).start().await;
    assert_eq!(outcome.unwrap().outcome().await.unwrap().ended, Ended::Refused);
}
