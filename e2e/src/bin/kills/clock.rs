//! A clock on which everything goes faster, the same in every process of this host.

use std::time::Duration;

use async_trait::async_trait;
use deploy_core::{
    clock::{Clock, SystemClock},
    model::Timestamp,
};

/// How much faster than the wall clock platform and deployers go.
pub(crate) const FACTOR: u32 = 25;

/// The system's clock, `FACTOR` times as fast since a moment that all processes agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FastClock {
    start: Timestamp,
}

impl FastClock {
    pub(crate) fn since(start: Timestamp) -> Self {
        Self { start }
    }
}

#[async_trait]
impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.start.plus(SystemClock.now().since(self.start) * FACTOR)
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() * FACTOR
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration / FACTOR).await;
    }
}
