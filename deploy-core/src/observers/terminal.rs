//! A terminal: finished lines stay, and below them a block is redrawn while something is watched.

use std::{fmt, sync::Mutex};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::{
    Line, LineKind, Observer, View, Views, locked,
    message::motion,
    view::{Watched, end::short_id},
};
use crate::{
    event::{Event, PhaseName},
    model::{Counts, Timestamp, millis},
    report::{Zone, duration_words, healthy, scrub, stopwatch},
};

/// How many characters the bar has.
const BAR: usize = 20;
/// How many instances the block shows, two in a row.
const INSTANCES: usize = 6;
/// Where the duration of a finished step ends.
const TOOK: usize = 88;

/// Shows what goes on where someone looks at it.
pub struct Terminal {
    zone: Zone,
    one_line: bool,
    state: Mutex<(Views, ProgressBar)>,
}

impl Terminal {
    /// On standard error, if that is a terminal which can be redrawn.
    #[must_use]
    pub fn stderr() -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() { None } else { Some(Self::on(target)) }
    }

    /// On any target that indicatif can draw on.
    #[must_use]
    pub fn on(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let zone = Zone::utc();
        Self { state: Mutex::new((Views::new(zone.clone()), bar)), zone, one_line: true }
    }

    /// Without the one line: for a program that writes it elsewhere, as its result.
    #[must_use]
    pub fn without_the_one_line(mut self) -> Self {
        self.one_line = false;
        self
    }

    /// With times in another zone.
    #[must_use]
    pub fn in_zone(mut self, zone: Zone) -> Self {
        let bar = locked(&self.state).1.clone();
        self.state = Mutex::new((Views::new(zone.clone()), bar));
        self.zone = zone;
        self
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminal")
    }
}

impl Observer for Terminal {
    fn see(&self, event: &Event) {
        let mut state = locked(&self.state);
        let (views, bar) = &mut *state;
        let mut lines = views.see(event);
        lines.retain(|line| self.one_line || line.kind != LineKind::OneLine);
        let above: Vec<_> = lines.iter().filter_map(|line| above(line, &self.zone)).collect();
        let block: Vec<_> = views.open().flat_map(|view| block(view, event.at)).collect();
        if block.is_empty() {
            bar.finish_and_clear();
        } else if bar.is_finished() {
            bar.reset();
        }
        bar.set_message(block.join("\n"));
        if !above.is_empty() {
            bar.println(above.join("\n"));
        }
    }
}

/// A line as it stands above the block for good; new numbers are in the block.
fn above(line: &Line, zone: &Zone) -> Option<String> {
    match &line.kind {
        LineKind::Watched => None,
        LineKind::End | LineKind::OneLine => Some(line.text.clone()),
        LineKind::Done { step, what, took_ms } => {
            let (step, took) = (step.as_str(), took_ms.map_or_else(String::new, duration_words));
            let row = format!("  done   {step:10}  {what}");
            let gap = TOOK.saturating_sub(row.chars().count() + took.chars().count()).max(2);
            Some(format!("{row}{:gap$}{took}", "").trim_end().to_owned())
        }
        LineKind::Happened => {
            Some(format!("  {:5}  {}  {}", line.phase.word(), zone.clock(line.at), line.text))
        }
    }
}

/// What is redrawn while the deploy watches something; nothing at other times.
fn block(view: &View, now: Timestamp) -> Vec<String> {
    let mut rows = Vec::new();
    let Some(phase) = view.phase.filter(|_| !view.watched.is_empty()) else { return rows };
    let several = view.watched.len() > 1;
    for (component, watched) in &view.watched {
        let mut title = format!("  {:5}  {}", phase.word(), stopwatch(millis(now.since(watched.since))));
        if let Some(deadline) = watched.deadline {
            title += &format!(" of {}", stopwatch(millis(deadline.since(watched.since))));
        }
        if several {
            title += &format!("  {component}");
        }
        rows.push(title);
        rows.extend(sides(view, watched, now));
    }
    let resume = match view.platform.as_str() {
        "" => "resume".into(),
        platform => format!("{platform} resume"),
    };
    let hint = if phase == PhaseName::Back {
        format!("Going back.  Ctrl-C twice: leave it for `{resume}`")
    } else {
        format!("Ctrl-C: go back.  Twice: leave it for `{resume}`")
    };
    rows.push(format!("{}      {hint}", view.serves().unwrap_or_default()).trim_start().to_owned());
    // The block is drawn over itself: a line break or an escape sequence in a platform's word would tear it.
    rows.iter().map(|row| scrub(row)).collect()
}

fn sides(view: &View, watched: &Watched, now: Timestamp) -> Vec<String> {
    let (wanted, other) = if watched.back { ("old", "new") } else { ("new", "old") };
    let name =
        |side: &Option<(String, String)>| side.as_ref().map_or_else(String::new, |(_, name)| name.clone());
    let others = name(if watched.back { &view.to } else { &view.from });
    let wide = watched.revision.chars().count().max(others.chars().count());
    let mut rows = Vec::new();
    let state = match watched.counts {
        Some(counts) => format!("{}  {}", bar(counts), healthy(counts)),
        None => String::new(),
    };
    let motion = motion(&watched.motion, watched.counts.is_some());
    let motion = motion.trim_start_matches("; ");
    rows.push(
        format!("         {wanted}  {:wide$}  {state}  {motion}", watched.revision).trim_end().to_owned(),
    );
    let ours: Vec<_> =
        watched.instances.iter().filter(|(instance, _)| instance.revision == watched.revision).collect();
    for pair in ours[..ours.len().min(INSTANCES)].chunks(2) {
        let cells = pair.iter().map(|(instance, since)| {
            // How long it has been so matters only while it should not stay so.
            let since = duration_words(millis(now.since(*since)));
            let since = if instance.state == "healthy" { String::new() } else { format!(", {since}") };
            format!("{}  {:19}", short_id(&instance.id), format!("{}{since}", instance.state))
        });
        rows.push(format!("              {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned());
    }
    if ours.len() > INSTANCES {
        rows.push(format!("              and {} more", ours.len() - INSTANCES));
    }
    if let Some(counts) = watched.counts.filter(|counts| counts.old > 0) {
        let doing = if watched.back { "left" } else { "running, serving" };
        rows.push(format!("         {other}  {others:wide$}  {} {doing}", counts.old));
    }
    rows
}

/// `==========----------`.
fn bar(counts: Counts) -> String {
    let whole = usize::try_from(counts.desired).unwrap_or(usize::MAX).max(1);
    let part = usize::try_from(counts.healthy).unwrap_or(usize::MAX).min(whole);
    let full = BAR.saturating_mul(part) / whole;
    "=".repeat(full) + &"-".repeat(BAR.saturating_sub(full))
}

#[cfg(test)]
mod tests;
