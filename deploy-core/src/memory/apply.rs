//! What a mutation does when it arrives, and what it is compared with.

use super::{
    audit::{Rejected, WriteKind, maker, writer},
    call::{Call, Op, Reply, To},
    object::{Rev, signed},
    run::RunState,
    shape::{Behaviour, Shape},
    state::State,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Fence, Timestamp},
};

impl State {
    /// Applies a call or rejects it. The age of its signature is measured at `received`.
    pub(super) fn apply(&mut self, call: &Call, received: i64, late: bool) -> Result<Reply> {
        let result = self.honours(call, received).and_then(|()| self.operate(call, late));
        if let Err(error) = &result {
            self.rejected.push(Rejected {
                at: Timestamp::from_millis(self.now),
                what: call.op.word().to_owned(),
                token: call.token.clone(),
                fence: call.fence,
                why: error.message().to_owned(),
            });
        }
        result
    }

    fn operate(&mut self, call: &Call, late: bool) -> Result<Reply> {
        let by = writer(&call.token, call.fence);
        match &call.op {
            Op::Register { spec } => {
                if self.shape == Shape::Vapor && Behaviour::of(spec) == Behaviour::NoPull {
                    return Err(Error::new(ErrorKind::Invalid, "cannot publish: the image does not exist"));
                }
                let before = self.records.len();
                let rev = self.record(spec.clone(), maker(&call.token));
                let made = self.records.len() > before;
                self.wrote(WriteKind::Register, None, rev, made, late, by);
                Ok(Reply { name: self.records[rev].name.clone(), deployment: 0 })
            }
            Op::Set { component, to, expect } => {
                let part = self.index(component)?;
                if self.shape == Shape::Terraform && component.as_str() != "branch" {
                    return Err(Error::new(ErrorKind::Invalid, "a workspace is changed by its runs alone"));
                }
                if self.shape != Shape::Ecs {
                    self.compare(part, *expect, call.fence)?;
                }
                let rev = self.destination(to)?;
                let changed = self.declare(part, rev, None, None);
                if self.shape == Shape::Terraform && (changed || self.wants_run(rev)) {
                    self.push_run(rev);
                }
                self.wrote(WriteKind::Set, Some(part), rev, changed, late, by);
                Ok(self.accept(part, call, self.records[rev].name.clone()))
            }
            Op::Barrier { component, expect } => {
                let part = self.index(component)?;
                if self.shape == Shape::Ecs {
                    return Err(Error::new(ErrorKind::Unsupported, "nothing can be compared here"));
                }
                self.compare(part, Some(*expect), call.fence)?;
                self.objects[part].version += 1;
                let rev = self.objects[part].now().rev;
                self.wrote(WriteKind::Barrier, Some(part), rev, false, late, by);
                Ok(self.accept(part, call, self.records[rev].name.clone()))
            }
            Op::Delete { component, instance } => {
                let (part, now) = (self.index(component)?, self.now);
                match self.objects[part].stuck_mut() {
                    Some(epoch) if epoch.stuck.as_ref() == Some(instance) => {
                        (epoch.stuck, epoch.since) = (None, now);
                        // What stood in the way was the last old one that could not be counted on.
                        self.note(WriteKind::Delete, Some(part), instance.clone(), false, late, by);
                        Ok(Reply { name: instance.clone(), deployment: 0 })
                    }
                    _ => Err(Error::new(ErrorKind::NotFound, format!("there is no instance {instance}"))),
                }
            }
            Op::Hook { name } => {
                self.note(WriteKind::Hook, None, name.clone(), true, late, by);
                Ok(Reply { name: name.clone(), deployment: 0 })
            }
            Op::Confirm { run } => {
                let at = self.waiting_run(*run, &call.token, |state| state == RunState::Planned)?;
                let rev = self.runs[at].rev;
                if self.runs[at].state == RunState::Planned {
                    (self.runs[at].state, self.runs[at].since) = (RunState::Applying, self.now);
                    self.sign_run(at, call);
                    self.wrote(WriteKind::Confirm, None, rev, true, late, by);
                }
                Ok(Reply { name: self.records[rev].name.clone(), deployment: *run })
            }
            Op::Replace { run } => {
                let at = self.waiting_run(*run, &call.token, RunState::is_open)?;
                let rev = self.runs[at].rev;
                if self.runs[at].state.is_open() {
                    (self.runs[at].state, self.runs[at].since) = (RunState::Discarded, self.now);
                    self.sign_run(at, call);
                    self.start_run(rev);
                    self.wrote(WriteKind::Replace, None, rev, false, late, by);
                }
                Ok(Reply { name: self.records[rev].name.clone(), deployment: *run })
            }
        }
    }

    /// Fence first: an old holder is told so even where it happens to know the version.
    fn compare(&self, part: usize, expect: Option<u64>, fence: Fence) -> Result<()> {
        let object = &self.objects[part];
        if self.shape == Shape::Kubernetes && fence.0 < object.fence {
            let text = format!("{} carries fence {}, this is {fence}", object.component, object.fence);
            return Err(Error::new(ErrorKind::LeaseLost, text));
        }
        if expect != Some(object.version) {
            let made_for = expect.map_or_else(|| "none".to_owned(), |version| version.to_string());
            let text = format!(
                "{} is at version {}, this was made for {made_for}",
                object.component, object.version
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Ok(())
    }

    fn accept(&mut self, part: usize, call: &Call, name: String) -> Reply {
        let object = &mut self.objects[part];
        object.fence = object.fence.max(call.fence.0);
        let reply = Reply { name, deployment: object.now().deployment };
        object.remember(&call.token, call.op.word(), &reply);
        reply
    }

    pub(super) fn destination(&mut self, to: &To) -> Result<Rev> {
        match to {
            To::Spec(spec) => Ok(self.record(spec.clone(), "")),
            To::Named(name) => match self.named(name) {
                Some(rev) if !self.records[rev].retired => Ok(rev),
                _ => Err(Error::new(ErrorKind::NotFound, format!("there is no revision {name}"))),
            },
        }
    }

    /// A run in a wanted state, or one that this very call has moved already.
    fn waiting_run(&self, run: u64, token: &str, wanted: impl Fn(RunState) -> bool) -> Result<usize> {
        let at = self.runs.iter().position(|candidate| candidate.id == run);
        let at = at.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no run {run}")))?;
        let found = &self.runs[at];
        if wanted(found.state) || found.token.as_deref() == Some(token) {
            return Ok(at);
        }
        Err(Error::new(ErrorKind::Conflict, format!("run {run} is {:?}", found.state)))
    }

    /// A push of what the branch holds already makes a run only if the workspace does not hold it too.
    fn wants_run(&self, rev: Rev) -> bool {
        let workspace = &self.objects[self.objects.len() - 1];
        let on_its_way = |state: RunState| state.is_open() || state == RunState::Applying;
        workspace.now().rev != rev && !self.runs.iter().any(|run| run.rev == rev && on_its_way(run.state))
    }

    fn sign_run(&mut self, at: usize, call: &Call) {
        self.runs[at].token = Some(call.token.clone());
        self.runs[at].fence = Some(call.fence.0);
    }

    /// When a call that lands after so long is received: the platform applies what it took within its time.
    pub(super) fn received(&self, lands: i64) -> i64 {
        let applied_within = signed(self.options.lateness.apply_ms);
        self.now.max(lands.saturating_sub(applied_within))
    }
}
