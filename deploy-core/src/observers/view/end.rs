//! What the end block tells, gathered while the events go by.

use crate::{
    event::Event,
    model::{Cause, Ended, FaultClass, Motion, Observation, Outcome, Timestamp},
    report::{EndBlock, Zone, held_row, scrub_line, scrub_lines},
    state::journal::{Decision, Fact},
};

/// So many log lines are shown.
const LOG_LINES: usize = 3;
/// An instance's id is shown this short where it is a long hexadecimal number.
const ID: usize = 6;

/// The lines that say what went wrong: from the first one that calls itself an error, else the last ones.
fn telling(log: Vec<String>) -> Vec<String> {
    let words = ["error", "panic", "exception", "fatal"];
    let tells = |line: &String| {
        let line = line.to_lowercase();
        words.iter().any(|word| line.contains(word))
    };
    let from = log.iter().position(tells).unwrap_or(log.len().saturating_sub(LOG_LINES));
    log.into_iter().skip(from).take(LOG_LINES).collect()
}

/// The first characters of an id that nobody reads as a whole.
pub(in crate::observers) fn short_id(id: &str) -> &str {
    let long_number = id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if long_number { &id[..ID] } else { id }
}

#[derive(Debug, Clone)]
struct Fault {
    seq: Option<u64>,
    class: FaultClass,
    text: String,
    log: Vec<String>,
}

/// The fewest that were seen, and when.
type Fewest = Option<(u32, Timestamp)>;

#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    faults: Vec<Fault>,
    decided: Option<(Timestamp, Option<Cause>)>,
    alone: Option<Timestamp>,
    old: Fewest,
    all: Fewest,
    saw_old: bool,
    held: Vec<String>,
}

fn lower(fewest: &mut Fewest, count: u32, at: Timestamp) {
    if fewest.is_none_or(|(before, _)| count < before) {
        *fewest = Some((count, at));
    }
}

impl Tally {
    pub(super) fn look(&mut self, at: Timestamp, back: bool, seen: &Observation) {
        if back && self.decided.is_some() && self.alone.is_none() && seen.motion == Motion::Done {
            self.alone = Some(at);
        }
        let Some(counts) = seen.counts else { return };
        let old = if back { counts.healthy } else { counts.old };
        self.saw_old |= old > 0;
        lower(&mut self.old, old, at);
        lower(&mut self.all, counts.healthy.saturating_add(counts.old), at);
    }

    pub(super) fn fact(&mut self, event: &Event, fact: &Fact) {
        match fact {
            Fact::Fault { class, text, log, instances, .. } => {
                // Whose lines they are: the first instance that showed it.
                let whose = instances
                    .first()
                    .map_or_else(String::new, |instance| format!("{}  ", short_id(&instance.id)));
                let log = telling(scrub_lines(log)).iter().map(|line| format!("{whose}{line}")).collect();
                self.faults.push(Fault { seq: event.seq, class: *class, text: scrub_line(text), log });
            }
            Fact::Decision { decision: Decision::GoBack | Decision::FollowRevert, cause, .. }
                if self.decided.is_none() =>
            {
                self.decided = Some((event.at, cause.clone()));
            }
            Fact::Restored { serving, .. } => self.alone = Some(serving.observed_at),
            Fact::Hold { action, range: (first, last), commits, .. } if action != "lift" => {
                self.held.push(held_row(first, last, commits.len()));
            }
            _ => {}
        }
    }

    pub(super) fn block(&self, outcome: &Outcome, zone: &Zone) -> EndBlock {
        let mut block =
            EndBlock { held: self.held.clone(), owed: outcome.owed.clone(), ..EndBlock::default() };
        if let Ended::Succeeded { .. } = outcome.ended {
            return block;
        }
        block.next.clone_from(&outcome.next);
        let cause = outcome.cause.as_ref();
        let because = |fault: &&Fault| {
            cause.is_some_and(|cause| fault.seq.is_some_and(|seq| cause.because.contains(&seq)))
        };
        // The one that it was decided on; else the last one of the class that the cause names.
        let of_class = |fault: &&Fault| cause.is_some_and(|cause| cause.class == fault.class.word());
        let fault = self.faults.iter().find(because).or_else(|| self.faults.iter().rev().find(of_class));
        block.fault =
            fault.map(|fault| fault.text.clone()).or_else(|| cause.map(|cause| scrub_line(&cause.text)));
        block.log = match (fault, cause) {
            (Some(fault), _) if !fault.log.is_empty() => fault.log.clone(),
            (_, Some(cause)) => {
                let lines = scrub_lines(&cause.log);
                lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
            }
            _ => Vec::new(),
        };
        if outcome.ended == Ended::Refused {
            return block;
        }
        block.users = self.users(zone);
        block.time = Some(self.time(outcome, zone));
        block
    }

    fn users(&self, zone: &Zone) -> Option<String> {
        match (self.old?, self.all?) {
            // A platform that does not count the others tells nothing by a zero.
            _ if !self.saw_old => None,
            ((1.., _), _) => Some(format!("old ones served throughout, never fewer than {}", self.old?.0)),
            (_, (all @ 1.., _)) => Some(format!("never fewer than {all} served, old and new together")),
            (_, (0, at)) => Some(format!("nothing served at {}, as far as was seen", zone.clock(at))),
        }
    }

    fn time(&self, outcome: &Outcome, zone: &Zone) -> String {
        let mut parts = vec![format!("started {}", zone.clock(outcome.started_at))];
        if let Some((at, cause)) = &self.decided {
            let why =
                cause.as_ref().map_or_else(String::new, |cause| format!(" ({})", scrub_line(&cause.class)));
            parts.push(format!("decided {}{why}", zone.clock(*at)));
        }
        match (self.alone, &outcome.ended) {
            (Some(at), Ended::RolledBack { .. } | Ended::Aborted) => {
                parts.push(format!("old ones alone again {}", zone.clock(at)));
            }
            _ => parts.push(format!("ended {}", zone.clock(outcome.ended_at))),
        }
        parts.join(", ")
    }
}
