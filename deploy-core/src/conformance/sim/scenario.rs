//! What is to happen in a run: drawn from its seed alone, before anything runs.

use crate::clock::SeededRandom;

/// Where a process meets its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Point {
    /// At its n-th store call: before it is sent, or when its answer is there.
    Store { nth: u64, after: bool },
    /// At its n-th mutation of the platform: before it is sent, or after its effect.
    Platform { nth: u64, after: bool },
    /// When an entry of this kind is about to be stored as the newest, or has just been.
    Journal { word: &'static str, after: bool },
    /// When it begins, or has ended: `seal`, `settle`, `undo`, `observe-back`.
    During { what: &'static str, after: bool },
    /// At a time.
    Time { at: u64 },
}

impl Point {
    pub(super) fn word(&self) -> String {
        let side = |after: &bool| if *after { "after" } else { "before" };
        match self {
            Self::Store { after, .. } => format!("store-{}", side(after)),
            Self::Platform { after, .. } => format!("platform-{}", side(after)),
            Self::Journal { word, after } => format!("journal-{word}-{}", side(after)),
            Self::During { what, after } => format!("{what}-{}", side(after)),
            Self::Time { .. } => "time".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Die,
    Pause(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trap {
    pub(super) point: Point,
    pub(super) then: Then,
}

/// What somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Deploy(&'static str),
    Config,
    Rollback,
    Adopt,
    Resume,
    Leave,
    Command(&'static str),
    Jump(i64),
    Foreign,
    Outside,
    Restart,
}

impl Act {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Config => "config",
            Self::Rollback => "rollback",
            Self::Adopt => "adopt",
            Self::Resume => "resume",
            Self::Leave => "leave",
            Self::Command(word) => word,
            Self::Jump(_) => "jump",
            Self::Foreign => "foreign",
            Self::Outside => "outside",
            Self::Restart => "restart",
        }
    }
}

/// Something done at a time by the deployer in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) at: u64,
    pub(super) slot: usize,
    pub(super) act: Act,
}

#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) host: u64,
    pub(super) offset_ms: i64,
    pub(super) traps: Vec<Trap>,
    /// The traps of the process that is started after a crash.
    pub(super) again: Vec<Trap>,
}

/// A time in which the store does not answer: everybody, or one slot's host.
#[derive(Debug, Clone)]
pub(super) struct Outage {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) host: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) shape: &'static str,
    pub(super) desired: u32,
    pub(super) hook: bool,
    pub(super) bake_s: u64,
    pub(super) poll_ms: u64,
    pub(super) value_bytes: usize,
    pub(super) hashing: bool,
    pub(super) slots: Vec<Slot>,
    pub(super) deeds: Vec<Deed>,
    pub(super) outages: Vec<Outage>,
    /// Faults per thousand calls.
    pub(super) store_permille: u64,
    pub(super) platform_permille: u64,
    pub(super) chaos_ms: u64,
    pub(super) sweeper_host: u64,
    pub(super) sweeper_aborts: bool,
}

/// How far a clock may be off: within the skew that platforms and plans allow for.
const OFFSET_MS: u64 = 2_000;

const WORDS: [&str; 9] =
    ["started", "driver", "began", "asked", "answered", "decision", "restored", "command", "ended"];
const DURING: [&str; 4] = ["seal", "settle", "undo", "observe-back"];

fn one<T: Clone>(random: &SeededRandom, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap_or(0)].clone()
}

fn trap(random: &SeededRandom) -> Trap {
    let after = random.chance(50);
    let point = match random.below(6) {
        0 => Point::Store { nth: 1 + random.below(one(random, &[12, 40, 120])), after },
        1 | 2 => Point::Platform { nth: 1 + random.below(6), after },
        3 => Point::Journal { word: one(random, &WORDS), after },
        4 => Point::During { what: one(random, &DURING), after },
        _ => Point::Time { at: random.below(200_000) },
    };
    let then = if random.chance(60) {
        Then::Die
    } else {
        Then::Pause(one(random, &[3_000, 12_000, 35_000, 60_000, 120_000, 400_000]) + random.below(3_000))
    };
    Trap { point, then }
}

fn traps(random: &SeededRandom, percent: u64) -> Vec<Trap> {
    let mut traps = Vec::new();
    while traps.len() < 3 && random.chance(percent) {
        traps.push(trap(random));
    }
    traps
}

fn offset(random: &SeededRandom) -> i64 {
    i64::try_from(random.below(2 * OFFSET_MS + 1)).unwrap_or(0) - OFFSET_MS.cast_signed()
}

