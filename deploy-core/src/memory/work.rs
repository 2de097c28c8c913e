//! What steps and intents carry: the words that planning, executing, watching and settling share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{call::Reply, shape::Spec};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Component, Fingerprint, GateId, Revision, Step, StepId},
    platform::Outputs,
};

/// The step that deletes a stuck instance.
pub(super) const DELETE_STUCK: &str = "delete-stuck";
/// The gate at which a Terraform run waits.
pub(super) const CONFIRM: &str = "confirm";

/// What a step has to do: its `data`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Work {
    /// Make a numbered revision.
    Register { spec: Spec },
    /// Run the hook.
    Hook { name: String },
    /// Put the component somewhere.
    Set {
        to: Dest,
        /// What it may be put over, besides itself and what the plan made.
        over: Vec<Fingerprint>,
    },
    /// Confirm the run of this content, if it changes nothing else.
    Confirm { name: String, allowed: BTreeMap<String, Option<Fingerprint>> },
    /// Delete the stuck instance.
    DeleteStuck,
    /// Watch for what a step did; for no step, for what was there.
    Watch { of: Option<StepId> },
}

/// Where a component is put.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dest {
    /// To a revision that exists.
    Named(String),
    /// To this content.
    Spec(Spec),
    /// To what this step made.
    Made(StepId),
}

/// What an observation is told besides the revision.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Handle {
    /// What the step that moved the component returned, if it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sent: Option<Reply>,
    /// What may be declared without anyone else having done it: base, and what the plan wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ours: Vec<Fingerprint>,
    /// The look is about a gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<GateId>,
    /// The changes that the run may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) allowed: Option<BTreeMap<String, Option<Fingerprint>>>,
    /// The component is being put back.
    #[serde(default)]
    pub(super) back: bool,
}

/// The author's words in an intent: what `settle` decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Words {
    Register { content: Fingerprint },
    Hook { name: String },
    Set { component: Component, to: String },
    Barrier { component: Component, expect: u64 },
    Delete { component: Component, instance: String },
    Confirm { run: u64 },
    Replace { run: u64 },
}

pub(super) fn parse<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::new(ErrorKind::Malformed, format!("{what}: {error}")))
}

pub(super) fn work(step: &Step) -> Result<Work> {
    parse(&step.data, "what the step has to do")
}

pub(super) fn data(work: &Work) -> Value {
    json!(work)
}

/// What an earlier step returned.
pub(super) fn output(outputs: &Outputs, step: &StepId) -> Result<Option<Reply>> {
    outputs.get(step).map(|value| parse(value, "what an earlier step returned")).transpose()
}

/// Where each component is at a revision: its name there.
pub(super) fn places(revision: &Revision) -> Result<BTreeMap<Component, String>> {
    #[derive(Deserialize)]
    struct Places {
        at: BTreeMap<Component, String>,
    }
    let Places { at } = parse(&revision.handle, "the revision's handle")?;
    Ok(at)
}
