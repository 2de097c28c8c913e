//! The words of everything that is one of a few: a word that changes makes old records unreadable.

use std::collections::BTreeMap;

use super::same;
use crate::{
    error::{EffectState, Error, ErrorKind},
    model::{Blame, FaultClass, RolledBackBy, Runner, Side, WriteGuard},
    state::journal::{
        ClosedBy, CommandKind, Decision, Direction, DriverHow, ErrorRecord, GuardResult, Sending, StepState,
    },
};

/// The stored word of each variant. A variant that is not listed does not compile.
macro_rules! words {
    ($of:expr; $($type:ident { $($variant:ident),* $(,)? })*) => {
        BTreeMap::from([$({
            fn listed(value: &$type) {
                match value { $($type::$variant => (),)* }
            }
            let all = [$($type::$variant),*];
            all.iter().for_each(listed);
            (stringify!($type).to_owned(), all.iter().map($of).collect::<Vec<String>>())
        }),*])
    };
}

fn stored(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value).unwrap() {
        serde_json::Value::String(word) => word,
        other => panic!("{other} is more than a word"),
    }
}

#[test]
fn every_word_is_what_it_always_was() {
    let mut words = words! { stored;
        StepState { Began, Asked, Applied, NotApplied, Unknown, Done, Failed, Skipped }
        ClosedBy { Answer, Settled, Sight, LateBound, Repeated, Obligation }
        CommandKind { Pause, Resume, Promote, Approve, Abort, Rollback, Abandon }
        GuardResult { Pass, Refuse, Overridden }
        Decision { Bake, GoBack, FollowRevert, GiveWay, SetBackAgain, Pause, GoOn, PassGate, Resume, Abandon }
        DriverHow { Began, Resumed, TookOver, FoundDead, Broken, HandsOver, Parks }
        Sending { Idempotent, Once, AtMostOnce }
        Direction { Forward, Back, Barrier }
        FaultClass {
            Image, Resources, Start, Crash, OutOfMemory, Unhealthy, Capacity, Infrastructure, Check, Stalled,
            Rejected, Other
        }
        Blame { Release, Platform, Unknown }
        RolledBackBy { Us, Platform, Person }
        Side { Old, OldPastBarrier, New, Mixed, Other, Unknown }
        Runner { Platform, Command, Workflow }
        WriteGuard { None, Version, Fence }
    };
    let kind = |kind: &ErrorKind| ErrorRecord::from(&Error::new(*kind, "")).kind;
    words.extend(words! { kind;
        ErrorKind {
            Invalid, Unauthenticated, PermissionDenied, NotFound, Conflict, Throttled, Unavailable, TimedOut, Busy,
            Refused, LeaseLost, Store, Unsupported, Interrupted, JournalMismatch, Malformed, NotSucceeded, Unexpected
        }
    });
    let effect =
        |effect: &EffectState| ErrorRecord::from(&Error::new(ErrorKind::Store, "").effect_as(*effect)).effect;
    words.extend(words! { effect; EffectState { NotApplied, Unknown, Applied } });
    same("words.json", &words);
}
