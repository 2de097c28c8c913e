//! Real processes, really killed: every journal boundary, random moments, races, aborts from elsewhere.
//!
//! `cargo run -p e2e --bin kills -- --quick|--full [--seed N]`; ends with `RESULT passed=N failed=M`.

mod child;
mod clock;
mod stage;

use std::{os::unix::process::ExitStatusExt, process::ExitCode, sync::atomic::Ordering, time::Duration};

use deploy_core::{
    BoxError,
    clock::{Clock, SeededRandom, SystemClock},
    model::{Timestamp, millis},
};
use stage::{Scene, Stage, said, verdict};

/// How each release has to end, and what must be declared then.
const ENDINGS: [(&str, &str, &str); 2] = [("ok-1", "succeeded", "ok-1"), ("crash-1", "rolled_back", "ok-0")];

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn count(&mut self, what: &str, result: Result<(), BoxError>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                self.failed += 1;
                println!("FAILED {what}: {error}");
            }
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    else {
        return ExitCode::FAILURE;
    };
    if words.first().is_some_and(|word| word == "child") {
        return runtime.block_on(child::run(&words[1..]));
    }
    let full = words.iter().any(|word| word == "--full");
    let seed = words
        .iter()
        .skip_while(|word| *word != "--seed")
        .nth(1)
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let tally = match runtime.block_on(run(full, seed)) {
        Ok(tally) => tally,
        Err(error) => {
            println!("FAILED to run: {error}");
            Tally { passed: 0, failed: 1 }
        }
    };
    let left = stage::LEFT_COUNT.load(Ordering::Relaxed);
    println!(
        "{left} times a process lost its lease to a stall of this machine; each of these deploys was resumed"
    );
    println!("RESULT passed={} failed={}", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(full: bool, seed: u64) -> Result<Tally, BoxError> {
    let (moments, races, aborts) = if full { (200, 200, 20) } else { (20, 20, 6) };
    let random = SeededRandom::new(seed);
    let stage = Stage::set().await?;
    let mut tally = Tally::default();
    let mut usual = Vec::new();
    for (tag, ending, _) in ENDINGS {
        let scene = stage.scene(&format!("usual-{tag}"))?;
        let began = SystemClock.elapsed();
        let output = scene.run_to_the_end(&["deploy", &stage.emulator.image("app", tag)]).await?;
        usual.push(millis(SystemClock.elapsed().saturating_sub(began)));
        let good = verdict(&output).as_deref() == Some(ending);
        tally.count(&format!("undisturbed {tag}"), if good { Ok(()) } else { Err(said(&output).into()) });
    }
    println!("undisturbed: {usual:?} ms of wall time, {} times as fast as real", clock::FACTOR);
    for (tag, ending, declared) in ENDINGS {
        let mut boundaries = 0;
        for number in 1..200 {
            let scene = stage.scene(&format!("write-{number}-{tag}"))?;
            let output = scene.run(&["deploy", &stage.emulator.image("app", tag)], Some(number)).await?;
            if output.status.signal() != Some(9) {
                break;
            }
            boundaries = number;
            let what = format!("{tag} killed after journal write {number}");
            tally.count(&what, goes_on(&stage, &scene, ending, declared).await);
        }
        println!("{tag}: killed after each of {boundaries} writes of the journal");
    }
    for moment in 0..moments {
        let which = usize::try_from(random.below(2)).unwrap_or(0);
        let (tag, ending, declared) = ENDINGS[which];
        let scene = stage.scene(&format!("moment-{moment}"))?;
        let delay = random.below(usual[which] + 100);
        let mut deployer = scene.start(&["deploy", &stage.emulator.image("app", tag)], None)?;
        SystemClock.sleep(Duration::from_millis(delay)).await;
        deployer.kill().await?;
        let what = format!("{tag} killed after {delay} ms (seed {seed}, moment {moment})");
        tally.count(&what, killed_anywhere(&stage, &scene, (tag, ending, declared)).await);
    }
    println!("killed at {moments} random moments");
    for race in 0..races {
        tally.count(&format!("race {race}"), two_race(&stage, race).await);
    }
    println!("{races} races of two processes");
    aborted(&stage, aborts, &mut tally).await?;
    Ok(tally)
}

/// A successor must end where an undisturbed deploy ends, and a third process finds nothing to do.
async fn goes_on(stage: &Stage, scene: &Scene, ending: &str, declared: &str) -> Result<(), BoxError> {
    let output = scene.run_to_the_end(&["resume"]).await?;
    let over = verdict(&output);
    // Killed after the last write: the deploy was over, and nothing was left to resume.
    if over.as_deref().is_some_and(|verdict| verdict != ending)
        || output.status.code().is_none_or(|code| !matches!(code, 0 | 4))
    {
        return Err(format!("expected {ending}: {}", said(&output)).into());
    }
    holds(stage, scene, declared)?;
    let again = scene.run(&["resume"], None).await?;
    if again.status.success() && verdict(&again).is_none() { Ok(()) } else { Err(said(&again).into()) }
}

fn holds(stage: &Stage, scene: &Scene, declared: &str) -> Result<(), BoxError> {
    let (image, steady) = stage.declares(scene)?;
    let wanted = stage.emulator.with(|world| world.image_digest("app", declared));
    let right = image.ends_with(declared) || wanted.is_some_and(|digest| image.ends_with(&digest));
    if right && steady {
        Ok(())
    } else {
        Err(format!("{} declares {image}, steady: {steady}", scene.service).into())
    }
}

/// Killed before its first write, nothing was begun: then the old one still runs.
async fn killed_anywhere(
    stage: &Stage,
    scene: &Scene,
    (tag, ending, declared): (&str, &str, &str),
) -> Result<(), BoxError> {
    let output = scene.run_to_the_end(&["resume"]).await?;
    let over = verdict(&output);
    if over.as_deref().is_some_and(|verdict| verdict != ending)
        || output.status.code().is_none_or(|code| !matches!(code, 0 | 4))
    {
        return Err(format!("expected {ending}: {}", said(&output)).into());
    }
    let before = holds(stage, scene, "ok-0").is_ok();
    if over.is_none() && before && tag.starts_with("ok") {
        return Ok(());
    }
    holds(stage, scene, declared)
}

/// Two deployers at once: each that is told "done" has written once, and nobody else has.
async fn two_race(stage: &Stage, race: u32) -> Result<(), BoxError> {
    let scene = stage.scene(&format!("race-{race}"))?;
    let updates = stage.emulator.counts().of("UpdateService");
    let (first, second) = (stage.emulator.image("app", "ok-1"), stage.emulator.image("app", "ok-2"));
    let one = scene.start(&["deploy", &first], None)?;
    let other = scene.start(&["deploy", &second], None)?;
    let (one, other) = (one.wait_with_output().await?, other.wait_with_output().await?);
    let (one, other) = (scene.to_the_end(one).await?, scene.to_the_end(other).await?);
    let done = [&one, &other].iter().filter(|output| output.status.code() == Some(0)).count();
    let refused = [&one, &other].iter().filter(|output| output.status.code() == Some(3)).count();
    let written = stage.emulator.counts().of("UpdateService") - updates;
    if done == 0 || done + refused != 2 || written != done as u64 {
        return Err(format!(
            "{done} done, {refused} refused, {written} updates: {}\n{}",
            said(&one),
            said(&other)
        )
        .into());
    }
    if done == 1 {
        holds(stage, &scene, if one.status.success() { "ok-1" } else { "ok-2" })?;
    }
    Ok(())
}

/// An abort from another process: while the holder lives, and after it was killed.
async fn aborted(stage: &Stage, aborts: u32, tally: &mut Tally) -> Result<(), BoxError> {
    let mut slowest = 0;
    for number in 0..aborts {
        let living = number % 2 == 0;
        let scene = stage.scene(&format!("abort-{number}"))?;
        let updates = stage.emulator.counts().of("UpdateService");
        let mut holder = scene.start(&["deploy", &stage.emulator.image("app", "slow-1")], None)?;
        while stage.emulator.counts().of("UpdateService") == updates {
            if holder.try_wait()?.is_some() {
                break;
            }
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
        if !living {
            holder.kill().await?;
        }
        let output = scene.run_to_the_end(&["abort"]).await?;
        let result = match (verdict(&output).as_deref(), output.status.code()) {
            (Some("aborted"), Some(6)) => holds(stage, &scene, "ok-0"),
            _ => Err(said(&output).into()),
        };
        if let Some(waited) = obeyed_after(&output) {
            slowest = slowest.max(waited);
        }
        tally.count(&format!("abort {number}, holder {}", if living { "alive" } else { "dead" }), result);
        if living {
            let _ = holder.wait().await;
        }
    }
    println!(
        "{aborts} aborts from another process; obeyed {slowest} ms after sending at the latest (the store's poll is 200 ms)"
    );
    Ok(())
}

/// From sending the abort to its entry in the journal, in the deployers' milliseconds.
fn obeyed_after(output: &std::process::Output) -> Option<u64> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (mut sent, mut obeyed) = (None, None);
    for line in lines {
        match line["type"].as_str() {
            Some("abort_sent") => sent = line["at_ms"].as_i64(),
            Some("command") => obeyed = serde_json::from_value::<Timestamp>(line["at"].clone()).ok(),
            _ => {}
        }
    }
    Some(millis(obeyed?.since(Timestamp::from_millis(sent?))))
}
