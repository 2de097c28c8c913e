//! A world, a store, deployers, and the checks that every ending has to pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Fault, Stop, Subject, TrialResult, Truth, Word, ensure,
    party::{Graveyard, Party},
};
use crate::{
    Rollout, Target,
    clock::Clock,
    event::{Event, EventKind},
    model::{Capabilities, Ended, Outcome, Plan, Release, RolledBackBy, Side},
    state::{
        Key, Limits, StateStore,
        journal::{Decision, Entry, Fact, Intent, Sending, StepState},
        stores::memory::MemoryStore,
    },
};

/// What has not ended after so long never will.
const LONGEST: Duration = Duration::from_secs(3 * 3_600);

/// A world with its store.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) subject: Box<dyn Subject>,
    pub(super) can: Capabilities,
    pub(super) clock: Arc<dyn Clock>,
    store: MemoryStore,
    graveyard: Graveyard,
    parties: AtomicU64,
}

/// A rollout that has ended, and its journal.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) journal: Vec<Entry>,
}

impl Stage {
    pub(super) fn new(subject: Box<dyn Subject>, can: Capabilities) -> Self {
        let clock = subject.clock();
        // Looked at for commands once a second: what is looked at more often only takes longer to try.
        let limits = Limits::new(8 << 20, Duration::from_secs(1), false);
        let store = MemoryStore::new().with_limits(limits);
        let (graveyard, parties) = (Graveyard::default(), AtomicU64::new(1));
        Self { subject, can, clock, store, graveyard, parties }
    }

    /// One more deployer.
    pub(super) fn party(&self, name: &str) -> Party {
        let seed = self.parties.fetch_add(1, Ordering::Relaxed);
        Party::new(
            name,
            seed,
            Arc::new(self.store.clone()),
            Arc::clone(&self.clock),
            self.graveyard.clone(),
            self.subject.place(),
            self.subject.bake(),
        )
    }

    pub(super) fn release(&self, word: Word, number: u32) -> TrialResult<Release> {
        Ok(self.subject.release(word, number)?)
    }

    pub(super) async fn truth(&self) -> TrialResult<Truth> {
        Ok(self.subject.serving().await?)
    }

    pub(super) async fn writes(&self) -> TrialResult<usize> {
        Ok(self.subject.writes().await?)
    }

    pub(super) fn fault(&self, nth: usize, fault: Fault) -> TrialResult {
        Ok(self.subject.fault(nth, fault)?)
    }

    /// How many records the store has.
    pub(super) async fn records(&self) -> TrialResult<usize> {
        Ok(self.store.list(&Key::new(["v1"]), None, 1000).await?.len())
    }

    pub(super) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Follows a rollout, passes its gates, and stops at the first event that is waited for (`None`) or at its end.
    pub(super) async fn follow(
        &self,
        rollout: &Rollout,
        mut stop_at: impl FnMut(&Event) -> bool,
    ) -> TrialResult<Option<Outcome>> {
        let until = self.clock.elapsed() + LONGEST;
        let (mut events, mut more, mut at_gate) = (rollout.events(), true, false);
        loop {
            let left = until.saturating_sub(self.clock.elapsed());
            tokio::select! {
                biased;
                event = events.next(), if more => match event {
                    None => more = false,
                    Some(event) => {
                        at_gate = gate_after(at_gate, &event);
                        if stop_at(&event) {
                            return Ok(None);
                        }
                    }
                },
                ended = rollout.outcome() => return Ok(Some(ended?)),
                () = self.clock.sleep(Duration::from_secs(1)), if at_gate => {
                    // Refused while the gate is not there yet, or not any more.
                    at_gate = rollout.promote().await.is_err();
                }
                () = self.clock.sleep(left) => return Err(Stop::Failed(format!("it did not end within {LONGEST:?}"))),
            }
        }
    }

    /// Follows until the event comes; fails if the rollout ends before.
    pub(super) async fn until(
        &self,
        rollout: &Rollout,
        what: &str,
        stop_at: impl FnMut(&Event) -> bool,
    ) -> TrialResult {
        match self.follow(rollout, stop_at).await? {
            None => Ok(()),
            Some(outcome) => Err(Stop::Failed(format!("it ended before {what}: {outcome}"))),
        }
    }

