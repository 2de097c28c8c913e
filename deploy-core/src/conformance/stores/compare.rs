//! Compare-and-set: one winner, and nothing for anyone who is late.

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;

use super::{Ended, StoreUnderTest, TrialResult, Versions, count_up, counted, ensure};
use crate::{
    error::{BoxError, Error, Result},
    state::{Expect, Key, StateStore, Version, Wrote},
};

/// Contenders in a race.
const CONTENDERS: usize = 8;
/// Races in a trial.
const ROUNDS: usize = 12;

/// The version of a write that has to succeed.
pub(super) fn stored(wrote: Result<Wrote>, doing: &str) -> std::result::Result<Version, BoxError> {
    match wrote {
        Ok(Wrote::Stored(version)) => Ok(version),
        Ok(Wrote::Conflict) => {
            Err(format!("{doing}: a conflict, although the record was as expected").into())
        }
        Err(error) => Err(error.context(doing).into()),
    }
}

/// A write that must not succeed, and must say so.
pub(super) fn conflicts(wrote: Result<Wrote>, doing: &str) -> std::result::Result<(), BoxError> {
    match wrote {
        Ok(Wrote::Conflict) => Ok(()),
        Ok(Wrote::Stored(version)) => Err(format!("{doing}: was stored as {version:?}").into()),
        Err(error) => Err(error.context(doing).into()),
    }
}

/// Several handles on the same records.
async fn handles(under: &dyn StoreUnderTest) -> Result<Vec<Arc<dyn StateStore>>> {
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(under.open().await?);
    }
    Ok(handles)
}

/// Everyone writes something different over the same expectation; exactly one is told that it is stored, and it is.
async fn race(
    handles: &[Arc<dyn StateStore>],
    key: &Key,
    expect: &Expect,
) -> std::result::Result<Version, BoxError> {
    let mut racing = JoinSet::new();
    for contender in 0..CONTENDERS {
        let store = Arc::clone(&handles[contender % handles.len()]);
        let (key, expect) = (key.clone(), expect.clone());
        racing.spawn(async move {
            let body = format!("contender {contender}").into_bytes();
            (body.clone(), store.write(&key, expect, body).await)
        });
    }
    let mut winners = Vec::new();
    while let Some(ended) = racing.join_next().await {
        let (body, wrote) = ended?;
        if let Wrote::Stored(version) = wrote? {
            winners.push((body, version));
        }
    }
    let [(body, version)] = winners.as_slice() else {
        return Err(format!("{} of {CONTENDERS} won the race for {key}", winners.len()).into());
    };
    for store in handles {
        let read = store.read(key).await?.ok_or("what the winner wrote is gone")?;
        ensure!(read.body == *body, "the winner's content is not what is stored");
        ensure!(read.version == *version, "read {:?}, the winner was told {version:?}", read.version);
    }
    Ok(version.clone())
}

pub(super) async fn one_winner_of_a_write_race(under: &dyn StoreUnderTest) -> TrialResult {
    let (handles, key) = (handles(under).await?, Key::new(["race", "write"]));
    let mut version = stored(handles[0].write(&key, Expect::Absent, b"first".to_vec()).await, "create")?;
    for round in 0..ROUNDS {
        version = race(&handles, &key, &Expect::Is(version)).await?;
        // Contents differ from round to round, so that a store that hashes cannot be right by chance.
        let between = format!("round {round}").into_bytes();
        version = stored(handles[0].write(&key, Expect::Is(version), between).await, "write between")?;
    }
    Ok(Ended::Passed)
}

pub(super) async fn one_winner_of_a_create_race(under: &dyn StoreUnderTest) -> TrialResult {
    let (handles, key) = (handles(under).await?, Key::new(["race", "create"]));
    for round in 0..ROUNDS {
        // Keys that never existed, and one that was removed just before.
        race(&handles, &key.join(&round.to_string()), &Expect::Absent).await?;
        let version = race(&handles, &key, &Expect::Absent).await?;
        stored(handles[1].remove(&key, version).await, "remove")?;
    }
    Ok(Ended::Passed)
}

pub(super) async fn one_winner_between_write_and_remove(under: &dyn StoreUnderTest) -> TrialResult {
    let (handles, key) = (handles(under).await?, Key::new(["race", "remove"]));
    for round in 0..ROUNDS {
        let first = format!("first {round}").into_bytes();
        let version = stored(handles[0].write(&key, Expect::Absent, first).await, "create")?;
        let (writing, removing) = (Arc::clone(&handles[0]), Arc::clone(&handles[1]));
        let (for_write, for_remove) = ((key.clone(), version.clone()), (key.clone(), version));
        let write = tokio::spawn(async move {
            writing.write(&for_write.0, Expect::Is(for_write.1), b"second".to_vec()).await
        });
        let remove = tokio::spawn(async move { removing.remove(&for_remove.0, for_remove.1).await });
        let left = match (write.await??, remove.await??) {
            (Wrote::Stored(version), Wrote::Conflict) => Some(version),
            (Wrote::Conflict, Wrote::Stored(_)) => None,
            both => return Err(format!("a write and a remove of one version ended as {both:?}").into()),
        };
        let read = handles[2].read(&key).await?.map(|read| read.version);
        ensure!(read == left, "{left:?} should be left, {read:?} is");
        if let Some(version) = left {
            stored(handles[2].remove(&key, version).await, "remove what is left")?;
        }
    }
    Ok(Ended::Passed)
}

