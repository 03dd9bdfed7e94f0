//! The store from async code: writes are awaited, reads run where they may block.

use super::{Pending, StoreError};

/// Waits until a write is on disk.
pub(crate) async fn written<T>(pending: Pending<T>) -> Result<T, StoreError> {
    pending.await.unwrap_or_else(|_| Err(writer_gone()))
}

/// Runs a read of the store off the async threads.
pub(crate) async fn read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| {
        Err(StoreError::Failed {
            detail: error.to_string(),
        })
    })
}

/// The writer ended without an answer: only when it panicked.
pub(crate) fn writer_gone() -> StoreError {
    StoreError::Failed {
        detail: "its writer has stopped; see the log and restart the server".to_owned(),
    }
}
