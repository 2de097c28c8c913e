//! What a stream of events amounts to: who is old and who is new, the last counts, and which lines are worth
//! showing. Pure: the same events give the same lines, live or replayed.

use litemap::LiteMap;
use serde_json::Value;

use super::message;
use crate::{
    event::{Event, EventKind, PhaseName},
    model::{Component, Counts, Instance, Motion, Observation, RolloutId, StepId, Timestamp},
    report::{Zone, duration_words, end_block, scrub_line},
    state::journal::{Decision, DriverHow, Fact, GuardResult, StepState},
};

pub(super) mod end;
pub(super) mod words;

use end::Tally;

/// After this time without a line, what was shown last is shown again.
const QUIET_MS: u64 = 60_000;

/// What a line is, for those that show some of them otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineKind {
    /// Something happened.
    Happened,
    /// New numbers, or the same ones after a minute.
    Watched,
    /// A step is done.
    Done {
        /// The step.
        step: StepId,
        /// What came of it, where it can be said in a word.
        what: String,
        /// How long it took.
        took_ms: Option<u64>,
    },
    /// A row of the end block. It stands alone, without time and phase.
    End,
    /// The one line: the last of a deploy. It stands alone too.
    OneLine,
}

impl LineKind {
    /// Whether it is shown without time and phase.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        matches!(self, Self::End | Self::OneLine)
    }
}

/// One line worth showing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// When it happened.
    pub at: Timestamp,
    /// What the deploy was doing.
    pub phase: PhaseName,
    /// What kind of line it is.
    pub kind: LineKind,
    /// The text, without time and phase.
    pub text: String,
}

/// One component as it was last seen.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "terminal"), expect(dead_code, reason = "lines need less than a screen"))]
pub(super) struct Watched {
    /// The revision that is wanted.
    pub(super) revision: String,
    pub(super) back: bool,
    pub(super) counts: Option<Counts>,
    pub(super) motion: Motion,
    pub(super) instances: Vec<(Instance, Timestamp)>,
    pub(super) since: Timestamp,
    pub(super) deadline: Option<Timestamp>,
    text: String,
}

/// The folded events of one deploy.
#[derive(Debug, Clone, Default)]
pub struct View {
    zone: Zone,
    /// Short name and platform's name of what served and of what is wanted.
    pub(super) from: Option<(String, String)>,
    pub(super) to: Option<(String, String)>,
    /// The platform names it once a step has made it.
    to_be_made: bool,
    pub(super) platform: String,
    pub(super) phase: Option<PhaseName>,
    pub(super) watched: LiteMap<Component, Watched>,
    checks: LiteMap<String, String>,
    tally: Tally,
    shown_at: Option<Timestamp>,
}

