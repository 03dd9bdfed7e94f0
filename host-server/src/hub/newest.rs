//! The newest position of the uplink log with its stamp, for those who tell how the server is: they are to
//! tell so above all while the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Hub;
use crate::model::StampedCursor;

/// How long a stamp is waited for. A store that works has it within a millisecond.
const STAMP_PATIENCE: Duration = Duration::from_millis(100);

impl Hub {
    /// The newest position of the uplink log, at once as it were: where the store does not give its stamp
    /// within 100 ms, it is the position alone, which is a cursor as well. However many ask, the store is
    /// asked for one stamp at a time.
    pub async fn newest(&self) -> StampedCursor {
        let newest = *self.inner.uplink_changes.borrow();
        let stamped = timeout(STAMP_PATIENCE, async {
            let mut last = Arc::clone(&self.inner.newest).lock_owned().await;
            if last.cursor == newest && last.stamp.is_some() {
                return *last;
            }
            let hub = self.clone();
            // It keeps the lock until the store has answered, also when nobody waits for that any more.
            let stamping = tokio::spawn(async move {
                *last = hub.stamped(newest).await;
                *last
            });
            stamping.await.unwrap_or(newest.into())
        });
        stamped.await.unwrap_or(newest.into())
    }
}
