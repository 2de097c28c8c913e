//! Tasks, with boxed futures: all that the runtime needs for one is then compiled once, and not for each kind of task.

use std::pin::Pin;

use tokio::task::{JoinHandle, JoinSet};

#[cfg(feature = "git")]
use crate::error::{Error, ErrorKind, Result};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a task. It runs on if the handle is dropped.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let boxed: Boxed<()> = Box::pin(future);
    tokio::spawn(boxed)
}

/// Starts a task of a set. It ends with the set.
pub(crate) fn spawn_on<T: Send + 'static>(
    set: &mut JoinSet<T>,
    future: impl Future<Output = T> + Send + 'static,
) {
    let boxed: Boxed<T> = Box::pin(future);
    set.spawn(boxed);
}

/// Runs blocking work that nothing can interrupt on a thread of its own. Of the runtime's own threads for blocking work
/// one would be taken for as long, and a runtime that ends waits for them.
#[cfg(feature = "git")]
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<tokio::sync::oneshot::Receiver<T>> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Whoever waited may be gone.
        let _ = answer.send(work());
    });
    thread.map(|_| answered).map_err(|error| {
        Error::new(ErrorKind::Unexpected, "the system starts no more threads").because(error)
    })
}
