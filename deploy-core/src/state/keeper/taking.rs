//! Looking at the head, waiting for a silent holder, taking the lease.

use super::super::{
    Expect, Version,
    head::{Head, Holder},
    journal::DriverHow,
};
use super::{Keeper, KeeperAction, Moment, Status, Want};
use crate::model::Fence;

impl Keeper {
    pub(super) fn read(
        &mut self,
        now: Moment,
        found: Option<(Version, Box<Head>)>,
        fresh: u64,
        out: &mut Vec<KeeperAction>,
    ) {
        match self.status.clone() {
            Status::Looking => self.looked(now, found, fresh, out),
            Status::Watching { holder, beat, since } => {
                self.watched(now, (holder, beat, since), found, fresh, out);
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
                let status = Status::Watching { holder: holder.clone(), beat: head.beat, since: now };
                out.push(KeeperAction::Probe(holder.clone()));
                self.status = status;
                self.base = found;
            }
        }
    }

    fn watched(
        &mut self,
        now: Moment,
        (holder, beat, since): (Holder, u64, Moment),
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
        self.status = Status::Watching { holder, beat, since };
        self.base = found;
    }

    pub(super) fn holder_dead(&mut self, now: Moment, id: &str, fresh: u64, out: &mut Vec<KeeperAction>) {
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

    pub(super) fn take(
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
}