    /// Waits for the end, and checks what holds at every end.
    pub(super) async fn end(&self, party: &Party, rollout: &Rollout) -> TrialResult<Finished> {
        let Some(outcome) = self.follow(rollout, |_| false).await? else {
            return Err(Stop::Failed("the rollout has no outcome".into()));
        };
        ensure!(rollout.outcome().await? == outcome, "the outcome is another one when it is asked for again");
        ensure!(outcome.rollout == *rollout.id(), "the outcome is that of {}", outcome.rollout);
        let journal = party.target.journal(rollout.id().as_str()).await.unwrap_or_default();
        self.check(&outcome, &journal).await?;
        let open = party.target.active().await?;
        ensure!(
            journal.is_empty() || open.is_none_or(|open| open.id() != rollout.id()),
            "it has ended, and is still active"
        );
        Ok(Finished { outcome, journal })
    }

    async fn check(&self, outcome: &Outcome, journal: &[Entry]) -> TrialResult {
        let line = outcome.to_string();
        ensure!(
            line.starts_with(outcome.verdict()) && line.contains("shop/production"),
            "the one line does not begin with its verdict: {line}"
        );
        ensure!(outcome.verdict() == verdict(outcome), "the verdict of {:?} is {line}", outcome.ended);
        let truth = self.truth().await?;
        // A refusal tells what it saw: what it is refused for may have gone on since.
        if outcome.ended != Ended::Refused && matches!(outcome.serving.side, Side::Old | Side::New) {
            let said = outcome.serving.revision.as_ref();
            ensure!(said == Some(&truth.revision), "{} serves, and it says: {line}", truth.revision);
        }
        if journal.is_empty() {
            ensure!(outcome.ended == Ended::Refused, "there is no journal of: {line}");
            return Ok(());
        }
        for (index, entry) in journal.iter().enumerate() {
            ensure!(entry.seq == index as u64 + 1, "entry {} is at {}: a gap", entry.seq, index + 1);
            ensure!(entry.rollout == outcome.rollout, "entry {} is of another deploy", entry.seq);
        }
        let ends = journal.iter().filter(|entry| matches!(entry.fact, Fact::Ended { .. })).count();
        let told = match journal.last().map(|entry| &entry.fact) {
            Some(Fact::Ended { outcome: told, .. }) => **told == *outcome,
            _ => false,
        };
        ensure!(ends == 1 && told, "the journal has {ends} endings, the last entry is this one: {told}");
        let open = open_intents(journal);
        ensure!(open.is_empty(), "it ended with open intents: {open:?}");
        Ok(())
    }

    /// Deploys to its end.
    pub(super) async fn deploy(&self, party: &Party, word: Word, number: u32) -> TrialResult<Finished> {
        let rollout = party.target.deploy(self.release(word, number)?).start().await?;
        self.end(party, &rollout).await
    }

    /// Deploys releases that work, one after another; returns the name of what serves after each.
    pub(super) async fn deploy_good(&self, party: &Party, count: u32) -> TrialResult<Vec<String>> {
        let mut names = Vec::new();
        for number in 1..=count {
            self.succeeded(&self.deploy(party, Word::Ok, number).await?, true).await?;
            names.push(self.truth().await?.revision);
        }
        Ok(names)
    }

    /// It succeeded, everything is healthy, and it is known good.
    pub(super) async fn succeeded(&self, finished: &Finished, changed: bool) -> TrialResult {
        let Finished { outcome, journal } = finished;
        ensure!(outcome.ended == Ended::Succeeded { changed }, "not a success: {outcome:?}");
        ensure!(outcome.exit() == 0 && !outcome.needs_person(), "a success that needs someone: {outcome:?}");
        ensure!(outcome.owed.is_empty(), "a success that owes something: {outcome:?}");
        ensure!(self.truth().await?.healthy, "a success, and not everything is healthy: {outcome}");
        ensure!(decided(journal, Decision::Bake).is_some(), "it never baked: {outcome}");
        ensure!(decided(journal, Decision::GoBack).is_none(), "it went back: {outcome}");
        let good = journal.last().is_some_and(|last| {
            matches!(&last.fact, Fact::Ended { known_good: Some(good), .. }
                if Some(&good.name) == outcome.serving.revision.as_ref())
        });
        ensure!(good, "what serves did not become known good: {outcome:?}");
        Ok(())
    }

    /// It was undone, and what served before serves again.
    pub(super) async fn undone(&self, finished: &Finished, by: RolledBackBy, before: &Truth) -> TrialResult {
        let outcome = &finished.outcome;
        ensure!(outcome.ended == Ended::RolledBack { by }, "not rolled back by {by:?}: {outcome:?}");
        self.is_back(finished, before).await?;
        ensure!(outcome.exit() == 4, "exit code {}: {outcome:?}", outcome.exit());
        Ok(())
    }

