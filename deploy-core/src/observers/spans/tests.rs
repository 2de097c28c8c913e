use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{Metadata, Subscriber, field::Visit, span};

use super::*;
use crate::observers::fixture;

/// Writes down spans with their parents and events with theirs.
#[derive(Default)]
struct Recorder {
    next: AtomicU64,
    seen: Arc<Mutex<Vec<String>>>,
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if matches!(field.name(), "kind" | "step" | "deploy") {
            let _ = write!(self.0, " {value:?}");
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let parent = attributes.parent().map_or(0, span::Id::into_u64);
        let mut text = format!("span {id} in {parent}: {}", attributes.metadata().name());
        attributes.record(&mut Fields(&mut text));
        locked(&self.seen).push(text);
        span::Id::from_u64(id)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let parent = event.parent().map_or(0, span::Id::into_u64);
        let mut text = format!("{} in {parent}:", event.metadata().level());
        event.record(&mut Fields(&mut text));
        locked(&self.seen).push(text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn try_close(&self, id: span::Id) -> bool {
        locked(&self.seen).push(format!("close {}", id.into_u64()));
        true
    }
}

#[test]
fn a_deploy_is_a_span_and_its_steps_are_in_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder { seen: seen.clone(), ..Recorder::default() };
    let spans = Spans::new();
    tracing::subscriber::with_default(recorder, || {
        fixture::rolled_back().iter().for_each(|event| spans.see(event));
    });
    let seen = locked(&seen).clone();
    let has = |text: &str| assert!(seen.iter().any(|line| line == text), "no `{text}` in {seen:#?}");
    has("span 1 in 0: deploy 01JD7M8KX2");
    has("INFO in 1: \"started\"");
    has("span 2 in 1: step register");
    has("INFO in 2: \"step\"");
    has("span 3 in 1: step watch");
    has("DEBUG in 3: \"progress\"");
    has("WARN in 1: \"fault\"");
    has("WARN in 1: \"ended\"");
    assert!(locked(&spans.0).is_empty(), "what has ended is forgotten");
}
