//! Rows of the history screen.

use deploy_kit::{
    Deploy,
    model::{Ended, Outcome, Revision, Snapshot, Timestamp, millis},
    report::{HistoryRow, Zone, history_screen},
};

/// The history as a screen, newest first.
#[must_use]
pub fn history(deploys: &[Deploy], now: Timestamp) -> String {
    history_since(deploys, None, now)
}

/// The history with what others did: between two deploys, and between the last one and a look at the place.
pub(crate) fn history_since(deploys: &[Deploy], seen: Option<&Snapshot>, now: Timestamp) -> String {
    let mut rows = Vec::new();
    let serves = match (seen, deploys.first().and_then(|deploy| deploy.outcome.as_ref())) {
        (Some(seen), _) => Some(seen.serving.name.as_str()),
        (None, last) => last.and_then(left),
    };
    let next = deploys.iter().find(|deploy| deploy.known_good && Some(deploy.to.name.as_str()) != serves);
    // What the next newer one found, and how that is called.
    let mut found = seen.map(|seen| (seen.serving.clone(), seen.at, "seen now".to_owned()));
    for deploy in deploys {
        if let (Some((serving, at, when)), Some(outcome)) = (&found, &deploy.outcome)
            && left(outcome).is_some_and(|left| left != serving.name)
        {
            rows.push(outside(serving, *at, when));
        }
        rows.push(history_row(deploy, next.is_some_and(|next| next.rollout == deploy.rollout)));
        let when = format!("seen when {} began", deploy.rollout.short());
        found = Some((deploy.from.clone(), deploy.started_at, when));
    }
    history_screen(&rows, now, &Zone::utc())
}

/// What served at the end of a deploy, where that was seen.
fn left(outcome: &Outcome) -> Option<&str> {
    outcome.serving.revision.as_deref()
}

/// Nobody told when it was changed, or by whom: only when it was noticed.
fn outside(serving: &Revision, at: Timestamp, when: &str) -> HistoryRow {
    HistoryRow {
        deploy: None,
        at,
        who: None,
        from: None,
        to: serving.short().to_owned(),
        took_ms: None,
        end: "OUTSIDE".to_owned(),
        note: format!("changed by others; {when}"),
    }
}

/// The revision's name; if no commit tells what is in it, with the digests of its images.
pub(crate) fn with_digest(revision: &Revision) -> String {
    let short =
        |image: &String| image.strip_prefix("sha256:").and_then(|hex| hex.get(..8)).map(str::to_owned);
    let digests: Vec<String> = revision.images.values().filter_map(short).collect();
    if revision.commit.is_some() || digests.is_empty() {
        return revision.name.clone();
    }
    format!("{}  {}", revision.name, digests.join(" "))
}

fn history_row(deploy: &Deploy, next: bool) -> HistoryRow {
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
        note: if next { "good: rollback goes here".into() } else { note(deploy) },
    }
}

/// The cause, or that it is known good.
pub(crate) fn note(deploy: &Deploy) -> String {
    match &deploy.outcome {
        _ if deploy.known_good => "good".to_owned(),
        Some(outcome) if !matches!(outcome.ended, Ended::Succeeded { .. }) => {
            outcome.cause.as_ref().map_or_else(String::new, |cause| cause.text.clone())
        }
        _ => String::new(),
    }
}

pub(crate) fn took_ms(outcome: &Outcome) -> u64 {
    millis(outcome.ended_at.since(outcome.started_at))
}
