//! Lost answers, late and doubled writes, refusals: what a caller meets, and what the store must make of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::JoinSet;

use super::{
    Ended, HandClock, StoreUnderTest, TrialResult, Versions,
    compare::{conflicts, stored},
    count_up, counted, ensure,
};
use crate::{
    clock::SeededRandom,
    error::{BoxError, EffectState, Error, ErrorKind, Result, Retry},
    state::{
        Expect, Key, StateStore, Versioned, Wrote,
        stores::faulty::{Call, Fate, Fault, FaultyStore, Op},
    },
};

/// A store whose changes meet these faults, in order; then none.
async fn faulty(under: &dyn StoreUnderTest, clock: &HandClock, faults: &[Fault]) -> Result<FaultyStore> {
    let mut coming: VecDeque<Fault> = faults.iter().copied().collect();
    Ok(FaultyStore::new(under.open().await?, Arc::new(clock.clone()), move |call| {
        let fault = if call.op.mutates() { coming.pop_front() } else { None };
        fault.unwrap_or(Fault::None).into()
    }))
}

/// The error of a call whose effect nobody knows.
fn unknown(wrote: Result<Wrote>) -> std::result::Result<(), BoxError> {
    let Err(error) = wrote else { return Err(format!("the answer was not lost: {wrote:?}").into()) };
    ensure!(error.effect() == EffectState::Unknown && error.retry() != Retry::Always, "{error:?}");
    Ok(())
}

async fn must_read(store: &dyn StateStore, key: &Key) -> std::result::Result<Versioned, BoxError> {
    Ok(store.read(key).await?.ok_or_else(|| format!("{key} is not there"))?)
}

pub(super) async fn an_answer_lost_before_the_write(under: &dyn StoreUnderTest) -> TrialResult {
    let key = Key::new(["lost", "before"]);
    let lost = Fault::LoseRequest;
    let store = faulty(under, &HandClock::new(), &[lost, Fault::None, lost, Fault::None, lost]).await?;
    unknown(store.write(&key, Expect::Absent, b"one".to_vec()).await)?;
    ensure!(store.read(&key).await?.is_none(), "a write that never arrived is there");
    let one = stored(store.write(&key, Expect::Absent, b"one".to_vec()).await, "send the same again")?;
    unknown(store.write(&key, Expect::Is(one.clone()), b"two".to_vec()).await)?;
    ensure!(must_read(&store, &key).await?.version == one, "a write that never arrived moved the version");
    let two = stored(store.write(&key, Expect::Is(one), b"two".to_vec()).await, "send the same again")?;
    unknown(store.remove(&key, two.clone()).await)?;
    ensure!(must_read(&store, &key).await?.version == two, "a remove that never arrived was done");
    stored(store.remove(&key, two).await, "send the same again")?;
    Ok(Ended::Passed)
}

pub(super) async fn an_answer_lost_after_the_write(under: &dyn StoreUnderTest) -> TrialResult {
    let key = Key::new(["lost", "after"]);
    let lost = Fault::LoseAnswer;
    let store = faulty(under, &HandClock::new(), &[lost, Fault::None, lost, Fault::None, lost]).await?;
    unknown(store.write(&key, Expect::Absent, b"one".to_vec()).await)?;
    let one = must_read(&store, &key).await?;
    ensure!(one.body == b"one", "a write whose answer was lost is not there");
    // The blind retry meets its own write: this is why callers read back, and look for their own mark.
    conflicts(store.write(&key, Expect::Absent, b"one".to_vec()).await, "send the same again")?;
    unknown(store.write(&key, Expect::Is(one.version.clone()), b"two".to_vec()).await)?;
    let two = must_read(&store, &key).await?;
    ensure!(two.body == b"two" && two.version != one.version, "a write whose answer was lost: {two:?}");
    conflicts(store.write(&key, Expect::Is(one.version), b"two".to_vec()).await, "send the same again")?;
    unknown(store.remove(&key, two.version.clone()).await)?;
    ensure!(store.read(&key).await?.is_none(), "a remove whose answer was lost was not done");
    conflicts(store.remove(&key, two.version).await, "send the same again")?;
    Ok(Ended::Passed)
}

