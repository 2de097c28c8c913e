//! JSON lines, version 1. Types, field names and meanings are stable; `message` is for people.
//!
//! `null` is known to be nothing; what is absent is not known. The fields are those of the table and no others:
//! intents, plans, handles of the platform and the values of configuration have no way in.

use std::{fmt, io::Write, sync::Mutex};

use serde::Serialize;
use serde_json::Value;

use super::{Observer, locked, message};
use crate::{
    event::{EVENT_VERSION, Event, EventKind, PhaseName},
    model::{
        Blame, Counts, Fence, Instance, Outcome, Revision, RolloutId, Serving, StepId, TargetName, Timestamp,
        millis,
    },
    report::scrub_line,
    state::journal::{Decision, DriverHow, Fact, GuardResult, StepState},
};

/// The event as a JSON value.
#[must_use]
pub fn json(event: &Event) -> Value {
    serde_json::to_value(Envelope::of(event)).unwrap_or_default()
}

/// The event as one line of JSON, fields in the order of the table, without the line break.
#[must_use]
pub fn json_line(event: &Event) -> String {
    serde_json::to_string(&Envelope::of(event)).unwrap_or_default()
}

/// Writes every event as one line of JSON.
pub struct JsonLines<W>(Mutex<W>);

impl<W: Write + Send + 'static> JsonLines<W> {
    /// Writes to standard output, a file, a pipe. Each line is flushed; what cannot be written is dropped, because
    /// a reader that went away is no reason to stop a deploy.
    pub fn new(to: W) -> Self {
        Self(Mutex::new(to))
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

impl<W: Write + Send + 'static> Observer for JsonLines<W> {
    fn see(&self, event: &Event) {
        // In one piece, so that two writers to the same pipe do not mix their lines.
        let line = json_line(event) + "\n";
        let mut to = locked(&self.0);
        let _ = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    at: Timestamp,
    deploy: &'a RolloutId,
    target: &'a TargetName,
    phase: PhaseName,
    r#type: &'static str,
    message: String,
    data: Data<'a>,
}

impl<'a> Envelope<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            v: EVENT_VERSION,
            seq: event.seq,
            at: event.at,
            deploy: &event.deploy,
            target: &event.target,
            phase: event.phase,
            r#type: event.type_word(),
            message: message(event),
            data: data(&event.kind),
        }
    }
}

/// One variant a row of the table. Where a field is left out if it is `None`, that means "not known".
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Started {
        from: Version<'a>,
        to: Version<'a>,
        plan: &'a str,
        actor: &'a str,
        reason: Option<&'a str>,
        platform: &'a str,
        rollback: bool,
    },
    Planned {
        plan: &'a str,
        to: Version<'a>,
    },
    Guard {
        guard: &'a str,
        result: GuardResult,
        overridable: bool,
        next: &'a [String],
    },
    Step {
        step: &'a StepId,
        kind: &'a str,
        state: StepState,
        attempt: u32,
        effect: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Option<&'a Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
    },
    Progress {
        revision: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        desired: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        updated: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthy: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<u32>,
        deadline: Option<Timestamp>,
    },
    Instance(Seen<'a>),
    Log {
        instance: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<&'a str>,
        cut: bool,
    },
    Fault {
        class: &'static str,
        blame: Blame,
        permanent: bool,
        instances: Vec<Seen<'a>>,
        evidence: &'a [u64],
    },
    Check {
        check: &'a str,
        verdict: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        bad: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        baseline: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<&'a Value>,
    },
    Decision {
        decision: Decision,
        because: &'a [u64],
        to: Option<&'a str>,
    },
    Restored {
        serving: Serves<'a>,
        final_after: Timestamp,
        open_calls: usize,
    },
    Command {
        command: &'static str,
        by: &'a str,
        reason: Option<&'a str>,
        via: &'a str,
        accepted: bool,
    },
    Migration {
        migration: &'a str,
        kind: &'a str,
        state: &'a str,
    },
    Hold {
        action: &'a str,
        range: [&'a str; 2],
        commits: &'a [String],
        by: &'a str,
        reason: Option<&'a str>,
    },
    Driver {
        owner: &'a str,
        previous: Option<&'a str>,
        fence: Fence,
        how: DriverHow,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Notice {
        level: &'a str,
        code: &'a str,
        about: String,
    },
    Ended {
        verdict: &'static str,
        exit: u8,
        needs_person: bool,
        serving: Serves<'a>,
        cause: Option<Why<'a>>,
        next: &'a [String],
        took_ms: u64,
    },
}

/// A revision, without its declared state and without the platform's handle.
#[derive(Serialize)]
struct Version<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    revision: &'a str,
}

impl<'a> From<&'a Revision> for Version<'a> {
    fn from(revision: &'a Revision) -> Self {
        Self { commit: revision.commit.as_deref(), revision: &revision.name }
    }
}

