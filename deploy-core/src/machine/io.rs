//! What goes into the machine and what comes out: data only.

use serde_json::Value;

use crate::{
    context::{Ask, Grant},
    model::{
        Component, Counts, Fence, Fingerprint, Observation, Outcome, Plan, Revision, Scope, StepId, Timestamp,
    },
    platform::Settled,
    state::journal::{CommandRecord, DriverHow, Entry, ErrorRecord, GuardFinding, Intent},
};

/// What a look of the whole place found, with what the guards say of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inspected {
    /// What every guard says now.
    pub findings: Vec<GuardFinding>,
    /// What every component declares now.
    pub declared: Vec<(Component, Fingerprint)>,
    /// The revision that is declared now.
    pub serving: Revision,
    /// Instances, where they are counted.
    pub counts: Option<Counts>,
    /// When the look began.
    pub at: Timestamp,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EffectEnd {
    /// It happened, and returned this.
    Applied(Value),
    /// It failed; the record tells what is known.
    Failed(ErrorRecord),
}

/// How a check judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Good.
    Pass,
    /// Bad: it decides.
    Fail,
    /// Too little to tell.
    Inconclusive,
    /// The check itself could not look.
    Error,
}

/// What happened outside of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// The lease is held, and nothing is awaited any more: begin, or go on after [`Machine::recover`].
    ///
    /// [`Machine::recover`]: super::Machine::recover
    Begun {
        /// The fencing token.
        fence: Fence,
        /// Who holds the lease now.
        owner: String,
        /// Who held it before, if this is a takeover.
        previous: Option<String>,
        /// How it came about.
        how: DriverHow,
        /// Why, where a person broke the lease.
        reason: Option<String>,
        /// For how long a predecessor's unanswered calls may still arrive.
        quiet_ms: u64,
    },
    /// A running step asks for an effect.
    Asked(Ask),
    /// Everything appended up to this token is stored; a permit may last this long from now.
    Durable {
        /// The token of the [`Action::Append`].
        token: u64,
        /// What is left of the holder's window.
        window_ms: u64,
    },
    /// A granted effect ended.
    Effected {
        /// The intent.
        intent: u64,
        /// How.
        ended: EffectEnd,
    },
    /// Settling ended.
    Settled {
        /// The intent.
        intent: u64,
        /// What it found.
        found: Result<Settled, ErrorRecord>,
    },
    /// A step's run ended.
    StepEnded {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
        /// What it returned.
        result: Result<Value, ErrorRecord>,
    },
    /// The plan that was open was made, and stored as this object.
    Planned(Result<Box<(Plan, String)>, ErrorRecord>),
    /// The place was inspected and the guards were asked.
    Inspected(Result<Box<Inspected>, ErrorRecord>),
    /// The barrier writes ended.
    Sealed(Result<(), ErrorRecord>),
    /// A component was looked at.
    Observed {
        /// The watch that it belongs to; others are ignored.
        watch: u64,
        /// What was looked for.
        scope: Box<Scope>,
        /// What was seen.
        seen: Box<Observation>,
    },
    /// A component could not be looked at.
    Blind {
        /// The watch that it belongs to.
        watch: u64,
        /// Why.
        error: ErrorRecord,
    },
    /// A check judged.
    Judged {
        /// The check.
        check: String,
        /// What it says.
        verdict: Verdict,
        /// In one line.
        text: String,
        /// Its numbers.
        data: Value,
    },
    /// Someone wants something.
    Command {
        /// What.
        command: CommandRecord,
        /// `inbox` or `handle`.
        via: &'static str,
    },
    /// A gate was approved elsewhere.
    Approved {
        /// The gate's id.
        gate: String,
        /// By whom.
        by: String,
    },
    /// The platform's own gate was passed by someone or something else.
    GateMoved {
        /// The gate's id.
        gate: String,
    },
    /// A freeze began or ended.
    BlockChanged {
        /// Whether gates are closed now.
        frozen: bool,
        /// Why.
        text: String,
    },
    /// Someone else has the lease.
    LeaseLost,
    /// The store does not answer.
    StoreLost {
        /// What is left of the holder's window.
        window_ms: u64,
    },
    /// It does again.
    StoreBack,
    /// This process has to leave.
    Leave,
    /// Time has passed.
    Tick,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Look {
    /// A forward step's component, on its way.
    Toward(StepId),
    /// A component that should stay at the goal.
    AtGoal(Component),
    /// A component that should be (or get) back at the way back's revision, or else at the base.
    AtOld(Component),
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Journal these entries, in order. With a token: answer [`Input::Durable`] once all up to here is stored.
    Append {
        /// The entries.
        entries: Vec<Entry>,
        /// Whether somebody waits for it.
        token: Option<u64>,
    },
    /// The effect with this ask may be sent.
    Grant {
        /// The ask's number.
        ask: u64,
        /// The permit.
        grant: Grant,
    },
    /// The effect was made earlier, with this result.
    Recorded {
        /// The ask's number.
        ask: u64,
        /// What it returned.
        value: Value,
    },
    /// The effect may not be sent.
    Deny {
        /// The ask's number.
        ask: u64,
        /// Why.
        error: ErrorRecord,
    },
    /// Find out whether the intent landed.
    Settle(Box<Intent>),
    /// Make the barrier writes.
    Seal,
    /// Make the plan whose steps are missing, and store it.
    Plan,
    /// Look at the place as a whole and ask the guards.
    Inspect,
    /// Run a step as a child task.
    Execute {
        /// The step.
        step: StepId,
        /// Which attempt.
        attempt: u32,
    },
    /// Tell the running step to end early.
    Interrupt,
    /// Watch these from now on, instead of what was watched before; an empty list watches nothing.
    Watch {
        /// The number of the watch.
        watch: u64,
        /// What to look at.
        looks: Vec<Look>,
    },
    /// Start the checks (`true`) or stop them.
    Judge(bool),
    /// Send [`Input::Tick`] at this time.
    WakeAt(Timestamp),
    /// Release the lease and keep the claim: the rollout waits at a gate.
    Park,
    /// Release the lease and the claim: this is the end. The outcome is appended already.
    Finish(Box<Outcome>),
    /// Leave without an outcome: release the lease if it is held, keep the claim.
    HandOver,
}
