//! What a machine knows only while it lives; made anew after a crash.

use std::collections::BTreeSet;

use litemap::LiteMap;

use super::Look;
use crate::{
    model::{Cause, Component, Counts, Fence, Fingerprint, Revision, StepId, Timestamp},
    state::journal::ErrorRecord,
};

/// What is going on right now. `Free`: nothing, so [`Machine::next`] chooses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Activity {
    /// Before [`Input::Begun`].
    Asleep,
    Free,
    Sealing {
        again_at: Option<Timestamp>,
    },
    /// The plan is made whose steps are missing.
    Planning {
        again_at: Option<Timestamp>,
    },
    Inspecting {
        then: AfterInspect,
        until: Timestamp,
        again_at: Option<Timestamp>,
    },
    Running {
        step: StepId,
        attempt: u32,
        began: Timestamp,
    },
    /// A failed attempt is over; the next begins at this time.
    Backoff {
        at: Timestamp,
    },
    Settling {
        intent: u64,
        again_at: Option<Timestamp>,
    },
    Watching {
        until: Timestamp,
    },
    Paused,
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AfterInspect {
    Guards,
    Step(StepId),
}

/// The newest look at a component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) declared: Fingerprint,
    pub(super) done: bool,
    /// The platform is at work on something that it has accepted.
    pub(super) at_work: bool,
    pub(super) counts: Option<Counts>,
    /// The revision of the scope, if the component declares it.
    pub(super) revision: Option<Revision>,
}

/// What is not in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Live {
    pub(super) now: Timestamp,
    pub(super) activity: Activity,
    pub(super) fence: Fence,
    pub(super) token: u64,
    /// Intents that wait to be durable, with their asks, by token.
    pub(super) granting: LiteMap<u64, (u64, u64)>,
    pub(super) watch: u64,
    pub(super) looks: Vec<Look>,
    /// The newest look at each component since the watch began.
    pub(super) seen: LiteMap<Component, Seen>,
    /// The newest look ever, for the outcome.
    pub(super) last_seen: LiteMap<Component, Seen>,
    /// The goal as it really is, from scopes.
    pub(super) goal: LiteMap<Component, Revision>,
    /// Late bounds of inherited intents, on our own clock.
    pub(super) inherited: LiteMap<u64, Timestamp>,
    /// Long attempts whose end was not seen, which are asked about before time closes them: until then at most.
    pub(super) cut_off: LiteMap<u64, Timestamp>,
    /// A predecessor that fell silent may have been cut off from the store and have run the standing undo, of which no
    /// entry tells: it lands before this.
    pub(super) undone_until: Option<Timestamp>,
    /// How it ends as soon as nothing of ours can arrive: nothing was changed.
    pub(super) unchanged: Option<Unchanged>,
    /// The new value was not seen since such a takeover: the old one may be that undo's.
    pub(super) maybe_undone: bool,
    pub(super) deadlines: LiteMap<StepId, Timestamp>,
    pub(super) bake_until: Option<Timestamp>,
    pub(super) back_until: Option<Timestamp>,
    pub(super) closed_at: Timestamp,
    /// Components whose old value was seen after going back began (what a look shows is not journaled).
    pub(super) old_seen: BTreeSet<Component>,
    /// Components whose forward call was closed by time or on sight, and which nobody has seen at the old value since:
    /// it may have landed right before.
    pub(super) unlooked: BTreeSet<Component>,
    /// When the undo of a component last said that it is done.
    pub(super) undone_at: LiteMap<Component, Timestamp>,
    pub(super) refusals: u32,
    pub(super) settles: u32,
    pub(super) blind: Option<ErrorRecord>,
    pub(super) inspected: bool,
    /// The guards were asked of the commit that something is made from.
    pub(super) commit_asked: bool,
    pub(super) frozen: bool,
    /// The store does not answer; the window that is left ends then.
    pub(super) store_lost: Option<Timestamp>,
    pub(super) reported: BTreeSet<(Component, crate::model::FaultClass, usize)>,
}

/// An end before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unchanged {
    pub(super) ended: crate::model::Ended,
    pub(super) cause: Cause,
    pub(super) next: Vec<String>,
}

/// The optional parts of a step's entry.
#[derive(Debug, Default)]
pub(super) struct StepNote {
    pub(super) effect: Option<String>,
    pub(super) of: Option<u64>,
    pub(super) closed: Option<crate::state::journal::ClosedBy>,
    pub(super) output: Option<serde_json::Value>,
    pub(super) error: Option<ErrorRecord>,
    pub(super) took_ms: Option<u64>,
}
