//! What the connection, which sees the packets, tells the stream, which writes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// What a stream is to do about the packets written on it.
#[derive(Debug, Default)]
pub(in crate::broker::embedded) struct WriteRules {
    next_gate: Mutex<Option<oneshot::Receiver<()>>>,
    drops_publishes: AtomicBool,
}

impl WriteRules {
    /// The next packet leaves when `open` resolves; when its sender is dropped, the connection
    /// breaks instead.
    pub(in crate::broker::embedded) fn hold_next(&self, open: oneshot::Receiver<()>) {
        *self.lock() = Some(open);
    }

    /// From now on, writing never waits: the peer is a consumer, whose messages are dropped when it
    /// reads too slowly.
    pub(in crate::broker::embedded) fn drop_publishes_when_full(&self) {
        self.drops_publishes.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_gate(&self) -> Option<oneshot::Receiver<()>> {
        self.lock().take()
    }

    pub(super) fn never_wait(&self) -> bool {
        self.drops_publishes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Receiver<()>>> {
        self.next_gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
