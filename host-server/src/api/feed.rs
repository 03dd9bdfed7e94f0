//! Reads the uplink log forward in batches of bounded size, at the speed of whoever asks.
//!
//! A batch that is handed out is all that a [`Feed`] keeps in memory; the log itself waits on disk.

use vinbus_protocol::envelope::EnvelopeError;
use vinbus_protocol::id::{Uid, Vin};

use crate::hub::Hub;
use crate::model::{Cursor, StampedCursor, Uplink};
use crate::store::StoreError;
use crate::uplink_json;

/// Payload bytes after which a batch ends; one message alone may be larger.
const BATCH_BYTES: usize = 64 * 1024;

/// Messages of one read from the store, at least and at most.
const READ_MESSAGES_MIN: usize = 2;
const READ_MESSAGES_MAX: usize = 128;

/// A place in the log, and whose messages are read from there.
pub(crate) struct Feed {
    hub: Hub,
    uid: Option<Uid>,
    vin: Option<Vin>,
    position: Cursor,
    read_messages: usize,
}

/// Some messages, and whether the log has more.
pub(crate) struct Batch {
    /// The messages, oldest first.
    pub(crate) messages: Vec<Uplink>,
    /// Whether these were the last ones when the read began.
    pub(crate) at_end: bool,
    /// Positions before them that were deleted before they were read.
    pub(crate) lost: u64,
}

impl Feed {
    /// Begins after `position`.
    pub(crate) fn new(hub: Hub, uid: Option<Uid>, vin: Option<Vin>, position: Cursor) -> Self {
        Self {
            hub,
            uid,
            vin,
            position,
            read_messages: READ_MESSAGES_MAX,
        }
    }

    /// Everything up to here was handed out or is not for this reader.
    pub(crate) fn position(&self) -> Cursor {
        self.position
    }

    /// The same as it is handed out.
    pub(crate) async fn stamped_position(&self) -> StampedCursor {
        self.hub.stamped(self.position).await
    }

    /// The next messages, at most `most`; none also when a bounded search met none.
    ///
    /// # Errors
    /// A [`StoreError`] of the read; the position stays.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Batch, StoreError> {
        let end = *self.hub.uplink_changes().borrow();
        let limit = self.read_messages.min(most);
        let page = self
            .hub
            .uplink_after(self.position, self.uid.clone(), self.vin, limit)
            .await?;
        let mut messages = page.messages;
        let fitting = fitting(&messages);
        let searched_to = match messages.len() > fitting {
            true => None,
            false => Some(page.searched_to),
        };
        messages.truncate(fitting);
        // What does not fit is read again, so that a read asks for about twice what fitted.
        self.read_messages = (2 * messages.len()).clamp(READ_MESSAGES_MIN, READ_MESSAGES_MAX);
        let last = messages.last().map(|last| last.cursor);
        self.position = searched_to.or(last).unwrap_or_default().max(self.position);
        Ok(Batch {
            at_end: self.position >= end,
            messages,
            lost: page.lost,
        })
    }
}

/// Appends the JSON object of `uplink` to `out`. A damaged message is shown without its content.
pub(crate) fn write(out: &mut Vec<u8>, uplink: &Uplink) {
    tell_damaged(uplink, uplink_json::write(out, uplink));
}

/// The same in brief.
pub(crate) fn write_brief(out: &mut Vec<u8>, uplink: &Uplink) {
    tell_damaged(uplink, uplink_json::write_brief(out, uplink));
}

fn tell_damaged(uplink: &Uplink, written: Result<(), EnvelopeError>) {
    if let Err(error) = written {
        tracing::error!(cursor = uplink.cursor.0, %error, "a stored message is damaged");
    }
}

/// How many messages fit into a batch, at least one.
fn fitting(messages: &[Uplink]) -> usize {
    let mut bytes = 0;
    let beyond = messages.iter().position(|uplink| {
        bytes += uplink.message.payload.len();
        bytes > BATCH_BYTES
    });
    beyond.map_or(messages.len(), |index| index.max(1))
}
