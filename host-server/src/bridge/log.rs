//! The log of what vehicles sent, followed at one's own speed.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use vinbus_protocol::id::Uid;
use vinbus_transport_std::guards::LogThrottle;

use crate::hub::Hub;
use crate::model::{Cursor, Uplink};

/// Messages read at once.
const PAGE_MESSAGES: usize = 64;

/// A log that could not be read is tried again after this time.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// A place in the log.
pub(super) struct Log {
    hub: Hub,
    uid: Option<Uid>,
    cursor: Cursor,
    changes: watch::Receiver<Cursor>,
    trouble: LogThrottle,
}

/// What was found behind the place.
pub(super) struct Page {
    /// The messages, oldest first.
    pub(super) messages: Vec<Uplink>,
    /// Everything up to here was searched.
    pub(super) searched_to: Cursor,
    /// Positions, of all partners, that were deleted before they were read.
    pub(super) lost: u64,
}

impl Log {
    /// The log of one partner, or all, behind `cursor`.
    pub(super) fn new(hub: Hub, cursor: Cursor, uid: Option<Uid>) -> Self {
        Self {
            changes: hub.uplink_changes(),
            hub,
            uid,
            cursor,
            trouble: LogThrottle::default(),
        }
    }

    /// Waits for the next page that has something; `None` when the hub is gone. The place stays until
    /// [`Log::go_on`].
    pub(super) async fn page(&mut self) -> Option<Page> {
        loop {
            let end = *self.changes.borrow_and_update();
            let uid = self.uid.clone();
            let read = self.hub.uplink_after(self.cursor, uid, None, PAGE_MESSAGES);
            match read.await {
                Ok(page) if page.messages.is_empty() && page.lost == 0 => {
                    self.cursor = self.cursor.max(page.searched_to);
                    if self.cursor >= end {
                        self.changes.changed().await.ok()?;
                    }
                }
                Ok(page) => {
                    return Some(Page {
                        messages: page.messages,
                        searched_to: page.searched_to,
                        lost: page.lost,
                    });
                }
                Err(error) => {
                    if let Some(unlogged) = self.trouble.pass(Instant::now()) {
                        tracing::error!(%error, unlogged, "what vehicles sent cannot be read for the bus");
                    }
                    tokio::time::sleep(READ_AGAIN).await;
                }
            }
        }
    }

    /// Goes on behind this position.
    pub(super) fn go_on(&mut self, cursor: Cursor) {
        self.cursor = self.cursor.max(cursor);
    }
}
