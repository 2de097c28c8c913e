//! Running the effect steps.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    call::{Call, Op, Reply, To},
    place::MemoryPlace,
    run::{RunState, changes, outside},
    shape::{Shape, Spec},
    state::content_name,
    work::{Dest, Words, Work, output, work},
};
use crate::{
    context::{Effect, Permit, StepContext},
    error::{EffectState, Error, ErrorKind, Result, Retry},
    hash,
    model::{Component, Fingerprint, Step, StepId},
};

/// What a confirmation finds.
enum Found {
    /// This run waits.
    Run(u64),
    /// There is nothing to confirm any more.
    Nothing(Reply),
}

impl MemoryPlace {
    pub(super) async fn run(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let reply = match work(step)? {
            Work::Register { spec } => self.register(spec, cx).await?,
            Work::Hook { name } => self.hook(&name, cx).await?,
            Work::Set { to, over } => self.set(&step.component, to, over, cx).await?,
            Work::Confirm { name, allowed } => self.confirm(&step.component, name, &allowed, cx).await?,
            Work::DeleteStuck => self.delete_stuck(&step.component, cx).await?,
            Work::Watch { .. } => {
                return Err(Error::new(ErrorKind::Unexpected, format!("step {} is not an effect", step.id)));
            }
        };
        Ok(json!(reply))
    }

    /// Sends one mutation under a permit: the clock is looked at right before.
    pub(super) async fn send(&self, op: Op, permit: Permit) -> Result<Reply> {
        permit.check()?;
        self.world().call(Call::permitted(op, &permit)).await
    }

    /// The same content from the same deploy gives the same revision, so a second sending is harmless.
    async fn register(&self, spec: Spec, cx: &StepContext) -> Result<Reply> {
        let words = Words::Register { content: spec.fingerprint() };
        cx.effect("register", words).idempotent(|permit| self.send(Op::Register { spec }, permit)).await
    }

    /// Nothing tells afterwards whether it ran.
    async fn hook(&self, name: &str, cx: &StepContext) -> Result<Reply> {
        let words = Words::Hook { name: name.to_owned() };
        let takes = self.world().state().options.hook_ms;
        let call = |permit| async move {
            let ran = self.send(Op::Hook { name: name.to_owned() }, permit).await?;
            self.world().clock().sleep(Duration::from_millis(takes)).await;
            Ok(ran)
        };
        cx.effect("hook", words).at_most_once(call).await
    }

    async fn set(
        &self,
        component: &Component,
        to: Dest,
        mut over: Vec<Fingerprint>,
        cx: &StepContext,
    ) -> Result<Reply> {
        let shape = self.world().shape();
        let part = component.as_str();
        let made = matches!(to, Dest::Made(_));
        let (to, name, declares) = match to {
            Dest::Spec(spec) => {
                let (name, print) = (content_name(shape, &spec), spec.fingerprint());
                (To::Spec(spec), name, print)
            }
            Dest::Made(step) => {
                let name = cx.output::<Reply>(&step)?.name;
                let print = Shape::numbered(part, &name);
                (To::Named(name.clone()), name, print)
            }
            Dest::Named(name) => {
                let print = self.print_of(component, &name).await?;
                (To::Named(name.clone()), name, print)
            }
        };
        let effect = |key: &str| -> Effect<'_> {
            let words = Words::Set { component: component.clone(), to: name.clone() };
            cx.effect(key, words).declares(component.clone(), declares.clone())
        };
        if shape == Shape::Ecs {
            // Nothing can be compared: who looks before writing is the driver.
            let op = Op::Set { component: component.clone(), to, expect: None };
            // A revision that this deploy made for itself can be declared by nobody else.
            let effect = if made { effect("set").exclusive() } else { effect("set") };
            // Not `idempotent`: the same call landing late, after going back, is anything but harmless.
            let reply = effect.once(|permit| self.send(op, permit)).await?;
            self.saw(component, reply.deployment);
            return Ok(reply);
        }
        // What this deploy itself has made and put there may be replaced too.
        for step in ["publish"].map(StepId::from) {
            if let Some(reply) = output(cx.outputs(), &step)? {
                over.push(Shape::numbered(part, &reply.name));
            }
        }
        // The version is read before the intent becomes durable: a later holder's barrier then keeps this write out.
        let (version, there) = self.version_of(component).await?;
        if there != declares && !over.contains(&there) {
            let text = format!("someone else has changed {component}: it declares {there}");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        // Written even where the value is right already: that burns whatever is still under way.
        let op = Op::Set { component: component.clone(), to, expect: Some(version) };
        effect("set").once(|permit| self.send(op, permit)).await
    }

