//! Events in words. For people: the words may change, the fields of the JSON lines do not.

use std::fmt;

use serde_json::Value;

use crate::{
    event::{Event, EventKind},
    model::{Counts, Instance, Motion, Observation, Outcome, Revision},
    report::{Zone, duration_words, healthy, plural, restored_line, scrub_line, short_commit},
    state::journal::{
        CommandKind, Decision, DriverHow, ErrorRecord, Fact, GuardFinding, GuardResult, StepState,
    },
};

/// `02:13:10Z watch: ...`; the last event of a deploy is its one line alone.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !is_end(self) {
            write!(f, "{} {}: ", Zone::utc().clock(self.at), self.phase.word())?;
        }
        f.write_str(&message(self))
    }
}

fn is_end(event: &Event) -> bool {
    matches!(&event.kind, EventKind::Fact(fact) if matches!(**fact, Fact::Ended { .. }))
}

/// The event in one line for people, without time and phase, and without anything secret.
#[must_use]
pub fn message(event: &Event) -> String {
    match &event.kind {
        EventKind::Fact(fact) => of_fact(event, fact),
        EventKind::Progress { seen, revision, .. } => scrub_line(&format!("{revision} {}", look(seen))),
        EventKind::Instance(instance) => of_instance(instance),
        EventKind::Log { instance, line, .. } => format!("{}  {}", scrub_line(instance), scrub_line(line)),
        EventKind::Check { check, verdict, data } => of_check(check, verdict, data),
    }
}

fn of_fact(event: &Event, fact: &Fact) -> String {
    match fact {
        Fact::Started { from, to, actor, reason, rollback, .. } => {
            of_started(from, to, actor, reason.as_deref(), *rollback)
        }
        Fact::Planned { to, .. } => format!("planned: {}", to.short()),
        Fact::Guard(finding) => of_guard(finding),
        Fact::Step { step, state, attempt, effect, error, took_ms, .. } => {
            let mut text = format!("{step}: {}", of_state(*state, effect.as_deref()));
            if *attempt > 1 {
                text += &format!(" (attempt {attempt})");
            }
            if let Some(ms) = took_ms.filter(|_| *state == StepState::Done) {
                text += &format!(", {}", duration_words(ms));
            }
            text + &of_error(error.as_ref())
        }
        Fact::Fault { class, text, .. } => scrub_line(&format!("{}: {text}", class.word())),
        Fact::Check { check, verdict, data } => of_check(check, verdict, data),
        Fact::Decision { decision, to, cause, .. } => {
            let mut text = of_decision(*decision).to_owned();
            if let Some(to) = to {
                text += &format!(" to {to}");
            }
            if let Some(cause) = cause {
                text += &format!(" ({}: {})", cause.class, cause.text);
            }
            scrub_line(&text)
        }
        Fact::Restored { serving, final_after, open_calls } => {
            restored_line(&event.target, serving, *final_after, *open_calls, &Zone::utc())
        }
        Fact::Command { command, by, reason, accepted, .. } => {
            of_command(command, by, reason.as_deref(), *accepted)
        }
        Fact::Migration { migration, kind, state } => format!("migration {migration} ({kind}): {state}"),
        Fact::Hold { action, range, commits, by, reason } => {
            of_hold(action, (&range.0, &range.1), commits.len(), by, reason.as_deref())
        }
        Fact::Driver { owner, how, reason, .. } => {
            let why =
                reason.as_deref().map_or_else(String::new, |reason| format!(" ({})", scrub_line(reason)));
            format!("{owner} {}{why}", of_driver(*how))
        }
        Fact::Notice { about, .. } => scrub_line(about),
        Fact::Ended { outcome, .. } => one_line(outcome),
    }
}

/// The one line of an outcome, scrubbed: what a person must do may quote a platform.
pub(super) fn one_line(outcome: &Outcome) -> String {
    scrub_line(&outcome.to_string())
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {}", scrub_line(reason)))
}

fn of_started(from: &Revision, to: &Revision, actor: &str, reason: Option<&str>, rollback: bool) -> String {
    let what = if rollback { "rollback " } else { "" };
    format!("{what}{} -> {}, by {actor}{}", from.short(), to.short(), because(reason))
}

fn of_guard(finding: &GuardFinding) -> String {
    let verb = match finding.result {
        GuardResult::Pass => "passes",
        GuardResult::Refuse => "refuses",
        GuardResult::Overridden => "is overridden",
    };
    let text = Some(finding.text.as_str()).filter(|text| !text.is_empty());
    format!("guard {} {verb}{}", finding.guard, because(text))
}

fn of_state(state: StepState, effect: Option<&str>) -> String {
    let effect = effect.unwrap_or("it");
    match state {
        StepState::Began => "begins".into(),
        StepState::Asked => format!("{effect} is sent"),
        StepState::Applied => format!("{effect} has happened"),
        StepState::NotApplied => format!("{effect} did not happen"),
        StepState::Unknown => format!("it is not known whether {effect} happened"),
        StepState::Done => "done".into(),
        StepState::Failed => "failed".into(),
        StepState::Skipped => "not needed".into(),
    }
}

