//! Several processes on one SQLite file, and kill -9.

use std::path::Path;

use deploy_core::{
    BoxError,
    clock::{Clock, SeededRandom, SystemClock},
    conformance::stores::counted,
    state::{Key, StateStore, stores::sqlite::SqliteStore},
};
use libtest_mimic::{Failed, Trial};

use super::child::{Role, Running, content, count_key, entry_key, head_key};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("sqlite-processes::kill_9_loses_no_acknowledged_write", || run(kill_9)),
        Trial::test("sqlite-processes::two_times_500_increments_lose_none", || run(two_processes)),
        Trial::test("sqlite-processes::eight_processes_create_the_file_at_once", || run(eight_openings)),
    ]
}

fn run(trial: fn() -> Result<(), BoxError>) -> Result<(), Failed> {
    trial().map_err(|error| format!("{error:?}").into())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    super::one_thread().unwrap().block_on(work)
}

/// Processes that were killed.
const KILLS: u64 = 40;

struct Acknowledged {
    name: String,
    number: u64,
    entry: String,
    head: String,
}

fn kill_9() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("state.db");
    let random = SeededRandom::new(9);
    let mut acknowledged: Vec<Acknowledged> = Vec::new();
    let mut unanswered = 0;
    for kill in 0..KILLS {
        // Every other time somebody else keeps the file open, so that the log is not recovered but read on.
        let bystander = if kill % 2 == 1 { Some(SqliteStore::open(&file)?) } else { None };
        let name = format!("writer {kill}");
        let mut child = Running::start(Role::Writer, &name, &file)?;
        let patience = random.below(25);
        let (mut heard, began) = (0, SystemClock.elapsed());
        while heard <= patience {
            let line = child.line()?.ok_or("the writer ended by itself")?;
            heard += 1;
            acknowledged.push(acknowledgement(&name, &line)?);
        }
        // The writer goes on meanwhile. The signal comes at a random point of what two writes took on average, start
        // of the process included: before, between and after their commits.
        let pair = SystemClock.elapsed().saturating_sub(began) / u32::try_from(heard)?;
        let signal_at = SystemClock.elapsed() + pair * u32::try_from(random.below(100))? / 100;
        while SystemClock.elapsed() < signal_at {
            std::hint::spin_loop();
        }
        let status = child.kill()?;
        assert!(!status.success(), "the writer was not killed: {status}");
        #[cfg(unix)]
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        // What it said before the signal came counts as well.
        while let Some(line) = child.line()? {
            heard += 1;
            acknowledged.push(acknowledgement(&name, &line)?);
        }
        if let Some(store) = &bystander {
            block_on(check(store, &acknowledged, &name, heard))?;
        }
        unanswered += block_on(check(&SqliteStore::open(&file)?, &acknowledged, &name, heard))?;
    }
    // Otherwise no signal came between a commit and its acknowledgement, and nothing was tried.
    assert!(unanswered > 0, "every write that was made had been acknowledged");
    println!(
        "{KILLS} kills, {} acknowledged pairs of writes, 0 lost; {unanswered} left a write that was made and not acknowledged",
        acknowledged.len()
    );
    Ok(())
}

fn acknowledgement(name: &str, line: &str) -> Result<Acknowledged, BoxError> {
    let [number, entry, head] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("the writer said {line:?}").into());
    };
    Ok(Acknowledged { name: name.into(), number: number.parse()?, entry: entry.into(), head: head.into() })
}

/// Everything acknowledged is there, and of what was not at most the one write that was under way.
async fn check(store: &SqliteStore, all: &[Acknowledged], name: &str, heard: u64) -> Result<u64, BoxError> {
    for one in all {
        let key = entry_key(&one.name, one.number);
        let read = store.read(&key).await?.ok_or_else(|| format!("{key} was acknowledged and is lost"))?;
        assert_eq!(read.version.0, one.entry, "{key}");
        assert_eq!(read.body, content(&one.name, one.number), "{key}");
    }
    let head = store.read(&head_key()).await?.ok_or("the head is lost")?;
    let last = all.last().ok_or("nothing was acknowledged")?;
    let unheard = head.version.0 != last.head;
    let expected = if unheard { heard + 1 } else { heard };
    assert_eq!(head.body, content(name, expected), "the head is not the last write, nor the one after it");
    let entries = store.list(&Key::new(["entry", name]), None, usize::MAX).await?.len() as u64;
    assert!((expected..=heard + 1).contains(&entries), "{entries} entries after {heard} acknowledgements");
    Ok(u64::from(entries > heard))
}

fn two_processes() -> Result<(), BoxError> {
    counting(2, 500).map(|took_ms| println!("2 x 500 increments in {took_ms} ms, none lost"))
}

fn eight_openings() -> Result<(), BoxError> {
    // A file that is not there yet: each of them wants to create it, its tables and its log.
    for _ in 0..5 {
        counting(8, 3)?;
    }
    Ok(())
}

fn counting(processes: usize, each: u64) -> Result<u128, BoxError> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("new").join("directory").join("state.db");
    let began = SystemClock.elapsed();
    let start = |number: usize| Running::start(Role::Counter(each), &format!("process {number}"), &file);
    let mut children = (0..processes).map(start).collect::<Result<Vec<_>, _>>()?;
    for child in &mut children {
        let mut last = None;
        while let Some(line) = child.line()? {
            last = Some(line.parse::<u64>()?);
        }
        let status = child.wait()?;
        assert!(status.success() && last == Some(each), "{status} after {last:?}");
    }
    let took = SystemClock.elapsed().saturating_sub(began);
    block_on(check_counts(&file, processes, each))?;
    Ok(took.as_millis())
}

async fn check_counts(file: &Path, processes: usize, each: u64) -> Result<(), BoxError> {
    let record = SqliteStore::open(file)?.read(&count_key()).await?.ok_or("nothing was counted")?;
    let counts = counted(Some(&record))?;
    assert_eq!(counts.len(), processes);
    assert!(counts.values().all(|count| *count == each), "{counts:?}");
    // Every increment is one write: the counter tells whether one was made twice or on a lost state.
    let (counter, _) = record.version.0.split_once('-').ok_or("a version without a counter")?;
    assert_eq!(counter.parse::<u64>()?, processes as u64 * each);
    Ok(())
}
