//! Simulation over some hundred seeds; `cargo run -p e2e --bin sim` runs many more.

use deploy_core::conformance::sim::{MemorySim, run, run_many};

/// Enough for every fault and every outcome to happen.
const SEEDS: u64 = 600;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn promises_are_kept() {
    let (from, count) = (number("SIM_FROM", 0), number("SIM_COUNT", SEEDS));
    let report = run_many(&MemorySim, from, count, 2);
    println!("{report}");
    assert_eq!(report.failed, 0, "seeds {:?}", report.seeds);
    // Each crash point needs many more seeds than this.
    let missing: Vec<String> =
        report.missing(&MemorySim).into_iter().filter(|what| !what.starts_with("crash ")).collect();
    assert_eq!(missing, Vec::<String>::new(), "never happened");
}

#[test]
fn live() {
    if std::env::var_os("SIM_LIVE").is_some() {
        let _ = run(&MemorySim, number("SIM_FROM", 0), true);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..24 {
        let (one, two) = (run(&MemorySim, seed, true), run(&MemorySim, seed, true));
        let differs = one.trace.iter().zip(&two.trace).find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.hash, one.counts), (two.hash, two.counts), "seed {seed}");
    }
}
