//! What the embedded broker counts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters once: the atomics and the values read from them.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of the embedded broker.
        #[derive(Debug, Default)]
        pub struct BrokerCounters {
            $($(#[doc = $doc])+ pub(super) $name: AtomicU64,)+
        }

        /// The values of [`BrokerCounters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct BrokerCounts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl BrokerCounters {
            /// Their present values.
            #[must_use]
            pub fn snapshot(&self) -> BrokerCounts {
                BrokerCounts { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl BrokerCounts {
            /// Each counter's name, description and value, in the order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Connections now, handshakes included (a level, not a count).
    connections,
    /// Connections accepted since the start.
    connections_accepted,
    /// Connections refused because there were as many as there may be.
    connections_refused_full,
    /// Connections refused because their address had as many as it may.
    connections_refused_address,
    /// Connections refused because their partner had as many as it may.
    connections_refused_partner,
    /// Connections closed at once because as many clients as may were not known yet, in all or at
    /// their address.
    connections_refused_unknown,
    /// TLS handshakes that failed: no certificate, one of another CA, an expired one, no TLS at all.
    tls_failed,
    /// TLS handshakes that took too long.
    tls_timed_out,
    /// Client certificates whose common name is neither a VIN nor a UID.
    certificates_unnamed,
    /// Logins refused: user name, password, or not those of the certificate.
    logins_refused,
    /// Logins refused unchecked because too many wait to be checked.
    logins_busy,
    /// Logins refused unchecked after too many wrong passwords.
    logins_paused,
    /// Sessions of bus clients ended because their token was over, or their client may do less than
    /// before.
    sessions_cut_off,
    /// Messages on the bus that were on their way to a client when it lost its right to hear them,
    /// dropped.
    deliveries_denied,
    /// Connections refused because the client identifier is the VIN of another client, or in use by
    /// one.
    client_ids_taken,
    /// Connections refused because their will is not allowed.
    wills_refused,
    /// Messages published by clients.
    messages_in,
    /// Messages routed to subscribers.
    messages_out,
    /// Messages over 131,072 bytes, dropped.
    oversize,
    /// Publishes denied by the topic rules, dropped.
    publishes_denied,
    /// Publishes on downlink topics that are no downlink envelope, dropped.
    envelopes_refused,
    /// Downlink publishes of clients for a vehicle that does not listen, or too slowly; dropped.
    downlinks_unheard,
    /// Times a message for a vehicle waited because as much was on its way to all of them as may be.
    downlinks_waited,
    /// Subscriptions denied by the topic rules.
    subscriptions_denied,
    /// Subscriptions refused because a limit of filters is reached.
    subscriptions_over_limit,
    /// Filters with wildcards now (a level, not a count).
    wildcard_filters,
    /// Times a client was slowed down because it published faster than it may.
    publishes_throttled,
    /// Publishes not acknowledged because the store failed; their connections were closed.
    unacknowledged,
    /// Messages dropped for an MQTT consumer that reads too slowly, for each such consumer.
    consumer_drops,
    /// Messages dropped for an MQTT consumer that reads too slowly, because as much waited for all
    /// consumers together as may.
    consumer_drops_shared,
    /// Stored messages offered to no MQTT consumer because more came than can be sent.
    fan_out_dropped,
    /// Messages sent without waiting for consumers' queues to empty; some may have missed them.
    fan_out_unpaced,
    /// Sessions ended because too much waited for a client that acknowledges messages of the bus of QoS 1
    /// too slowly.
    subscribers_too_slow,
    /// Messages that waited for them and that they missed. Not counted are up to 1,056 before them for each,
    /// sent or about to be: nobody can tell which of those came.
    subscriber_losses,
    /// Messages of QoS 1 for the bus refused because as much was on its way to clients that acknowledge
    /// too slowly as may be.
    bus_full,
    /// Connections closed because their peer took nothing for too long.
    write_stalls,
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn subtract(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