pub(super) async fn a_late_duplicate_changes_nothing(under: &dyn StoreUnderTest) -> TrialResult {
    const LATER_MS: u64 = 60_000;
    let clock = HandClock::new();
    for with_write_ids in [true, false] {
        let key = Key::new(["duplicate", if with_write_ids { "with" } else { "without" }]);
        let body = |text: &str, id: u32| {
            if with_write_ids { format!("{text} {id}") } else { text.to_owned() }.into_bytes()
        };
        let store = faulty(under, &clock, &[Fault::None, Fault::Duplicate(LATER_MS)]).await?;
        let a = stored(store.write(&key, Expect::Absent, body("a", 1)).await, "write a")?;
        let b = stored(store.write(&key, Expect::Is(a), body("b", 2)).await, "write b")?;
        let a = stored(store.write(&key, Expect::Is(b), body("a", 3)).await, "write a again")?;
        ensure!(store.in_flight() == 1, "the duplicate is not on its way");
        clock.advance(LATER_MS);
        store.settled().await;
        let read = must_read(&store, &key).await?;
        if with_write_ids || under.versions() == Versions::Counting {
            ensure!(read.version == a && read.body == body("a", 3), "a late duplicate landed: {read:?}");
            ensure!(store.counts_of(&key).conflicts == 1, "the duplicate did not arrive");
        } else {
            // A -> B -> A looks unchanged to a store that hashes: the duplicate must land, or it does not hash.
            ensure!(read.body == body("b", 2), "a store that hashes told equal bytes apart: {read:?}");
        }
        let late = faulty(under, &clock, &[Fault::Duplicate(LATER_MS)]).await?;
        stored(late.remove(&key, read.version).await, "remove")?;
        stored(late.write(&key, Expect::Absent, b"another life".to_vec()).await, "create again")?;
        clock.advance(LATER_MS);
        late.settled().await;
        ensure!(late.counts_of(&key).conflicts == 1, "the second remove did not arrive");
        ensure!(
            must_read(&late, &key).await?.body == b"another life",
            "a late remove took another life's record"
        );
    }
    Ok(Ended::Passed)
}

pub(super) async fn a_write_that_lands_late(under: &dyn StoreUnderTest) -> TrialResult {
    const LATER_MS: u64 = 60_000;
    let (key, clock) = (Key::new(["late"]), HandClock::new());
    let late = Fault::LandLate(LATER_MS);
    let store = faulty(under, &clock, &[Fault::None, late, Fault::None, late]).await?;
    let base = stored(store.write(&key, Expect::Absent, b"base".to_vec()).await, "create")?;
    unknown(store.write(&key, Expect::Is(base.clone()), b"late 1".to_vec()).await)?;
    ensure!(must_read(&store, &key).await?.version == base, "it landed early");
    // Someone else was faster: what lands then meets another version.
    let other = stored(store.write(&key, Expect::Is(base), b"other".to_vec()).await, "take over")?;
    clock.advance(LATER_MS);
    store.settled().await;
    ensure!(must_read(&store, &key).await?.version == other, "a late write landed over its successor");
    // Nobody was: it lands, and sending it again conflicts with itself.
    unknown(store.write(&key, Expect::Is(other.clone()), b"late 2".to_vec()).await)?;
    clock.advance(LATER_MS);
    store.settled().await;
    ensure!(must_read(&store, &key).await?.body == b"late 2", "a late write got lost");
    conflicts(store.write(&key, Expect::Is(other), b"late 2".to_vec()).await, "send the same again")?;
    ensure!(store.counts_of(&key).stored == 3, "{:?}", store.counts_of(&key));
    Ok(Ended::Passed)
}

