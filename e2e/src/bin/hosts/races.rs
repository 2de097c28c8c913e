//! Fetching while somebody pushes, and while the server comes and goes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SeededRandom, SystemClock},
};

use crate::{
    Checked, Tally, expect, fetches,
    remote::{Remote, is_whole},
    stage::Stage,
};

/// Every so many pushes history is written anew.
const ANEW_EVERY: u32 = 7;
/// The pause between two pushes: shorter than a fetch, and two cores are for fetching, too.
const PAUSE_SSH: Duration = Duration::from_millis(100);
const PAUSE_PATH: Duration = Duration::from_millis(20);
/// Every so many rounds begin with an empty clone, and all that is there is looked at.
const EMPTY_EVERY: u32 = 10;

pub(crate) async fn all(stage: &Stage, tally: &Tally, full: bool) {
    let rounds = if full { 500 } else { 50 };
    let by_ssh = |remote: &Remote| stage.url(&remote.bare);
    let by_path = |remote: &Remote| remote.bare.display().to_string();
    tally.count(
        &format!("{rounds} fetches over ssh while somebody pushes"),
        race(stage, by_ssh, rounds, PAUSE_SSH).await,
    );
    tally.count(
        &format!("{rounds} fetches from a path while somebody pushes"),
        race(stage, by_path, rounds, PAUSE_PATH).await,
    );
    let kills = if full { 100 } else { 6 };
    let result = broken_anywhere(stage, kills).await;
    tally.count(&format!("{kills} fetches whose server is killed at any moment"), result);
}

/// Pushes until it is told to stop, and says how often.
struct Pusher {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<u32, String>>>,
}

impl Pusher {
    fn start(remote: &Remote, pause: Duration) -> Self {
        let (remote, stop) = (remote.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut pushes = 0;
            while !stopped.load(Ordering::Relaxed) {
                pushes += 1;
                let done = match pushes % ANEW_EVERY {
                    0 => remote.here(&["commit", "-q", "--amend", "-m", "anew"]).map(drop),
                    _ => remote.commit(&format!("push {pushes}")).map(drop),
                };
                done.and_then(|()| remote.push()).map_err(|error| error.to_string())?;
                std::thread::park_timeout(pause);
            }
            Ok(pushes)
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Result<u32, BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("it has ended already")?;
        Ok(thread.join().map_err(|_| "the pusher panicked")??)
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn race(stage: &Stage, url: impl Fn(&Remote) -> String, rounds: u32, pause: Duration) -> Checked {
    let remote = Remote::make(stage, "raced")?;
    let mut clone = remote.empty_clone(stage, &url(&remote))?;
    let pusher = Pusher::start(&remote, pause);
    let (mut different, mut last) = (0, String::new());
    for round in 0..rounds {
        if round % EMPTY_EVERY == 0 {
            clone = remote.empty_clone(stage, &url(&remote))?;
        }
        let tip = one(stage, &remote, &clone).await.map_err(|error| format!("round {round}: {error}"))?;
        if round % EMPTY_EVERY == EMPTY_EVERY - 1 {
            is_whole(stage, &clone, &tip).map_err(|error| format!("round {round}: {error}"))?;
        }
        different += u32::from(tip != last);
        last = tip;
    }
    let pushes = pusher.end()?;
    println!("{rounds} fetches brought {different} tips of {pushes} pushes");
    expect(different >= rounds / 5, (different, rounds))?;
    let told = stage.operator.fetch(&clone, "main").await?;
    expect(told.tip()? == remote.tip()?, &told)?;
    is_whole(stage, &clone, told.tip()?)
}

/// What it brings was the tip at some moment of the fetch, and is here with all its history.
async fn one(stage: &Stage, remote: &Remote, clone: &Path) -> Result<String, BoxError> {
    let before = remote.tips().len();
    let told = stage.operator.fetch(clone, "main").await?;
    let tip = told.tip()?.to_owned();
    let tips = remote.tips();
    let during = tips.get(before.saturating_sub(1)..).unwrap_or_default();
    // The log is written before the reference moves, and read here without a lock: one before is as good.
    let just_before = before.checked_sub(2).and_then(|index| tips.get(index));
    expect(during.contains(&tip) || just_before == Some(&tip), (&tip, before, tips.len()))?;
    stage.git(clone, &["rev-list", "--objects", "--quiet", &tip])?;
    let here = stage.git(clone, &["rev-parse", "refs/remotes/origin/main"])?;
    expect(here == tip, (here, &tip))?;
    Ok(tip)
}

async fn broken_anywhere(stage: &Stage, kills: u64) -> Checked {
    let remote = fetches::large(stage)?;
    let tip = remote.tip()?;
    let random = SeededRandom::new(kills);
    let (mut broken, mut done) = (0, 0);
    for kill in 0..kills {
        let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
        // A fetch takes about as long.
        let moment = Duration::from_millis(random.below(350));
        let killed = async {
            SystemClock.sleep(moment).await;
            stage.sshd.kill();
        };
        let (told, ()) = tokio::join!(stage.operator.fetch(&clone, "main"), killed);
        stage.sshd.run().await?;
        let told = told?;
        let failed = |error: BoxError| format!("kill {kill} after {moment:?}: {error}");
        if told.tip().is_ok_and(|fetched| fetched == tip) {
            done += 1;
        } else {
            let known = matches!(told.0["kind"].as_str(), Some("Unavailable" | "TimedOut"));
            expect(known && told.0["retry"] == "Always", &told).map_err(failed)?;
            broken += 1;
        }
        stage.git(&clone, &["fsck", "--strict", "--no-progress", "--no-dangling"]).map_err(failed)?;
        let again = stage.operator.fetch(&clone, "main").await?;
        expect(again.tip()? == tip, &again).map_err(failed)?;
        is_whole(stage, &clone, &tip).map_err(failed)?;
    }
    println!("{kills} kills broke {broken} fetches, and came after {done}");
    expect(broken > 0, (broken, done))
}
