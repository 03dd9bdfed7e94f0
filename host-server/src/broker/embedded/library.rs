//! The parts of the broker library that every connection needs, set up for what we leave to it.

use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::BrokerConfig;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;

use super::limits::{
    BACKLOG_OF_LIBRARY_MAX, DELIVERY_QUEUE_MAX, PACKET_READ_BYTES_MAX, RECEIVE_MAX,
    UNACKNOWLEDGED_MAX,
};

/// The library's router. What waits for clients is bounded in `backlog`, by messages, and in `bus_traffic`,
/// by bytes.
pub(super) fn router() -> MessageRouter {
    MessageRouter::new().with_fallback_queue_limits(QueueLimits {
        max_messages: BACKLOG_OF_LIBRARY_MAX,
        max_bytes: usize::MAX,
    })
}

/// What the library wants for each connection.
pub(super) struct Library {
    pub(super) config: BrokerConfig,
    pub(super) stats: Arc<BrokerStats>,
    pub(super) monitor: Arc<ResourceMonitor>,
}

impl Library {
    pub(super) fn new() -> Self {
        let config = BrokerConfig {
            // Nothing is kept for a client that is away.
            session_expiry_interval: Duration::ZERO,
            max_packet_size: PACKET_READ_BYTES_MAX,
            client_channel_capacity: DELIVERY_QUEUE_MAX,
            server_receive_maximum: Some(RECEIVE_MAX),
            max_outbound_inflight: UNACKNOWLEDGED_MAX,
            topic_alias_maximum: 16,
            sys_topics_enabled: false,
            ..BrokerConfig::default()
        };
        // Bounds are ours: the library's would answer MQTT 3.1.1 clients with packets of MQTT 5.
        let monitor = ResourceMonitor::new(ResourceLimits {
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            max_connection_rate: u32::MAX,
            ..ResourceLimits::default()
        });
        Self {
            config,
            stats: Arc::new(BrokerStats::new()),
            monitor: Arc::new(monitor),
        }
    }
}