impl Scenario {
    pub(super) fn draw(random: &SeededRandom, shapes: &[&'static str]) -> Self {
        let shape = one(random, shapes);
        let count = 1 + usize::try_from(random.below(3)).unwrap_or(0);
        let hosts = 1 + random.below(3);
        let mut slots: Vec<Slot> = (0..count)
            .map(|_| Slot {
                host: random.below(hosts),
                offset_ms: if random.chance(50) { 0 } else { offset(random) },
                traps: traps(random, 60),
                again: traps(random, 30),
            })
            .collect();
        let chaos_ms = one(random, &[60_000, 200_000, 500_000, 900_000]) + random.below(60_000);
        let mut deeds = vec![Deed { at: random.below(1_000), slot: 0, act: deploy(random) }];
        let slot = |random: &SeededRandom| usize::try_from(random.below(count as u64)).unwrap_or(0);
        for _ in 0..random.below(8) {
            let act = match random.below(20) {
                0..=3 => deploy(random),
                4 => Act::Config,
                5 | 6 => Act::Rollback,
                7 => Act::Adopt,
                8..=10 => Act::Resume,
                11 => Act::Leave,
                12..=15 => {
                    Act::Command(one(random, &["abort", "abort", "pause", "go-on", "promote", "abandon"]))
                }
                16 => Act::Jump(offset(random)),
                17 | 18 => Act::Foreign,
                _ => Act::Outside,
            };
            // Most things happen while the first deploy runs.
            let within = if random.chance(60) { chaos_ms.min(120_000) } else { chaos_ms };
            deeds.push(Deed { at: random.below(within), slot: slot(random), act });
        }
        for slot in 0..count {
            for _ in 0..random.below(3) {
                deeds.push(Deed { at: random.below(chaos_ms), slot, act: Act::Restart });
            }
        }
        deeds.sort_by_key(|deed| deed.at);
        // Only who takes over seals, and settles most: where that is to be met, somebody has died before.
        if let Some(slot) = slots.first_mut().filter(|_| random.chance(15)) {
            let died = Point::Platform { nth: 1 + random.below(6), after: random.chance(50) };
            let met = Point::During { what: one(random, &["seal", "settle"]), after: random.chance(50) };
            slot.traps = vec![Trap { point: died, then: Then::Die }];
            slot.again.insert(0, Trap { point: met, then: Then::Die });
        }
        // What answers a call is mostly written together with what comes next, and dying right there is rare. Not drawn: that
        // would make other scenarios of all seeds.
        if let Some(slot) = slots.first_mut().filter(|_| chaos_ms % 25 == 7) {
            let point = Point::Journal { word: "answered", after: chaos_ms % 2 == 1 };
            slot.traps.insert(0, Trap { point, then: Then::Die });
        }
        // Settling is rare where little is unanswered: who waits for it gets something to settle.
        let settles = slots
            .iter()
            .flat_map(|slot| slot.traps.iter().chain(&slot.again))
            .any(|trap| matches!(trap.point, Point::During { what: "settle", .. }));
        let outages = (0..random.below(3)).map(|_| {
            let from = random.below(chaos_ms.min(200_000));
            let lasts = one(random, &[3_000, 8_000, 20_000, 40_000, 90_000]);
            let host = random.chance(50).then(|| random.below(hosts));
            Outage { from, to: from + lasts, host }
        });
        let outages = if random.chance(60) { Vec::new() } else { outages.collect() };
        Self {
            shape,
            desired: 1 + u32::try_from(random.below(3)).unwrap_or(0),
            hook: random.chance(60),
            // Long enough for a crash to be seen twice.
            bake_s: one(random, &[30, 60]),
            poll_ms: one(random, &[1_000, 2_000, 5_000]),
            value_bytes: one(random, &[8 << 20, 8 << 20, 48 << 10]),
            hashing: random.chance(25),
            slots,
            deeds,
            outages,
            store_permille: one(random, &[0, 0, 10, 40, 100]),
            platform_permille: one(random, &[0, 0, 20, 60, 150]).max(if settles { 300 } else { 0 }),
            chaos_ms,
            sweeper_host: random.below(hosts),
            sweeper_aborts: random.chance(20),
        }
    }
}

fn deploy(random: &SeededRandom) -> Act {
    let behaviours =
        ["ok", "ok", "ok", "ok", "crash", "crash", "unhealthy", "nopull", "slow", "flaky", "platform-revert"];
    Act::Deploy(one(random, &behaviours))
}
