//! Git remotes and hosts that are real: repositories made by git behind a real sshd, and commands on hosts over ssh.
//!
//! `cargo run -p e2e --bin hosts -- --quick|--full`, with `sshd`, `ssh`, `ssh-agent`, `ssh-keygen` and `git`, as whoever may
//! log in to this machine with a key. Starts its own sshd and agents on loopback, with keys, known hosts and
//! configurations of their own, and ends them. `--full` adds rounds. It starts itself as the deployers that are killed, and
//! for each fetch with the home of somebody else. Ends with `RESULT passed=N failed=M`, or with `MISSING what`.

mod cancels;
mod child;
mod commits;
mod fetches;
mod http;
mod lost;
mod person;
mod places;
mod processes;
mod races;
mod remote;
mod scene;
mod sshd;
mod stage;
mod steps;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};
use stage::Stage;

/// What a part found: nothing, or what is wrong.
type Checked = Result<(), BoxError>;

struct Tally {
    began: Duration,
    passed: AtomicU32,
    failed: AtomicU32,
}

impl Tally {
    fn new() -> Self {
        Self { began: SystemClock.elapsed(), passed: AtomicU32::default(), failed: AtomicU32::default() }
    }

    fn count(&self, what: &str, result: Checked) {
        let at = SystemClock.elapsed().saturating_sub(self.began).as_secs_f32();
        match result {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                println!("ok {what} ({at:.1} s)");
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                println!("FAILED {what} ({at:.1} s): {error}");
            }
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((what, more)) if what == "fetch" => child::fetch(more).await,
        Some((what, more)) if what == "deploy" => child::deploy(more).await,
        _ => suite(words.iter().any(|word| word == "--full")).await,
    }
}

async fn suite(full: bool) -> ExitCode {
    let tally = Arc::new(Tally::new());
    let stage = match Stage::set().await {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            println!("MISSING {error}");
            return ExitCode::SUCCESS;
        }
    };
    // What waits for tens of seconds, each with an sshd of its own.
    let waiting = [lost::start, places::start, cancels::start].map(|start| start(&stage, &tally));
    fetches::all(&stage, &tally).await;
    races::all(&stage, &tally, full).await;
    http::all(&stage, &tally).await;
    commits::all(&stage, &tally).await;
    steps::all(&stage, &tally).await;
    cancels::all(&stage, &tally, full).await;
    for task in waiting {
        if let Err(error) = task.await {
            tally.count("a part of it", Err(error.into()));
        }
    }
    let (passed, failed) = (tally.passed.load(Ordering::Relaxed), tally.failed.load(Ordering::Relaxed));
    println!("RESULT passed={passed} failed={failed}");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What has to be true, and what was seen.
fn expect(good: bool, seen: impl std::fmt::Debug) -> Checked {
    if good { Ok(()) } else { Err(format!("{seen:?}").into()) }
}
