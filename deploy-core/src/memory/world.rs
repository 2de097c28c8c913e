//! The world: what outlives deployers. Cheap to clone; every clone is the same world.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    audit::{Rejected, Write, WriteKind, Writer},
    call::{Call, CallInfo, Fault, FaultHook, Reply},
    object::signed,
    run::{RunState, RunView},
    shape::{Shape, Spec, WorldOptions},
    state::{Late, State},
};
use crate::{
    clock::Clock,
    error::{EffectState, Error, ErrorKind, Result, Retry},
    model::{Component, Revision, Timestamp},
};

/// The remote system, in the time of its own clock.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    shape: Shape,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    hook: Mutex<Option<FaultHook>>,
    requests: AtomicU64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({}, {} requests)", self.0.shape.word(), self.requests())
    }
}

impl World {
    /// A world in which the initial release runs steadily. The clock is the platform's: deployers have their own.
    #[must_use]
    pub fn new(shape: Shape, clock: Arc<dyn Clock>) -> Self {
        Self::with(shape, WorldOptions::new(shape), clock)
    }

    /// A world with options of one's own.
    #[must_use]
    pub fn with(shape: Shape, options: WorldOptions, clock: Arc<dyn Clock>) -> Self {
        let state = State::new(shape, options, clock.now().as_millis());
        Self::of(state, clock)
    }

    fn of(state: State, clock: Arc<dyn Clock>) -> Self {
        let (shape, state) = (state.shape, Mutex::new(state));
        Self(Arc::new(Inner { shape, clock, state, hook: Mutex::new(None), requests: AtomicU64::new(0) }))
    }

    /// A saved world, with its calls under way. The clock must not be behind the one that it was saved under.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if the text is not a saved world.
    pub fn load(text: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let malformed = |what: String| Error::new(ErrorKind::Malformed, format!("a saved world: {what}"));
        let state: State = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let parts = state.shape.components().len();
        let whole = state.objects.len() == parts
            && state.records.iter().all(|record| record.declared.len() == parts)
            && state.runs.iter().all(|run| run.rev < state.records.len())
            && state.objects.iter().all(|object| {
                let known = |rev: Option<usize>| rev.is_none_or(|rev| rev < state.records.len());
                !object.epochs.is_empty()
                    && known(object.good)
                    && object.epochs.iter().all(|epoch| {
                        known(Some(epoch.rev))
                            && known(epoch.reverted_from)
                            && known(epoch.old.map(|(old, _)| old))
                    })
            });
        if whole { Ok(Self::of(state, clock)) } else { Err(malformed("it contradicts itself".to_owned())) }
    }

    /// The world as JSON.
    #[must_use]
    pub fn save(&self) -> String {
        serde_json::to_string(&*self.state()).unwrap_or_default()
    }

    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// The platform's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// From now on, this decides what happens to requests.
    pub fn faults(&self, hook: impl Fn(&CallInfo) -> Fault + Send + Sync + 'static) {
        *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// From now on nothing happens to requests.
    pub fn no_faults(&self) {
        *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many requests were made, reads included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// The state as of now.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(self.0.clock.now().as_millis());
        state
    }

    fn fault(&self, what: &'static str, component: Option<&Component>, call: Option<&Call>) -> Fault {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed) + 1;
        // The hook may use the world, so it runs without a lock.
        let hook = self.0.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hook.map_or(Fault::None, |hook| {
            hook(&CallInfo {
                number,
                what,
                read: call.is_none(),
                component: component.cloned(),
                at: self.0.clock.now(),
                fence: call.map(|call| call.fence),
                token: call.map(|call| call.token.clone()),
            })
        })
    }

    /// Sends a mutation.
    ///
    /// # Errors
    /// What the platform says, or what the fault makes of it; the error's effect is what the caller can know.
    pub async fn call(&self, call: Call) -> Result<Reply> {
        let lost = |what: &str| Err(Error::new(ErrorKind::Unavailable, what));
        match self.fault(call.op.word(), call.op.component(), Some(&call)) {
            Fault::None | Fault::StaleRead(_) => self.now(&call),
            Fault::Refused => Err(refused()),
            Fault::Throttled => Err(throttled()),
            Fault::ResetBefore => lost("the connection was reset"),
            Fault::ServerError => lost("500: internal error"),
            Fault::ResetAfter => {
                let _ = self.now(&call);
                lost("the connection was reset")
            }
            Fault::Late(millis) => {
                let mut state = self.state();
                let at = state.now.saturating_add(signed(millis));
                let received = state.received(at);
                state.late.push(Late { at, received, call });
                Err(Error::new(ErrorKind::TimedOut, "no answer"))
            }
            Fault::Slow(millis) => {
                let result = self.now(&call);
                self.0.clock.sleep(Duration::from_millis(millis)).await;
                result
            }
        }
    }

    fn now(&self, call: &Call) -> Result<Reply> {
        let mut state = self.state();
        let received = state.now;
        state.apply(call, received, false)
    }

    /// Reads: what `look` makes of the state, and of the time that the read shows.
    pub(super) async fn read<T>(
        &self,
        what: &'static str,
        component: Option<&Component>,
        look: impl FnOnce(&State, i64) -> Result<T> + Send,
    ) -> Result<T> {
        let lost = |kind, text| Err(Error::new(kind, text).effect_as(EffectState::NotApplied));
        let behind = match self.fault(what, component, None) {
            Fault::None => 0,
            Fault::StaleRead(millis) if self.0.shape == Shape::Ecs => millis,
            Fault::StaleRead(_) => 0,
            Fault::Refused => return Err(refused()),
            Fault::Throttled => return Err(throttled()),
            Fault::Late(_) => return lost(ErrorKind::TimedOut, "no answer"),
            Fault::ResetBefore | Fault::ResetAfter => {
                return lost(ErrorKind::Unavailable, "the connection was reset");
            }
            Fault::ServerError => return lost(ErrorKind::Unavailable, "500: internal error"),
            Fault::Slow(millis) => {
                self.0.clock.sleep(Duration::from_millis(millis)).await;
                0
            }
        };
        let state = self.state();
        look(&state, state.now.saturating_sub(signed(behind)))
    }

    /// Every effective write so far, oldest first.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// Reads the audit log without copying it.
    pub fn audit<T>(&self, read: impl FnOnce(&[Write], &[Rejected]) -> T) -> T {
        let state = self.state();
        read(&state.writes, &state.rejected)
    }

    /// Every mutation that arrived and was not accepted, oldest first.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        self.state().rejected.clone()
    }

