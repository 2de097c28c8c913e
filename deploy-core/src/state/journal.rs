//! What is written down: entries, intents, and the facts they state. One journaled entry is one event.

mod command;
mod error_record;

pub use command::{CommandKind, CommandRecord};
pub use error_record::ErrorRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{
    Blame, Cause, Component, FaultClass, Fence, Fingerprint, Instance, Outcome, Revision, RolloutId, StepId,
    Timestamp,
};

/// The format version of entries and heads. Readers accept this one and ignore fields that they do not know.
pub const STATE_VERSION: u32 = 1;

/// What a second sending of an effect means. The author of a step chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sending {
    /// The same call again is harmless, even late.
    Idempotent,
    /// A token, marker, version or fence: `settle` tells whether it landed.
    Once,
    /// Never sent again: unknown is settled by a probe or a person.
    AtMostOnce,
}

/// Which way an effect goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Toward the goal (F).
    Forward,
    /// Back to where it was (B).
    Back,
    /// A barrier write of a takeover or of settling: changes nothing that anyone reads.
    Barrier,
}

/// A durable intent: what is about to be sent. Holds base, change and hash, never a whole definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Intent {
    /// The sequence number of its entry; unique in the deploy.
    pub id: u64,
    /// The deploy.
    pub rollout: RolloutId,
    /// The step that asked.
    pub step: StepId,
    /// The step's name for the effect; stable from attempt to attempt.
    pub key: String,
    /// Which way it goes.
    pub direction: Direction,
    /// What a second sending means.
    pub sending: Sending,
    /// Keyed hash of what is sent: a repeated step must ask for the same.
    pub hash: String,
    /// The component whose declared state it writes, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// What that component declares once it has landed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Fingerprint>,
    /// Nobody else can write that value: seeing it proves that this intent (or one of the same value) landed.
    #[serde(default)]
    pub exclusive: bool,
    /// The same value was declared already when this was written: seeing it proves nothing.
    #[serde(default)]
    pub was_there: bool,
    /// The author's own words on base and change, small; the platform reads them when it settles.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub change: Value,
    /// Under which fence.
    pub fence: Fence,
    /// The signing time.
    pub signed_at: Timestamp,
    /// When it can no longer change anything.
    pub late_bound: Timestamp,
    /// How long its one attempt may take, in milliseconds, where that is longer than a request: a command that is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_ms: Option<u64>,
}

/// Where a step is, or what is known of an effect of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepState {
    /// The step began.
    Began,
    /// An intent: about to be sent.
    Asked,
    /// The effect happened.
    Applied,
    /// The effect certainly did not happen.
    NotApplied,
    /// It is not known whether the effect happened.
    Unknown,
    /// The step is done.
    Done,
    /// The step failed for good.
    Failed,
    /// The step was not needed.
    Skipped,
}

/// How an open intent was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// By its answer.
    Answer,
    /// By settling: a conditional write, a marker, a read that proves it.
    Settled,
    /// On sight: its value is there and only it can have put it there.
    Sight,
    /// Its late bound (or, for inherited ones, the quiet time) has passed.
    LateBound,
    /// A later sending of the same harmless call was answered.
    Repeated,
    /// It became an obligation: a person or a probe decides.
    Obligation,
}

/// The result of one guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardResult {
    /// Nothing against it.
    Pass,
    /// Says no.
    Refuse,
    /// Says no, and a person overrode it with a reason.
    Overridden,
}

/// What a guard found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GuardFinding {
    /// The guard's name (`identity`, `base`, `order`, ...).
    pub guard: String,
    /// What it says.
    pub result: GuardResult,
    /// Whether a person may override it.
    pub overridable: bool,
    /// What it found, for people; several lines allowed.
    pub text: String,
    /// What to do next: commands or advice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl GuardFinding {
    /// A guard that has nothing against it.
    pub fn pass(guard: impl Into<String>) -> Self {
        let (guard, result) = (guard.into(), GuardResult::Pass);
        Self { guard, result, overridable: false, text: String::new(), next: Vec::new() }
    }

    /// A guard that says no, and cannot be overridden.
    pub fn refuse(guard: impl Into<String>, text: impl Into<String>) -> Self {
        let (guard, text, result) = (guard.into(), text.into(), GuardResult::Refuse);
        Self { guard, result, overridable: false, text, next: Vec::new() }
    }

    /// May be overridden by a person with a reason.
    #[must_use]
    pub fn overridable(mut self) -> Self {
        self.overridable = true;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

/// Decisions of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// All steps are done: the bake begins.
    Bake,
    /// Go back to the old revision.
    GoBack,
    /// The platform goes back by itself; it is followed.
    FollowRevert,
    /// Someone else changed it; leave it to them.
    GiveWay,
    /// The late forward call has landed: set it back again.
    SetBackAgain,
    /// Stop before the next step.
    Pause,
    /// Go on after a pause.
    GoOn,
    /// Pass a gate.
    PassGate,
    /// Go on where a predecessor stood.
    Resume,
    /// Stop going back; a person takes over.
    Abandon,
}