pub(super) fn of_error(error: Option<&ErrorRecord>) -> String {
    because(error.map(|error| error.text.as_str()))
}

fn of_decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Bake => "every step is done: now it must stay healthy",
        Decision::GoBack => "decided: go back",
        Decision::FollowRevert => "the platform goes back by itself",
        Decision::GiveWay => "someone else changed it: it is left to them",
        Decision::SetBackAgain => "a late call has landed: set it back again",
        Decision::Pause => "paused before the next step",
        Decision::GoOn => "goes on",
        Decision::PassGate => "the gate is passed",
        Decision::Resume => "goes on where it stood",
        Decision::Abandon => "going back is stopped: a person takes over",
    }
}

fn of_command(command: &CommandKind, by: &str, reason: Option<&str>, accepted: bool) -> String {
    let not = if accepted { "" } else { ", not obeyed" };
    format!("{} by {by}{not}{}", command.word(), because(reason))
}

fn of_hold(action: &str, range: (&str, &str), commits: usize, by: &str, reason: Option<&str>) -> String {
    let verb = if action == "lift" { "freed" } else { "held" };
    format!("{verb}: {}, by {by}{}", held(range, commits), because(reason))
}

/// `4be81d0..9f2c1ab, 3 commits`.
pub(super) fn held((first, last): (&str, &str), commits: usize) -> String {
    let (first, last) = (short_commit(first), short_commit(last));
    let range = if first == last { last.to_owned() } else { format!("{first}..{last}") };
    format!("{range}, {}", plural(commits, "commit"))
}

fn of_driver(how: DriverHow) -> &'static str {
    match how {
        DriverHow::Began => "drives this deploy",
        DriverHow::Resumed => "goes on with this deploy",
        DriverHow::TookOver => "takes over: its predecessor fell silent",
        DriverHow::FoundDead => "takes over: its predecessor's process is gone",
        DriverHow::Broken => "takes over: a person broke the lease",
        DriverHow::HandsOver => "leaves; the deploy has not ended",
        DriverHow::Parks => "leaves; the deploy waits at a gate",
    }
}

/// `88ab07 stopped: essential container exited (exit 1)`.
pub(super) fn of_instance(instance: &Instance) -> String {
    let mut text = format!("{} {}", instance.id, instance.state);
    if let Some(reason) = &instance.reason {
        text += &format!(": {reason}");
    }
    if let Some(code) = instance.exit_code {
        text += &format!(" (exit {code})");
    }
    scrub_line(&text)
}

/// `health pass (31 of 31)`.
pub(super) fn of_check(check: &str, verdict: &str, data: &Value) -> String {
    let number = |name: &str| data.get(name).and_then(Value::as_u64);
    let numbers = match (number("bad"), number("of")) {
        (Some(bad), Some(of)) => format!(" ({} of {of})", of.saturating_sub(bad)),
        _ => String::new(),
    };
    scrub_line(&format!("{check} {verdict}{numbers}"))
}

/// `1/2 healthy (1 starting, 1 crash), 2 of others`.
fn look(seen: &Observation) -> String {
    let counts = seen.counts.map(|counts| {
        let others = if counts.old > 0 { format!(", {} of others", counts.old) } else { String::new() };
        format!("{}{}{others}", healthy(counts), not_healthy(counts, seen))
    });
    counts.unwrap_or_default() + &motion(&seen.motion, seen.counts.is_some())
}

/// ` (1 starting, 2 crash)`: what the numbers of healthy ones leave out.
pub(super) fn not_healthy(counts: Counts, seen: &Observation) -> String {
    let mut parts = Vec::new();
    if counts.updated > counts.healthy {
        parts.push(format!("{} starting", counts.updated - counts.healthy));
    }
    parts.extend(seen.signals.iter().map(|signal| {
        format!("{} {}", signal.instances.len().max(1), signal.class.word().replace('_', " "))
    }));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// What the motion adds to the numbers; without numbers it is all there is.
pub(super) fn motion(motion: &Motion, counted: bool) -> String {
    let text = match motion {
        Motion::Progressing if counted => return String::new(),
        Motion::Done if counted => return String::new(),
        Motion::Progressing => "on its way".into(),
        Motion::Done => "in place".into(),
        Motion::Waiting(gate) => format!("waits at {gate}"),
        Motion::PlatformRevert { to, ended } => {
            let verb = if *ended { "has gone" } else { "goes" };
            let to = to.as_ref().map_or_else(String::new, |to| format!(" to {}", to.short()));
            format!("the platform {verb} back by itself{to}")
        }
        Motion::Foreign { revision, by } => {
            let to = revision.as_ref().map_or_else(String::new, |to| format!(" to {}", to.short()));
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {}", by.0));
            format!("changed from outside{to}{by}")
        }
    };
    if counted { format!("; {text}") } else { text }
}
