//! What a deploy costs before a platform costs anything: writes of the store, CPU time, time on the disk.

use std::{fs::File, io::Write as _, path::Path, time::Duration};

use benches::{
    counting::{Counting, Write},
    deploy,
    place::Rows,
    runtime,
    table::{cpu, heading, micros, percentile, row, times, wall},
    target, writes,
};
use deploy_core::state::stores::sqlite::SqliteStore;

/// Mutations of the deploys whose time is measured.
const MUTATIONS: usize = 4;
/// Deploys whose CPU time is measured.
const DEPLOYS: usize = 300;
/// Deploys that are journaled on the disk.
const JOURNALED: usize = 60;

fn main() {
    heading();
    count();
    compute();
    journal();
}

/// m mutations cost m + 1 durable writes: the answer of one and the intent of the next are one.
fn count() {
    for mutations in 1..=8_usize {
        let (carrying, all) = writes(mutations, Duration::ZERO);
        assert_eq!(carrying, mutations + 1);
        let measure = format!("writes that carry effects, {mutations} mutations ({all} writes in all)");
        row(&measure, &carrying.to_string(), &format!("m+1 = {}", mutations + 1), Some(1.0));
    }
    let (carrying, all) = writes(MUTATIONS, Duration::from_millis(500));
    let measure = format!("the same, {MUTATIONS} mutations, each look takes 500 ms ({all} in all)");
    row(&measure, &carrying.to_string(), &format!("m+1 = {}", MUTATIONS + 1), None);
}

/// The CPU time of machine, driver and keeper, with the store in memory and the time virtual.
fn compute() {
    let (store, place) = (Counting::memory(), Rows::new(MUTATIONS, Duration::ZERO));
    let mut spent = Vec::new();
    runtime().block_on(async {
        let target = target(&store, place, 2);
        for number in 0..DEPLOYS {
            let began = cpu();
            deploy(&target, &format!("release-{number}")).await;
            spent.push(cpu().saturating_sub(began));
        }
    });
    let measure = format!("CPU of a deploy of {MUTATIONS} mutations, store in memory, p50");
    row(&measure, &micros(percentile(&spent, 50)), "-", None);
    row("  p99", &micros(percentile(&spent, 99)), "-", None);
}

/// The journal in a SQLite file beside the same bytes written and synced on the same disk, one deploy after the other.
fn journal() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk");
    let store = Counting::new(SqliteStore::open(directory.path().join("state.db")).expect("a SQLite file"));
    let place = Rows::new(MUTATIONS, Duration::ZERO);
    let (mut ours, mut disk, mut ours_each, mut disk_each) = (vec![], vec![], vec![], vec![]);
    runtime().block_on(async {
        let target = target(&store, place, 3);
        for number in 0..JOURNALED {
            deploy(&target, &format!("release-{number}")).await;
            let written = store.take();
            let synced = sync(&directory.path().join("raw"), &written);
            ours.push(written.iter().map(|write| write.took).sum());
            disk.push(synced.iter().sum());
            ours_each.extend(written.iter().map(|write| write.took));
            disk_each.extend(synced);
        }
    });
    let per_deploy = ours_each.len() / JOURNALED;
    times(
        "a write of the journal on SQLite; same bytes with fsync, p50",
        percentile(&ours_each, 50),
        percentile(&disk_each, 50),
    );
    times("  p99", percentile(&ours_each, 99), percentile(&disk_each, 99));
    let measure = format!("the {per_deploy} writes of a deploy; same bytes with fsync, p50");
    times(&measure, percentile(&ours, 50), percentile(&disk, 50));
    times("  p99", percentile(&ours, 99), percentile(&disk, 99));
}

/// Appends as many bytes as each write had, and syncs each.
fn sync(path: &Path, written: &[Write]) -> Vec<Duration> {
    let mut file = File::options().create(true).append(true).open(path).expect("a file on the disk");
    let each = |write: &Write| {
        let body = vec![b'x'; write.bytes];
        let began = wall();
        file.write_all(&body).and_then(|()| file.sync_all()).expect("the disk takes it");
        wall().saturating_sub(began)
    };
    written.iter().map(each).collect()
}
