//! Where events go: lines, JSON lines, a terminal, tracing spans.

#[cfg(test)]
mod fixture;
mod json;
mod lines;
mod message;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(feature = "terminal")]
mod terminal;
mod view;

use std::{fmt, sync::Mutex};

pub use json::{JsonLines, json, json_line};
pub use lines::PlainLines;
pub use message::message;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use spans::Spans;
#[cfg(feature = "terminal")]
#[cfg_attr(docsrs, doc(cfg(feature = "terminal")))]
pub use terminal::Terminal;
pub use view::{Line, LineKind, View, Views};

use crate::event::Event;

/// Someone who is told of every event: a screen, a file, an alert.
///
/// The driver does not call observers from where it works. It puts events into a channel and a task of its own
/// hands them on, in the order of their sequence numbers. Journaled events are never dropped (the journal itself
/// is what bounds them); live ones are, where an observer cannot keep up. So an observer that is slow, fails or
/// panics misses events of its own and touches neither the deploy nor another observer.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes note of one event.
    ///
    /// It should return soon and MUST NOT wait for the deploy it is told about. It has no way to fail: what goes
    /// wrong here is no reason to change what is deployed. After a takeover events may come again from the
    /// journal; they have the same sequence numbers.
    fn see(&self, event: &Event);
}

impl Observer for Box<dyn Observer> {
    fn see(&self, event: &Event) {
        (**self).see(event);
    }
}

/// What people watch: [`Terminal`] where standard error is one (and the feature `terminal` is on), else
/// [`PlainLines`] on standard error.
#[must_use]
pub fn terminal_or_lines() -> Box<dyn Observer> {
    #[cfg(feature = "terminal")]
    if let Some(terminal) = Terminal::stderr() {
        return Box::new(terminal);
    }
    Box::new(PlainLines::new(std::io::stderr()))
}

/// The value, even if an observer panicked while it held it: at worst a line is missing.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
