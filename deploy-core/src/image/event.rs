//! What happens while an image is built and pushed, live.

use std::time::Duration;

use tokio::sync::mpsc;

/// How many events wait for a slow reader; what comes then is dropped and counted.
const WAITING_MAX: usize = 4096;

/// Which builder of the Engine is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuilderKind {
    /// BuildKit.
    BuildKit,
    /// The classic builder, where the Engine has no other.
    Classic,
}

impl std::fmt::Display for BuilderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BuildKit => "BuildKit",
            Self::Classic => "the classic builder",
        })
    }
}

/// How a step of a build is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StepState {
    /// It runs.
    Running,
    /// Its result was there already.
    Cached,
    /// It is done.
    Done,
    /// It failed; the error of the build carries its log.
    Failed,
}

/// What happens while an image is built and pushed. All text is scrubbed and free of the secrets of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageEvent {
    /// The context was read, and the build begins.
    Started {
        /// The builder.
        builder: BuilderKind,
        /// Files, folders and links of the context.
        entries: usize,
        /// Bytes of its files.
        bytes: u64,
    },
    /// A step of the build changed its state.
    Step {
        /// The step, as the builder names it.
        step: String,
        /// Its state.
        state: StepState,
    },
    /// A line that a step wrote.
    Log {
        /// The step; empty if the builder does not say.
        step: String,
        /// The line.
        line: String,
    },
    /// The Engine pushes: a layer is on its way to the registry, or is there.
    Pushing {
        /// What the Engine says.
        status: String,
        /// Bytes of the layer that were sent.
        sent: u64,
        /// Bytes of the layer in all; 0 if it is not known.
        of: u64,
    },
    /// Something is tried again.
    Retrying {
        /// What.
        what: String,
        /// Why.
        because: String,
        /// After this time.
        after: Duration,
    },
    /// So many events were dropped, because the reader was slow.
    Dropped(u64),
}

/// Where events of images go. Cheap to clone; sending never waits.
#[derive(Debug, Clone, Default)]
pub struct ImageEvents {
    to: Option<mpsc::Sender<ImageEvent>>,
    dropped: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

/// The events of images, in order. Ends when all senders are gone.
#[derive(Debug)]
pub struct ImageEventStream(mpsc::Receiver<ImageEvent>);

impl ImageEvents {
    /// Nobody listens.
    #[must_use]
    pub fn unheard() -> Self {
        Self::default()
    }

    /// A sender and its stream. Up to 4096 events wait for the reader.
    #[must_use]
    pub fn channel() -> (Self, ImageEventStream) {
        let (to, from) = mpsc::channel(WAITING_MAX);
        (Self { to: Some(to), ..Self::default() }, ImageEventStream(from))
    }

    /// Sends an event, for who builds elsewhere. Text that others wrote has to be scrubbed before.
    pub fn send(&self, event: ImageEvent) {
        use std::sync::atomic::Ordering::Relaxed;
        let Some(to) = &self.to else { return };
        let missed = self.dropped.swap(0, Relaxed);
        if missed > 0 && to.try_send(ImageEvent::Dropped(missed)).is_err() {
            self.dropped.fetch_add(missed + 1, Relaxed);
            return;
        }
        if to.try_send(event).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl ImageEventStream {
    /// The next event. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<ImageEvent> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_loses_events_and_hears_how_many() {
        let (events, mut stream) = ImageEvents::channel();
        let line = |n: usize| ImageEvent::Log { step: String::new(), line: n.to_string() };
        for n in 0..WAITING_MAX + 3 {
            events.send(line(n));
        }
        for n in 0..WAITING_MAX {
            assert_eq!(stream.next().await, Some(line(n)));
        }
        events.send(line(7));
        assert_eq!(stream.next().await, Some(ImageEvent::Dropped(3)));
        assert_eq!(stream.next().await, Some(line(7)));
        drop(events);
        assert_eq!(stream.next().await, None);
        ImageEvents::unheard().send(line(0));
    }
}
