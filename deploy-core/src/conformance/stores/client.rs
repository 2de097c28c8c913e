//! A careful client of a store, and a clock for what must happen later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, Retry},
    model::Timestamp,
    state::{Expect, Key, StateStore, Versioned, Wrote},
};

/// A clock that stands still until it is moved on by hand: what is due later happens exactly then, on any runtime.
#[derive(Debug, Clone)]
pub struct HandClock(Arc<watch::Sender<Duration>>);

impl HandClock {
    /// A clock at its start.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    /// Moves it on.
    pub fn advance(&self, millis: u64) {
        self.0.send_modify(|now| *now = now.saturating_add(Duration::from_millis(millis)));
    }
}

impl Default for HandClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0).plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.elapsed().saturating_add(duration);
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= until).await;
    }
}

/// How often a careful client tries again before it gives up.
const ATTEMPTS_MAX: u32 = 100_000;

/// What each client has counted in this record.
///
/// # Errors
/// Of kind `Malformed`, if the record is not one of [`count_up`].
pub fn counted(record: Option<&Versioned>) -> Result<BTreeMap<String, u64>> {
    let Some(record) = record else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&record.body)
        .map_err(|error| Error::new(ErrorKind::Malformed, "not a record of counts").because(error))
}

/// Counts `who` up to `number` in the record, by compare-and-set, whatever becomes of single calls: after a conflict or
/// a lost answer it reads back, and its own mark tells whether it was done.
///
/// # Errors
/// What must not be tried again; or nothing helped for very long.
pub async fn count_up(store: &dyn StateStore, key: &Key, who: &str, number: u64) -> Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let record = match store.read(key).await {
            Ok(record) => record,
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Err(_) => continue,
        };
        let mut counts = counted(record.as_ref())?;
        if counts.get(who).is_some_and(|reached| *reached >= number) {
            return Ok(());
        }
        counts.insert(who.to_owned(), number);
        let expect = record.map_or(Expect::Absent, |record| Expect::Is(record.version));
        let body = serde_json::to_vec(&counts)
            .map_err(|error| Error::new(ErrorKind::Unexpected, "counts cannot be written").because(error))?;
        match store.write(key, expect, body).await {
            Ok(Wrote::Stored(_)) => return Ok(()),
            Err(error) if error.retry() == Retry::Never => return Err(error),
            Ok(Wrote::Conflict) | Err(_) => {}
        }
    }
    Err(Error::new(ErrorKind::Store, format!("{key} could not be counted up")))
}
