//! Every fact, as an entry of the journal.

use serde_json::json;

use super::{
    covered, same,
    samples::{at, cause, crashed, entry, error, finding, hook, intent, new, old, outcome, serving},
};
use crate::{
    model::{Blame, Cause, Ended, FaultClass, Fence, RolledBackBy, Side, StepId},
    state::journal::{
        ClosedBy, CommandKind, Decision, DriverHow, Entry, Fact, GuardFinding, Intent, StepState,
    },
};

/// What a step's entry can say, with nothing of what it may leave out.
fn bare(state: StepState) -> Fact {
    Fact::Step {
        step: StepId::new("update"),
        kind: "effect".into(),
        state,
        attempt: 1,
        effect: None,
        intent: None,
        of: None,
        closed: None,
        output: None,
        error: None,
        took_ms: None,
    }
}

fn asked(intent: Intent) -> Fact {
    let mut fact = bare(StepState::Asked);
    if let Fact::Step { effect, intent: place, .. } = &mut fact {
        (*effect, *place) = (Some(intent.key.clone()), Some(Box::new(intent)));
    }
    fact
}

/// The end of an effect, with everything that it can say.
fn answered(state: StepState, by: Option<ClosedBy>) -> Fact {
    let mut fact = bare(state);
    if let Fact::Step { effect, of, closed, output, error: why, took_ms, .. } = &mut fact {
        (*effect, *of, *closed) = (Some("update-service".into()), Some(6), by);
        (*output, *took_ms) = (Some(json!({ "deployment": "ecs-svc/1" })), Some(412));
        *why = (state != StepState::Applied).then(error);
    }
    fact
}

fn ended(ended: Ended, side: Side) -> Fact {
    let good = matches!(ended, Ended::Succeeded { .. }).then(|| Box::new(new()));
    Fact::Ended { outcome: Box::new(outcome(ended, side)), known_good: good }
}

fn steps() -> Vec<(&'static str, Fact)> {
    vec![
        ("step-began", bare(StepState::Began)),
        ("step-asked", asked(intent())),
        ("step-asked-hook", asked(hook())),
        ("step-applied", answered(StepState::Applied, Some(ClosedBy::Answer))),
        ("step-applied-settled", answered(StepState::Applied, Some(ClosedBy::Settled))),
        ("step-applied-sight", answered(StepState::Applied, Some(ClosedBy::Sight))),
        ("step-not-applied", answered(StepState::NotApplied, Some(ClosedBy::Answer))),
        ("step-unknown", answered(StepState::Unknown, None)),
        ("step-unknown-late", answered(StepState::Unknown, Some(ClosedBy::LateBound))),
        ("step-unknown-repeated", answered(StepState::Unknown, Some(ClosedBy::Repeated))),
        ("step-unknown-obligation", answered(StepState::Unknown, Some(ClosedBy::Obligation))),
        ("step-done", bare(StepState::Done)),
        ("step-failed", bare(StepState::Failed)),
        ("step-skipped", bare(StepState::Skipped)),
    ]
}

fn decisions() -> Vec<(&'static str, Fact)> {
    let decide = |decision, to: Option<&str>, cause: Option<Cause>| Fact::Decision {
        decision,
        because: vec![18],
        to: to.map(str::to_owned),
        cause,
    };
    vec![
        ("decision-bake", decide(Decision::Bake, None, None)),
        ("decision-go-back", decide(Decision::GoBack, Some("prod-api-task:41"), Some(cause()))),
        ("decision-follow-revert", decide(Decision::FollowRevert, None, Some(cause()))),
        ("decision-give-way", decide(Decision::GiveWay, None, Some(cause()))),
        ("decision-set-back-again", decide(Decision::SetBackAgain, Some("service"), None)),
        ("decision-pause", decide(Decision::Pause, None, None)),
        ("decision-go-on", decide(Decision::GoOn, None, None)),
        ("decision-pass-gate", decide(Decision::PassGate, Some("go-live"), None)),
        ("decision-resume", decide(Decision::Resume, None, None)),
        ("decision-abandon", decide(Decision::Abandon, None, Some(cause()))),
    ]
}

fn ends() -> Vec<(&'static str, Fact)> {
    let back = |by| Ended::RolledBack { by };
    vec![
        ("ended-succeeded", ended(Ended::Succeeded { changed: true }, Side::New)),
        ("ended-rolled-back", ended(back(RolledBackBy::Us), Side::Old)),
        ("ended-rolled-back-by-platform", ended(back(RolledBackBy::Platform), Side::OldPastBarrier)),
        ("ended-rolled-back-by-person", ended(back(RolledBackBy::Person), Side::Old)),
        ("ended-rollback-failed", ended(Ended::RollbackFailed, Side::Mixed)),
        ("ended-failed", ended(Ended::Failed, Side::Unknown)),
        ("ended-stranded", ended(Ended::Stranded, Side::New)),
        ("ended-superseded", ended(Ended::Superseded, Side::Other)),
        ("ended-aborted", ended(Ended::Aborted, Side::Old)),
        ("ended-refused", ended(Ended::Refused, Side::Old)),
    ]
}

