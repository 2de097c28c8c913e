//! The JSON lines: every type, byte for byte, and every field of the table.

mod golden;

use std::collections::{BTreeMap, BTreeSet};

use deploy_core::{
    event::{Event, EventKind, PhaseName},
    model::{
        Blame, Cause, Component, Counts, Ended, FaultClass, Fence, Fingerprint, Instance, Motion,
        Observation, Outcome, Revision, RolledBackBy, RolloutId, Serving, Side, StepId, TargetName,
        Timestamp,
    },
    observers::{json, json_line},
    state::journal::{
        CommandKind, Decision, DriverHow, Entry, Fact, GuardFinding, GuardResult, Intent, StepState,
    },
};
use serde_json::{Value, json};

/// The table of the documentation: the fields of each type.
const TABLE: [(&str, &str); 16] = [
    ("started", "from, to, plan, actor, reason, platform, rollback"),
    ("guard", "guard, result, overridable, next"),
    ("step", "step, kind, state, attempt, effect, output, took_ms"),
    ("progress", "revision, desired, updated, healthy, old, deadline"),
    ("instance", "instance, revision, state, reason, exit_code"),
    ("log", "instance, source, stream, cut"),
    ("fault", "class, blame, permanent, instances, evidence"),
    ("check", "check, verdict, bad, of, value, baseline, limit, method"),
    ("decision", "decision, because, to"),
    ("restored", "serving, final_after, open_calls"),
    ("command", "command, by, reason, via, accepted"),
    ("migration", "migration, kind, state"),
    ("hold", "action, range, commits, by, reason"),
    ("driver", "owner, previous, fence, how"),
    ("notice", "level, code, about"),
    ("ended", "verdict, exit, needs_person, serving, cause, next, took_ms"),
];

const OLD: &str = "4be81d0c5f7a1e2b3d4c5f6a7b8c9d0e1f2a3b4c";
const NEW: &str = "9f2c1ab8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2";

fn at(time: &str) -> Timestamp {
    serde_json::from_value(format!("2026-11-21T{time}Z").into()).unwrap()
}

fn target() -> TargetName {
    "prod-api/production".parse().unwrap()
}

fn revision(name: &str, commit: &str) -> Revision {
    // The handle and the declared state are the platform's: neither has a way into an event.
    let declared = [(Component::new("service"), Fingerprint::new("hunter2"))];
    Revision::new(name, declared, json!({ "arn": "hunter2" })).built_from(Some(commit.into()))
}

fn crashed() -> Instance {
    let mut instance = Instance::new("88ab07", "prod-api-task:42", "stopped");
    instance.reason = Some("essential container exited, DB_PASSWORD=hunter2".into());
    instance.exit_code = Some(1);
    instance
}

fn serving() -> Serving {
    let mut serving = Serving::new(Side::Old, at("02:13:07.391"));
    serving.commit = Some(OLD.into());
    serving.revision = Some("prod-api-task:41".into());
    serving.counts = Some(Counts::new(2, 2, 2, 0));
    serving
}

fn intent() -> Box<Intent> {
    let intent = json!({
        "id": 5, "rollout": "01JD7M8KX2", "step": "update", "key": "update-service", "direction": "forward",
        "sending": "once", "hash": "h", "change": { "env": "hunter2" }, "fence": 7,
        "signed_at": "2026-11-21T02:11:58Z", "late_bound": "2026-11-21T02:17:13Z",
    });
    Box::new(serde_json::from_value(intent).unwrap())
}

fn step(state: StepState) -> Fact {
    let (kind, effect) = ("effect".into(), Some("update-service".into()));
    let intent = (state == StepState::Asked).then(intent);
    let ended = state == StepState::Done;
    Fact::Step {
        step: StepId::new("update"),
        kind,
        state,
        attempt: 1,
        effect: if ended { None } else { effect },
        intent,
        of: None,
        closed: None,
        output: ended.then(|| json!({ "revision": "prod-api-task:42" })),
        error: None,
        took_ms: ended.then_some(412),
    }
}

