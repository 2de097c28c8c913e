//! What was called: counted, and remembered for tests.

use std::collections::{BTreeMap, VecDeque};

use super::fault::FaultKind;
use super::world::Api;

/// Calls that are remembered one by one.
const REMEMBERED: usize = 10_000;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// The service did what was asked.
    Done,
    /// The service refused, with this error code.
    Refused(String),
    /// A fault decided; whether there was an effect is the fault's matter.
    Fault(FaultKind),
}

/// One call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRecord {
    /// The emulator's time at which it was made.
    pub at_ms: i64,
    /// The service.
    pub api: Api,
    /// The action.
    pub action: String,
    /// How it ended.
    pub outcome: CallOutcome,
}

/// How often what was called.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    by_action: BTreeMap<(Api, String), u64>,
}

impl CallCounts {
    /// Calls of one action, whichever service has it.
    pub fn of(&self, action: &str) -> u64 {
        self.by_action.iter().filter(|((_, a), _)| a == action).map(|(_, n)| n).sum()
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.by_action.values().sum()
    }

    /// Calls that change something.
    pub fn mutating(&self) -> u64 {
        self.by_action.iter().filter(|((_, a), _)| mutates(a)).map(|(_, n)| n).sum()
    }

    /// Calls that only read.
    pub fn reads(&self) -> u64 {
        self.total() - self.mutating()
    }

    /// Every action that was called, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Api, &str, u64)> {
        self.by_action.iter().map(|((api, action), n)| (*api, action.as_str(), *n))
    }
}

/// Whether an action changes anything: its name says so in all these services.
pub(super) fn mutates(action: &str) -> bool {
    !["Describe", "List", "Get", "BatchGet", "Filter"].iter().any(|read| action.starts_with(read))
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) counts: CallCounts,
    pub(super) log: VecDeque<CallRecord>,
}

impl Calls {
    /// Counts a call; returns which one of its action it is.
    pub(super) fn count(&mut self, api: Api, action: &str) -> u64 {
        let n = self.counts.by_action.entry((api, action.to_owned())).or_default();
        *n += 1;
        *n
    }

    pub(super) fn record(&mut self, record: CallRecord) {
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(record);
    }
}