fn others() -> Vec<(&'static str, Fact)> {
    let started = Fact::Started {
        from: old(),
        to: new(),
        plan: "7f3a90c1".into(),
        plan_object: "4e07408562bedb8b".into(),
        actor: "ci".into(),
        reason: Some("the fix".into()),
        platform: "ecs".into(),
        rollback: false,
    };
    let fault = Fact::Fault {
        class: FaultClass::Crash,
        blame: Blame::Release,
        permanent: false,
        instances: vec![crashed()],
        text: "container api exits 1".into(),
        log: vec!["02:12:41  Error".into()],
        evidence: vec![11, 12],
    };
    let command = Fact::Command {
        command: CommandKind::Abort,
        id: Some("id-abort".into()),
        by: "dev".into(),
        reason: Some("wrong branch".into()),
        via: "inbox".into(),
        accepted: true,
    };
    let restored = Fact::Restored { serving: serving(Side::Old), final_after: at(317), open_calls: 1 };
    vec![
        ("started", started),
        ("guard-pass", Fact::Guard(GuardFinding::pass("identity"))),
        ("guard-overridden", Fact::Guard(finding())),
        ("fault", fault),
        ("check", Fact::Check { check: "health".into(), verdict: "fail".into(), data: json!({ "bad": 3 }) }),
        ("restored", restored),
        ("command", command),
        (
            "migration",
            Fact::Migration { migration: "m1".into(), kind: "expand".into(), state: "started".into() },
        ),
        (
            "hold",
            Fact::Hold {
                action: "set".into(),
                range: ("4be81d0".into(), "9f2c1ab".into()),
                commits: vec!["9f2c1ab".into()],
                by: "dev".into(),
                reason: None,
            },
        ),
        ("driver", driver(DriverHow::TookOver, None)),
        (
            "notice",
            Fact::Notice {
                level: "warning".into(),
                code: "late_call".into(),
                about: "one call is open".into(),
            },
        ),
    ]
}

fn driver(how: DriverHow, reason: Option<&str>) -> Fact {
    Fact::Driver {
        owner: "ci-8 pid 1".into(),
        previous: Some("ci-7 pid 4711".into()),
        fence: Fence(8),
        how,
        reason: reason.map(str::to_owned),
    }
}

/// Name of the file, and what it holds.
pub(super) fn all() -> Vec<(String, Entry)> {
    let broken = ("driver-broken", driver(DriverHow::Broken, Some("its machine is gone")));
    let planned =
        Fact::Planned { plan: "5d41402a".into(), plan_object: "6b86b273ff34fce1".into(), to: new() };
    let facts = [others(), steps(), decisions(), ends(), vec![broken, ("planned", planned)]].concat();
    let entry = |(seq, (name, fact))| (format!("entry/{name}.json"), entry(seq, fact));
    (1..).zip(facts).map(entry).collect()
}

#[test]
fn every_fact_is_stored_as_it_always_was() {
    let read: Vec<Entry> = all().into_iter().map(|(name, entry)| same(&name, &entry)).collect();
    let facts = || read.iter().map(|entry| &entry.fact);
    covered!(
        facts(),
        Fact {
            Started,
            Planned,
            Guard,
            Step,
            Fault,
            Check,
            Decision,
            Restored,
            Command,
            Migration,
            Hold,
            Driver,
            Notice,
            Ended
        }
    );
    let steps = || {
        facts().filter_map(|fact| match fact {
            Fact::Step { state, closed, .. } => Some((state, closed)),
            _ => None,
        })
    };
    covered!(
        steps().map(|(state, _)| state),
        StepState { Began, Asked, Applied, NotApplied, Unknown, Done, Failed, Skipped }
    );
    covered!(
        steps().filter_map(|(_, closed)| closed.as_ref()),
        ClosedBy { Answer, Settled, Sight, LateBound, Repeated, Obligation }
    );
    let decisions = facts().filter_map(|fact| match fact {
        Fact::Decision { decision, .. } => Some(decision),
        _ => None,
    });
    covered!(
        decisions,
        Decision {
            Bake,
            GoBack,
            FollowRevert,
            GiveWay,
            SetBackAgain,
            Pause,
            GoOn,
            PassGate,
            Resume,
            Abandon
        }
    );
    let ends = || {
        facts().filter_map(|fact| match fact {
            Fact::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    };
    covered!(
        ends().map(|outcome| &outcome.ended),
        Ended { Succeeded, RolledBack, RollbackFailed, Failed, Stranded, Superseded, Aborted, Refused }
    );
    covered!(
        ends().map(|outcome| &outcome.serving.side),
        Side { Old, OldPastBarrier, New, Mixed, Other, Unknown }
    );
}
