//! The screen of a plan: what runs, what would change, how it would be watched, and the way back.

use std::collections::BTreeMap;

use super::{
    Zone, duration_words, healthy, plural, short_commit,
    words::{table, width},
};
use crate::{
    model::{Change, Counts, Plan, Snapshot, Step, StepKind, Timestamp, Undo, WayBack},
    state::journal::{GuardFinding, GuardResult},
};

/// Asides begin in this column, or three blanks after what they belong to.
const ASIDE: usize = 64;

/// A commit between what runs and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// The commit.
    pub commit: String,
    /// Its author.
    pub author: String,
    /// When it was made.
    pub at: Timestamp,
    /// The first line of its message.
    pub subject: String,
    /// What is special about it: `migration, expand`.
    pub note: String,
}

/// What the screen of a plan shows beside the plan itself.
#[derive(Debug, Clone)]
pub struct PlanScreen {
    /// The plan.
    pub plan: Plan,
    /// When the screen is made.
    pub now: Timestamp,
    /// In which zone times are shown.
    pub zone: Zone,
    /// Where it is, in the platform's words; without it the parts of the identity are listed.
    pub place: Option<String>,
    /// Since when the identity is pinned; none if this would be the first use.
    pub pinned: Option<Timestamp>,
    /// Instances now.
    pub counts: Option<Counts>,
    /// Since when that serves.
    pub since: Option<Timestamp>,
    /// What is known of that: `last known good`.
    pub standing: Option<String>,
    /// What was verified of each container's image: `built from 9f2c1ab, linux/amd64`.
    pub images: BTreeMap<String, String>,
    /// The commits, newest first.
    pub commits: Vec<CommitRow>,
    /// How many migrations they bring.
    pub migrations: usize,
    /// The checks of the bake, by name.
    pub checks: Vec<String>,
    /// What the guards say.
    pub guards: Vec<GuardFinding>,
    /// Show the values of variables.
    pub show_values: bool,
    /// The command that carries it out, without `--plan`.
    pub command: String,
}

impl PlanScreen {
    /// A plan and what it was made from; everything else is not known.
    #[must_use]
    pub fn new(plan: Plan, now: &Snapshot) -> Self {
        let command = format!("{} deploy {}", plan.platform, plan.target);
        Self {
            plan,
            now: now.at,
            zone: Zone::utc(),
            place: None,
            pinned: None,
            counts: now.counts,
            since: None,
            standing: None,
            images: BTreeMap::new(),
            commits: Vec::new(),
            migrations: 0,
            checks: Vec::new(),
            guards: Vec::new(),
            show_values: false,
            command,
        }
    }
}

/// Rows with a name, a text and an aside.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn row(&mut self, name: &str, text: &str, aside: &str) {
        let mut row = format!("  {name:9}  {text}");
        if !aside.is_empty() {
            let gap = ASIDE.saturating_sub(width(&row)).max(3);
            row.push_str(&" ".repeat(gap));
            row.push_str(aside);
        }
        self.0.push_str(row.trim_end());
        self.0.push('\n');
    }

    /// Several lines under one name.
    fn rows<T: AsRef<str>>(&mut self, name: &str, lines: impl IntoIterator<Item = T>) {
        for (at, line) in lines.into_iter().enumerate() {
            self.row(if at == 0 { name } else { "" }, line.as_ref(), "");
        }
    }
}