pub(super) async fn a_stale_version_conflicts(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, key) = (under.open().await?, Key::new(["stale"]));
    let nobodys =
        [Version(String::new()), Version("nobody's".into()), Version("0".into()), Version("-1".into())];
    for version in &nobodys {
        conflicts(
            store.write(&key, Expect::Is(version.clone()), b"x".to_vec()).await,
            "write what is not there",
        )?;
        conflicts(store.remove(&key, version.clone()).await, "remove what is not there")?;
    }
    let old = stored(store.write(&key, Expect::Absent, b"old".to_vec()).await, "create")?;
    let new = stored(store.write(&key, Expect::Is(old.clone()), b"new".to_vec()).await, "write")?;
    ensure!(old != new, "other content has the same version");
    for version in nobodys.iter().chain([&old]) {
        conflicts(store.write(&key, Expect::Is(version.clone()), b"stale".to_vec()).await, "stale write")?;
        conflicts(store.remove(&key, version.clone()).await, "stale remove")?;
    }
    conflicts(store.write(&key, Expect::Absent, b"again".to_vec()).await, "create what is there")?;
    // One record's version says nothing of another.
    conflicts(
        store.write(&key.join("other"), Expect::Is(new.clone()), b"x".to_vec()).await,
        "another key's version",
    )?;
    let read = store.read(&key).await?.ok_or("the record is gone")?;
    ensure!((&read.version, read.body.as_slice()) == (&new, b"new"), "a conflict changed the record");
    ensure!(
        stored(store.remove(&key, new.clone()).await, "remove")? == new,
        "a remove names another version"
    );
    conflicts(store.remove(&key, new.clone()).await, "remove twice")?;
    conflicts(store.write(&key, Expect::Is(new), b"x".to_vec()).await, "write over a removed version")?;
    ensure!(store.read(&key).await?.is_none(), "a removed record is still there");
    Ok(Ended::Passed)
}

pub(super) async fn identical_content_gets_a_new_version(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, key) = (under.open().await?, Key::new(["identical"]));
    let first = stored(store.write(&key, Expect::Absent, b"same".to_vec()).await, "create")?;
    let second =
        stored(store.write(&key, Expect::Is(first.clone()), b"same".to_vec()).await, "write the same")?;
    let again = store.write(&key, Expect::Is(first.clone()), b"stale".to_vec()).await;
    match under.versions() {
        Versions::Counting => {
            ensure!(first != second, "identical content kept its version");
            conflicts(again, "write with the version before the identical write")?;
        }
        Versions::Hashing => {
            ensure!(first == second, "a store that hashes gave {first:?} and {second:?} to equal bytes");
            stored(again, "a store that hashes cannot tell the two writes apart")?;
        }
    }
    Ok(Ended::Passed)
}

pub(super) async fn delete_and_create_reuse_no_version(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, key) = (under.open().await?, Key::new(["again"]));
    let mut seen = BTreeSet::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let version = stored(store.write(&key, Expect::Absent, b"same".to_vec()).await, "create")?;
        if under.versions() == Versions::Counting
            && let Some(before) = last.replace(version.clone())
        {
            conflicts(
                store.write(&key, Expect::Is(before), b"x".to_vec()).await,
                "write over another life's version",
            )?;
        }
        seen.insert(version.clone());
        stored(store.remove(&key, version).await, "remove")?;
        // The counter must not fall back to what is left when the newest record goes.
        drop(under.open().await?);
    }
    match under.versions() {
        Versions::Counting => ensure!(seen.len() == ROUNDS, "{ROUNDS} lives had {} versions", seen.len()),
        Versions::Hashing => {
            ensure!(seen.len() == 1, "a store that hashes gave {} versions to equal bytes", seen.len())
        }
    }
    Ok(Ended::Passed)
}

pub(super) async fn no_increment_is_lost(under: &dyn StoreUnderTest) -> TrialResult {
    const EACH: u64 = 40;
    let (handles, key) = (handles(under).await?, Key::new(["count"]));
    let mut counting = JoinSet::new();
    for (number, store) in handles.iter().enumerate() {
        let (store, key) = (Arc::clone(store), key.clone());
        counting.spawn(async move {
            for count in 1..=EACH {
                count_up(&*store, &key, &format!("client {number}"), count).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = counting.join_next().await {
        ended??;
    }
    let counts = counted(handles[0].read(&key).await?.as_ref())?;
    ensure!(
        counts.len() == handles.len() && counts.values().all(|count| *count == EACH),
        "counted {counts:?}"
    );
    Ok(Ended::Passed)
}
