//! The end of a deploy: what happened, what users noticed, what is held, what to do next; and the one line.

use super::{Zone, healthy, plural, short_commit};
use crate::model::{Serving, TargetName, Timestamp};

/// The rows above the one line. An empty row is not shown; a row of several lines shows them under each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndBlock {
    /// What was wrong, in one line.
    pub fault: Option<String>,
    /// The last log lines of the instance that decided: `instance  time  line`, scrubbed.
    pub log: Vec<String>,
    /// What users noticed.
    pub users: Option<String>,
    /// When it began, when it was decided, when the old ones were alone again.
    pub time: Option<String>,
    /// What is held from now on.
    pub held: Vec<String>,
    /// Open questions.
    pub owed: Vec<String>,
    /// Commands worth running.
    pub next: Vec<String>,
}

/// The rows above the one line.
#[must_use]
pub fn end_block(block: &EndBlock) -> String {
    let one = |row: &Option<String>| row.clone().into_iter().collect::<Vec<_>>();
    let rows = [
        ("fault", one(&block.fault)),
        ("log", block.log.clone()),
        ("users", one(&block.users)),
        ("time", one(&block.time)),
        ("held", block.held.clone()),
        ("owed", block.owed.clone()),
        ("next", block.next.clone()),
    ];
    let mut text = String::new();
    for (name, lines) in rows {
        for (at, line) in lines.iter().flat_map(|line| line.lines()).enumerate() {
            text.push_str(format!("  {:5}  {line}", if at == 0 { name } else { "" }).trim_end());
            text.push('\n');
        }
    }
    text
}

/// What a row says about held commits: from which to which, and how many.
#[must_use]
pub fn held_row(first: &str, last: &str, commits: usize) -> String {
    let (first, last) = (short_commit(first), short_commit(last));
    if commits <= 1 {
        return format!("{last}: no deploy with it until it is reverted");
    }
    let range = format!("{first}..{last}, {}", plural(commits, "commit"));
    format!("{range}: no deploy with them until the bad one is reverted or named")
}

fn counted(serving: &Serving) -> String {
    serving.counts.map_or_else(String::new, |counts| format!(", {}", healthy(counts)))
}

/// The one line of a deploy that is back where it was, while an unanswered call may still arrive.
#[must_use]
pub fn restored_line(
    target: &TargetName,
    serving: &Serving,
    final_after: Timestamp,
    open_calls: usize,
    zone: &Zone,
) -> String {
    let open = match open_calls {
        0 => "no call is unanswered".to_owned(),
        1 => "one call is unanswered".to_owned(),
        calls => format!("{calls} calls are unanswered"),
    };
    let (serves, counts) = (serving.short(), counted(serving));
    format!("RESTORED  {target} serves {serves} again{counts}. Final at {}: {open}.", zone.clock(final_after))
}

/// The one line of a process that leaves before the deploy has ended. `serves` names every revision that does.
#[must_use]
pub fn unfinished_line(target: &TargetName, serves: &[String], resume: &str) -> String {
    let serves = if serves.is_empty() { String::new() } else { format!(" serves {}", serves.join(" + ")) };
    format!("UNFINISHED  {target}{serves}. This process left: {resume}")
}
