//! A deployer's process: it can be killed and paused at any point where it touches the outside.
//!
//! Everything of a process that reaches out (store, platform, clock) goes through its gate. A dead process's futures
//! are never polled again; a paused one's only later. Requests that are on their way go on in both cases.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    scenario::{Point, Then, Trap},
    trace::{Sim, lock},
};
use crate::{
    clock::Clock,
    model::Timestamp,
    rollout::Rollout,
    state::{
        head::Holder,
        process::{Alive, Liveness},
    },
};

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whose future is being polled: the platform's fault hook is told nothing of deployers.
pub(super) fn current() -> Option<usize> {
    CURRENT.get()
}

#[derive(Debug, Default)]
struct Gate {
    dead: bool,
    paused: u32,
    waiting: Vec<Waker>,
}

pub(super) struct Process {
    pub(super) index: usize,
    pub(super) host: u64,
    pub(super) sim: Arc<Sim>,
    gate: Mutex<Gate>,
    offset_ms: AtomicI64,
    traps: Mutex<Vec<Trap>>,
    store_calls: AtomicU64,
    platform_calls: AtomicU64,
    leases: AtomicU64,
    /// What its person has asked for and not got an answer to.
    pub(super) acts: AtomicU64,
    burst: Mutex<(u64, u64)>,
    pub(super) rollouts: Mutex<Vec<Rollout>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.index)
    }
}

impl Process {
    pub(super) fn start(sim: &Arc<Sim>, host: u64, offset_ms: i64, traps: Vec<Trap>) -> Arc<Self> {
        let mut processes = lock(&sim.processes);
        let process = Arc::new(Self {
            index: processes.len(),
            host,
            sim: Arc::clone(sim),
            gate: Mutex::default(),
            offset_ms: AtomicI64::new(offset_ms),
            traps: Mutex::new(traps),
            store_calls: AtomicU64::new(0),
            platform_calls: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            acts: AtomicU64::new(0),
            burst: Mutex::default(),
            rollouts: Mutex::default(),
        });
        processes.push(Arc::clone(&process));
        drop(processes);
        sim.log(format_args!("{process:?} starts on host {host}, clock {offset_ms:+} ms"));
        process
    }

    /// One id per driver, as processes make them.
    pub(super) fn holder(&self) -> String {
        format!("p{}.{}", self.index, self.leases.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn is_dead(&self) -> bool {
        lock(&self.gate).dead
    }

    /// It may do what it was about to do before the faults stopped.
    pub(super) fn is_busy(&self) -> bool {
        let gate = lock(&self.gate);
        !gate.dead && (gate.paused > 0 || self.acts.load(Ordering::Relaxed) > 0)
    }

    pub(super) fn die(&self, why: &str) {
        let mut gate = lock(&self.gate);
        if !gate.dead {
            gate.dead = true;
            gate.waiting.clear();
            drop(gate);
            self.sim.log(format_args!("{self:?} is killed: {why}"));
            self.sim.count(format!("crash {why}"));
        }
    }

    /// Stops for so long. Pauses may overlap.
    pub(super) fn pause(self: &Arc<Self>, millis: u64, why: &str) {
        lock(&self.gate).paused += 1;
        self.sim.log(format_args!("{self:?} is paused for {millis} ms: {why}"));
        self.sim.count(format!("pause {why}"));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.sim.clock.sleep(Duration::from_millis(millis)).await;
            let mut gate = lock(&this.gate);
            gate.paused = gate.paused.saturating_sub(1);
            if gate.paused == 0 {
                let waiting = std::mem::take(&mut gate.waiting);
                drop(gate);
                this.sim.log(format_args!("{this:?} goes on"));
                waiting.into_iter().for_each(Waker::wake);
            }
        });
    }

    pub(super) fn jump(&self, millis: i64) {
        self.offset_ms.fetch_add(millis, Ordering::Relaxed);
        self.sim.log(format_args!("the clock of {self:?} jumps by {millis:+} ms"));
        self.sim.count(if millis < 0 { "jump back" } else { "jump ahead" });
    }

