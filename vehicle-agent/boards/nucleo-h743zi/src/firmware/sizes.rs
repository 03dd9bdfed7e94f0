//! Every size that this board chose, and their sums.
//!
//! | memory | holds | bytes |
//! |---|---|---|
//! | AXI SRAM, 512 KB | a message that arrives | [`RECEIVE_BYTES`] |
//! | | messages that are sent, until the broker has them | [`SEND_BYTES`] |
//! | | messages that wait for the broker | [`UPLINKS_BYTES`] |
//! | | the TCP socket to the broker | [`SOCKET_BYTES`] |
//! | | futures, the line's pipes and all else | what is left: [`AXI_REST_BYTES`] |
//! | SRAM 1 to 3, 288 KB | Ethernet packets | [`PACKETS_BYTES`] |
//! | | the program that is connected to the portal | [`PLACE_BYTES`] |
//! | SRAM 4, 64 KB | messages that wait for each of the apps | [`APPS_MAX`] times [`PENDING_BYTES`] |
//! | | popups that wait for the screen | [`POPUPS_BYTES`] |
//! | | the screen's connection to the portal | [`SCREEN_BYTES`] |
//! | DTCM, 128 KB | the stack | 96 KB |
//! | | TLS records | [`RECORDS_BYTES`] |
//! | | a message with receipts that is put together | [`WITH_RECEIPTS_BYTES`] |
//! | | messages of apps that go with receipts | [`UPLINKS_WITH_RECEIPTS_BYTES`] |

use core::mem::size_of;

use embassy_stm32::eth::PacketQueue;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;
use vinbus_protocol::uplink_queue;
use vinbus_transport_embedded::tls::{READ_RECORD_BYTES, WRITE_RECORD_BYTES};
use vinbus_vehicle_agent::board_portal::limits;
use vinbus_vehicle_agent::provisioned::APPS_MAX;

/// One packet of MQTT with the largest message.
pub(crate) const RECEIVE_BYTES: usize = 133_000;

/// As many to send, with what is kept until the broker has it.
pub(crate) const SEND_BYTES: usize = 136_000;

/// One message of the largest size, or many small ones.
pub(crate) const UPLINKS_BYTES: usize = uplink_queue::storage_bytes_for(1, PAYLOAD_BYTES_MAX);

/// A message with receipts is no longer than this: its sender is told `too large`, and an app `too-large`.
pub(crate) const WITH_RECEIPTS_BYTES: usize = 4 * 1024;

/// Messages of apps that go with receipts: one of the largest size that may, or 15 of 400 bytes.
pub(crate) const UPLINKS_WITH_RECEIPTS_BYTES: usize = 6 * 1024;

/// What can be on its way from the broker, and to it.
pub(crate) const TCP_RECEIVE_BYTES: usize = 8 * 1024;
pub(crate) const TCP_SEND_BYTES: usize = 8 * 1024;

/// Programs that may be connected to the portal at a time: an app, and the screen. One that takes and
/// sends messages of the largest size is all that there is memory for; a second one is refused, and told
/// why.
pub(crate) const PLACES_MAX: usize = 2;

/// The largest frame that a program sends.
pub(crate) const PORTAL_RECEIVE_BYTES: usize = limits::RECEIVE_BYTES;

/// The largest message for a program.
pub(crate) const PORTAL_OUTBOX_BYTES: usize = limits::OUTBOX_BYTES_MIN;

/// What the screen sends, and what it is told.
pub(crate) const SCREEN_RECEIVE_BYTES: usize = limits::SCREEN_RECEIVE_BYTES;
pub(crate) const SCREEN_OUTBOX_BYTES: usize = limits::SCREEN_OUTBOX_BYTES;

/// Tasks that serve programs: one for each place, and one that says that there are no more.
pub(crate) const PORTAL_TASKS: usize = PLACES_MAX + 1;

/// Sockets: to the broker, of DHCP, of DNS, to the time server, and of the portal.
pub(crate) const SOCKETS_MAX: usize = 4 + PORTAL_TASKS;

/// Ethernet packets that wait for the processor, and for the wire.
pub(crate) const PACKETS_IN: usize = 8;
pub(crate) const PACKETS_OUT: usize = 4;

/// What waits for an app that is not in the foreground: the last 10 messages of 600 bytes. A longer
/// one drops those before it; one that does not fit at all is refused and counted.
pub(crate) const PENDING_BYTES: usize = 6 * 1024;

/// Popups that wait, of all apps; one that does not fit is refused and counted.
pub(crate) const POPUPS_BYTES: usize = 8 * 1024;

const RECEIPTS_BYTES: usize = WITH_RECEIPTS_BYTES + UPLINKS_WITH_RECEIPTS_BYTES;
const RECORDS_BYTES: usize = READ_RECORD_BYTES + WRITE_RECORD_BYTES;
const SOCKET_BYTES: usize = TCP_RECEIVE_BYTES + TCP_SEND_BYTES;
const SCREEN_BYTES: usize = SCREEN_RECEIVE_BYTES + SCREEN_OUTBOX_BYTES;
const PLACE_BYTES: usize = PORTAL_RECEIVE_BYTES + PORTAL_OUTBOX_BYTES;
const PACKETS_BYTES: usize = size_of::<PacketQueue<PACKETS_OUT, PACKETS_IN>>();

const AXI_REST_BYTES: usize =
    (512 * 1024) - RECEIVE_BYTES - SEND_BYTES - UPLINKS_BYTES - SOCKET_BYTES;

// The linker has the last word; these say which of the sizes to look at.
const _: () = assert!(AXI_REST_BYTES >= 80 * 1024);
const _: () = assert!(RECORDS_BYTES + RECEIPTS_BYTES < 32 * 1024);
const _: () = assert!(PACKETS_BYTES + PLACE_BYTES <= 288 * 1024);
const _: () = assert!(APPS_MAX * PENDING_BYTES + POPUPS_BYTES + SCREEN_BYTES <= 64 * 1024);
