//! The store that fails by script does what its script says, and no more.

use std::{future::poll_fn, sync::Arc, task::Poll};

use deploy_core::{
    EffectState, ErrorKind,
    clock::SeededRandom,
    conformance::stores::HandClock,
    state::{
        Expect, Key, StateStore, Wrote,
        stores::{
            faulty::{Call, Fault, FaultyStore, Op},
            memory::MemoryStore,
        },
    },
};
use libtest_mimic::{Failed, Trial};

pub(crate) fn tests() -> Vec<Trial> {
    let as_trial = |(name, trial): (&str, fn())| {
        Trial::test(format!("faulty::{name}"), move || {
            trial();
            Ok::<(), Failed>(())
        })
    };
    let all: [(&str, fn()); 3] = [
        ("delays_are_waited_for_on_the_clock", delays_are_waited_for_on_the_clock),
        ("late_calls_land_when_they_are_due", late_calls_land_when_they_are_due),
        ("the_same_script_gives_the_same_faults", the_same_script_gives_the_same_faults),
    ];
    all.into_iter().map(as_trial).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    super::one_thread().unwrap().block_on(work)
}

/// Looks once whether this has an answer.
async fn look<T>(running: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    poll_fn(|cx| match std::pin::Pin::new(&mut *running).poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn delays_are_waited_for_on_the_clock() {
    block_on(async {
        let (clock, inner, key) = (HandClock::new(), MemoryStore::new(), Key::new(["k"]));
        let script = |call: &Call<'_>| match call.op {
            Op::Write => Fault::None.with_delays(100, 50),
            _ => Fault::None.into(),
        };
        let store = FaultyStore::new(Arc::new(inner.clone()), Arc::new(clock.clone()), script);
        let mut write = store.write(&key, Expect::Absent, b"x".to_vec());
        assert!(look(&mut write).await.is_none());
        clock.advance(99);
        assert!(look(&mut write).await.is_none());
        assert!(inner.read(&key).await.unwrap().is_none(), "it reached the store too early");
        clock.advance(1);
        assert!(look(&mut write).await.is_none());
        assert!(inner.read(&key).await.unwrap().is_some(), "it did not reach the store");
        clock.advance(50);
        assert!(matches!(look(&mut write).await, Some(Ok(Wrote::Stored(_)))));
        // A caller that goes away before has not sent it.
        let other = key.join("other");
        let mut dropped = store.write(&other, Expect::Absent, b"x".to_vec());
        assert!(look(&mut dropped).await.is_none());
        drop(dropped);
        clock.advance(1_000);
        assert!(inner.read(&other).await.unwrap().is_none());
        assert_eq!((store.counts_of(&other).writes, store.counts_of(&other).stored), (1, 0));
    });
}

fn late_calls_land_when_they_are_due() {
    block_on(async {
        let (clock, inner, key) = (HandClock::new(), MemoryStore::new(), Key::new(["k"]));
        let store = FaultyStore::new(Arc::new(inner.clone()), Arc::new(clock.clone()), |_| {
            Fault::LandLate(10).into()
        });
        let error = store.write(&key, Expect::Absent, b"x".to_vec()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, EffectState::Unknown));
        clock.advance(9);
        // As often as it wants to run: it is not due yet.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.in_flight(), 1);
        assert!(inner.read(&key).await.unwrap().is_none());
        clock.advance(1);
        store.settled().await;
        assert_eq!(store.in_flight(), 0);
        assert!(inner.read(&key).await.unwrap().is_some());
        store.set_script(|_| Fault::None.into());
        assert!(store.read(&key).await.unwrap().is_some());
    });
}

fn the_same_script_gives_the_same_faults() {
    let run = |seed: u64| {
        block_on(async move {
            let random = SeededRandom::new(seed);
            let script = move |_: &Call<'_>| {
                if random.chance(50) { Fault::FailBefore.into() } else { Fault::None.into() }
            };
            let store = FaultyStore::new(Arc::new(MemoryStore::new()), Arc::new(HandClock::new()), script);
            let mut answers = Vec::new();
            for number in 0..64_u8 {
                let key = Key::new(["k", &number.to_string()]);
                answers.push(store.write(&key, Expect::Absent, vec![number]).await.is_ok());
            }
            (answers, store.faults(), store.counts())
        })
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert_eq!(run(1).1.values().sum::<u64>(), 64);
}