fn outcome() -> Outcome {
    let rollout = RolloutId::new("01JD7M8KX2");
    let by = Ended::RolledBack { by: RolledBackBy::Us };
    let mut outcome = Outcome::new(target(), rollout, by, serving(), at("02:11:57.005"));
    outcome.ended_at = at("02:13:07.402");
    let mut cause = Cause::fault(FaultClass::Crash, "container api exits 1");
    cause.because = vec![18];
    outcome.cause = Some(cause);
    outcome.next = vec!["ecs logs prod-api/production --deploy 8KX2".into()];
    outcome
}

fn facts() -> Vec<(PhaseName, Fact)> {
    use PhaseName::{Apply, Back, Bake, Close, Done, Guard, Watch};
    let numbers = json!({
        "bad": 3, "of": 31, "value": 0.097, "baseline": 0.001, "limit": 0.01, "method": "sequential",
        "note": "hunter2",
    });
    let mut overridden = GuardFinding::refuse("order", "9f2c1ab is not ahead of 4be81d0").overridable();
    overridden.result = GuardResult::Overridden;
    let (started, ended) = (revision("prod-api-task:41", OLD), revision("prod-api-task:42", NEW));
    let to_old = Some("prod-api-task:41".to_owned());
    vec![
        (
            Guard,
            Fact::Started {
                from: started,
                to: ended,
                plan: "7f3a90c1".into(),
                plan_object: "plans/hunter2".into(),
                actor: "ci".into(),
                reason: None,
                platform: "ecs".into(),
                rollback: false,
            },
        ),
        (
            Guard,
            Fact::Driver {
                owner: "ci-7".into(),
                previous: None,
                fence: Fence(7),
                how: DriverHow::Began,
                reason: None,
            },
        ),
        (Guard, Fact::Guard(GuardFinding::pass("identity"))),
        (Guard, Fact::Guard(overridden)),
        (Apply, step(StepState::Began)),
        (Apply, step(StepState::Asked)),
        (Apply, step(StepState::Applied)),
        (Apply, step(StepState::Done)),
        (
            Apply,
            Fact::Migration {
                migration: "2026_11_20_add_messages".into(),
                kind: "expand".into(),
                state: "started".into(),
            },
        ),
        (
            Watch,
            Fact::Fault {
                class: FaultClass::Crash,
                blame: Blame::Release,
                permanent: false,
                instances: vec![crashed()],
                text: "container api exits 1, three seconds after start".into(),
                log: vec!["02:12:41  Error: Cannot find module './chat/router'".into()],
                evidence: vec![],
            },
        ),
        (Bake, Fact::Check { check: "health".into(), verdict: "fail".into(), data: numbers }),
        (
            Back,
            Fact::Decision {
                decision: Decision::GoBack,
                because: vec![10],
                to: to_old,
                cause: Some(Cause::fault(FaultClass::Crash, "container api exits 1")),
            },
        ),
        (
            Back,
            Fact::Command {
                command: CommandKind::Abort,
                id: Some("hunter2".into()),
                by: "dev".into(),
                reason: Some("wrong branch".into()),
                via: "inbox".into(),
                accepted: false,
            },
        ),
        (Close, Fact::Restored { serving: serving(), final_after: at("02:17:13"), open_calls: 1 }),
        (
            Close,
            Fact::Hold {
                action: "set".into(),
                range: (OLD.into(), NEW.into()),
                commits: vec![NEW.into()],
                by: "deploy".into(),
                reason: None,
            },
        ),
        (
            Close,
            Fact::Notice {
                level: "warning".into(),
                code: "late_call".into(),
                about: "one call is open".into(),
            },
        ),
        (Done, Fact::Ended { outcome: Box::new(outcome()), known_good: None }),
    ]
}

fn live() -> Vec<Event> {
    let now = at("02:12:41");
    let mut seen =
        Observation::new(now, Component::new("service"), Fingerprint::new("hunter2"), Motion::Progressing);
    seen.counts = Some(Counts::new(2, 2, 1, 2));
    let kinds = vec![
        EventKind::Progress {
            seen: Box::new(seen),
            revision: "prod-api-task:42".into(),
            deadline: Some(at("02:22:00")),
            step: Some(StepId::new("watch")),
        },
        EventKind::Instance(crashed()),
        EventKind::Log {
            instance: "88ab07".into(),
            source: Some("api".into()),
            stream: Some("stderr".into()),
            line: "Error: Cannot find module './chat/router'".into(),
            cut: false,
        },
        EventKind::Check {
            check: "health".into(),
            verdict: "pass".into(),
            data: json!({ "bad": 0, "of": 31 }),
        },
    ];
    let deploy = RolloutId::new("01JD7M8KX2");
    kinds.into_iter().map(|kind| Event::live(now, &deploy, &target(), PhaseName::Watch, kind)).collect()
}

