//! The one record of a claim: lease, fence, journal tail, inbox, known good.

use serde::{Deserialize, Serialize};

use super::journal::{ClosedBy, CommandRecord, Entry, Fact, Intent, STATE_VERSION, StepState};
use crate::{
    error::Result,
    model::{Claim, Fence, Identity, Revision, RolloutId, TargetName, Timestamp},
};

/// The most entries that a head's tail holds before it is moved into a segment.
pub const TAIL_ENTRIES: usize = 64;
/// The most bytes of the tail before it is moved into a segment.
pub const TAIL_BYTES: usize = 32 * 1024;
/// The most commands in an inbox.
pub const INBOX: usize = 16;
/// The most revisions kept as known good.
pub const KNOWN_GOOD: usize = 10;

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Random, one per driver.
    pub id: String,
    /// The host's name, for people.
    pub host: String,
    /// The boot id of the host.
    pub boot: String,
    /// The PID namespace: containers on one host share the boot id, not this.
    pub pid_namespace: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: process ids are used again.
    pub started: u64,
}

impl Holder {
    /// A holder without a process that could be looked for: for tests and for platforms without `/proc`.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            host: String::new(),
            boot: String::new(),
            pid_namespace: String::new(),
            pid: 0,
            started: 0,
        }
    }
}

/// A revision that has proved itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KnownGood {
    /// The deploy that proved it.
    pub rollout: RolloutId,
    /// When.
    pub at: Timestamp,
    /// The revision.
    pub revision: Revision,
}

/// Hold, freeze or hands-on window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Block {
    /// `hold`, `freeze`, `window`.
    pub kind: String,
    /// What it is about: a commit range, a time, a part.
    pub subject: String,
    /// Where it applies.
    pub scope: String,
    /// From when.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Who set it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Who or what is exempt.
    #[serde(default)]
    pub exemptions: Vec<String>,
}

/// A durable open question.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Obligation {
    /// Unique in the claim.
    pub id: String,
    /// In words.
    pub about: String,
    /// Who or what closes it.
    pub closer: String,
    /// Whether it blocks the next deploy.
    pub blocking: bool,
    /// The deploy it comes from.
    pub rollout: RolloutId,
}

/// The last segment of the journal; segments are chained by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The record's name under the claim.
    pub name: String,
    /// The hash of its bytes.
    pub hash: String,
}

/// Entries that were moved out of the head; immutable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Segment {
    /// The format version.
    pub v: u32,
    /// The segment before this one.
    pub previous: Option<SegmentRef>,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
}

impl Segment {
    /// A segment of this format version.
    #[must_use]
    pub fn new(previous: Option<SegmentRef>, entries: Vec<Entry>) -> Self {
        Self { v: STATE_VERSION, previous, entries }
    }
}

/// The head of a claim. Changed only by compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// The format version.
    pub v: u32,
    /// Random per write: tells one's own write from another's, and makes every content new.
    pub write_id: u64,
    /// The fencing token; grows with every change of holder.
    pub fence: Fence,
    /// Who holds the lease; `None`: free.
    pub holder: Option<Holder>,
    /// Grows with every write of the holder, and with nothing else.
    pub beat: u64,
    /// How many entries were ever appended to this claim.
    pub seq: u64,
    /// The claim itself.
    pub claim_name: Claim,
    /// The target that the claim belongs to.
    pub target: TargetName,
    /// The home claim, if this is not it: lease, journal and inbox are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Claim>,
    /// The rollout that has the claim until its outcome.
    pub claim: Option<RolloutId>,
    /// The object that holds that rollout's plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Intents without outcome.
    pub open: Vec<Intent>,
    /// The newest entries.
    pub tail: Vec<Entry>,
    /// The newest segment.
    pub segment: Option<SegmentRef>,
    /// The inbox.
    pub commands: Vec<CommandRecord>,
    /// Holds, freezes, windows.
    pub blocks: Vec<Block>,
    /// Durable open questions.
    #[serde(default)]
    pub obligations: Vec<Obligation>,
    /// Revisions that have proved themselves, newest first.
    pub known_good: Vec<KnownGood>,
}

impl Head {
    /// The first head of a claim: free, fence 0.
    #[must_use]
    pub fn first(claim: Claim, target: TargetName) -> Self {
        Self {
            v: STATE_VERSION,
            write_id: 0,
            fence: Fence(0),
            holder: None,
            beat: 0,
            seq: 0,
            claim_name: claim,
            target,
            home: None,
            claim: None,
            plan: None,
            open: Vec::new(),
            tail: Vec::new(),
            segment: None,
            commands: Vec::new(),
            blocks: Vec::new(),
            obligations: Vec::new(),
            known_good: Vec::new(),
        }
    }

    /// Reads a stored head.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if it is not one,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if a newer version wrote it.
    pub fn parse(body: &[u8]) -> Result<Self> {
        super::format::parse(body)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Appends an entry and keeps what is derived from entries: open intents and known good.
    pub fn append(&mut self, entry: Entry) {
        self.seq += 1;
        match &entry.fact {
            Fact::Step { state: StepState::Asked, intent: Some(intent), .. } => {
                self.open.push((**intent).clone())
            }
            Fact::Step { of: Some(of), closed: Some(by), .. } => {
                self.open.retain(|intent| intent.id != *of);
                if *by == ClosedBy::Obligation {
                    self.obligations.push(Obligation {
                        id: format!("{}-{of}", entry.rollout),
                        about: "an effect whose end was not seen".into(),
                        closer: "a person".into(),
                        blocking: false,
                        rollout: entry.rollout.clone(),
                    });
                }
            }
            Fact::Command { id: Some(id), .. } => self.commands.retain(|command| command.id != *id),
            Fact::Ended { known_good: Some(revision), .. } => {
                let (rollout, at) = (entry.rollout.clone(), entry.at);
                self.known_good.retain(|good| good.revision.declared != revision.declared);
                self.known_good.insert(0, KnownGood { rollout, at, revision: (**revision).clone() });
                self.known_good.truncate(KNOWN_GOOD);
            }
            _ => {}
        }
        self.tail.push(entry);
    }
}

/// What `target/<app>/<env>` holds: where the home claim is, and the pin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TargetRecord {
    /// The format version.
    pub v: u32,
    /// The target.
    pub target: TargetName,
    /// The home claim.
    pub home: Claim,
    /// The pinned identity.
    pub pin: Pin,
}

/// A pinned identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pin {
    /// What was seen and pinned.
    pub identity: Identity,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why, if it was changed by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl TargetRecord {
    /// A record of this format version.
    #[must_use]
    pub fn new(target: TargetName, home: Claim, identity: Identity, at: Timestamp, by: String) -> Self {
        Self { v: STATE_VERSION, target, home, pin: Pin { identity, at, by, reason: None } }
    }
}
