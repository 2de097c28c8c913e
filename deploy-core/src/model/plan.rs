//! A plan: data made from a goal and a snapshot. Planning stores nothing.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Capabilities, Claim, Component, Fingerprint, GateId, Goal, GroupId, Identity, Revision, StepId,
    TargetName,
};
use crate::hash;

/// The format version of a stored plan.
pub const PLAN_VERSION: u32 = 1;

/// Who runs a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Runner {
    /// The platform.
    #[default]
    Platform,
    /// A command of the user's.
    Command,
    /// A workflow of a CI system.
    Workflow,
}

impl Runner {
    /// The word in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Command => "command",
            Self::Workflow => "workflow",
        }
    }
}

/// What undoes a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Undo {
    /// The way back puts the component to its old revision.
    Restores,
    /// Something else makes up for it: the step of the way back for the same component, which no other step has. It is
    /// run once, or a few times until it succeeds, when everything that can be looked at is back.
    Compensates,
    /// Nothing does.
    None {
        /// Why, in words.
        reason: String,
    },
    /// A migration: code from before it may not survive it.
    Barrier {
        /// Its name.
        migration: String,
    },
}

/// What kind of step it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepKind {
    /// Something is changed.
    Effect,
    /// The driver watches the component until it is done, failed or late.
    Await,
    /// The rollout waits for a person, a time, or the platform's own confirm.
    Gate {
        /// Which gate.
        gate: GateId,
        /// What happens when its time is over: `true` goes on, `false` goes back.
        late_goes_on: bool,
    },
}

impl StepKind {
    /// The stable word in events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Effect => "effect",
            Self::Await => "await",
            Self::Gate { .. } => "gate",
        }
    }
}

/// One step of a plan.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Unique in the plan.
    pub id: StepId,
    /// The component that it concerns.
    pub component: Component,
    /// What kind it is.
    pub kind: StepKind,
    /// One line for people, without predicted revision numbers.
    pub title: String,
    /// Who runs it.
    #[serde(default)]
    pub runner: Runner,
    /// What undoes it.
    pub undo: Undo,
    /// Its group, if it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Its time limit, all attempts together.
    pub deadline_ms: u64,
    /// How often an effect step may be run.
    pub attempts: u32,
    /// What the runner needs to know.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl fmt::Debug for Step {
    /// Without `data`: it may hold configuration values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("id", &self.id)
            .field("component", &self.component)
            .field("kind", &self.kind)
            .field("title", &self.title)
            .field("runner", &self.runner)
            .field("undo", &self.undo)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Step {
    /// A step with the default limits: effects five attempts in two minutes, awaits ten minutes, gates a day.
    pub fn new(
        id: impl Into<String>,
        component: Component,
        kind: StepKind,
        title: impl Into<String>,
    ) -> Self {
        let (deadline_ms, undo) = match kind {
            StepKind::Effect => (120_000, Undo::Restores),
            StepKind::Await => (600_000, Undo::None { reason: "it changes nothing".into() }),
            StepKind::Gate { .. } => (86_400_000, Undo::None { reason: "it changes nothing".into() }),
        };
        Self {
            id: StepId::new(id),
            component,
            kind,
            title: title.into(),
            runner: Runner::Platform,
            undo,
            group: None,
            deadline_ms,
            attempts: 5,
            data: Value::Null,
        }
    }

    /// With what the runner needs to know.
    #[must_use]
    pub fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// With another time limit.
    #[must_use]
    pub fn within_ms(mut self, deadline_ms: u64) -> Self {
        self.deadline_ms = deadline_ms;
        self
    }

    /// With what undoes it.
    #[must_use]
    pub fn undone_by(mut self, undo: Undo) -> Self {
        self.undo = undo;
        self
    }

    /// As part of a group.
    #[must_use]
    pub fn in_group(mut self, group: GroupId) -> Self {
        self.group = Some(group);
        self
    }
}

/// One line of what a plan changes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// What part: `images`, `env`, `other`.
    pub part: String,
    /// Which thing: a container, a key.
    pub name: String,
    /// Before; absent when it is added. Hidden for values of variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// After; absent when it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether before and after are plain configuration values, which screens hide.
    #[serde(default)]
    pub hidden: bool,
}

