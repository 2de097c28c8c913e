//! What deploy-kit costs, measured beside what it has to be compared with.
//!
//! | command | measures |
//! |---|---|
//! | `cargo bench -p benches --bench core` | writes of the store per deploy, the machine's CPU time, the journal on SQLite beside the disk |
//! | `benches/build-time` | a clean build of deploy-core beside its own dependencies alone, and how many crates it is |
//!
//! Rows are `measure | ours | peer | ratio`; the peer is measured in the same run, on the same machine. Times are
//! printed and never asserted. Counts are asserted: they are promises.

pub mod counting;
pub mod place;
pub mod table;

use std::time::Duration;

use deploy_core::{
    Deployer, Target,
    clock::{SeededRandom, TokioClock},
    model::{Release, Timestamp},
};

use crate::{counting::Counting, place::Rows};

/// A runtime of one thread in virtual time: what waits costs nothing, what works is measured.
///
/// # Panics
/// If the system gives no runtime.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be made")
}

/// A target of this place, with its state in this store, in virtual time.
#[must_use]
pub fn target(store: &Counting, place: Rows, seed: u64) -> Target {
    let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    Deployer::new(store.clone())
        .clock(clock)
        .random(SeededRandom::new(seed))
        .actor("bench")
        .target("shop", "bench", place)
        .bake(Duration::from_secs(5))
}

/// Deploys once.
///
/// # Panics
/// If the deploy does not succeed: its cost would be that of something else.
pub async fn deploy(target: &Target, tag: &str) {
    let release = Release::default().image("rows", tag);
    let rollout = target.deploy(release).start().await.expect("the deploy starts");
    let outcome = rollout.outcome().await.expect("the deploy ends");
    assert!(outcome.is_success(), "{outcome}");
}

/// How many writes of the store carry the intents and answers of a deploy of so many mutations, and how many there are
/// in all. Each look at the place takes `look`.
#[must_use]
pub fn writes(mutations: usize, look: Duration) -> (usize, usize) {
    let store = Counting::memory();
    let place = Rows::new(mutations, look);
    runtime().block_on(deploy(&target(&store, place.clone(), 1), "new"));
    assert_eq!(place.mutations(), mutations, "each was made once");
    let writes = store.take();
    (writes.iter().filter(|write| write.effects).count(), writes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of one mutation and the intent of the next are one write.
    #[test]
    fn so_many_mutations_cost_one_write_more() {
        for mutations in 1..=8 {
            assert_eq!(writes(mutations, Duration::ZERO).0, mutations + 1);
        }
    }
}
