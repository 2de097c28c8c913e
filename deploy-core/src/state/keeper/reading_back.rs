//! Writes without an answer: the head is read, and its write id tells.

use super::super::{Version, head::Head};
use super::{Keeper, KeeperAction, Moment, Status};

impl Keeper {
    pub(super) fn read_back(&mut self, out: &mut Vec<KeeperAction>) {
        if let Some(flight) = &mut self.flight {
            flight.again_at = None;
        }
        self.ask(out);
    }

    pub(super) fn read_while_holding(
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
    pub(super) fn send_again(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
        let expect = self.expected();
        if let Some(flight) = &mut self.flight {
            flight.sent = now;
            flight.again_at = None;
            out.push(KeeperAction::Write {
                expect,
                head: flight.head.clone(),
                segment: flight.segment.clone(),
            });
        }
    }

    pub(super) fn failed(&mut self, now: Moment, out: &mut Vec<KeeperAction>) {
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
}
