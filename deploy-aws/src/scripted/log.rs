//! What is logged, per thread: a test runs on one.

use std::{cell::RefCell, fmt, sync::Once};

thread_local! {
    static LOGGED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Takes down all that is logged, at every level, for each thread. One for all tests: what a place in the code may log is
/// decided for all threads at once.
struct Log;

struct Line;

/// From now on all that this thread logs is kept; gives what was kept so far.
pub(crate) fn logged() -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
    LOGGED.take()
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let line = format!("{field}={value:?}\n");
        LOGGED.with_borrow_mut(|text| text.push_str(&line));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Line);
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Line);
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn what_was_met_unlogged_is_heard_afterwards() {
    fn say() {
        tracing::info!("a word");
    }
    logged();
    crate::sdk::unlogged(async { say() }).await;
    assert_eq!(logged(), "");
    say();
    assert_eq!(logged(), "message=a word\n");
}
