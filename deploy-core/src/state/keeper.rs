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

use std::collections::BTreeSet;

use super::{
    Expect, Version,
    head::{Head, Holder, Segment, SegmentRef, TAIL_BYTES, TAIL_ENTRIES},
    journal::{CommandRecord, DriverHow, Entry},
};
use crate::{
    hash,
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
    Watching { holder: Holder, beat: u64, since: Moment, polls: u32 },
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
    reading_back: bool,
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

    fn read(
        &mut self,
        now: Moment,
        found: Option<(Version, Box<Head>)>,
        fresh: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        match self.status.clone() {
            Status::Looking => self.looked(now, found, fresh, out),
            Status::Watching { holder, beat, since, polls } => {
                self.watched(now, (holder, beat, since, polls), found, fresh, out);
            }
            Status::Taking { .. } => match (&self.flight, found) {
                (Some(flight), Some((version, head))) if head.write_id == flight.head.write_id => {
                    self.stored(version, out);
                }
                // A command was put into the head that we took.
                (Some(flight), Some((version, head)))
                    if head.fence == flight.head.fence && head.holder.as_ref() == Some(&self.me) =>
                {
                    self.adopt(version, head);
                    self.landed(out);
                }
                (_, Some((_, head))) if self.may_have_begun(&head) => {
                    self.leave(KeeperAction::Overtaken(head), out);
                }
                (_, found) => {
                    self.flight = None;
                    self.status = Status::Looking;
                    self.looked(now, found, fresh, out);
                }
            },
            Status::Holding => self.read_while_holding(now, found, out),
            Status::Gone => {}
        }
    }

    /// An attempt to begin is not made again under the same name over a journal that has grown since.
    fn may_have_begun(&self, head: &Head) -> bool {
        let before = self.base.as_ref().map_or(0, |(_, base)| base.seq);
        matches!(self.want, Want::Begin { .. }) && head.seq > before
    }

    fn looked(
        &mut self,
        now: Moment,
        found: Option<(Version, Box<Head>)>,
        fresh: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        let Some((_, head)) = &found else {
            return match self.want {
                Want::Begin { .. } => self.take(now, None, DriverHow::Began, fresh, out),
                Want::Resume => self.leave(KeeperAction::Nothing, out),
            };
        };
        let head = head.clone();
        match (&self.want, &head.claim, &head.holder) {
            (Want::Begin { .. }, None, _) => self.take(now, found, DriverHow::Began, fresh, out),
            (Want::Begin { .. }, Some(_), None) => self.leave(KeeperAction::Unfinished(head), out),
            (Want::Resume, None, _) => self.leave(KeeperAction::Nothing, out),
            (Want::Resume, Some(_), None) => self.take(now, found, DriverHow::Resumed, fresh, out),
            (Want::Resume, Some(_), Some(_)) if self.broken => {
                self.take(now, found, DriverHow::Broken, fresh, out)
            }
            (_, Some(_), Some(holder)) => {
                let status =
                    Status::Watching { holder: holder.clone(), beat: head.beat, since: now, polls: 0 };
                out.push(KeeperAction::Probe(holder.clone()));
                self.status = status;
                self.base = found;
            }
        }
    }

    fn watched(
        &mut self,
        now: Moment,
        (holder, beat, since, polls): (Holder, u64, Moment, u32),
        found: Option<(Version, Box<Head>)>,
        fresh: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        let same = found.as_ref().is_some_and(|(_, head)| {
            head.holder.as_ref() == Some(&holder) && head.beat == beat && head.claim.is_some()
        });
        let Some((_, head)) = &found else {
            self.status = Status::Looking;
            return self.looked(now, found, fresh, out);
        };
        if !same {
            // It lives, or it is gone in good order.
            let alive = head.holder.is_some();
            let head = head.clone();
            if alive {
                return self.leave(KeeperAction::Busy(head), out);
            }
            self.status = Status::Looking;
            return self.looked(now, found, fresh, out);
        }
        if now >= since + self.timing.patience_ms {
            return match self.want {
                Want::Begin { .. } => {
                    let head = head.clone();
                    self.leave(KeeperAction::Unfinished(head), out);
                }
                Want::Resume => self.take(now, found, DriverHow::TookOver, fresh, out),
            };
        }
        self.status = Status::Watching { holder, beat, since, polls: polls + 1 };
        self.base = found;
    }

    fn holder_dead(&mut self, now: Moment, id: &str, fresh: u64, out: &mut Vec<KeeperAction>) {
        let Status::Watching { holder, .. } = &self.status else { return };
        if holder.id != id {
            return;
        }
        let found = self.base.clone();
        match self.want {
            Want::Begin { .. } => {
                if let Some((_, head)) = found {
                    self.leave(KeeperAction::Unfinished(head), out);
                }
            }
            Want::Resume => self.take(now, found, DriverHow::FoundDead, fresh, out),
        }
    }

    fn take(
        &mut self,
        now: Moment,
        found: Option<(Version, Box<Head>)>,
        how: DriverHow,
        fresh: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        let (expect, mut head) = match &found {
            None => (Expect::Absent, Box::new(Head::first(self.claim.clone(), self.target.clone()))),
            Some((version, head)) => (Expect::Is(version.clone()), head.clone()),
        };
        let previous = head.holder.take();
        head.fence.0 += 1;
        head.holder = Some(self.me.clone());
        head.beat += 1;
        head.write_id = fresh;
        if let Want::Begin { rollout, plan, entries, fence_above } = &self.want {
            head.fence = head.fence.max(Fence(fence_above.0 + 1));
            head.claim = Some(rollout.clone());
            head.plan = Some(plan.clone());
            for entry in entries {
                head.append(entry.clone());
            }
            // A command that nobody met belongs to a rollout that is over.
            head.commands.clear();
        }
        let segment = self.rotate(&mut head);
        self.base = found;
        self.status = Status::Taking { how, previous };
        self.send(now, expect, head, segment, 0, out);
    }

    fn leave(&mut self, word: KeeperAction, out: &mut Vec<KeeperAction>) {
        self.status = Status::Gone;
        out.push(word);
    }

    // ---- writing ------------------------------------------------------------------------------------------------

    fn send(
        &mut self,
        now: Moment,
        expect: Expect,
        head: Box<Head>,
        segment: Option<(String, Segment)>,
        covers: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        self.last_sent = now;
        let flight = Flight { head, segment, sent: now, covers, reading_back: false, again_at: None };
        out.push(KeeperAction::Write { expect, head: flight.head.clone(), segment: flight.segment.clone() });
        self.flight = Some(flight);
    }

    fn expected(&self) -> Expect {
        match &self.base {
            None => Expect::Absent,
            Some((version, _)) => Expect::Is(version.clone()),
        }
    }

    fn is_due(&self, now: Moment) -> bool {
        !self.tokens.is_empty()
            || self.release.is_some()
            || self.flush_at.is_some_and(|at| now >= at)
            || now >= self.last_sent + self.timing.heartbeat_ms
    }

    fn write_if_due(&mut self, now: Moment, fresh: u64, out: &mut Vec<KeeperAction>) {
        if self.status != Status::Holding || self.flight.is_some() || self.reading {
            return;
        }
        if !self.is_due(now) {
            return;
        }
        let Some((version, base)) = self.base.clone() else { return };
        let mut head = base;
        for entry in &self.buffer {
            head.append(entry.clone());
        }
        if self.release == Some(false) && !head.open.is_empty() && self.rules.open_empty {
            self.release = None;
            out.push(KeeperAction::ReleaseRefused);
            return self.write_if_due(now, fresh, out);
        }
        head.beat += 1;
        head.write_id = fresh;
        if let Some(keep_claim) = self.release {
            head.holder = None;
            if !keep_claim {
                head.claim = None;
                head.plan = None;
                head.commands.clear();
            }
        }
        self.flush_at = None;
        let segment = self.rotate(&mut head);
        let covers = self.appended;
        self.send(now, Expect::Is(version), head, segment, covers, out);
    }

    /// Moves the tail into a segment when it has become too long: segment first, then head.
    fn rotate(&self, head: &mut Head) -> Option<(String, Segment)> {
        let (entries, bytes) = self.tail_limit;
        if head.tail.len() < entries && serde_json::to_vec(&head.tail).map_or(0, |tail| tail.len()) < bytes {
            return None;
        }
        let segment = Segment::new(head.segment.take(), std::mem::take(&mut head.tail));
        let hash = hash::of(&segment);
        let short: String = hash.chars().take(16).collect();
        let name = format!("{:012}-{}-{short}", head.seq, head.fence);
        head.segment = Some(SegmentRef { name: name.clone(), hash });
        Some((name, segment))
    }

    fn stored(&mut self, version: Version, out: &mut Vec<KeeperAction>) {
        let Some(flight) = &self.flight else { return };
        let head = flight.head.clone();
        self.adopt(version, head);
        self.landed(out);
    }

    fn adopt(&mut self, version: Version, head: Box<Head>) {
        self.base = Some((version, head));
    }

    /// The write in flight is stored.
    fn landed(&mut self, out: &mut Vec<KeeperAction>) {
        let Some(flight) = self.flight.take() else { return };
        if self.failures > 1 {
            out.push(KeeperAction::StoreBack);
        }
        self.failures = 0;
        self.window_until = flight.sent + self.timing.window_ms;
        let fresh_entries = usize::try_from(flight.covers.saturating_sub(self.written)).unwrap_or(usize::MAX);
        self.buffer.drain(..fresh_entries.min(self.buffer.len()));
        self.written = self.written.max(flight.covers);
        if let Status::Taking { how, previous } = self.status.clone() {
            self.status = Status::Holding;
            out.push(KeeperAction::Taken {
                fence: flight.head.fence,
                previous,
                how,
                head: flight.head.clone(),
            });
        }
        out.push(KeeperAction::Written(self.written));
        let written = self.written;
        let window_until = self.window_until;
        self.tokens.retain(|(token, needs)| {
            let durable = *needs <= written;
            if durable {
                out.push(KeeperAction::Durable { token: *token, window_until });
            }
            !durable
        });
        if flight.head.holder.is_none() {
            self.status = Status::Gone;
            out.push(KeeperAction::Released);
            return;
        }
        let head = self.base.as_ref().map(|(_, head)| head.clone());
        if let Some(head) = head {
            self.tell_commands(&head, out);
        }
    }

    // ---- reading back -------------------------------------------------------------------------------------------

    fn read_back(&mut self, out: &mut Vec<KeeperAction>) {
        if let Some(flight) = &mut self.flight {
            flight.reading_back = true;
            flight.again_at = None;
        }
        self.ask(out);
    }

    fn read_while_holding(
        &mut self,
        now: Moment,
        found: Option<(Version, Box<Head>)>,
        out: &mut Vec<KeeperAction>,
    ) {
        let Some((version, head)) = found else { return self.lose(out) };
        let fence = self.base.as_ref().map(|(_, head)| head.fence);
        let mine = Some(head.fence) == fence && head.holder.as_ref().is_none_or(|holder| *holder == self.me);
        let Some(flight) = &self.flight else {
            if !mine || head.holder.is_none() {
                return self.lose(out);
            }
            let known = self.base.as_ref().map_or(0, |(_, base)| base.beat);
            if head.beat < known {
                // An older content under our fence: the store was set back, and everything since is gone.
                return self.lose(out);
            }
            self.adopt(version, head.clone());
            self.tell_commands(&head, out);
            return;
        };
        if mine && (head.write_id == flight.head.write_id || head.beat == flight.head.beat) {
            self.adopt(version, head);
            return self.landed(out);
        }
        if !mine && self.rules.one_record {
            return self.lose(out);
        }
        let unchanged = self.base.as_ref().is_some_and(|(base, _)| *base == version);
        if unchanged {
            return self.send_again(now, out);
        }
        if mine && head.holder.is_none() {
            return self.lose(out);
        }
        if self.base.as_ref().is_some_and(|(_, base)| head.beat < base.beat) {
            return self.lose(out);
        }
        // A command was put in: write the same entries on top of it.
        self.flight = None;
        self.adopt(version, head.clone());
        self.tell_commands(&head, out);
        if self.tokens.is_empty() && !self.buffer.is_empty() {
            self.flush_at = Some(now);
        }
    }

    /// The same bytes again: whichever of the two arrives first is stored, the other one finds it changed.
    fn send_again(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
        let expect = self.expected();
        if let Some(flight) = &mut self.flight {
            flight.sent = now;
            flight.reading_back = false;
            flight.again_at = None;
            out.push(KeeperAction::Write {
                expect,
                head: flight.head.clone(),
                segment: flight.segment.clone(),
            });
        }
    }

    fn failed(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
        self.failures += 1;
        if self.failures == 2 && self.status == Status::Holding {
            out.push(KeeperAction::StoreLost { window_until: self.window_until });
        }
        match &mut self.flight {
            Some(flight) if self.failures > 1 => flight.again_at = Some(now + 500),
            Some(_) if self.rules.read_back => self.read_back(out),
            Some(_) => {}
            None if self.status == Status::Looking => out.push(KeeperAction::WakeAt(now + 500)),
            None => {}
        }
    }

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
