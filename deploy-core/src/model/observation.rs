//! One look at a component: motion, counts, signals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Component, Fingerprint, GateId, Revision, StepId, Timestamp};
use crate::report::{scrub_line, scrub_lines};

/// What a look is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The component is being moved to this revision.
    Toward {
        /// The component.
        component: Component,
        /// Where it is going.
        revision: Revision,
        /// What the step that moved it returned (a deployment id, a run id).
        handle: Value,
    },
    /// The component should stay at this revision.
    Holding {
        /// The component.
        component: Component,
        /// Where it should be.
        revision: Revision,
    },
}

impl Scope {
    /// The component that is looked at.
    #[must_use]
    pub fn component(&self) -> &Component {
        match self {
            Self::Toward { component, .. } | Self::Holding { component, .. } => component,
        }
    }

    /// The revision that it should have.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        match self {
            Self::Toward { revision, .. } | Self::Holding { revision, .. } => revision,
        }
    }

    /// The fingerprint that the component should declare.
    #[must_use]
    pub fn declared(&self) -> Option<&Fingerprint> {
        self.revision().declared.get(self.component())
    }
}

/// Who changed something that we did not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor(pub String);

/// Where a component is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Motion {
    /// On its way.
    Progressing,
    /// Every counted instance reports the scope's revision, and nothing is in motion.
    Done,
    /// The platform waits at a gate.
    Waiting(GateId),
    /// The platform goes back by itself.
    PlatformRevert {
        /// Where to, if that is known.
        to: Option<Revision>,
        /// It has arrived there.
        ended: bool,
    },
    /// The declared state is neither the scope's nor on its way there. While going back the core itself decides, by
    /// what is declared, whether that is somebody else's or a call of its own.
    Foreign {
        /// What is declared now.
        revision: Option<Revision>,
        /// Who did it, if the platform tells.
        by: Option<Actor>,
    },
}

/// Instances of a component. What the platform does not tell stays 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Wanted.
    pub desired: u32,
    /// Of the scope's revision.
    pub updated: u32,
    /// Of the scope's revision, and healthy.
    pub healthy: u32,
    /// Of other revisions, still running.
    pub old: u32,
}

impl Counts {
    /// All four numbers.
    #[must_use]
    pub const fn new(desired: u32, updated: u32, healthy: u32, old: u32) -> Self {
        Self { desired, updated, healthy, old }
    }
}

/// What kind of trouble an instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultClass {
    /// The image cannot be pulled or does not exist.
    Image,
    /// A secret, role, network or volume that the instance needs cannot be had.
    Resources,
    /// The process cannot be started (bad command, wrong architecture).
    Start,
    /// The process ended by itself.
    Crash,
    /// Killed for its memory.
    OutOfMemory,
    /// Runs, but fails its health checks.
    Unhealthy,
    /// There is no room for it.
    Capacity,
    /// A machine or the platform failed.
    Infrastructure,
    /// A check of ours says no.
    Check,
    /// No progress within the deadline.
    Stalled,
    /// The platform refused the change.
    Rejected,
    /// Nothing of the above.
    Other,
}

impl FaultClass {
    /// The stable word in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Resources => "resources",
            Self::Start => "start",
            Self::Crash => "crash",
            Self::OutOfMemory => "out_of_memory",
            Self::Unhealthy => "unhealthy",
            Self::Capacity => "capacity",
            Self::Infrastructure => "infrastructure",
            Self::Check => "check",
            Self::Stalled => "stalled",
            Self::Rejected => "rejected",
            Self::Other => "other",
        }
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Blame {
    /// The release's: it counts against it.
    Release,
    /// The platform's or a machine's: it does not.
    Platform,
    /// Cannot be told.
    Unknown,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permanence {
    /// It will be the same the next time (image missing): one instance decides.
    Permanent,
    /// It may be the same the next time (a crash): two instances decide.
    Recurring,
    /// It passes by itself (throttled pull, full node).
    Transient,
}

/// One instance as a look saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The platform's id, as short as it stays unique.
    pub id: String,
    /// The revision that it runs.
    pub revision: String,
    /// The platform's word for its state.
    pub state: String,
    /// Why it is so, in the platform's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exit code of the container that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl Instance {
    /// An instance in a state.
    pub fn new(id: impl Into<String>, revision: impl Into<String>, state: impl Into<String>) -> Self {
        Self { id: id.into(), revision: revision.into(), state: state.into(), reason: None, exit_code: None }
    }

    fn scrub(&mut self) {
        self.reason = self.reason.as_deref().map(scrub_line);
    }
}

/// One kind of trouble seen, with the instances that show it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Signal {
    /// What it is.
    pub class: FaultClass,
    /// Whose fault.
    pub blame: Blame,
    /// Whether trying again can help.
    pub permanence: Permanence,
    /// The instances that showed it so far in this rollout; each counts once.
    pub instances: Vec<Instance>,
    /// What it says, in one line for people.
    pub text: String,
    /// The last log lines of the first such instance: `time  line`, scrubbed and capped.
    pub log: Vec<String>,
}

impl Signal {
    /// A signal without log lines.
    pub fn new(
        class: FaultClass,
        blame: Blame,
        permanence: Permanence,
        instances: Vec<Instance>,
        text: impl Into<String>,
    ) -> Self {
        Self { class, blame, permanence, instances, text: text.into(), log: Vec::new() }
    }

    /// Whether this signal alone decides against the release.
    #[must_use]
    pub fn decides(&self) -> bool {
        let enough = match self.permanence {
            Permanence::Permanent => 1,
            Permanence::Recurring => 2,
            Permanence::Transient => return false,
        };
        self.blame == Blame::Release && self.instances.len() >= enough
    }
}

/// One look at one component.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Observation {
    /// When the look began: the state is at least as new as this unless the platform serves stale reads,
    /// which `observe` has to see through (a write of ours that it knows of must be visible).
    pub at: Timestamp,
    /// The component.
    pub component: Component,
    /// What the component declares now.
    pub declared: Fingerprint,
    /// Where it is on its way.
    pub motion: Motion,
    /// Instances, where they are counted.
    pub counts: Option<Counts>,
    /// Troubles.
    pub signals: Vec<Signal>,
    /// Instances worth showing.
    pub instances: Vec<Instance>,
    /// A bounded extra step of the plan that this look calls for.
    pub remedy: Option<StepId>,
    /// When to look again, in milliseconds.
    pub look_again_ms: u64,
    /// Free facts for screens.
    pub notes: BTreeMap<String, String>,
}

impl Observation {
    /// A look without counts and troubles.
    #[must_use]
    pub fn new(at: Timestamp, component: Component, declared: Fingerprint, motion: Motion) -> Self {
        Self {
            at,
            component,
            declared,
            motion,
            counts: None,
            signals: Vec::new(),
            instances: Vec::new(),
            remedy: None,
            look_again_ms: 5_000,
            notes: BTreeMap::new(),
        }
    }
    /// Takes secrets out of what others wrote: it is journaled, shown and sent on.
    pub(crate) fn scrub(&mut self) {
        for signal in &mut self.signals {
            signal.text = scrub_line(&signal.text);
            signal.log = scrub_lines(&signal.log);
            signal.instances.iter_mut().for_each(Instance::scrub);
        }
        self.instances.iter_mut().for_each(Instance::scrub);
        for note in self.notes.values_mut() {
            *note = scrub_line(note);
        }
    }
}
