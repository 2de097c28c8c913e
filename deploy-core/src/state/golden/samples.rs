//! What the golden files of single records mean. Every field is filled in once, and left out once where it may be.

use serde_json::{Value, json};

use crate::{
    model::{
        Cause, Claim, Component, Counts, Ended, FaultClass, Fence, Fingerprint, Identity, Instance, Outcome,
        Revision, RolloutId, Serving, Side, StepId, TargetName, Timestamp,
    },
    state::{
        head::{Block, Head, Holder, KnownGood, Obligation, Pin, Segment, SegmentRef, TargetRecord},
        journal::{
            CommandKind, CommandRecord, Direction, Entry, ErrorRecord, Fact, GuardFinding, GuardResult,
            Intent, Sending,
        },
    },
};

pub(super) const OLD: &str = "4be81d0c5f7a1e2b3d4c5f6a7b8c9d0e1f2a3b4c";
pub(super) const NEW: &str = "9f2c1ab8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2";

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_227_117_005).plus_ms(seconds * 1000)
}

pub(super) fn rollout() -> RolloutId {
    RolloutId::new("01JD7M8KX2")
}

pub(super) fn target() -> TargetName {
    TargetName::new("prod-api", "production").unwrap()
}

pub(super) fn claim() -> Claim {
    Claim::new("arn:aws:ecs:us-east-1:123456789012:service/prod/prod-api")
}

pub(super) fn service() -> Component {
    Component::new("service")
}

pub(super) fn identity() -> Identity {
    Identity::new([("account", "123456789012"), ("region", "us-east-1"), ("service", "prod-api")])
}

pub(super) fn old() -> Revision {
    let declared = [(service(), Fingerprint::new("6b86b273ff34fce1"))];
    let mut revision = Revision::new("prod-api-task:41", declared, json!({ "definition": 41 }));
    revision.images.insert("api".into(), "repo/shop-api@sha256:11".into());
    revision.built_from(Some(OLD.into()))
}

pub(super) fn new() -> Revision {
    let declared = [(service(), Fingerprint::new("d4735e3a265e16ee"))];
    Revision::new("prod-api-task:42", declared, Value::Null)
}

/// A forward write with everything that an intent can say.
pub(super) fn intent() -> Intent {
    Intent {
        id: 6,
        rollout: rollout(),
        step: StepId::new("update"),
        key: "update-service".into(),
        direction: Direction::Forward,
        sending: Sending::Once,
        hash: "5feceb66ffc86f38".into(),
        component: Some(service()),
        to: Some(Fingerprint::new("d4735e3a265e16ee")),
        exclusive: true,
        was_there: false,
        change: json!({ "from": "prod-api-task:41", "to": "prod-api-task:42" }),
        fence: Fence(7),
        signed_at: at(2),
        late_bound: at(317),
        attempt_ms: None,
    }
}

/// One that writes no component.
pub(super) fn hook() -> Intent {
    Intent {
        id: 9,
        step: StepId::new("hook"),
        key: "invoke".into(),
        sending: Sending::AtMostOnce,
        component: None,
        to: None,
        exclusive: false,
        was_there: true,
        change: Value::Null,
        ..intent()
    }
}

pub(super) fn error() -> ErrorRecord {
    ErrorRecord {
        kind: "Throttled".into(),
        effect: "not_applied".into(),
        again: true,
        after_ms: 1_500,
        text: "UpdateService: too many requests".into(),
        log: Vec::new(),
    }
}

pub(super) fn finding() -> GuardFinding {
    GuardFinding {
        guard: "order".into(),
        result: GuardResult::Overridden,
        overridable: true,
        text: "9f2c1ab is not ahead of 4be81d0".into(),
        next: vec!["deploy prod-api/production --rollback".into()],
    }
}

pub(super) fn crashed() -> Instance {
    let mut instance = Instance::new("88ab07", "prod-api-task:42", "stopped");
    instance.reason = Some("essential container exited".into());
    instance.exit_code = Some(1);
    instance
}

pub(super) fn cause() -> Cause {
    let mut cause = Cause::fault(FaultClass::Crash, "container api exits 1");
    cause.because = vec![18];
    cause.log = vec!["02:12:41  Error: Cannot find module './chat/router'".into()];
    cause
}

