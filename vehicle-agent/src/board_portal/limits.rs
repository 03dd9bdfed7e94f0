//! Every bound of the portal on a board, in bytes, milliseconds or as it says.

use vinbus_protocol::limits::{
    APP_MESSAGE_BYTES_MAX, DELIVERY_IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, POPUP_TEXT_BYTES_MAX,
};
use vinbus_protocol::record_ring::{RECORD_HEADER_BYTES, storage_bytes_for};

use crate::app_interface::client_frame::FRAME_ID_BYTES_MAX;

/// Longest frame that a socket with a full-size buffer reads: a message with its envelope, the
/// names around it, and the escapes of a subtopic.
pub const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 4096;

/// Longest payload of a ping, pong or closing frame (RFC 6455, 5.5); one may come inside a message.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// A receive buffer of this length takes every frame that the portal on Linux takes. A shorter one
/// makes the longest frame shorter by as much.
pub const RECEIVE_BYTES: usize = FRAME_BYTES_MAX + CONTROL_BYTES_MAX;

/// Room for the end of an answer to `getPendingNotifications`: its tag, the flag, the number and the
/// record's header.
pub(super) const LIST_END_BYTES: usize = 2 + size_of::<u64>() + RECORD_HEADER_BYTES;

/// What an answer with one message takes besides it at most: its beginning with an `id`, its end, and
/// the header of the message and its number.
pub(super) const LIST_BYTES_MAX: usize =
    RECORD_HEADER_BYTES + 1 + FRAME_ID_BYTES_MAX + LIST_END_BYTES + RECORD_HEADER_BYTES + 8;

/// What of an outbox is left to frames that tell something while messages wait: a popup of the longest
/// text, and half a KiB. A quarter of an outbox where that is less.
pub const NOTICES_BYTES: usize = POPUP_TEXT_BYTES_MAX + 512;

/// An outbox of this length takes the largest message, and what is to be told while it is being
/// written. A message that is too large for a shorter one is lost and counted. To hand out all pending messages of an app in one answer, an outbox needs as
/// many bytes as they have, and 1 KiB.
pub const OUTBOX_BYTES_MIN: usize =
    storage_bytes_for(1, 1 + APP_MESSAGE_BYTES_MAX + LIST_BYTES_MAX) + NOTICES_BYTES;

/// What the screen sends is short: its longest frame names an app.
pub const SCREEN_RECEIVE_BYTES: usize = 1024 + CONTROL_BYTES_MAX;

/// What the screen is told at once at most: a popup of the longest text, and of each of eight apps what
/// happens to it.
pub const SCREEN_OUTBOX_BYTES: usize = NOTICES_BYTES + 2048;

/// Messages of apps that may be on their way with receipts, until their apps know what became of them:
/// as many as one partner may be sent at once.
pub const RECEIPTS_MAX: usize = DELIVERY_IN_FLIGHT_MAX;

/// Frames that may wait for one socket; twice as many with those that tell something.
pub const OUTBOX_FRAMES_MAX: usize = 64;

/// Longest head of an HTTP request, and the longest piece that is written at once.
pub const HTTP_HEAD_BYTES_MAX: usize = 2048;

/// Frames that a socket may send in a second, and twice as many at once.
pub const FRAMES_PER_SECOND: u32 = 50;

/// An HTTP request has this long to be read.
pub const REQUEST_TIMEOUT_MS: u64 = 5_000;

/// A program has this long to say hello.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;

/// A frame that was not read for this long ends the socket.
pub const WRITE_TIMEOUT_MS: u64 = 30_000;

/// A socket from which nothing came for this long is asked with a ping, and ended after twice this
/// time: there are too few places for those who are not there any more.
pub const PING_INTERVAL_MS: u64 = 30_000;

/// The closing handshake is given up after this time.
pub const CLOSE_TIMEOUT_MS: u64 = 2_000;

/// "onApplicationUnloaded gives 100 ms to save".
pub(super) const SAVE_TIME_MS: u64 = 100;
