//! Tasks, with boxed futures: all that the runtime needs for one is then compiled once, and not for each kind of task.

use std::pin::Pin;

use tokio::task::{JoinHandle, JoinSet};

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
