//! What all connections of a process to one account and region share: the rate budget, and what backends add.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use deploy_core::{Error, ErrorKind, clock::Clock};

/// How much of what AWS publishes we take: the account has other users, and they share it.
const SHARE: f64 = 0.5;
/// For how long nothing is sent after AWS has said "too many".
const THROTTLED: f64 = 1.0;

/// A bucket of tokens as AWS publishes it, for a group of calls of an account and region.
#[derive(Debug)]
pub struct Limit {
    /// Its name: two limits with the same name are one.
    pub name: &'static str,
    /// How many calls may be made at once.
    pub burst: u32,
    /// How many may be made each second after that.
    pub per_second: u32,
}

#[derive(Debug)]
struct Bucket {
    /// Below zero: calls that wait for their token.
    tokens: f64,
    filled: Duration,
}

type Key = (String, String, String, usize);

pub(crate) struct Shared {
    clock: Arc<dyn Clock>,
    buckets: Mutex<BTreeMap<&'static str, Bucket>>,
    parts: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Shared with nobody: each emulator in process is an account of its own.
    pub(crate) fn alone(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, buckets: Mutex::default(), parts: Mutex::default() })
    }

    /// Shared by all connections of the process with these credentials, region and endpoint, on one clock.
    pub(crate) fn of(owner: &str, region: &str, endpoint: &str, clock: &Arc<dyn Clock>) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<Key, Weak<Shared>>> = Mutex::new(BTreeMap::new());
        // What lives keeps its clock alive, so an address stands for one clock.
        let which = Arc::as_ptr(clock).cast::<()>() as usize;
        let key = (owner.to_owned(), region.to_owned(), endpoint.to_owned(), which);
        let mut all = lock(&ALL);
        all.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = all.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Self::alone(Arc::clone(clock));
        all.insert(key, Arc::downgrade(&shared));
        shared
    }

    /// The one value of this type.
    pub(crate) fn part<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut parts = lock(&self.parts);
        let part = parts.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(part).downcast().unwrap_or_default()
    }

    /// Takes a token, and waits until there is one.
    pub(crate) async fn pace(&self, limit: &Limit) {
        let rate = f64::from(limit.per_second) * SHARE;
        let wait = {
            let mut buckets = lock(&self.buckets);
            let bucket = self.filled(&mut buckets, limit);
            bucket.tokens -= 1.0;
            -bucket.tokens / rate
        };
        if wait > 0.0 {
            tracing::debug!(limit = limit.name, wait, "waiting for the rate budget");
            self.clock.sleep(Duration::from_secs_f64(wait)).await;
        }
    }

    /// Notes what a call ended with: after "too many" nothing is sent for a second.
    pub(crate) fn noted(&self, limit: &Limit, error: Error) -> Error {
        if error.kind() == ErrorKind::Throttled {
            let rate = f64::from(limit.per_second) * SHARE;
            let mut buckets = lock(&self.buckets);
            let bucket = self.filled(&mut buckets, limit);
            bucket.tokens = bucket.tokens.min(1.0 - rate * THROTTLED);
        }
        error
    }

    fn filled<'a>(&self, buckets: &'a mut BTreeMap<&'static str, Bucket>, limit: &Limit) -> &'a mut Bucket {
        let (now, burst) = (self.clock.elapsed(), f64::from(limit.burst) * SHARE);
        let bucket = buckets.entry(limit.name).or_insert(Bucket { tokens: burst, filled: now });
        let gained = now.saturating_sub(bucket.filled).as_secs_f64() * f64::from(limit.per_second) * SHARE;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.filled = bucket.filled.max(now);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use deploy_core::{clock::TokioClock, model::Timestamp};

    use super::*;

    const SLOW: Limit = Limit { name: "test: slow", burst: 20, per_second: 1 };

    fn clock() -> Arc<dyn Clock> {
        Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000)))
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_burst_goes_at_once_and_half_of_the_rate_after_that() {
        let clock = clock();
        let shared = Shared::alone(Arc::clone(&clock));
        let start = clock.elapsed();
        for _ in 0..10 {
            shared.pace(&SLOW).await;
        }
        assert_eq!(clock.elapsed(), start, "the burst");
        for _ in 0..5 {
            shared.pace(&SLOW).await;
        }
        assert_eq!((clock.elapsed() - start).as_secs(), 10, "one every two seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_for_a_second_after_too_many() {
        let clock = clock();
        let shared = Shared::alone(Arc::clone(&clock));
        let start = clock.elapsed();
        let fast = Limit { name: "test: fast", burst: 100, per_second: 20 };
        shared.pace(&fast).await;
        let _ = shared.noted(&fast, Error::new(ErrorKind::Throttled, "Rate exceeded"));
        shared.pace(&fast).await;
        assert_eq!((clock.elapsed() - start).as_millis(), 1_000);
        let _ = shared.noted(&fast, Error::new(ErrorKind::Unavailable, "500"));
        let now = clock.elapsed();
        clock.sleep(Duration::from_secs(1)).await;
        shared.pace(&fast).await;
        assert_eq!(clock.elapsed() - now, Duration::from_secs(1), "other errors do not count");
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_has_one_budget_in_a_process() {
        let clock = clock();
        let a = Shared::of("me", "us-east-1", "", &clock);
        let b = Shared::of("me", "us-east-1", "", &clock);
        assert!(Arc::ptr_eq(&a, &b));
        assert!(Arc::ptr_eq(&a.part::<Mutex<u8>>(), &b.part::<Mutex<u8>>()));
        for other in [
            Shared::of("you", "us-east-1", "", &clock),
            Shared::of("me", "eu-west-1", "", &clock),
            Shared::of("me", "us-east-1", "http://127.0.0.1:1", &clock),
            Shared::of("me", "us-east-1", "", &self::clock()),
        ] {
            assert!(!Arc::ptr_eq(&a, &other));
        }
    }
}