/// The screen of a plan. Its last line says whether it would be carried out, and by which command.
#[must_use]
pub fn plan_screen(screen: &PlanScreen) -> String {
    let plan = &screen.plan;
    let mut rows = Rows(head(screen));
    here(&mut rows, screen);
    changes(&mut rows, screen);
    commits(&mut rows, screen);
    steps(&mut rows, screen);
    way_back(&mut rows, &plan.way_back);
    rows.rows("note", &plan.notes);
    let mut refused = false;
    for guard in screen.guards.iter().filter(|guard| guard.result != GuardResult::Pass) {
        let refuses = guard.result == GuardResult::Refuse;
        refused |= refuses;
        let text = format!("{}: {}", guard.guard, guard.text);
        rows.rows(if refuses { "refused" } else { "override" }, text.lines());
        rows.rows("next", &guard.next);
    }
    let Rows(text) = rows;
    if refused {
        let counts = screen.counts.map_or_else(String::new, |counts| format!(", {}", healthy(counts)));
        let serves = plan.base.short();
        return format!("{text}REFUSED  {} serves {serves}{counts}. Nothing was changed.\n", plan.target);
    }
    if plan.open {
        return format!("{text}OPEN   What comes first is not made yet.   {}\n", screen.command);
    }
    if !plan.changes_something() {
        return format!("{text}READY  Nothing to change.\n");
    }
    let hash = plan.approval_hash();
    let hash = hash.get(..6).unwrap_or(&hash);
    format!("{text}READY  Nothing refuses this plan.   {} --plan {hash}\n", screen.command)
}

fn head(screen: &PlanScreen) -> String {
    let plan = &screen.plan;
    let mut facts = Vec::new();
    if !screen.commits.is_empty() {
        facts.push(plural(screen.commits.len(), "commit"));
    }
    if screen.migrations > 0 {
        facts.push(plural(screen.migrations, "migration"));
    }
    let line =
        format!("{}   {} -> {}   {}", plan.target, plan.base.short(), plan.to.short(), facts.join(", "));
    line.trim_end().to_owned() + "\n"
}

fn here(rows: &mut Rows, screen: &PlanScreen) {
    let plan = &screen.plan;
    let place = screen.place.clone().unwrap_or_else(|| plan.identity.to_string());
    let pinned = match screen.pinned {
        Some(at) => format!("as pinned {}", screen.zone.day(at, screen.now)),
        None => "not pinned yet".into(),
    };
    rows.row("target", &format!("{} {place}", plan.platform), &pinned);
    let mut serves = vec![plan.base.short()];
    if plan.base.commit.is_some() {
        serves.push(&plan.base.name);
    }
    let since = screen.since.map(|since| duration_words(crate::model::millis(screen.now.since(since))));
    let facts = [screen.counts.map(healthy), since, screen.standing.clone()];
    let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    rows.row("serves", &format!("{}   {facts}", serves.join("  ")), "");
}

fn changes(rows: &mut Rows, screen: &PlanScreen) {
    let parts: Vec<&str> = screen.plan.diff.iter().map(|change| change.part.as_str()).collect();
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        if seen.contains(&part) {
            continue;
        }
        seen.push(part);
        let of_part = screen.plan.diff.iter().filter(|change| change.part == part);
        match part {
            "images" => {
                let cells: Vec<_> = of_part.map(|change| image(change, &screen.images)).collect();
                rows.rows(part, columns(&cells));
            }
            "env" if !screen.show_values => {
                let mut containers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
                for change in of_part {
                    let (container, key) = change.name.split_once(':').unwrap_or(("", &change.name));
                    containers.entry(container).or_default().push(format!("{} {key}", sign(change)));
                }
                for (at, (container, keys)) in containers.into_iter().enumerate() {
                    let text = format!("{container}   {}", keys.join("   "));
                    let (name, aside) =
                        if at == 0 { (part, "values hidden, --show-values") } else { ("", "") };
                    rows.row(name, text.trim_start(), aside);
                }
            }
            _ => rows.rows(part, of_part.map(|change| plain(change, screen.show_values))),
        }
    }
    if let Some(unchanged) = &screen.plan.unchanged {
        rows.row(if seen.contains(&"other") { "" } else { "other" }, &format!("nothing: {unchanged}"), "");
    }
}

fn sign(change: &Change) -> char {
    match (&change.before, &change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    }
}

