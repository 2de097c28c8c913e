//! Hosts that are lost while a command runs there.

use std::{sync::Arc, time::Duration};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use tokio::task::JoinHandle;

use crate::{
    Checked, Tally, expect,
    processes::{until_none_is_left, until_there_are},
    scene::{BACK, STEP, Scene, cause, told},
    sshd::Sshd,
    stage::Stage,
};

/// What a run leaves on a host without a sign of life is ended after 15 s; a successor goes by 20 s.
const SILENT: Duration = Duration::from_secs(20);
const SCRIPT: &str =
    "echo run >> $D/run; echo $$ >> $D/pids; setsid sh -c 'echo $$ >> $D/pids; sleep 600' & sleep 600";

/// What waits for long, beside everything else.
pub(crate) fn start(stage: &Arc<Stage>, tally: &Arc<Tally>) -> JoinHandle<()> {
    let (stage, tally) = (Arc::clone(stage), Arc::clone(tally));
    tokio::spawn(async move {
        let (killed, repeated, frozen) = tokio::join!(killed(&stage), repeated(&stage), frozen(&stage));
        tally.count(
            "an sshd that is killed in the middle of a command: its end is unknown, not repeated",
            killed,
        );
        tally.count("an sshd that is killed, and a command that may be repeated", repeated);
        tally.count("a host that freezes in the middle of a command: its end is unknown", frozen);
    })
}

/// An sshd of its own, and a scene on it.
async fn host(stage: &Stage, name: &str) -> Result<(Sshd, Scene), BoxError> {
    let (sshd, who) = stage.host(name).await?;
    Ok((sshd, Scene::at(&stage.folder(name)?, &who.ssh())))
}

/// The end is told as unknown: not as a failure of the command, and as a question that is owed.
async fn is_unknown(rollout: &deploy_core::Rollout, scene: &Scene) -> Checked {
    let outcome = rollout.outcome().await?;
    let owed = outcome.owed.iter().any(|owed| owed.contains(STEP));
    expect(outcome.ended == BACK && owed && outcome.needs_person(), &outcome)?;
    let text = cause(&outcome);
    expect(text.contains("not known") && !text.contains("failed") && !text.contains("exit "), text)?;
    let all = told(rollout).await;
    expect(all.iter().any(|line| line.contains("Unknown")), &all)?;
    expect(scene.lines("run") == 1 && scene.read("sign") == "old", (scene.read("run"), scene.read("sign")))?;
    println!("a lost host is told as: {}", cause(&outcome));
    Ok(())
}

async fn killed(stage: &Stage) -> Checked {
    let (sshd, scene) = host(stage, "killed").await?;
    let rollout = scene.roll("web-1", SCRIPT)?.deploy(Scene::release("new")).start().await?;
    until_there_are(&scene.folder, 2).await?;
    sshd.kill();
    let left = until_none_is_left(&scene.folder, SILENT).await?;
    println!("nothing was left {} ms after its sshd was killed", left.as_millis());
    expect(left < Duration::from_secs(2), left)?;
    sshd.run().await?;
    is_unknown(&rollout, &scene).await
}

async fn repeated(stage: &Stage) -> Checked {
    let (sshd, scene) = host(stage, "repeated").await?;
    let text = "echo run >> $D/run; [ $(wc -l < $D/run) -ge 2 ] || { echo $$ >> $D/pids; sleep 600; }";
    let step = Scene::step(scene.script(text), scene.hosts(&["web-1"])).may_be_repeated();
    let rollout = scene.target(step)?.deploy(Scene::release("new")).start().await?;
    until_there_are(&scene.folder, 1).await?;
    sshd.kill();
    until_none_is_left(&scene.folder, SILENT).await?;
    sshd.run().await?;
    let outcome = rollout.outcome().await?;
    expect(outcome.is_success() && outcome.owed.is_empty() && scene.lines("run") == 2, &outcome)
}

async fn frozen(stage: &Stage) -> Checked {
    let (sshd, scene) = host(stage, "frozen").await?;
    let rollout = scene.roll("web-1", SCRIPT)?.deploy(Scene::release("new")).start().await?;
    until_there_are(&scene.folder, 2).await?;
    let began = SystemClock.elapsed();
    sshd.freeze();
    let left = until_none_is_left(&scene.folder, SILENT).await?;
    println!("nothing was left {} ms after its host fell silent", left.as_millis());
    let unknown = is_unknown(&rollout, &scene).await;
    println!("and its end was told as unknown after {} ms", (SystemClock.elapsed() - began).as_millis());
    sshd.thaw();
    unknown
}
