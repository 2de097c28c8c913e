//! The keeper: it alone owns the head, and every compare-and-set goes through it in order. Free of I/O.
//!
//! | status | waits for | then |
//! |---|---|---|
//! | Looking | the head | Taking, Watching, or an answer (busy, unfinished, nothing) |
//! | Watching | silence of the beat for W, or proof of death | Taking; a new beat: busy |
//! | Taking | the answer of the taking write | Holding; conflict: Looking; no answer: reads back |
//! | Holding | entries, commands, time | writes; conflict or no answer: reads back |
//! | Releasing | the answer of the releasing write | Gone |
//! | Gone | nothing | |

mod reading_back;
mod taking;
mod writing;

use std::collections::BTreeSet;

use super::{
    Expect, Version,
    head::{Head, Holder, Segment, TAIL_BYTES, TAIL_ENTRIES},
    journal::{CommandRecord, DriverHow, Entry},
};
use crate::{
    machine::{Rules, Timing},
    model::{Claim, Fence, RolloutId, TargetName},
};

/// Milliseconds on a clock that counts suspension; only differences matter.
pub(crate) type Moment = u64;

/// What the lease is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// A new rollout, with its first entries. Refused while another is unfinished.
    Begin { rollout: RolloutId, plan: String, entries: Vec<Entry>, fence_above: Fence },
    /// The unfinished rollout, whoever left it.
    Resume,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeeperInput {
    Start,
    Read(Option<(Version, Box<Head>)>),
    /// The read failed or had no answer.
    ReadFailed,
    Stored(Version),
    Conflict,
    NoAnswer,
    Append {
        entries: Vec<Entry>,
        token: Option<u64>,
    },
    /// The holder's process no longer exists on this host.
    HolderDead(String),
    /// The holder's process exists on this host: it is followed, unless its beat stands still for W.
    HolderAlive(String),
    /// A person breaks the lease.
    Break,
    /// Give the lease back; `keep_claim`: the rollout is not over.
    Release {
        keep_claim: bool,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeeperAction {
    Read,
    Write {
        expect: Expect,
        head: Box<Head>,
        segment: Option<(String, Segment)>,
    },
    /// The lease is held.
    Taken {
        fence: Fence,
        previous: Option<Holder>,
        how: DriverHow,
        head: Box<Head>,
    },
    /// A living holder has it.
    Busy(Box<Head>),
    /// Nobody holds it, or nobody alive, but a rollout is unfinished.
    Unfinished(Box<Head>),
    /// The head has moved on since an attempt to begin. That attempt may have been stored, and others may have gone on
    /// with the rollout since, or even ended it.
    Overtaken(Box<Head>),
    /// There is nothing to resume.
    Nothing,
    /// Look whether this holder's process exists.
    Probe(Holder),
    /// All entries up to the token are stored; permits may last until this moment.
    Durable {
        token: u64,
        window_until: Moment,
    },
    /// This many of the appended entries are stored by now.
    Written(u64),
    Commands(Vec<CommandRecord>),
    Lost,
    /// The store does not answer; the holder's window lasts until this moment.
    StoreLost {
        window_until: Moment,
    },
    StoreBack,
    Released,
    /// An intent is open: the claim cannot be given back.
    ReleaseRefused,
    WakeAt(Moment),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Status {
    Looking,
    Watching { holder: Holder, beat: u64, since: Moment },
    Taking { how: DriverHow, previous: Option<Holder> },
    Holding,
    Gone,
}

/// A write without answer yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Flight {
    head: Box<Head>,
    segment: Option<(String, Segment)>,
    sent: Moment,
    /// How many of the appended entries it makes durable.
    covers: u64,
    again_at: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Keeper {
    me: Holder,
    claim: Claim,
    target: TargetName,
    want: Want,
    timing: Timing,
    rules: Rules,
    tail_limit: (usize, usize),
    status: Status,
    base: Option<(Version, Box<Head>)>,
    flight: Option<Flight>,
    buffer: Vec<Entry>,
    appended: u64,
    written: u64,
    /// Tokens, each with the number of entries that it waits for.
    tokens: Vec<(u64, u64)>,
    flush_at: Option<Moment>,
    window_until: Moment,
    last_sent: Moment,
    failures: u32,
    told: BTreeSet<String>,
    release: Option<bool>,
    broken: bool,
    /// A read is under way: its answer may be older than a write that began after it, so none begins.
    reading: bool,
}

impl Keeper {
    pub(crate) fn new(
        me: Holder,
        claim: Claim,
        target: TargetName,
        want: Want,
        timing: Timing,
        rules: Rules,
    ) -> Self {
        Self {
            me,
            claim,
            target,
            want,
            timing,
            rules,
            tail_limit: (TAIL_ENTRIES, TAIL_BYTES),
            status: Status::Looking,
            base: None,
            flight: None,
            buffer: Vec::new(),
            appended: 0,
            written: 0,
            tokens: Vec::new(),
            flush_at: None,
            window_until: 0,
            last_sent: 0,
            failures: 0,
            told: BTreeSet::new(),
            release: None,
            broken: false,
            reading: false,
        }
    }

    /// A store with small values moves the tail into segments sooner.
    pub(crate) fn limit_tail(&mut self, entries: usize, value_bytes: usize) {
        self.tail_limit = (entries.min(TAIL_ENTRIES), TAIL_BYTES.min(value_bytes / 2));
    }

    /// The head as it was last known to be stored.
    #[cfg(test)]
    pub(crate) fn head(&self) -> Option<&Head> {
        self.base.as_ref().map(|(_, head)| &**head)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.status == Status::Gone
    }

    /// Takes in what happened. `fresh` is a random number that no earlier call was given.
    pub(crate) fn handle(&mut self, now: Moment, input: KeeperInput, fresh: u64) -> Vec<KeeperAction> {
        let mut out = Vec::new();
        if self.status == Status::Gone {
            return out;
        }
        match input {
            KeeperInput::Start => self.ask(&mut out),
            KeeperInput::Read(found) => {
                self.reading = false;
                self.read(now, found, fresh, &mut out);
            }
            KeeperInput::ReadFailed => {
                self.reading = false;
                self.failed(now, &mut out);
            }
            KeeperInput::Stored(version) => self.stored(version, &mut out),
            KeeperInput::Conflict if !self.rules.read_back && self.failures > 0 => self.lose(&mut out),
            KeeperInput::Conflict => self.read_back(&mut out),
            KeeperInput::NoAnswer => {
                self.failed(now, &mut out);
                if !self.rules.read_back {
                    self.send_again(now, &mut out);
                }
            }
            KeeperInput::Append { entries, token } => self.append(now, entries, token),
            KeeperInput::HolderDead(id) => self.holder_dead(now, &id, fresh, &mut out),
            KeeperInput::HolderAlive(id) => {
                let alive = matches!(&self.status, Status::Watching { holder, .. } if holder.id == id);
                if let (true, Some((_, head))) = (alive, &self.base) {
                    let head = head.clone();
                    self.leave(KeeperAction::Busy(head), &mut out);
                }
            }
            KeeperInput::Break => {
                self.broken = true;
                if matches!(self.status, Status::Watching { .. }) {
                    self.status = Status::Looking;
                    self.ask(&mut out);
                }
            }
            KeeperInput::Release { keep_claim } => self.release = Some(keep_claim),
            KeeperInput::Tick => self.tick(now, &mut out),
        }
        self.write_if_due(now, fresh, &mut out);
        self.wake(now, &mut out);
        out
    }

    fn ask(&mut self, out: &mut Vec<KeeperAction>) {
        if !self.reading {
            self.reading = true;
            out.push(KeeperAction::Read);
        }
    }

    fn append(&mut self, now: Moment, entries: Vec<Entry>, token: Option<u64>) {
        self.appended += entries.len() as u64;
        let any = !entries.is_empty();
        self.buffer.extend(entries);
        match token {
            Some(token) => self.tokens.push((token, self.appended)),
            None if any => {
                self.flush_at.get_or_insert(now + self.timing.flush_ms);
            }
            None => {}
        }
    }

    // ---- taking -------------------------------------------------------------------------------------------------

    fn leave(&mut self, word: KeeperAction, out: &mut Vec<KeeperAction>) {
        self.status = Status::Gone;
        out.push(word);
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    // ---- reading back -------------------------------------------------------------------------------------------

    fn tell_commands(&mut self, head: &Head, out: &mut Vec<KeeperAction>) {
        let new: Vec<CommandRecord> =
            head.commands.iter().filter(|command| self.told.insert(command.id.clone())).cloned().collect();
        if !new.is_empty() {
            out.push(KeeperAction::Commands(new));
        }
    }

    fn lose(&mut self, out: &mut Vec<KeeperAction>) {
        self.status = Status::Gone;
        self.flight = None;
        out.push(KeeperAction::Lost);
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    fn tick(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
        match &self.status {
            Status::Holding if now >= self.window_until => return self.lose(out),
            // A look while we wait, and for commands while we hold.
            Status::Holding if self.flight.is_none() && !self.is_due(now) => self.ask(out),
            Status::Watching { .. } | Status::Looking => self.ask(out),
            Status::Holding | Status::Taking { .. } | Status::Gone => {}
        }
        if self.flight.as_ref().is_some_and(|flight| flight.again_at.is_some_and(|at| now >= at)) {
            self.read_back(out);
        }
    }

    fn wake(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
        let beat = self.last_sent + self.timing.heartbeat_ms;
        let at = match (&self.status, &self.flight) {
            (Status::Gone, _) => return,
            (Status::Holding, None) => beat.min(self.flush_at.unwrap_or(beat)).min(self.window_until),
            (Status::Holding, Some(flight)) => {
                flight.again_at.unwrap_or(self.window_until).min(self.window_until)
            }
            (Status::Watching { since, .. }, _) => since + self.timing.patience_ms,
            (_, Some(Flight { again_at: Some(at), .. })) => *at,
            _ => return,
        };
        out.push(KeeperAction::WakeAt(at.max(now + 1)));
    }
}

#[cfg(test)]
mod tests;
