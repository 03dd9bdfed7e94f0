//! Every bound of the embedded broker, with what happens when it is reached.

use std::time::Duration;

/// Bounds that an operator may want to change. All of them are per broker unless they say
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of known clients at once; one more is refused.
    pub connections_max: usize,
    /// Connections of known clients at once from one IP address; one more is refused. Behind a proxy
    /// or an address translator all clients share one.
    pub connections_per_address_max: usize,
    /// Connections at once whose client is not known yet, because the handshake or CONNECT is under
    /// way; one more is closed at once. They take no place of known clients.
    pub unknown_max: usize,
    /// Such connections at once from one IP address.
    pub unknown_per_address_max: usize,
    /// Client identifiers of one partner, or the administrator, connected at once; one more is
    /// refused. Up to 4 MiB may wait for each that reads too slowly, and 256 MiB for all of them.
    pub connections_per_partner_max: usize,
    /// Time for the TLS handshake; whoever is slower is disconnected. (CONNECT has 10 s more.)
    pub handshake_time_max: Duration,
    /// A peer that takes nothing of what is written to it for this long is disconnected.
    pub write_stall_max: Duration,
    /// Messages a client may publish in a second, with bursts of as many; a faster one is slowed
    /// down, not refused. 0 is no limit.
    pub publishes_per_second_max: u32,
    /// Filters of one client; one more is refused.
    pub filters_per_client_max: usize,
    /// Filters with wildcards of all clients; one more is refused. Each is compared with every
    /// message: 300 of them leave 10,000 messages a second.
    pub wildcard_filters_max: usize,
    /// Filters with wildcards of one vehicle, partner or client of the bus, on all its connections; one more is refused.
    pub wildcard_filters_per_identity_max: usize,
    /// Filters with wildcards of all clients of one app of the bus; one more is refused.
    pub wildcard_filters_per_app_max: usize,
    /// Retained presence messages of all vehicles; one more is delivered without being retained.
    pub retained_max: usize,
    /// Time that connections get to take their last bytes at shutdown.
    pub shutdown_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            unknown_max: 512,
            unknown_per_address_max: 128,
            connections_per_partner_max: 256,
            handshake_time_max: Duration::from_secs(10),
            write_stall_max: Duration::from_secs(20),
            publishes_per_second_max: 50_000,
            filters_per_client_max: 256,
            wildcard_filters_max: 300,
            wildcard_filters_per_identity_max: 64,
            wildcard_filters_per_app_max: 128,
            retained_max: 100_000,
            shutdown_time_max: Duration::from_secs(5),
        }
    }
}

/// Largest packet read, in bytes: eight times the largest message, so that an oversize message can
/// be counted and dropped without breaking the connection. A larger packet breaks it.
pub(super) const PACKET_READ_BYTES_MAX: usize = 1024 * 1024;

/// Publishes of QoS 1 and 2 of one client that may wait for their acknowledgement; announced to
/// MQTT 5 clients, others are read no further until one is acknowledged.
pub(super) const RECEIVE_MAX: u16 = 256;

/// Bytes that wait behind an acknowledgement on one connection before it is read no further.
pub(super) const HELD_BYTES_MAX: usize = 256 * 1024;

/// Messages that wait in a client's delivery queue; the router drops what does not fit, and does not
/// tell. The windows below are smaller, and a consumer's queue is emptied however slowly it reads
/// (see `stream`), so that it takes more than a slow peer to fill one.
pub(super) const DELIVERY_QUEUE_MAX: usize = 1024;

/// Messages of QoS 1 that a client has not acknowledged; the next wait, as many as
/// [`DELIVERY_QUEUE_MAX`] and then as many as [`BACKLOG_MAX`].
pub(super) const UNACKNOWLEDGED_MAX: u16 = 32;

/// Messages of QoS 1 that wait for a client which acknowledges too slowly, beyond its delivery queue;
/// with more, its session ends. 500 publishers with full windows do not fill it.
pub(super) const BACKLOG_MAX: usize = 16_384;

/// The library's own bound of them, at which it would drop the oldest and not tell: it is never reached.
pub(super) const BACKLOG_OF_LIBRARY_MAX: usize = 4 * BACKLOG_MAX;

/// How many messages are queued for all clients together before it is looked how many wait for each.
pub(super) const BACKLOG_LOOK_EVERY: u64 = 256;

