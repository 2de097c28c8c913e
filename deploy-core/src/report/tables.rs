//! The tables of `history` and `status`.

use super::{Zone, duration_short, scrub_line, short_commit, words::table};
use crate::model::{Counts, RolloutId, TargetName, Timestamp};

/// One deploy, or one change from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The deploy; none for what others did.
    pub deploy: Option<RolloutId>,
    /// When it began.
    pub at: Timestamp,
    /// Who asked, where that is known.
    pub who: Option<String>,
    /// What served before: a commit or a revision.
    pub from: Option<String>,
    /// What it was to be: a commit or a revision.
    pub to: String,
    /// How long it took; none if it has not ended or was not ours.
    pub took_ms: Option<u64>,
    /// The verdict as the one line has it, `UNFINISHED` or `OUTSIDE`.
    pub end: String,
    /// The cause, or that it is known good.
    pub note: String,
}

/// What one target serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// The target.
    pub target: TargetName,
    /// The commit that serves, where it is known.
    pub commit: Option<String>,
    /// The platform's name of what serves; none if it could not be seen.
    pub revision: Option<String>,
    /// Instances, where they are counted.
    pub counts: Option<Counts>,
    /// Since when it serves.
    pub since: Option<Timestamp>,
    /// Holds, unfinished deploys, open questions.
    pub note: String,
    /// The one line of the last deploy: shown above the table when there is but one target.
    pub line: Option<String>,
}

/// A commit as its first seven characters; a revision's name as it is.
fn short(name: &str) -> &str {
    let is_commit = name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { short_commit(name) } else { name }
}

/// The deploys of a target, in the order of the rows.
#[must_use]
pub fn history_screen(rows: &[HistoryRow], now: Timestamp, zone: &Zone) -> String {
    let heading = ["DEPLOY", "WHEN", "WHO", "FROM -> TO", "TOOK", "END", ""].map(String::from);
    let cells = rows.iter().map(|row| {
        let to = short(&row.to);
        [
            row.deploy.as_ref().map_or_else(String::new, |deploy| deploy.short().to_owned()),
            zone.day_and_minute(row.at, now),
            row.who.clone().unwrap_or_else(|| "?".into()),
            row.from.as_ref().map_or_else(|| to.to_owned(), |from| format!("{} -> {to}", short(from))),
            row.took_ms.map_or_else(|| "-".into(), duration_short),
            row.end.clone(),
            scrub_line(&row.note),
        ]
    });
    table(&std::iter::once(heading).chain(cells).collect::<Vec<_>>(), 2)
}

/// What the targets serve.
#[must_use]
pub fn status_screen(rows: &[StatusRow], now: Timestamp, zone: &Zone) -> String {
    let heading = ["TARGET", "SERVES", "HEALTHY", "SINCE", "NOTE"].map(String::from);
    let cells = rows.iter().map(|row| {
        let names = [row.commit.as_deref().map(short_commit), row.revision.as_deref()];
        let names: Vec<_> = names.into_iter().flatten().collect();
        [
            row.target.to_string(),
            if names.is_empty() { "?".into() } else { names.join("  ") },
            row.counts.map_or_else(|| "-".into(), |counts| format!("{}/{}", counts.healthy, counts.desired)),
            row.since.map_or_else(|| "-".into(), |since| zone.since(since, now)),
            scrub_line(&row.note),
        ]
    });
    let table = table(&std::iter::once(heading).chain(cells).collect::<Vec<_>>(), 2);
    match rows {
        [StatusRow { line: Some(line), .. }] => format!("{}\n{table}", scrub_line(line)),
        _ => table,
    }
}
