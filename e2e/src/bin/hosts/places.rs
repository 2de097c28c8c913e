//! A daemon on a host whose deploy, look and way back are commands over ssh.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    sync::Arc,
    time::Duration,
};

use deploy_core::{
    BoxError, Deployer, Result, Target,
    model::{Ended, Outcome, Release, Side},
    state::stores::sqlite::SqliteStore,
    steps::{Command, CommandPlace},
};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;

use crate::{
    Checked, Tally, expect,
    processes::{signal, until, until_none_is_left},
    scene::{BACK, cause},
    stage::Stage,
};

pub(crate) const NAME: &str = "mailer";

/// Sets the daemon to a revision. Once it can be made to hang before that, or after it.
const SET: &str = r#"
cd "$D" || exit 1
echo "$DEPLOY_REVISION" >> writes
if [ -e hang-before ]; then echo $$ >> pids; rm hang-before; sleep 600; fi
echo "$DEPLOY_REVISION" > "next.$$" && mv "next.$$" declared
{ echo "$DEPLOY_REVISION"; grep -vxF -- "$DEPLOY_REVISION" revisions; } > "next.$$"; mv "next.$$" revisions
if [ -e hang-after ]; then echo $$ >> pids; rm hang-after; sleep 600; fi
echo "set to $DEPLOY_REVISION"
"#;

/// Says what it does.
const LOOK: &str = r#"
cd "$D" || exit 1
revision=$(cat declared)
healthy=2 failed=
case $revision in bad*) healthy=0; failed="exit 1, again and again";; esac
list=$(sed 's/.*/"&"/' revisions | paste -sd , -)
printf '{"revision": "%s", "healthy": %s, "wanted": 2, "failed": "%s", "revisions": [%s]}\n' \
  "$revision" "$healthy" "$failed" "$list"
"#;

/// A new one, which runs `ok-0`.
pub(crate) fn daemon(stage: &Stage) -> Result<PathBuf, BoxError> {
    let folder = stage.folder("daemon")?;
    for (name, text) in [("set", SET), ("look", LOOK), ("declared", "ok-0\n"), ("revisions", "ok-0\n")] {
        fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

pub(crate) fn target(folder: &Path, ssh: &Path) -> Target {
    on("web-1", folder, ssh)
}

fn on(host: &str, folder: &Path, ssh: &Path) -> Target {
    let script = |name: &str| {
        let path = folder.join(name);
        Command::new("sh").arg(path.to_string_lossy()).env("D", folder.to_string_lossy())
    };
    let place = CommandPlace::new(NAME, script("set"), script("look"), script("set"))
        .on_with_ssh(host, ssh.to_string_lossy())
        .look_every(Duration::from_millis(200));
    let store = SqliteStore::open(folder.join("state.db")).expect("the folder is ours");
    Deployer::new(store).target("shop", "production", place).bake(Duration::ZERO)
}

/// What the daemon was set to, in order.
pub(crate) fn writes(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("writes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn declared(folder: &Path) -> String {
    fs::read_to_string(folder.join("declared")).unwrap_or_default().trim().to_owned()
}

async fn deploy(target: &Target, revision: &str) -> Result<Outcome, BoxError> {
    let release = Release::of_what_runs().image(NAME, revision);
    Ok(target.deploy(release).start().await?.outcome().await?)
}

async fn life(stage: &Stage) -> Checked {
    let (_sshd, who) = stage.host("life").await?;
    let folder = daemon(stage)?;
    let target = target(&folder, &who.ssh());
    let outcome = deploy(&target, "ok-1").await?;
    expect(outcome.is_success() && declared(&folder) == "ok-1", &outcome)?;
    let outcome = deploy(&target, "bad-1").await?;
    expect(outcome.ended == BACK && outcome.serving.side == Side::Old, &outcome)?;
    expect(cause(&outcome).contains("again and again") && declared(&folder) == "ok-1", &outcome)?;
    let outcome = deploy(&target, "ok-2").await?;
    expect(outcome.is_success(), &outcome)?;
    let outcome = target.rollback().run().await?;
    expect(outcome.is_success() && declared(&folder) == "ok-1", &outcome)?;
    expect(writes(&folder) == ["ok-1", "bad-1", "ok-1", "ok-2", "ok-1"], writes(&folder))?;
    let history = target.history(10).await?;
    let told: Vec<_> =
        history.iter().map(|one| (&*one.to.name, one.rollback, one.outcome.is_some())).collect();
    let expected =
        [("ok-1", true, true), ("ok-2", false, true), ("bad-1", false, true), ("ok-1", false, true)];
    expect(told == expected, &told)?;
    let verdict = history.get(2).and_then(|one| one.outcome.as_ref()).map(Outcome::verdict);
    expect(verdict == Some("ROLLED BACK"), verdict)?;
    let status = target.status().await?;
    expect(status.now.serving.name == "ok-1" && status.unfinished.is_none(), &status)?;
    expect(status.known_good.first().is_some_and(|good| good.name == "ok-1"), &status.known_good)?;
    // Another host is another place.
    let outcome = deploy(&on("web-2", &folder, &who.ssh()), "ok-3").await?;
    expect(outcome.ended == Ended::Refused && declared(&folder) == "ok-1", &outcome)
}

/// What waits for long, beside everything else.
pub(crate) fn start(stage: &Arc<Stage>, tally: &Arc<Tally>) -> JoinHandle<()> {
    let (stage, tally) = (Arc::clone(stage), Arc::clone(tally));
    tokio::spawn(async move {
        let (life, before, after) =
            tokio::join!(life(&stage), resumed(&stage, "hang-before"), resumed(&stage, "hang-after"));
        tally.count("a daemon on a host: deploys, a bad one, history, status, rollback", life);
        tally.count("resume after kill -9 of the deployer, before the daemon was set", before);
        tally.count("resume after kill -9 of the deployer, after the daemon was set", after);
    })
}

async fn resumed(stage: &Stage, hang: &str) -> Checked {
    let (_sshd, who) = stage.host(hang).await?;
    let ssh = who.ssh();
    let folder = daemon(stage)?;
    fs::write(folder.join(hang), "")?;
    let mut command = Process::new(std::env::current_exe()?);
    command.args(["deploy", "daemon"]).arg(&folder).arg(&ssh).arg("ok-1");
    let mut deployer = command.stdin(Stdio::null()).spawn()?;
    let hangs = until("its command", || folder.join("pids").exists() && !folder.join(hang).exists()).await;
    signal(i32::try_from(deployer.id())?, Signal::SIGKILL);
    let _ = deployer.wait();
    hangs?;
    let left = until_none_is_left(&folder, Duration::from_secs(10)).await?;
    expect(left < Duration::from_secs(2), left)?;
    let target = target(&folder, &ssh);
    let unfinished = target.status().await?;
    expect(unfinished.unfinished.is_some() && !unfinished.driven, &unfinished)?;
    let rollout = target.resume().await?.ok_or("there is nothing to go on with")?;
    let outcome = rollout.outcome().await?;
    println!("resumed ({hang}): {outcome}; writes {:?}", writes(&folder));
    expect(outcome.is_success() && declared(&folder) == "ok-1", (&outcome, declared(&folder)))?;
    let history = target.history(10).await?;
    expect(history.len() == 1 && target.status().await?.unfinished.is_none(), &history)?;
    let outcome = deploy(&target, "ok-2").await?;
    expect(outcome.is_success() && declared(&folder) == "ok-2", &outcome)
}
