//! Simulation: the real machine, driver and platforms in virtual time, with faults that a seed decides.
//!
//! ```text
//! sim --quick | --full          many seeds of every platform
//! sim PLATFORM SEED             one seed, with its whole trace
//! sim PLATFORM FROM..TO         these seeds
//! ```
//!
//! Fails if a promise is broken, if the same seed gives another trace when it is run again, or if something that has to
//! happen (a fault, a crash point, an outcome) never did. Ends with `RESULT passed=N failed=M`.

use std::{collections::BTreeMap, ops::Range, process::ExitCode};

use deploy_core::conformance::sim::{MemorySim, Report, SimPlatform, run, run_many};
use deploy_ecs::conformance::EcsSim;

const USAGE: &str =
    "usage: sim --quick | --full | PLATFORM SEED | PLATFORM FROM..TO     (platforms: memory, ecs)";

/// How many seeds are run before it is said how far it has come.
const AT_ONCE: u64 = 5_000;
/// How often the seeds of a sample are run again.
const SAMPLE: u64 = 10;

/// What the line at the end tells.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn fail(&mut self, text: &str) {
        println!("FAILED {text}");
        self.failed += 1;
    }

    fn end(&self) -> ExitCode {
        println!("RESULT passed={} failed={}", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn platforms() -> [&'static dyn SimPlatform; 2] {
    [&MemorySim, &EcsSim]
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let platform = |name: &str| platforms().into_iter().find(|platform| platform.name() == name);
    match words[..] {
        ["--quick"] => many(&[2_000, 100], false),
        ["--full"] => many(&[100_000, 20_000], true),
        [name, seeds] => match (platform(name), range(seeds)) {
            (Some(platform), Some(seeds)) if seeds.end - seeds.start == 1 => one(platform, seeds.start),
            (Some(platform), Some(seeds)) => {
                let mut tally = Tally::default();
                let report = seeds_of(platform, seeds, &mut tally);
                for never in report.missing(platform) {
                    println!("never happened in these seeds: {never}");
                }
                tally.end()
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::from(2)
}

/// `17` or `17..42`; never empty.
fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
        None => {
            let seed: u64 = text.parse().ok()?;
            (seed, seed.checked_add(1)?)
        }
    };
    (from < to).then_some(from..to)
}

/// One seed, with everything that happened.
fn one(platform: &dyn SimPlatform, seed: u64) -> ExitCode {
    let ran = run(platform, seed, true);
    println!("{}", ran.scenario);
    for line in &ran.trace {
        println!("{line}");
    }
    for (what, count) in &ran.counts {
        println!("{count:>9}  {what}");
    }
    println!("trace {:016x}, {} s of virtual time", ran.hash, ran.virtual_ms / 1_000);
    let mut tally = Tally::default();
    match ran.violations.len() {
        0 => tally.passed = 1,
        _ => ran.violations.iter().for_each(|text| tally.fail(text)),
    }
    tally.end()
}

/// Every platform: so many seeds of each, in the order of [`platforms`].
fn many(counts: &[u64], full: bool) -> ExitCode {
    let mut tally = Tally::default();
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (platform, count) in platforms().into_iter().zip(counts) {
        let report = seeds_of(platform, 0..*count, &mut tally);
        for (what, count) in &report.counts {
            *all.entry(what.clone()).or_default() += count;
        }
        let mut judged = report;
        if !full {
            // Few seeds of a slow platform do not meet everything: what all so far have met together is enough.
            judged.counts.extend(all.iter().map(|(what, count)| (what.clone(), *count)));
        }
        for never in judged.missing(platform) {
            tally.fail(&format!("{}: this never happened: {never}", platform.name()));
        }
    }
    tally.end()
}

/// Runs seeds, prints what came of them, and runs a sample of them again.
fn seeds_of(platform: &dyn SimPlatform, seeds: Range<u64>, tally: &mut Tally) -> Report {
    let (name, count) = (platform.name(), seeds.end - seeds.start);
    println!("---- {name}: {count} seeds from {} on", seeds.start);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut report = Report::default();
    for from in seeds.clone().step_by(usize::try_from(AT_ONCE).unwrap_or(usize::MAX)) {
        let some = run_many(platform, from, AT_ONCE.min(seeds.end - from), threads);
        report = if from == seeds.start { some } else { report.and(some) };
        if count > AT_ONCE {
            eprintln!("{} of {count}: {} failed", report.passed + report.failed, report.failed);
        }
    }
    println!("{report}");
    for seed in &report.seeds {
        println!("FAILED {name} {seed}; again: cargo run -p e2e --bin sim -- {name} {seed}");
    }
    tally.passed += report.passed;
    tally.failed += report.failed;
    let step = usize::try_from(count.div_ceil(SAMPLE)).unwrap_or(1);
    let mut again = 0;
    for seed in seeds.step_by(step) {
        let (first, second) = (run(platform, seed, false), run(platform, seed, false));
        again += 1;
        if (first.hash, &first.counts) != (second.hash, &second.counts) {
            tally.fail(&format!("{name} {seed} gives another trace when it is run again"));
        }
    }
    println!("{name}: {} passed, {} failed; {again} run twice more", report.passed, report.failed);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read() {
        assert_eq!(range("4711"), Some(4711..4712));
        assert_eq!(range("3..9"), Some(3..9));
        for wrong in ["", "x", "9..3", "3..3", "-1", "1..", "18446744073709551615"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_platform_has_a_name_of_its_own() {
        let names = platforms().map(|platform| platform.name());
        assert_eq!(names, ["memory", "ecs"]);
    }
}
