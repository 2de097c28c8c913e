//! Rows of the history screen.

use deploy_kit::{
    Deploy,
    model::{Ended, Outcome, Revision, Timestamp, millis},
    report::{HistoryRow, Zone, history_screen},
};

/// The history as a screen, newest first.
#[must_use]
pub fn history(deploys: &[Deploy], now: Timestamp) -> String {
    let rows: Vec<HistoryRow> = deploys.iter().map(history_row).collect();
    history_screen(&rows, now, &Zone::utc())
}

fn history_row(deploy: &Deploy) -> HistoryRow {
    let name = |revision: &Revision| revision.short().to_owned();
    let outcome = deploy.outcome.as_ref();
    HistoryRow {
        deploy: Some(deploy.rollout.clone()),
        at: deploy.started_at,
        who: Some(deploy.actor.clone()),
        from: Some(name(&deploy.from)),
        to: name(&deploy.to),
        took_ms: outcome.map(took_ms),
        end: outcome.map_or("UNFINISHED", Outcome::verdict).to_owned(),
        note: note(deploy),
    }
}

/// The cause, or that rollback would go here.
pub(crate) fn note(deploy: &Deploy) -> String {
    match &deploy.outcome {
        _ if deploy.known_good => "good: rollback goes here".to_owned(),
        Some(outcome) if !matches!(outcome.ended, Ended::Succeeded { .. }) => {
            outcome.cause.as_ref().map_or_else(String::new, |cause| cause.text.clone())
        }
        _ => String::new(),
    }
}

pub(crate) fn took_ms(outcome: &Outcome) -> u64 {
    millis(outcome.ended_at.since(outcome.started_at))
}
