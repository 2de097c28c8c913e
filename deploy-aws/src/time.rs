//! The injected clock, in the forms that the SDK wants.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use deploy_core::clock::Clock;

/// The SDK's time and sleep, on our clock: in virtual time its deadlines are virtual too.
#[derive(Debug, Clone)]
pub(crate) struct SdkClock(pub(crate) Arc<dyn Clock>);

impl TimeSource for SdkClock {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

impl AsyncSleep for SdkClock {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = Arc::clone(&self.0);
        // The SDK wants a future that is `Sync`, and ours need not be: a lock that is never contended makes it so.
        let waiting = Mutex::new(Box::pin(async move { clock.sleep(duration).await }));
        Sleep::new(poll_fn(move |cx| {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.as_mut().poll(cx)
        }))
    }
}