#[derive(Serialize)]
struct Seen<'a> {
    instance: &'a str,
    revision: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl<'a> From<&'a Instance> for Seen<'a> {
    fn from(instance: &'a Instance) -> Self {
        Self {
            instance: &instance.id,
            revision: &instance.revision,
            state: &instance.state,
            reason: instance.reason.as_deref().map(scrub_line),
            exit_code: instance.exit_code,
        }
    }
}

#[derive(Serialize)]
struct Serves<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired: Option<u32>,
    observed_at: Timestamp,
}

impl<'a> From<&'a Serving> for Serves<'a> {
    fn from(serving: &'a Serving) -> Self {
        Self {
            commit: serving.commit.as_deref(),
            revision: serving.revision.as_deref(),
            healthy: serving.counts.map(|counts| counts.healthy),
            desired: serving.counts.map(|counts| counts.desired),
            observed_at: serving.observed_at,
        }
    }
}

#[derive(Serialize)]
struct Why<'a> {
    class: &'a str,
    because: &'a [u64],
}

fn data(kind: &EventKind) -> Data<'_> {
    match kind {
        EventKind::Fact(fact) => of_fact(fact),
        EventKind::Progress { seen, revision, deadline, .. } => {
            let count = |which: fn(Counts) -> u32| seen.counts.map(which);
            Data::Progress {
                revision,
                desired: count(|counts| counts.desired),
                updated: count(|counts| counts.updated),
                healthy: count(|counts| counts.healthy),
                old: count(|counts| counts.old),
                deadline: *deadline,
            }
        }
        EventKind::Instance(instance) => Data::Instance(instance.into()),
        EventKind::Log { instance, source, stream, cut, .. } => {
            Data::Log { instance, source: source.as_deref(), stream: stream.as_deref(), cut: *cut }
        }
        EventKind::Check { check, verdict, data } => of_check(check, verdict, data),
    }
}

fn of_fact(fact: &Fact) -> Data<'_> {
    match fact {
        Fact::Started { from, to, plan, actor, reason, platform, rollback, .. } => Data::Started {
            from: from.into(),
            to: to.into(),
            plan,
            actor,
            reason: reason.as_deref(),
            platform,
            rollback: *rollback,
        },
        Fact::Planned { plan, to, .. } => Data::Planned { plan, to: to.into() },
        Fact::Guard(finding) => Data::Guard {
            guard: &finding.guard,
            result: finding.result,
            overridable: finding.overridable,
            next: &finding.next,
        },
        Fact::Step { step, kind, state, attempt, effect, output, took_ms, .. } => {
            // Before a step or an effect has ended, it is not known that it returns nothing.
            let open = matches!(state, StepState::Began | StepState::Asked | StepState::Unknown);
            let output = if open && output.is_none() { None } else { Some(output.as_ref()) };
            let effect = effect.as_deref();
            Data::Step { step, kind, state: *state, attempt: *attempt, effect, output, took_ms: *took_ms }
        }
        Fact::Fault { class, blame, permanent, instances, evidence, .. } => Data::Fault {
            class: class.word(),
            blame: *blame,
            permanent: *permanent,
            instances: instances.iter().map(Seen::from).collect(),
            evidence,
        },
        Fact::Check { check, verdict, data } => of_check(check, verdict, data),
        Fact::Decision { decision, because, to, .. } => {
            Data::Decision { decision: *decision, because, to: to.as_deref() }
        }
        Fact::Restored { serving, final_after, open_calls } => {
            Data::Restored { serving: serving.into(), final_after: *final_after, open_calls: *open_calls }
        }
        Fact::Command { command, by, reason, via, accepted, .. } => {
            Data::Command { command: command.word(), by, reason: reason.as_deref(), via, accepted: *accepted }
        }
        Fact::Migration { migration, kind, state } => Data::Migration { migration, kind, state },
        Fact::Hold { action, range: (first, last), commits, by, reason } => {
            Data::Hold { action, range: [first, last], commits, by, reason: reason.as_deref() }
        }
        Fact::Driver { owner, previous, fence, how, reason } => Data::Driver {
            owner,
            previous: previous.as_deref(),
            fence: *fence,
            how: *how,
            reason: reason.as_deref().map(scrub_line),
        },
        Fact::Notice { level, code, about } => Data::Notice { level, code, about: scrub_line(about) },
        Fact::Ended { outcome, .. } => of_outcome(outcome),
    }
}

fn of_outcome(outcome: &Outcome) -> Data<'_> {
    Data::Ended {
        verdict: outcome.ended.word(),
        exit: outcome.exit(),
        needs_person: outcome.needs_person(),
        serving: (&outcome.serving).into(),
        cause: outcome.cause.as_ref().map(|cause| Why { class: &cause.class, because: &cause.because }),
        next: &outcome.next,
        took_ms: millis(outcome.ended_at.since(outcome.started_at)),
    }
}

fn of_check<'a>(check: &'a str, verdict: &'a str, data: &'a Value) -> Data<'a> {
    let [bad, of, value, baseline, limit, method] =
        ["bad", "of", "value", "baseline", "limit", "method"].map(|name| data.get(name));
    Data::Check { check, verdict, bad, of, value, baseline, limit, method }
}