impl Change {
    /// A change that may be shown.
    pub fn new(
        part: impl Into<String>,
        name: impl Into<String>,
        before: Option<String>,
        after: Option<String>,
    ) -> Self {
        Self { part: part.into(), name: name.into(), before, after, hidden: false }
    }

    /// A change whose values are hidden.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (&self.before, &self.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        write!(f, "{} {sign} {}", self.part, self.name)?;
        if !self.hidden {
            write!(
                f,
                " {} -> {}",
                self.before.as_deref().unwrap_or("-"),
                self.after.as_deref().unwrap_or("-")
            )?;
        }
        Ok(())
    }
}

/// How the place is put back if the release fails. It is durable before the first step: the standing undo.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WayBack {
    /// Where to; `None` where there is no way back, with the reason in `words`.
    pub to: Option<Revision>,
    /// Whether `to` was known good, or only what ran steadily at the start.
    pub proven: bool,
    /// Effect steps, each "ensure that its component is at the revision": safe to run again.
    pub steps: Vec<Step>,
    /// What it will not restore.
    pub not_restored: Vec<String>,
    /// How, in one line for people.
    pub words: String,
}

impl WayBack {
    /// There is none, for this reason.
    pub fn none(reason: impl Into<String>) -> Self {
        Self { to: None, proven: false, steps: Vec::new(), not_restored: Vec::new(), words: reason.into() }
    }

    /// To a revision, by these steps.
    pub fn to(revision: Revision, steps: Vec<Step>, words: impl Into<String>) -> Self {
        Self { to: Some(revision), proven: false, steps, not_restored: Vec::new(), words: words.into() }
    }
}

/// The changes that a plan made later by the platform itself must fit into to be confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Envelope {
    /// Allowed changes: address and action to a fingerprint of the value, or `None` for any value.
    pub allowed: BTreeMap<String, Option<Fingerprint>>,
}

