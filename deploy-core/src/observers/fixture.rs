//! A deploy that crashes and goes back, as events: what the observers are tested with.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use serde_json::json;

use super::locked;
use crate::{
    event::{Event, EventKind, PhaseName},
    model::{
        Blame, Cause, Component, Counts, Ended, FaultClass, Fence, Fingerprint, Instance, Motion,
        Observation, Outcome, Permanence, Revision, RolledBackBy, RolloutId, Serving, Side, Signal, StepId,
        TargetName, Timestamp,
    },
    state::journal::{Decision, DriverHow, Entry, Fact, GuardFinding, StepState},
};

/// A writer that can be read while someone else owns it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&locked(&self.0)).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn at(time: &str) -> Timestamp {
    serde_json::from_value(format!("2026-11-21T{time}Z").into()).unwrap()
}

pub(super) fn target() -> TargetName {
    "prod-api/production".parse().unwrap()
}

pub(super) fn fact(seq: u64, time: &str, phase: PhaseName, fact: Fact) -> Event {
    Event::of(&Entry::new(seq, at(time), RolloutId::new("01JD7M8KX2"), fact), &target(), phase)
}

pub(super) fn started() -> Fact {
    let revision =
        |name: &str, commit: &str| Revision::new(name, [], json!(null)).built_from(Some(commit.into()));
    Fact::Started {
        from: revision("prod-api-task:41", "4be81d0c5f"),
        to: revision("prod-api-task:42", "9f2c1ab8d7"),
        plan: "7f3a90c1".into(),
        plan_object: "plans/1".into(),
        actor: "ci".into(),
        reason: None,
        platform: "ecs".into(),
        rollback: false,
    }
}

pub(super) fn step(name: &str, state: StepState, took_ms: Option<u64>) -> Fact {
    Fact::Step {
        step: StepId::new(name),
        kind: "effect".into(),
        state,
        attempt: 1,
        effect: None,
        intent: None,
        of: None,
        closed: None,
        output: took_ms.map(|_| json!("prod-api-task:42")),
        error: None,
        took_ms,
    }
}

/// A look at the service: desired, updated, healthy, old.
pub(super) fn seen(time: &str, counts: [u32; 4], motion: Motion) -> Observation {
    let mut seen = Observation::new(at(time), Component::new("service"), Fingerprint::new("f"), motion);
    let [desired, updated, healthy, old] = counts;
    seen.counts = Some(Counts::new(desired, updated, healthy, old));
    seen
}

pub(super) fn look(phase: PhaseName, seen: Observation) -> Event {
    let revision = if phase == PhaseName::Back { "prod-api-task:41" } else { "prod-api-task:42" };
    let kind = EventKind::Progress {
        revision: revision.into(),
        deadline: Some(at("02:22:00")),
        step: Some(StepId::new("watch")),
        seen: Box::new(seen),
    };
    let at = match &kind {
        EventKind::Progress { seen, .. } => seen.at,
        _ => Timestamp::default(),
    };
    Event::live(at, &RolloutId::new("01JD7M8KX2"), &target(), phase, kind)
}

pub(super) fn crash(instances: usize) -> Signal {
    let instances = (0..instances).map(|at| {
        let mut instance = Instance::new(format!("88ab0{}", at + 7), "prod-api-task:42", "stopped");
        instance.exit_code = Some(1);
        instance
    });
    let text = "container api exits 1, three seconds after start";
    Signal::new(FaultClass::Crash, Blame::Release, Permanence::Recurring, instances.collect(), text)
}

pub(super) fn outcome() -> Outcome {
    let mut serving = Serving::new(Side::Old, at("02:13:07"));
    serving.commit = Some("4be81d0c5f".into());
    serving.counts = Some(Counts::new(2, 2, 2, 0));
    let by = Ended::RolledBack { by: RolledBackBy::Us };
    let mut outcome = Outcome::new(target(), RolloutId::new("01JD7M8KX2"), by, serving, at("02:11:57"));
    let mut cause = Cause::fault(FaultClass::Crash, "container api exits 1");
    cause.because = vec![7];
    outcome.cause = Some(cause);
    outcome.next = vec!["ecs logs prod-api/production --deploy 8KX2".into()];
    outcome
}

/// The whole of it.
pub(super) fn rolled_back() -> Vec<Event> {
    use PhaseName::{Apply, Back, Close, Done, Guard, Watch};
    let mut crashing = seen("02:12:44", [2, 2, 0, 2], Motion::Progressing);
    crashing.signals = vec![crash(2)];
    let signal = crash(2);
    let fault = Fact::Fault {
        class: signal.class,
        blame: signal.blame,
        permanent: false,
        instances: signal.instances,
        text: signal.text,
        log: vec![
            "02:12:41  Error: Cannot find \u{1b}[31mmodule\u{1b}[0m './chat/router' token=hunter2".into(),
        ],
        evidence: vec![],
    };
    let decision = Fact::Decision {
        decision: Decision::GoBack,
        because: vec![7],
        to: Some("prod-api-task:41".into()),
        cause: Some(Cause::fault(FaultClass::Crash, "container api exits 1")),
    };
    let hold = Fact::Hold {
        action: "set".into(),
        range: ("4be81d0c5f".into(), "9f2c1ab8d7".into()),
        commits: vec!["9f2c1ab8d7".into(), "1c04aa9".into(), "77d1e02".into()],
        by: "ci".into(),
        reason: None,
    };
    let began = Fact::Driver {
        owner: "ci".into(),
        previous: None,
        fence: Fence(1),
        how: DriverHow::Began,
        reason: None,
    };
    vec![
        fact(1, "02:11:57", Guard, started()),
        fact(2, "02:11:57", Guard, began),
        fact(3, "02:11:57", Guard, Fact::Guard(GuardFinding::pass("identity"))),
        fact(4, "02:11:58", Apply, step("register", StepState::Began, None)),
        fact(5, "02:11:58", Apply, step("register", StepState::Done, Some(412))),
        fact(6, "02:11:59", Watch, step("watch", StepState::Began, None)),
        look(Watch, seen("02:12:00", [2, 1, 0, 2], Motion::Progressing)),
        look(Watch, seen("02:12:05", [2, 1, 0, 2], Motion::Progressing)),
        look(Watch, seen("02:12:10", [2, 2, 1, 2], Motion::Progressing)),
        look(Watch, crashing),
        fact(7, "02:12:44", Watch, fault),
        fact(8, "02:12:44", Back, decision),
        look(Back, seen("02:12:50", [2, 2, 2, 1], Motion::Progressing)),
        look(Back, seen("02:13:07", [2, 2, 2, 0], Motion::Done)),
        fact(9, "02:13:07", Close, hold),
        fact(10, "02:13:07", Done, Fact::Ended { outcome: Box::new(outcome()), known_good: None }),
    ]
}
