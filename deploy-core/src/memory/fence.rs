//! Settling, versions and sealing: what keeps old requests out where writes can be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    call::{Op, Reply},
    place::MemoryPlace,
    run::RunState,
    shape::Shape,
    state::State,
    work::{Words, parse},
};
use crate::{
    context::StepContext,
    error::{EffectState, Error, ErrorKind, Result},
    model::{Component, Plan},
    platform::{Settled, Versions},
    state::journal::{Intent, Sending},
};

/// How often a barrier of settling is made again after a conflict before the caller has to come back.
const BARRIER_TRIES: usize = 3;

/// What a takeover fences off.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Fenced {
    /// The version of each component.
    objects: BTreeMap<Component, u64>,
    /// The run that nobody has confirmed.
    #[serde(default)]
    run: Option<u64>,
}

/// What a look for an intent finds.
enum Sight {
    Landed(Reply),
    /// It can no longer land.
    Gone,
    /// It may still land until this is written.
    Burn(Op),
    Unclear,
}

impl MemoryPlace {
    pub(super) async fn settle_intent(&self, intent: &Intent, cx: &StepContext) -> Result<Settled> {
        if intent.sending == Sending::AtMostOnce {
            return Ok(Settled::Unknown);
        }
        let words: Words = parse(&intent.change, "the words of an intent")?;
        let token = format!("{}-{}", intent.rollout, intent.id);
        for _ in 0..BARRIER_TRIES {
            let sight = self
                .world()
                .read("fetch", intent.component.as_ref(), |state, at| {
                    sight(state, at, intent, &words, &token)
                })
                .await?;
            let op = match sight {
                Sight::Landed(reply) => return Ok(Settled::Applied(json!(reply))),
                Sight::Gone => return Ok(Settled::NotApplied),
                Sight::Unclear => return Ok(Settled::Unknown),
                Sight::Burn(op) => op,
            };
            match self.barrier(op, &format!("burn {}", intent.id), cx).await {
                // Nothing with that version can land any more, and it had not landed when the version was read.
                Ok(_) => return Ok(Settled::NotApplied),
                // Something moved, maybe the very call that is being settled: look again.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) if error.effect() == EffectState::Unknown => return Ok(Settled::Unknown),
                Err(error) => return Err(error),
            }
        }
        Ok(Settled::Unknown)
    }

    /// A barrier write. Its key names what it is conditional on: a later one is another effect.
    async fn barrier(&self, op: Op, why: &str, cx: &StepContext) -> Result<Reply> {
        let (key, words) = match &op {
            Op::Barrier { component, expect } => {
                let words = Words::Barrier { component: component.clone(), expect: *expect };
                (format!("{why} {component}@{expect}"), words)
            }
            Op::Replace { run } => (format!("{why} run {run}"), Words::Replace { run: *run }),
            other => {
                return Err(Error::new(ErrorKind::Unexpected, format!("{} is not a barrier", other.word())));
            }
        };
        cx.effect(&key, words).once(|permit| self.send(op, permit)).await
    }

    pub(super) async fn read_versions(&self, plan: &Plan) -> Result<Versions> {
        if self.world().shape() == Shape::Ecs || !plan.changes_something() {
            return Ok(Versions::default());
        }
        let look = |state: &State, _| {
            let mut fenced = Fenced::default();
            // A workspace has no version of its own: its runs stand for it.
            for object in &state.objects[..fenced_parts(state)] {
                fenced.objects.insert(object.component.clone(), object.version);
            }
            fenced.run = state.runs.iter().rev().find(|run| run.state.is_open()).map(|run| run.id);
            Ok(Versions(json!(fenced)))
        };
        self.world().read("fetch", None, look).await
    }

    pub(super) async fn seal_versions(&self, versions: &Versions, cx: &StepContext) -> Result<()> {
        if versions.0.is_null() {
            return Ok(());
        }
        let fenced: Fenced = parse(&versions.0, "the versions of a takeover")?;
        for (component, expect) in fenced.objects {
            self.barrier(Op::Barrier { component, expect }, "seal", cx).await?;
        }
        if let Some(run) = fenced.run {
            let sealed = self.barrier(Op::Replace { run }, "seal", cx).await;
            match sealed {
                Ok(_) => {}
                // It was confirmed or ended meanwhile: then no confirmation of it is under way that could matter.
                Err(error) if error.kind() == ErrorKind::Conflict && !self.run_is_open(run).await? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn run_is_open(&self, run: u64) -> Result<bool> {
        let look =
            |state: &State, _| Ok(state.runs.iter().any(|other| other.id == run && other.state.is_open()));
        self.world().read("fetch", None, look).await
    }
}

fn fenced_parts(state: &State) -> usize {
    if state.shape == Shape::Terraform { 1 } else { state.objects.len() }
}

fn sight(state: &State, at: i64, intent: &Intent, words: &Words, token: &str) -> Result<Sight> {
    let landed = |component: &Component, kind: &str| -> Result<Option<Sight>> {
        Ok(state.object(component)?.accepted(token, kind).cloned().map(Sight::Landed))
    };
    let run_sight = |run: u64, still: fn(RunState) -> bool| -> Sight {
        let Some(found) = state.runs.iter().find(|candidate| candidate.id == run) else { return Sight::Gone };
        if found.token.as_deref() == Some(token) {
            let name = state.records[found.rev].name.clone();
            return Sight::Landed(Reply { name, deployment: run });
        }
        if still(found.state) { Sight::Burn(Op::Replace { run }) } else { Sight::Gone }
    };
    Ok(match words {
        Words::Register { content } => {
            let maker = intent.rollout.as_str();
            let made = |record: &&super::state::Record| {
                record.maker == maker && record.spec.fingerprint() == *content
            };
            match state.records.iter().find(made) {
                Some(record) => Sight::Landed(Reply { name: record.name.clone(), deployment: 0 }),
                None => Sight::Unclear,
            }
        }
        Words::Hook { .. } => Sight::Unclear,
        Words::Set { component, .. } if state.shape == Shape::Ecs => {
            let part = state.index(component)?;
            let epoch = state.objects[part].as_of(at);
            let seen = intent.to.as_ref() == Some(state.declared(part, epoch));
            if seen && intent.exclusive && !intent.was_there {
                let name = state.records[epoch.rev].name.clone();
                Sight::Landed(Reply { name, deployment: epoch.deployment })
            } else {
                Sight::Unclear
            }
        }
        Words::Set { component, .. } => landed(component, "set")?
            .map_or_else(|| state.object(component).map(|object| burn(component, object.version)), Ok)?,
        Words::Barrier { component, expect } => match landed(component, "barrier")? {
            Some(landed) => landed,
            None if state.object(component)?.version == *expect => burn(component, *expect),
            None => Sight::Gone,
        },
        // The same deletion is harmless again, so it is sent again rather than settled.
        Words::Delete { component, instance } => match &state.object(component)?.now().stuck {
            Some(stuck) if stuck == instance => Sight::Unclear,
            _ => Sight::Landed(Reply { name: instance.clone(), deployment: 0 }),
        },
        Words::Confirm { run } | Words::Replace { run } => run_sight(*run, RunState::is_open),
    })
}

fn burn(component: &Component, expect: u64) -> Sight {
    Sight::Burn(Op::Barrier { component: component.clone(), expect })
}
