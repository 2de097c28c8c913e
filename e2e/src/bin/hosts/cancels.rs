//! Commands on hosts that are to end: by an abort, and because their deployer was killed.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
    model::Ended,
};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;

use crate::{
    Checked, Tally, expect,
    processes::{descendants, is_alive, pids, signal, until, until_none_is_left_since, until_there_are},
    scene::{BACK, STEP, Scene},
    stage::Stage,
};

/// What nothing may outlive.
const SOON: Duration = Duration::from_secs(2);
/// How long it is waited for what is late.
const PATIENCE: Duration = Duration::from_secs(10);

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
        "without streams",
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

pub(crate) async fn all(stage: &Stage, tally: &Tally, full: bool) {
    let rounds = if full { 10 } else { 1 };
    let mut slowest = [Duration::ZERO; 2];
    for (what, count, text) in SCRIPTS {
        for _ in 0..rounds {
            let took = aborted(stage, (what, count, text)).await;
            measured(tally, &format!("an abort ends a command that is {what}"), took, &mut slowest[0]);
            let took = killed(stage, (what, count, text)).await;
            measured(
                tally,
                &format!("kill -9 of the deployer ends one that is {what}"),
                took,
                &mut slowest[1],
            );
        }
    }
    let took = on_many(stage).await;
    measured(tally, "an abort ends what runs on three hosts at once", took, &mut slowest[0]);
    let [aborts, kills] = slowest.map(|time| time.as_millis());
    println!("nothing was left {aborts} ms after an abort and {kills} ms after kill -9 at the latest");
}

/// What waits for long, beside everything else.
pub(crate) fn start(stage: &Arc<Stage>, tally: &Arc<Tally>) -> JoinHandle<()> {
    let (stage, tally) = (Arc::clone(stage), Arc::clone(tally));
    tokio::spawn(async move {
        tally.count("a successor finds it unknown and does not repeat it", succeeded(&stage).await);
    })
}

fn measured(tally: &Tally, what: &str, took: Result<Duration, BoxError>, slowest: &mut Duration) {
    let result = took.and_then(|took| {
        println!("{what}: {} ms", took.as_millis());
        *slowest = took.max(*slowest);
        expect(took < SOON, took)
    });
    tally.count(what, result);
}

/// Whatever stops its whole group needs a moment for it.
async fn until_it_runs(scene: &Scene, what: &str, count: usize) -> Checked {
    until_there_are(&scene.folder, count).await?;
    if what == "stopped" {
        SystemClock.sleep(Duration::from_millis(600)).await;
    }
    Ok(())
}

async fn aborted(stage: &Stage, (what, count, text): (&str, usize, &str)) -> Result<Duration, BoxError> {
    let scene = Scene::new(stage)?;
    let rollout = scene.roll("web-1", text)?.deploy(Scene::release("new")).start().await?;
    until_it_runs(&scene, what, count).await?;
    let began = SystemClock.elapsed();
    rollout.abort("a test").await?;
    let left = until_none_is_left_since(began, &scene.folder, PATIENCE).await;
    let outcome = rollout.outcome().await?;
    let took = SystemClock.elapsed() - began;
    expect(outcome.ended == Ended::Aborted && scene.read("sign") == "old", &outcome)?;
    // Nothing of it is left: there is nothing to wait for.
    expect(took < PATIENCE, ("the outcome took", took))?;
    left
}

async fn on_many(stage: &Stage) -> Result<Duration, BoxError> {
    let scene = Scene::new(stage)?;
    let hosts = scene.all_at_once(&["web-1", "web-2", "web-3"]);
    let target = scene.target(Scene::step(scene.script(SCRIPTS[2].2), hosts))?;
    let rollout = target.deploy(Scene::release("new")).start().await?;
    until_there_are(&scene.folder, 6).await?;
    let began = SystemClock.elapsed();
    rollout.abort("a test").await?;
    let left = until_none_is_left_since(began, &scene.folder, PATIENCE).await;
    expect(rollout.outcome().await?.ended == Ended::Aborted, "the outcome")?;
    left
}

/// This binary as a deployer, killed while its command runs: when, and what it had started here.
async fn kill_deployer(
    scene: &Scene,
    (what, count, text): (&str, usize, &str),
) -> Result<(Duration, Vec<i32>), BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["deploy", "step"]).arg(&scene.folder).arg(&scene.ssh).arg(text);
    let mut deployer = command.stdin(Stdio::null()).spawn()?;
    let id = i32::try_from(deployer.id())?;
    let begun = until_it_runs(scene, what, count).await;
    // Its ssh goes with it, too.
    let own: Vec<i32> = descendants(id, |_| true).into_iter().filter(|one| *one != id).collect();
    let moment = SystemClock.elapsed();
    signal(id, Signal::SIGKILL);
    let _ = deployer.wait();
    begun?;
    expect(!own.is_empty(), "it has no ssh")?;
    Ok((moment, own))
}

async fn killed(stage: &Stage, script: (&str, usize, &str)) -> Result<Duration, BoxError> {
    let scene = Scene::new(stage)?;
    let (began, own) = kill_deployer(&scene, script).await?;
    let took = until_none_is_left_since(began, &scene.folder, PATIENCE).await?;
    until("the end of its ssh", || own.iter().all(|id| !is_alive(*id))).await?;
    Ok(took)
}

async fn succeeded(stage: &Stage) -> Checked {
    let (_sshd, who) = stage.host("successor").await?;
    let scene = Scene::at(&stage.folder("successor")?, &who.ssh());
    kill_deployer(&scene, SCRIPTS[0]).await?;
    let begun = pids(&scene.folder);
    let target = scene.roll("web-1", SCRIPTS[0].2)?;
    let resumed = target.resume().await?.ok_or("there is nothing to go on with")?;
    let outcome = resumed.outcome().await?;
    let owed = outcome.owed.iter().any(|owed| owed.contains(STEP));
    expect(outcome.ended == BACK && owed && outcome.needs_person(), &outcome)?;
    expect(pids(&scene.folder) == begun && scene.read("sign") == "old", pids(&scene.folder))
}
