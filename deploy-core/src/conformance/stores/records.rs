//! Reading, listing, limits, and what happens around a call.

use std::{collections::BTreeSet, future::poll_fn, sync::Arc, task::Poll};

use super::{
    Ended, StoreUnderTest, TrialResult,
    compare::{conflicts, stored},
    ensure, fits_into_memory,
};
use crate::{
    error::{BoxError, EffectState, ErrorKind},
    state::{Expect, Key, StateStore, Version, Wrote},
};

pub(super) async fn keys_and_bodies_are_kept_exactly(under: &dyn StoreUnderTest) -> TrialResult {
    let store = under.open().await?;
    let keys = [
        Key::new(["exact", "a"]),
        Key::new(["exact", "A"]),
        Key::new(["exact", "a/b"]),
        Key::new(["exact", "a", "b"]),
        Key::new(["exact", "~2f"]),
        Key::new(["exact", "arn:aws:ecs:us-east-1:1:service/web"]),
        Key::new(["exact", "%_*'\"\\ \u{0}é"]),
        Key::new(["exact", &"long".repeat(50)]),
    ];
    let bodies = [
        b"".to_vec(),
        b"\0".to_vec(),
        (0..=255).collect(),
        "é\r\n".into(),
        b"\"1\"".to_vec(),
        vec![255; 70_000],
    ];
    for (number, key) in keys.iter().enumerate() {
        let body = &bodies[number % bodies.len()];
        stored(store.write(key, Expect::Absent, body.clone()).await, "create")?;
    }
    for (number, key) in keys.iter().enumerate() {
        let read = store.read(key).await?.ok_or_else(|| format!("{key} is not there"))?;
        ensure!(read.body == bodies[number % bodies.len()], "{key} has other content");
    }
    let listed = store.list(&Key::new(["exact"]), None, 100).await?;
    ensure!(BTreeSet::from(keys) == listed.iter().cloned().collect(), "the keys came back as {listed:?}");
    Ok(Ended::Passed)
}

pub(super) async fn every_handle_reads_every_write(under: &dyn StoreUnderTest) -> TrialResult {
    let (one, other, key) = (under.open().await?, under.open().await?, Key::new(["seen"]));
    ensure!(other.read(&key).await?.is_none(), "a record is there before it was written");
    let mut version = stored(one.write(&key, Expect::Absent, b"0".to_vec()).await, "create")?;
    for number in 1..=20_u8 {
        let (writer, reader) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        version = stored(writer.write(&key, Expect::Is(version), vec![number]).await, "write")?;
        for handle in [writer, reader, &under.open().await?] {
            let read = handle.read(&key).await?.ok_or("what was just written is not there")?;
            ensure!(read.body == [number] && read.version == version, "read {read:?} after {version:?}");
            ensure!(handle.list(&Key::new(["seen"]), None, 9).await?.is_empty(), "a record is under itself");
        }
    }
    stored(one.remove(&key, version).await, "remove")?;
    ensure!(other.read(&key).await?.is_none(), "what was just removed is still there");
    Ok(Ended::Passed)
}

pub(super) async fn a_list_comes_in_pages_and_in_order(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, prefix) = (under.open().await?, Key::new(["list", "p"]));
    let mut under_it: Vec<Key> =
        (0..23_u32).map(|number| prefix.join(&format!("{:02}", number * 7 % 23))).collect();
    under_it.push(prefix.join("05").join("deeper"));
    // Neighbours that begin alike, on both sides of `/` in the order of bytes; and the prefix itself.
    let neighbours = ["p-", "p.a", "p0", "p:", "pa"]
        .map(|part| Key::new(["list", part]))
        .into_iter()
        .chain([prefix.clone()]);
    for key in under_it.iter().cloned().chain(neighbours).chain([Key::new(["list", "p-", "x"])]) {
        stored(store.write(&key, Expect::Absent, b"x".to_vec()).await, "create")?;
    }
    under_it.sort();
    for limit in [1, 5, 23, 24, 25, usize::MAX] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&prefix, after.as_ref(), limit).await?;
            ensure!(page.len() <= limit, "a page of {limit} has {} keys", page.len());
            let Some(last) = page.last() else { break };
            // Or the pages would never end.
            ensure!(after.as_ref() < page.first(), "the page after {after:?} begins with {:?}", page.first());
            after = Some(last.clone());
            listed.extend(page);
        }
        ensure!(listed == under_it, "in pages of {limit}: {listed:?}");
    }
    let rest = store.list(&prefix, Some(&prefix.join("20-not-there")), 100).await?;
    ensure!(rest == under_it[under_it.len() - 2..], "after a key that is not there: {rest:?}");
    let all = store.list(&prefix, Some(&Key::new(["list", "a"])), 100).await?;
    ensure!(all == under_it, "after a key before the prefix: {all:?}");
    for (after, limit) in [(Key::new(["list", "q"]), 100), (Key::new(["list", "p", "00"]), 0)] {
        let none = store.list(&prefix, Some(&after), limit).await?;
        ensure!(none.is_empty(), "{limit} after {after}: {none:?}");
    }
    let gone = under_it.remove(3);
    let version = store.read(&gone).await?.ok_or("a listed key is not there")?.version;
    stored(store.remove(&gone, version).await, "remove")?;
    ensure!(store.list(&prefix, None, 100).await? == under_it, "a removed key is still listed");
    Ok(Ended::Passed)
}