fn plain(change: &Change, show_values: bool) -> String {
    let name = format!("{} {}", sign(change), change.name);
    if change.hidden && !show_values {
        return name;
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    format!("{name}   {} -> {}", value(&change.before), value(&change.after))
}

fn image(change: &Change, notes: &BTreeMap<String, String>) -> [String; 3] {
    let before = change.before.as_deref().map_or("-", digest);
    let after = change.after.as_deref().map_or("-", digest);
    let note = notes.get(&change.name).cloned().unwrap_or_default();
    [change.name.clone(), format!("{before} -> {after}"), note]
}

/// `sha256:77ab09c1` of a reference by digest; `shop-api:4be81d0` of one by tag, whose registry says nothing new.
fn digest(reference: &str) -> &str {
    if let Some(at) = reference.find("sha256:") {
        return reference.get(at..at + 15).unwrap_or(&reference[at..]);
    }
    let name = reference.rsplit('/').next().unwrap_or(reference);
    match name.split_once(':') {
        Some((before, tag)) if tag.len() == 40 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            name.get(..before.len() + 8).unwrap_or(name)
        }
        _ => name,
    }
}

fn columns<const N: usize>(cells: &[[String; N]]) -> Vec<String> {
    table(cells, 3).lines().map(str::to_owned).collect()
}

fn commits(rows: &mut Rows, screen: &PlanScreen) {
    let wide = screen.commits.iter().map(|row| width(&row.author)).max().unwrap_or(0);
    for (at, row) in screen.commits.iter().enumerate() {
        // The largest unit is enough for an age.
        let age = duration_words(crate::model::millis(screen.now.since(row.at)));
        let age = age.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let text = format!("{}  {:wide$}   {age:6}  {}", short_commit(&row.commit), row.author, row.subject);
        rows.row(if at == 0 { "commits" } else { "" }, &text, &row.note);
    }
}

fn steps(rows: &mut Rows, screen: &PlanScreen) {
    let plan = &screen.plan;
    if plan.open {
        for (at, step) in plan.prepare.iter().enumerate() {
            let limit = format!("limit {}", duration_words(step.deadline_ms));
            rows.row(&format!("{} prepare", at + 1), &step.title, &limit);
        }
        return rows.row("", "then the steps are planned", "");
    }
    for (at, step) in plan.steps.iter().enumerate() {
        let (word, aside) = of_step(step);
        rows.row(&format!("{} {word}", at + 1), &step.title, &aside);
    }
    if plan.bake_ms > 0 {
        let mut text = duration_words(plan.bake_ms);
        if !screen.checks.is_empty() {
            let noun = if screen.checks.len() == 1 { "check" } else { "checks" };
            text += &format!(", {noun} {}", screen.checks.join(", "));
        }
        rows.row(&format!("{} bake", plan.steps.len() + 1), &text, "");
    }
}

fn of_step(step: &Step) -> (&'static str, String) {
    let limit = duration_words(step.deadline_ms);
    match (&step.kind, &step.undo) {
        (StepKind::Effect, Undo::None { reason }) => ("change", format!("cannot be undone: {reason}")),
        (StepKind::Effect, Undo::Barrier { migration }) => ("change", format!("migration {migration}")),
        (StepKind::Effect, _) => ("change", String::new()),
        (StepKind::Await, _) => ("watch", format!("limit {limit}")),
        (StepKind::Gate { late_goes_on, .. }, _) => {
            ("gate", format!("after {limit}: {}", if *late_goes_on { "goes on" } else { "goes back" }))
        }
    }
}

fn way_back(rows: &mut Rows, back: &WayBack) {
    if back.to.is_none() {
        rows.row("way back", &format!("none: {}", back.words), "");
        return;
    }
    let mut aside = vec![plural(back.steps.len(), "call")];
    aside.extend(back.not_restored.iter().cloned());
    if !back.proven {
        aside.push("not proven good".into());
    }
    rows.row("way back", &back.words, &aside.join("; "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_shown_by_what_tells_them_apart() {
        let commit = "4be81d0c5f4be81d0c5f4be81d0c5f4be81d0c5f";
        for (reference, shown) in [
            (format!("registry.example.com/shop-api@sha256:77ab09c1{commit}"), "sha256:77ab09c1"),
            (format!("registry.example.com/shop-api:{commit}"), "shop-api:4be81d0"),
            ("registry.example.com:5000/shop-api:ok-17".to_owned(), "shop-api:ok-17"),
            ("shop-api".to_owned(), "shop-api"),
        ] {
            assert_eq!(digest(&reference), shown);
        }
    }
}
