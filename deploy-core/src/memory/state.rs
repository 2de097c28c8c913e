//! The remote system: revisions, objects, runs, calls under way. Advanced lazily; it knows no clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    audit::{Rejected, Write, WriteKind, Writer, writer},
    call::Call,
    object::{Epoch, How, Object, Rev, Status, signed, status},
    run::{Run, RunState},
    shape::{Behaviour, Shape, Spec, WorldOptions},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Component, Fence, Fingerprint, Revision, Timestamp},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) spec: Spec,
    pub(super) behaviour: Behaviour,
    /// What each component declares at it, in the order of the shape's components.
    pub(super) declared: Vec<Fingerprint>,
    /// The deploy that made it, where it has a maker.
    pub(super) maker: String,
    pub(super) retired: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Late {
    pub(super) at: i64,
    /// When the request arrives: what its signature's age is measured at.
    pub(super) received: i64,
    pub(super) call: Call,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) shape: Shape,
    pub(super) options: WorldOptions,
    pub(super) now: i64,
    pub(super) identity: BTreeMap<String, String>,
    pub(super) records: Vec<Record>,
    pub(super) objects: Vec<Object>,
    pub(super) runs: Vec<Run>,
    pub(super) late: Vec<Late>,
    /// Changes that later runs make besides ours.
    pub(super) drift: BTreeMap<String, Option<Fingerprint>>,
    pub(super) writes: Vec<Write>,
    pub(super) rejected: Vec<Rejected>,
}

enum Event {
    Lands(usize),
    Reverts(usize, Rev),
    RunMoves(usize),
}

impl State {
    pub(super) fn new(shape: Shape, options: WorldOptions, now: i64) -> Self {
        let mut repositories: Vec<&str> =
            options.initial.images.values().map(|image| repository(image)).collect();
        repositories.dedup();
        let containers: Vec<&str> = options.initial.images.keys().map(String::as_str).collect();
        let identity = [
            ("account", "111111111111".to_owned()),
            ("region", "memory-1".to_owned()),
            ("place", format!("{}/web", shape.word())),
            ("containers", containers.join(",")),
            ("repositories", repositories.join(",")),
        ];
        let mut state = Self {
            shape,
            now,
            identity: identity.map(|(key, value)| (key.to_owned(), value)).into(),
            records: Vec::new(),
            objects: Vec::new(),
            runs: Vec::new(),
            late: Vec::new(),
            drift: BTreeMap::new(),
            writes: Vec::new(),
            rejected: Vec::new(),
            options,
        };
        let rev = state.record(state.options.initial.clone(), "");
        let desired = state.options.desired;
        state.objects = shape
            .components()
            .iter()
            .map(|name| Object::new(Component::new(*name), rev, now, desired))
            .collect();
        state
    }

    /// Finds or makes the revision of this content. Where revisions are numbered, every maker has its own.
    pub(super) fn record(&mut self, spec: Spec, maker: &str) -> Rev {
        let numbered = self.shape.numbers_revisions();
        let same = |record: &Record| (!numbered || record.maker == maker) && record.spec.same(&spec);
        if let Some(found) = self.records.iter().position(same) {
            return found;
        }
        let name = match self.shape {
            Shape::Ecs => format!("web:{}", self.records.len() + 1),
            Shape::Vapor => format!("v{}", self.records.len() + 1),
            Shape::Kubernetes | Shape::Terraform => content_name(self.shape, &spec),
        };
        let declared =
            self.shape.components().iter().map(|part| self.shape.declared(part, &name, &spec)).collect();
        let behaviour = Behaviour::of(&spec);
        self.records.push(Record {
            name,
            spec,
            behaviour,
            declared,
            maker: maker.to_owned(),
            retired: false,
        });
        self.records.len() - 1
    }

    pub(super) fn named(&self, name: &str) -> Option<Rev> {
        self.records.iter().position(|record| record.name == name)
    }