/// Messages of QoS 1 on the bus of one publisher that those who hear them have not all acknowledged; it
/// waits [`FAN_OUT_PATIENCE`] for one to be. As many as one who hears them may have unacknowledged, so
/// that one publisher alone does not wait for less.
pub(super) const PUBLISHER_WINDOW_MAX: usize = UNACKNOWLEDGED_MAX as usize;

/// Bytes of all messages of QoS 1 on the bus that are on their way; with more, the session of whoever is
/// furthest behind ends, and if that gives no room, the message is refused. Each counts at least
/// [`BUS_MESSAGE_BYTES_MIN`].
pub(super) const BUS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What such a message counts at least.
pub(super) const BUS_MESSAGE_BYTES_MIN: usize = 1024;

/// Bytes on their way to one vehicle; the next message waits. Each counts at least
/// [`VEHICLE_MESSAGE_BYTES_MIN`].
pub(super) const VEHICLE_WINDOW_BYTES: usize = 1024 * 1024;

/// What a message counts at least in a vehicle's window.
pub(super) const VEHICLE_MESSAGE_BYTES_MIN: usize = 1024;

/// Bytes on their way to all vehicles together, counted likewise; the next message waits, and is counted. 192 of
/// them with full windows leave room for 512 others with one message of the largest each. Who takes nothing
/// is disconnected after [`Limits::write_stall_max`], which frees what was on its way.
pub(super) const VEHICLES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of uplink messages on their way to all MQTT consumers, see `forward`. Each counts at least
/// [`FAN_OUT_MESSAGE_BYTES_MIN`].
pub(super) const FAN_OUT_WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// What a message counts at least in the fan-out window.
pub(super) const FAN_OUT_MESSAGE_BYTES_MIN: usize = 16 * 1024;

/// How long a message waits for room in the fan-out window before it is sent regardless.
pub(super) const FAN_OUT_PATIENCE: Duration = Duration::from_millis(100);

/// Messages for an MQTT consumer that wait for it to read; further ones are dropped and counted.
pub(super) const CONSUMER_MESSAGES_MAX: usize = 8192;

/// Bytes of them.
pub(super) const CONSUMER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the messages that wait for all MQTT consumers together; further ones are dropped and
/// counted. Every one of 64 consumers may be as slow as it may be.
pub(super) const CONSUMERS_BYTES_MAX: usize = 64 * CONSUMER_BYTES_MAX;

/// Stored uplink messages that wait to be sent to MQTT consumers; further ones are dropped and
/// counted.
pub(super) const FAN_OUT_QUEUE_MAX: usize = 8192;

/// Bytes of them.
pub(super) const FAN_OUT_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Uplink messages between arrival and store.
pub(super) const IN_FORWARD_MAX: usize = 1024;

/// Bytes of uplink messages between arrival and store.
pub(super) const IN_FORWARD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest retained presence message, in bytes; a longer one is delivered without being retained.
pub(super) const RETAINED_BYTES_MAX: usize = 1024;

/// Partners whom a vehicle may tell that it is online so that its broker takes it back when the
/// connection is gone; others are told by the vehicle itself or not at all.
pub(super) const REPORTS_MAX: usize = 64;

/// Different shared subscriptions of one identity, by name and filter, until the broker restarts, or the
/// client of the bus is removed: the router never forgets one.
pub(super) const SHARES_PER_IDENTITY_MAX: usize = 256;

/// Those of all clients of one app of the bus, also of clients that were removed meanwhile.
pub(super) const SHARES_PER_APP_MAX: usize = 1024;

/// Different shared subscriptions of all identities, likewise.
pub(super) const SHARES_MAX: usize = 16_384;

/// How often what has ended is swept out.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

const _: () = assert!(VEHICLE_WINDOW_BYTES / VEHICLE_MESSAGE_BYTES_MIN <= DELIVERY_QUEUE_MAX);
const _: () = assert!(FAN_OUT_WINDOW_BYTES / FAN_OUT_MESSAGE_BYTES_MIN <= DELIVERY_QUEUE_MAX);
const _: () = assert!(500 * PUBLISHER_WINDOW_MAX <= BACKLOG_MAX);
const _: () = assert!(BACKLOG_MAX * BUS_MESSAGE_BYTES_MIN <= BUS_BYTES_MAX);
const _: () = assert!(VEHICLE_WINDOW_BYTES >= 2 * vinbus_protocol::limits::PAYLOAD_BYTES_MAX);
const _: () = assert!(PACKET_READ_BYTES_MAX >= 2 * vinbus_protocol::limits::PACKET_BYTES_MAX);
