//! Waiting for the end of a rollout: the first signal goes back, the second leaves it for `resume`.

use std::{process::ExitCode, time::Duration};

use deploy_kit::{
    Error, Rollout,
    clock::{Clock, SystemClock},
    model::Outcome,
};

/// The exit code of a process that left a deploy which has not ended.
pub(crate) const LEFT: u8 = 7;
/// How long leaving may take: the lease is given back meanwhile. Without that it runs out by itself.
const LEAVING: Duration = Duration::from_secs(5);

/// Ctrl-C and SIGTERM. From its making on they no longer end the process.
#[derive(Debug)]
pub struct Stop {
    #[cfg(unix)]
    signals: [Option<tokio::signal::unix::Signal>; 2],
}

impl Stop {
    /// Starts to listen.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
            Self { signals: kinds.map(|kind| signal(kind).ok()) }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// The next signal, or one that came meanwhile. Cancel safe.
    pub async fn asked(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! {
                () = one(interrupt) => {}
                () = one(terminate) => {}
            }
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(unix)]
async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// How following a rollout ended.
#[derive(Debug)]
pub enum Followed {
    /// The rollout has its outcome.
    Ended(Box<Outcome>),
    /// This process left; it has not ended.
    Left(Error),
}

/// Waits for the end. The first signal goes back; the second leaves it for `resume`, now. Whoever only follows what
/// another process runs leaves it at the first.
pub async fn follow(rollout: &Rollout, stop: &mut Stop, resume: &str) -> Followed {
    let mut asked = 0;
    loop {
        tokio::select! {
            biased;
            outcome = rollout.outcome() => return match outcome {
                Ok(outcome) => Followed::Ended(Box::new(outcome)),
                Err(error) => Followed::Left(error),
            },
            () = stop.asked() => {
                asked += 1;
                if !rollout.is_here() {
                    return Followed::Left(left("another process runs it"));
                }
                if asked == 1 {
                    eprintln!("going back; once more to leave it for `{resume}`");
                    // Not awaited: the second signal must be heard while the first is being recorded.
                    let rollout = rollout.clone();
                    tokio::spawn(async move {
                        if let Err(error) = rollout.abort("Ctrl-C").await {
                            eprintln!("{error}");
                        }
                    });
                } else {
                    return leave(rollout).await;
                }
            }
        }
    }
}

async fn leave(rollout: &Rollout) -> Followed {
    rollout.leave();
    tokio::select! {
        outcome = rollout.outcome() => match outcome {
            Ok(outcome) => Followed::Ended(Box::new(outcome)),
            Err(error) => Followed::Left(error),
        },
        () = SystemClock.sleep(LEAVING) => Followed::Left(left("the state store does not answer")),
    }
}

fn left(why: &str) -> Error {
    Error::new(deploy_kit::ErrorKind::Interrupted, format!("this process left; {why}"))
}

/// As [`follow`], for a program that shows all events already.
///
/// Returns the process's exit code: 0 done, 3 refused, 4 went back, 5 a person is needed, 6 aborted or superseded, 7 this
/// process left.
pub async fn follow_to_the_end(rollout: &Rollout, resume: &str) -> ExitCode {
    match follow(rollout, &mut Stop::new(), resume).await {
        Followed::Ended(outcome) => ExitCode::from(outcome.exit()),
        Followed::Left(error) => {
            eprintln!("UNFINISHED  {}: {error}.  {resume}", rollout.target());
            ExitCode::from(LEFT)
        }
    }
}
