//! What the journal says: the machine's durable state is the fold of its entries and nothing else.

use std::collections::BTreeSet;

use litemap::LiteMap;

use crate::{
    context::Outputs,
    model::{Cause, Component, Fingerprint, GateId, Outcome, Plan, StepId, Timestamp},
    state::journal::{ClosedBy, CommandKind, Decision, Direction, Entry, Fact, Intent, StepState},
};

/// Where the rollout is. Every arrow is an entry.
///
/// | from | entry | to |
/// |---|---|---|
/// | Guarding | `started` with an open plan | Preparing |
/// | Preparing | `planned` | Guarding |
/// | Guarding | first `step began` | Forward |
/// | Forward | `decision bake` | Baking |
/// | Guarding, Forward, Baking, Following | `decision go_back` | Back |
/// | Forward, Baking, Back | `decision follow_revert` | Following |
/// | any | `decision give_way` | GivingWay |
/// | Back | `decision abandon` | Abandoned |
/// | any | `ended` | Ended |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    Preparing,
    Guarding,
    Forward,
    Baking,
    Back,
    Following,
    GivingWay,
    Abandoned,
    Ended,
}

/// Why the rollout goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Failed,
    Abort,
    Person,
}

/// One component, as the rules N1 to N6 of docs/protocol.md need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Track {
    /// How many forward intents were written for it.
    pub(crate) forward: u32,
    /// The values that forward intents declare.
    pub(crate) ours: BTreeSet<Fingerprint>,
    /// How often the new value came back after the old one was known.
    pub(crate) appearances: u32,
    /// Our write of the old value was answered, and the new one was not seen since.
    pub(crate) old_known: bool,
}

/// An effect by (step, key): all its intents and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) intent: Intent,
    pub(crate) state: StepState,
    pub(crate) output: Option<serde_json::Value>,
    pub(crate) closed: Option<ClosedBy>,
}