/// How a driver came to hold the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DriverHow {
    /// It began the deploy.
    Began,
    /// The predecessor released it (parked, handed over).
    Resumed,
    /// The predecessor was silent for longer than the patience.
    TookOver,
    /// The predecessor's process no longer exists on this host.
    FoundDead,
    /// A person broke the lease.
    Broken,
    /// It leaves without an outcome.
    HandsOver,
    /// It waits at a gate without a process.
    Parks,
}

/// What an entry states. Its words are the `type` words of the JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// The deploy began: plan and standing undo are durable.
    Started {
        /// What served.
        from: Revision,
        /// What is wanted.
        to: Revision,
        /// The approval hash of the plan.
        plan: String,
        /// The object that holds the plan.
        plan_object: String,
        /// Who asked.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The platform's short name.
        platform: String,
        /// Whether it is a rollback.
        rollback: bool,
    },
    /// What the plan waited for is made, and its steps are known.
    Planned {
        /// The approval hash of the plan.
        plan: String,
        /// The object that holds it: from here on it is the deploy's plan.
        plan_object: String,
        /// What is wanted, with what was made.
        to: Revision,
    },
    /// A guard spoke.
    Guard(GuardFinding),
    /// Something about a step or an effect of it.
    Step {
        /// The step.
        step: StepId,
        /// `effect`, `await`, `gate`, `seal`, `settle`.
        kind: String,
        /// What is known.
        state: StepState,
        /// Which attempt.
        attempt: u32,
        /// The effect's key, where an effect is meant.
        effect: Option<String>,
        /// The intent, for `asked`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        intent: Option<Box<Intent>>,
        /// The intent that is answered or closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<u64>,
        /// How it was closed, if it is closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        closed: Option<ClosedBy>,
        /// What it returned.
        output: Option<Value>,
        /// What went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorRecord>,
        /// How long it took.
        took_ms: Option<u64>,
    },
    /// A trouble that was seen and counts.
    Fault {
        /// Its class.
        class: FaultClass,
        /// Whose fault.
        blame: Blame,
        /// Whether it decides at once.
        permanent: bool,
        /// The instances.
        instances: Vec<Instance>,
        /// In one line.
        text: String,
        /// The last log lines, scrubbed and capped.
        log: Vec<String>,
        /// The entries that it rests on.
        evidence: Vec<u64>,
    },
    /// A judgement of a check that a decision rests on.
    Check {
        /// The check.
        check: String,
        /// `pass`, `fail`, `inconclusive`, `error`.
        verdict: String,
        /// Numbers, as the check gives them.
        data: Value,
    },
    /// The machine decided.
    Decision {
        /// What.
        decision: Decision,
        /// On which entries.
        because: Vec<u64>,
        /// Where to, for people.
        to: Option<String>,
        /// Why, where it is a fault.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// The old revision serves; an unanswered call may still arrive.
    Restored {
        /// What serves.
        serving: crate::model::Serving,
        /// When it will be final.
        final_after: Timestamp,
        /// How many calls are unanswered.
        open_calls: usize,
    },
    /// A command was met.
    Command {
        /// Which.
        command: CommandKind,
        /// Its id in the inbox, if it came from there.
        id: Option<String>,
        /// By whom.
        by: String,
        /// Why.
        reason: Option<String>,
        /// `inbox` or `handle`.
        via: String,
        /// Whether it is obeyed.
        accepted: bool,
    },
    /// A migration's state.
    Migration {
        /// Its name.
        migration: String,
        /// `expand` or `contract`.
        kind: String,
        /// `started`, `finished`, `unknown`.
        state: String,
    },
    /// A hold was set or lifted.
    Hold {
        /// `set` or `lift`.
        action: String,
        /// First and last commit.
        range: (String, String),
        /// The commits.
        commits: Vec<String>,
        /// By whom.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// The holder changed.
    Driver {
        /// Who holds it now.
        owner: String,
        /// Who held it before.
        previous: Option<String>,
        /// The fencing token.
        fence: Fence,
        /// How it came about.
        how: DriverHow,
        /// Why, where a person broke the lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Something worth telling that decides nothing.
    Notice {
        /// `info`, `warning`, `needs_person`.
        level: String,
        /// A stable word.
        code: String,
        /// In one line.
        about: String,
    },
    /// The deploy ended.
    Ended {
        /// How.
        outcome: Box<Outcome>,
        /// What is known good from now on, if this made something known good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known_good: Option<Box<Revision>>,
    },
}

/// One journaled entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The format version.
    pub v: u32,
    /// Gapless in the deploy, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The deploy.
    pub rollout: RolloutId,
    /// What.
    pub fact: Fact,
}

impl Entry {
    /// An entry of this format version.
    #[must_use]
    pub fn new(seq: u64, at: Timestamp, rollout: RolloutId, fact: Fact) -> Self {
        Self { v: STATE_VERSION, seq, at, rollout, fact }
    }
}