impl View {
    /// A view that has seen nothing. Times inside its lines are shown in this zone.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self { zone, ..Self::default() }
    }

    /// Takes in one event and tells the lines it is worth; often none.
    pub fn see(&mut self, event: &Event) -> Vec<Line> {
        if self.phase.replace(event.phase) != Some(event.phase) {
            // What was watched in one phase says nothing of the next: its first look is a change.
            self.watched.clear();
        }
        let mut lines = match &event.kind {
            EventKind::Progress { seen, revision, deadline, .. } => {
                self.progress(event, seen, revision, *deadline)
            }
            EventKind::Check { check, verdict, data } => self.check(event, check, verdict, data),
            // Of the instances, only those that have something to say; their number is in the counts.
            EventKind::Instance(seen) if seen.reason.is_some() || seen.exit_code.is_some() => happened(event),
            EventKind::Instance(_) | EventKind::Log { .. } => Vec::new(),
            EventKind::Fact(fact) => self.fact(event, fact),
        };
        lines.dedup();
        if !lines.is_empty() {
            self.shown_at = Some(event.at);
        }
        lines
    }

    fn is_quiet(&self, now: Timestamp) -> bool {
        self.shown_at.is_none_or(|shown| now.since(shown).as_millis() >= u128::from(QUIET_MS))
    }

    fn progress(
        &mut self,
        event: &Event,
        seen: &Observation,
        revision: &str,
        deadline: Option<Timestamp>,
    ) -> Vec<Line> {
        let back = event.phase == PhaseName::Back || self.is_from(revision);
        let text = words::watched(back, seen);
        self.tally.look(event.at, back, seen);
        let before = self.watched.remove(&seen.component).filter(|before| before.revision == revision);
        let since = before.as_ref().map_or(event.at, |before| before.since);
        let changed = before.as_ref().is_none_or(|before| before.text != text);
        let instances = seen.instances.iter().map(|instance| {
            let before = before.iter().flat_map(|before| &before.instances);
            let same = before.clone().find(|(old, _)| old.id == instance.id && old.state == instance.state);
            (instance.clone(), same.map_or(event.at, |(_, since)| *since))
        });
        let watched = Watched {
            revision: revision.to_owned(),
            back,
            counts: seen.counts,
            motion: seen.motion.clone(),
            instances: instances.collect(),
            since,
            deadline,
            text: text.clone(),
        };
        self.watched.insert(seen.component.clone(), watched);
        if !changed && !self.is_quiet(event.at) {
            return Vec::new();
        }
        let several = self.watched.len() > 1;
        let text = if several { format!("{}: {text}", seen.component) } else { text };
        vec![line(event, LineKind::Watched, scrub_line(&text))]
    }

    fn is_from(&self, revision: &str) -> bool {
        let is = |side: &Option<(String, String)>| side.as_ref().is_some_and(|(_, name)| name == revision);
        is(&self.from) && !is(&self.to)
    }

    fn check(&mut self, event: &Event, check: &str, verdict: &str, data: &Value) -> Vec<Line> {
        let changed = self.checks.insert(check.to_owned(), verdict.to_owned()).as_deref() != Some(verdict);
        if !changed && !self.is_quiet(event.at) {
            return Vec::new();
        }
        vec![line(event, LineKind::Watched, message::of_check(check, verdict, data))]
    }

    fn fact(&mut self, event: &Event, fact: &Fact) -> Vec<Line> {
        self.tally.fact(event, fact);
        match fact {
            Fact::Started { from, to, platform, .. } => {
                self.from = Some((from.short().to_owned(), from.name.clone()));
                self.to = Some((to.short().to_owned(), to.name.clone()));
                self.to_be_made = to.declared.is_empty();
                self.platform.clone_from(platform);
                happened(event)
            }
            Fact::Planned { to, .. } => {
                self.to = Some((to.short().to_owned(), to.name.clone()));
                self.to_be_made = to.declared.is_empty();
                Vec::new()
            }
            Fact::Guard(finding) if finding.result == GuardResult::Pass => Vec::new(),
            Fact::Driver { how: DriverHow::Began, .. } => Vec::new(),
            Fact::Step { step, state, output, error, took_ms, .. } => match state {
                StepState::Done => {
                    self.made(output.as_ref());
                    let what = output.as_ref().map_or_else(String::new, words::output);
                    let took = took_ms.map_or_else(String::new, |ms| format!(", {}", duration_words(ms)));
                    let text = format!("{step} done{}{what}{took}", if what.is_empty() { "" } else { ": " });
                    vec![line(event, LineKind::Done { step: step.clone(), what, took_ms: *took_ms }, text)]
                }
                StepState::Failed | StepState::Unknown => happened(event),
                _ if error.is_some() => happened(event),
                _ => Vec::new(),
            },
            Fact::Decision { decision: Decision::Bake, .. } => Vec::new(),
            Fact::Check { check, verdict, data } => self.check(event, check, verdict, data),
            Fact::Ended { outcome, .. } => {
                let block = end_block(&self.tally.block(outcome, &self.zone));
                let took = crate::model::millis(outcome.ended_at.since(outcome.started_at));
                let one_line = format!("{}   {}", message::one_line(outcome), duration_words(took));
                let rows = block.lines().map(|text| line(event, LineKind::End, text.to_owned()));
                rows.chain([line(event, LineKind::OneLine, one_line)]).collect()
            }
            _ => happened(event),
        }
    }

    /// What had no name before it was made has one now.
    fn made(&mut self, output: Option<&Value>) {
        let name = output.and_then(|output| output.get("revision")?.get("name")?.as_str());
        if let (true, Some(name), Some((short, whole))) = (self.to_be_made, name, &mut self.to) {
            if short == whole {
                name.clone_into(short);
            }
            name.clone_into(whole);
            self.to_be_made = false;
        }
    }

    /// `serves 4be81d0 + 9f2c1ab, 3/2 healthy`, as far as the looks tell.
    #[cfg(feature = "terminal")]
    pub(super) fn serves(&self) -> Option<String> {
        let ((from, _), (to, _)) = (self.from.as_ref()?, self.to.as_ref()?);
        let [watched] = self.watched.values().collect::<Vec<_>>()[..] else {
            return Some(format!("{from} -> {to}"));
        };
        let counts = watched.counts?;
        let (wanted, other) = if watched.back { (from, to) } else { (to, from) };
        let names = match (counts.healthy > 0, counts.old > 0) {
            (true, true) => format!("{from} + {to}"),
            (true, false) => wanted.clone(),
            (false, true) => other.clone(),
            (false, false) => "nothing".into(),
        };
        let all = counts.healthy.saturating_add(counts.old);
        let all = Counts { healthy: all, ..counts };
        Some(format!("serves {names}, {}", crate::report::healthy(all)))
    }
}

fn line(event: &Event, kind: LineKind, text: String) -> Line {
    Line { at: event.at, phase: event.phase, kind, text }
}

fn happened(event: &Event) -> Vec<Line> {
    vec![line(event, LineKind::Happened, message::message(event))]
}

/// The views of all deploys that one observer is told about.
#[derive(Debug, Clone, Default)]
pub struct Views {
    zone: Zone,
    open: LiteMap<RolloutId, View>,
}

impl Views {
    /// No deploys yet.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self { zone, open: LiteMap::new() }
    }

    /// As [`View::see`]; while several deploys go on at once, each line names its target.
    pub fn see(&mut self, event: &Event) -> Vec<Line> {
        let view = self.open.entry(event.deploy.clone()).or_insert_with(|| View::new(self.zone.clone()));
        let mut lines = view.see(event);
        if self.open.len() > 1 {
            for line in lines.iter_mut().filter(|line| !line.kind.stands_alone()) {
                line.text = format!("{} {}", event.target, line.text);
            }
        }
        if is_last(event) {
            self.open.remove(&event.deploy);
        }
        lines
    }

    /// The deploys that have not ended, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &View> {
        self.open.values()
    }
}

/// Whether no more events of this deploy are to come from this process.
pub(super) fn is_last(event: &Event) -> bool {
    let EventKind::Fact(fact) = &event.kind else { return false };
    matches!(**fact, Fact::Ended { .. } | Fact::Driver { how: DriverHow::HandsOver | DriverHow::Parks, .. })
}

#[cfg(test)]
mod tests;
