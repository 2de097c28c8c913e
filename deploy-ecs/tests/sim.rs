//! Simulation of ECS over its emulator for a few seeds; `cargo run -p e2e --bin sim` runs many more.

use deploy_core::conformance::sim::{run, run_many};
use deploy_ecs::conformance::EcsSim;

const SEEDS: u64 = 40;

#[test]
fn promises_are_kept() {
    let report = run_many(&EcsSim, 0, SEEDS, 2);
    println!("{report}");
    assert_eq!(report.failed, 0, "seeds {:?}", report.seeds);
    for happens in ["shape service", "shape breaker", "outcome succeeded", "outcome rolled_back"] {
        assert!(report.counts.contains_key(happens), "never happened: {happens}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let (one, two) = (run(&EcsSim, seed, true), run(&EcsSim, seed, true));
        let differs = one.trace.iter().zip(&two.trace).find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.hash, one.counts), (two.hash, two.counts), "seed {seed}");
    }
}

/// 7748: a call landed, somebody wrote over it, and it was called "not applied". 10587: the second sending of a value
/// landed long after giving way, and SUPERSEDED did not say so.
#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    for seed in [7748, 10587] {
        let report = run_many(&EcsSim, seed, 1, 0);
        assert_eq!(report.failed, 0, "{report}");
    }
}
