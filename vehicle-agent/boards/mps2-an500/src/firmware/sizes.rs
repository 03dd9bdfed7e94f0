//! Every size that this board chose, and their sum.
//!
//! | memory | bytes |
//! |---|---|
//! | a message that arrives | [`RECEIVE_BYTES`] |
//! | a message that is sent | [`SEND_BYTES`] |
//! | messages that wait for the broker | [`UPLINKS_BYTES`] |
//! | a message with receipts that is put together | [`WITH_RECEIPTS_BYTES`] |
//! | messages of apps that go with receipts | [`UPLINKS_WITH_RECEIPTS_BYTES`] |
//! | messages that wait for the apps | [`APPS_MAX`] times [`PENDING_BYTES`] |
//! | popups that wait | [`POPUPS_BYTES`] |
//! | programs that are connected to the portal | [`PLACES_MAX`] times [`PLACE_BYTES`] |
//! | the sockets, and the heads of requests | [`SOCKETS_BYTES`] |
//! | `id`s of messages that are on their way, and a popup's text | [`KEPT_TEXTS_BYTES`] |
//! | TLS | [`TLS_BYTES`] |
//! | all of it | [`BUFFERS_BYTES`] |

use vinbus_board_bring_up::broker::PIPE_BYTES;
use vinbus_board_bring_up::portal::SOCKET_BYTES;
use vinbus_board_bring_up::vehicle::UPLINKS_MAX;
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_protocol::{record_ring, uplink_queue};
use vinbus_transport_embedded::tls;
use vinbus_vehicle_agent::board_portal::{KeptTexts, limits};
use vinbus_vehicle_agent::provisioned::APPS_MAX;

/// One packet of MQTT with the largest message.
pub(crate) const RECEIVE_BYTES: usize = 133_000;

/// As many to send, with what is kept until the broker has it.
pub(crate) const SEND_BYTES: usize = 136_000;

/// Two messages of the largest size, or many small ones.
pub(crate) const UPLINKS_BYTES: usize = uplink_queue::storage_bytes_for(2, PAYLOAD_BYTES_MAX);

/// The largest message may have receipts.
pub(crate) const WITH_RECEIPTS_BYTES: usize = PAYLOAD_BYTES_MAX;

/// One message of the largest size that goes with receipts, or [`limits::RECEIPTS_MAX`] of 4 KB.
pub(crate) const UPLINKS_WITH_RECEIPTS_BYTES: usize =
    record_ring::storage_bytes_for(1, PAYLOAD_BYTES_MAX);

/// What waits for an app that is not in the foreground: one message of the largest size, or the last 10 of a
/// tenth of that.
pub(crate) const PENDING_BYTES: usize = record_ring::storage_bytes_for(1, APP_MESSAGE_BYTES_MAX);

/// Popups that wait: one of the largest size, or five small ones.
pub(crate) const POPUPS_BYTES: usize = record_ring::storage_bytes_for(1, PAYLOAD_BYTES_MAX);

/// Receive buffer of the connection to the broker: what fits into the controller.
pub(crate) const TCP_RECEIVE_BYTES: usize = 8 * 1024;

/// Its send buffer.
pub(crate) const TCP_SEND_BYTES: usize = 8 * 1024;

/// Programs that may be connected to the portal at a time: apps, and the screen.
pub(crate) const PLACES_MAX: usize = 4;

/// The largest frame that a program sends.
pub(crate) const PORTAL_RECEIVE_BYTES: usize = limits::RECEIVE_BYTES;

/// The largest message for a program.
pub(crate) const PORTAL_OUTBOX_BYTES: usize = limits::OUTBOX_BYTES_MIN;

const PLACE_BYTES: usize = PORTAL_RECEIVE_BYTES + PORTAL_OUTBOX_BYTES;

/// Tasks that serve programs: one for each place, and one that says that there are no more.
pub(crate) const PORTAL_TASKS: usize = PLACES_MAX + 1;

/// Sockets: to the broker, of DHCP, of DNS, to the time server, and of the portal.
pub(crate) const SOCKETS_MAX: usize = 4 + PORTAL_TASKS;

/// The largest record of TLS that may come.
pub(crate) const READ_RECORD_BYTES: usize = tls::READ_RECORD_BYTES;

/// The largest that is sent.
pub(crate) const WRITE_RECORD_BYTES: usize = tls::WRITE_RECORD_BYTES;

const SOCKETS_BYTES: usize = TCP_RECEIVE_BYTES + TCP_SEND_BYTES + PORTAL_TASKS * SOCKET_BYTES;

const KEPT_TEXTS_BYTES: usize = size_of::<KeptTexts<UPLINKS_MAX>>();

const TLS_BYTES: usize = READ_RECORD_BYTES + WRITE_RECORD_BYTES + 2 * PIPE_BYTES;

const BUFFERS_BYTES: usize = RECEIVE_BYTES
    + SEND_BYTES
    + UPLINKS_BYTES
    + WITH_RECEIPTS_BYTES
    + UPLINKS_WITH_RECEIPTS_BYTES
    + APPS_MAX * PENDING_BYTES
    + POPUPS_BYTES
    + PLACES_MAX * PLACE_BYTES
    + SOCKETS_BYTES
    + KEPT_TEXTS_BYTES
    + TLS_BYTES;

/// Of the 4 MB of RAM, half a megabyte is left for all else.
const _: () = assert!(BUFFERS_BYTES <= 3_670_016);