fn events() -> Vec<Event> {
    let start = at("02:11:57.005");
    let journaled = facts().into_iter().zip(1..).map(|((phase, fact), seq)| {
        let entry = Entry::new(seq, start.plus_ms(seq * 1000), RolloutId::new("01JD7M8KX2"), fact);
        Event::of(&entry, &target(), phase)
    });
    journaled.chain(live()).collect()
}

#[test]
fn every_type_is_written_as_it_always_was() {
    let lines: String = events().iter().map(|event| json_line(event) + "\n").collect();
    assert!(!lines.contains("hunter2"), "nothing secret, no handle, no intent");
    golden::same("events-v1.jsonl", &lines);
}

#[test]
fn the_fields_are_those_of_the_table() {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events() {
        let value = json(&event);
        assert_eq!(value, serde_json::from_str::<Value>(&json_line(&event)).unwrap());
        let mut envelope: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(envelope.remove("seq"), event.seq.is_some(), "live events have no number");
        assert_eq!(envelope, ["v", "at", "deploy", "target", "phase", "type", "message", "data"].into(),);
        assert_eq!(value["type"], event.type_word());
        let fields = value["data"].as_object().unwrap().keys().cloned();
        seen.entry(event.type_word().to_owned()).or_default().extend(fields);
    }
    let table =
        TABLE.map(|(name, fields)| (name.to_owned(), fields.split(", ").map(str::to_owned).collect()));
    assert_eq!(seen, BTreeMap::from(table));
}

#[test]
fn the_documented_line_is_what_is_written() {
    let mut outcome = outcome();
    outcome.serving.commit = Some("4be81d0...".into());
    let fact = Fact::Ended { outcome: Box::new(outcome), known_good: None };
    let entry = Entry::new(38, at("02:13:07.402"), RolloutId::new("01JD7M8KX2"), fact);
    let documented = r#"{"v":1,"seq":38,"at":"2026-11-21T02:13:07.402Z","deploy":"01JD7M8KX2","target":"prod-api/production","phase":"done","type":"ended","message":"ROLLED BACK  prod-api/production serves 4be81d0 again, 2/2 healthy. Nothing to do tonight.","data":{"verdict":"rolled_back","exit":4,"needs_person":false,"serving":{"commit":"4be81d0...","revision":"prod-api-task:41","healthy":2,"desired":2,"observed_at":"2026-11-21T02:13:07.391Z"},"cause":{"class":"crash","because":[18]},"next":["ecs logs prod-api/production --deploy 8KX2"],"took_ms":70397}}"#;
    assert_eq!(json_line(&Event::of(&entry, &target(), PhaseName::Done)), documented);
}

#[test]
fn null_is_nothing_and_absent_is_unknown() {
    let of = |fact: Fact| {
        let entry = Entry::new(1, at("02:11:57"), RolloutId::new("01JD7M8KX2"), fact);
        json(&Event::of(&entry, &target(), PhaseName::Apply))["data"].clone()
    };
    assert_eq!(of(step(StepState::Asked)).get("output"), None, "it is not known yet what it returns");
    assert_eq!(of(step(StepState::Applied)).get("output"), Some(&Value::Null), "it returned nothing");
    let mut blind = outcome();
    (blind.cause, blind.serving) = (None, Serving::new(Side::Unknown, at("02:13:07")));
    let ended = of(Fact::Ended { outcome: Box::new(blind), known_good: None });
    assert_eq!(ended["serving"], json!({ "observed_at": "2026-11-21T02:13:07.000Z" }));
    assert_eq!((&ended["cause"], &ended["exit"]), (&Value::Null, &json!(5)));
}
