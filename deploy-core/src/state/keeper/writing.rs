//! Writing the head, and what it means that a write is stored.

use super::super::{
    Expect, Version,
    head::{Head, Segment, SegmentRef},
};
use super::{Flight, Keeper, KeeperAction, Moment, Status};
use crate::hash;

impl Keeper {
    pub(super) fn send(
        &mut self,
        now: Moment,
        expect: Expect,
        head: Box<Head>,
        segment: Option<(String, Segment)>,
        covers: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        self.last_sent = now;
        let flight = Flight { head, segment, sent: now, covers, again_at: None };
        out.push(KeeperAction::Write { expect, head: flight.head.clone(), segment: flight.segment.clone() });
        self.flight = Some(flight);
    }

    pub(super) fn expected(&self) -> Expect {
        match &self.base {
            None => Expect::Absent,
            Some((version, _)) => Expect::Is(version.clone()),
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        !self.tokens.is_empty()
            || self.release.is_some()
            || self.flush_at.is_some_and(|at| now >= at)
            || now >= self.last_sent + self.timing.heartbeat_ms
    }

    pub(super) fn write_if_due(&mut self, now: Moment, fresh: u64, out: &mut Vec<KeeperAction>) {
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
    pub(super) fn rotate(&self, head: &mut Head) -> Option<(String, Segment)> {
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

    pub(super) fn stored(&mut self, version: Version, out: &mut Vec<KeeperAction>) {
        let Some(flight) = &self.flight else { return };
        let head = flight.head.clone();
        self.adopt(version, head);
        self.landed(out);
    }

    pub(super) fn adopt(&mut self, version: Version, head: Box<Head>) {
        self.base = Some((version, head));
    }

    /// The write in flight is stored.
    pub(super) fn landed(&mut self, out: &mut Vec<KeeperAction>) {
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
}