/// A plan. It serialises, and has two hashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The format version.
    pub v: u32,
    /// The target.
    pub target: TargetName,
    /// The platform's short name.
    pub platform: String,
    /// What "here" was when it was made.
    pub identity: Identity,
    /// What the place can do.
    pub capabilities: Capabilities,
    /// What is wanted.
    pub goal: Goal,
    /// What is locked, in sorted order; the first is home.
    pub claims: Vec<Claim>,
    /// What served when the plan was made, and what it declared: the base.
    pub base: Revision,
    /// What will serve, as far as it can be predicted.
    pub to: Revision,
    /// What has to be made before the place is touched (an image that is not built yet), in order. Each may be run
    /// again, and finds what an earlier run made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<Step>,
    /// Whether the steps can be planned only after that. An open plan can be shown and started; it cannot be approved or
    /// applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Bounded extra steps that an observation may call for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Step>,
    /// What changes.
    pub diff: Vec<Change>,
    /// What stays as it is, in the platform's words (`cpu, memory, roles, secrets (4)`): for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<String>,
    /// The way back.
    pub way_back: WayBack,
    /// What a later plan of the platform must fit into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// How long it must stay healthy after the last step.
    pub bake_ms: u64,
    /// How long going back may take, all steps and watching together.
    pub back_deadline_ms: u64,
    /// The instances that were healthy at the start and must not be undercut by us; 0 says so in words.
    pub floor: u32,
    /// Things that a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Plan {
    /// An empty plan from a snapshot: nothing to do, no way back yet.
    #[must_use]
    pub fn new(
        target: TargetName,
        goal: Goal,
        now: &super::Snapshot,
        claims: Vec<Claim>,
        to: Revision,
    ) -> Self {
        let mut claims = claims;
        claims.sort();
        claims.dedup();
        Self {
            v: PLAN_VERSION,
            target,
            platform: now.platform.clone(),
            identity: now.identity.clone(),
            capabilities: now.capabilities.clone(),
            goal,
            claims,
            base: now.serving.clone(),
            to,
            prepare: Vec::new(),
            open: false,
            steps: Vec::new(),
            remedies: Vec::new(),
            diff: Vec::new(),
            unchanged: None,
            way_back: WayBack::none("not planned"),
            envelope: None,
            bake_ms: 0,
            back_deadline_ms: 900_000,
            floor: now.counts.map_or(0, |counts| counts.healthy.min(counts.desired)),
            notes: Vec::new(),
        }
    }

    /// The hash that a person approves: goal, steps, envelope, policy, way back; no predicted revision numbers.
    #[must_use]
    pub fn approval_hash(&self) -> String {
        let steps: Vec<_> =
            self.steps.iter().map(|step| (&step.id, &step.component, &step.kind, &step.title)).collect();
        let back = (&self.way_back.to, self.way_back.steps.len());
        let hash = hash::of(&(
            "approve",
            self.v,
            &self.target,
            &self.goal,
            &self.claims,
            &steps,
            &self.diff,
            back,
            &self.envelope,
            self.bake_ms,
        ));
        // What others than the platform run is approved with all that they are told.
        let all = self.steps.iter().chain(&self.way_back.steps);
        let told: Vec<_> = all
            .filter(|step| step.runner != Runner::Platform)
            .map(|step| (&step.id, step.runner, &step.undo, &step.data))
            .collect();
        if told.is_empty() { hash } else { hash::of(&("approve with steps", hash, told)) }
    }

    /// The hash of what the plan starts from: identity and declared state.
    #[must_use]
    pub fn base_hash(&self) -> String {
        hash::of(&("base", &self.identity, &self.base.declared))
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        self.steps.iter().any(|step| step.kind == StepKind::Effect)
    }

    /// All steps: prepare, forward, remedies, way back.
    fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.prepare.iter().chain(&self.steps).chain(&self.remedies).chain(&self.way_back.steps)
    }

    /// A step of any kind by id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.all_steps().find(|step| step.id == *id)
    }

    /// Whether the step is run before the place is touched.
    #[must_use]
    pub fn is_prepare(&self, id: &StepId) -> bool {
        self.prepare.iter().any(|step| step.id == *id)
    }

    /// The first step whose runner is none of these.
    pub(crate) fn step_without_runner(&self, runs: impl Fn(Runner) -> bool) -> Option<&Step> {
        let mut all = self.steps.iter().chain(&self.remedies).chain(&self.way_back.steps);
        all.find(|step| !runs(step.runner))
    }

    /// Whether the step belongs to the way back.
    #[must_use]
    pub fn is_undo(&self, id: &StepId) -> bool {
        self.way_back.steps.iter().any(|step| step.id == *id)
    }

    /// Refuses what a machine could not run: duplicate ids, no claims, a way back that watches.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`](crate::error::ErrorKind::Unexpected) naming the step: a defect of the backend.
    pub fn check(&self) -> crate::Result<()> {
        let defect = |what: String| Err(crate::Error::new(crate::ErrorKind::Unexpected, what));
        if self.claims.is_empty() {
            return defect(format!("the plan for {} claims nothing", self.target));
        }
        let mut seen = std::collections::BTreeSet::new();
        for step in self.all_steps() {
            if !seen.insert(&step.id) {
                return defect(format!("two steps of the plan are called {}", step.id));
            }
        }
        if let Some(step) = self.way_back.steps.iter().find(|step| step.kind != StepKind::Effect) {
            return defect(format!("step {} of the way back is not an effect", step.id));
        }
        if let Some(step) = self.prepare.iter().find(|step| step.kind != StepKind::Effect) {
            return defect(format!("step {} of the preparation is not an effect", step.id));
        }
        if self.open && (self.prepare.is_empty() || !self.steps.is_empty()) {
            return defect(format!(
                "the plan for {} is open, and not because of its preparation",
                self.target
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_does_not_show_what_its_runner_gets() {
        let data = serde_json::json!({ "env": { "LEVEL": "hunter2" } });
        let step = Step::new("apply", Component::from("web"), StepKind::Effect, "apply").with(data);
        let shown = format!("{step:?}");
        assert!(shown.contains("apply") && !shown.contains("hunter2"), "{shown}");
    }
}
