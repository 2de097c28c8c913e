//! What the example programs share: following a rollout with Ctrl-C, and the history screen.

use std::process::ExitCode;

use deploy_kit::{
    Deploy, Rollout,
    model::{Ended, Timestamp, millis},
    report::{HistoryRow, Zone, history_screen},
};

/// The exit code of a process that left a deploy which has not ended.
const LEFT: u8 = 7;

/// Waits for the end. The first Ctrl-C or SIGTERM goes back; the second leaves it for `resume`.
///
/// Returns the process's exit code: 0 done, 3 refused, 4 went back, 5 a person is needed, 6 aborted or superseded, 7 this
/// process left.
pub async fn follow_to_the_end(rollout: &Rollout, resume: &str) -> ExitCode {
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            outcome = rollout.outcome() => return match outcome {
                Ok(outcome) => ExitCode::from(outcome.exit()),
                Err(error) => {
                    eprintln!("UNFINISHED       {}: {error}.  {resume}", rollout.target());
                    ExitCode::from(LEFT)
                }
            },
            () = stop_signal() => {
                if asked {
                    rollout.leave();
                } else {
                    asked = true;
                    eprintln!("going back; once more to leave it for `{resume}`");
                    if let Err(error) = rollout.abort("Ctrl-C").await {
                        eprintln!("{error}");
                    }
                }
            }
        }
    }
}

async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// The history as a screen, newest first.
#[must_use]
pub fn history(deploys: &[Deploy], now: Timestamp) -> String {
    let rows: Vec<HistoryRow> = deploys.iter().map(history_row).collect();
    history_screen(&rows, now, &Zone::utc())
}

fn history_row(deploy: &Deploy) -> HistoryRow {
    let outcome = deploy.outcome.as_ref();
    let note = match outcome {
        _ if deploy.known_good => "good: rollback goes here".to_owned(),
        Some(outcome) if !matches!(outcome.ended, Ended::Succeeded { .. }) => {
            outcome.cause.as_ref().map_or_else(String::new, |cause| cause.text.clone())
        }
        _ => String::new(),
    };
    let name = |revision: &deploy_kit::model::Revision| revision.short().to_owned();
    HistoryRow {
        deploy: Some(deploy.rollout.clone()),
        at: deploy.started_at,
        who: Some(deploy.actor.clone()),
        from: Some(name(&deploy.from)),
        to: name(&deploy.to),
        took_ms: outcome.map(|outcome| millis(outcome.ended_at.since(outcome.started_at))),
        end: outcome.map_or("UNFINISHED", |outcome| outcome.verdict()).to_owned(),
        note,
    }
}
