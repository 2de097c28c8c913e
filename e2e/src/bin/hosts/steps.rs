//! Commands on hosts: what they say, how they end, what is hidden.

use std::{fs, time::Duration};

use deploy_core::{
    clock::{Clock, SystemClock},
    model::{Ended, SecretRef},
    steps::Command,
};
use nix::sys::signal::Signal;

use crate::{
    Checked, Tally, expect,
    processes::{self, Process, contains, until_there_are},
    scene::{BACK, Scene, cause, deploy, told},
    stage::Stage,
};

const SECRET: &str = "canary'\"$HOME of hosts";
/// A word of a command line, to see that command lines are seen.
const MARKER: &str = "word-of-the-command-line";

pub(crate) async fn all(stage: &Stage, tally: &Tally) {
    tally.count("output of each host reaches the event stream", output(stage).await);
    tally.count("exit codes are told", exits(stage).await);
    tally.count("more output than is shown", flood(stage).await);
    tally.count("all at once is all at once", at_once(stage).await);
    tally.count("a daemon that is left behind stays, and is not waited for", daemon(stage).await);
    tally.count("a host that nobody knows runs nothing", stranger(stage).await);
    tally.count("a secret is in no command line and in no output", secret(stage).await);
}

async fn output(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    let text =
        "echo \"to {app}/{env} $DEPLOY_APP\"; echo careful >&2; printf 'no end'; echo $PPID >> $D/shells";
    let hosts = ["web-1", "web-2", "web-3"];
    let connections = stage.sshd.connections();
    let target = scene.target(Scene::step(scene.script(text), scene.hosts(&hosts)))?;
    let rollout = target.deploy(Scene::release("new")).start().await?;
    let outcome = rollout.outcome().await?;
    expect(outcome.is_success(), &outcome)?;
    let lines = told(&rollout).await;
    for host in hosts {
        for line in ["stdout: to shop/production shop", "stderr: careful", "stdout: no end"] {
            let line = format!("roll on {host} {line}");
            expect(lines.contains(&line), (&line, &lines))?;
        }
    }
    let unsaid = lines.iter().any(|line| line.contains("dk-"));
    expect(!unsaid && scene.lines("shells") == hosts.len(), (&lines, scene.read("shells")))?;
    expect(stage.sshd.connections() - connections <= hosts.len() + 2, "more than a connection for each host")
}

async fn exits(stage: &Stage) -> Checked {
    for (text, says) in [
        ("echo no such tag >&2; exit 1", "exit 1: no such tag"),
        ("exit 3", "exit 3"),
        // What ssh itself says of a connection that broke.
        ("exit 255", "exit 255"),
        ("kill -9 $$", "signal 9"),
        ("no-such-program-at-all", "exit 127"),
    ] {
        let scene = Scene::new(stage)?;
        let text = format!("echo run >> $D/run; {text}");
        let outcome = deploy(&scene.roll("web-1", &text)?, "new").await?;
        let told = cause(&outcome).contains(says) && cause(&outcome).contains("web-1");
        // It failed, and nobody owes the question how it ended.
        expect(outcome.ended == BACK && told && outcome.owed.is_empty(), (says, &outcome))?;
        expect(scene.lines("run") == 1 && scene.read("sign") == "old", scene.read("sign"))?;
    }
    let scene = Scene::new(stage)?;
    for command in [Command::new("no-such-program-at-all"), Command::new("true").dir("/no/such/directory")] {
        let target = scene.target(Scene::step(command, scene.hosts(&["web-1"])))?;
        let outcome = deploy(&target, "new").await?;
        let told = cause(&outcome).contains("nothing was run");
        expect(outcome.ended == BACK && told && outcome.owed.is_empty(), &outcome)?;
    }
    Ok(())
}

async fn flood(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    let text = "i=0; while [ $i -lt 30000 ]; do echo \"line $i of many\"; i=$((i + 1)); done; echo at last >&2; exit 4";
    let target = scene.roll("web-1", text)?;
    let rollout = target.deploy(Scene::release("new")).start().await?;
    let outcome = rollout.outcome().await?;
    expect(outcome.ended == BACK && cause(&outcome).contains("exit 4"), &outcome)?;
    expect(cause(&outcome).contains("line 29999") || cause(&outcome).contains("at last"), cause(&outcome))?;
    let lines = told(&rollout).await;
    let shown = lines.iter().filter(|line| line.starts_with("roll on web-1 stdout: line")).count();
    expect((1000..=10_000).contains(&shown), shown)
}

