//! What the clients and the driver of one connection share: the live connection, the counters.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use vinbus_protocol::limits::{PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};

use crate::client::Counters;
use crate::wire::Requests;

/// What clients and driver share: the live connection and the counters.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    online: Mutex<Option<Online>>,
    pub(crate) connections: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) oversize_dropped: AtomicU64,
    pub(crate) undelivered: AtomicU64,
    /// The broker's largest packet that was logged last, 0 before any: each is told once, however often the link comes up.
    packet_bytes_told: AtomicUsize,
}

/// Around a topic and a payload, in bytes: fixed header, topic length, packet identifier and property
/// length.
const OVERHEAD: usize = 5 + 2 + 2 + 1;

/// The largest packet that a message of a vehicle may need, in bytes.
const MESSAGE_PACKET_BYTES_MAX: usize = OVERHEAD + TOPIC_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// A live connection.
#[derive(Debug, Clone)]
pub(crate) struct Online {
    pub(crate) requests: Requests,
    pub(crate) packet_bytes_max: Option<usize>,
    /// Its sender is dropped with the connection.
    pub(crate) ended: watch::Receiver<()>,
}

impl Online {
    /// The value of `future`, or `None` if the connection ends first.
    pub(crate) async fn while_up<T>(&self, future: impl Future<Output = Option<T>>) -> Option<T> {
        let mut ended = self.ended.clone();
        tokio::select! {
            biased;
            value = future => value,
            _ = ended.changed() => None,
        }
    }

    /// The largest payload that fits into a packet the broker accepts.
    pub(crate) fn payload_bytes_max(&self, topic: &str) -> usize {
        match self.packet_bytes_max {
            Some(max) => max.saturating_sub(OVERHEAD + topic.len()),
            None => usize::MAX,
        }
    }
}

impl Shared {
    pub(crate) fn online(&self) -> Option<Online> {
        self.online
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_online(&self, online: Option<Online>) {
        *self.online.lock().unwrap_or_else(PoisonError::into_inner) = online;
    }

    /// Logs, once for each limit, that a broker takes no packets of more than `max` bytes, if a vehicle's
    /// message may need more.
    pub(crate) fn tell_packet_limit(&self, max: usize) {
        if max < MESSAGE_PACKET_BYTES_MAX && self.packet_bytes_told.swap(max, Relaxed) != max {
            tracing::warn!(
                packet_bytes_max = max,
                "the broker takes only packets of up to {max} bytes, and larger messages will be refused; have its \
                 operator allow {MESSAGE_PACKET_BYTES_MAX}"
            );
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            received: self.received.load(Relaxed),
            oversize_dropped: self.oversize_dropped.load(Relaxed),
            undelivered: self.undelivered.load(Relaxed),
        }
    }
}