/// The fold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) seq: u64,
    pub(crate) phase: Phase,
    pub(crate) started_at: Timestamp,
    pub(crate) sent: LiteMap<u64, Sent>,
    pub(crate) outputs: Outputs,
    pub(crate) done: BTreeSet<StepId>,
    pub(crate) attempts: LiteMap<StepId, u32>,
    pub(crate) tracks: LiteMap<Component, Track>,
    pub(crate) cause: Option<Cause>,
    pub(crate) why: Why,
    pub(crate) paused: bool,
    pub(crate) passed: BTreeSet<GateId>,
    pub(crate) restored_told: bool,
    pub(crate) met: BTreeSet<String>,
    pub(crate) obligations: Vec<String>,
    pub(crate) faults: Vec<u64>,
    pub(crate) ended: Option<Box<Outcome>>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            seq: 0,
            phase: Phase::Guarding,
            started_at: Timestamp::default(),
            sent: LiteMap::new(),
            outputs: Outputs::new(),
            done: BTreeSet::new(),
            attempts: LiteMap::new(),
            tracks: LiteMap::new(),
            cause: None,
            why: Why::Failed,
            paused: false,
            passed: BTreeSet::new(),
            restored_told: false,
            met: BTreeSet::new(),
            obligations: Vec::new(),
            faults: Vec::new(),
            ended: None,
        }
    }

    /// Intents without outcome.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Intent> {
        self.sent.values().filter(|sent| sent.closed.is_none()).map(|sent| &sent.intent)
    }

    /// Whether the last effect of a step ended without anybody having seen how.
    pub(crate) fn unseen(&self, step: &StepId) -> bool {
        let last = self.sent.values().rfind(|sent| sent.intent.step == *step);
        let by_time = [None, Some(ClosedBy::LateBound), Some(ClosedBy::Obligation)];
        last.is_some_and(|sent| by_time.contains(&sent.closed))
    }

    /// Components with a forward intent that was closed by time alone.
    pub(crate) fn closed_by_time(&self) -> BTreeSet<Component> {
        let by_time = |sent: &&Sent| {
            sent.intent.direction == Direction::Forward
                && matches!(sent.closed, Some(ClosedBy::LateBound | ClosedBy::Obligation))
        };
        self.sent.values().filter(by_time).filter_map(|sent| sent.intent.component.clone()).collect()
    }

    /// Whether an unanswered intent of this direction is left.
    pub(crate) fn has_open(&self) -> bool {
        self.open().next().is_some()
    }

    /// Whether anything was, or may have been, changed toward the goal.
    pub(crate) fn changed(&self) -> bool {
        self.sent.values().any(|sent| {
            sent.intent.direction == Direction::Forward
                && (sent.closed.is_none() || sent.state != StepState::NotApplied)
        })
    }

    /// Whether some component's declared state was, or may have been, written toward the goal.
    pub(crate) fn declared_changed(&self) -> bool {
        self.sent.values().any(|sent| {
            sent.intent.direction == Direction::Forward
                && sent.intent.to.is_some()
                && (sent.closed.is_none() || sent.state != StepState::NotApplied)
        })
    }

    pub(crate) fn apply(&mut self, entry: &Entry, plan: &Plan) {
        self.seq = entry.seq;
        match &entry.fact {
            Fact::Started { .. } => {
                self.started_at = entry.at;
                if plan.open {
                    self.phase = Phase::Preparing;
                }
            }
            Fact::Planned { .. } => self.phase = Phase::Guarding,
            Fact::Step { step, state, attempt, intent, of, closed, output, .. } => {
                self.apply_step(step, *state, *attempt, intent.as_deref(), output.as_ref(), plan);
                if let Some(of) = of {
                    self.answer(*of, *state, output.clone(), *closed);
                }
            }
            Fact::Fault { .. } => self.faults.push(entry.seq),
            Fact::Decision { decision, to, cause, .. } => {
                self.decide(*decision, to.as_deref(), cause.as_ref())
            }
            Fact::Restored { .. } => self.restored_told = true,
            Fact::Command { command, id, accepted, .. } => {
                if let Some(id) = id {
                    self.met.insert(id.clone());
                }
                if *accepted {
                    match command {
                        CommandKind::Abort => self.why = Why::Abort,
                        CommandKind::Rollback => self.why = Why::Person,
                        _ => {}
                    }
                }
            }
            Fact::Ended { outcome, .. } => {
                self.ended = Some(outcome.clone());
                self.phase = Phase::Ended;
            }
            Fact::Guard(_)
            | Fact::Check { .. }
            | Fact::Migration { .. }
            | Fact::Hold { .. }
            | Fact::Driver { .. }
            | Fact::Notice { .. } => {}
        }
    }

    fn apply_step(
        &mut self,
        step: &StepId,
        state: StepState,
        attempt: u32,
        intent: Option<&Intent>,
        output: Option<&serde_json::Value>,
        plan: &Plan,
    ) {
        match state {
            StepState::Began => {
                self.attempts.insert(step.clone(), attempt);
                if self.phase == Phase::Guarding && !plan.is_undo(step) && !plan.is_prepare(step) {
                    self.phase = Phase::Forward;
                }
            }
            StepState::Asked => {
                let Some(intent) = intent else { return };
                if let (Direction::Forward, Some(component), Some(to)) =
                    (intent.direction, &intent.component, &intent.to)
                {
                    let track = self.tracks.entry(component.clone()).or_default();
                    track.forward += 1;
                    track.ours.insert(to.clone());
                }
                let sent = Sent { intent: intent.clone(), state, output: None, closed: None };
                self.sent.insert(intent.id, sent);
            }
            StepState::Done | StepState::Skipped => {
                self.done.insert(step.clone());
                if let Some(output) = output {
                    self.outputs.insert(step.clone(), output.clone());
                }
            }
            StepState::Applied | StepState::NotApplied | StepState::Unknown | StepState::Failed => {}
        }
    }

    fn answer(
        &mut self,
        of: u64,
        state: StepState,
        output: Option<serde_json::Value>,
        closed: Option<ClosedBy>,
    ) {
        let Some(sent) = self.sent.get_mut(&of) else { return };
        sent.state = state;
        sent.closed = closed.or(sent.closed);
        if output.is_some() {
            sent.output = output;
        }
        let intent = sent.intent.clone();
        if closed == Some(ClosedBy::Obligation) {
            self.obligations
                .push(format!("whether {} of step {} happened is not known", intent.key, intent.step));
        }
        if state != StepState::Applied {
            return;
        }
        if let (Direction::Back, Some(component)) = (intent.direction, &intent.component) {
            self.tracks.entry(component.clone()).or_default().old_known = true;
        }
    }

    fn decide(&mut self, decision: Decision, to: Option<&str>, cause: Option<&Cause>) {
        match decision {
            Decision::Bake => self.phase = Phase::Baking,
            Decision::GoBack => self.phase = Phase::Back,
            Decision::FollowRevert => self.phase = Phase::Following,
            Decision::GiveWay => self.phase = Phase::GivingWay,
            Decision::Abandon => self.phase = Phase::Abandoned,
            Decision::Pause => self.paused = true,
            Decision::GoOn => self.paused = false,
            Decision::SetBackAgain => {
                if let Some(component) = to {
                    let track = self.tracks.entry(Component::from(component)).or_default();
                    track.appearances += 1;
                    track.old_known = false;
                }
            }
            Decision::PassGate => {
                if let Some(gate) = to {
                    self.passed.insert(GateId::from(gate));
                }
            }
            Decision::Resume => {}
        }
        if let Some(cause) = cause {
            self.cause = Some(cause.clone());
        }
    }
}