    /// How many calls are under way and have not landed.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.state().late.len()
    }

    /// Calls that are under way land within so many milliseconds: whoever sent them is gone, and its host's kernel holds
    /// nothing for longer.
    pub fn hasten(&self, within_ms: u64) {
        let mut state = self.state();
        let latest = state.now.saturating_add(signed(within_ms));
        let received = state.received(latest);
        for late in state.late.iter_mut().filter(|late| late.at > latest) {
            (late.at, late.received) = (latest, late.received.min(received));
        }
    }

    /// What serves now: the truth, whatever anyone was told.
    #[must_use]
    pub fn serving(&self) -> Revision {
        let state = self.state();
        let revs: Vec<usize> = state.objects.iter().map(|object| object.now().rev).collect();
        state.revision_of(&revs)
    }

    /// The name of the revision that a component declares; `None` for a component that does not exist.
    #[must_use]
    pub fn declared(&self, component: &str) -> Option<String> {
        let state = self.state();
        let rev = state.object(&component.into()).ok()?.now().rev;
        Some(state.records[rev].name.clone())
    }

    /// The version and the fence of a component.
    #[must_use]
    pub fn version(&self, component: &str) -> Option<(u64, u64)> {
        let state = self.state();
        state.object(&component.into()).ok().map(|object| (object.version, object.fence))
    }

    /// The unique id of the instance that is stuck, if one is.
    #[must_use]
    pub fn stuck(&self, component: &str) -> Option<String> {
        let state = self.state();
        state.object(&component.into()).ok().and_then(|object| object.now().stuck.clone())
    }

    /// How often the hook ran.
    #[must_use]
    pub fn hooks_run(&self) -> usize {
        self.audit(|writes, _| writes.iter().filter(|write| write.kind == WriteKind::Hook).count())
    }

    /// Someone else puts a component somewhere: to the revision of this name, or, if there is none, to a new one
    /// whose images have this tag. Returns the revision's name; `None` for a component that does not exist.
    pub fn foreign_write(&self, component: &str, value: &str) -> Option<String> {
        let mut state = self.state();
        let part = state.index(&component.into()).ok()?;
        let someone = "someone";
        let rev = match state.named(value) {
            Some(rev) => rev,
            None => {
                let retag = |image: &String| format!("{}:{value}", super::state::repository(image));
                let current = &state.records[state.objects[part].now().rev].spec;
                let images = current.images.iter().map(|(name, image)| (name.clone(), retag(image)));
                let spec = Spec { images: images.collect(), commit: None, env: current.env.clone() };
                state.record(spec, someone)
            }
        };
        let changed = state.declare(part, rev, Some(someone), None);
        if state.shape == Shape::Terraform && part == 0 && changed {
            state.push_run(rev);
        }
        state.wrote(WriteKind::Set, Some(part), rev, changed, false, Writer::Someone(someone.into()));
        Some(state.records[rev].name.clone())
    }

    /// Changes a part of the identity, as if the credentials or the configuration led elsewhere.
    pub fn set_identity(&self, part: impl Into<String>, value: impl Into<String>) {
        self.state().identity.insert(part.into(), value.into());
    }

    /// Takes a revision out of use: it can no longer be started. False if there is none of this name.
    pub fn retire(&self, name: &str) -> bool {
        let mut state = self.state();
        match state.named(name) {
            Some(rev) => {
                state.records[rev].retired = true;
                true
            }
            None => false,
        }
    }

    /// Later runs also change this address, which nobody planned (Terraform).
    pub fn drift(&self, address: impl Into<String>) {
        self.state().drift.insert(address.into(), None);
    }

    /// All runs, oldest first (Terraform).
    #[must_use]
    pub fn runs(&self) -> Vec<RunView> {
        let state = self.state();
        let view = |run: &super::run::Run| RunView {
            id: run.id,
            state: run.state,
            revision: state.records[run.rev].name.clone(),
        };
        state.runs.iter().map(view).collect()
    }

    /// Someone confirms the waiting run on the platform's own pages. False if none waits.
    pub fn confirm_outside(&self, who: &str) -> bool {
        self.outside(RunState::Applying, who)
    }

    /// Someone discards the waiting run. False if none waits.
    pub fn discard_outside(&self, who: &str) -> bool {
        self.outside(RunState::Discarded, who)
    }

    fn outside(&self, to: RunState, who: &str) -> bool {
        let mut state = self.state();
        let now = state.now;
        match state.runs.iter_mut().find(|run| run.state == RunState::Planned) {
            Some(run) => {
                (run.state, run.since, run.token) = (to, now, Some(who.to_owned()));
                true
            }
            None => false,
        }
    }

    /// The world's time.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.state().now)
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::PermissionDenied, "403: not allowed")
}

fn throttled() -> Error {
    Error::new(ErrorKind::Throttled, "429: too many requests").retry_as(Retry::After(Duration::from_secs(1)))
}