    async fn delete_stuck(&self, component: &Component, cx: &StepContext) -> Result<Reply> {
        let stuck = self
            .world()
            .read("fetch", Some(component), |state, _| Ok(state.object(component)?.now().stuck.clone()))
            .await?;
        let Some(instance) = stuck else { return Ok(Reply::default()) };
        // By its unique id: late or twice, it never hits the instance that comes after.
        let key = format!("delete {instance}");
        let words = Words::Delete { component: component.clone(), instance: instance.clone() };
        let op = Op::Delete { component: component.clone(), instance: instance.clone() };
        let deleted = cx.effect(&key, words).idempotent(|permit| self.send(op, permit)).await;
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reply { name: instance, deployment: 0 }),
            deleted => deleted,
        }
    }

    async fn confirm(
        &self,
        component: &Component,
        name: String,
        allowed: &std::collections::BTreeMap<String, Option<Fingerprint>>,
        cx: &StepContext,
    ) -> Result<Reply> {
        let found = self
            .world()
            .read("fetch", Some(component), |state, _| {
                let target = state.named(&name);
                let workspace = state.object(component)?.now();
                let here = state.runs.iter().rev().find(|run| Some(run.rev) == target);
                let applying = state.runs.iter().find(|run| run.state == RunState::Applying);
                let done = |run: u64| Ok(Found::Nothing(Reply { name: name.clone(), deployment: run }));
                if let Some(applying) = applying {
                    return match Some(applying.rev) == target {
                        true => done(applying.id),
                        false => Err(later("another run applies", state.options.apply_ms)),
                    };
                }
                if Some(workspace.rev) == target {
                    return done(here.map_or(0, |run| run.id));
                }
                match here.map(|run| (run.id, run.state)) {
                    Some((id, RunState::Planned)) => {
                        let spec = |rev: usize| &state.records[rev].spec;
                        let mut made = changes(spec(workspace.rev), spec(target.unwrap_or(workspace.rev)));
                        made.extend(state.drift.clone());
                        let unplanned = outside(&made, allowed);
                        if unplanned.is_empty() {
                            return Ok(Found::Run(id));
                        }
                        let text = format!("run {id} would also change {}", unplanned.join(", "));
                        Err(Error::new(ErrorKind::Refused, text)
                            .next("look at the run on the platform, then confirm or discard it there"))
                    }
                    Some((_, RunState::Planning | RunState::Pending)) => {
                        Err(later("the run still plans", state.options.plan_ms))
                    }
                    Some((id, was)) => Err(Error::new(ErrorKind::Conflict, format!("run {id} is {was:?}"))
                        .retry_as(Retry::Never)),
                    None => Err(Error::new(ErrorKind::NotFound, format!("there is no run of {name}"))),
                }
            })
            .await?;
        let run = match found {
            Found::Nothing(reply) => return Ok(reply),
            Found::Run(run) => run,
        };
        let print = self.print_of(component, &name).await?;
        let effect = cx.effect(&format!("confirm {run}"), Words::Confirm { run });
        let effect = effect.declares(component.clone(), print);
        effect.once(|permit| self.send(Op::Confirm { run }, permit)).await
    }

    /// What a component declares at a revision that exists.
    async fn print_of(&self, component: &Component, name: &str) -> Result<Fingerprint> {
        let shape = self.world().shape();
        if shape.numbers_revisions() {
            return Ok(hash::fingerprint(&(component.as_str(), name)));
        }
        let find = |state: &super::state::State, _| match state.named(name) {
            Some(rev) => Ok(state.records[rev].declared[state.index(component)?].clone()),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no revision {name}"))),
        };
        self.world().read("fetch", Some(component), find).await
    }

    /// A component's version, and what it declares.
    pub(super) async fn version_of(&self, component: &Component) -> Result<(u64, Fingerprint)> {
        let look = |state: &super::state::State, _| {
            let part = state.index(component)?;
            let object = &state.objects[part];
            Ok((object.version, state.declared(part, object.now()).clone()))
        };
        self.world().read("fetch", Some(component), look).await
    }
}

fn later(text: &str, millis: u64) -> Error {
    Error::new(ErrorKind::Conflict, text)
        .retry_as(Retry::After(Duration::from_millis(millis)))
        .effect_as(EffectState::NotApplied)
}