pub(super) fn serving(side: Side) -> Serving {
    let mut serving = Serving::new(side, at(70));
    serving.commit = Some(OLD.into());
    serving.revision = Some("prod-api-task:41".into());
    serving.counts = Some(Counts::new(2, 2, 2, 0));
    serving
}

/// An outcome that says everything that one can.
pub(super) fn outcome(ended: Ended, side: Side) -> Outcome {
    let mut outcome = Outcome::new(target(), rollout(), ended, serving(side), at(0));
    outcome.cause = Some(cause());
    outcome.needed = Some("look at the hook".into());
    outcome.next = vec!["logs prod-api/production --deploy 8KX2".into()];
    outcome.owed = vec!["whether invoke of step hook happened is not known".into()];
    outcome.ended_at = at(71);
    outcome
}

pub(super) fn entry(seq: u64, fact: Fact) -> Entry {
    Entry::new(seq, at(seq), rollout(), fact)
}

fn holder() -> Holder {
    Holder {
        id: "1f83d9abfb41bd6b".into(),
        host: "ci-7".into(),
        boot: "8e3e6ab0-55ae-4a43-b6b0-d4a3f9a8a0d6".into(),
        pid_namespace: "pid:[4026531836]".into(),
        pid: 4711,
        started: 123_456,
    }
}

fn command(kind: CommandKind) -> CommandRecord {
    let mut command = CommandRecord::new(format!("id-{}", kind.word()), rollout(), kind, "dev", at(600));
    if command.command == CommandKind::Approve {
        command.gate = Some("go-live".into());
        command.reason = Some("looks good".into());
    }
    command
}

fn commands() -> Vec<CommandRecord> {
    use CommandKind::{Abandon, Abort, Approve, Pause, Promote, Resume, Rollback};
    [Pause, Resume, Promote, Approve, Abort, Rollback, Abandon].map(command).into()
}

fn notice() -> Fact {
    Fact::Notice { level: "info".into(), code: "hello".into(), about: "a line".into() }
}

/// A head in the middle of a deploy, with all that it can hold.
pub(super) fn held() -> Head {
    let block = |kind: &str| Block {
        kind: kind.into(),
        subject: format!("{OLD}..{NEW}"),
        scope: "prod-api/production".into(),
        from: Some(at(0)),
        until: None,
        owner: "dev".into(),
        reason: "it crashed".into(),
        exemptions: vec!["hotfix".into()],
    };
    Head {
        v: 1,
        write_id: 16_045_690_984_833_335_023,
        fence: Fence(7),
        holder: Some(holder()),
        beat: 12,
        seq: 70,
        claim_name: claim(),
        target: target(),
        home: None,
        claim: Some(rollout()),
        plan: Some("4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce".into()),
        open: vec![intent(), hook()],
        tail: vec![entry(5, notice()), entry(6, Fact::Guard(finding()))],
        segment: Some(SegmentRef {
            name: "000000000064-7-ef2d127de37b942b".into(),
            hash: "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d".into(),
        }),
        commands: commands(),
        blocks: vec![block("hold"), block("freeze"), block("window")],
        obligations: vec![Obligation {
            id: "01JD7M8KX2-9".into(),
            about: "an effect whose end was not seen".into(),
            closer: "a person".into(),
            blocking: true,
            rollout: rollout(),
        }],
        known_good: vec![KnownGood { rollout: rollout(), at: at(71), revision: old() }],
    }
}

/// A head that points to the claim where everything is.
pub(super) fn pointer() -> Head {
    let mut head = Head::first(Claim::new("arn:aws:lambda:us-east-1:123456789012:function:queue"), target());
    (head.home, head.claim, head.fence, head.beat) = (Some(claim()), Some(rollout()), Fence(7), 1);
    head
}

pub(super) fn segment(previous: bool) -> Segment {
    let link = SegmentRef { name: "000000000032-6-1a2b".into(), hash: "1a2b".into() };
    Segment { v: 1, previous: previous.then_some(link), entries: vec![entry(5, notice())] }
}

pub(super) fn record(reason: Option<&str>) -> TargetRecord {
    let pin = Pin { identity: identity(), at: at(0), by: "dev".into(), reason: reason.map(str::to_owned) };
    TargetRecord { v: 1, target: target(), home: claim(), pin }
}
