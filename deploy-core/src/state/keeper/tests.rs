//! The keeper alone, answer by answer.

use serde_json::json;

use super::*;
use crate::{
    model::{StepId, Timestamp},
    state::journal::{ClosedBy, Fact, Intent, StepState},
};

const ROLLOUT: &str = "0000000001";

fn claim() -> Claim {
    Claim::from("c")
}

fn target() -> TargetName {
    TargetName::new("shop", "test").unwrap()
}

fn keeper(id: &str, want: Want) -> Keeper {
    Keeper::new(Holder::named(id), claim(), target(), want, Timing::default(), Rules::default())
}

fn begin() -> Want {
    let (rollout, plan) = (RolloutId::from(ROLLOUT), "plan".into());
    Want::Begin { rollout, plan, entries: Vec::new(), fence_above: Fence(0) }
}

fn version(number: u32) -> Version {
    Version(number.to_string())
}

/// The head that is written, if one is.
fn written(actions: &[KeeperAction]) -> Option<Box<Head>> {
    actions.iter().find_map(|action| match action {
        KeeperAction::Write { head, .. } => Some(head.clone()),
        _ => None,
    })
}

fn says(actions: &[KeeperAction], what: impl Fn(&KeeperAction) -> bool) -> bool {
    actions.iter().any(what)
}

/// A keeper that holds the lease since the time 0, and the head that it has written.
fn holding() -> (Keeper, Box<Head>) {
    let mut keeper = keeper("me", begin());
    keeper.handle(0, KeeperInput::Start, 1);
    let head = written(&keeper.handle(0, KeeperInput::Read(None), 2)).unwrap();
    let out = keeper.handle(0, KeeperInput::Stored(version(1)), 3);
    assert!(says(&out, |action| matches!(action, KeeperAction::Taken { fence: Fence(1), .. })));
    (keeper, head)
}

fn step(state: StepState, intent: Option<Intent>, of: Option<u64>) -> Entry {
    let fact = Fact::Step {
        step: StepId::from("s"),
        kind: "effect".into(),
        state,
        attempt: 1,
        effect: None,
        intent: intent.map(Box::new),
        of,
        closed: of.map(|_| ClosedBy::Answer),
        output: None,
        error: None,
        took_ms: None,
    };
    Entry::new(1, Timestamp::from_millis(0), RolloutId::from(ROLLOUT), fact)
}

fn asked() -> Entry {
    let intent = json!({
        "id": 1, "rollout": ROLLOUT, "step": "s", "key": "k", "direction": "forward", "sending": "once", "hash": "h",
        "fence": 1, "signed_at": "2026-11-21T02:11:58Z", "late_bound": "2026-11-21T02:17:13Z",
    });
    step(StepState::Asked, Some(serde_json::from_value(intent).unwrap()), None)
}

fn append(entry: Entry) -> KeeperInput {
    KeeperInput::Append { entries: vec![entry], token: Some(7) }
}

#[test]
fn a_claim_is_not_given_back_over_an_open_intent() {
    let (mut keeper, _) = holding();
    keeper.handle(1, append(asked()), 4);
    keeper.handle(1, KeeperInput::Stored(version(2)), 5);
    let out = keeper.handle(2, KeeperInput::Release { keep_claim: false }, 6);
    assert!(
        says(&out, |action| *action == KeeperAction::ReleaseRefused) && written(&out).is_none(),
        "{out:?}"
    );

    keeper.handle(3, append(step(StepState::Applied, None, Some(1))), 7);
    keeper.handle(3, KeeperInput::Stored(version(3)), 8);
    let head = written(&keeper.handle(4, KeeperInput::Release { keep_claim: false }, 9)).unwrap();
    assert_eq!((head.holder, head.claim, head.plan), (None, None, None));
    let out = keeper.handle(4, KeeperInput::Stored(version(4)), 10);
    assert!(says(&out, |action| *action == KeeperAction::Released));
}

#[test]
fn whoever_leaves_may_leave_an_open_intent_with_the_claim() {
    let (mut keeper, _) = holding();
    keeper.handle(1, append(asked()), 4);
    keeper.handle(1, KeeperInput::Stored(version(2)), 5);
    let head = written(&keeper.handle(2, KeeperInput::Release { keep_claim: true }, 6)).unwrap();
    assert_eq!((head.holder, head.open.len()), (None, 1));
    assert_eq!(head.claim, Some(RolloutId::from(ROLLOUT)));
}