pub(super) async fn the_size_limit_is_an_error_that_names_it(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, key) = (under.open().await?, Key::new(["size"]));
    let limits = store.limits();
    if !fits_into_memory(&limits) {
        return Ok(Ended::NotRun(format!("values may have {} bytes", limits.value_bytes)));
    }
    let too_large = || vec![b'x'; limits.value_bytes + 1];
    let names_it = |wrote: crate::Result<Wrote>| -> Result<(), BoxError> {
        let Err(error) = wrote else { return Err("a value above the limit was taken".into()) };
        let (kind, text) = (error.kind(), error.to_string());
        ensure!(kind == ErrorKind::Invalid, "{error:?}");
        ensure!(error.effect() == EffectState::NotApplied, "{error:?}");
        for part in [key.as_str(), &limits.value_bytes.to_string(), &(limits.value_bytes + 1).to_string()] {
            ensure!(text.contains(part), "{text:?} does not name {part}");
        }
        Ok(())
    };
    names_it(store.write(&key, Expect::Absent, too_large()).await)?;
    ensure!(store.read(&key).await?.is_none(), "a value above the limit left a record");
    let full = vec![b'y'; limits.value_bytes];
    let version =
        stored(store.write(&key, Expect::Absent, full.clone()).await, "a value of exactly the limit")?;
    names_it(store.write(&key, Expect::Is(version.clone()), too_large()).await)?;
    let read = store.read(&key).await?.ok_or("the record is gone")?;
    ensure!(read.version == version && read.body == full, "a refused write changed the record");
    Ok(Ended::Passed)
}

pub(super) async fn a_dropped_call_is_whole_or_nothing(under: &dyn StoreUnderTest) -> TrialResult {
    let (store, key) = (under.open().await?, Key::new(["dropped"]));
    let large = |number: u8| vec![number; store.limits().value_bytes.min(100_000)];
    stored(store.write(&key, Expect::Absent, large(0)).await, "create")?;
    for number in 1..=30_u8 {
        let record = store.read(&key).await?.ok_or("the record is gone")?;
        let mut dropped = store.write(&key, Expect::Is(record.version), large(number));
        // So many looks at it, and then the caller goes away.
        for _ in 0..=number % 3 {
            let ended = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(dropped);
        let read = under.open().await?.read(&key).await?.ok_or("the record is gone")?;
        let first = read.body.first().copied().unwrap_or_default();
        ensure!(first <= number && read.body == large(first), "half of a dropped write is there");
        // What was dropped may land late, once; then the next one has its way.
        let mut tries = 0;
        let mut now = read.version;
        while let Wrote::Conflict = store.write(&key, Expect::Is(now), large(number)).await? {
            tries += 1;
            ensure!(tries <= 3, "a dropped write keeps the next ones out");
            now = store.read(&key).await?.ok_or("the record is gone")?.version;
        }
    }
    Ok(Ended::Passed)
}

pub(super) async fn a_restored_backup_is_noticed(under: &dyn StoreUnderTest) -> TrialResult {
    /// Writes lost by going back, and as many and more made since.
    const LOST: usize = 5;
    let key = Key::new(["restored", "head"]);
    let body = |life: &str, number: usize| format!("{life} {number}").into_bytes();
    let write = async |store: &Arc<dyn StateStore>, from: Version, life: &str, number: usize| {
        stored(store.write(&key, Expect::Is(from), body(life, number)).await, "write")
    };
    let holder = under.open().await?;
    let kept = stored(holder.write(&key, Expect::Absent, body("kept", 0)).await, "create")?;
    drop(holder);
    if !under.back_up().await? {
        return Ok(Ended::NotRun("no backup can be made here".into()));
    }
    let holder = under.open().await?;
    let mut seen = vec![kept.clone()];
    for number in 0..LOST {
        let last = seen[seen.len() - 1].clone();
        seen.push(write(&holder, last, "lost", number).await?);
    }
    let late = seen[seen.len() - 1].clone();
    drop(holder);
    under.restore().await?;

    let (holder, other) = (under.open().await?, under.open().await?);
    let read = holder.read(&key).await?.ok_or("the backup does not hold the record")?;
    ensure!(read.body == body("kept", 0) && read.version == kept, "the backup was not restored: {read:?}");
    let mut now = kept.clone();
    for number in 0..LOST * 3 {
        // The holder goes on from what it knew, at any moment after. Had it succeeded, the one who took over since
        // would have been overwritten unseen.
        conflicts(
            holder.write(&key, Expect::Is(late.clone()), body("late", number)).await,
            "the holder's next write",
        )?;
        conflicts(holder.remove(&key, late.clone()).await, "the holder's remove")?;
        now = write(&other, now, "new", number).await?;
        ensure!(!seen.contains(&now), "version {now:?} was given again after the restore");
    }
    Ok(Ended::Passed)
}
