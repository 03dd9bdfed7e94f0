//! The only folder that knows rumqttc: its MQTT 5 and its MQTT 3.1.1 crate behind one shape.
//!
//! Each connection gets an event loop of its own. The library would otherwise carry queued and
//! unacknowledged publishes over to the next connection, after their senders have been told that
//! they failed. What must outlive a connection (subscriptions) is kept by the driver.

mod v4;
mod v5;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::link_error::LinkError;
use crate::message::Qos;
use crate::options::{ClientOptions, MqttVersion};

/// Largest MQTT packet that is read, in bytes. Larger than any message of ours, so that a
/// message one byte too long is counted and dropped and does not break the connection.
const INCOMING_PACKET_BYTES_MAX: u32 = 1024 * 1024;

/// Largest MQTT packet that is written, in bytes: the payload limit and the longest topic.
const OUTGOING_PACKET_BYTES_MAX: usize = 256 * 1024;

/// Packets read before the event loop reports them. With more than one, the library throws away
/// the messages it has read when the connection ends in the same batch.
const READ_BATCH: usize = 1;

/// The broker's answer to one request.
#[derive(Debug)]
pub(crate) enum Answer {
    Granted,
    Refused(String),
}

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum Event {
    Connected {
        session_present: bool,
        /// The largest packet the broker accepts, if it says so.
        packet_bytes_max: Option<usize>,
    },
    Message(Arrived),
    PingSent,
    DisconnectSent,
    /// Nothing of interest.
    Progress,
}

/// A PUBLISH from the broker.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// How to acknowledge it, at QoS 1 and 2.
    pub(crate) ack: Option<Ack>,
}

/// An acknowledgement that waits to be sent.
#[derive(Debug)]
pub(crate) enum Ack {
    V4(v4::Ack),
    V5(v5::Ack),
}

/// Opens one connection: nothing happens until the first [`Events::next`].
pub(crate) fn open(
    options: &ClientOptions,
    credentials: Option<Credentials>,
    dialer: Dialer,
    memory: &Arc<Memory>,
) -> (Requests, Events) {
    match options.version {
        MqttVersion::V311 => {
            let (requests, events) = v4::open(options, credentials, dialer, memory);
            (Requests::V4(requests), Events::V4(Box::new(events)))
        }
        MqttVersion::V5 => {
            let (requests, events) = v5::open(options, credentials, dialer, memory);
            (Requests::V5(requests), Events::V5(Box::new(events)))
        }
    }
}

/// Sends requests over one connection. Their futures need not end when the [`Events`] are
/// dropped, because the library's queue lives as long as a `Requests` does: race them against
/// the end of the connection.
#[derive(Debug, Clone)]
pub(crate) enum Requests {
    V4(v4::Requests),
    V5(v5::Requests),
}

impl Requests {
    /// Queues a message, once there is room, or returns `None` if the connection has ended.
    pub(crate) async fn queue(
        &self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Option<Queued> {
        match self {
            Self::V4(requests) => requests
                .queue(topic, payload, qos, retain)
                .await
                .map(Queued::V4),
            Self::V5(requests) => requests
                .queue(topic, payload, qos, retain)
                .await
                .map(Queued::V5),
        }
    }

    /// One SUBSCRIBE with all filters; the answers in their order, or `None` if the connection
    /// ended first.
    pub(crate) async fn subscribe(&self, filters: &[(String, Qos)]) -> Option<Vec<Answer>> {
        match self {
            Self::V4(requests) => requests.subscribe(filters).await,
            Self::V5(requests) => requests.subscribe(filters).await,
        }
    }

    pub(crate) async fn acknowledge(&self, ack: Ack) {
        match (self, ack) {
            (Self::V4(requests), Ack::V4(ack)) => requests.acknowledge(ack).await,
            (Self::V5(requests), Ack::V5(ack)) => requests.acknowledge(ack).await,
            (Self::V4(_), Ack::V5(_)) | (Self::V5(_), Ack::V4(_)) => {}
        }
    }

    /// Asks for a DISCONNECT once everything queued before it is sent and answered.
    pub(crate) async fn disconnect(&self) {
        match self {
            Self::V4(requests) => requests.disconnect().await,
            Self::V5(requests) => requests.disconnect().await,
        }
    }

    /// Asks for a DISCONNECT before everything that is queued.
    pub(crate) async fn disconnect_now(&self) {
        match self {
            Self::V4(requests) => requests.disconnect_now().await,
            Self::V5(requests) => requests.disconnect_now().await,
        }
    }
}

/// A message in the library's hands.
#[derive(Debug)]
pub(crate) enum Queued {
    V4(v4::Queued),
    V5(v5::Queued),
}

impl Queued {
    /// At QoS 0 once the message is written, at QoS 1 and 2 the broker's answer; `None` if the
    /// connection ended first.
    pub(crate) async fn answer(self) -> Option<Answer> {
        match self {
            Self::V4(queued) => v4::answer(queued).await,
            Self::V5(queued) => v5::answer(queued).await,
        }
    }
}

/// The event loop of one connection. Dropping it closes the connection without DISCONNECT.
pub(crate) enum Events {
    V4(Box<v4::Events>),
    V5(Box<v5::Events>),
}

impl Events {
    /// Drives the connection until something happens. Not cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Event, LinkError> {
        match self {
            Self::V4(events) => events.next().await,
            Self::V5(events) => events.next().await,
        }
    }

    /// Takes the outstanding ping as answered: while reading is paused its answer cannot be read.
    pub(crate) fn excuse_ping(&mut self) {
        match self {
            Self::V4(events) => events.excuse_ping(),
            Self::V5(events) => events.excuse_ping(),
        }
    }
}

/// What a kept session needs to know of its previous connection.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<(u16, Vec<u16>)>);

impl Memory {
    /// The last packet identifier used, and the QoS 2 messages received and not yet released.
    fn recall(&self) -> (u16, Vec<u16>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, last_pkid: u16, unreleased: impl IntoIterator<Item = u16>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            (last_pkid, unreleased.into_iter().collect());
    }
}

/// What an I/O error means once the stream's own error is known not to exist.
fn io_error(error: &std::io::Error) -> LinkError {
    if error.kind() == std::io::ErrorKind::InvalidData {
        LinkError::Protocol {
            reason: error.to_string(),
        }
    } else {
        LinkError::lost(error)
    }
}

/// What the reason code of an MQTT 5 DISCONNECT means.
pub(crate) fn disconnected(reason: u8) -> LinkError {
    v5::disconnected(reason)
}

fn protocol(error: &dyn std::fmt::Display) -> LinkError {
    LinkError::Protocol {
        reason: error.to_string(),
    }
}
