//! The task behind a client: connects, subscribes, delivers, and starts over when the link
//! breaks. It alone changes the [`LinkState`].

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vinbus_protocol::backoff::Backoff;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use crate::client::{Counters, LinkState, SubscribeError};
use crate::dial::Dialer;
use crate::link_error::{LinkError, Phase};
use crate::message::{Message, Qos, Receipt};
use crate::options::ClientOptions;
use crate::stream::Line;
use crate::wire::{self, Ack, Answer, Arrived, Event, Events, Memory, Requests};

/// Filters that a client may have, so that all fit into one SUBSCRIBE packet.
const SUBSCRIPTIONS_MAX: usize = 256;

/// A connection that lasted this long was a good one: the next pause is the shortest again.
/// Shorter ones keep the pauses growing, or two clients with one id would throw each other out
/// twice a second for ever.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// A request to the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        filter: String,
        qos: Qos,
        reply: oneshot::Sender<Result<(), SubscribeError>>,
    },
}

/// What clients and driver share: the live connection and the counters.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    online: Mutex<Option<Online>>,
    connections: AtomicU64,
    received: AtomicU64,
    oversize_dropped: AtomicU64,
    undelivered: AtomicU64,
}

/// A live connection.
#[derive(Debug, Clone)]
pub(crate) struct Online {
    pub(crate) requests: Requests,
    packet_bytes_max: Option<usize>,
}

impl Online {
    /// The largest payload that fits into a packet the broker accepts.
    pub(crate) fn payload_bytes_max(&self, topic: &str) -> usize {
        /// Fixed header, topic length, packet identifier and property length.
        const OVERHEAD: usize = 5 + 2 + 2 + 1;
        match self.packet_bytes_max {
            Some(max) => max.saturating_sub(OVERHEAD + topic.len()),
            None => usize::MAX,
        }
    }
}

impl Shared {
    pub(crate) fn online(&self) -> Option<Online> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_online(&self, online: Option<Online>) {
        *self.online.lock().unwrap_or_else(PoisonError::into_inner) = online;
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