/// The lease of a holder whose beat stands still is taken when the patience is over, not before and not never.
#[test]
fn a_silent_holder_loses_the_lease_when_the_patience_is_over() {
    let (_, head) = holding();
    let patience = Timing::default().patience_ms;
    let look = || KeeperInput::Read(Some((version(1), head.clone())));
    let mut next = keeper("next", Want::Resume);
    next.handle(1_000, KeeperInput::Start, 1);
    let out = next.handle(1_000, look(), 2);
    assert!(says(&out, |action| matches!(action, KeeperAction::Probe(_))) && written(&out).is_none());
    for at in (2_000..1_000 + patience).step_by(1_000) {
        next.handle(at, KeeperInput::Tick, at);
        assert!(written(&next.handle(at, look(), at)).is_none(), "after {at} ms");
    }
    next.handle(1_000 + patience, KeeperInput::Tick, 3);
    let taken = written(&next.handle(1_000 + patience, look(), 4)).expect("it is taken");
    assert_eq!((taken.fence, taken.holder), (Fence(2), Some(Holder::named("next"))));
}

#[test]
fn a_holder_that_beats_is_left_alone() {
    let (_, head) = holding();
    let mut next = keeper("next", Want::Resume);
    next.handle(0, KeeperInput::Start, 1);
    next.handle(0, KeeperInput::Read(Some((version(1), head.clone()))), 2);
    let mut later = head;
    later.beat += 1;
    next.handle(44_000, KeeperInput::Tick, 3);
    let out = next.handle(44_000, KeeperInput::Read(Some((version(2), later))), 4);
    assert!(says(&out, |action| matches!(action, KeeperAction::Busy(_))) && next.is_gone(), "{out:?}");
}

/// After a lost answer the write id tells whether it was done; the entries are neither lost nor written twice.
#[test]
fn a_lost_answer_is_read_back() {
    for was_done in [true, false] {
        let (mut keeper, before) = holding();
        let sent = written(&keeper.handle(1, append(asked()), 4)).unwrap();
        let out = keeper.handle(2, KeeperInput::NoAnswer, 5);
        assert!(says(&out, |action| *action == KeeperAction::Read) && written(&out).is_none(), "{out:?}");
        let found = if was_done { (version(2), sent.clone()) } else { (version(1), before) };
        let out = keeper.handle(3, KeeperInput::Read(Some(found)), 6);
        let durable = says(&out, |action| matches!(action, KeeperAction::Durable { token: 7, .. }));
        assert_eq!(durable, was_done, "{out:?}");
        match written(&out) {
            None => assert!(was_done),
            Some(again) => assert_eq!((again, was_done), (sent, false), "the same bytes again"),
        }
        assert!(!keeper.is_gone());
    }
}

/// A conflict that is our own write, seen twice by the store, is not a lost lease.
#[test]
fn meeting_ones_own_write_is_not_losing() {
    let (mut keeper, _) = holding();
    let mut stored = written(&keeper.handle(1, append(asked()), 4)).unwrap();
    keeper.handle(2, KeeperInput::Conflict, 5);
    // Meanwhile somebody has put a command into it, under a write id of its own.
    stored.write_id = 99;
    let out = keeper.handle(3, KeeperInput::Read(Some((version(3), stored.clone()))), 6);
    assert!(says(&out, |action| matches!(action, KeeperAction::Durable { token: 7, .. })), "{out:?}");
    assert!(written(&out).is_none(), "it is not written a second time: {out:?}");

    let (mut keeper, _) = holding();
    keeper.handle(1, append(asked()), 4);
    keeper.handle(2, KeeperInput::Conflict, 5);
    (stored.fence, stored.holder) = (Fence(2), Some(Holder::named("next")));
    let out = keeper.handle(3, KeeperInput::Read(Some((version(3), stored))), 6);
    assert!(says(&out, |action| *action == KeeperAction::Lost) && keeper.is_gone(), "{out:?}");
}