    pub(super) fn disarm(&self) {
        lock(&self.traps).clear();
    }

    fn is_open(&self, cx: &mut Context<'_>) -> bool {
        let mut gate = lock(&self.gate);
        if gate.dead {
            return false;
        }
        if gate.paused > 0 {
            gate.waiting.push(cx.waker().clone());
            return false;
        }
        true
    }

    pub(super) fn gate<'a, T>(self: &Arc<Self>, inner: impl Future<Output = T> + Send + 'a) -> Gated<'a, T> {
        Gated { process: Arc::clone(self), inner: Box::pin(inner) }
    }

    /// Waits until the process runs.
    pub(super) async fn open(self: &Arc<Self>) {
        self.gate(std::future::ready(())).await;
    }

    /// A trap that is set at such a point springs; a process that dies there does not return.
    pub(super) async fn spring(self: &Arc<Self>, at: impl Fn(&Point) -> bool) {
        if let Some(trap) = self.sprung(at) {
            self.suffer(&trap);
            if trap.then == Then::Die {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn sprung(&self, at: impl Fn(&Point) -> bool) -> Option<Trap> {
        let mut traps = lock(&self.traps);
        let found = traps.iter().position(|trap| at(&trap.point))?;
        Some(traps.swap_remove(found))
    }

    pub(super) fn suffer(self: &Arc<Self>, trap: &Trap) {
        match trap.then {
            Then::Die => self.die(&trap.point.word()),
            Then::Pause(millis) => self.pause(millis, &trap.point.word()),
        }
    }

    pub(super) fn next_store_call(&self) -> u64 {
        self.store_calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn next_platform_call(&self) -> u64 {
        self.platform_calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many platform calls it has made in this millisecond.
    pub(super) fn calls_at_once(&self) -> u64 {
        let now = self.sim.now();
        let mut burst = lock(&self.burst);
        *burst = if burst.0 == now { (now, burst.1 + 1) } else { (now, 1) };
        burst.1
    }

    pub(super) fn has_traps(&self) -> bool {
        !lock(&self.traps).is_empty()
    }
}

/// A future that moves only while its process runs.
pub(super) struct Gated<'a, T> {
    process: Arc<Process>,
    inner: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<T> Future for Gated<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if !self.process.is_open(cx) {
            return Poll::Pending;
        }
        let before = CURRENT.replace(Some(self.process.index));
        let polled = self.inner.as_mut().poll(cx);
        CURRENT.set(before);
        // What it got when it died is lost with it.
        if self.process.is_dead() { Poll::Pending } else { polled }
    }
}

/// A process's clock: wrong by an offset, and it stops with its process.
#[derive(Debug, Clone)]
pub(super) struct ProcessClock(pub(super) Arc<Process>);

#[async_trait]
impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let offset = self.0.offset_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(self.0.sim.clock.now().as_millis().saturating_add(offset))
    }

    fn elapsed(&self) -> Duration {
        self.0.sim.clock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.gate(self.0.sim.clock.sleep(duration)).await;
    }
}

/// Processes on the same host are seen there; others cannot be told.
#[derive(Debug)]
pub(super) struct SimLiveness(pub(super) Arc<Process>);

impl Liveness for SimLiveness {
    fn of(&self, holder: &Holder) -> Alive {
        let index = holder.id.strip_prefix('p').and_then(|rest| rest.split('.').next());
        let Some(index) = index.and_then(|index| index.parse::<usize>().ok()) else {
            return Alive::CannotTell;
        };
        let other = lock(&self.0.sim.processes).get(index).cloned();
        match other {
            Some(other) if other.host == self.0.host => {
                if other.is_dead() {
                    // The signature's life gives way to the time in which a kernel flushes a closed socket.
                    self.0.sim.hasten();
                    Alive::Dead
                } else {
                    Alive::Here
                }
            }
            _ => Alive::CannotTell,
        }
    }
}