async fn at_once(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    // Each waits for the others.
    let text = "echo run >> $D/run; while [ $(wc -l < $D/run) -lt 3 ]; do sleep 0.05; done";
    let hosts = scene.all_at_once(&["web-1", "web-2", "web-3"]);
    let outcome = deploy(&scene.target(Scene::step(scene.script(text), hosts))?, "new").await?;
    expect(outcome.is_success() && scene.lines("run") == 3, &outcome)
}

async fn daemon(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    // It holds the streams of the connection.
    let text =
        "setsid sh -c 'echo $$ >> $D/pids; exec sleep 60' & while [ ! -s $D/pids ]; do sleep 0.05; done";
    let began = SystemClock.elapsed();
    let outcome = deploy(&scene.roll("web-1", text)?, "new").await?;
    let took = SystemClock.elapsed() - began;
    let left = processes::left(&scene.folder);
    for id in &left {
        processes::signal(*id, Signal::SIGKILL);
    }
    expect(outcome.is_success() && left.len() == 1 && took < Duration::from_secs(10), (&outcome, left, took))
}

async fn stranger(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    let connections = stage.sshd.connections();
    let outcome = deploy(&scene.roll("stranger", "echo run >> $D/run")?, "new").await?;
    let text = cause(&outcome);
    expect(text.contains("known_hosts") && text.contains("nothing was run"), &outcome)?;
    let tries = stage.sshd.connections() - connections;
    expect(scene.lines("run") == 0 && outcome.owed.is_empty() && tries <= 2, (tries, &outcome))
}

async fn secret(stage: &Stage) -> Checked {
    let scene = Scene::new(stage)?;
    let file = scene.folder.join("token");
    fs::write(&file, SECRET)?;
    let text = format!(
        "echo \"with $TOKEN\"; echo \"err $TOKEN\" >&2; echo $$ >> $D/pids; \
         sh -c 'echo $$ >> $D/pids; while [ ! -e $D/go ]; do sleep 0.05; done' {MARKER}; \
         [ \"$TOKEN\" = \"$(cat $D/token)\" ] && exit 3"
    );
    let command = scene.script(&text).secret("TOKEN", SecretRef::File(file.to_string_lossy().into_owned()));
    let target = scene.target(Scene::step(command, scene.hosts(&["web-1"])))?;
    let rollout = target.deploy(Scene::release("new")).start().await?;
    until_there_are(&scene.folder, 2).await?;
    let (mut marked, mut given) = (0, 0);
    for _ in 0..20 {
        for process in Process::all() {
            let line = process.command_line();
            expect(!contains(&line, "canary"), String::from_utf8_lossy(&line))?;
            marked += u32::from(contains(&line, MARKER));
            given += u32::from(contains(&process.environment(), SECRET));
        }
    }
    fs::write(scene.folder.join("go"), "")?;
    // It was there to be found.
    expect(marked > 0 && given > 0, (marked, given))?;
    let outcome = rollout.outcome().await?;
    expect(outcome.ended == BACK && cause(&outcome).contains("exit 3"), &outcome)?;
    let lines = told(&rollout).await;
    for line in ["roll on web-1 stdout: with ***", "roll on web-1 stderr: err ***"] {
        expect(lines.iter().any(|told| told == line), (line, &lines))?;
    }
    let journal = target.journal(rollout.id().as_str()).await?;
    let all = format!("{lines:?} {outcome:?} {journal:?} {}", stage.sshd.said());
    expect(!all.contains("canary"), &all)?;
    let stored =
        ["state.db", "state.db-wal"].map(|name| fs::read(scene.folder.join(name)).unwrap_or_default());
    let kept = stored.iter().any(|bytes| contains(bytes, "canary"));
    expect(!kept && matches!(outcome.ended, Ended::RolledBack { .. }), "the store has the secret")
}
