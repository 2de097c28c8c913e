//! The suite that every store has to pass.
//!
//! A store implements [`StoreUnderTest`] in its tests and runs [`trials`], one by one or all of them with [`tests`].
//! What a store is (does it count versions, or hash?) is said by it; the suite asserts what follows, and the
//! opposite where it does not follow. Not part of the stable API. A trial leaves its records behind.

mod client;
mod compare;
mod faults;
mod records;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use client::{HandClock, count_up, counted};

use crate::{
    error::{BoxError, Result},
    state::{Limits, StateStore},
};

/// Where versions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// No version is ever given twice.
    Counting,
    /// Equal bytes have equal versions.
    Hashing,
}

/// One empty set of records to try a store on.
#[async_trait]
pub trait StoreUnderTest: fmt::Debug + Send + Sync {
    /// Where its versions come from.
    fn versions(&self) -> Versions;

    /// One more handle on the same records, as another process would have it.
    async fn open(&self) -> Result<Arc<dyn StateStore>>;

    /// Keeps a copy of all records; called while no handle is open. False if that cannot be done here.
    async fn back_up(&self) -> Result<bool> {
        Ok(false)
    }

    /// Puts the copy back; called while no handle is open.
    async fn restore(&self) -> Result<()> {
        Ok(())
    }
}

/// How a trial ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All of it was tried.
    Passed,
    /// It cannot be tried on this store, for this reason.
    NotRun(String),
}

/// What a trial returns; an error tells what the store did wrong.
pub type TrialResult = std::result::Result<Ended, BoxError>;

type Running<'a> = Pin<Box<dyn Future<Output = TrialResult> + Send + 'a>>;

/// One trial of the suite.
#[derive(Clone, Copy)]
pub struct StoreTrial {
    name: &'static str,
    run: for<'a> fn(&'a dyn StoreUnderTest) -> Running<'a>,
}

impl fmt::Debug for StoreTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreTrial({})", self.name)
    }
}

impl StoreTrial {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tries one store, which must be empty.
    ///
    /// # Errors
    /// The store did something wrong.
    pub async fn run(&self, store: &dyn StoreUnderTest) -> TrialResult {
        (self.run)(store).await
    }
}

/// Fails a trial.
macro_rules! ensure {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+).into());
        }
    };
}
use ensure;

macro_rules! trials {
    ($($module:ident::$name:ident,)+) => {
        vec![$(StoreTrial { name: stringify!($name), run: |store| Box::pin($module::$name(store)) }),+]
    };
}

/// All trials.
#[must_use]
pub fn trials() -> Vec<StoreTrial> {
    trials![
        compare::one_winner_of_a_write_race,
        compare::one_winner_of_a_create_race,
        compare::one_winner_between_write_and_remove,
        compare::a_stale_version_conflicts,
        compare::identical_content_gets_a_new_version,
        compare::delete_and_create_reuse_no_version,
        compare::no_increment_is_lost,
        records::keys_and_bodies_are_kept_exactly,
        records::every_handle_reads_every_write,
        records::a_list_comes_in_pages_and_in_order,
        records::the_size_limit_is_an_error_that_names_it,
        records::a_dropped_call_is_whole_or_nothing,
        records::a_restored_backup_is_noticed,
        faults::an_answer_lost_before_the_write,
        faults::an_answer_lost_after_the_write,
        faults::a_late_duplicate_changes_nothing,
        faults::a_write_that_lands_late,
        faults::refusals_do_nothing,
        faults::no_increment_is_lost_or_doubled_under_faults,
    ]
}

/// How long a trial may take before it counts as stuck.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(120);

/// All trials as a runnable list, each with an empty store and a runtime of its own, named `store::trial`.
pub fn tests(
    store: &str,
    runtime: fn() -> std::io::Result<tokio::runtime::Runtime>,
    make: impl Fn() -> Result<Box<dyn StoreUnderTest>> + Clone + Send + Sync + 'static,
) -> Vec<libtest_mimic::Trial> {
    let as_test = |trial: StoreTrial| {
        let make = make.clone();
        libtest_mimic::Trial::ignorable_test(format!("{store}::{}", trial.name), move || {
            let store = make().map_err(|error| format!("{error:?}"))?;
            let trying = async { tokio::time::timeout(TRIAL_TIME_MAX, trial.run(&*store)).await };
            match runtime()?.block_on(trying) {
                Ok(Ok(Ended::Passed)) => Ok(libtest_mimic::Completion::Completed),
                Ok(Ok(Ended::NotRun(why))) => Ok(libtest_mimic::Completion::ignored_with(why)),
                Ok(Err(error)) => Err(format!("{error:?}").into()),
                Err(_) => Err(format!("stuck for {} seconds", TRIAL_TIME_MAX.as_secs()).into()),
            }
        })
    };
    trials().into_iter().map(as_test).collect()
}

/// Whether a value of the largest size, and one more, can be had in memory for the size trial.
fn fits_into_memory(limits: &Limits) -> bool {
    limits.value_bytes <= 64 * 1024 * 1024
}