pub(super) async fn refusals_do_nothing(under: &dyn StoreUnderTest) -> TrialResult {
    let (key, clock) = (Key::new(["refused"]), HandClock::new());
    let plain = under.open().await?;
    let mut version = stored(plain.write(&key, Expect::Absent, b"0".to_vec()).await, "create")?;
    let refusals = [
        (Fault::FailBefore, ErrorKind::Store, EffectState::NotApplied),
        (Fault::Contended, ErrorKind::Conflict, EffectState::NotApplied),
        (Fault::Throttled(1_500), ErrorKind::Throttled, EffectState::NotApplied),
        (Fault::Unavailable, ErrorKind::Unavailable, EffectState::Unknown),
    ];
    for (number, (fault, kind, effect)) in (1_u8..).zip(refusals) {
        let store = FaultyStore::new(Arc::clone(&plain), Arc::new(clock.clone()), move |call| {
            if call.nth == 1 { fault.into() } else { Fault::None.into() }
        });
        for op in [Op::Write, Op::Remove] {
            let wrote = match op {
                Op::Write => store.write(&key, Expect::Is(version.clone()), vec![number]).await,
                _ => store.remove(&key, version.clone()).await,
            };
            let Err(error) = wrote else { return Err(format!("{fault:?} was not met: {wrote:?}").into()) };
            ensure!((error.kind(), error.effect()) == (kind, effect), "{fault:?}: {error:?}");
            ensure!(
                plain.read(&key).await?.is_some_and(|read| read.version == version),
                "{fault:?} did something"
            );
        }
        ensure!(
            store.read(&key).await.is_err_and(|error| error.effect() == EffectState::NotApplied),
            "{fault:?}"
        );
        ensure!(store.list(&key, None, 1).await.is_err(), "{fault:?}: a list was answered");
        version = stored(store.write(&key, Expect::Is(version), vec![number]).await, "the same again")?;
        ensure!(store.faults().get(fault.name()) == Some(&4), "{:?}", store.faults());
    }
    Ok(Ended::Passed)
}

/// What a call of the trial below meets: every fault in turn, by chance.
fn by_chance(random: &SeededRandom, met: &AtomicU64, clock: &HandClock) -> Fate {
    // Time goes on by one millisecond a call, so late calls land between those of others.
    clock.advance(1);
    let fault = match random.below(16) {
        0 => Fault::FailBefore,
        1 => Fault::Contended,
        2 => Fault::Throttled(5),
        3 => Fault::Unavailable,
        4 => Fault::LoseRequest,
        5 => Fault::LoseAnswer,
        6 => Fault::LandLate(random.below(12)),
        7 => Fault::Duplicate(random.below(12)),
        _ => Fault::None,
    };
    if fault != Fault::None {
        met.fetch_add(1, Ordering::Relaxed);
    }
    fault.into()
}

pub(super) async fn no_increment_is_lost_or_doubled_under_faults(under: &dyn StoreUnderTest) -> TrialResult {
    const CLIENTS: u64 = 3;
    const EACH: u64 = 60;
    let key = Key::new(["counted"]);
    let (clock, met) = (HandClock::new(), Arc::new(AtomicU64::new(0)));
    let mut counting = JoinSet::new();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (random, met, time) = (SeededRandom::new(number), Arc::clone(&met), clock.clone());
        let script = move |_: &Call<'_>| by_chance(&random, &met, &time);
        let store = FaultyStore::new(under.open().await?, Arc::new(clock.clone()), script);
        clients.push(store.clone());
        let key = key.clone();
        counting.spawn(async move {
            for count in 1..=EACH {
                count_up(&store, &key, &format!("client {number}"), count).await?;
                tokio::task::yield_now().await;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = counting.join_next().await {
        ended??;
    }
    clock.advance(1_000);
    let mut stored = 0;
    for client in &clients {
        client.settled().await;
        stored += client.counts_of(&key).stored;
        ensure!(client.faults().len() == 9, "not every fault was met: {:?}", client.faults());
    }
    let counts = counted(under.open().await?.read(&key).await?.as_ref())?;
    let right = counts.len() == clients.len() && counts.values().all(|count| *count == EACH);
    ensure!(right, "counted {counts:?} with {} faults", met.load(Ordering::Relaxed));
    // Counted up once each: no duplicate and no late call was taken a second time.
    ensure!(stored == CLIENTS * EACH, "{stored} writes were taken for {} counts", CLIENTS * EACH);
    Ok(Ended::Passed)
}