    pub(super) fn index(&self, component: &Component) -> Result<usize> {
        self.objects.iter().position(|object| object.component == *component).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no component {component} in this place"))
        })
    }

    pub(super) fn object(&self, component: &Component) -> Result<&Object> {
        self.index(component).map(|at| &self.objects[at])
    }

    pub(super) fn status(&self, epoch: &Epoch, at: i64) -> Status {
        status(self.shape, &self.options, epoch, self.records[epoch.rev].behaviour, at)
    }

    /// What a component declares in an epoch.
    pub(super) fn declared(&self, part: usize, epoch: &Epoch) -> &Fingerprint {
        &self.records[epoch.rev].declared[part]
    }

    /// A revision as the core knows it: every component at one record.
    pub(super) fn revision(&self, rev: Rev) -> Revision {
        self.revision_of(&vec![rev; self.objects.len()])
    }

    /// A revision of components that may stand at different records.
    pub(super) fn revision_of(&self, revs: &[Rev]) -> Revision {
        let parts = || self.objects.iter().zip(revs).enumerate();
        let first = &self.records[revs[0]];
        let mixed = revs.iter().any(|rev| *rev != revs[0]);
        let name = if mixed {
            let names: Vec<&str> = revs.iter().map(|rev| self.records[*rev].name.as_str()).collect();
            names.join("+")
        } else {
            first.name.clone()
        };
        let declared =
            parts().map(|(part, (o, rev))| (o.component.clone(), self.records[*rev].declared[part].clone()));
        let at: BTreeMap<&str, &str> = parts()
            .map(|(_, (object, rev))| (object.component.as_str(), self.records[*rev].name.as_str()))
            .collect();
        let mut revision = Revision::new(name, declared, json!({ "at": at }));
        if !mixed {
            revision.commit.clone_from(&first.spec.commit);
            revision.images.clone_from(&first.spec.images);
        }
        revision
    }

    /// What happens next, and when.
    fn next_event(&self) -> Option<(i64, Event)> {
        let behaviour = |rev: Rev| self.records[rev].behaviour;
        let landing = self.late.iter().enumerate().map(|(at, late)| (late.at, Event::Lands(at)));
        let reverts = self.objects.iter().enumerate().filter_map(|(at, object)| {
            let due =
                if self.shape == Shape::Ecs { object.revert_due(&self.options, behaviour) } else { None };
            due.map(|(due, to)| (due, Event::Reverts(at, to)))
        });
        let runs = self
            .runs
            .iter()
            .enumerate()
            .filter_map(|(at, run)| self.run_due(run).map(|due| (due, Event::RunMoves(at))));
        landing.chain(reverts).chain(runs).min_by_key(|(due, _)| *due)
    }

    /// Lets everything happen that happens until then. Time never goes back.
    pub(super) fn advance(&mut self, to: i64) {
        while let Some((due, event)) = self.next_event().filter(|(due, _)| *due <= to) {
            self.now = self.now.max(due);
            match event {
                Event::Lands(at) => {
                    let late = self.late.remove(at);
                    let _ = self.apply(&late.call, late.received, true);
                }
                Event::Reverts(at, rev) => {
                    let from = self.objects[at].now().rev;
                    self.declare(at, rev, None, Some(from));
                    self.wrote(WriteKind::Revert, Some(at), rev, true, false, Writer::Platform);
                }
                Event::RunMoves(at) => self.move_run(at),
            }
        }
        self.now = self.now.max(to);
    }

    pub(super) fn declare(&mut self, part: usize, rev: Rev, by: Option<&str>, from: Option<Rev>) -> bool {
        let Self { objects, records, options, shape, now, .. } = self;
        let how = How { shape: *shape, options, by, reverted_from: from };
        objects[part].declare(*now, rev, &how, |rev| records[rev].behaviour)
    }

    pub(super) fn wrote(
        &mut self,
        kind: WriteKind,
        part: Option<usize>,
        rev: Rev,
        changed: bool,
        late: bool,
        by: Writer,
    ) {
        let value = self.records[rev].name.clone();
        self.note(kind, part, value, changed, late, by);
    }

    pub(super) fn note(
        &mut self,
        kind: WriteKind,
        part: Option<usize>,
        value: String,
        changed: bool,
        late: bool,
        by: Writer,
    ) {
        let component = part.map(|part| self.objects[part].component.clone());
        let at = Timestamp::from_millis(self.now);
        self.writes.push(Write { at, kind, component, value, changed, late, by });
    }

    /// Someone pushes to the branch, or we do: a later run takes the place of those that nobody confirmed.
    pub(super) fn push_run(&mut self, rev: Rev) {
        for run in self.runs.iter_mut().filter(|run| run.state.is_open()) {
            run.state = RunState::Superseded;
            run.since = self.now;
        }
        self.start_run(rev);
    }

    pub(super) fn start_run(&mut self, rev: Rev) {
        let busy = self.runs.iter().any(|run| run.state == RunState::Applying);
        let state = if busy { RunState::Pending } else { RunState::Planning };
        let id = self.runs.len() as u64 + 1;
        self.runs.push(Run { id, rev, state, since: self.now, token: None, fence: None });
    }

    fn run_due(&self, run: &Run) -> Option<i64> {
        let slow = if self.records[run.rev].behaviour == Behaviour::Slow { 8 } else { 1 };
        let takes = match run.state {
            RunState::Planning => self.options.plan_ms,
            RunState::Applying => self.options.apply_ms * slow,
            _ => return None,
        };
        Some(run.since.saturating_add(signed(takes)))
    }

    fn move_run(&mut self, at: usize) {
        let (rev, was) = (self.runs[at].rev, self.runs[at].state);
        let behaviour = self.records[rev].behaviour;
        let workspace = self.objects.len() - 1;
        let unchanged = self.objects[workspace].now().rev == rev && self.drift.is_empty();
        let next = match (was, behaviour) {
            (RunState::Planning, Behaviour::NoPull) => RunState::Errored,
            (RunState::Planning, _) if unchanged => RunState::Unchanged,
            (RunState::Planning, _) => RunState::Planned,
            (_, Behaviour::Crash | Behaviour::Unhealthy | Behaviour::PlatformRevert) => RunState::Errored,
            _ => RunState::Applied,
        };
        (self.runs[at].state, self.runs[at].since) = (next, self.now);
        if next == RunState::Applied {
            let changed = self.declare(workspace, rev, None, None);
            let by = match (&self.runs[at].token, self.runs[at].fence) {
                (Some(token), Some(fence)) => writer(token, Fence(fence)),
                (Some(name), None) => Writer::Someone(name.clone()),
                (None, _) => Writer::Platform,
            };
            self.wrote(WriteKind::Apply, Some(workspace), rev, changed, false, by);
        }
        if was == RunState::Applying {
            for run in self.runs.iter_mut().filter(|run| run.state == RunState::Pending) {
                (run.state, run.since) = (RunState::Planning, self.now);
            }
        }
    }

    /// Whether the platform still honours the signature of a request that arrives then.
    pub(super) fn honours(&self, call: &Call, received: i64) -> Result<()> {
        let honoured = self.options.lateness.signature_ms;
        let age = received.saturating_sub(call.signed_at.as_millis()).unsigned_abs();
        if honoured > 0 && age > honoured {
            let text = format!("the signature is {age} ms off: {honoured} ms are honoured");
            return Err(Error::new(ErrorKind::Unauthenticated, text));
        }
        Ok(())
    }
}

/// The name of a revision that is named by its content.
pub(super) fn content_name(shape: Shape, spec: &Spec) -> String {
    let print = spec.fingerprint();
    let short = print.as_str().get(..7).unwrap_or_default();
    if shape == Shape::Terraform { format!("tree-{short}") } else { format!("web-{short}") }
}

/// The repository of an image reference.
pub(super) fn repository(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or(image);
    match named.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => named,
    }
}
