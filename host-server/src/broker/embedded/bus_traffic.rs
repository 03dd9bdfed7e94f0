//! Routing on the bus: at once, to whoever hears it now.
//!
//! Nothing on the bus is kept: a message goes to the clients that are connected, at the QoS that both
//! sides asked for, QoS 1 at most. Nobody waits for a slow client. Messages of QoS 0, and those of the
//! host, are paced, so that they do not overflow the library's queues, and then wait, or are dropped and counted, in the stream
//! of each client. Messages of QoS 1 wait for those that do not acknowledge them, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::counters::{BrokerCounters, add};
use super::forward::{permits, tracked};
use super::limits::{FAN_OUT_MESSAGE_BYTES_MIN, FAN_OUT_PATIENCE, FAN_OUT_WINDOW_BYTES};

/// The way onto the bus.
pub(super) struct BusTraffic {
    router: Arc<MessageRouter>,
    counters: Arc<BrokerCounters>,
    /// Bytes of messages on their way that are paced.
    window: Arc<Semaphore>,
    /// Held by the message of the host's own that is being routed.
    own: Mutex<()>,
    /// Whether the window stays full, as far as is known.
    stuck: AtomicBool,
}

impl BusTraffic {
    pub(super) fn new(router: Arc<MessageRouter>, counters: Arc<BrokerCounters>) -> Self {
        Self {
            router,
            counters,
            window: Arc::new(Semaphore::new(FAN_OUT_WINDOW_BYTES)),
            own: Mutex::default(),
            stuck: AtomicBool::new(false),
        }
    }

    /// Routes a message; `from` does not hear it where it asked for that (No Local).
    pub(super) async fn route(&self, mut packet: PublishPacket, from: Option<&str>) {
        if packet.qos == QoS::AtMostOnce {
            self.pace(&mut packet).await;
        }
        // What has no room is queued behind, and not waited for.
        let deadline = Instant::now();
        self.router
            .route_message_with_deadline(&packet, from, deadline)
            .await;
        add(&self.counters.messages_out);
    }

    /// Publishes a message of the host's own at QoS 1, paced as those of QoS 0 are: they may come in
    /// great numbers. They go in the order in which this is called.
    pub(super) async fn publish(&self, topic: &str, payload: Bytes) {
        let mut packet = PublishPacket::new(topic, payload, QoS::AtLeastOnce);
        let _turn = self.own.lock().await;
        self.pace(&mut packet).await;
        self.route(packet, None).await;
    }

    /// Waits for room in the window, with patience, which the message then holds until its last copy
    /// is gone.
    async fn pace(&self, packet: &mut PublishPacket) {
        let cost = permits(packet.payload.len().max(FAN_OUT_MESSAGE_BYTES_MIN));
        let window = Arc::clone(&self.window);
        let permit = match Arc::clone(&window).try_acquire_many_owned(cost) {
            Ok(permit) => Some(permit),
            Err(_) if self.stuck.load(Ordering::Relaxed) => None,
            Err(_) => {
                let patient = window.acquire_many_owned(cost);
                let patient = tokio::time::timeout(FAN_OUT_PATIENCE, patient).await;
                patient.ok().and_then(Result::ok)
            }
        };
        self.stuck.store(permit.is_none(), Ordering::Relaxed);
        match permit {
            Some(permit) => packet.payload = tracked(packet.payload.clone(), permit),
            None => add(&self.counters.fan_out_unpaced),
        }
    }
}