    /// What served before serves again, healthy; nothing became known good.
    pub(super) async fn is_back(&self, finished: &Finished, before: &Truth) -> TrialResult {
        let (outcome, truth) = (&finished.outcome, self.truth().await?);
        ensure!(truth == *before, "{before:?} was to serve again, but {truth:?} does: {outcome:?}");
        ensure!(outcome.serving.side == Side::Old, "what serves is called {:?}", outcome.serving.side);
        let good = finished.journal.iter().any(|e| matches!(e.fact, Fact::Ended { known_good: Some(_), .. }));
        ensure!(!good, "something became known good by: {outcome}");
        Ok(())
    }

    /// A guard refused it, and nothing was written.
    pub(super) async fn refused(
        &self,
        finished: &Finished,
        what: &str,
        before: (&Truth, usize),
    ) -> TrialResult {
        let outcome = &finished.outcome;
        ensure!(outcome.ended == Ended::Refused && outcome.exit() == 3, "not refused: {outcome:?}");
        let cause = outcome.cause.as_ref().map_or("", |cause| &cause.text);
        let class = outcome.cause.as_ref().map_or("", |cause| &cause.class);
        ensure!(
            cause.starts_with(what) || class == what,
            "refused for another reason than {what}: {outcome:?}"
        );
        let (truth, writes) = (self.truth().await?, self.writes().await?);
        ensure!(truth.revision == before.0.revision, "refused, and {truth:?} serves");
        ensure!(writes == before.1, "refused after {} writes", writes - before.1);
        ensure!(intents(&finished.journal).is_empty(), "refused, with intents: {outcome:?}");
        Ok(())
    }
}

/// Plans a deploy.
pub(super) async fn plan(target: &Target, release: Release) -> TrialResult<Plan> {
    Ok(target.deploy(release).plan().await?)
}

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome.ended {
        Ended::Refused => "REFUSED",
        _ if outcome.serving.side == Side::Unknown => "UNKNOWN",
        Ended::Succeeded { .. } => "DONE",
        Ended::RolledBack { .. } => "ROLLED BACK",
        Ended::RollbackFailed => "ROLLBACK FAILED",
        Ended::Failed => "FAILED",
        Ended::Stranded => "STRANDED",
        Ended::Superseded => "SUPERSEDED",
        Ended::Aborted => "ABORTED",
    }
}

/// Whether a gate is waited at after this event.
fn gate_after(at_gate: bool, event: &Event) -> bool {
    match fact_of(event) {
        Some(Fact::Step { kind, state, .. }) if kind == "gate" => *state == StepState::Began,
        Some(Fact::Decision { decision: Decision::PassGate | Decision::GoBack, .. }) => false,
        Some(Fact::Ended { .. }) => false,
        _ => at_gate,
    }
}

pub(super) fn fact_of(event: &Event) -> Option<&Fact> {
    match &event.kind {
        EventKind::Fact(fact) => Some(fact),
        _ => None,
    }
}

/// An event of this decision.
pub(super) fn is_decision(event: &Event, wanted: Decision) -> bool {
    matches!(fact_of(event), Some(Fact::Decision { decision, .. }) if *decision == wanted)
}

/// A step of this kind got into this state.
pub(super) fn is_step(event: &Event, of_kind: &str, wanted: StepState) -> bool {
    matches!(fact_of(event), Some(Fact::Step { kind, state, .. }) if kind == of_kind && *state == wanted)
}

/// The first entry of a decision.
pub(super) fn decided(journal: &[Entry], wanted: Decision) -> Option<&Entry> {
    journal.iter().find(|entry| matches!(&entry.fact, Fact::Decision { decision, .. } if *decision == wanted))
}

/// All intents.
pub(super) fn intents(journal: &[Entry]) -> Vec<&Intent> {
    let of = |entry: &'_ Entry| matches!(entry.fact, Fact::Step { intent: Some(_), .. });
    let found = journal.iter().filter(|entry| of(entry));
    found
        .filter_map(|entry| match &entry.fact {
            Fact::Step { intent, .. } => intent.as_deref(),
            _ => None,
        })
        .collect()
}

/// Intents that nothing closed.
pub(super) fn open_intents(journal: &[Entry]) -> Vec<u64> {
    let closes = |id: u64| {
        journal
            .iter()
            .any(|entry| matches!(&entry.fact, Fact::Step { of: Some(of), closed: Some(_), .. } if *of == id))
    };
    intents(journal).into_iter().map(|intent| intent.id).filter(|id| !closes(*id)).collect()
}

/// Intents that must never be repeated, and nobody knows how they ended.
pub(super) fn unknown_for_ever(journal: &[Entry]) -> bool {
    let open = open_intents(journal);
    intents(journal)
        .into_iter()
        .any(|intent| intent.sending == Sending::AtMostOnce && open.contains(&intent.id))
}
